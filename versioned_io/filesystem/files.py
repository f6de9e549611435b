"""Open files: what is written waits in memory or on disk until the file is closed."""

import io
import tempfile
from collections.abc import Callable
from types import TracebackType
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_IN_MEMORY_BYTES = 16 * 1024 * 1024


class WrittenFile(io.BufferedIOBase):
    """A file being written; closing it hands its bytes on, leaving its ``with`` block by an exception does not.

    Args:
        path: Its whole name.
        take: Called once with the bytes, as a file at its start.
    """

    def __init__(self, path: str, take: Callable[[IO[bytes]], None]) -> None:
        self.path = path
        self._take = take
        # Closed by close() or discard(), whichever comes first.
        self._spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def writable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True: what is not closed yet may be written over."""
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write *data* at the position and return how many bytes it is."""
        return self._spool.write(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to *offset* and return the new position."""
        return self._spool.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._spool.tell()

    def truncate(self, size: int | None = None, /) -> int:
        """Cut the file off at *size*, or at the position."""
        self._spool.truncate(size)
        return self._spool.tell() if size is None else size

    def close(self) -> None:
        """Hand the bytes on; the second time nothing happens.

        Raises:
            VersionedError: They could not be staged or committed; nothing is visible.
        """
        if self.closed:
            return
        try:
            self._spool.seek(0)
            self._take(self._spool)
        finally:
            self.discard()

    def forget(self) -> None:
        """Hand nothing on when the file is closed."""
        self._take = _drop

    def discard(self) -> None:
        """Close without handing anything on."""
        if not self.closed:
            self._spool.close()
            super().close()

    def commit(self) -> None:
        """Do nothing: the transaction commits what closed files handed on (fsspec's protocol)."""


def _drop(_: IO[bytes]) -> None:
    """Take what an abandoned file holds, and do nothing."""


class WrittenText(io.TextIOWrapper):
    """Text on its way to a `WrittenFile`; leaving the ``with`` block by an exception writes nothing."""

    def __init__(
        self, file: WrittenFile, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> None:
        super().__init__(cast("IO[bytes]", file), encoding, errors, newline)
        self._file = file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._file.forget()
        self.close()


class ReadFile(io.BufferedReader):
    """A file being read: seekable, every byte checked."""

    def __init__(self, raw: io.RawIOBase, path: str, size: int, buffer_bytes: int) -> None:
        super().__init__(raw, buffer_bytes)
        self.path = path
        self.size = size
