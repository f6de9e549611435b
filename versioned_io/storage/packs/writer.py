"""Building a pack in memory, and storing it with one PUT."""

from collections.abc import Collection, Sequence

from versioned_io.errors import ExistsError, InvalidInputError
from versioned_io.model.identifiers import PackName, new_pack_name
from versioned_io.model.places import ChunkSpan, FrameRef, PackInfo, pack_key
from versioned_io.storage.objects.port import Buffer, ObjectStore
from versioned_io.storage.packs.footer import (
    FooterFrame,
    encode_footer_chunks,
    encode_head,
    encode_trailer,
    join_footer,
)
from versioned_io.storage.packs.frames import (
    HEADER_SIZE,
    FrameKind,
    Payload,
    compress_payload,
    decode_one_of,
    encode_frame,
    encode_header,
    place_frame,
)


class PackWriter:
    """One pack that is being filled, in memory until `close` stores it.

    Its name is chosen up front, so that frames can refer to each other before the pack is stored.
    Only one thread may append at a time. A pack that is never closed leaves nothing behind.

    Attributes:
        name: The pack's name.
        pack: The name as the 16 bytes in references.
    """

    def __init__(self, objects: ObjectStore, *, name: PackName | None = None) -> None:
        self._objects = objects
        self.name = name if name is not None else new_pack_name()
        self.pack = bytes.fromhex(self.name)
        head = encode_head(self.pack)
        self._parts: list[Buffer] = [head]
        self._size = len(head)
        self._frames: list[FooterFrame] = []
        self._part_of: dict[int, int] = {}
        self._chunk_lines = bytearray()
        self._chunk_count = 0
        self._open = True

    @property
    def size_bytes(self) -> int:
        """The size of the pack so far, without its footer."""
        return self._size

    @property
    def is_empty(self) -> bool:
        """Whether no frame has been appended yet."""
        return not self._frames

    def append(self, kind: FrameKind, payload: Buffer) -> FrameRef:
        """Append a frame of *payload*, and return its place.

        Args:
            payload: Must not change afterwards, because incompressible bytes are kept, not copied.

        Raises:
            InvalidInputError: The pack is closed. Append to another.

        Cost: no request; zstd and XXH3 over the payload.
        """
        return self.append_payload(kind, compress_payload(payload))

    def append_payload(self, kind: FrameKind, payload: Payload) -> FrameRef:
        """Append a frame whose payload is already compressed; otherwise as `append`."""
        self._check_open()
        offset = self._size
        self._part_of[offset] = len(self._parts)
        self._parts += (encode_header(self.pack, offset, kind, payload), payload.stored)
        stored_size = HEADER_SIZE + len(payload.stored)
        self._size += stored_size
        self._frames.append(FooterFrame(kind, offset, stored_size, payload.raw_size))
        return FrameRef(self.pack, offset, stored_size)

    def append_moved(self, frame: FooterFrame, data: Buffer, source: FrameRef, chunks: Sequence[ChunkSpan]) -> FrameRef:
        """Append a frame of another pack in its stored form, and return its new place.

        Args:
            frame: The entry of the frame in the other pack's footer.
            data: The whole frame as stored at *source*.
            chunks: For a block: the span of each chunk in the payload.

        Raises:
            IntegrityError: *data* differs from the written bytes. Run fsck.
            InvalidInputError: The pack is closed. Append to another.

        Cost: no request; XXH3 over the frame, twice.
        """
        self._check_open()
        offset = self._size
        head, stored = place_frame(self.pack, offset, data, source=source)
        self._part_of[offset] = len(self._parts)
        self._parts += (head, stored)
        self._size += frame.stored_size
        self._frames.append(FooterFrame(frame.kind, offset, frame.stored_size, frame.raw_size))
        self._chunk_lines += encode_footer_chunks(len(self._frames) - 1, chunks)
        self._chunk_count += len(chunks)
        return FrameRef(self.pack, offset, frame.stored_size)

    def append_block(self, payload: Buffer | Payload, chunks: Sequence[ChunkSpan]) -> FrameRef:
        """Append a block; *chunks* are spans of the payload, for the footer."""
        return self._append_content(FrameKind.BLOCK, payload, chunks)

    def append_source(self, payload: Buffer, digest: bytes, size: int) -> FrameRef:
        """Append a frame for *size* bytes of an object elsewhere, the chunk *digest*; the footer lists the chunk."""
        return self._append_content(FrameKind.SOURCE, payload, [ChunkSpan(digest, 0, size)])

    def _append_content(self, kind: FrameKind, payload: Buffer | Payload, chunks: Sequence[ChunkSpan]) -> FrameRef:
        stored = payload if isinstance(payload, Payload) else compress_payload(payload)
        ref = self.append_payload(kind, stored)
        self._chunk_lines += encode_footer_chunks(len(self._frames) - 1, chunks)
        self._chunk_count += len(chunks)
        return ref

    def read(self, ref: FrameRef, kind: FrameKind) -> memoryview:
        """Return the payload of a frame that was appended here and may not be stored yet. Any thread may call this."""
        return self.read_one_of(ref, {kind})[1]

    def read_one_of(self, ref: FrameRef, kinds: Collection[FrameKind]) -> tuple[FrameKind, memoryview]:
        """Return the kind and the payload of a frame of one of *kinds*; otherwise as `read`."""
        part = self._part_of[ref.offset]
        return decode_one_of(self.pack, ref.offset, b"".join(self._parts[part : part + 2]), kinds)

    def close(self) -> PackInfo:
        """Make the pack durable, whole or not at all, and return its name and size.

        The frames stay readable here until the writer is dropped.

        Raises:
            StorageError: The store failed. Nothing may refer to this pack: write the frames to another.
            ExistsError: Another object has the pack's name, which somebody must have put there.

        Cost: 1 PUT.
        """
        self._check_open()
        self._open = False
        footer_offset = self._size
        payload = join_footer(self._frames, self._chunk_lines)
        head, stored = encode_frame(self.pack, footer_offset, FrameKind.FOOTER, payload)
        trailer = encode_trailer(self.pack, footer_offset, len(head) + len(stored))
        parts = [*self._parts, head, stored, trailer]
        try:
            self._objects.put(pack_key(self.name), parts)
        except ExistsError:
            # No other writer chooses this name: an earlier try of the client succeeded, and its reply was lost.
            if self._objects.get(pack_key(self.name)) != b"".join(parts):
                raise
        size_bytes = footer_offset + len(head) + len(stored) + len(trailer)
        return PackInfo(self.name, size_bytes, len(self._frames), self._chunk_count)

    def abort(self) -> None:
        """Drop the pack: nothing is stored, and its frames can no longer be read."""
        self._open = False
        self._parts.clear()
        self._part_of.clear()

    def _check_open(self) -> None:
        if not self._open:
            msg = f"pack {self.name} is closed: append to another"
            raise InvalidInputError(msg)
