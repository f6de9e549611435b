"""Open files: written bytes wait in memory or on disk, and only an explicit success publishes them."""

import io
import logging
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType, TracebackType
from typing import IO, TYPE_CHECKING, Final, NamedTuple, cast

from versioned_io.errors import InvalidInputError
from versioned_io.platform.process import HomeProcess

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_IN_MEMORY_BYTES: Final = 16 * 1024 * 1024
_LONGEST_CONTEXT: Final = 100
_FINALIZE: Final = weakref.finalize.__call__.__code__
_AT_EXIT: Final = weakref.finalize._exitfunc.__code__  # type: ignore[attr-defined]  # noqa: SLF001 (it has no other name)
_PARQUET: Final = b"PAR1"
"""The first and the last bytes of a Parquet file."""
_NATIVE: Final = (
    "{!r} was not written: native code, such as DuckDB's COPY, also closes a file after a failure; "
    "run it in `with fs.transaction:`, or write Parquet"
)
_log: Final = logging.getLogger(__name__)


class Place(NamedTuple):
    """The present instruction of a call of Python code. It has no frame for native code in a thread of its own."""

    frame: FrameType | None
    instruction: int

    @classmethod
    def of(cls, frame: FrameType | None) -> "Place":
        """Return the present place of *frame*."""
        return cls(frame, -1 if frame is None else frame.f_lasti)

    @property
    def is_under_way(self) -> bool:
        """Whether the instruction has not ended, as far as a frame shows: then it calls native code."""
        return self.frame is None or self.frame.f_lasti == self.instruction


class WrittenFile(io.BufferedIOBase):
    """A file being written; only an explicit success publishes its bytes.

    A success is the end of its ``with`` block, a `close`, or `commit`. These are failures:

    - An exception leaves the block.
    - A `close` is called while Python handles an exception that was raised after the file was opened. A ``finally``
      does this, and so does every wrapper whose ``with`` block fails.
    - The file ends without a `close`, or a wrapper closes it in a ``__del__``.
    - A file that is to be Parquet is closed without Parquet's end.

    Native code may open and close the file by itself. Its own exceptions don't pass through Python, so such a `close`
    does not show a success. It is refused, except inside a transaction of the file system, or if a Parquet file has its
    end.

    Args:
        path: Its whole name.
        take: Called once with the bytes, as a file at its start.
        is_continued: Whether the bytes continue an existing file.
        opener: The place at which it was opened; None if that does not matter.
    """

    def __init__(
        self,
        path: str,
        take: Callable[[IO[bytes]], None],
        *,
        is_continued: bool = False,
        opener: "Place | None" = None,
    ) -> None:
        self.path = path
        self.is_continued = is_continued
        self._take = take
        self._process = HomeProcess()
        self._opened_in = sys.exception()
        self._opened_at = None if self._opened_in is None else self._opened_in.__traceback__
        self._finalizers = _count_finalizers()
        self._is_abandoned = False
        self._opener = opener
        self._is_native = False
        # Closed by close() or discard(), whichever comes first.
        self._spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()

    def __del__(self) -> None:
        if not self.closed:
            self._note_unclosed()
            self.discard()

    def writable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True: a file that is not closed yet may be overwritten."""
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write *data* at the position and return how many bytes it is."""
        if self._opener is not None:
            self._note_user(Place.of(sys._getframe().f_back))  # noqa: SLF001 (there is no other way to the caller)
        if self._is_abandoned:
            return memoryview(data).nbytes
        self._check_process()
        return self._spool.write(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to *offset* and return the new position."""
        self._check_process()
        return self._spool.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._spool.tell()

    def truncate(self, size: int | None = None, /) -> int:
        """Cut the file off at *size*, or at the position."""
        self._check_process()
        self._spool.truncate(size)
        return self._spool.tell() if size is None else size

    def close(self) -> None:
        """Publish the bytes, unless this looks like a failure; a second call does nothing.

        Raises:
            InvalidInputError: Native code, such as DuckDB's, opened it, and would close it after a failure, too. Write
                it in ``with fs.transaction``.
            VersionedError: They could not be staged or committed; nothing is visible.
        """
        if self.closed:
            return
        if self._opener is not None:
            closer = Place.of(sys._getframe().f_back)  # noqa: SLF001 (there is no other way to the caller)
            self._is_native = closer.frame is None and self._opener.is_under_way
            self._note_user(closer)
        if _count_finalizers() > self._finalizers:
            self._dealloc_warn(None)
        if not self._is_abandoned and self._is_cut_off():
            self._warn("it was closed before the end of a Parquet file")
            self.forget()
        failure = self._failure()
        if failure is None and self._is_native and not self._is_abandoned and not self._is_whole_parquet():
            self.discard()
            raise InvalidInputError(_NATIVE.format(self.path))
        if self._is_abandoned or failure is None:
            self.commit()
            return
        self._warn(f"it was closed while {type(failure).__name__} was handled")
        failure.add_note(f"{self.path!r} was not written: it was closed while this exception was handled")
        self.discard()

    def commit(self) -> None:
        """Close the file and publish its bytes, whatever exception is being handled; a second call does nothing.

        Raises:
            VersionedError: They could not be staged or committed; nothing is visible.
        """
        if self.closed:
            return
        try:
            if not self._is_abandoned:
                self._check_process()
                self._spool.seek(0)
                self._take(self._spool)
        finally:
            self.discard()

    def forget(self) -> None:
        """Publish nothing when the file is closed."""
        self._is_abandoned = True

    def discard(self) -> None:
        """Close without publishing anything."""
        if not self.closed:
            self._spool.close()
            self._opened_in = self._opened_at = self._opener = None
            super().close()

    def _dealloc_warn(self, _source: object) -> None:
        """Publish nothing: `io` calls this on the target of a buffer or text, before the collector closes it."""
        self._note_unclosed()
        self.forget()

    def _failure(self) -> BaseException | None:
        """Return the exception that is being handled now and was not when the file was opened.

        The exception of that time counts as well if it was raised again from a deeper place.
        """
        current = sys.exception()
        if current is None or self._opened_in is None:
            return current
        if all(current is not error for error in _with_contexts(self._opened_in)):
            return current
        was_raised_again = current is self._opened_in and _is_longer(current.__traceback__, self._opened_at)
        return current if was_raised_again else None

    def _is_cut_off(self) -> bool:
        """Return whether a Parquet file ends too soon, as when DuckDB closes the file of a failed query."""
        if self.is_continued or not self.path.endswith(".parquet"):
            return False
        size = self._spool.seek(0, io.SEEK_END)
        self._spool.seek(0)
        begins = self._spool.read(len(_PARQUET))
        self._spool.seek(max(0, size - len(_PARQUET)))
        return size == 0 or (begins == _PARQUET and (size <= len(_PARQUET) or self._spool.read() != _PARQUET))

    def _is_whole_parquet(self) -> bool:
        size = self._spool.seek(0, io.SEEK_END)
        self._spool.seek(0)
        begins = self._spool.read(len(_PARQUET))
        self._spool.seek(max(0, size - len(_PARQUET)))
        return size > len(_PARQUET) and begins == self._spool.read() == _PARQUET and not self.is_continued

    def _note_user(self, user: "Place") -> None:
        """Record the places at which the file is written or closed, until they show whether native code opened it.

        Python code opens and writes in two instructions. Code that did both in one instruction of one frame is native.
        So is code that opened it without a frame, in a thread of its own. Such a thread may also write a file that
        Python code opened.
        """
        opener = self._opener
        if opener is not None and (user.frame is not None or opener.frame is None):
            self._is_native = opener.frame is None or user == opener
            self._opener = None

    def _check_process(self) -> None:
        self._process.check(f"the open file {self.path!r}", "open it in the process that writes it")

    def _note_unclosed(self) -> None:
        if not self.closed and not self._is_abandoned and self._process.is_here:
            self._warn("nobody closed it")

    def _warn(self, reason: str) -> None:
        _log.warning("%r was not written: %s; use a with block, or call commit() when it is whole", self.path, reason)


class CompressedFile(io.BufferedIOBase):
    """Bytes on their way through a codec to a `WrittenFile`, which decides about the publication.

    Args:
        codec: Writes to *file*, and does not close it.
    """

    def __init__(self, codec: IO[bytes], file: WrittenFile) -> None:
        self._codec = codec
        self._file = file
        self.path = file.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()

    def __del__(self) -> None:
        self.discard()

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        """Compress *data* and return how many bytes it is."""
        self._codec.write(cast("bytes", data))
        return memoryview(data).nbytes

    def tell(self) -> int:
        """Return how many bytes went in."""
        return self._codec.tell()

    def close(self) -> None:
        """As `WrittenFile.close`."""
        self._end(self._file.close)

    def commit(self) -> None:
        """As `WrittenFile.commit`."""
        self._end(self._file.commit)

    def forget(self) -> None:
        """Publish nothing when the file is closed."""
        self._file.forget()

    def discard(self) -> None:
        """Close without publishing anything."""
        self._file.forget()
        with suppress(Exception):  # the codec's unfinished bytes are discarded anyway
            self._end(self._file.discard)

    def _dealloc_warn(self, source: object) -> None:
        self._file._dealloc_warn(source)  # noqa: SLF001 (the protocol of io)

    def _end(self, end_file: Callable[[], None]) -> None:
        if self.closed:
            return
        try:
            self._codec.close()
            end_file()
        finally:
            self._file.discard()
            super().close()


class WrittenText(io.TextIOWrapper):
    """Text on its way to a `WrittenFile`; leaving the ``with`` block by an exception writes nothing."""

    def __init__(
        self,
        file: WrittenFile | CompressedFile,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> None:
        super().__init__(cast("IO[bytes]", file), encoding, errors, newline)
        self._file = file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()

    def commit(self) -> None:
        """As `WrittenFile.commit`."""
        if not self.closed:
            self.flush()
            self._file.commit()
            self.close()

    def discard(self) -> None:
        """Close without publishing anything."""
        self._file.forget()
        self.close()


class ReadFile(io.BufferedReader):
    """A file being read: seekable, every byte checked."""

    def __init__(self, raw: io.RawIOBase, path: str, size: int, buffer_bytes: int) -> None:
        super().__init__(raw, buffer_bytes)
        self.path = path
        self.size = size


def _with_contexts(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its chained contexts, up to a limit, since they may form a ring."""
    for _ in range(_LONGEST_CONTEXT):
        if error is None:
            return
        yield error
        error = error.__context__


def _count_finalizers() -> int:
    """Return the number of finalizer calls, for unreferenced objects, in which this code runs."""
    found, frame = 0, sys._getframe(1)  # noqa: SLF001 (there is no other way to the callers)
    while frame is not None:
        found += _is_finalizer(frame)
        frame = cast("FrameType", frame.f_back)
    return found


def _is_finalizer(frame: FrameType) -> bool:
    if frame.f_code is _FINALIZE:
        return frame.f_locals.get("_") is not None  # the dead reference, unless somebody called it by hand
    return frame.f_code is _AT_EXIT or frame.f_code.co_name == "__del__"


def _is_longer(trace: TracebackType | None, before: TracebackType | None) -> bool:
    """Return whether an exception has passed more frames since its traceback was *before*."""
    if trace is before or before is None:
        return False
    while trace is not None and trace is not before:
        trace = trace.tb_next
    return trace is not None
