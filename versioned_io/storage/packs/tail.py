"""Reading a pack's footer and its small frames with one request, since they lie at its end."""

from collections.abc import Collection
from typing import Final

from versioned_io.errors import IntegrityError
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import FrameRef
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.packs.footer import (
    HEAD_SIZE,
    TRAILER_SIZE,
    Footer,
    decode_footer,
    decode_trailer,
)
from versioned_io.storage.packs.frames import FrameKind, decode_frame
from versioned_io.storage.packs.reader import fetch_frames, read_part

_TAIL_BYTES: Final = 64 * 1024
"""Enough for the footer of nearly every pack, and the records before it."""


def read_tail(
    objects: ObjectStore, name: PackName, size_bytes: int, kinds: Collection[FrameKind]
) -> tuple[Footer, list[tuple[FrameKind, memoryview]]]:
    """Return the index of a pack, and the payloads of its frames of *kinds*.

    Args:
        size_bytes: The size of the pack in the listing.

    Raises:
        PackLostError: The pack is missing. Restore it from a backup.
        IntegrityError: Its end or one of the frames is damaged, or it has another size. Run fsck.

    Cost: 1 GET, and 1 more if the footer or the frames do not lie within the last 64 KiB.
    """
    if size_bytes < HEAD_SIZE + TRAILER_SIZE:
        msg = f"pack {name} is damaged: it is only {size_bytes} bytes long; run fsck"
        raise IntegrityError(msg)
    pack = bytes.fromhex(name)
    start = max(0, size_bytes - _TAIL_BYTES)
    tail = read_part(objects, name, start, size_bytes - start)
    offset, footer_size = decode_trailer(pack, tail[-TRAILER_SIZE:])
    if offset + footer_size + TRAILER_SIZE != size_bytes:
        msg = f"pack {name} is damaged: it is {size_bytes} bytes long, but its trailer gives another size; run fsck"
        raise IntegrityError(msg)
    data = tail[offset - start : -TRAILER_SIZE] if offset >= start else read_part(objects, name, offset, footer_size)
    footer = decode_footer(name, decode_frame(pack, offset, data, FrameKind.FOOTER))
    wanted = [frame for frame in footer.frames if frame.kind in kinds]
    if all(frame.offset >= start for frame in wanted):
        parts = [tail[frame.offset - start : frame.offset - start + frame.stored_size] for frame in wanted]
        return footer, [
            (frame.kind, decode_frame(pack, frame.offset, part, frame.kind))
            for frame, part in zip(wanted, parts, strict=True)
        ]
    found: list[tuple[FrameKind, memoryview]] = []
    for kind in sorted({frame.kind for frame in wanted}):
        refs = [FrameRef(pack, frame.offset, frame.stored_size) for frame in wanted if frame.kind is kind]
        found += [(kind, payload) for payload in fetch_frames(objects, refs, kind)]
    return footer, found
