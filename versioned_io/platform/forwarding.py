"""Methods of an object that are those of its parts."""

from collections.abc import Callable
from functools import wraps
from operator import attrgetter
from typing import Any, Concatenate, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


def forward(part: str, method: Callable[Concatenate[Any, _P], _R]) -> Callable[Concatenate[Any, _P], _R]:
    """Return a method that calls *method* of the object's part, with its name, signature and docstring.

    A class that owns parts offers their calls by one line each, and nothing is written twice. Callers, ``help()`` and
    the type checker see what the part's class says.

    Args:
        part: The attribute that holds the part.
        method: A method of the part's class, such as ``Names.create_repo``.
    """
    find = attrgetter(part)

    @wraps(method)
    def forwarded(owner: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:  # noqa: ANN401 - of any class
        return method(find(owner), *args, **kwargs)

    return forwarded
