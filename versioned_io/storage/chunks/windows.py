"""Reusable working memory: page faults in fresh memory would take longer than zstd takes to fill it."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from versioned_io.platform.process import new_lock
from versioned_io.storage.chunks.cutting import MAXIMUM_SIZE

WINDOW_SIZE: Final = 4 * MAXIMUM_SIZE
"""How many bytes are read and cut at once. The cuts don't depend on it."""


@dataclass(slots=True)
class Window:
    """A buffer that chunks are read into, with the number of users that still need its contents."""

    buffer: bytearray = field(default_factory=lambda: bytearray(WINDOW_SIZE))
    users: int = 1

    @property
    def view(self) -> memoryview:
        """A view of the whole buffer."""
        return memoryview(self.buffer)


class WindowPool:
    """The windows that are free. All methods may be called by several threads."""

    def __init__(self) -> None:
        self._free: deque[Window] = deque()
        self._lock = new_lock()

    def take(self) -> Window:
        """Return a window with one user and arbitrary contents."""
        try:
            window = self._free.pop()
        except IndexError:
            return Window()
        window.users = 1
        return window

    def hold(self, window: Window, users: int) -> None:
        """Add *users* to *window*; each of them releases it once."""
        with self._lock:
            window.users += users

    def release(self, window: Window) -> None:
        """Remove one user of *window*; without users it is free again."""
        with self._lock:
            window.users -= 1
            if not window.users:
                self._free.append(window)

    def clear(self) -> None:
        """Drop the free windows."""
        self._free.clear()
