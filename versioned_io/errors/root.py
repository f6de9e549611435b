"""The root of every error, and the branches that are raised themselves."""

import os
from typing import ClassVar

_LONGEST_QUOTE = 200
"""The most characters of an argument that a message repeats: more would hide the sentence."""


def quoted(value: object) -> str:
    """Return a value's text for a message: its `repr`, shortened in the middle, or only the type of an object."""
    if not isinstance(value, str | bytes | int | float | os.PathLike | None):
        return f"of type {type(value).__name__}"
    text = repr(value)
    if len(text) <= _LONGEST_QUOTE:
        return text
    half = _LONGEST_QUOTE // 2
    return f"{text[:half]}...{text[-half:]} ({len(text):,} characters)"


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 pack``, ``2 packs``.

    Args:
        many: The plural, if it is not *one* with an ``s``.
    """
    return f"{number} {one if number == 1 else many or one + 's'}"


class VersionedError(Exception):
    """The root of every error of this library; catch it to catch them all."""

    code: ClassVar[str] = "versioned"


class StorageError(VersionedError):
    """The object store or the catalog failed or is out of reach: back off and retry. Args: one sentence."""

    code: ClassVar[str] = "storage"


class AccessDeniedError(StorageError):
    """These credentials, or this user, may not list the store: ask for the right to. Args: one sentence."""

    code: ClassVar[str] = "access_denied"


class OutcomeUnknownError(StorageError):
    """The catalog's connection broke while it committed, and it can't be asked: the change may have been made.

    Check before you repeat it. A transaction with an idempotency key can be run again: it never commits twice.

    Args: the catalog's URL, why it can't tell, and of a transaction the commits that it may have made, each as
    ``repo@ID``.
    """

    code: ClassVar[str] = "outcome_unknown"

    def __init__(self, catalog: str, reason: str, commits: tuple[str, ...] = ()) -> None:
        super().__init__(catalog, reason, commits)

    @property
    def commits(self) -> tuple[str, ...]:
        """The commits that the transaction may have made, each as ``repo@ID``; they exist if it did."""
        commits: tuple[str, ...] = self.args[2]
        return commits

    def __str__(self) -> str:
        catalog, reason, commits = self.args
        look = (
            f"`versioned show {commits[0]}` finds it if it was; with an idempotency key the transaction may be repeated"
            if commits
            else "check whether it was before you repeat it"
        )
        return (
            f"the connection to the catalog {catalog} broke while it committed ({reason}), "
            f"so whether the change was made is unknown: {look}"
        )


class IntegrityError(VersionedError):
    """Stored bytes differ from the written ones: stop, and run fsck. Args: one sentence that names the object."""

    code: ClassVar[str] = "integrity"


class FormatError(VersionedError):
    """The store, or a file in it, has a format that this version can't handle: upgrade. Args: one sentence."""

    code: ClassVar[str] = "format"


class GateError(VersionedError):
    """The commit failed a check that the branch requires: fix the data. Reserved; no such check exists yet.

    Args: one sentence.
    """

    code: ClassVar[str] = "gate"
