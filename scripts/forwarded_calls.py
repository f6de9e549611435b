"""Shows the calls that a class forwards to its parts as its own: what reads the sources sees an attribute only."""

from typing import Any

import griffe


class ForwardedCalls(griffe.Extension):
    """Put the part's method in the place of each ``name = forward("_part", Part.name)``."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:  # noqa: ANN401 - of the reader, and not looked at
        """Replace them in every class of *pkg*, once all of it is read."""
        waiting: list[griffe.Module | griffe.Class] = [pkg]
        while waiting:
            one = waiting.pop()
            waiting += [*one.modules.values(), *one.classes.values()]
            for attribute in [*one.attributes.values()] if isinstance(one, griffe.Class) else []:
                method = forwarded_method(attribute)
                if method is not None:
                    one.set_member(attribute.name, griffe.Alias(attribute.name, method, parent=one))


def forwarded_method(attribute: griffe.Attribute) -> griffe.Function | None:
    """Return the method that the attribute of a class forwards to; None for every other attribute."""
    value = attribute.value
    if not isinstance(value, griffe.ExprCall) or str(value.function) != "forward":
        return None
    method = value.arguments[1]
    found = attribute.modules_collection[method.canonical_path] if isinstance(method, griffe.Expr) else None
    if isinstance(found, griffe.Alias):
        found = found.final_target
    if isinstance(found, griffe.Attribute):  # the part forwards it, too
        return forwarded_method(found)
    return found if isinstance(found, griffe.Function) else None
