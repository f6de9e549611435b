"""The canonical bytes of what code can see: length-prefixed columns, joined without a loop over rows."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3

from versioned_io.model.columns import bytes_scalar, fixed_column

FILES_CONTEXT: Final = "versioned-io 2026 files of a datum v1"
"""The context of the digest of a directory's files: their paths and contents, without attributes."""

_NOTHING: Final = bytes_scalar(b"")


def framed(data: bytes) -> bytes:
    """Return *data* with its length before it, so that no two lists of values give the same bytes."""
    return b"%d:%b" % (len(data), data)


def framed_column(values: pa.Array) -> list[pa.Array]:
    """Return the columns whose concatenation is each value of a text or binary column, framed."""
    lengths = pc.cast(pc.cast(pc.binary_length(values), pa.string()), pa.binary())
    return [lengths, bytes_scalar(b":"), pc.cast(values, pa.binary())]


def joined(columns: Sequence[pa.Array | pa.Scalar]) -> pa.Array:
    """Return, row by row, the concatenation of binary columns; a scalar stands in every row."""
    return pc.binary_join_element_wise(*columns, _NOTHING)


def slices_digests(rows: pa.Array, starts: np.ndarray, counts: np.ndarray) -> pa.Array:
    """Return the digest of each slice of the concatenated values of *rows*: one hash over one piece of memory."""
    _, offsets, data = rows.buffers()
    ends = np.frombuffer(offsets, np.int32)[rows.offset : rows.offset + len(rows) + 1]
    memory = memoryview(data or b"")
    digests = [
        blake3(memory[ends[start] : ends[start + count]], derive_key_context=FILES_CONTEXT).digest()
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True)
    ]
    return pc.cast(fixed_column(digests, 32), pa.binary())
