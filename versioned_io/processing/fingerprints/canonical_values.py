"""The canonical text of a value: equal for equal values, in every process."""

import datetime as dt
import decimal
import enum
import fractions
import pathlib
import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import Final

import numpy as np

from versioned_io.errors import UncertainCodeError

_PLAIN: Final = (bool, int, str, bytes, complex, type(None), type(...), type(NotImplemented), range)
_BY_TEXT: Final = (
    dt.date,
    dt.time,
    dt.timedelta,
    dt.timezone,
    decimal.Decimal,
    fractions.Fraction,
    pathlib.PurePath,
    uuid.UUID,
    np.dtype,
    slice,
)
_DEEPEST: Final = 100

Writer = Callable[[object], str | None]
"""Writes a value that stands for code, such as a function; None for every other value."""


def canonical_text(value: object, name: str, write_code: Writer | None = None, depth: int = 0) -> str:
    """Return *value* as text. The order of a dict counts, since code can see it; that of a set does not.

    Args:
        name: The value, for the message.
        write_code: Writes functions, classes and modules.

    Raises:
        UncertainCodeError: The text of the value may differ between processes: it is of a type that is not known here.
    """
    if depth > _DEEPEST:
        raise UncertainCodeError(name, "a value that contains itself, or is nested too deeply")

    def inner(one: object) -> str:
        return canonical_text(one, name, write_code, depth + 1)

    kind = type(value)
    if isinstance(value, enum.Enum):
        return f"{_kind_name(kind, write_code)}.{value.name}={inner(value.value)}"
    if kind is float:
        return f"float:{float(value).hex()}"  # type: ignore[arg-type]
    if kind in _PLAIN:
        return repr(value)
    if isinstance(value, re.Pattern):
        return f"re:{value.flags}:{value.pattern!r}"
    if isinstance(value, _BY_TEXT):
        return f"{kind.__name__}:{value!r}"
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        return f"{kind.__name__}:{value.dtype.str}:{value.shape}:{value.tobytes().hex()}"
    written = write_code(value) if write_code is not None else None
    if written is not None:
        return written
    is_container = isinstance(value, list | tuple | set | frozenset | Mapping | SimpleNamespace) or is_dataclass(value)
    text = _container_text(value, _kind_name(kind, write_code), inner) if is_container else ""
    return text or _refuse(value, name)


def _kind_name(kind: type, write_code: Writer | None) -> str:
    """Return the name of a value's type; where code is followed, of a class with its code."""
    is_plain = kind.__module__ == "builtins" or write_code is None
    return kind.__qualname__ if is_plain or write_code is None else write_code(kind) or kind.__qualname__


def _container_text(value: object, name: str, inner: Callable[[object], str]) -> str:
    """Return the text of a container, or of the fields of a dataclass; empty if it is neither."""
    kind = type(value)
    if kind in {list, tuple} or (isinstance(value, tuple) and hasattr(kind, "_fields")):
        return f"{name}({','.join(map(inner, value))})"  # type: ignore[call-overload]
    if kind in {set, frozenset}:
        return f"{name}({','.join(sorted(map(inner, value)))})"  # type: ignore[call-overload]
    if kind is SimpleNamespace:
        return f"{name}({inner(vars(value))})"
    if isinstance(value, Mapping):
        made = f"{inner(value.default_factory)};" if isinstance(value, defaultdict) else ""
        return f"{name}({made}{','.join(f'{inner(key)}:{inner(one)}' for key, one in value.items())})"
    if is_dataclass(value) and not isinstance(value, type):
        parts = (f"{field.name}={inner(getattr(value, field.name))}" for field in fields(value))
        return f"{name}({','.join(parts)})"
    return ""


def _refuse(value: object, name: str) -> str:
    kind = type(value)
    raise UncertainCodeError(name, f"a value of type {kind.__module__}.{kind.__qualname__}")
