"""Reading files from their chunks, every frame checked."""

import io
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Final, TypeVar

from versioned_io.chunks.cutting import digest_of
from versioned_io.chunks.refs import ChunkRef
from versioned_io.elsewhere import Elsewhere
from versioned_io.elsewhere.parts import decode_part, name_part
from versioned_io.errors import IntegrityError, InvalidInputError, PackLostError
from versioned_io.objects.port import ObjectStore
from versioned_io.packs.frames import CONTENT_KINDS, FrameKind, FrameRef
from versioned_io.packs.reader import fetch_one_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CACHE_BYTES: Final = 32 * 1024 * 1024
_WINDOW_BYTES: Final = 8 * 1024 * 1024
_FEWEST_CHUNKS: Final = 4  # in a window: parts elsewhere, of 8 MiB, are fetched together
_MOST_READ_AHEAD: Final = 16  # chunks, of some 350 KB each
_READ_AHEAD_BYTES: Final = 32 * 1024 * 1024
_T = TypeVar("_T")


class ChunkReader:
    """Reads chunks; keeps the blocks it decoded last, since small files that lie together are read together.

    May be used by several threads.

    A chunk may be a part of an object elsewhere: it is then read there, every time, and only as it was pinned.

    Args:
        elsewhere: What may be read outside of the store; None for nothing.
        cache_bytes: How many bytes of decoded blocks to keep.
    """

    def __init__(
        self, objects: ObjectStore, elsewhere: Elsewhere | None = None, *, cache_bytes: int = _CACHE_BYTES
    ) -> None:
        self._objects = objects
        self._elsewhere = elsewhere if elsewhere is not None else Elsewhere()
        self._cache_bytes = cache_bytes
        self._cached_bytes = 0
        self._blocks: OrderedDict[FrameRef, memoryview] = OrderedDict()
        self._lock = threading.Lock()

    def read_file(self, chunks: Sequence[ChunkRef], offset: int = 0, length: int | None = None) -> bytes:
        """Return *length* bytes from *offset* of the file made of *chunks*; to its end when *length* is ``None``.

        Fewer bytes come back only where the file ends, as with `io.RawIOBase.read`.

        Raises:
            PackLostError: A pack is gone.
            IntegrityError: Stored bytes are not what was written.
            ReferenceBrokenError, InvalidInputError: As for `load_frames`.

        Cost: at most 1 GET a frame that the range touches and that is not cached, neighbours in one; and 1 for each
            part elsewhere, several at once.
        """
        return b"".join(self.stream(chunks, offset, length))

    def stream(self, chunks: Sequence[ChunkRef], offset: int = 0, length: int | None = None) -> Iterator[memoryview]:
        """Yield the same bytes as `read_file`, a chunk at a time.

        About 8 MiB of the file are held at once; where it lies elsewhere, 4 parts of at most 8 MiB.
        """
        if offset < 0 or (length is not None and length < 0):
            msg = f"can't read {length} bytes from byte {offset}: both must be 0 or more"
            raise InvalidInputError(msg)
        ends = list(accumulate(chunk.size for chunk in chunks))
        total = ends[-1] if ends else 0
        end = total if length is None else min(total, offset + length)
        number = bisect_right(ends, offset)
        while number < len(chunks) and ends[number] - chunks[number].size < end:
            window: list[ChunkRef] = []
            window_bytes = 0
            first = number
            while number < len(chunks) and ends[number] - chunks[number].size < end:
                if len(window) >= _FEWEST_CHUNKS and window_bytes + chunks[number].size > _WINDOW_BYTES:
                    break
                window.append(chunks[number])
                window_bytes += chunks[number].size
                number += 1
            for position, data in enumerate(self.read_chunks(window), first):
                start = ends[position] - len(data)
                yield data[max(0, offset - start) : max(0, end - start)]

    def read_chunks(self, chunks: Sequence[ChunkRef]) -> list[memoryview]:
        """Return the bytes of every chunk, in order.

        Raises:
            PackLostError: A pack is gone.
            IntegrityError: Stored bytes are not what was written.

        Cost: at most 1 GET a frame that is not cached, neighbours in one.
        """
        frames = [chunk.frame for chunk in chunks]
        blocks = dict(zip(frames, self.read_blocks(frames), strict=True))
        # What holds other chunks as well may be asked for again.
        shared = {frame for frame, chunk in zip(frames, chunks, strict=True) if chunk.size < len(blocks[frame])}
        self.keep_blocks({frame: blocks[frame] for frame in shared})
        return [
            self.cut_chunk(blocks[frame], chunk.inner, chunk.size, chunk.pack)
            for frame, chunk in zip(frames, chunks, strict=True)
        ]

    def read_blocks(self, frames: Sequence[FrameRef]) -> list[memoryview]:
        """Return the raw blocks of *frames*, in order, for `cut_chunk`; those that are needed again, `keep_blocks`.

        Raises:
            PackLostError: A pack is gone.
            IntegrityError: Stored bytes are not what was written.

        Cost: at most 1 GET a frame that is not cached, neighbours in one.
        """
        blocks: dict[FrameRef, memoryview] = {}
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

    def cut_chunk(self, block: memoryview, inner: int, size: int, pack: bytes) -> memoryview:
        """Return the chunk of *size* bytes at *inner* of a block of *pack*.

        Raises:
            IntegrityError: It reaches past the block's end.
        """
        if inner + size > len(block):
            msg = f"a chunk of {size} bytes at {inner} reaches past its block in pack {pack.hex()}; run fsck"
            raise IntegrityError(msg)
        return block[inner : inner + size]

    def load_frames(self, frames: Sequence[FrameRef]) -> list[memoryview]:
        """Return the raw blocks of *frames*, from the object store or from where they are a reference to.

        Raises:
            PackLostError: A pack is gone.
            IntegrityError: Stored bytes are not what was written.
            ReferenceBrokenError: An object elsewhere is not as it was pinned; import it again.
            InvalidInputError: It lies where whoever opened the store does not let it read.
        """
        return self._resolved(self.fetch_content(frames))

    def fetch_content(self, frames: Sequence[FrameRef]) -> list[tuple[FrameKind, memoryview]]:
        """Return the kinds and payloads of *frames* as they are in the packs; nothing elsewhere is read."""
        return fetch_one_of(self._objects, frames, CONTENT_KINDS)

    def name_chunk(self, chunk: ChunkRef) -> bytes:
        """Return the digest that what is stored for *chunk* really has; nothing elsewhere is read.

        Raises:
            PackLostError: Its pack is gone.
            IntegrityError: What is stored is damaged, or it is another chunk's.
        """
        [(kind, payload)] = self.fetch_content([chunk.frame])
        if kind is FrameKind.BLOCK:
            return digest_of(self.cut_chunk(payload, chunk.inner, chunk.size, chunk.pack))
        if (chunk.inner, chunk.size) != (0, decode_part(payload).size):
            msg = f"a chunk of {chunk.size} bytes at {chunk.inner} is no whole part of a file elsewhere; run fsck"
            raise IntegrityError(msg)
        return name_part(payload)

    def _resolved(self, found: Sequence[tuple[FrameKind, memoryview]]) -> list[memoryview]:
        """Return the bytes that frames hold, and those that they are a reference to."""
        parts = [decode_part(payload) for kind, payload in found if kind is FrameKind.SOURCE]
        if not parts:
            return [payload for _, payload in found]
        data = iter(self._elsewhere.read(parts))
        return [next(data) if kind is FrameKind.SOURCE else payload for kind, payload in found]

    def open_file(
        self, chunks: Sequence[ChunkRef], find_again: Callable[[], Sequence[ChunkRef]] | None = None
    ) -> "ChunkFile":
        """Return a seekable reader over the file made of *chunks*; wrap it in `io.BufferedReader` to read lines.

        Args:
            find_again: Called when a pack is gone; returns the same chunks, where they lie now.

        Cost: none until it is read.
        """
        return ChunkFile(self, chunks, find_again)

    def keep_blocks(self, blocks: Mapping[FrameRef, memoryview]) -> None:
        """Keep *blocks* in memory as long as others are not used more."""
        with self._lock:
            for frame, block in blocks.items():
                if frame not in self._blocks:
                    # A block that is stored raw is a view of all that was read with it; keep only the block.
                    whole = block.obj if isinstance(block.obj, bytes) else b""
                    self._blocks[frame] = block if len(whole) == len(block) else memoryview(bytes(block))
                    self._cached_bytes += len(block)
            while self._cached_bytes > self._cache_bytes:
                _, dropped = self._blocks.popitem(last=False)
                self._cached_bytes -= len(dropped)


class ChunkFile(io.RawIOBase):
    """A seekable, read-only file over chunks; it keeps the chunks that it read last. For one thread."""

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
        self._held: dict[int, memoryview] = {}  # chunks that were read last, by number
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
        """Return the position of the next byte to be read."""
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
        """Fill *buffer* as far as the current chunk reaches and return how many bytes that was; 0 at the end."""
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
        """Return a chunk; the longer the reading goes straight on, the more chunks are read with it."""
        goes_on = number - 1 in self._held
        self._ahead = min(self._ahead * 2, _MOST_READ_AHEAD) if goes_on else 1
        stop = min(number + self._ahead, len(self._chunks))
        while stop - number > 1 and self._ends[stop - 1] - self._ends[number - 1] > _READ_AHEAD_BYTES:
            stop -= 1
        parts = self._settled(lambda: self._reader.read_chunks(self._chunks[number:stop]))
        self._held = dict(zip(range(number, stop), parts, strict=True))
        return parts[0]

    def _settled(self, call: Callable[[], _T]) -> _T:
        """Return what *call* returns, tried once more when the chunks lie elsewhere by now."""
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
