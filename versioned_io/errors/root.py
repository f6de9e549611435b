"""The root of every error, and the branches that are raised themselves."""

import os
from typing import ClassVar

_LONGEST_QUOTE = 200
"""How many characters of what somebody passed are repeated in a message: more hides the sentence."""


def quoted(value: object) -> str:
    """Return what a message shows of a value: its `repr`, shortened in the middle, or only the type of an object."""
    if not isinstance(value, str | bytes | int | float | os.PathLike | None):
        return f"of type {type(value).__name__}"
    text = repr(value)
    if len(text) <= _LONGEST_QUOTE:
        return text
    half = _LONGEST_QUOTE // 2
    return f"{text[:half]}...{text[-half:]} ({len(text):,} characters)"


class VersionedError(Exception):
    """The root of every error of this library; catch it to catch them all."""

    code: ClassVar[str] = "versioned"


class StorageError(VersionedError):
    """The object store or the catalog failed or is out of reach: back off and retry. Args: one sentence."""

    code: ClassVar[str] = "storage"


class IntegrityError(VersionedError):
    """Stored bytes are not what was written: stop, and run fsck. Args: one sentence that names the object."""

    code: ClassVar[str] = "integrity"


class FormatError(VersionedError):
    """The store, or a file in it, has a format that this version can't handle: upgrade. Args: one sentence."""

    code: ClassVar[str] = "format"


class GateError(VersionedError):
    """A check that the branch requires was not passed: fix the data. Args: one sentence."""

    code: ClassVar[str] = "gate"
