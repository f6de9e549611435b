"""The sources of a file's bytes, each as an object that fills a buffer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, Self, TypeAlias, runtime_checkable

from versioned_io.errors import InvalidInputError, SourceChangedError
from versioned_io.storage.objects.port import Buffer


@runtime_checkable
class Readable(Protocol):
    """A binary file, or any object whose ``read(size)`` returns bytes, and no bytes only at the end."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102 (the class says it)


Source: TypeAlias = Buffer | Path | Readable | Iterator[bytes]
"""A source of a file's bytes: bytes, a local path, a binary file (from its position) or an iterator of bytes."""


class Filler(Protocol):
    """A source that bytes are read from, in order."""

    def fill(self, target: memoryview) -> int:
        """Write the next bytes to the start of *target*, and return how many; 0 only at the end."""
        ...


class FileSource:
    """Reads from a binary file: with ``readinto`` if the file has it, which saves a copy, otherwise with ``read``."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._readinto = getattr(file, "readinto", None)

    def fill(self, target: memoryview) -> int:
        """See `Filler`."""
        if self._readinto is None:
            data = bytes_of(self._file.read(len(target)))
            target[: len(data)] = data
            return len(data)
        count = self._readinto(target)
        if not isinstance(count, int):
            msg = f"the source gave {count!r} instead of a number of bytes: a file must be in blocking mode"
            raise InvalidInputError(msg)
        return count


class LocalSource:
    """Reads from a local file, which must not change meanwhile; for a ``with`` block.

    Raises:
        SourceChangedError: The file changed while it was read; raised at its end. Read it again.
        OSError: The file can't be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._state = self._read_state()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def fill(self, target: memoryview) -> int:
        """See `Filler`."""
        count = os.readv(self._descriptor, (target,))
        if not count and self._read_state() != self._state:
            raise SourceChangedError(str(self._path))
        return count

    def _read_state(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns


class IteratorSource:
    """Reads from an iterator of bytes. An empty item doesn't end the source."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = memoryview(b"")

    def fill(self, target: memoryview) -> int:
        """See `Filler`."""
        while not self._rest:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._rest = bytes_of(part)
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class Prefixed:
    """Reads the bytes *start* first, and then those of another source."""

    def __init__(self, start: bytes, rest: Filler) -> None:
        self._start = memoryview(start)
        self._rest = rest

    def fill(self, target: memoryview) -> int:
        """See `Filler`."""
        if not self._start:
            return self._rest.fill(target)
        count = min(len(target), len(self._start))
        target[:count] = self._start[:count]
        self._start = self._start[count:]
        return count


@contextmanager
def open_source(source: Source) -> Iterator[Filler]:
    """Open *source* for reading, and close it at the end if this function opened it.

    Raises:
        InvalidInputError: *source* is not bytes, a path, a binary file or an iterator of bytes. Pass one of these.
        OSError: *source* is a local file that can't be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        yield Prefixed(bytes(source), IteratorSource(iter(())))
    elif isinstance(source, Path):
        with LocalSource(source) as opened:
            yield opened
    elif isinstance(source, Readable):
        yield FileSource(source)
    elif isinstance(source, Iterator):
        yield IteratorSource(source)
    else:
        msg = f"can't read {type(source).__name__}: give bytes, a path, a binary file or an iterator of bytes"
        raise InvalidInputError(msg)


def bytes_of(part: Buffer) -> memoryview:
    """Return *part*, which a source returned, as bytes.

    Raises:
        InvalidInputError: *part* is text or another type. Open files in binary mode, and encode text.
    """
    try:
        return memoryview(part).cast("B")
    except TypeError:
        msg = f"the source gave {type(part).__name__}, not bytes: open the file in binary mode, or encode the text"
        raise InvalidInputError(msg) from None
