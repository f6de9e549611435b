"""Reading files from their chunks; every frame is verified."""

import io
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Final, TypeVar

from versioned_io.errors import IntegrityError, InvalidInputError, PackLostError
from versioned_io.model.places import ChunkRef, FrameRef
from versioned_io.platform.process import new_lock
from versioned_io.storage.chunks.cutting import digest_of
from versioned_io.storage.chunks.mending import MendedBlock, Mender, RawBlock, cut_block
from versioned_io.storage.elsewhere import Elsewhere
from versioned_io.storage.elsewhere.parts import decode_part, name_part
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.packs.damages import Damages
from versioned_io.storage.packs.frames import CONTENT_KINDS, FrameKind
from versioned_io.storage.packs.reader import fetch_each

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CACHE_BYTES: Final = 32 * 1024 * 1024
_WINDOW_BYTES: Final = 8 * 1024 * 1024
_FEWEST_CHUNKS: Final = 4  # in a window: parts elsewhere, of 8 MiB, are fetched together
MOST_FRAMES: Final = 32
"""How many frames are read at once. A block has up to 2 MiB, even if only a small chunk of it is needed."""

_MOST_READ_AHEAD: Final = 16  # chunks, of some 350 KB each
_READ_AHEAD_BYTES: Final = 32 * 1024 * 1024
_T = TypeVar("_T")


class ChunkReader:
    """Reads chunks, and caches the blocks that it decoded last, since neighbouring small files are read together.

    May be used by several threads. A chunk may be a part of an object elsewhere. It is then read from there each time,
    and only if the object is still as it was pinned.

    Args:
        elsewhere: The objects outside of the store that may be read; None for none.
        damages: Finds repaired copies of damaged blocks; None to raise at each damage.
        cache_bytes: How many bytes of decoded blocks to keep.
    """

    def __init__(
        self,
        objects: ObjectStore,
        elsewhere: Elsewhere | None = None,
        *,
        damages: Damages | None = None,
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        self._objects = objects
        self._elsewhere = elsewhere if elsewhere is not None else Elsewhere()
        self._mender = None if damages is None else Mender(objects, damages)
        self._cache_bytes = cache_bytes
        self._cached_bytes = 0
        self._blocks: OrderedDict[FrameRef, RawBlock] = OrderedDict()
        self._lock = new_lock()

    def read_file(self, chunks: Sequence[ChunkRef], offset: int = 0, length: int | None = None) -> bytes:
        """Return *length* bytes from *offset* of the file made of *chunks*, or all bytes to its end if it is ``None``.

        Fewer bytes are returned only at the end of the file, as by `io.RawIOBase.read`.

        Raises:
            PackLostError: A pack is missing. Restore it from a backup.
            IntegrityError: Stored bytes differ from the written ones. Run fsck.
            ReferenceBrokenError, InvalidInputError: As for `load_frames`.

        Cost: at most 1 GET for each frame in the range that is not cached; adjacent frames share one. Each part
            elsewhere takes 1 GET, several at once.
        """
        return b"".join(self.stream(chunks, offset, length))

    def stream(self, chunks: Sequence[ChunkRef], offset: int = 0, length: int | None = None) -> Iterator[memoryview]:
        """Yield the same bytes as `read_file`, a chunk at a time.

        Holds about 8 MiB of the file in memory, or 4 parts of at most 8 MiB of a file elsewhere.
        """
        if offset < 0 or (length is not None and length < 0):
            msg = f"can't read {length} bytes from byte {offset}: both must be 0 or more"
            raise InvalidInputError(msg)
        ends = list(accumulate(chunk.size for chunk in chunks))
        total = ends[-1] if ends else 0
        end = total if length is None else min(total, offset + length)
        number = bisect_right(ends, offset)
        while number < len(chunks) and ends[number] - chunks[number].size < end:
            first, number = number, _window_end(chunks, ends, number, end)
            for position, data in enumerate(self.read_chunks(chunks[first:number]), first):
                start = ends[position] - len(data)
                yield data[max(0, offset - start) : max(0, end - start)]

    def read_chunks(self, chunks: Sequence[ChunkRef]) -> list[memoryview]:
        """Return the bytes of every chunk, in order.

        Raises:
            PackLostError: A pack is missing. Restore it from a backup.
            IntegrityError: Stored bytes differ from the written ones. Run fsck.

        Cost: at most 1 GET for each frame that is not cached; adjacent frames share one.
        """
        frames = [chunk.frame for chunk in chunks]
        blocks = dict(zip(frames, self.read_blocks(frames), strict=True))
        # A frame that holds other chunks too is likely to be read again, so it is cached.
        shared = {
            frame
            for frame, chunk in zip(frames, chunks, strict=True)
            if chunk.size < len(blocks[frame]) or isinstance(blocks[frame], MendedBlock)
        }
        self.keep_blocks({frame: blocks[frame] for frame in shared})
        return [
            self.cut_chunk(blocks[frame], chunk.inner, chunk.size, chunk.pack)
            for frame, chunk in zip(frames, chunks, strict=True)
        ]

    def read_blocks(self, frames: Sequence[FrameRef]) -> list[RawBlock]:
        """Return the raw blocks of *frames*, in order, for `cut_chunk`. Cache those needed again with `keep_blocks`.

        Raises:
            PackLostError: A pack is missing. Restore it from a backup.
            IntegrityError: Stored bytes differ from the written ones. Run fsck.

        Cost: at most 1 GET for each frame that is not cached; adjacent frames share one.
        """
        blocks: dict[FrameRef, RawBlock] = {}
        missing: dict[FrameRef, None] = {}
        with self._lock:
            for frame in frames:
                block = self._blocks.get(frame)
                if block is None:
                    missing[frame] = None
                else:
                    self._blocks.move_to_end(frame)
                    blocks[frame] = block
        if missing:
            blocks.update(zip(missing, self.load_frames(list(missing)), strict=True))
        return [blocks[frame] for frame in frames]

    def cut_chunk(self, block: RawBlock, inner: int, size: int, pack: bytes) -> memoryview:
        """Return the chunk of *size* bytes at *inner* of a block of *pack*; see `cut_block`."""
        return cut_block(block, inner, size, pack)

    def load_frames(self, frames: Sequence[FrameRef]) -> list[RawBlock]:
        """Return the raw blocks of *frames*, from the object store or from the objects elsewhere that they refer to.

        Raises:
            PackLostError: A pack is missing. Restore it from a backup.
            IntegrityError: Stored bytes differ from the written ones. Run fsck.
            ReferenceBrokenError: An object elsewhere is no longer as it was pinned. Import it again.
            InvalidInputError: The store was opened without permission to read there. Open it with *sources*.
        """
        return self._resolved(self.fetch_content(frames))

    def fetch_content(self, frames: Sequence[FrameRef]) -> list[tuple[FrameKind, RawBlock]]:
        """Return the kinds and payloads of *frames* as they are in the packs; no object elsewhere is read.

        The contents of a damaged frame are read from their repaired copies.
        """
        return self._fetch(frames, frozenset())

    def _fetch(self, frames: Sequence[FrameRef], before: frozenset[FrameRef]) -> list[tuple[FrameKind, RawBlock]]:
        """Return the same for *frames*, which hold repaired copies of the damaged frames *before*."""
        found: list[tuple[FrameKind, RawBlock]] = []
        for frame, one in zip(frames, fetch_each(self._objects, frames, CONTENT_KINDS), strict=True):
            if not isinstance(one, IntegrityError):
                found.append(one)
            elif self._mender is None or frame in before:
                raise one
            else:
                seen = before | {frame}
                found.append(self._mender.mend(frame, one, lambda some, seen=seen: self._fetch(some, seen)))  # type: ignore[misc]
        return found

    def name_chunk(self, chunk: ChunkRef) -> bytes:
        """Return the actual digest of the bytes that are stored for *chunk*; no object elsewhere is read.

        Raises:
            PackLostError: The pack is missing. Restore it from a backup.
            IntegrityError: The stored bytes are damaged, or belong to another chunk. Run fsck.
        """
        [(kind, payload)] = self.fetch_content([chunk.frame])
        if kind is FrameKind.BLOCK or isinstance(payload, MendedBlock):
            return digest_of(self.cut_chunk(payload, chunk.inner, chunk.size, chunk.pack))
        if (chunk.inner, chunk.size) != (0, decode_part(payload).size):
            msg = f"a chunk of {chunk.size} bytes at {chunk.inner} is not a whole part of a file elsewhere; run fsck"
            raise IntegrityError(msg)
        return name_part(payload)

    def _resolved(self, found: Sequence[tuple[FrameKind, RawBlock]]) -> list[RawBlock]:
        """Return the bytes that the frames hold or refer to."""
        parts = [
            decode_part(payload)
            for kind, payload in found
            if kind is FrameKind.SOURCE and not isinstance(payload, MendedBlock)
        ]
        if not parts:
            return [payload for _, payload in found]
        data = iter(self._elsewhere.read(parts))
        return [next(data) if kind is FrameKind.SOURCE else payload for kind, payload in found]

    def open_file(
        self, chunks: Sequence[ChunkRef], find_again: Callable[[], Sequence[ChunkRef]] | None = None
    ) -> "ChunkFile":
        """Return a seekable reader over the file made of *chunks*; wrap it in `io.BufferedReader` to read lines.

        Args:
            find_again: Called when a pack is missing; returns the present places of the same chunks.

        Cost: none until it is read.
        """
        return ChunkFile(self, chunks, find_again)

    def keep_blocks(self, blocks: Mapping[FrameRef, RawBlock]) -> None:
        """Add *blocks* to the cache, which drops the least recently used blocks."""
        with self._lock:
            for frame, block in blocks.items():
                if frame not in self._blocks:
                    self._blocks[frame] = block if isinstance(block, MendedBlock) else _alone(block)
                    self._cached_bytes += len(block)
            while self._cached_bytes > self._cache_bytes:
                _, dropped = self._blocks.popitem(last=False)
                self._cached_bytes -= len(dropped)


def _window_end(chunks: Sequence[ChunkRef], ends: Sequence[int], first: int, end: int) -> int:
    """Return the end (exclusive) of the chunks that are read together with number *first*, for a read up to *end*."""
    start = ends[first] - chunks[first].size
    frames: set[FrameRef] = set()
    number = first
    while number < len(chunks) and ends[number] - chunks[number].size < end:
        is_enough = number - first >= _FEWEST_CHUNKS and ends[number] - start > _WINDOW_BYTES
        frames.add(chunks[number].frame)
        if number > first and (is_enough or len(frames) > MOST_FRAMES):
            break
        number += 1
    return number


def _alone(block: memoryview) -> memoryview:
    """Return the block in memory of its own: an uncompressed block is a view of all bytes that were read with it."""
    whole = block.obj if isinstance(block.obj, bytes) else b""
    return block if len(whole) == len(block) else memoryview(bytes(block))


class ChunkFile(io.RawIOBase):
    """A seekable, read-only file over chunks, which keeps the last chunks in memory. For one thread."""

    def __init__(
        self,
        reader: ChunkReader,
        chunks: Sequence[ChunkRef],
        find_again: Callable[[], Sequence[ChunkRef]] | None = None,
    ) -> None:
        super().__init__()
        self._reader = reader
        self._find_again = find_again
        self._chunks = chunks
        self._ends = list(accumulate(chunk.size for chunk in chunks))
        self._position = 0
        self._held: dict[int, memoryview] = {}  # the chunks that were read last, by number
        self._ahead = 1

    @property
    def size(self) -> int:
        """The file's size in bytes."""
        return self._ends[-1] if self._ends else 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Return the position of the next byte to read."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to *offset* from the start, the position or the end, and return the new position. Cost: none."""
        self._check_open()
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}.get(whence)
        if origin is None or origin + offset < 0:
            msg = f"can't seek to {offset} from {whence!r}"
            raise InvalidInputError(msg)
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read into *buffer*, at most to the end of the current chunk, and return the number of bytes; 0 at the end."""
        self._check_open()
        target = memoryview(buffer).cast("B")
        if self._position >= self.size or not target:
            return 0
        number = bisect_right(self._ends, self._position)
        data = self._held[number] if number in self._held else self._read_from(number)
        at = self._position - (self._ends[number] - self._chunks[number].size)
        count = min(len(target), len(data) - at)
        target[:count] = data[at : at + count]
        self._position += count
        return count

    def readall(self) -> bytes:
        """Return everything from the position to the end."""
        self._check_open()
        data = self._settled(lambda: self._reader.read_file(self._chunks, self._position))
        self._position += len(data)
        return data

    def _read_from(self, number: int) -> memoryview:
        """Return a chunk, and read ahead: the longer the sequential read, the more chunks."""
        goes_on = number - 1 in self._held
        self._ahead = min(self._ahead * 2, _MOST_READ_AHEAD) if goes_on else 1
        stop = min(number + self._ahead, len(self._chunks))
        while stop - number > 1 and self._ends[stop - 1] - self._ends[number - 1] > _READ_AHEAD_BYTES:
            stop -= 1
        parts = self._settled(lambda: self._reader.read_chunks(self._chunks[number:stop]))
        self._held = dict(zip(range(number, stop), parts, strict=True))
        return parts[0]

    def _settled(self, call: Callable[[], _T]) -> _T:
        """Return the result of *call*; if a pack is missing, find the chunks' new places and retry once."""
        try:
            return call()
        except PackLostError:
            found = self._chunks if self._find_again is None else self._find_again()
            if found == self._chunks:
                raise
            self._chunks = found
            return call()

    def _check_open(self) -> None:
        if self.closed:
            msg = "the file is closed: open it again"
            raise InvalidInputError(msg)
