"""Where a file is cut into chunks, and how chunks and files are named."""

import struct
from collections.abc import Iterator
from typing import Final, Protocol

from blake3 import blake3
from pyfastcdc import FastCDC

from versioned_io.errors import InvalidInputError
from versioned_io.objects.port import Buffer

MINIMUM_SIZE: Final = 128 * 1024
AVERAGE_SIZE: Final = 256 * 1024
MAXIMUM_SIZE: Final = 1024 * 1024
NORMALIZATION: Final = 2
_WINDOW: Final = 8 * 1024 * 1024

FILE_CONTEXT: Final = "versioned-io 2026 v1 file of several chunks"
EMPTY_DIGEST: Final = blake3(b"").digest()
_SIZE: Final = struct.Struct("<Q")


class Readable(Protocol):
    """Anything with ``read(size)`` that returns bytes, and none at the end."""

    def read(self, size: int, /) -> bytes: ...


def digest_of(data: Buffer) -> bytes:
    """Return the name of the chunk with these bytes: BLAKE3-256."""
    return blake3(data).digest()


def file_digest(digests: list[bytes], sizes: list[int]) -> bytes:
    """Return the content digest of the file made of these chunks.

    One chunk: its digest, so that the digest of a small file is plain BLAKE3 of its bytes. Several: BLAKE3 in
    derive-key mode over the (digest, size) pairs, so that no file of one chunk can be crafted to have the digest
    of a file of many.

    Source: docs/spec/format-v1.md, "File digest".
    """
    if not digests:
        return EMPTY_DIGEST
    if len(digests) == 1:
        return digests[0]
    pairs = b"".join(digest + _SIZE.pack(size) for digest, size in zip(digests, sizes, strict=True))
    return blake3(pairs, derive_key_context=FILE_CONTEXT).digest()


def bytes_of(part: Buffer) -> memoryview:
    """Return *part*, which a source gave, as bytes.

    Raises:
        InvalidInputError: It is text or something else; open files in binary mode, and encode text.
    """
    try:
        return memoryview(part).cast("B")
    except TypeError:
        msg = f"the source gave {type(part).__name__}, not bytes: open the file in binary mode, or encode the text"
        raise InvalidInputError(msg) from None


def cut(source: Readable) -> Iterator[memoryview]:
    """Yield the chunks of *source*, in order; each is valid only until the next one is asked for.

    Cuts depend on the bytes alone, not on how *source* returns them. Holds 8 MiB, however large the file is.

    Raises:
        InvalidInputError: *source* gives something else than bytes.

    Source: Xia et al., "The Design of Fast Content-Defined Chunking", IEEE TPDS 2020; docs/spec/format-v1.md, "Chunks".
    """
    cutter = FastCDC(AVERAGE_SIZE, min_size=MINIMUM_SIZE, max_size=MAXIMUM_SIZE, normalized_chunking=NORMALIZATION)
    buffer = bytearray(_WINDOW)
    filled, at_end = 0, False
    view = memoryview(buffer)
    while not at_end or filled:
        while filled < _WINDOW and not at_end:
            data = bytes_of(source.read(_WINDOW - filled))
            view[filled : filled + len(data)] = data
            filled += len(data)
            at_end = not len(data)
        used = 0
        for chunk in cutter.cut_buf(view[:filled]):
            # A cut is final only when a whole maximum chunk was there to look at, or nothing more can come.
            if not at_end and filled - chunk.offset < MAXIMUM_SIZE:
                break
            used = chunk.offset + chunk.length
            yield view[chunk.offset : used]
        view[: filled - used] = bytes(view[used:filled])
        filled -= used
