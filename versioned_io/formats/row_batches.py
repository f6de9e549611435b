"""The rows of a table file in batches, and each row as one binary value that equals another's only if all cells do."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq

from versioned_io.errors import InvalidInputError, VersionedError
from versioned_io.errors.root import quoted
from versioned_io.model.columns import bytes_scalar, optional_text_column

SEPARATORS: Final = {".csv": ",", ".tsv": "\t"}
PARQUET: Final = frozenset({".parquet", ".pq"})
IPC: Final = frozenset({".arrow", ".feather"})
TABLES: Final = frozenset({*SEPARATORS, *PARQUET, *IPC})
"""The extensions of files whose rows can be compared."""

_BATCH_ROWS: Final = 8_192
_READ_AHEAD: Final = 1024 * 1024
_IPC_FILE: Final = b"ARROW1"
_NULL: Final = b"-"
_NO_TYPE: Final = pa.string()
_PARSED_WRONGLY: Final = (pa.ArrowException, OSError, ValueError)
"""Errors of Arrow's readers about a malformed file; `OSError` is one of theirs."""


@dataclass(frozen=True, slots=True)
class TableRows:
    """The schema of a table, and its rows, which can be read once."""

    path: str
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def is_table(path: str) -> bool:
    """Return whether the extension of *path* is one of `TABLES`."""
    return extension_of(path) in TABLES


def extension_of(path: str) -> str:
    """Return the extension of *path* in lower case, with its dot; empty if there is none."""
    name = path.rpartition("/")[2]
    return "." + name.rpartition(".")[2].lower() if "." in name else ""


def open_rows(path: str, file: BinaryIO) -> TableRows:
    """Return the rows of *file*, which is read in batches; the caller closes it after the last one.

    The cells of CSV files are text as it stands there, since a CSV file has no types: ``1`` and ``1.0`` differ.

    Args:
        path: Its extension says what the file is.

    Raises:
        InvalidInputError: It is not what its extension says, or two of its columns have one name.
    """
    extension = extension_of(path)
    with _refusals_named(path):
        if extension in PARQUET:
            parquet = pq.ParquetFile(file, buffer_size=_READ_AHEAD, pre_buffer=False)
            schema, batches = parquet.schema_arrow, parquet.iter_batches(batch_size=_BATCH_ROWS)
        elif extension in IPC:
            schema, batches = _ipc(file)
        else:
            schema, batches = _separated(file, SEPARATORS[extension])
    twice = [name for name in dict.fromkeys(schema.names) if schema.names.count(name) > 1]
    if twice:
        msg = f"{quoted(path)} has two columns {twice[0]!r}: rename one, so that its rows can be compared"
        raise InvalidInputError(msg)
    return TableRows(path, schema, _named_batches(path, batches))


def rows_as_bytes(batch: pa.RecordBatch, names: Sequence[str]) -> Any:  # noqa: ANN401 (an Arrow array of any kind)
    """Return one binary value for each row, made of the cells of the columns *names*; see `cells_of`.

    Each cell is written as its length, ``:`` and its bytes, and a null as ``-``. Different rows give different values.

    Raises:
        InvalidInputError: The cells of a column have no text.
    """
    if not names:
        return pa.repeat(bytes_scalar(b""), batch.num_rows)
    cells = [_netstrings_of(batch, name) for name in names]
    return pc.binary_join_element_wise(*cells, bytes_scalar(b""))


def cells_of(row: bytes, names: Sequence[str]) -> dict[str, str | None]:
    """Return the cells that `rows_as_bytes` wrote into *row*, as text; None is a null."""
    found: dict[str, str | None] = {}
    at = 0
    for name in names:
        if row[at : at + 1] == _NULL:
            found[name], at = None, at + 1
            continue
        end = row.index(b":", at)
        begin, size = end + 1, int(row[at:end])
        found[name], at = row[begin : begin + size].decode(errors="backslashreplace"), begin + size
    return found


def cells_as_bytes(column: pa.ChunkedArray, name: str) -> Any:  # noqa: ANN401 (an Arrow column of any kind)
    """Return the cells of the column *name* as the bytes of their text.

    Raises:
        InvalidInputError: The cells have no text.
    """
    chunks = [_named_cells(chunk, name, _as_binary) for chunk in column.chunks]
    return pa.chunked_array(chunks, pa.binary())


def _netstrings_of(batch: pa.RecordBatch, name: str) -> Any:  # noqa: ANN401 (an Arrow array of any kind)
    return _named_cells(batch.column(name), name, _netstrings)


def _named_cells(column: Any, name: str, convert: Callable[[Any], Any]) -> Any:  # noqa: ANN401 (Arrow arrays of any kind)
    try:
        return convert(column)
    except (pa.ArrowException, ValueError, OverflowError) as error:  # such as a time that no calendar has
        msg = f"the cells of the column {quoted(name)}, of type {column.type}, can't be compared: {error}"
        raise InvalidInputError(msg) from error


def _netstrings(column: Any) -> Any:  # noqa: ANN401 (an Arrow array of any kind)
    values = _as_binary(column)
    sizes = pc.cast(pc.cast(pc.binary_length(values), pa.string()), pa.binary())
    joined = pc.binary_join_element_wise(sizes, values, bytes_scalar(b":"))
    return pc.fill_null(joined, bytes_scalar(_NULL))


def _as_binary(column: Any) -> Any:  # noqa: ANN401 (an Arrow array of any kind)
    """Return the cells as the bytes of their text; binary cells as they are."""
    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        return _as_binary(column.storage)
    if pa.types.is_dictionary(kind):
        return _as_binary(column.dictionary_decode())
    if pa.types.is_binary(kind):
        return column
    if pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pc.cast(column, pa.binary())
    if not pa.types.is_nested(kind):
        try:
            return pc.cast(pc.cast(column, pa.string()), pa.binary())
        except pa.ArrowException:  # no cast of this type to text, or the machine lacks the time zone
            pass
    texts = [None if cell is None else json.dumps(cell, default=str) for cell in column.to_pylist()]
    return pc.cast(optional_text_column(texts), pa.binary())


@contextmanager
def _refusals_named(path: str) -> Iterator[None]:
    """Turn an error of Arrow's readers into one that names the file; an error of the store stays what it is."""
    try:
        yield
    except VersionedError:
        raise
    except _PARSED_WRONGLY as error:
        msg = f"{quoted(path)} can't be read as its extension {extension_of(path)} says: {error}"
        raise InvalidInputError(msg) from error


def _ipc(file: BinaryIO) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    is_file = file.read(len(_IPC_FILE)) == _IPC_FILE
    file.seek(0)
    if not is_file:
        stream = pyarrow.ipc.open_stream(file)
        return stream.schema, _slices(iter(stream))
    reader = pyarrow.ipc.open_file(file)
    return reader.schema, _slices(reader.get_batch(number) for number in range(reader.num_record_batches))


def _slices(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            yield batch.slice(start, _BATCH_ROWS)


def _separated(file: BinaryIO, separator: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    parsing = pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True)
    if not file.read(1):
        return pa.schema([]), iter(())
    file.seek(0)
    header = _header(file)
    file.seek(0)
    first = pyarrow.csv.read_csv(pa.BufferReader(header), parse_options=parsing)
    as_text = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(first.schema.names, _NO_TYPE),
        strings_can_be_null=False,
        quoted_strings_can_be_null=False,
    )
    reader = pyarrow.csv.open_csv(file, parse_options=parsing, convert_options=as_text)
    return reader.schema, _slices(iter(reader))


def _header(file: BinaryIO) -> bytes:
    """Return the names of the columns, which end with the first line, or with a later one if a quoted name has several.

    Raises:
        ValueError: The first line is longer than 1 MiB.
    """
    first = file.readline(_READ_AHEAD)
    if len(first) == _READ_AHEAD:
        msg = "its first line is longer than 1 MiB"
        raise ValueError(msg)
    lines, size, quotes = [first], len(first), first.count(b'"')
    while quotes % 2 and size < _READ_AHEAD and (line := file.readline(_READ_AHEAD)):
        lines.append(line)
        size, quotes = size + len(line), quotes + line.count(b'"')
    # A quote that is never closed is a letter of a name.
    return first if quotes % 2 else b"".join(lines)


def _named_batches(path: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with _refusals_named(path):
        yield from batches
