"""The classes that a type annotation accepts."""

import types
from typing import Annotated, NewType, Union, get_args, get_origin

from versioned_io.formats.registry import WantedTypes


def classes_of(hint: object) -> WantedTypes:
    """Return the classes that *hint* names; none when it takes anything, or can't be told.

    ``list[int]`` is ``list``, ``A | B`` is both, ``Annotated[A, …]`` and ``NewType("N", A)`` are ``A``; ``Any``,
    ``object``, type variables, literals and text take anything.
    """
    if hint is None or hint is object:
        return ()
    if isinstance(hint, NewType):
        return classes_of(hint.__supertype__)
    origin = get_origin(hint)
    if origin is Annotated:
        return classes_of(get_args(hint)[0])
    if origin is Union or origin is types.UnionType:
        return _classes_of_all(get_args(hint))
    if isinstance(origin, type):
        return (origin,)
    return (hint,) if isinstance(hint, type) else ()


def accepts(wanted: WantedTypes, value: object) -> bool:
    """Say whether *value* is of one of the *wanted* classes; an integer is a number, as annotations have it."""
    if not wanted or isinstance(value, wanted):
        return True
    return (float in wanted or complex in wanted) and isinstance(value, int | float)


def _classes_of_all(hints: tuple[object, ...]) -> WantedTypes:
    found: list[type] = []
    for hint in hints:
        classes = classes_of(hint) if hint is not type(None) else (type(None),)
        if not classes:
            return ()
        found += classes
    return tuple(found)
