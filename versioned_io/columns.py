"""Arrow arrays straight from buffers.

`pyarrow.array` of Python values imports pandas where it is installed, 0.35 s of a process that has no use for it.
"""

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
import pyarrow as pa


def text_column(values: Sequence[str]) -> pa.StringArray:
    """Return an Arrow string array of *values*. Cost: 0.1 us a value."""
    data = "".join(values).encode()
    is_ascii = len(data) == sum(map(len, values))
    lengths = map(len, values) if is_ascii else (len(value.encode()) for value in values)
    offsets = array("i", accumulate(lengths, initial=0))
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(data))


def optional_text_column(values: Sequence[str | None]) -> pa.StringArray:
    """Return an Arrow string array of *values*, null where one is None."""
    filled = text_column([value or "" for value in values])
    if None not in values:
        return filled
    valid = bool_column(value is not None for value in values)
    return pa.StringArray.from_buffers(len(values), *filled.buffers()[1:], null_bitmap=valid.buffers()[1])


def fixed_column(values: Iterable[bytes], width: int) -> pa.FixedSizeBinaryArray:
    """Return an Arrow array of binary values that all have *width* bytes."""
    return fixed_column_of(b"".join(values), width)


def fixed_column_of(data: bytes | bytearray, width: int) -> pa.FixedSizeBinaryArray:
    """Return an Arrow array of the binary values of *width* bytes that *data* is the concatenation of."""
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(data) // width, [None, pa.py_buffer(data)])


def number_column(values: "Sequence[int] | array[int] | np.ndarray", kind: pa.DataType) -> pa.Array:
    """Return an Arrow array of *values* of the integer type *kind*."""
    numbers = np.asarray(values, dtype=kind.to_pandas_dtype())
    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(numbers)])


def bool_column(values: Iterable[bool]) -> pa.BooleanArray:
    """Return an Arrow boolean array of *values*."""
    flags = np.fromiter(values, dtype=np.bool_)
    bits = np.packbits(flags, bitorder="little")
    return pa.BooleanArray.from_buffers(pa.bool_(), len(flags), [None, pa.py_buffer(bits)])
