"""The port through which a reader finds repaired copies of damaged frames, and reports new damage."""

from collections.abc import Sequence
from typing import Protocol

from versioned_io.model.damages import Content, Healed
from versioned_io.model.places import FrameRef


class Damages(Protocol):
    """Records damaged frames, and finds the repaired copies of their contents."""

    def find(self, frame: FrameRef) -> Sequence[Healed]:
        """Return the contents of *frame* that have a repaired copy.

        Cost: 1 SQL query. Called only if a frame can't be read.
        """
        ...

    def find_page(self, frame: FrameRef) -> FrameRef | None:
        """Return the frame of a repaired or equal copy of the page at *frame*, or None if there is none.

        Cost: 1 SQL query, and some more the first time. Called only if a page can't be read.
        """
        ...

    def note(self, frame: FrameRef, contents: Sequence[Content] = (), *, is_lost: bool = False) -> None:
        """Record that *frame* can't be read, so that new files no longer refer to it.

        An error of the catalog is not raised here: the caller raises the damage itself.

        Args:
            contents: The contents of the frame that the caller knows; the chunk index adds its own.
            is_lost: Whether the whole pack is missing.

        Cost: 1 SQL transaction.
        """
        ...
