"""Packs: the only kind of object, a run of checked frames with an index at its end."""

from versioned_io.packs.frames import CONTENT_KINDS, FrameKind, FrameRef
from versioned_io.packs.reader import fetch_frames, fetch_one_of, iterate_frames, read_footer, read_frame
from versioned_io.packs.uploads import PackUploads
from versioned_io.packs.writer import PackInfo, PackWriter

__all__ = [
    "CONTENT_KINDS",
    "FrameKind",
    "FrameRef",
    "PackInfo",
    "PackUploads",
    "PackWriter",
    "fetch_frames",
    "fetch_one_of",
    "iterate_frames",
    "read_footer",
    "read_frame",
]
