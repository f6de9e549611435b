"""The fields of a JSON object out of a pack, taken one by one, each of the type and shape that it must have.

A checksum shows that the bytes equal the written ones. It does not show that their writer followed the format.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from versioned_io.errors import IntegrityError
from versioned_io.errors.root import quoted
from versioned_io.model.identifiers import CommitId, is_digest, is_id

LARGEST_NUMBER: Final = 2**63 - 1
"""The largest number that every catalog can keep."""


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object, and what it is for the messages: ``a commit record``.

    Unknown fields are ignored, so that a newer version can add some. Every method raises `IntegrityError` where a field
    is missing or is not what it is asked for as, and says which.
    """

    values: Mapping[str, Any]
    what: str

    @classmethod
    def parse(cls, payload: bytes, what: str) -> "Fields":
        """Return the fields of the JSON object that *payload* is.

        Raises:
            IntegrityError: It is not one.
        """
        try:
            values = json.loads(payload, parse_constant=_refuse_constant)
            if b"\\ud" in payload or b"\\uD" in payload:
                json.dumps(values, ensure_ascii=False).encode()  # half of a surrogate pair is not text
        except (ValueError, RecursionError) as error:
            msg = f"{what} is malformed: it is not JSON ({error}); run fsck"
            raise IntegrityError(msg) from error
        return cls.of(values, what)

    @classmethod
    def of(cls, values: object, what: str) -> "Fields":
        """Return the fields of *values*, which must be a JSON object."""
        if not isinstance(values, dict):
            msg = f"{what} is malformed: it is {quoted(values)}, not an object with fields; run fsck"
            raise IntegrityError(msg)
        return cls(values, what)

    def has(self, name: str) -> bool:
        """Return whether the field is there and not null."""
        return self.values.get(name) is not None

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text that every catalog can keep; *default* where the field is missing."""
        value = self._value(name, default)
        if not isinstance(value, str) or "\0" in value:
            self.refuse(name, "text")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a text, or None where the field is null or missing."""
        return self.text(name) if self.has(name) else None

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self._value(name)
        if not isinstance(value, bool):
            self.refuse(name, "true or false")
        return value

    def number(self, name: str, *, least: int = 0, default: int | None = None) -> int:
        """Return a whole number from *least* on; *default* where the field is missing."""
        value = self._value(name, default)
        if type(value) is not int or not least <= value <= LARGEST_NUMBER:
            self.refuse(name, f"a whole number, {least} or more")
        return value

    def id(self, name: str) -> str:
        """Return 32 lower-case hex digits."""
        value = self._value(name)
        if not is_id(value):
            self.refuse(name, "an ID of 32 lower-case hex digits")
        return str(value)

    def optional_id(self, name: str) -> CommitId | None:
        """Return the ID of a commit, or None where the field is null or missing."""
        return CommitId(self.id(name)) if self.has(name) else None

    def ids(self, name: str, *, is_optional: bool = False) -> tuple[CommitId, ...]:
        """Return a list of IDs of commits."""
        values = self._value(name, () if is_optional else None)
        if not isinstance(values, list | tuple) or not all(is_id(value) for value in values):
            self.refuse(name, "a list of IDs of 32 lower-case hex digits")
        return tuple(CommitId(value) for value in values)

    def digest(self, name: str) -> str:
        """Return 64 lower-case hex digits."""
        value = self._value(name)
        if not is_digest(value):
            self.refuse(name, "a digest of 64 lower-case hex digits")
        return str(value)

    def time(self, name: str) -> datetime:
        """Return a time, in UTC."""
        value = self._value(name)
        try:
            found = datetime.fromisoformat(value)
            in_utc = None if found.tzinfo is None else found.astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            in_utc = None
        if in_utc is None:
            self.refuse(name, "a time in ISO 8601 with its zone")
        return in_utc

    def mapping(self, name: str) -> dict[str, Any]:
        """Return an object as it is."""
        value = self._value(name)
        if not isinstance(value, dict):
            self.refuse(name, "an object")
        return value

    def fields(self, name: str) -> "Fields":
        """Return an object, for its own fields to be taken."""
        return Fields(self.mapping(name), f"{name!r} of {self.what}")

    def optional_fields(self, name: str) -> "Fields | None":
        """Return an object, or None where the field is null or missing."""
        return self.fields(name) if self.has(name) else None

    def items(self, name: str, *, is_optional: bool = False) -> list["Fields"]:
        """Return a list of objects."""
        values = self._value(name, [] if is_optional else None)
        if not isinstance(values, list):
            self.refuse(name, "a list of objects")
        return [Fields.of(value, f"each of {name!r} of {self.what}") for value in values]

    def refuse(self, name: str, wanted: str) -> NoReturn:
        """Raise what says that a field is not what it must be."""
        found = f"its field {name!r} is {quoted(self.values[name])}" if name in self.values else f"it has no {name!r}"
        msg = f"{self.what} is malformed: {found}, where {wanted} must be; run fsck"
        raise IntegrityError(msg)

    def _value(self, name: str, default: object = None) -> Any:  # noqa: ANN401 (whatever the JSON holds)
        return self.values.get(name, default)


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name} is not a number of JSON"
    raise ValueError(msg)
