"""Packs: the only kind of object, a run of checked frames with an index at its end."""

from versioned_io.packs.frames import FrameKind, FrameRef
from versioned_io.packs.reader import fetch_frames, iterate_frames, read_footer, read_frame
from versioned_io.packs.uploads import PackUploads
from versioned_io.packs.writer import PackInfo, PackWriter

__all__ = [
    "FrameKind",
    "FrameRef",
    "PackInfo",
    "PackUploads",
    "PackWriter",
    "fetch_frames",
    "iterate_frames",
    "read_footer",
    "read_frame",
]
