"""Taking in many local files at once: small files are read directly into the window that becomes their block."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from blake3 import blake3

from versioned_io.errors import SourceChangedError
from versioned_io.model.places import ChunkSpan
from versioned_io.storage.chunks.chunk_columns import FileColumns, TakenFile
from versioned_io.storage.chunks.cutting import EMPTY_DIGEST, MINIMUM_SIZE, cut_stream, digest_of, file_digest
from versioned_io.storage.chunks.intake import FileIntake
from versioned_io.storage.chunks.sources import LocalSource
from versioned_io.storage.chunks.windows import WINDOW_SIZE

_WINDOW_FILES: Final = 4096


def take_local_files(
    intake: FileIntake, files: Iterable[tuple[str, int]], *, on_read: Callable[[int, int], None]
) -> FileColumns:
    """Take in local files, given as (path, size in bytes), and return their sizes and digests.

    Args:
        on_read: Called at least once for every 4 MiB, with the numbers of files and of bytes that were taken in since
            the last call.

    Raises:
        SourceChangedError: A file has another size than given, or was deleted or changed meanwhile. The files before it
            are stored, but nothing refers to them. List the files again, and retry.
        StorageError: The object store failed. Abort this transaction.
        OSError: A file can't be read.

    Cost: 1 index look-up for every 4 MiB or 4,096 files. 1 PUT for every 48 MiB of new compressed data. CPU time: 12 us
        of one core for a small file, and compression on the other cores.
    """
    reader = _Reader(intake, on_read)
    for path, size in files:
        try:
            if size > MINIMUM_SIZE:
                reader.read_large(path, size)
            else:
                reader.read_small(path, size)
        except FileNotFoundError:
            raise SourceChangedError(path, "it is gone") from None
    reader.hand_in()
    return reader.columns


def digest_of_local_file(path: Path) -> bytes:
    """Return the content digest that the local file would have in a tree.

    Raises:
        SourceChangedError: The file changed while it was read. Read it again.
        OSError: The file can't be read.

    Cost: one read of the file, at about 2 GB/s.
    """
    window = memoryview(bytearray(WINDOW_SIZE))
    digests: list[bytes] = []
    sizes: list[int] = []
    with LocalSource(path) as source:
        for chunks in cut_stream(source, lambda: window):
            digests += map(digest_of, chunks)
            sizes += map(len, chunks)
    return file_digest(digests, sizes)


class _Reader:
    """Reads files into windows, and passes full windows to the writer."""

    def __init__(self, intake: FileIntake, on_read: Callable[[int, int], None]) -> None:
        self._intake = intake
        self._windows = intake.placer.windows
        self._on_read = on_read
        self.columns = FileColumns()
        self._window = self._windows.take()
        self._view = self._window.view
        self._filled = 0
        self._last_start = len(self._view) - MINIMUM_SIZE - 1
        self._chunks: list[ChunkSpan] = []
        self._empty = 0

    def read_small(self, path: str, size: int) -> None:
        if self._filled > self._last_start or len(self._chunks) >= _WINDOW_FILES:
            self.hand_in()
        start = self._filled
        target = self._view[start : start + size + 1]
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            count = os.readv(descriptor, (target,))
        finally:
            os.close(descriptor)
        if count != size:
            raise SourceChangedError(path, f"it had {size} bytes before")
        if not size:
            self.columns.add(TakenFile(0, EMPTY_DIGEST, b""))
            self._empty += 1
            return
        digest = blake3(target[:size]).digest()
        self._chunks.append(ChunkSpan(digest, start, size))
        self._filled = start + size
        self.columns.sizes.append(size)
        self.columns.digests += digest

    def read_large(self, path: str, size: int) -> None:
        self.hand_in()
        stored = self._intake.write_local(Path(path), on_read=lambda size_bytes: self._on_read(0, size_bytes))
        if stored.size != size:
            raise SourceChangedError(path, f"it had {size} bytes before")
        self.columns.add(stored)
        self._on_read(1, 0)

    def hand_in(self) -> None:
        """Pass the window's chunks to the placer, and start another window."""
        if not self._chunks and not self._empty:
            return
        self._intake.placer.take_chunks(self._window, self._chunks)
        self._on_read(len(self._chunks) + self._empty, self._filled)
        self._windows.release(self._window)
        self._window = self._windows.take()
        self._view = self._window.view
        self._filled, self._chunks, self._empty = 0, [], 0
