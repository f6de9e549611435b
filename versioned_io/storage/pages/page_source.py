"""The source that pages are read from, with a cache, and the sink that they are written to."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from versioned_io.errors import IntegrityError
from versioned_io.model.places import FrameRef, PageRef
from versioned_io.platform.process import new_lock
from versioned_io.storage.objects.port import Buffer, ObjectStore
from versioned_io.storage.packs.damages import Damages
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.reader import fetch_each

if TYPE_CHECKING:
    from versioned_io.storage.pages.schema import Below, Page


_CACHE_BYTES: Final = 64 * 1024 * 1024

ReadOpenFrame: TypeAlias = Callable[[FrameRef, FrameKind], memoryview | None]
"""Returns the payload of a frame that is not stored yet, or ``None`` for any other frame."""


class PageSink(Protocol):
    """Takes the pages of a new tree."""

    def put_page(self, payload: Buffer) -> FrameRef:
        """Write a page, and return its place."""
        ...


class PageSource:
    """Reads pages, and caches those that it decoded last. May be used by several threads.

    Args:
        damages: Finds repaired copies of damaged pages; None to raise at each damage.
        cache_bytes: How many bytes of decoded pages to keep.
    """

    def __init__(
        self, objects: ObjectStore, *, damages: Damages | None = None, cache_bytes: int = _CACHE_BYTES
    ) -> None:
        self._objects = objects
        self._damages = damages
        self._cache = _PageCache(cache_bytes)
        self._read_open: ReadOpenFrame | None = None

    def overlaid(self, read_open: ReadOpenFrame) -> "PageSource":
        """Return a source that also reads the pages of open packs, and shares this source's cache."""
        source = PageSource(self._objects, damages=self._damages)
        source._cache = self._cache
        source._read_open = read_open
        return source

    def load(self, frame: FrameRef, level: int) -> "Page":
        """Return one page; see `load_many`."""
        return self.load_many([frame], level)[0]

    def load_many(self, frames: Sequence[FrameRef], level: int, *, is_long_scan: bool = False) -> "list[Page]":
        """Return the pages at *frames*, all of *level*, in that order.

        Args:
            is_long_scan: Whether they are part of a long scan, so that they are hardly needed again. Then a page is
                cached only if that evicts no other page.

        Raises:
            PackLostError: A pack is missing. Restore it from a backup.
            IntegrityError: Stored bytes differ from the written ones. Run fsck.

        Cost: at most 1 GET for each page that is not cached; adjacent pages share one. Requests to a remote store are
            sent together.
        """
        from versioned_io.storage.pages.schema import decode_page, wrong_level

        found = self._cache.find(frames)
        for page in found.values():
            if page.level != level:
                raise wrong_level(page.level, level)
        missing = [frame for frame in dict.fromkeys(frames) if frame not in found]
        if missing:
            loaded = {
                frame: decode_page(payload, level=level)
                for frame, payload in zip(missing, self._fetch(missing), strict=True)
            }
            self._cache.keep(loaded, evicts=not is_long_scan)
            found.update(loaded)
        return [found[frame] for frame in frames]

    def load_below(self, below: "Sequence[Below]", level: int, *, is_long_scan: bool = False) -> "list[Page]":
        """Return the pages below index pages, as `load_many`, and verify each against its entry.

        So the pages that one reader visits ascend strictly. It visits no page twice, even if pages refer to each other
        in a cycle.

        Raises:
            IntegrityError: Also if a page holds other paths than its entry says, or another number of files or bytes.
        """
        pages = self.load_many([one.entry.frame for one in below], level, is_long_scan=is_long_scan)
        for one, page in zip(below, pages, strict=True):
            one.check(page)
        return pages

    def load_root(self, root: PageRef) -> "Page":
        """Return the root page of a tree, verified against its reference; see `load_below`."""
        from versioned_io.storage.pages.schema import Below

        return self.load_below([Below.of_root(root)], root.level)[0]

    def find_kept(self, frame: FrameRef) -> "Page | None":
        """Return a page if it is in memory, or None. Cost: none."""
        return self._cache.find([frame]).get(frame)

    def _fetch(self, frames: list[FrameRef], before: frozenset[FrameRef] = frozenset()) -> list[memoryview]:
        if self._read_open is None:
            return self._fetch_stored(frames, before)
        read_open = self._read_open
        opened = [read_open(frame, FrameKind.PAGE) for frame in frames]
        stored = [frame for frame, payload in zip(frames, opened, strict=True) if payload is None]
        fetched = iter(self._fetch_stored(stored, before))
        return [payload if payload is not None else next(fetched) for payload in opened]

    def _fetch_stored(self, frames: list[FrameRef], before: frozenset[FrameRef]) -> list[memoryview]:
        """Return the payloads of *frames*, which hold repaired copies of the damaged frames *before*."""
        found: list[memoryview] = []
        for frame, one in zip(frames, fetch_each(self._objects, frames, {FrameKind.PAGE}), strict=True):
            if not isinstance(one, IntegrityError):
                found.append(one[1])
                continue
            healed = None if self._damages is None or frame in before else self._damages.find_page(frame)
            if healed is None:
                raise one
            found += self._fetch([healed], before | {frame})
        return found


class _PageCache:
    """The most recently used decoded pages, up to a number of bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._pages: OrderedDict[FrameRef, Page] = OrderedDict()
        self._lock = new_lock()

    def find(self, frames: Sequence[FrameRef]) -> "dict[FrameRef, Page]":
        found: dict[FrameRef, Page] = {}
        with self._lock:
            for frame in frames:
                page = self._pages.get(frame)
                if page is not None:
                    self._pages.move_to_end(frame)
                    found[frame] = page
        return found

    def keep(self, pages: "dict[FrameRef, Page]", *, evicts: bool) -> None:
        with self._lock:
            for frame, page in pages.items():
                size_bytes = len(page.payload)
                if frame not in self._pages and (evicts or self._held_bytes + size_bytes <= self._limit_bytes):
                    self._pages[frame] = page
                    self._held_bytes += size_bytes
            while self._held_bytes > self._limit_bytes:
                _, dropped = self._pages.popitem(last=False)
                self._held_bytes -= len(dropped.payload)
