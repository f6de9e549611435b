"""The root of every error, and the branches that are raised themselves."""

from typing import ClassVar


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
