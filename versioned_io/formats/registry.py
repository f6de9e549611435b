"""The definition of a format, and the known formats: the built-in ones and those that users register."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from versioned_io.errors import ExistsError, FormatError, InvalidInputError
from versioned_io.platform.process import new_lock

WantedTypes = tuple[type, ...]
"""The classes that a caller accepts, any of them; empty when it takes whatever was stored."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """An object as the content of a file.

    Attributes:
        source: The bytes, a readable binary file, or an iterator of bytes.
        attributes: Further input of `Format.decode`, beside the bytes.
        rows: The number of rows, if it has rows.
        tree: A local file or directory that goes below the object's path, beside the file that *source* makes.
    """

    source: bytes | BinaryIO | Iterator[bytes]
    attributes: Mapping[str, str] = field(default_factory=dict)
    rows: int | None = None
    tree: Path | None = None


@dataclass(frozen=True, slots=True)
class Unfit:
    """The answer of a format that would not return the same object: the next format is tried."""

    reason: str


@dataclass(frozen=True, slots=True)
class StoredFile:
    """The content of a file on its way back to an object.

    Attributes:
        path: The file, for messages.
        content: All of its bytes.
        version: The version of the format that wrote it: this format's or an older one.
        attributes: The attributes that were recorded with it.
        tree: The path of its local file or directory, if it has one.
    """

    path: str
    content: bytes
    version: int
    attributes: Mapping[str, str]
    tree: Path | None = None


class Format(Protocol):
    """The conversion of objects of some types to the content of a file, and back to equal objects.

    Implement it and call `register_format` to store your own types your own way. Every reader needs the same format
    registered. So a format must not depend on other registrations.
    """

    @property
    def name(self) -> str:
        """The name that is recorded with every file, never to be changed."""
        ...

    @property
    def version(self) -> int:
        """The version that `encode` writes; `decode` reads it and every older one."""
        ...

    @property
    def extension(self) -> str:
        """The end of the file name, such as ``.parquet``."""
        ...

    @property
    def family(self) -> str:
        """A name that `save_object` accepts instead of the format's name; formats of a family share it."""
        ...

    def claims(self, obj: object) -> bool:
        """Return whether *obj* is for this format, from its type alone and without importing anything."""
        ...

    def encode(self, obj: object) -> Encoded | Unfit:
        """Return the content for *obj*, the same bytes for the same object, or why it would not come back equal."""
        ...

    def decode(self, file: StoredFile, wanted: WantedTypes) -> object:
        """Return the object, as one of the *wanted* types where this format can make one of it."""
        ...


_lock = new_lock()
_registered: tuple[Format, ...] = ()


def register_format(new: Format, *, replace: bool = False) -> None:
    """Make *new* known in this process: it is asked before every format that was registered before it.

    Args:
        replace: Take the place of the format of the same name, if there is one.

    Raises:
        ExistsError: There is a format of this name; choose another, or pass ``replace=True``.
        InvalidInputError: Its name, version or extension can't be recorded; the message says what to change.
    """
    global _registered  # noqa: PLW0603 - the one mutable thing here, replaced whole under the lock
    if not new.name or not new.extension.startswith(".") or "/" in new.extension or new.version < 1:
        msg = (
            f"the format {new.name!r} (version {new.version}, extension {new.extension!r}) can't be registered: "
            f"it needs a name, a version of at least 1, and an extension like '.txt'"
        )
        raise InvalidInputError(msg)
    with _lock:
        others = tuple(known for known in _registered if known.name != new.name)
        if len(others) < len(_registered) and not replace:
            kind = "format"
            raise ExistsError(kind, new.name)
        _registered = (new, *others)


def registered_formats() -> tuple[Format, ...]:
    """Return the formats in the order in which they are asked: the newest first."""
    return _registered


def find_format(name: str, version: int, path: str) -> Format:
    """Return the format that wrote the file at *path*.

    Raises:
        FormatError: It is not known here, or only older versions of it are; upgrade, or register it.
    """
    for known in _registered:
        if known.name == name:
            if version > known.version:
                msg = (
                    f"{path!r} was written in version {version} of the format {name!r}, and this library knows "
                    f"version {known.version}: upgrade versioned-io"
                )
                raise FormatError(msg)
            return known
    msg = f"{path!r} has the format {name!r}, which is not known here: upgrade versioned-io, or register_format() it"
    raise FormatError(msg)


def full_type_name(cls: type) -> str:
    """Return the name that a class is recorded and shown by, such as ``pandas.DataFrame``."""
    if cls.__module__ == "builtins":
        return cls.__qualname__
    # Where a library keeps a class changes between its versions; its first package does not.
    module = cls.__module__.partition(".")[0] if cls.__module__.startswith(_FLAT_PACKAGES) else cls.__module__
    return f"{module}.{cls.__qualname__}"


_FLAT_PACKAGES = ("pandas.", "polars.", "pyarrow.", "numpy.", "pathlib.")
