"""Marking: finding the frames of packs that the trees of a store reference."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

from versioned_io.errors import IntegrityError, PackLostError
from versioned_io.model.damages import Healed
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import FrameRef, PageRef, pack_name
from versioned_io.storage.pages.leaf_places import LeafPlaces
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.schema import Page

_PAGES_AT_ONCE: Final = 64
_VERSIONS_KEPT: Final = 512
_PACK_BYTES: Final = 16
_T = TypeVar("_T")

Broken: TypeAlias = dict[FrameRef, PageRef]
"""Unreadable pages, by place, each with the root of a tree that references it."""

Leaf: TypeAlias = Callable[[Page, Page | None], None]
"""Called with a leaf page, and with its previous version, if that is still in memory."""


class Marks:
    """The live frames: for each pack their offsets, each with the frame's size in bytes.

    Memory grows with the number of frames, not of files: small files share blocks, and versions share pages.
    """

    def __init__(self) -> None:
        self._frames: dict[bytes, dict[int, int]] = {}

    def __contains__(self, frame: FrameRef) -> bool:
        return frame.offset in self._frames.get(frame.pack, {})

    def holds(self, pack: bytes, offset: int) -> bool:
        """Return whether the frame at *offset* of a pack is marked."""
        return offset in self._frames.get(pack, {})

    @property
    def packs(self) -> set[PackName]:
        """The packs with at least one live frame."""
        return {pack_name(pack) for pack in self._frames}

    def add(self, frame: FrameRef) -> None:
        """Mark one frame."""
        self._frames.setdefault(frame.pack, {})[frame.offset] = frame.stored_size

    def add_places(self, places: LeafPlaces) -> None:
        """Mark the frames of *places*. Cost: 0.3 us for each that its neighbour is not."""
        firsts = places.take(places.unlike_neighbours())
        packs = firsts.packs.tobytes()
        for number, (offset, stored) in enumerate(zip(firsts.offsets.tolist(), firsts.stored.tolist(), strict=True)):
            pack = packs[number * _PACK_BYTES : (number + 1) * _PACK_BYTES]
            self._frames.setdefault(pack, {})[offset] = stored

    @property
    def pack_count(self) -> int:
        """The number of packs that have had a live frame."""
        return len(self._frames)

    def packs_after(self, number: int) -> list[PackName]:
        """Return the packs after the first *number* that were found."""
        return [pack_name(pack) for pack in list(self._frames)[number:]]

    def discard(self, frame: FrameRef) -> None:
        """Remove the mark of one frame, if it is marked."""
        self._frames.get(frame.pack, {}).pop(frame.offset, None)

    def frames_of(self, name: PackName) -> dict[int, int]:
        """Return the offsets of a pack's live frames, with their sizes."""
        return self._frames.get(bytes.fromhex(name), {})

    def live_bytes(self, name: PackName) -> int:
        """Return the number of live bytes of a pack."""
        return sum(self.frames_of(name).values())


def mark_trees(
    source: PageSource,
    roots: Iterable[PageRef | None],
    *,
    progress: Callable[[int], None] | None = None,
    leaf: Leaf | None = None,
    broken: Broken | None = None,
) -> Marks:
    """Return every frame, of pages and of data, that the trees at *roots* reference.

    A page that several trees share is read once.

    Args:
        progress: Called with the number of pages read so far.
        leaf: Called for each leaf page.
        broken: Collects the unreadable pages, whose references are unknown; None to raise at the first.

    Raises:
        IntegrityError, PackLostError: A page is damaged or missing, and *broken* is None. Run fsck.

    Cost: 1 GET for each page that differs between the trees, and memory for one row of each frame. In a leaf only the
        places that differ from its previous version are processed. So pass successive trees next to each other.
    """
    marks = Marks()
    versions = LeafVersions()
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
            for page in _load_all(source, frames[:_PAGES_AT_ONCE], level, broken, root):
                pages += 1
                if level == 0:
                    places, before = versions.follow(page)
                    marks.add_places(places)
                    if leaf is not None:
                        leaf(page, before)
                    continue
                unseen = [entry.frame for entry in page.entries if entry.frame not in marks]
                for frame in unseen:
                    marks.add(frame)
                waiting.setdefault(level - 1, []).extend(unseen)
            if progress is not None:
                progress(pages)
    return marks


def mark_healed(marks: Marks, healed: Sequence[Healed]) -> None:
    """Mark the repaired copies of marked frames, and the copies of those copies, to any depth.

    Otherwise, when the commit that repaired an old tree's contents expires, their copies would be deleted.
    """
    waiting = list(healed)
    while led_to := [one for one in waiting if marks.holds(one.damaged.pack, one.damaged.offset)]:
        for one in led_to:
            marks.add(one.frame)
        done = set(led_to)
        waiting = [one for one in waiting if one not in done]


def walk_where_they_lie(
    find: Callable[[], Sequence[PageRef | None]], walk: Callable[[Sequence[PageRef | None]], _T]
) -> _T:
    """Return the result of *walk* on the trees that *find* returns; retry if the trees have moved to other packs.

    Raises:
        PackLostError: A pack is missing although no tree has moved. Restore it from a backup.
    """
    roots = find()
    while True:
        try:
            return walk(roots)
        except PackLostError:
            before, roots = roots, find()
            if roots == before:
                raise


def walk_around(
    find: Callable[[], Sequence[PageRef | None]],
    walk: Callable[[Sequence[PageRef | None], Broken], _T],
    remake: Callable[[Collection[PageRef]], object],
) -> tuple[_T, Broken]:
    """Return the result of *walk* on the trees that *find* returns, and the pages that remain unreadable.

    It walks once more if trees have moved to other packs meanwhile, or if *remake* has rebuilt pages of them.
    """
    roots = find()
    is_tried = False
    while True:
        broken: Broken = {}
        found = walk(roots, broken)
        before, roots = roots, find() if broken else roots
        if roots != before:
            continue
        if not broken or is_tried or not remake(set(broken.values())):
            return found, broken
        is_tried = True


class TreeWalk:
    """Marks trees one after the other, and skips the pages that a tree shares with earlier or known trees.

    Attributes:
        broken: The unreadable pages. The frames below them are not marked.
    """

    def __init__(self, source: PageSource) -> None:
        self.marks = Marks()
        self.pages = 0
        self.broken: Broken = {}
        self.source = source
        self._shared: set[FrameRef] = set()
        self._versions = LeafVersions()

    def add(self, root: PageRef | None, known: PageRef | None = None) -> None:
        """Mark the frames that *root* references and *known* doesn't.

        Args:
            known: A tree that was already added, or whose frames need no mark.

        Cost: reads the pages of both trees that differ, and the pages above them.
        """
        news = [] if root is None else [root.frame]
        olds = _OldPages(self.source, known)
        for level in range(-1 if root is None else root.level, -1, -1):
            olds.descend_to(level)
            common = olds.take_away(news)
            self._shared |= common
            news = [one for one in news if one not in self.marks and one not in self._shared]
            if not news:
                return
            for one in news:
                self.marks.add(one)
            news = self._look_at(news, level, olds, root)

    def _look_at(
        self, frames: Sequence[FrameRef], level: int, olds: "_OldPages", root: PageRef | None
    ) -> list[FrameRef]:
        """Mark the places in leaf pages, or return the pages below index pages."""
        below: list[FrameRef] = []
        if not level:
            for old in olds.pages():
                self._versions.see(old)
        for page in _load_all(self.source, frames, level, self.broken, root):
            self.pages += 1
            if level:
                below += [entry.frame for entry in page.entries]
            else:
                self.marks.add_places(self._versions.follow(page).places)
        return below


class _OldPages:
    """The pages of one level of a tree that another tree may not share."""

    def __init__(self, source: PageSource, root: PageRef | None) -> None:
        self._source = source
        self._level = -1 if root is None else root.level
        self._frames = [] if root is None else [root.frame]
        self._is_compared = False

    def descend_to(self, level: int) -> None:
        while self._level > level:
            self._frames = [entry.frame for page in self.pages() for entry in page.entries]
            self._level -= 1
        self._is_compared = self._level == level

    def take_away(self, frames: Sequence[FrameRef]) -> set[FrameRef]:
        """Remove and return the *frames* that are among these pages."""
        if not self._is_compared:
            return set()
        common = set(frames) & set(self._frames)
        self._frames = [one for one in self._frames if one not in common]
        return common

    def pages(self) -> Iterator[Page]:
        # The pages below an unreadable page are unknown, so the other tree's pages there are walked in full.
        return _load_all(self._source, self._frames, self._level, {}, None)


def _load_all(
    source: PageSource, frames: Sequence[FrameRef], level: int, broken: Broken | None, root: PageRef | None
) -> Iterator[Page]:
    """Yield pages of the tree *root*; collect unreadable ones in *broken*, or raise their error if it is None."""
    for start in range(0, len(frames), _PAGES_AT_ONCE):
        some = frames[start : start + _PAGES_AT_ONCE]
        try:
            pages = source.load_many(some, level)
        except IntegrityError:
            if broken is None:
                raise
            pages = _load_whole(source, some, level, broken, root)
        yield from pages


def _load_whole(
    source: PageSource, frames: Sequence[FrameRef], level: int, broken: Broken, root: PageRef | None
) -> list[Page]:
    pages: list[Page] = []
    for frame in frames:
        try:
            pages.append(source.load(frame, level))
        except IntegrityError:
            if root is not None:
                broken[frame] = root
    return pages


class NewPlaces(NamedTuple):
    """The places in a leaf page that its previous version lacks, and that version, if it is still in memory."""

    places: LeafPlaces
    before: Page | None


class LeafVersions:
    """The most recently visited leaf pages, by last path, for comparison with the next version of each."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, Page] = OrderedDict()

    def see(self, leaf: Page) -> Page | None:
        """Remember a leaf page, and return the version before it. Cost: memory for 512 pages."""
        before = self._seen.pop(leaf.last, None)
        self._seen[leaf.last] = leaf
        if len(self._seen) > _VERSIONS_KEPT:
            self._seen.popitem(last=False)
        return before

    def follow(self, leaf: Page) -> NewPlaces:
        """Return the places that are new in *leaf*. Cost: 20 us for 1,000 files; memory for 512 pages."""
        before = self.see(leaf)
        if before is None:
            return NewPlaces(leaf.places, None)
        return NewPlaces(leaf.places.take(leaf.places.changed_since(before.places)), before)
