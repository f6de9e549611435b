"""What the bytes of a file can come from, as something that fills a buffer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, Self, TypeAlias, runtime_checkable

from versioned_io.errors import InvalidInputError, SourceChangedError
from versioned_io.objects.port import Buffer


@runtime_checkable
class Readable(Protocol):
    """A binary file, or anything else whose ``read(size)`` returns bytes, and none only at the end."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102 (the class says it)


Source: TypeAlias = Buffer | Path | Readable | Iterator[bytes]
"""What a file's bytes can come from: bytes, a local path, a binary file (from its position), an iterator of bytes."""


class Filler(Protocol):
    """Something that bytes can be drawn from, in order."""

    def fill(self, target: memoryview) -> int:
        """Put the next bytes at the start of *target* and return how many; 0 only at the end."""
        ...


class FileSource:
    """Draws from a binary file: with ``readinto`` where it has that, since it saves a copy, else with ``read``."""

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
    """Draws from a local file, which must not change meanwhile; for a ``with`` block.

    Raises:
        SourceChangedError: At its end, when it is not what it was at its beginning; read it again.
        OSError: It can't be read.
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
    """Draws from an iterator of bytes; empty ones are no end."""

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
    """Draws some bytes first, and then from another source."""

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
    """Open *source* to draw from it, and close what was opened at the end.

    Raises:
        InvalidInputError: It is none of the kinds that can be read.
        OSError: It is a local file that can't be read.
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
    """Return *part*, which a source gave, as bytes.

    Raises:
        InvalidInputError: It is text or something else; open files in binary mode, and encode text.
    """
    try:
        return memoryview(part).cast("B")
    except TypeError:
        msg = f"the source gave {type(part).__name__}, not bytes: open the file in binary mode, or encode the text"
        raise InvalidInputError(msg) from None
