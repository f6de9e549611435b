"""Taking files in: cut, name, find what is stored already, batch, compress, pack."""

import threading
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Protocol, TypeAlias

import pyarrow as pa

from versioned_io.chunks.cutting import MINIMUM_SIZE, Readable, bytes_of, cut, digest_of, file_digest
from versioned_io.chunks.reader import ChunkReader
from versioned_io.chunks.refs import CHUNK_FIELDS, CHUNKS_TYPE, NEW_CHUNKS, ChunkRef, StoredFile
from versioned_io.errors import InvalidInputError
from versioned_io.objects.port import Buffer, ObjectStore
from versioned_io.packs.frames import FrameKind, FrameRef
from versioned_io.packs.writer import PackInfo, PackWriter

Source: TypeAlias = bytes | bytearray | memoryview | Path | BinaryIO | Iterator[bytes]
"""What a file's bytes can come from: bytes, a local path, a binary file (from its position), an iterator of bytes."""

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

    def find(self, digests: Sequence[bytes]) -> Mapping[bytes, ChunkRef]:  # noqa: ARG002 - the protocol's name
        """Return nothing."""
        return {}


class DataWriter:
    """Takes in the files of one transaction and stores the chunks that the store lacks.

    Chunks wait in memory (at most about 8 MiB) until they are looked up in the index together, then small ones
    are gathered in blocks, and packs are stored as they fill. Nothing refers to a pack before the catalog
    commits, so a crash leaves only garbage. Threads may call `write` and `read` at once; the rest is for the
    transaction's own thread.

    Args:
        index: What is stored already.
        roll_bytes: A pack that is larger than this is closed and another one begun.
    """

    def __init__(self, objects: ObjectStore, index: ChunkIndex, *, roll_bytes: int = ROLL_BYTES) -> None:
        self._objects = objects
        self._index = index
        self._roll_bytes = roll_bytes
        self._lock = threading.RLock()
        self._places = _Places()
        self._unplaced: dict[bytes, bytes] = {}
        self._waiting: dict[bytes, None] = {}
        self._waiting_bytes = 0
        self._block: list[bytes] = []
        self._block_bytes = 0
        self._pack: PackWriter | None = None
        self._packs: list[PackInfo] = []
        self._takes_metadata = False  # whether the open pack has been chosen for pages
        self._reader = _OverlayReader(objects, lambda ref: self.read_open_frame(ref, FrameKind.BLOCK))

    @property
    def bytes_stored(self) -> int:
        """The bytes of the packs that this writer has stored, with those in the open one."""
        open_bytes = self._pack.size_bytes if self._pack is not None else 0
        return sum(pack.size_bytes for pack in self._packs) + open_bytes

    def write(self, source: Source) -> StoredFile:
        """Take in one file, whatever its size, in bounded memory.

        The bytes can be read back with `read` at once; they are durable when `close_pack` has returned.

        Raises:
            StorageError: The object store failed; give up this transaction.
            InvalidInputError: *source* is none of the kinds that can be read.

        Cost: 1 index look-up for every 8 MiB or 4,096 chunks, 1 PUT for every 48 MiB of new compressed data.
        """
        if isinstance(source, bytes | bytearray | memoryview):
            return self._write_small(source) if len(source) <= MINIMUM_SIZE else self._write_cut(_BytesSource(source))
        if isinstance(source, Path):
            with source.open("rb", buffering=0) as file:
                return self._write_cut(file)
        if hasattr(source, "read"):
            return self._write_cut(source)
        if isinstance(source, Iterator):
            return self._write_cut(_IteratorSource(source))
        msg = f"can't read {type(source).__name__}: give bytes, a path, a binary file or an iterator of bytes"
        raise InvalidInputError(msg)

    def read(self, file: StoredFile, offset: int = 0, length: int | None = None) -> bytes:
        """Return bytes of a file that `write` returned, stored or not; as `ChunkReader.read_file`.

        Cost: none for what is still in memory, else as `ChunkReader.read_file`.
        """
        end = file.size if length is None else min(file.size, offset + length)
        parts = []
        start = 0
        for digest in file.digests():
            with self._lock:
                waiting = self._unplaced.get(digest)
                ref = None if waiting is not None else self._places.ref(digest)
                size = len(waiting) if waiting is not None else (ref.size if ref is not None else 0)
                if start < end and start + size > offset:
                    data: Buffer = waiting if waiting is not None else b""
                    if ref is not None:
                        [data] = self._reader.read_chunks([ref])
                    parts.append(memoryview(data)[max(0, offset - start) : end - start])
            start += size
        return b"".join(parts)

    def flush(self) -> None:
        """Give every chunk its place; the last pack may still be open.

        Cost: at most 1 index look-up and 1 PUT.
        """
        with self._lock:
            self._look_up_waiting()
            self._store_block()

    def chunk_lists(self, files: Sequence[StoredFile]) -> pa.ListArray:
        """Return the chunk references of *files*, one list each: the ``chunks`` column of their rows.

        Cost: as `flush`.
        """
        self.flush()
        numbers: list[int] = []
        offsets = [0]
        for file in files:
            numbers += map(self._places.number_of.__getitem__, file.digests())
            offsets.append(len(numbers))
        refs = self._places.table().take(pa.array(numbers, pa.int64())).combine_chunks()
        columns = [refs.column(field.name).combine_chunks() for field in CHUNK_FIELDS]
        structs = pa.StructArray.from_arrays(columns, fields=CHUNK_FIELDS)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs, type=CHUNKS_TYPE)

    def open_pack(self) -> PackWriter:
        """Return the pack that the transaction's pages and commit records go into.

        It is the one with the data when that is small, so that a small commit is one object; else the data is
        stored first and the pages get a pack of their own, so that listing never touches data.

        Cost: as `flush`; 1 PUT when the data was large.
        """
        with self._lock:
            self.flush()
            if self._packs_data_of_large_size():
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
        """Return the payload of a frame of the open pack, or ``None`` when it lies elsewhere; for `PageSource.overlaid`."""
        with self._lock:
            if self._pack is None or bytes.fromhex(self._pack.name) != ref.pack:
                return None
            return self._pack.read(ref, kind)

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
                self._packs.append(self._pack.close())
            self._pack = None
            self._takes_metadata = False

    def abort(self) -> None:
        """Drop everything that is not stored yet; stored packs stay as garbage for the collector."""
        with self._lock:
            if self._pack is not None:
                self._pack.abort()
            self._pack = None
            self._unplaced.clear()
            self._waiting.clear()
            self._block.clear()

    def packs(self) -> list[PackInfo]:
        """Return the packs that are durable, in the order in which they were stored."""
        return list(self._packs)

    def new_chunks(self) -> pa.Table:
        """Return the chunks that this writer stored, for the index.

        Returns:
            digest, pack: fixed-size binary of 32 and 16 bytes; offset: uint64; stored, inner, size: uint32.
        """
        with self._lock:
            return self._places.new_table()

    def _write_small(self, data: Buffer) -> StoredFile:
        if not data:
            return StoredFile(0, file_digest([], []), b"")
        digest = digest_of(data)
        with self._lock:
            self._take(digest, data)
        return StoredFile(len(data), digest, digest)

    def _write_cut(self, source: Readable) -> StoredFile:
        digests: list[bytes] = []
        sizes: list[int] = []
        for chunk in cut(source):
            digest = digest_of(chunk)
            digests.append(digest)
            sizes.append(len(chunk))
            with self._lock:
                self._take(digest, chunk)
        return StoredFile(sum(sizes), file_digest(digests, sizes), b"".join(digests))

    def _take(self, digest: bytes, data: Buffer) -> None:
        if digest in self._places.number_of or digest in self._unplaced:
            return
        self._unplaced[digest] = bytes(data)
        self._waiting[digest] = None
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= _WAITING_BYTES or len(self._waiting) >= _WAITING_CHUNKS:
            self._look_up_waiting()

    def _look_up_waiting(self) -> None:
        if not self._waiting:
            return
        found = self._index.find(list(self._waiting))
        for digest in self._waiting:
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
        self._waiting.clear()
        self._waiting_bytes = 0

    def _store_block(self) -> None:
        if self._block:
            self._append_block(self._block)
            self._block = []
            self._block_bytes = 0

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
            self._packs.append(pack.close())
            self._pack = None

    def _current_pack(self) -> PackWriter:
        if self._pack is None:
            self._pack = PackWriter(self._objects)
        return self._pack

    def _packs_data_of_large_size(self) -> bool:
        return self._pack is not None and self._pack.size_bytes >= _SMALL_PACK_BYTES

    def _append(self, kind: FrameKind, payload: Buffer) -> FrameRef:
        with self._lock:
            pack = self._pack if self._takes_metadata else self.open_pack()
            if pack is None or pack.size_bytes >= self._roll_bytes:
                self.close_pack()
                pack = self._current_pack()
            self._takes_metadata = True
            return pack.append(kind, payload)


class _Places:
    """Where the chunks of one transaction lie, in columns: 1,000,000 Python objects would be 200 MB."""

    def __init__(self) -> None:
        self.number_of: dict[bytes, int] = {}
        self._packs: list[bytes] = []
        self._offset = array("Q")
        self._stored = array("I")
        self._inner = array("I")
        self._size = array("I")
        self._is_new = bytearray()

    def add(self, ref: ChunkRef, *, is_new: bool) -> None:
        self.number_of[ref.digest] = len(self._is_new)
        self._packs.append(ref.pack)
        self._offset.append(ref.offset)
        self._stored.append(ref.stored)
        self._inner.append(ref.inner)
        self._size.append(ref.size)
        self._is_new.append(is_new)

    def ref(self, digest: bytes) -> ChunkRef:
        n = self.number_of[digest]
        return ChunkRef(digest, self._packs[n], self._offset[n], self._stored[n], self._inner[n], self._size[n])

    def table(self) -> pa.Table:
        columns = [
            pa.array(list(self.number_of), pa.binary(32)),
            pa.array(self._packs, pa.binary(16)),
            pa.array(self._offset, pa.uint64()),
            pa.array(self._stored, pa.uint32()),
            pa.array(self._inner, pa.uint32()),
            pa.array(self._size, pa.uint32()),
        ]
        return pa.Table.from_arrays(columns, schema=NEW_CHUNKS)

    def new_table(self) -> pa.Table:
        return self.table().filter(pa.array([bool(flag) for flag in self._is_new], pa.bool_()))


class _OverlayReader(ChunkReader):
    """Reads the frames of the open pack from memory."""

    def __init__(self, objects: ObjectStore, read_open: "_ReadOpen") -> None:
        super().__init__(objects)
        self._read_open = read_open

    def load_frames(self, frames: Sequence[FrameRef]) -> list[memoryview]:
        loaded = [self._read_open(frame) for frame in frames]
        stored = [frame for frame, block in zip(frames, loaded, strict=True) if block is None]
        fetched = iter(super().load_frames(stored))
        return [block if block is not None else next(fetched) for block in loaded]


class _ReadOpen(Protocol):
    def __call__(self, ref: FrameRef, /) -> memoryview | None: ...


class _BytesSource:
    def __init__(self, data: Buffer) -> None:
        self._rest = memoryview(data).cast("B")

    def read(self, size: int, /) -> bytes:
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)


class _IteratorSource:
    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        while not self._rest:
            part = next(self._parts, None)
            if part is None:
                return b""
            self._rest = bytes_of(part)
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)
