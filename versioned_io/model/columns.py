"""Arrow arrays straight from buffers.

`pyarrow.array` of Python values imports pandas if it is installed. That takes 0.35 s, also in a process that does not
need pandas.
"""

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, Final

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
    """Return an Arrow array of binary values of *width* bytes; *data* is their concatenation."""
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


def hex_texts(values: pa.FixedSizeBinaryArray | pa.ChunkedArray) -> list[str | None]:
    """Return binary values of one width as hex digits, None where one is null. Cost: 0.15 us a value."""
    if values.null_count or isinstance(values, pa.ChunkedArray):
        return [None if value is None else value.hex() for value in values.to_pylist()]
    width = values.type.byte_width
    start = values.offset * width
    digits = memoryview(values.buffers()[1])[start : start + len(values) * width].hex()
    return [digits[at : at + 2 * width] for at in range(0, len(digits), 2 * width)]


def number_array(column: pa.Array) -> np.ndarray:
    """Return the values of an Arrow array of integers, none of them null, without a copy."""
    kind = np.dtype(column.type.to_pandas_dtype())
    buffer = column.buffers()[1]
    return np.frombuffer(buffer or b"", kind, len(column), column.offset * kind.itemsize if buffer else 0)


def fixed_words(column: pa.FixedSizeBinaryArray) -> np.ndarray:
    """Return binary values of one width, a multiple of 8, none of them null, as rows of uint64, without a copy."""
    words = column.type.byte_width // 8
    buffer = column.buffers()[1]
    start = column.offset * column.type.byte_width if buffer else 0
    return np.frombuffer(buffer or b"", np.uint64, len(column) * words, start).reshape(-1, words)


def column_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return an Arrow array of *values*, none of them None, of a type that this library's tables use.

    Raises:
        TypeError: It is another type.
    """
    if pa.types.is_string(kind):
        return text_column(values)
    if pa.types.is_fixed_size_binary(kind):
        return fixed_column(values, kind.byte_width)
    if pa.types.is_integer(kind):
        return number_column(values, kind)
    if pa.types.is_list(kind) and not values:
        empty = pa.StructArray.from_arrays(
            [column_of([], one.type) for one in kind.value_type], fields=list(kind.value_type)
        )
        return pa.ListArray.from_arrays(number_column([0], pa.int32()), empty, type=kind)
    msg = f"no column of {kind} is made here"
    raise TypeError(msg)


def text_scalar(value: str) -> pa.StringScalar:
    """Return *value* as Arrow's compute functions take it without making it from Python themselves."""
    return text_column([value])[0]


def bytes_scalar(value: bytes) -> pa.BinaryScalar:
    """Return *value* as a scalar, without the conversion for which Arrow loads pandas."""
    offsets = pa.py_buffer(array("i", [0, len(value)]))
    return pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(value)])[0]


EMPTY_TEXT: Final = text_scalar("")


def number_scalar(value: int, kind: pa.DataType) -> pa.Scalar:
    """Return *value* likewise."""
    return number_column([value], kind)[0]


def whole_column(column: pa.ChunkedArray) -> pa.Array:
    """Return *column* in one piece."""
    return column.combine_chunks() if column.num_chunks else column_of([], column.type)


def groups_of(table: pa.Table, columns: Sequence[str], collected: Sequence[str] = ()) -> pa.Table:
    """Return the different rows of *columns*, each with lists of the values of *collected*, as ``<name>_list``.

    It runs in this thread alone. Arrow's threads may release a buffer after the result was returned. Releasing a buffer
    that Python owns needs the interpreter, so a process that ended at that moment was aborted.

    Cost: time and memory proportional to the rows.
    """
    return aggregated(table, columns, [(name, "list") for name in collected])


def aggregated(table: pa.Table, columns: Sequence[str], wanted: Sequence[tuple[str, str]]) -> pa.Table:
    """Return the different rows of *columns*, each with aggregates of other columns, as ``<name>_<function>``.

    It runs in this thread alone; see `groups_of`.

    Args:
        wanted: A column and Arrow's name of a function, such as ``sum``.

    Cost: time and memory proportional to the rows.
    """
    return table.group_by(columns, use_threads=False).aggregate(list(wanted))
