"""Marking: which frames of which packs the trees of a store still lead to."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.columns import groups_of
from versioned_io.errors import PackLostError
from versioned_io.identifiers import PackName
from versioned_io.packs.frames import FrameRef, pack_name
from versioned_io.pages.schema import PageRef
from versioned_io.pages.source import PageSource

_PAGES_AT_ONCE: Final = 64
_PLACE: Final = ["pack", "offset", "stored"]
_T = TypeVar("_T")


class Marks:
    """The frames that were found alive: for each pack their offsets, each with the frame's size in bytes.

    Memory grows with the frames, not with the files: small files share blocks, and versions share pages.
    """

    def __init__(self) -> None:
        self._frames: dict[bytes, dict[int, int]] = {}

    def __contains__(self, frame: FrameRef) -> bool:
        return frame.offset in self._frames.get(frame.pack, {})

    @property
    def packs(self) -> set[PackName]:
        """The packs with at least one frame alive."""
        return {pack_name(pack) for pack in self._frames}

    def add(self, frame: FrameRef) -> None:
        """Mark one frame."""
        self._frames.setdefault(frame.pack, {})[frame.offset] = frame.stored_size

    def add_places(self, places: pa.Table) -> None:
        """Mark the frames of *places*, with the columns pack, offset and stored."""
        for row in groups_of(places, _PLACE).to_pylist():
            self._frames.setdefault(row["pack"], {})[row["offset"]] = row["stored"]

    def discard(self, frame: FrameRef) -> None:
        """Take the mark off one frame, if it is marked."""
        self._frames.get(frame.pack, {}).pop(frame.offset, None)

    def frames_of(self, name: PackName) -> dict[int, int]:
        """Return the offsets of a pack's frames that are alive, with their sizes."""
        return self._frames.get(bytes.fromhex(name), {})

    def live_bytes(self, name: PackName) -> int:
        """Return how many bytes of a pack are alive."""
        return sum(self.frames_of(name).values())


def mark_trees(
    source: PageSource,
    roots: Iterable[PageRef | None],
    *,
    progress: Callable[[int], None] | None = None,
    leaf: Callable[[pa.RecordBatch], None] | None = None,
) -> Marks:
    """Return every frame, of pages and of data, that the trees at *roots* lead to.

    A page that several trees share is read once.

    Args:
        progress: Called with the number of pages read so far.
        leaf: Called with the rows of each leaf page.

    Raises:
        IntegrityError, PackLostError: A page is damaged or gone: nothing can be collected; run fsck.

    Cost: 1 GET for each page that differs between the trees; memory for one row of each frame.
    """
    marks = Marks()
    pages = 0
    for root in roots:
        if root is None or root.frame in marks:
            continue
        marks.add(root.frame)
        waiting = {root.level: [root.frame]}
        while waiting:
            level = max(waiting)
            frames = waiting.pop(level)
            rest = frames[_PAGES_AT_ONCE:]
            if rest:
                waiting[level] = rest
            for page in source.load_many(frames[:_PAGES_AT_ONCE], level):
                pages += 1
                if level == 0:
                    marks.add_places(places_of(page.batch))
                    if leaf is not None:
                        leaf(page.batch)
                    continue
                unseen = [entry.frame for entry in page.entries if entry.frame not in marks]
                for frame in unseen:
                    marks.add(frame)
                waiting.setdefault(level - 1, []).extend(unseen)
            if progress is not None:
                progress(pages)
    return marks


def walk_where_they_lie(
    find: Callable[[], Sequence[PageRef | None]], walk: Callable[[Sequence[PageRef | None]], _T]
) -> _T:
    """Return what *walk* makes of the trees that *find* returns; where they move to other packs meanwhile, once more.

    Raises:
        PackLostError: A pack is gone, and no tree moved: it is lost.
    """
    roots = find()
    while True:
        try:
            return walk(roots)
        except PackLostError:
            before, roots = roots, find()
            if roots == before:
                raise


def places_of(leaf: pa.RecordBatch) -> pa.Table:
    """Return where the blocks lie that the files of a leaf page are in: pack, offset, stored."""
    chunks = pc.list_flatten(leaf.column("chunks"))
    return pa.table({name: pc.struct_field(chunks, name) for name in _PLACE})
