"""Taking files in: their bytes are drawn from sources, cut by content, and named."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final, TypeAlias

from versioned_io.errors import InvalidInputError
from versioned_io.model.places import ChunkRef, ChunkSpan, FrameRef
from versioned_io.storage.chunks.chunk_columns import FileColumns, TakenFile
from versioned_io.storage.chunks.cutting import MINIMUM_SIZE, cut_bytes, cut_stream, digest_of, file_digest
from versioned_io.storage.chunks.mending import RawBlock
from versioned_io.storage.chunks.placing import ChunkPlacer
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.storage.chunks.sources import Filler, LocalSource, Prefixed, Source, open_source
from versioned_io.storage.chunks.windows import Window
from versioned_io.storage.elsewhere import Elsewhere
from versioned_io.storage.elsewhere.parts import EncodedPart, Pin, encode_part, name_part, parts_of
from versioned_io.storage.objects.port import Buffer, ObjectStore
from versioned_io.storage.packs.damages import Damages
from versioned_io.storage.packs.frames import CONTENT_KINDS, FrameKind

_PARTS_AT_ONCE: Final = 4096

FindOpen: TypeAlias = Callable[[FrameRef, Collection[FrameKind]], tuple[FrameKind, memoryview] | None]
"""Returns the kind and payload of a frame that is still in memory, or None."""


class OverlayReader(ChunkReader):
    """Reads chunks, also those whose frames a writer still has in memory."""

    def __init__(
        self, objects: ObjectStore, elsewhere: Elsewhere | None, find_open: FindOpen, damages: Damages | None
    ) -> None:
        super().__init__(objects, elsewhere, damages=damages)
        self._find_open = find_open

    def fetch_content(self, frames: Sequence[FrameRef]) -> list[tuple[FrameKind, RawBlock]]:
        """See `ChunkReader.fetch_content`."""
        held = [self._find_open(frame, CONTENT_KINDS) for frame in frames]
        stored = [frame for frame, found in zip(frames, held, strict=True) if found is None]
        fetched = iter(super().fetch_content(stored))
        return [found if found is not None else next(fetched) for found in held]


class FileIntake:
    """Takes in the files of one transaction, and reads them back. Threads may call all of it at once.

    Attributes:
        placer: Where their chunks go.
    """

    def __init__(self, placer: ChunkPlacer, reader: ChunkReader) -> None:
        self.placer = placer
        self._reader = reader

    def write(self, source: Source) -> TakenFile:
        """Take in one file, whatever its size, in bounded memory.

        The bytes can be read back with `read` at once; they are durable when the transaction's packs are.

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
            return _taken(self._write_stream(filler))

    def append(self, old: TakenFile | Sequence[ChunkRef], source: Source) -> TakenFile:
        """Take in the file that *old* becomes with the bytes of *source* behind it; as `write` of the whole.

        Args:
            old: The file that `write` or `append` returned, or the chunks of a file that the store holds.

        Cost: as `write` of *source* and of the last chunk of *old*, which is read. All other chunks stay, since a cut
            depends only on the bytes after the cut before it. A file of up to 8 MiB is read back.
        """
        if isinstance(old, TakenFile):
            digests = old.digests()
        else:
            self.placer.adopt(old)
            digests = [ref.digest for ref in old]
        kept = list(zip(digests, self.placer.sizes_of(digests), strict=True))
        tail = b""
        if kept:
            last, size = kept.pop()
            tail = self.read(TakenFile(size, last, last))
        with open_source(source) as filler:
            return _taken(kept + self._write_stream(Prefixed(tail, filler)))

    def write_local(self, path: Path, *, on_read: Callable[[int], None] | None = None) -> TakenFile:
        """Take in a local file that must not change meanwhile; as `write`.

        Args:
            on_read: Called with the number of bytes each time that some were taken in.

        Raises:
            SourceChangedError: It changed or vanished meanwhile; import it again.
        """
        with LocalSource(path) as source:
            return _taken(self._write_stream(source, on_read))

    def read(self, file: TakenFile, offset: int = 0, length: int | None = None) -> bytes:
        """Return bytes of a file that `write` returned, stored or not; as `ChunkReader.read_file`.

        Cost: none for bytes that are still in memory, else as `ChunkReader.read_file`.
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
            place = self.placer.find(digest)
            stop = start + (place.size if isinstance(place, ChunkRef) else len(place))
            if stop > offset:
                data = self._reader.read_chunks([place])[0] if isinstance(place, ChunkRef) else memoryview(place)
                parts.append(data[max(0, offset - start) : end - start])
            start = stop
        return b"".join(parts)

    def _write_bytes(self, data: memoryview) -> TakenFile:
        if len(data) <= MINIMUM_SIZE:
            return self._write_small(data)
        chunks: list[_Named] = []
        for chunk in cut_bytes(data):
            digest = digest_of(chunk)
            chunks.append((digest, len(chunk)))
            self.placer.take(digest, chunk)
        return _taken(chunks)

    def _write_small(self, data: Buffer) -> TakenFile:
        if not data:
            return TakenFile(0, file_digest([], []), b"")
        digest = digest_of(data)
        self.placer.take(digest, data)
        return TakenFile(len(data), digest, digest)

    def _write_stream(self, source: Filler, on_read: Callable[[int], None] | None = None) -> "list[_Named]":
        """Take in the chunks of *source* and return their digests and sizes."""
        windows: deque[Window] = deque()

        def take_window() -> memoryview:
            windows.append(self.placer.windows.take())
            return windows[-1].view

        named: list[_Named] = []
        naming: Future[list[ChunkSpan]] | None = None  # of the window before: it must stay until now
        for chunks in cut_stream(source, take_window):
            size = sum(map(len, chunks))
            if naming is None and size <= MINIMUM_SIZE:
                small = [(self._write_small(chunk).digest, len(chunk)) for chunk in chunks]
                self.placer.windows.release(windows.popleft())
                return small
            if naming is not None:
                named += self._take_named(windows.popleft(), naming.result())
            naming = self.placer.begin_naming(chunks)
            if on_read is not None:
                on_read(size)
        if naming is not None:
            named += self._take_named(windows.popleft(), naming.result())
        return named

    def _take_named(self, window: Window, chunks: Sequence[ChunkSpan]) -> "list[_Named]":
        self.placer.take_chunks(window, chunks)
        self.placer.windows.release(window)
        return [(chunk.digest, chunk.size) for chunk in chunks]


def take_pins(placer: ChunkPlacer, pins: Iterable[Pin], *, on_taken: Callable[[int, int], None]) -> FileColumns:
    """Take in a reference to each object of *pins*, and return the files that they are; no byte of them is read.

    Args:
        on_taken: Called at least for every 4,096 parts, with the numbers of files and of bytes that were taken in since
            the last call.

    Raises:
        StorageError: The object store failed; give up this transaction.

    Cost: 1 index look-up for every 4,096 parts of 8 MiB, some 250 bytes stored for each new one; 60 us of CPU a part.
    """
    columns = FileColumns()
    waiting: list[EncodedPart] = []
    files = size_bytes = 0
    for pin in pins:
        chunks: list[_Named] = []
        for part in parts_of(pin):
            payload = encode_part(part)
            waiting.append(EncodedPart(name_part(payload), payload, part.size))
            chunks.append((waiting[-1].digest, part.size))
            if len(waiting) >= _PARTS_AT_ONCE:
                placer.take_references(waiting)
                waiting = []
                on_taken(files, size_bytes)
                files = size_bytes = 0
        columns.add(_taken(chunks))
        files, size_bytes = files + 1, size_bytes + pin.size
    placer.take_references(waiting)
    on_taken(files, size_bytes)
    return columns


_Named: TypeAlias = tuple[bytes, int]
"""The digest and the size of a chunk."""


def _taken(chunks: Sequence[_Named]) -> TakenFile:
    digests = [digest for digest, _ in chunks]
    sizes = [size for _, size in chunks]
    return TakenFile(sum(sizes), file_digest(digests, sizes), b"".join(digests))
