"""Damaged contents, and the places where they were stored again."""

from dataclasses import dataclass
from typing import NamedTuple

from versioned_io.model.places import ChunkRef, FrameRef


@dataclass(frozen=True, slots=True)
class Content:
    """One content of a frame: a chunk, at *inner* of its block, *size* bytes long; or a page, whole, with size 0."""

    digest: bytes
    inner: int
    size: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """A content at a place where it can't be read."""

    content: Content
    pack: bytes
    offset: int


@dataclass(frozen=True, slots=True)
class Healed:
    """A damaged content, and the place where it was stored again: at *inner* of the frame *frame*."""

    damaged: Damaged
    frame: FrameRef
    inner: int = 0


class FoundChunks(NamedTuple):
    """The index's answer about some chunks.

    Attributes:
        places: Where they are, by digest.
        damaged: Damaged places, whose contents were not stored again yet.
    """

    places: dict[bytes, ChunkRef]
    damaged: list[Damaged]
