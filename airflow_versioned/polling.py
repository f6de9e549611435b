"""Looks at stores from the triggerer, each store in a thread of its own, so that one that hangs delays no other.

All watchers of a store share its thread, and the one handle that the thread has opened. `asyncio.to_thread` would not
do: its few threads serve every trigger, and a catalog that does not answer holds one until its host gives up.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from versioned_io.errors import NotFoundError

if TYPE_CHECKING:
    from airflow_versioned.connections import StoreAddress, StoreLocation
    from versioned_io import Store

T = TypeVar("T")

_log = logging.getLogger(__name__)

LOOK_TIMEOUT_S: Final = 75.0
"""Longer than SQLite waits for another process: a look that takes longer hangs."""

MOST_HUNG_THREADS: Final = 4
"""Of one store. While as many hang, no further thread begins: it would hang, too."""


class OpenStore(NamedTuple):
    """A store that a thread has opened, and the location that it was opened at."""

    location: "StoreLocation"
    store: "Store"


class StoreThread:
    """A thread that looks at one store, one look after the other. It opens the store at the first look.

    A look that fails closes the store, so that the next one opens it with the connection of that time.
    """

    def __init__(self, address: "StoreAddress") -> None:
        self._address = address
        self._looks: SimpleQueue[tuple[Future[object], Callable[[OpenStore], object]] | None] = SimpleQueue()
        self._opened: OpenStore | None = None
        self._is_abandoned = False
        self._thread = threading.Thread(target=self._serve, name=f"versioned-look {address.shown}", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread still runs, or hangs."""
        return self._thread.is_alive()

    def submit(self, look: Callable[[OpenStore], T]) -> "Future[T]":
        """Queue a look, and return its future result."""
        future: Future[T] = Future()
        self._looks.put((future, look))  # type: ignore[arg-type]  # a future of any type
        return future

    def end(self) -> None:
        """End the thread after its present look, which may never end. The store is closed then."""
        self._is_abandoned = True
        self._looks.put(None)

    def _serve(self) -> None:
        while (item := self._looks.get()) is not None and not self._is_abandoned:
            future, look = item
            if not future.set_running_or_notify_cancel():
                continue  # its watcher has given up waiting
            try:
                future.set_result(look(self._open()))
            except BaseException as error:  # noqa: BLE001 (the watcher gets it)
                if not isinstance(error, NotFoundError):  # that one branch is missing says nothing of the store
                    self._close()
                future.set_exception(error)
        self._close()

    def _open(self) -> OpenStore:
        if self._opened is None:
            location = self._address.locate()
            self._opened = OpenStore(location, location.open_store())
        return self._opened

    def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            try:
                opened.store.close()
            except Exception:  # noqa: BLE001 (the watcher waits for the reason why its look failed)
                _log.exception("can't close %s", self._address.shown)


class _Place:
    """The thread of a store, the number of its watchers, and the threads of the same store that hang."""

    def __init__(self, address: "StoreAddress") -> None:
        self.thread = StoreThread(address)
        self.watchers = 0
        self.hung: list[StoreThread] = []


_places: dict["StoreAddress", _Place] = {}  # of the event loop's thread, the only one that changes it


class Looks:
    """The looks of one watcher at a store; `looking_at` makes it."""

    def __init__(self, address: "StoreAddress", place: _Place) -> None:
        self._address = address
        self._place = place

    async def ask(self, look: Callable[[OpenStore], T], *, timeout_s: float = LOOK_TIMEOUT_S) -> T:
        """Return what *look* returns, called in the store's thread with the open store.

        Raises:
            TimeoutError: The store hangs. The next look gets another thread, unless several hang already.
        """
        thread = self._place.thread
        begun = time.monotonic()
        future = thread.submit(look)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout_s)
        except TimeoutError:
            if not future.cancel() and not future.done():
                self._replace(thread)
            msg = f"no answer from {self._address.shown} within {time.monotonic() - begun:.0f} s"
            raise TimeoutError(msg) from None

    def _replace(self, thread: StoreThread) -> None:
        place = self._place
        place.hung = [one for one in place.hung if one.is_alive]
        if thread is place.thread and len(place.hung) < MOST_HUNG_THREADS:
            thread.end()
            place.hung.append(thread)
            place.thread = StoreThread(self._address)


@asynccontextmanager
async def looking_at(address: "StoreAddress") -> AsyncIterator[Looks]:
    """Share the thread of a store with its other watchers; the last one to leave ends it."""
    place = _places.get(address)
    if place is None:
        place = _places[address] = _Place(address)
    place.watchers += 1
    try:
        yield Looks(address, place)
    finally:
        place.watchers -= 1
        if not place.watchers:
            _places.pop(address, None)
            place.thread.end()
