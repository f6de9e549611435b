"""Finding the intact frames of a pack with a damaged footer: each frame's header gives the start of the next.

Source: docs/spec/format-v1.md, "Frame".
"""

from collections.abc import Iterator
from typing import Final

from versioned_io.errors import IntegrityError
from versioned_io.model.identifiers import PackName
from versioned_io.storage.packs.footer import HEAD_SIZE, FooterFrame
from versioned_io.storage.packs.frames import (
    FRAME_MAGIC,
    HEADER_SIZE,
    FrameHeader,
    FrameKind,
    check_one_of,
    decode_frame,
    decode_header,
)

_MOST_WASTED: Final = 16
"""The limit of bytes that may be checked in vain, because they only look like frames, in multiples of the pack's size.

Damaged frames cost their size about three times. A pack that somebody has stored as a file costs as much again."""

_LEAST_WASTED: Final = 1024
"""The least that one failed attempt counts: checking this many bytes takes as long as the call itself."""


def walk_frames(name: PackName, data: bytes) -> Iterator[tuple[FooterFrame, memoryview]]:
    """Yield every intact frame of the pack *name* with its payload, in order, and last the footer if it is intact.

    After a damaged frame the walk continues where the frame's header puts the next one, or else at the next intact
    frame. Bytes that only look like a frame, such as a pack stored as a file, are never accepted. A frame's checksum
    also covers the pack's name and the frame's place.

    Args:
        data: The bytes of the pack, from the first one; they may be cut off anywhere.

    Raises:
        IntegrityError: Raised after the frames so far: too many of the following bytes look like frames and are not.
            Only crafted data does. Frames behind it are not searched for.

    Cost: no request, and XXH3 over *data*. In a damaged part XXH3 runs again for each place that looks like a header.
        In all this reads at most 16 times the size of *data*.
    """
    walk, at = _Walk(bytes.fromhex(name), data), HEAD_SIZE
    while 0 <= at < len(data):
        found = walk.frame_at(at)
        if found is None:
            at = walk.next_place(at)
            continue
        yield found
        if found[0].kind is FrameKind.FOOTER:
            return
        at += found[0].stored_size


class _Walk:
    """The bytes of one pack, and the number of bytes that were checked in vain."""

    def __init__(self, pack: bytes, data: bytes) -> None:
        self._pack = pack
        self._data = data
        self._wasted = 0

    def next_place(self, at: int) -> int:
        """Return the next place to check when there is no intact frame at *at*; -1 if there is none."""
        header = self._header_at(at)
        if header is not None:
            end = at + HEADER_SIZE + header.stored_size
            if self.frame_at(end) is not None:
                return end
        return self._data.find(FRAME_MAGIC, at + 1)

    def frame_at(self, at: int) -> tuple[FooterFrame, memoryview] | None:
        """Return the frame at *at* with its payload, or None if no intact frame begins there.

        Raises:
            IntegrityError: The limit of bytes checked in vain is reached.
        """
        header = self._header_at(at)
        if header is None:
            return None
        size = HEADER_SIZE + header.stored_size
        view = memoryview(self._data)[at : at + size]
        try:
            payload = decode_frame(self._pack, at, view, header.kind)
        except IntegrityError:
            self._waste(at, size + self._decompressed(at, view, header))
            return None
        return FooterFrame(header.kind, at, size, header.raw_size), payload

    def _header_at(self, at: int) -> FrameHeader | None:
        """Return the header at *at*, or None if there is none or its frame exceeds the data."""
        if len(self._data) < at + HEADER_SIZE:
            return None
        try:
            header = decode_header(self._pack, at, self._data[at : at + HEADER_SIZE])
        except IntegrityError:
            return None
        return header if at + HEADER_SIZE + header.stored_size <= len(self._data) else None

    def _decompressed(self, at: int, view: memoryview, header: FrameHeader) -> int:
        """Return how many bytes of a damaged frame were decompressed before the damage showed."""
        try:
            check_one_of(self._pack, at, view, {header.kind})
        except IntegrityError:
            return 0
        return header.raw_size

    def _waste(self, at: int, size: int) -> None:
        self._wasted += max(size, _LEAST_WASTED)
        if self._wasted > _MOST_WASTED * max(len(self._data), _LEAST_WASTED):
            msg = (
                f"pack {self._pack.hex()} is damaged: too many bytes only look like frames; frames behind "
                f"byte {at} are not searched for"
            )
            raise IntegrityError(msg)
