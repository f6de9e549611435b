"""Rewriting pages with the new places of moved blocks and pages."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from versioned_io.maintenance.collection.marking import Marks
from versioned_io.maintenance.compaction.moved_places import MovedPlaces
from versioned_io.maintenance.compaction.pack_series import PackSeries
from versioned_io.model.damages import Healed
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import FrameRef, PageRef
from versioned_io.storage.pages.mend import Moves, moved_leaf, moves_of
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.schema import Entry, Page, check_name, encode_entries, encode_page


@dataclass(slots=True)
class LedTrees:
    """Rewrites the pages of trees that reference moved blocks and pages; a shared page is rewritten once.

    Args:
        victims: The packs that no tree may reference any more.
        places: The new places of blocks.
        healed: Repaired contents and pages; the new pages reference the repaired copies too.
        within: The pages that can reference the victims; None for every page.

    Attributes:
        pages: The old and the new place of each page that was visited.
    """

    source: PageSource
    packs: PackSeries
    victims: frozenset[PackName]
    places: MovedPlaces
    healed: Sequence[Healed] = ()
    within: Marks | None = None
    pages: dict[FrameRef, FrameRef] = field(default_factory=dict)
    _moves: Moves = field(init=False)
    _bad_pages: set[tuple[bytes, int]] = field(init=False)
    _victims: set[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._moves = moves_of(self.healed)
        damaged = [one.damaged for one in self.healed]
        self._bad_pages = {(one.pack, one.offset) for one in damaged if not one.content.size}
        self._victims = {bytes.fromhex(victim) for victim in self.victims}

    def lead(self, root: PageRef) -> PageRef:
        """Return *root* with the new places of everything that it references, or *root* itself if nothing has moved.

        Raises:
            IntegrityError: A page can't be read, or its rows do not match its digest. Run fsck.
        """
        place = self._page(root.frame, root.level, root.digest)
        return replace(root, pack=place.pack, offset=place.offset, stored_size=place.stored_size)

    def _page(self, frame: FrameRef, level: int, digest: bytes) -> FrameRef:
        """Return the new place of the page at *frame*; *frame* if it stays."""
        known = self.pages.get(frame)
        if known is not None:
            return known
        if self.within is not None and frame not in self.within:
            return frame  # shared with a tree that can't reference the victims
        page = self.source.load(frame, level)
        payload = self._index(page) if level else self._leaf(page)
        if payload is None and (frame.pack in self._victims or (frame.pack, frame.offset) in self._bad_pages):
            payload = page.payload
        if payload is None:
            place = frame
        else:
            check_name(payload, level, digest)
            place = self.packs.put_page(payload)
        self.pages[frame] = place
        return place

    def _index(self, page: Page) -> memoryview | None:
        entries: list[Entry] = []
        for entry in page.entries:
            place = self._page(entry.frame, page.level - 1, entry.digest)
            entries.append(entry._replace(pack=place.pack, offset=place.offset, stored=place.stored_size))
        return None if entries == page.entries else encode_page(page.level, encode_entries(entries))

    def _leaf(self, page: Page) -> memoryview | None:
        healed = moved_leaf(page, self._moves)
        return self.places.lead(page) if healed is None else self.places.lead_rows(healed)
