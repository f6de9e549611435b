"""Working memory that is used again: fresh memory is slower to touch than zstd is to fill it."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from versioned_io.chunks.cutting import MAXIMUM_SIZE

WINDOW_SIZE: Final = 4 * MAXIMUM_SIZE
"""What is read and cut at once. No cut depends on it."""


@dataclass(slots=True)
class Window:
    """A buffer that chunks are read into, and how many still need what is in it."""

    buffer: bytearray = field(default_factory=lambda: bytearray(WINDOW_SIZE))
    users: int = 1

    @property
    def view(self) -> memoryview:
        """All of the buffer."""
        return memoryview(self.buffer)


class WindowPool:
    """The windows that nobody needs any more. `take` is for any thread; `release` is for one at a time."""

    def __init__(self) -> None:
        self._free: deque[Window] = deque()

    def take(self) -> Window:
        """Return a window with one user; what is in it is of no meaning."""
        try:
            window = self._free.pop()
        except IndexError:
            return Window()
        window.users = 1
        return window

    def release(self, window: Window) -> None:
        """Note that one user needs *window* no more."""
        window.users -= 1
        if not window.users:
            self._free.append(window)

    def clear(self) -> None:
        """Drop the windows that nobody needs."""
        self._free.clear()
