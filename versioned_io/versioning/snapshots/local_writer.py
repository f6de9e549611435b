"""Writing many files of a tree below one local directory, in parallel, with each block read once."""

import errno
import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Final, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.errors import StorageError
from versioned_io.model.places import ChunkRef, FrameRef
from versioned_io.storage.chunks.mending import RawBlock
from versioned_io.storage.chunks.reader import MOST_FRAMES, ChunkReader
from versioned_io.versioning.snapshots.local_state import open_directory

_TASK_BYTES: Final = 4 * 1024 * 1024
_TASK_FILES: Final = 1024
_WINDOW_BYTES: Final = 8 * 1024 * 1024
_LARGEST_VECTOR: Final = 1024  # IOV_MAX on Linux
_REMOTE_THREADS: Final = 16
NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _Chunk(NamedTuple):
    """A chunk of a file: the frame that holds it, and its offset and size in the block."""

    frame: FrameRef
    inner: int
    size: int


class _Running(NamedTuple):
    """A task that runs in another thread, and what it will have written at its end."""

    future: Future[None]
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Task:
    """Small files that are written together, or one large file that is written in parts."""

    paths: Sequence[str]
    files: Sequence[Sequence[_Chunk]]
    size_bytes: int
    is_large: bool


class LocalFilesWriter:
    """Writes files below an open directory that no other process writes to; for a ``with`` block.

    Args:
        directory: The directory's descriptor. Symbolic links below it are not followed.
        executables: The paths of the executable files.
        syncs: Whether every file and directory is durable at the end.
        on_written: Called, in the caller's thread, with the numbers of files and of bytes written since the last call.
    """

    def __init__(
        self,
        reader: ChunkReader,
        directory: int,
        *,
        executables: Collection[str],
        threads: int,
        syncs: bool,
        on_written: Callable[[int, int], None],
    ) -> None:
        self._reader = reader
        self._directory = directory
        self._executables = executables
        self._syncs = syncs
        self._on_written = on_written
        self._limit = 2 * threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="versioned-io-checkout")
        self._under_way: deque[_Running] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def write(self, paths: pa.StringArray, chunks: pa.ListArray) -> None:
        """Write the file at each of *paths*, which are sorted, from its *chunks*, a column of a tree's rows.

        Raises:
            StorageError: The disk is full or failed, or the object store failed. Free some space, and try again.
            IntegrityError: Stored bytes are damaged. Run fsck.

        Cost: that of `ChunkReader.read_blocks`; memory for about 8 MiB a thread.
        """
        for task in _tasks(paths.to_pylist(), _chunks_of(chunks)):
            if task.is_large:
                self._write_large(task.paths[0], task.files[0], task.size_bytes)
            else:
                self._submit(self._write_small, task, files=len(task.paths), size_bytes=task.size_bytes)
        self._wait(0)

    def make_directories(self, directories: Sequence[str]) -> None:
        """Create *directories*, which are sorted and include their parents."""
        for directory in directories:
            parent, _, name = directory.rpartition("/")
            with open_directory(parent or ".", below=self._directory) as descriptor:
                os.mkdir(name, dir_fd=descriptor)

    def _write_small(self, task: _Task) -> None:
        frames = list(dict.fromkeys(chunk.frame for file in task.files for chunk in file))
        blocks = dict(zip(frames, self._reader.read_blocks(frames), strict=True))
        self._keep_for_others(task, blocks)
        for directory, files in groupby(
            zip(task.paths, task.files, strict=True), lambda one: one[0].rpartition("/")[0]
        ):
            with open_directory(directory or ".", below=self._directory) as descriptor:
                for path, file in files:
                    parts = [
                        self._reader.cut_chunk(blocks[chunk.frame], chunk.inner, chunk.size, chunk.frame.pack)
                        for chunk in file
                    ]
                    self._write_new(path, path.rpartition("/")[2], descriptor, parts)

    def _keep_for_others(self, task: _Task, blocks: Mapping[FrameRef, RawBlock]) -> None:
        """Cache the blocks that hold other files too; all other blocks are read only once."""
        used = Counter[FrameRef]()
        for file in task.files:
            for chunk in file:
                used[chunk.frame] += chunk.size
        self._reader.keep_blocks({frame: block for frame, block in blocks.items() if 2 * used[frame] < len(block)})

    def _write_new(self, path: str, name: str, directory: int, parts: Sequence[memoryview]) -> None:
        try:
            descriptor = os.open(name, NEW_FILE, self._mode_of(path), dir_fd=directory)
            try:
                if parts:
                    _write_all(descriptor, parts, 0)
                if self._syncs:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise cant_write(path, error) from error

    def _write_large(self, path: str, file: Sequence[_Chunk], size_bytes: int) -> None:
        directory, _, name = path.rpartition("/")
        try:
            with open_directory(directory or ".", below=self._directory) as parent:
                descriptor = os.open(name, NEW_FILE, self._mode_of(path), dir_fd=parent)
            try:
                _allocate(descriptor, size_bytes)
                for start, window in _windows(file):
                    size = sum(chunk.size for chunk in window)
                    self._submit(self._write_window, path, descriptor, start, window, files=0, size_bytes=size)
                self._wait(0)
                if self._syncs:
                    os.fsync(descriptor)
            finally:
                self._settle()
                os.close(descriptor)
        except OSError as error:
            raise cant_write(path, error) from error
        self._on_written(1, 0)

    def _write_window(self, path: str, descriptor: int, start: int, window: Sequence[_Chunk]) -> None:
        refs = [ChunkRef(b"", *chunk.frame, chunk.inner, chunk.size) for chunk in window]
        try:
            _write_all(descriptor, self._reader.read_chunks(refs), start)
        except OSError as error:
            raise cant_write(path, error) from error

    def _mode_of(self, path: str) -> int:
        return new_mode(is_executable=path in self._executables)

    def _submit(self, call: Callable[..., None], *arguments: object, files: int, size_bytes: int) -> None:
        self._wait(self._limit - 1)
        self._under_way.append(_Running(self._threads.submit(call, *arguments), files, size_bytes))

    def _wait(self, most: int) -> None:
        """Wait until at most *most* tasks are running."""
        while len(self._under_way) > most:
            done = self._under_way.popleft()
            done.future.result()
            self._on_written(done.files, done.size_bytes)

    def _settle(self) -> None:
        """Wait until no task is running, whether they succeed or fail."""
        for running in self._under_way:
            if not running.future.cancel():
                running.future.exception()
        self._under_way.clear()


def new_mode(*, is_executable: bool) -> int:
    """Return the mode for creating a file; the process's umask clears bits of it."""
    return 0o777 if is_executable else 0o666


def threads_for(*, is_remote: bool) -> int:
    """Return the number of threads: more for a remote store, whose requests wait without using a processor."""
    return _REMOTE_THREADS if is_remote else min(os.cpu_count() or 1, 8)


def cant_write(path: str, error: OSError) -> StorageError:
    """Return the error for a local file *path* that can't be written."""
    hint = "; free some space and try again" if error.errno in {errno.ENOSPC, errno.EDQUOT} else ""
    return StorageError(f"can't write the local file {path!r}: {error.strerror or error}{hint}")


def _chunks_of(chunks: pa.ListArray) -> Iterator[list[_Chunk]]:
    """Yield each file's chunks. Cost: 2 us a chunk."""
    values = pc.list_flatten(chunks)
    pack, offset, stored, inner, size = (
        values.field(name).to_pylist() for name in ("pack", "offset", "stored", "inner", "size")
    )
    frames = map(FrameRef._make, zip(pack, offset, stored, strict=True))
    each = list(map(_Chunk._make, zip(frames, inner, size, strict=True)))
    start = 0
    for length in pc.list_value_length(chunks).to_pylist():
        yield each[start : start + length]
        start += length


def _tasks(paths: Sequence[str], files: Iterator[list[_Chunk]]) -> Iterator[_Task]:
    """Yield the files in groups that end where a block ends; a large file is its own group."""
    first, size_bytes = 0, 0
    group: list[list[_Chunk]] = []
    last: FrameRef | None = None
    frames: set[FrameRef] = set()
    for number, file in enumerate(files):
        size, frames_of_file = sum(chunk.size for chunk in file), {chunk.frame for chunk in file}
        frame = file[0].frame if file else last
        is_large = size > _WINDOW_BYTES or len(frames_of_file) > MOST_FRAMES
        is_enough = size_bytes + size > _TASK_BYTES or len(group) >= _TASK_FILES
        is_too_much = size_bytes > 2 * _TASK_BYTES or len(frames | frames_of_file) > MOST_FRAMES
        if group and ((is_enough and frame != last) or is_large or is_too_much):
            yield _Task(paths[first:number], group, size_bytes, is_large=False)
            first, size_bytes, group, frames = number, 0, [], set()
        group.append(file)
        size_bytes += size
        frames |= frames_of_file
        last = file[-1].frame if file else last
        if is_large:
            yield _Task(paths[first : number + 1], group, size_bytes, is_large=True)
            first, size_bytes, group, frames = number + 1, 0, [], set()
    if group:
        yield _Task(paths[first:], group, size_bytes, is_large=False)


def _windows(file: Sequence[_Chunk]) -> Iterator[tuple[int, list[_Chunk]]]:
    """Yield (offset in the file, chunks) of about 8 MiB each."""
    start = size_bytes = 0
    window: list[_Chunk] = []
    frames: set[FrameRef] = set()
    for chunk in file:
        frames.add(chunk.frame)
        if window and (size_bytes + chunk.size > _WINDOW_BYTES or len(frames) > MOST_FRAMES):
            yield start, window
            start, size_bytes, window, frames = start + size_bytes, 0, [], {chunk.frame}
        window.append(chunk)
        size_bytes += chunk.size
    if window:
        yield start, window


def _write_all(descriptor: int, parts: Sequence[memoryview], offset: int) -> None:
    waiting = [part for part in parts if part]
    while waiting:
        written = os.pwritev(descriptor, waiting[:_LARGEST_VECTOR], offset)
        offset += written
        done = 0
        while done < len(waiting) and written >= len(waiting[done]):
            written -= len(waiting[done])
            done += 1
        del waiting[:done]
        if written:
            waiting[0] = waiting[0][written:]


def _allocate(descriptor: int, size_bytes: int) -> None:
    """Reserve the space of a file, so that a full disk fails at once."""
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
            raise
