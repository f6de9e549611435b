"""Reading chunks of which some are still in the memory of whoever writes them."""

from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from versioned_io.chunks.reader import ChunkReader
from versioned_io.elsewhere import Elsewhere
from versioned_io.objects.port import ObjectStore
from versioned_io.packs.frames import CONTENT_KINDS, FrameKind, FrameRef

FindOpen: TypeAlias = Callable[[FrameRef, Collection[FrameKind]], tuple[FrameKind, memoryview] | None]
"""Returns the kind and payload of a frame that is still in memory, or None."""


class OverlayReader(ChunkReader):
    """Reads the frames that a writer still holds from its memory."""

    def __init__(self, objects: ObjectStore, elsewhere: Elsewhere | None, find_open: FindOpen) -> None:
        super().__init__(objects, elsewhere)
        self._find_open = find_open

    def fetch_content(self, frames: Sequence[FrameRef]) -> list[tuple[FrameKind, memoryview]]:
        """See `ChunkReader.fetch_content`."""
        held = [self._find_open(frame, CONTENT_KINDS) for frame in frames]
        stored = [frame for frame, found in zip(frames, held, strict=True) if found is None]
        fetched = iter(super().fetch_content(stored))
        return [found if found is not None else next(fetched) for found in held]
