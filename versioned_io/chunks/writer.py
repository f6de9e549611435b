"""Taking files in: cut, name, find what is stored already, batch, compress, pack."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa

from versioned_io.chunks.cutting import (
    MINIMUM_SIZE,
    WINDOW_SIZE,
    cut_bytes,
    cut_stream,
    digest_of,
    file_digest,
)
from versioned_io.chunks.places import ChunkPlaces
from versioned_io.chunks.reader import ChunkReader
from versioned_io.chunks.refs import ChunkRef, StoredFile
from versioned_io.chunks.sources import FileSource, Filler, IteratorSource, Readable, Source
from versioned_io.errors import InvalidInputError
from versioned_io.objects.port import Buffer, ObjectStore
from versioned_io.packs.frames import FrameKind, FrameRef
from versioned_io.packs.uploads import PackUploads
from versioned_io.packs.writer import PackInfo, PackWriter

ROLL_BYTES: Final = 48 * 1024 * 1024
_BLOCK_BYTES: Final = 1024 * 1024
_WAITING_BYTES: Final = 8 * 1024 * 1024
_WAITING_CHUNKS: Final = 4096
_SMALL_PACK_BYTES: Final = 8 * 1024 * 1024


class ChunkIndex(Protocol):
    """Knows which chunks the store holds already."""

    def find(self, digests: Sequence[bytes]) -> Mapping[bytes, ChunkRef]:
        """Return the places of those *digests* that are stored in packs that new commits may refer to.

        Cost: 1 SQL query for every few hundred digests.
        """
        ...


class NoIndex:
    """The index of an empty store: it knows no chunk."""

    def find(self, digests: Sequence[bytes]) -> Mapping[bytes, ChunkRef]:  # noqa: ARG002 (the protocol's name)
        """Return nothing."""
        return {}


class DataWriter:
    """Takes in the files of one transaction and stores the chunks that the store lacks.

    Chunks wait in memory (at most about 8 MiB) until they are looked up in the index together; then small ones
    are gathered in blocks, and a pack is stored in the background as soon as it is full, while the next one fills.
    Nothing refers to a pack before the catalog commits, so a crash leaves only garbage. Threads may call `write`
    and `read` at once; the rest is for the transaction's own thread.

    Args:
        index: What is stored already.
        roll_bytes: A pack that is larger than this is closed and another one begun; about three are in memory.
        before_early_pack: Called before a pack is stored while more is to come: it is garbage for everybody else until
            the commit.
    """

    def __init__(
        self,
        objects: ObjectStore,
        index: ChunkIndex,
        *,
        roll_bytes: int = ROLL_BYTES,
        before_early_pack: Callable[[], None] | None = None,
    ) -> None:
        self._objects = objects
        self._before_early_pack = before_early_pack
        self._index = index
        self._roll_bytes = roll_bytes
        self._lock = threading.RLock()
        self._windows: list[bytearray] = []
        self._places = ChunkPlaces()
        self._unplaced: dict[bytes, bytes] = {}  # chunks that wait for the index or in the block
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._block: list[bytes] = []
        self._block_bytes = 0
        self._pack: PackWriter | None = None
        self._takes_metadata = False  # whether the open pack has been chosen for pages
        self._uploads = PackUploads()
        self._reader = _OverlayReader(objects, self)

    @property
    def bytes_stored(self) -> int:
        """The bytes of the packs of this writer so far, with those in the open one."""
        with self._lock:
            return self._uploads.size_bytes + (self._pack.size_bytes if self._pack is not None else 0)

    def write(self, source: Source) -> StoredFile:
        """Take in one file, whatever its size, in bounded memory.

        The bytes can be read back with `read` at once; they are durable when `close_pack` has returned.

        Raises:
            StorageError: The object store failed; give up this transaction.
            InvalidInputError: *source* is none of the kinds that can be read, or gives something else than bytes.
            OSError: *source* is a local file that can't be read.

        Cost: 1 index look-up for every 8 MiB or 4,096 chunks, 1 PUT for every 48 MiB of new compressed data.
        """
        if isinstance(source, bytes | bytearray | memoryview):
            return self._write_bytes(memoryview(source).cast("B"))
        if isinstance(source, Path):
            return self._write_path(source)
        if isinstance(source, Readable):
            return self._write_stream(FileSource(source))
        if isinstance(source, Iterator):
            return self._write_stream(IteratorSource(source))
        msg = f"can't read {type(source).__name__}: give bytes, a path, a binary file or an iterator of bytes"
        raise InvalidInputError(msg)

    def read(self, file: StoredFile, offset: int = 0, length: int | None = None) -> bytes:
        """Return bytes of a file that `write` returned, stored or not; as `ChunkReader.read_file`.

        Cost: none for what is still in memory, else as `ChunkReader.read_file`.
        """
        if offset < 0 or (length is not None and length < 0):
            msg = f"can't read {length} bytes from byte {offset}: both must be 0 or more"
            raise InvalidInputError(msg)
        end = file.size if length is None else min(file.size, offset + length)
        parts: list[memoryview] = []
        start = 0
        for digest in file.digests():
            if start >= end:
                break
            with self._lock:
                waiting = self._unplaced.get(digest)
                place = waiting if waiting is not None else self._places[digest]
            stop = start + (place.size if isinstance(place, ChunkRef) else len(place))
            if stop > offset:
                data = self._reader.read_chunks([place])[0] if isinstance(place, ChunkRef) else memoryview(place)
                parts.append(data[max(0, offset - start) : end - start])
            start = stop
        return b"".join(parts)

    def flush(self) -> None:
        """Give every chunk its place; the last pack may still be open.

        Cost: at most 1 index look-up; no PUT unless a pack fills.
        """
        with self._lock:
            self._look_up_waiting()
            self._store_block()

    def chunk_lists(self, files: Sequence[StoredFile]) -> pa.Array:
        """Return the chunk references of *files*, one list each: the ``chunks`` column of their rows.

        Cost: as `flush`.
        """
        with self._lock:
            self.flush()
            return self._places.lists(file.digests() for file in files)

    def open_pack(self) -> PackWriter:
        """Return the pack that the transaction's pages and commit records go into.

        It is the one with the data when that is small, so that a small commit is one object; else the data is
        stored first and the pages get a pack of their own, so that listing never touches data.

        Raises:
            StorageError: The object store failed; give up this transaction.

        Cost: as `flush`; 1 PUT when the data was large.
        """
        with self._lock:
            self.flush()
            if self._pack is not None and self._pack.size_bytes >= _SMALL_PACK_BYTES:
                self.close_pack()
            return self._current_pack()

    def put_page(self, payload: Buffer) -> FrameRef:
        """Add a page of the new tree to the open pack; a `PageSink`. A full pack is stored and another begun.

        Cost: as `open_pack` the first time; 1 PUT for every 48 MiB of compressed pages.
        """
        return self._append(FrameKind.PAGE, payload)

    def put_commit(self, payload: Buffer) -> FrameRef:
        """Add a commit record to the open pack, behind the pages that it refers to. Cost: as `put_page`."""
        return self._append(FrameKind.COMMIT, payload)

    def read_open_frame(self, ref: FrameRef, kind: FrameKind) -> memoryview | None:
        """Return the payload of a frame that is still in memory, or ``None``; for `PageSource.overlaid`."""
        with self._lock:
            if self._pack is not None and self._pack.pack == ref.pack:
                return self._pack.read(ref, kind)
            stored_now = self._uploads.find(ref.pack)
        return stored_now.read(ref, kind) if stored_now is not None else None

    def close_pack(self) -> None:
        """Make everything that was taken in or appended to the open pack durable.

        Afterwards `open_pack` begins another one, for a transaction that has to write its pages again.

        Raises:
            StorageError: The object store failed; nothing refers to the packs of this transaction yet.

        Cost: as `flush`; 1 PUT, none when nothing was written.
        """
        with self._lock:
            self.flush()
            if self._pack is not None and not self._pack.is_empty:
                self._uploads.store_now(self._pack)
            else:
                self._uploads.drain()
            self._pack = None
            self._takes_metadata = False

    def abort(self) -> None:
        """Drop everything that is not stored yet; stored packs stay as garbage for the collector."""
        with self._lock:
            if self._pack is not None:
                self._pack.abort()
            self._pack = None
            self._uploads.abandon()
            self._unplaced.clear()
            self._waiting.clear()
            self._block.clear()
            self._windows.clear()

    def packs(self) -> list[PackInfo]:
        """Return the packs that are durable, in the order in which they were filled."""
        with self._lock:
            return self._uploads.stored

    def new_chunks(self) -> pa.Table:
        """Return the chunks that this writer stored, for the index; with the columns of `NEW_CHUNKS`."""
        with self._lock:
            return self._places.new()

    def _write_bytes(self, data: memoryview) -> StoredFile:
        if len(data) <= MINIMUM_SIZE:
            return self._write_small(data)
        return self._write_chunks(cut_bytes(data))

    def _write_path(self, path: Path) -> StoredFile:
        with path.open("rb", buffering=0) as file:
            start = file.read(MINIMUM_SIZE + 1)
            if len(start) <= MINIMUM_SIZE and not (following := file.read(1)):
                return self._write_small(start)
            if len(start) <= MINIMUM_SIZE:
                start += following
            return self._write_stream(_Continued(start, FileSource(file)))

    def _write_small(self, data: Buffer) -> StoredFile:
        if not data:
            return StoredFile(0, file_digest([], []), b"")
        digest = digest_of(data)
        with self._lock:
            self._take(digest, data)
        return StoredFile(len(data), digest, digest)

    def _write_stream(self, source: Filler) -> StoredFile:
        # Fresh memory is slower to touch than zstd is to fill it: windows are used again.
        try:
            window = self._windows.pop()
        except IndexError:
            window = bytearray(WINDOW_SIZE)
        try:
            return self._write_chunks(cut_stream(source, window))
        finally:
            self._windows.append(window)

    def _write_chunks(self, chunks: Iterator[memoryview]) -> StoredFile:
        digests: list[bytes] = []
        sizes: list[int] = []
        for chunk in chunks:
            digest = digest_of(chunk)
            digests.append(digest)
            sizes.append(len(chunk))
            with self._lock:
                self._take(digest, chunk)
        return StoredFile(sum(sizes), file_digest(digests, sizes), b"".join(digests))

    def _take(self, digest: bytes, data: Buffer) -> None:
        if digest in self._places or digest in self._unplaced:
            return
        self._unplaced[digest] = bytes(data)
        self._waiting.append(digest)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= _WAITING_BYTES or len(self._waiting) >= _WAITING_CHUNKS:
            self._look_up_waiting()

    def _look_up_waiting(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        found = self._index.find(waiting)
        for digest in waiting:
            ref = found.get(digest)
            data = self._unplaced[digest]
            if ref is not None:
                self._places.add(ref, is_new=False)
                del self._unplaced[digest]
            elif len(data) >= MINIMUM_SIZE:
                self._append_block([digest])
            else:
                self._block.append(digest)
                self._block_bytes += len(data)
                if self._block_bytes >= _BLOCK_BYTES:
                    self._store_block()

    def _store_block(self) -> None:
        if self._block:
            block, self._block, self._block_bytes = self._block, [], 0
            self._append_block(block)

    def _append_block(self, digests: list[bytes]) -> None:
        parts = [self._unplaced[digest] for digest in digests]
        raw = parts[0] if len(parts) == 1 else b"".join(parts)
        chunks: list[tuple[bytes, int, int]] = []
        inner = 0
        for digest, part in zip(digests, parts, strict=True):
            chunks.append((digest, inner, len(part)))
            inner += len(part)
        pack = self._current_pack()
        frame = pack.append_block(raw, chunks)
        for digest, start, size in chunks:
            self._places.add(ChunkRef(digest, frame.pack, frame.offset, frame.stored_size, start, size), is_new=True)
            del self._unplaced[digest]
        if pack.size_bytes >= self._roll_bytes:
            self._roll(pack)

    def _append(self, kind: FrameKind, payload: Buffer) -> FrameRef:
        with self._lock:
            pack = self._current_pack() if self._takes_metadata else self.open_pack()
            self._takes_metadata = True
            frame = pack.append(kind, payload)
            if pack.size_bytes >= self._roll_bytes:
                self._roll(pack)
            return frame

    def _current_pack(self) -> PackWriter:
        if self._pack is None:
            self._pack = PackWriter(self._objects)
        return self._pack

    def _roll(self, pack: PackWriter) -> None:
        if self._before_early_pack is not None:
            self._before_early_pack()
        self._pack = None
        self._uploads.add(pack)


class _Continued:
    """A source whose first bytes were read already."""

    def __init__(self, start: bytes, rest: Filler) -> None:
        self._start = start
        self._rest = rest

    def fill(self, target: memoryview) -> int:
        """See `Filler`; *target* is larger than what was read already."""
        start, self._start = self._start, b""
        if not start:
            return self._rest.fill(target)
        target[: len(start)] = start
        return len(start)


class _OverlayReader(ChunkReader):
    """Reads the frames that a writer still holds from its memory."""

    def __init__(self, objects: ObjectStore, writer: DataWriter) -> None:
        super().__init__(objects)
        self._writer = writer

    def load_frames(self, frames: Sequence[FrameRef]) -> list[memoryview]:
        held = [self._writer.read_open_frame(frame, FrameKind.BLOCK) for frame in frames]
        stored = [frame for frame, block in zip(frames, held, strict=True) if block is None]
        fetched = iter(super().load_frames(stored))
        return [block if block is not None else next(fetched) for block in held]
