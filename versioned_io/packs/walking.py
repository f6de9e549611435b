"""Finding the whole frames of a pack whose footer can't be relied on: each frame says where the next one begins.

Source: docs/spec/format-v1.md, "Frame".
"""

from collections.abc import Iterator

from versioned_io.errors import IntegrityError
from versioned_io.identifiers import PackName
from versioned_io.packs.footer import HEAD_SIZE, FooterFrame
from versioned_io.packs.frames import FRAME_MAGIC, HEADER_SIZE, FrameKind, decode_frame, decode_header


def walk_frames(name: PackName, data: bytes) -> Iterator[tuple[FooterFrame, memoryview]]:
    """Yield every whole frame of the pack *name* with its payload, in order, its footer last if that is whole.

    After a damage it goes on where the damaged frame's header says that the next one begins, or else at the next bytes
    that are a whole frame. What only looks like a frame, as a stored file may, is never taken for one: a checksum
    covers the pack's name and the place, too.

    Args:
        data: What there is of the pack, from its first byte; it may be cut off anywhere.

    Cost: no request; XXH3 over *data*, and in a damaged part again for each place that looks like a header.
    """
    pack, at = bytes.fromhex(name), HEAD_SIZE
    while 0 <= at < len(data):
        found = _frame_at(pack, data, at)
        if found is None:
            at = _next_place(pack, data, at)
            continue
        yield found
        if found[0].kind is FrameKind.FOOTER:
            return
        at += found[0].stored_size


def _next_place(pack: bytes, data: bytes, at: int) -> int:
    """Return where to look on after what is at *at* turned out not to be a whole frame; -1 for nowhere."""
    end = _end_of(pack, data, at)
    if end is not None and _frame_at(pack, data, end) is not None:
        return end
    return data.find(FRAME_MAGIC, at + 1)


def _end_of(pack: bytes, data: bytes, at: int) -> int | None:
    """Return where the frame at *at* ends by its own account; None when there is no header or it does not fit."""
    if len(data) < at + HEADER_SIZE:
        return None
    try:
        header = decode_header(pack, at, data[at : at + HEADER_SIZE])
    except IntegrityError:
        return None
    end = at + HEADER_SIZE + header.stored_size
    return end if end <= len(data) else None


def _frame_at(pack: bytes, data: bytes, at: int) -> tuple[FooterFrame, memoryview] | None:
    end = _end_of(pack, data, at)
    if end is None:
        return None
    view = memoryview(data)[at:end]
    header = decode_header(pack, at, view)
    try:
        payload = decode_frame(pack, at, view, header.kind)
    except IntegrityError:
        return None
    return FooterFrame(header.kind, at, end - at, header.raw_size), payload
