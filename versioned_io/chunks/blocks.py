"""Compressing blocks on all cores, in the order in which they came."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from versioned_io.chunks.cutting import MINIMUM_SIZE
from versioned_io.chunks.windows import WINDOW_SIZE, Window
from versioned_io.objects.port import Buffer
from versioned_io.packs.frames import Payload, compress_payload

BLOCK_BYTES: Final = 1024 * 1024
"""What small chunks are gathered to before they are compressed."""

_JOB_BYTES: Final = 2 * 1024 * 1024
_WAITING_BYTES: Final = 8 * 1024 * 1024
_SMALLEST_JOB: Final = 256 * 1024  # below this, handing it to a thread costs more than it saves


@dataclass(frozen=True, slots=True)
class Block:
    """Chunks that become one frame.

    Attributes:
        raw: Their bytes, one after the other.
        chunks: (digest, offset in the block, size) of each.
        window: Where *raw* lies; None where it has memory of its own.
    """

    raw: Buffer
    chunks: Sequence[tuple[bytes, int, int]]
    window: Window | None


EncodedBlock = tuple[Block, Payload]


class BlockEncoder:
    """Compresses blocks in threads; they come out in the order in which they went in. For one thread at a time."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._jobs: deque[tuple[list[Block], Future[list[Payload]] | None]] = deque()
        self._waiting_bytes = 0

    @property
    def threads(self) -> ThreadPoolExecutor:
        """The threads that compress; other work without the GIL may share them."""
        if self._threads is None:
            threads = min(os.cpu_count() or 1, 8)
            self._threads = ThreadPoolExecutor(threads, thread_name_prefix="versioned-io-compress")
        return self._threads

    @property
    def is_full(self) -> bool:
        """Whether as much is under way as may be; `take` some before more is put in."""
        return self._waiting_bytes > _WAITING_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether nothing is under way."""
        return not self._jobs

    def put(self, blocks: Sequence[Block]) -> None:
        """Begin to compress *blocks*."""
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
        """Return the blocks of the job that began first, waiting for it."""
        blocks, future = self._jobs.popleft()
        self._waiting_bytes -= sum(len(block.raw) for block in blocks)
        return list(zip(blocks, _compress(blocks) if future is None else future.result(), strict=True))

    def stop(self) -> None:
        """Drop what is under way and end the threads; they begin again when they are needed."""
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


def blocks_of(window: Window, chunks: Iterable[tuple[bytes, int, int]]) -> Iterator[Block]:
    """Yield the blocks that (digest, start, size) of *window* make: large ones alone, small ones together.

    What can't be compressed keeps its window until its pack is stored. So that a few bytes don't keep all of it, they
    are copied where *chunks* are less than half of it.
    """
    wanted = list(chunks)
    is_little = 2 * sum(size for _, _, size in wanted) < WINDOW_SIZE
    for block in _blocks_in(window, wanted):
        yield Block(bytes(block.raw), block.chunks, None) if is_little else block


def _blocks_in(window: Window, chunks: Iterable[tuple[bytes, int, int]]) -> Iterator[Block]:
    view = window.view
    group: list[tuple[bytes, int, int]] = []
    group_bytes = 0
    for chunk in chunks:
        digest, start, size = chunk
        if size >= MINIMUM_SIZE:
            yield Block(view[start : start + size], [(digest, 0, size)], window)
            continue
        group.append(chunk)
        group_bytes += size
        if group_bytes >= BLOCK_BYTES:
            yield _block_of(window, group, group_bytes)
            group, group_bytes = [], 0
    if group:
        yield _block_of(window, group, group_bytes)


def _block_of(window: Window, group: Sequence[tuple[bytes, int, int]], size: int) -> Block:
    first = group[0][1]
    chunks: list[tuple[bytes, int, int]] = []
    inner = 0
    for digest, _, length in group:
        chunks.append((digest, inner, length))
        inner += length
    view = window.view
    if group[-1][1] + group[-1][2] - first == size:
        return Block(view[first : first + size], chunks, window)
    # Some between them are stored already.
    return Block(b"".join([view[start : start + length] for _, start, length in group]), chunks, window)
