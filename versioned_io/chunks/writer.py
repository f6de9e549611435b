"""Taking files in: cut, name, find what is stored already, batch, compress, pack."""

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final

import pyarrow as pa

from versioned_io.chunks.blocks import BLOCK_BYTES, Block, BlockEncoder, EncodedBlock, blocks_of
from versioned_io.chunks.cutting import MINIMUM_SIZE, cut_bytes, cut_stream, digest_of, file_digest, name_chunks
from versioned_io.chunks.index import ChunkIndex
from versioned_io.chunks.overlay import OverlayReader
from versioned_io.chunks.places import ChunkPlaces
from versioned_io.chunks.refs import ChunkRef, StoredFile
from versioned_io.chunks.sources import Filler, LocalSource, Prefixed, Source, open_source
from versioned_io.chunks.windows import Window, WindowPool
from versioned_io.elsewhere import Elsewhere
from versioned_io.errors import InvalidInputError
from versioned_io.identifiers import PackName
from versioned_io.objects.port import Buffer, ObjectStore
from versioned_io.packs.frames import Codec, FrameKind, FrameRef
from versioned_io.packs.uploads import PackUploads
from versioned_io.packs.writer import PackInfo, PackWriter

ROLL_BYTES: Final = 48 * 1024 * 1024
_WAITING_BYTES: Final = 8 * 1024 * 1024
_WAITING_CHUNKS: Final = 4096
_PACKS_UNDER_WAY: Final = 2  # one is written while the disk syncs the other
_SMALL_PACK_BYTES: Final = 8 * 1024 * 1024


class DataWriter:
    """Takes in the files of one transaction and stores the chunks that the store lacks.

    Chunks wait in memory (at most about 8 MiB) until they are looked up in the index together; then small ones
    are gathered in blocks, blocks are compressed on all cores, and a pack is stored in the background as soon as it is
    full, while the next one fills.
    Nothing refers to a pack before the catalog commits, so a crash leaves only garbage. Threads may call `write`
    and `read` at once; the rest is for the transaction's own thread.

    Args:
        index: What is stored already.
        elsewhere: What may be read outside of the store, where a file is appended to or read that lies there.
        roll_bytes: A pack that is larger than this is closed and another one begun; about four are in memory.
        before_early_pack: Called before a pack is stored while more is to come: it is garbage for everybody else until
            the commit.
    """

    def __init__(
        self,
        objects: ObjectStore,
        index: ChunkIndex,
        *,
        elsewhere: Elsewhere | None = None,
        roll_bytes: int = ROLL_BYTES,
        before_early_pack: Callable[[], None] | None = None,
    ) -> None:
        self._objects = objects
        self._before_early_pack = before_early_pack
        self._index = index
        self._roll_bytes = roll_bytes
        self._lock = threading.RLock()
        self._windows = WindowPool()
        self._held: dict[bytes, list[Window]] = {}  # by pack: windows that parts of it lie in
        self._encoder = BlockEncoder()
        self._places = ChunkPlaces()
        self._in_flight: set[bytes] = set()  # chunks that are being compressed
        self._unplaced: dict[bytes, bytes] = {}  # chunks that wait for the index or in the block
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._block: list[bytes] = []
        self._block_bytes = 0
        self._pack: PackWriter | None = None
        self._takes_metadata = False  # whether the open pack has been chosen for pages
        self._has_record = False  # whether there is a commit record in it
        self._own_packs: set[PackName] = set()
        self._uploads = PackUploads(waiting=_PACKS_UNDER_WAY, on_stored=self._release_windows)
        self._reader = OverlayReader(objects, elsewhere, self._find_open)

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
            SourceChangedError: *source* is a local file that changed while it was read; write it again.

        Cost: 1 index look-up for every 8 MiB or 4,096 chunks, 1 PUT for every 48 MiB of new compressed data.
        """
        if isinstance(source, memoryview) and not source.c_contiguous:
            source = source.tobytes()
        if isinstance(source, bytes | bytearray | memoryview):
            return self._write_bytes(memoryview(source).cast("B"))
        with open_source(source) as filler:
            return _stored_file(*self._write_stream(filler))

    def append(self, old: StoredFile | Sequence[ChunkRef], source: Source) -> StoredFile:
        """Take in the file that *old* becomes with the bytes of *source* behind it; as `write` of the whole.

        Args:
            old: What `write` or `append` returned, or the chunks of a file that the store holds.

        Cost: as `write` of *source* and the last chunk of *old*, which is read: where a file is cut depends on nothing
            before the cut before, so all other chunks stay.
        """
        with self._lock:
            if not isinstance(old, StoredFile):
                for ref in old:
                    if not self._is_known(ref.digest):
                        self._places.add(ref, is_new=False)
            digests = old.digests() if isinstance(old, StoredFile) else [ref.digest for ref in old]
            sizes = [self._size_of(digest) for digest in digests]
        tail = self.read(StoredFile(sizes[-1], digests[-1], digests[-1])) if digests else b""
        with open_source(source) as filler:
            new_digests, new_sizes = self._write_stream(Prefixed(tail, filler))
        return _stored_file(digests[:-1] + new_digests, sizes[:-1] + new_sizes)

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
            place = self._find_place(digest)
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
            self._close_block()
            self._place_encoded()

    def chunk_lists(self, files: Sequence[StoredFile]) -> pa.Array:
        """Return the chunk references of *files*, one list each: the ``chunks`` column of their rows.

        Cost: as `flush`.
        """
        with self._lock:
            self.flush()
            return self._places.lists(file.digests() for file in files)

    def chunk_lists_of_one(self, digests: Sequence[bytes]) -> pa.Array:
        """Return the same for files of one chunk each, which are their *digests*."""
        with self._lock:
            self.flush()
            return self._places.lists_of_one(digests)

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
        """Add a commit record to the open pack, behind the pages that it refers to. Cost: as `put_page`.

        It is never durable before they are: a pack with a record is stored when all before it are.
        """
        with self._lock:
            frame = self._append(FrameKind.COMMIT, payload)
            self._has_record = True
            return frame

    def read_open_frame(self, ref: FrameRef, kind: FrameKind) -> memoryview | None:
        """Return the payload of a frame that is still in memory, or ``None``; for `PageSource.overlaid`."""
        found = self._find_open(ref, {kind})
        return None if found is None else found[1]

    def close_pack(self) -> None:
        """Make everything that was taken in or appended to the open pack durable.

        Afterwards `open_pack` begins another one, for a transaction that has to write its pages again.

        Raises:
            StorageError: The object store failed; nothing refers to the packs of this transaction yet.

        Cost: as `flush`; 1 PUT, none when nothing was written.
        """
        with self._lock:
            self.flush()
            self._encoder.stop()
            if self._pack is not None and not self._pack.is_empty:
                self._uploads.store_now(self._pack)
            else:
                self._uploads.drain()
            self._pack = None
            self._takes_metadata = self._has_record = False

    def abort(self) -> None:
        """Drop everything that is not stored yet; stored packs stay as garbage for the collector."""
        with self._lock:
            if self._pack is not None:
                self._pack.abort()
            self._pack = None
            self._encoder.stop()
            self._uploads.abandon()
            self._in_flight.clear()
            self._unplaced.clear()
            self._waiting.clear()
            self._block.clear()
            self._held.clear()
            self._windows.clear()

    @property
    def own_packs(self) -> frozenset[PackName]:
        """The packs that this writer began, durable or not."""
        with self._lock:
            return frozenset(self._own_packs)

    def packs(self) -> list[PackInfo]:
        """Return the packs that are durable, in the order in which they were filled."""
        with self._lock:
            return self._uploads.stored

    def new_chunks(self) -> pa.Table:
        """Return the chunks that this writer stored, for the index; with the columns of `NEW_CHUNKS`."""
        with self._lock:
            return self._places.new()

    def take_window(self) -> Window:
        """Return working memory for `take_chunks`."""
        return self._windows.take()

    def take_chunks(self, window: Window, chunks: Sequence[tuple[bytes, int, int]]) -> None:
        """Store those chunks that the store lacks; *chunks* lists (digest, start, size) of what lies in *window*.

        The window still belongs to the caller, who says with `release_window` that nothing more is taken from it.

        Raises:
            StorageError: The object store failed; give up this transaction.

        Cost: 1 index look-up; 1 PUT for every 48 MiB of new compressed data.
        """
        with self._lock:
            lacking = {chunk[0]: chunk for chunk in chunks if not self._is_known(chunk[0])}
            if not lacking:
                return
            for ref in self._index.find(list(lacking)).values():
                self._places.add(ref, is_new=False)
                del lacking[ref.digest]
            blocks = list(blocks_of(window, lacking.values()))
            window.users += sum(block.window is window for block in blocks)
            self._in_flight.update(lacking)
            self._encode(blocks)

    def take_references(self, parts: Sequence[tuple[bytes, bytes, int]]) -> None:
        """Store references to those parts of objects elsewhere, as (digest, payload, size), that the store lacks.

        Cost: as `take_chunks`, where the data is the payloads.
        """
        with self._lock:
            lacking = {part[0]: part for part in parts if not self._is_known(part[0])}
            for ref in self._index.find(list(lacking)).values():
                self._places.add(ref, is_new=False)
                del lacking[ref.digest]
            for digest, payload, size in lacking.values():
                pack = self._current_pack()
                self._places.add_block(pack.append_source(payload, digest, size), [(digest, 0, size)])
                if pack.size_bytes >= self._roll_bytes:
                    self._roll(pack)

    def release_window(self, window: Window) -> None:
        """Say that nothing more is taken from *window*, and that its bytes are not read any more."""
        with self._lock:
            self._windows.release(window)

    def write_local(self, path: Path, *, on_read: Callable[[int], None] | None = None) -> StoredFile:
        """Take in a local file that must not change meanwhile; as `write`.

        Args:
            on_read: Called with the number of bytes each time that some were taken in.

        Raises:
            SourceChangedError: It changed or vanished meanwhile; import it again.
        """
        with LocalSource(path) as source:
            return _stored_file(*self._write_stream(source, on_read))

    def _find_open(self, ref: FrameRef, kinds: Collection[FrameKind]) -> tuple[FrameKind, memoryview] | None:
        """Return the kind and payload of a frame that is still in memory, or ``None``."""
        with self._lock:
            if self._pack is not None and self._pack.pack == ref.pack:
                return self._pack.read_one_of(ref, kinds)
            stored_now = self._uploads.find(ref.pack)
            # Under the lock: once it is stored, its windows are filled anew.
            return stored_now.read_one_of(ref, kinds) if stored_now is not None else None

    def _write_bytes(self, data: memoryview) -> StoredFile:
        if len(data) <= MINIMUM_SIZE:
            return self._write_small(data)
        digests: list[bytes] = []
        sizes: list[int] = []
        for chunk in cut_bytes(data):
            digests.append(digest_of(chunk))
            sizes.append(len(chunk))
            with self._lock:
                self._take(digests[-1], chunk)
        return _stored_file(digests, sizes)

    def _write_small(self, data: Buffer) -> StoredFile:
        if not data:
            return StoredFile(0, file_digest([], []), b"")
        digest = digest_of(data)
        with self._lock:
            self._take(digest, data)
        return StoredFile(len(data), digest, digest)

    def _write_stream(
        self, source: Filler, on_read: Callable[[int], None] | None = None
    ) -> tuple[list[bytes], list[int]]:
        """Take in the chunks of *source* and return their digests and sizes."""
        windows: deque[Window] = deque()

        def take_window() -> memoryview:
            windows.append(self._windows.take())
            return windows[-1].view

        named: list[tuple[bytes, int, int]] = []
        naming: Future[list[tuple[bytes, int, int]]] | None = None  # of the window before: it must stay until now
        for chunks in cut_stream(source, take_window):
            size = sum(map(len, chunks))
            if naming is None and size <= MINIMUM_SIZE:
                small = [self._write_small(chunk).digest for chunk in chunks]
                self.release_window(windows.popleft())
                return small, [len(chunk) for chunk in chunks]
            if naming is not None:
                named += self._take_named(windows.popleft(), naming.result())
            with self._lock:
                naming = self._encoder.threads.submit(name_chunks, chunks)
            if on_read is not None:
                on_read(size)
        if naming is not None:
            named += self._take_named(windows.popleft(), naming.result())
        return [digest for digest, _, _ in named], [size for _, _, size in named]

    def _take_named(self, window: Window, chunks: list[tuple[bytes, int, int]]) -> list[tuple[bytes, int, int]]:
        self.take_chunks(window, chunks)
        self.release_window(window)
        return chunks

    def _is_known(self, digest: bytes) -> bool:
        return digest in self._places or digest in self._in_flight or digest in self._unplaced

    def _size_of(self, digest: bytes) -> int:
        place = self._find_place(digest)
        return place.size if isinstance(place, ChunkRef) else len(place)

    def _find_place(self, digest: bytes) -> bytes | ChunkRef:
        """Return where a chunk is, or the chunk itself while it waits."""
        with self._lock:
            if digest in self._in_flight and digest not in self._unplaced:
                self._place_encoded()
            waiting = self._unplaced.get(digest)
            return waiting if waiting is not None else self._places[digest]

    def _take(self, digest: bytes, data: Buffer) -> None:
        if self._is_known(digest):
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
                self._encode([Block(data, [(digest, 0, len(data))], None)])
            else:
                self._block.append(digest)
                self._block_bytes += len(data)
                if self._block_bytes >= BLOCK_BYTES:
                    self._close_block()

    def _close_block(self) -> None:
        if not self._block:
            return
        parts = [self._unplaced[digest] for digest in self._block]
        chunks: list[tuple[bytes, int, int]] = []
        inner = 0
        for digest, part in zip(self._block, parts, strict=True):
            chunks.append((digest, inner, len(part)))
            inner += len(part)
        self._block, self._block_bytes = [], 0
        self._encode([Block(parts[0] if len(parts) == 1 else b"".join(parts), chunks, None)])

    def _encode(self, blocks: Sequence[Block]) -> None:
        self._encoder.put(blocks)
        while self._encoder.is_full:
            for encoded in self._encoder.take():
                self._append_block(encoded)

    def _place_encoded(self) -> None:
        while not self._encoder.is_empty:
            for encoded in self._encoder.take():
                self._append_block(encoded)

    def _append_block(self, encoded: EncodedBlock) -> None:
        block, payload = encoded
        pack = self._current_pack()
        self._places.add_block(pack.append_block(payload, block.chunks), block.chunks)
        for digest, _, _ in block.chunks:
            self._unplaced.pop(digest, None)
            self._in_flight.discard(digest)
        if block.window is not None:
            if payload.codec is Codec.RAW and block.raw is payload.stored:
                self._held.setdefault(pack.pack, []).append(block.window)
            else:
                self._windows.release(block.window)
        if pack.size_bytes >= self._roll_bytes:
            self._roll(pack)

    def _release_windows(self, pack: PackWriter) -> None:
        for window in self._held.pop(pack.pack, ()):
            self._windows.release(window)

    def _append(self, kind: FrameKind, payload: Buffer) -> FrameRef:
        with self._lock:
            pack = self._current_pack() if self._takes_metadata else self.open_pack()
            self._takes_metadata = True
            frame = pack.append(kind, payload)
            if pack.size_bytes >= self._roll_bytes and kind is not FrameKind.COMMIT:
                if self._has_record:
                    self._uploads.drain()
                    self._has_record = False
                self._roll(pack)
            return frame

    def _current_pack(self) -> PackWriter:
        if self._pack is None:
            self._pack = PackWriter(self._objects)
            self._own_packs.add(self._pack.name)
        return self._pack

    def _roll(self, pack: PackWriter) -> None:
        if self._before_early_pack is not None:
            self._before_early_pack()
        self._pack = None
        self._uploads.add(pack)


def _stored_file(digests: Sequence[bytes], sizes: Sequence[int]) -> StoredFile:
    return StoredFile(sum(sizes), file_digest(digests, sizes), b"".join(digests))
