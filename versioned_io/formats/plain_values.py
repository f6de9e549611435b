"""Python's plain values as JSON, text and bytes, when they come back exactly as they were."""

import json
from dataclasses import dataclass
from itertools import repeat
from math import isfinite

from versioned_io.formats.registry import Encoded, StoredFile, Unfit, WantedTypes, full_type_name

MAX_DEPTH = 100
"""How deep a JSON value may be nested: well below where Python's parser gives up."""

_PLAIN = frozenset({type(None), bool, int, float, str, dict, list})


@dataclass(frozen=True, slots=True)
class JSONFormat:
    """None, booleans, numbers, and lists and dictionaries of them and of text."""

    name: str = "json"
    version: int = 1
    extension: str = ".json"
    family: str = "json"

    def claims(self, obj: object) -> bool:
        """Return whether it is of a type that JSON has; text has a format of its own."""
        return type(obj) in _PLAIN and type(obj) is not str

    def encode(self, obj: object) -> Encoded | Unfit:
        """Return it as JSON in UTF-8, keys in their own order, unless something inside would change."""
        reason = not_exact_in_json(obj)
        if reason is not None:
            return Unfit(f"JSON would change it: {reason}")
        try:
            return Encoded(json.dumps(obj, ensure_ascii=False).encode())
        except ValueError as error:  # a lone surrogate, or an integer with thousands of digits
            return Unfit(f"JSON can't hold it: {error}")

    def decode(self, file: StoredFile, wanted: WantedTypes) -> object:  # noqa: ARG002 - one representation
        """Return the value."""
        value: object = json.loads(file.content)
        return value


@dataclass(frozen=True, slots=True)
class TextFormat:
    """Text, as UTF-8."""

    name: str = "text"
    version: int = 1
    extension: str = ".txt"
    family: str = "text"

    def claims(self, obj: object) -> bool:
        """Return whether it is a string, and not of a subclass."""
        return type(obj) is str

    def encode(self, obj: object) -> Encoded | Unfit:
        """Return its UTF-8 bytes."""
        try:
            return Encoded(str(obj).encode())
        except UnicodeEncodeError as error:
            return Unfit(f"UTF-8 can't hold it: {error.reason}")

    def decode(self, file: StoredFile, wanted: WantedTypes) -> object:  # noqa: ARG002 - one representation
        """Return the string, its line ends as they were."""
        return file.content.decode()


@dataclass(frozen=True, slots=True)
class BytesFormat:
    """Bytes, as they are."""

    name: str = "bytes"
    version: int = 1
    extension: str = ".bin"
    family: str = "bytes"

    def claims(self, obj: object) -> bool:
        """Return whether it is a bytes object, and not of a subclass."""
        return type(obj) is bytes

    def encode(self, obj: object) -> Encoded | Unfit:
        """Return the bytes."""
        return Encoded(obj) if isinstance(obj, bytes) else Unfit(f"it is a {full_type_name(type(obj))}")

    def decode(self, file: StoredFile, wanted: WantedTypes) -> object:  # noqa: ARG002 - one representation
        """Return the bytes."""
        return file.content


def not_exact_in_json(value: object) -> str | None:
    """Return a description of the change that JSON would make to *value*, or ``None`` if it comes back exactly.

    JSON would change tuples, sets, keys that are not text, NaN and infinities. It would also change subclasses (enums,
    named tuples, NumPy's numbers), lists and dictionaries in two places, and anything nested too deep.
    """
    pending: list[tuple[object, int]] = [(value, 0)]
    seen: set[int] = set()
    while pending:
        item, depth = pending.pop()
        kind = type(item)
        if kind not in _PLAIN:
            return f"it holds a {full_type_name(kind)}"
        if isinstance(item, float) and not isfinite(item):
            return f"it holds the number {item}"
        if not isinstance(item, list | dict):
            continue
        if depth >= MAX_DEPTH:
            return f"it is nested more than {MAX_DEPTH} deep"
        if id(item) in seen:
            return f"one {kind.__name__} occurs in two places"
        seen.add(id(item))
        if isinstance(item, dict):
            for key in item:
                if type(key) is not str:
                    return f"it has the key {key!r}, a {full_type_name(type(key))}"
        pending.extend(zip(item.values() if isinstance(item, dict) else item, repeat(depth + 1), strict=False))
    return None
