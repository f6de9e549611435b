"""Cutting files into chunks, and the digests of chunks and files."""

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from blake3 import blake3
from pyfastcdc import FastCDC

from versioned_io.model.places import ChunkSpan
from versioned_io.storage.chunks.sources import Filler
from versioned_io.storage.objects.port import Buffer

MINIMUM_SIZE: Final = 128 * 1024
AVERAGE_SIZE: Final = 256 * 1024
MAXIMUM_SIZE: Final = 1024 * 1024
NORMALIZATION: Final = 2

FILE_CONTEXT: Final = "versioned-io 2026 v1 file of several chunks"
EMPTY_DIGEST: Final = blake3(b"").digest()
_SIZE: Final = struct.Struct("<Q")


def digest_of(data: Buffer) -> bytes:
    """Return the name of the chunk with these bytes: BLAKE3-256."""
    return blake3(data).digest()


def file_digest(digests: Sequence[bytes], sizes: Sequence[int]) -> bytes:
    """Return the content digest of the file made of these chunks.

    The digest of a file of one chunk is the chunk's: plain BLAKE3 of its bytes. The digest of a file of several chunks
    is BLAKE3 in derive-key mode over their (digest, size) pairs. So nobody can craft a file of one chunk that has the
    digest of a file of several.

    Source: docs/spec/format-v1.md, "File digest".
    """
    if not digests:
        return EMPTY_DIGEST
    if len(digests) == 1:
        return digests[0]
    pairs = b"".join(digest + _SIZE.pack(size) for digest, size in zip(digests, sizes, strict=True))
    return blake3(pairs, derive_key_context=FILE_CONTEXT).digest()


def cut_bytes(data: Buffer) -> Iterator[memoryview]:
    """Yield the chunks of *data*, in order, without a copy.

    Source: Xia et al., "The Design of Fast Content-Defined Chunking", IEEE TPDS 2020; docs/spec/format-v1.md, "Chunks".
    """
    view = memoryview(data).cast("B")
    for chunk in _cutter().cut_buf(view):
        yield view[chunk.offset : chunk.offset + chunk.length]


def cut_stream(source: Filler, take_window: Callable[[], memoryview]) -> Iterator[list[memoryview]]:
    """Yield the chunks of *source*, in order, a window at a time: the same chunks as `cut_bytes` of all its bytes.

    Args:
        take_window: Returns working memory, larger than `MAXIMUM_SIZE`, for the chunks of one window. Its contents must
            stay until the next window's chunks are yielded, unless it is returned again as that next window.

    Raises:
        InvalidInputError: *source* returns something other than bytes. Open files in binary mode.
    """
    cutter = _cutter()
    rest, at_end = memoryview(b""), False
    while not at_end:
        view = take_window()
        filled = len(rest)
        view[:filled] = rest
        while filled < len(view) and not at_end:
            count = source.fill(view[filled:])
            filled += count
            at_end = count == 0
        used, chunks = 0, []
        for chunk in cutter.cut_buf(view[:filled]):
            # A cut is final only if a whole maximum chunk of bytes follows its start, or the source has ended.
            if not at_end and filled - chunk.offset < MAXIMUM_SIZE:
                break
            used = chunk.offset + chunk.length
            chunks.append(view[chunk.offset : used])
        rest = view[used:filled]
        yield chunks


def name_chunks(chunks: Sequence[memoryview]) -> list[ChunkSpan]:
    """Return the names of the chunks of one window, and where in it they lie."""
    sizes = [len(chunk) for chunk in chunks]
    return list(map(ChunkSpan, map(digest_of, chunks), accumulate(sizes, initial=0), sizes))


def _cutter() -> FastCDC:
    return FastCDC(AVERAGE_SIZE, min_size=MINIMUM_SIZE, max_size=MAXIMUM_SIZE, normalized_chunking=NORMALIZATION)
