"""Where pages come from and go to."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from versioned_io.objects.port import Buffer, ObjectStore
from versioned_io.packs.frames import FrameKind, FrameRef
from versioned_io.packs.reader import fetch_frames
from versioned_io.pages.schema import Page, decode_page

_CACHE_BYTES: Final = 64 * 1024 * 1024

ReadOpenFrame: TypeAlias = Callable[[FrameRef, FrameKind], memoryview | None]
"""Returns the payload of a frame that is not stored yet, or ``None`` when it is somewhere else."""


class PageSink(Protocol):
    """Takes the pages of a new tree."""

    def put_page(self, payload: Buffer) -> FrameRef:
        """Add a page and return where it will be."""
        ...


class PageSource:
    """Reads pages and keeps those that it decoded last. May be used by several threads.

    Args:
        cache_bytes: How many bytes of decoded pages to keep.
    """

    def __init__(self, objects: ObjectStore, *, cache_bytes: int = _CACHE_BYTES) -> None:
        self._objects = objects
        self._cache = _PageCache(cache_bytes)
        self._read_open: ReadOpenFrame | None = None

    def overlaid(self, read_open: ReadOpenFrame) -> "PageSource":
        """Return a source that also sees the pages of packs that are still open; it shares this one's cache."""
        source = PageSource(self._objects)
        source._cache = self._cache
        source._read_open = read_open
        return source

    def load(self, frame: FrameRef, level: int) -> Page:
        """Return one page; see `load_many`."""
        return self.load_many([frame], level)[0]

    def load_many(self, frames: Sequence[FrameRef], level: int, *, is_long_scan: bool = False) -> list[Page]:
        """Return the pages at *frames*, all of *level*, in that order.

        Args:
            is_long_scan: Whether they come by one after the other and are hardly needed again: then they are kept only
                where that pushes no other page out.

        Raises:
            PackLostError: A pack is gone.
            IntegrityError: Stored bytes are not what was written.

        Cost: at most 1 GET a page that is not cached, neighbours in one; sent together to a remote store.
        """
        found = self._cache.find(frames)
        missing = [frame for frame in dict.fromkeys(frames) if frame not in found]
        if missing:
            loaded = {
                frame: decode_page(payload, level=level)
                for frame, payload in zip(missing, self._fetch(missing), strict=True)
            }
            self._cache.keep(loaded, evicts=not is_long_scan)
            found.update(loaded)
        return [found[frame] for frame in frames]

    def _fetch(self, frames: list[FrameRef]) -> list[memoryview]:
        if self._read_open is None:
            return fetch_frames(self._objects, frames, FrameKind.PAGE)
        read_open = self._read_open
        opened = [read_open(frame, FrameKind.PAGE) for frame in frames]
        stored = [frame for frame, payload in zip(frames, opened, strict=True) if payload is None]
        fetched = iter(fetch_frames(self._objects, stored, FrameKind.PAGE))
        return [payload if payload is not None else next(fetched) for payload in opened]


class _PageCache:
    """The decoded pages that were used last, up to a number of bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._pages: OrderedDict[FrameRef, Page] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, frames: Sequence[FrameRef]) -> dict[FrameRef, Page]:
        found: dict[FrameRef, Page] = {}
        with self._lock:
            for frame in frames:
                page = self._pages.get(frame)
                if page is not None:
                    self._pages.move_to_end(frame)
                    found[frame] = page
        return found

    def keep(self, pages: dict[FrameRef, Page], *, evicts: bool) -> None:
        with self._lock:
            for frame, page in pages.items():
                size_bytes = page.batch.nbytes
                if frame not in self._pages and (evicts or self._held_bytes + size_bytes <= self._limit_bytes):
                    self._pages[frame] = page
                    self._held_bytes += size_bytes
            while self._held_bytes > self._limit_bytes:
                _, dropped = self._pages.popitem(last=False)
                self._held_bytes -= dropped.batch.nbytes
