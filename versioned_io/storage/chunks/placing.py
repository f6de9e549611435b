"""Giving each chunk of a transaction its place: where the store has it already, or in a new pack."""

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final

import pyarrow as pa

from versioned_io.model.damages import Healed
from versioned_io.model.places import ChunkRef, ChunkSpan
from versioned_io.platform.process import new_reentrant_lock
from versioned_io.storage.chunks.blocks import BLOCK_BYTES, Block, BlockEncoder, EncodedBlock, blocks_of
from versioned_io.storage.chunks.chunk_columns import TakenFile
from versioned_io.storage.chunks.cutting import MINIMUM_SIZE, name_chunks
from versioned_io.storage.chunks.placed import ChunkPlaces
from versioned_io.storage.chunks.read_back import ReadBack
from versioned_io.storage.chunks.windows import Window, WindowPool
from versioned_io.storage.elsewhere.parts import EncodedPart
from versioned_io.storage.objects.port import Buffer
from versioned_io.storage.packs.frames import Codec
from versioned_io.storage.packs.pack_session import PackSession

_WAITING_BYTES: Final = 8 * 1024 * 1024
_WAITING_CHUNKS: Final = 4096
_APPENDED_BYTES: Final = 8 * 1024 * 1024  # a file up to this size is read back when it is appended to


class ChunkPlacer:
    """Stores the chunks of one transaction that the store lacks, and knows where all of them are.

    Chunks wait in memory (at most about 8 MiB) until they are looked up in the index together. Then small ones are
    gathered in blocks, and blocks are compressed on all cores. All methods may be called by several threads.

    Args:
        stored: The chunks that are stored already.
        packs: Where new chunks go.

    Attributes:
        windows: Working memory for `take_chunks`.
    """

    def __init__(self, stored: ReadBack, packs: PackSession) -> None:
        self._stored = stored
        self._packs = packs
        self.windows = WindowPool()
        self._lock = new_reentrant_lock()
        self._encoder = BlockEncoder()
        self._places = ChunkPlaces()
        self._in_flight: set[bytes] = set()  # chunks that are being compressed
        self._unplaced: dict[bytes, bytes] = {}  # chunks that wait for the index or in the block
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._block: list[bytes] = []
        self._block_bytes = 0

    def take(self, digest: bytes, data: Buffer) -> None:
        """Take in one chunk; *data* is copied if it is new.

        Raises:
            StorageError: The object store failed; give up this transaction.

        Cost: 1 index look-up for every 8 MiB or 4,096 chunks, 1 PUT for every 48 MiB of new compressed data.
        """
        with self._lock:
            if self._is_known(digest):
                return
            self._unplaced[digest] = bytes(data)
            self._waiting.append(digest)
            self._waiting_bytes += len(data)
            if self._waiting_bytes >= _WAITING_BYTES or len(self._waiting) >= _WAITING_CHUNKS:
                self._look_up_waiting()

    def take_chunks(self, window: Window, chunks: Sequence[ChunkSpan]) -> None:
        """Take in *chunks* of *window*.

        The window still belongs to the caller, who releases it when nothing more is taken from it.

        Raises:
            StorageError: The object store failed; give up this transaction.

        Cost: 1 index look-up; 1 PUT for every 48 MiB of new compressed data.
        """
        with self._lock:
            lacking = {chunk.digest: chunk for chunk in chunks if not self._is_known(chunk.digest)}
            if not lacking:
                return
            for ref in self._stored.find(list(lacking)).values():
                self._places.add(ref, is_new=False)
                del lacking[ref.digest]
            blocks = list(blocks_of(window, lacking.values()))
            self.windows.hold(window, sum(block.window is window for block in blocks))
            self._in_flight.update(lacking)
            self._encode(blocks)

    def take_references(self, parts: Sequence[EncodedPart]) -> None:
        """Take in references to *parts* of objects elsewhere.

        Cost: as `take_chunks`, where the data is the payloads.
        """
        with self._lock:
            lacking = {part.digest: part for part in parts if not self._is_known(part.digest)}
            for ref in self._stored.find(list(lacking)).values():
                self._places.add(ref, is_new=False)
                del lacking[ref.digest]
            for part in lacking.values():
                frame = self._packs.append_source(part.payload, part.digest, part.size)
                self._places.add_block(frame, [ChunkSpan(part.digest, 0, part.size)])
                self._packs.roll_if_full()

    def adopt(self, refs: Sequence[ChunkRef]) -> None:
        """Refer to the chunks of a file of the store that is appended to. A file of up to 8 MiB is read back."""
        with self._lock:
            if sum(ref.size for ref in refs) <= _APPENDED_BYTES:
                refs = self._stored.readable(refs, self._places)
            for ref in refs:
                if not self._is_known(ref.digest):
                    self._places.add(ref, is_new=False)

    def begin_naming(self, chunks: Sequence[memoryview]) -> Future[list[ChunkSpan]]:
        """Begin to name the chunks of one window, in a thread; see `name_chunks`."""
        with self._lock:
            return self._encoder.threads.submit(name_chunks, chunks)

    def find(self, digest: bytes) -> bytes | ChunkRef:
        """Return where a chunk is that was taken in or adopted, or its bytes while it waits."""
        with self._lock:
            if digest in self._in_flight and digest not in self._unplaced:
                self._place_encoded()
            waiting = self._unplaced.get(digest)
            return waiting if waiting is not None else self._places[digest]

    def sizes_of(self, digests: Sequence[bytes]) -> list[int]:
        """Return the sizes of chunks that were taken in or adopted."""
        places = map(self.find, digests)
        return [place.size if isinstance(place, ChunkRef) else len(place) for place in places]

    def flush(self) -> None:
        """Place every chunk; the last pack may still be open.

        Cost: at most 1 index look-up; no PUT unless a pack fills.
        """
        with self._lock:
            self._look_up_waiting()
            self._close_block()
            self._place_encoded()

    def finish(self) -> None:
        """Place every chunk, and end the threads that compress; the next chunk begins them again.

        Cost: as `flush`.
        """
        with self._lock:
            self.flush()
            self._encoder.stop()

    def abort(self) -> None:
        """Drop every chunk that has no place yet."""
        with self._lock:
            self._encoder.stop()
            self._in_flight.clear()
            self._unplaced.clear()
            self._waiting.clear()
            self._block.clear()
            self.windows.clear()

    def chunk_lists(self, files: Sequence[TakenFile]) -> pa.Array:
        """Return the chunk references of *files*, one list each: the ``chunks`` column of their rows.

        Cost: as `flush`.
        """
        with self._lock:
            self.flush()
            return self._places.lists(file.digests() for file in files)

    def chunk_lists_of_one(self, digests: Sequence[bytes]) -> pa.Array:
        """Return the same for files of one chunk each, given by their *digests*."""
        with self._lock:
            self.flush()
            return self._places.lists_of_one(digests)

    def new_chunks(self) -> pa.Table:
        """Return the chunks that this transaction stored, for the index; with the columns of `NEW_CHUNKS`."""
        with self._lock:
            return self._places.new()

    def readable(self, files: Sequence[Sequence[ChunkRef]]) -> list[tuple[ChunkRef, ...]]:
        """Return the chunks of *files* of the store, where they can be read; see `ReadBack.readable`."""
        with self._lock:
            self.flush()
            return [self._stored.readable(refs, self._places) for refs in files]

    def healed(self) -> list[Healed]:
        """Return the contents that were found damaged, and where this transaction stored them again. Cost: none."""
        with self._lock:
            return self._stored.healed(self._places)

    def healed_of(self, refs: Sequence[ChunkRef]) -> list[Healed]:
        """Read back chunks that stay where they are, and return `healed`; see `ReadBack.check`."""
        with self._lock:
            self._stored.check(refs)
            return self._stored.healed(self._places)

    def _is_known(self, digest: bytes) -> bool:
        return digest in self._places or digest in self._in_flight or digest in self._unplaced

    def _look_up_waiting(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        found = self._stored.find(waiting)
        for digest in waiting:
            ref = found.get(digest)
            data = self._unplaced[digest]
            if ref is not None:
                self._places.add(ref, is_new=False)
                del self._unplaced[digest]
            elif len(data) >= MINIMUM_SIZE:
                self._encode([Block(data, [ChunkSpan(digest, 0, len(data))], None)])
            else:
                self._block.append(digest)
                self._block_bytes += len(data)
                if self._block_bytes >= BLOCK_BYTES:
                    self._close_block()

    def _close_block(self) -> None:
        if not self._block:
            return
        parts = [self._unplaced[digest] for digest in self._block]
        chunks: list[ChunkSpan] = []
        start = 0
        for digest, part in zip(self._block, parts, strict=True):
            chunks.append(ChunkSpan(digest, start, len(part)))
            start += len(part)
        self._block, self._block_bytes = [], 0
        self._encode([Block(parts[0] if len(parts) == 1 else b"".join(parts), chunks, None)])

    def _encode(self, blocks: Sequence[Block]) -> None:
        self._encoder.put(blocks)
        while self._encoder.is_full:
            for encoded in self._encoder.take():
                self._place(encoded)

    def _place_encoded(self) -> None:
        while not self._encoder.is_empty:
            for encoded in self._encoder.take():
                self._place(encoded)

    def _place(self, encoded: EncodedBlock) -> None:
        block, payload = encoded
        # A payload may be a view of the window. Such a window is not filled again before the pack is stored.
        is_view = block.window is not None and payload.codec is Codec.RAW and block.raw is payload.stored
        release = None if block.window is None else partial(self.windows.release, block.window)
        frame = self._packs.append_block(payload, block.chunks, on_stored=release if is_view else None)
        self._places.add_block(frame, block.chunks)
        for chunk in block.chunks:
            self._unplaced.pop(chunk.digest, None)
            self._in_flight.discard(chunk.digest)
        if release is not None and not is_view:
            release()
        self._packs.roll_if_full()
