"""Parallel compression of blocks, with results in the order of the input."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from versioned_io.model.places import ChunkSpan
from versioned_io.storage.chunks.cutting import MINIMUM_SIZE
from versioned_io.storage.chunks.windows import WINDOW_SIZE, Window
from versioned_io.storage.objects.port import Buffer
from versioned_io.storage.packs.frames import Payload, compress_payload

BLOCK_BYTES: Final = 1024 * 1024
"""Small chunks are gathered into blocks of this size before they are compressed."""

_JOB_BYTES: Final = 2 * 1024 * 1024
_WAITING_BYTES: Final = 8 * 1024 * 1024
_SMALLEST_JOB: Final = 256 * 1024  # for fewer bytes, the hand-over to a thread costs more than it saves


@dataclass(frozen=True, slots=True)
class Block:
    """Chunks that become one frame.

    Attributes:
        raw: The bytes of the chunks, concatenated.
        chunks: The span of each chunk in *raw*.
        window: The window that *raw* is a view of; None if *raw* has its own memory.
    """

    raw: Buffer
    chunks: Sequence[ChunkSpan]
    window: Window | None


EncodedBlock = tuple[Block, Payload]


class BlockEncoder:
    """Compresses blocks in threads, and returns them in the order of the input. For one thread at a time."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._jobs: deque[tuple[list[Block], Future[list[Payload]] | None]] = deque()
        self._waiting_bytes = 0

    @property
    def threads(self) -> ThreadPoolExecutor:
        """The threads that compress. Other work that releases the GIL may share them."""
        if self._threads is None:
            threads = min(os.cpu_count() or 1, 8)
            self._threads = ThreadPoolExecutor(threads, thread_name_prefix="versioned-io-compress")
        return self._threads

    @property
    def is_full(self) -> bool:
        """Whether the queue is full: call `take` before the next `put`."""
        return self._waiting_bytes > _WAITING_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether no block is being compressed."""
        return not self._jobs

    def put(self, blocks: Sequence[Block]) -> None:
        """Start to compress *blocks*."""
        job: list[Block] = []
        size = 0
        for block in blocks:
            job.append(block)
            size += len(block.raw)
            if size >= _JOB_BYTES:
                self._begin(job, size)
                job, size = [], 0
        if job:
            self._begin(job, size)

    def take(self) -> list[EncodedBlock]:
        """Wait for the oldest job, and return its blocks."""
        blocks, future = self._jobs.popleft()
        self._waiting_bytes -= sum(len(block.raw) for block in blocks)
        return list(zip(blocks, _compress(blocks) if future is None else future.result(), strict=True))

    def stop(self) -> None:
        """Discard all jobs and end the threads; the next `put` starts them again."""
        for _, future in self._jobs:
            if future is not None:
                future.cancel()
        self._jobs.clear()
        self._waiting_bytes = 0
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None

    def _begin(self, blocks: list[Block], size: int) -> None:
        self._waiting_bytes += size
        if size < _SMALLEST_JOB:
            self._jobs.append((blocks, None))
            return
        self._jobs.append((blocks, self.threads.submit(_compress, blocks)))


def _compress(blocks: Sequence[Block]) -> list[Payload]:
    return [compress_payload(block.raw) for block in blocks]


def blocks_of(window: Window, chunks: Iterable[ChunkSpan]) -> Iterator[Block]:
    """Yield blocks made of *chunks*, which are spans of *window*: a large chunk alone, small chunks together.

    A block that can't be compressed keeps its window in memory until its pack is stored. If *chunks* fill less than
    half of the window, they are copied, so that a few bytes don't keep all of it.
    """
    wanted = list(chunks)
    is_little = 2 * sum(chunk.size for chunk in wanted) < WINDOW_SIZE
    for block in _blocks_in(window, wanted):
        yield Block(bytes(block.raw), block.chunks, None) if is_little else block


def _blocks_in(window: Window, chunks: Iterable[ChunkSpan]) -> Iterator[Block]:
    view = window.view
    group: list[ChunkSpan] = []
    group_bytes = 0
    for chunk in chunks:
        digest, start, size = chunk
        if size >= MINIMUM_SIZE:
            yield Block(view[start : start + size], [ChunkSpan(digest, 0, size)], window)
            continue
        group.append(chunk)
        group_bytes += size
        if group_bytes >= BLOCK_BYTES:
            yield _block_of(window, group, group_bytes)
            group, group_bytes = [], 0
    if group:
        yield _block_of(window, group, group_bytes)


def _block_of(window: Window, group: Sequence[ChunkSpan], size: int) -> Block:
    first, last = group[0].start, group[-1]
    chunks: list[ChunkSpan] = []
    inner = 0
    for digest, _, length in group:
        chunks.append(ChunkSpan(digest, inner, length))
        inner += length
    view = window.view
    if last.start + last.size - first == size:
        return Block(view[first : first + size], chunks, window)
    # The chunks are not adjacent: chunks between them are already stored.
    return Block(b"".join([view[start : start + length] for _, start, length in group]), chunks, window)
