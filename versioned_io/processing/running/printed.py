"""The text that code prints, kept for each evaluation apart, also of several threads at once."""

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TextIO, cast

_printed: ContextVar[io.StringIO | None] = ContextVar("versioned_io_printed", default=None)
_lock: Final = threading.Lock()
_replaced: list[tuple[TextIO, TextIO]] = []
_users = 0


class _Parted(io.TextIOBase):
    """Passes text on to the evaluation that prints it, or else to the stream that it stands for."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        kept = _printed.get()
        return self._stream.write(text) if kept is None else kept.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()


@contextmanager
def kept_text() -> Iterator[io.StringIO]:
    """Yield the text that this context prints to its standard streams in the block, which shows nowhere else."""
    text = io.StringIO()
    token = _printed.set(text)
    _begin()
    try:
        yield text
    finally:
        _end()
        _printed.reset(token)


def _begin() -> None:
    global _users  # noqa: PLW0603 (the standard streams are the process's, too)
    with _lock:
        _users += 1
        if _users == 1:
            _replaced.append((sys.stdout, sys.stderr))
            sys.stdout, sys.stderr = cast("TextIO", _Parted(sys.stdout)), cast("TextIO", _Parted(sys.stderr))


def _end() -> None:
    global _users  # noqa: PLW0603
    with _lock:
        _users -= 1
        if not _users:
            sys.stdout, sys.stderr = _replaced.pop()
