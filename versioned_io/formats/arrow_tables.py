"""Arrow tables as Parquet or Arrow IPC bytes: equal tables give equal bytes, and come back equal or not at all."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from versioned_io.formats.registry import Unfit

_Column = Any
_Type = Any  # the stubs narrow only what isinstance() tells apart

_SHAPE = "shape"
_ARROW_SCHEMA = b"ARROW:schema"
# The errors for a table that Parquet refuses, and for a column of Python objects without an Arrow type. Before Arrow
# 26, the writer of Parquet raises OSError for some types, and some columns can't be compared.
_UNWRITABLE = (pa.ArrowException, NotImplementedError, TypeError, ValueError, OverflowError, OSError)


def write_parquet(table: pa.Table) -> pa.Buffer | Unfit:
    """Return *table* as a Parquet file, unless reading it would give another table.

    Content-defined chunking and one row group keep an edit of a few rows local. With the default row groups, ten
    inserted rows change four times as many bytes.
    """
    if len(set(table.column_names)) < table.num_columns:
        return Unfit("two of its columns have one name, which readers of Parquet can't tell apart")
    for name, column in zip(table.column_names, table.columns, strict=True):
        if _overflows(column):
            return Unfit(f"Parquet can't hold the column {name!r}: a time is too large for milliseconds")
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(
            table.combine_chunks(),
            sink,
            row_group_size=max(table.num_rows, 1),
            use_content_defined_chunking=True,
            compression="zstd",
            compression_level=1,
        )
    except _UNWRITABLE as error:
        return Unfit(f"Parquet can't hold it: {_first_line(error)}")
    content = sink.getvalue()
    return _changed_by_parquet(table, content) or content


def _overflows(column: _Column) -> bool:
    """Return whether a time in seconds is too large for Parquet, whose writer would end the process."""
    if not pa.types.is_timestamp(column.type) or column.type.unit != "s":
        return False
    try:
        column.cast(pa.timestamp("ms", column.type.tz))
    except pa.ArrowInvalid:
        return True
    return False


def read_parquet(content: bytes | pa.Buffer) -> pa.Table:
    """Return the table of a Parquet file that `write_parquet` wrote. Cost: memory for one more copy of *content*."""
    return _read_parquet(content if isinstance(content, pa.Buffer) else _owned_by_arrow(content), None)


def _owned_by_arrow(content: bytes) -> pa.Buffer:
    """Return a copy of *content* that any thread can release.

    Arrow's threads hold a buffer for a moment after the read has ended. Releasing Python's bytes needs the interpreter,
    so a process that ended at that moment was aborted. 200 MB are copied in 0.05 s.
    """
    buffer = pa.allocate_buffer(len(content))
    memoryview(buffer).cast("B")[:] = content
    return buffer


def write_ipc(table: pa.Table) -> pa.Buffer | Unfit:
    """Return *table* as an Arrow IPC file, which holds every Arrow type as it is."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd", unify_dictionaries=True)
    try:
        with pa.ipc.new_file(sink, table.schema, options=options) as writer:
            for batch in _batches(table.combine_chunks()):
                writer.write_batch(batch)
    except _UNWRITABLE as error:
        return Unfit(f"Arrow IPC can't hold it: {_first_line(error)}")
    return sink.getvalue()


def read_ipc(content: bytes) -> pa.Table:
    """Return the table of an Arrow IPC file."""
    with pa.ipc.open_file(pa.py_buffer(content)) as reader:
        return reader.read_all()


def table_of_arrow(obj: object) -> tuple[pa.Table, dict[str, str]] | Unfit:
    """Return a table or record batch as a table and the attributes that `arrow_of_table` needs."""
    if isinstance(obj, pa.RecordBatch):
        return pa.Table.from_batches([obj]), {_SHAPE: "batch"}
    return (obj, {_SHAPE: "frame"}) if isinstance(obj, pa.Table) else Unfit(f"it is a {type(obj).__name__}")


def arrow_of_table(table: pa.Table, attributes: Mapping[str, str]) -> pa.Table | pa.RecordBatch:
    """Return the table or record batch that was stored."""
    if attributes.get(_SHAPE) != "batch":
        return table
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def open_buffer(content: pa.Buffer) -> io.BufferedIOBase:
    """Return *content* as a readable binary file, without a copy."""
    reader: Any = pa.BufferReader(content)
    return io.BufferedReader(reader)


def _batches(table: pa.Table) -> list[pa.RecordBatch]:
    """Return the batches of *table*: at least one, even without rows, so that its dictionaries are written."""
    if table.num_rows > 0 or table.num_columns == 0:
        batches: list[pa.RecordBatch] = table.to_batches()
        return batches
    columns: list[_Column] = [
        column.chunk(0) if column.num_chunks else pa.array([], column.type) for column in table.columns
    ]
    return [pa.RecordBatch.from_arrays(columns, schema=table.schema)]


def _read_parquet(content: pa.Buffer, columns: list[str] | None) -> pa.Table:
    file = pq.ParquetFile(pa.BufferReader(content))
    return as_written(file, file.read(columns=columns))


def as_written(file: pq.ParquetFile, table: pa.Table) -> pa.Table:
    """Return *table*, which was read from *file*, with the types that its columns had when they were written.

    Parquet has no seconds, no 64-bit dates and dictionaries of text only; the writer's own schema is in the file.
    """
    original = _original_schema(file)
    if original is None:
        return table
    fields: list[pa.Field[Any]] = [original.field(name) for name in table.column_names]
    metadata: Any = original.metadata
    target = pa.schema(fields, metadata=metadata)
    return table if table.schema.equals(target, check_metadata=True) else table.cast(target)


def _original_schema(file: pq.ParquetFile) -> pa.Schema | None:
    recorded = (file.metadata.metadata or {}).get(_ARROW_SCHEMA)
    if recorded is None:
        return None
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(recorded)))


def _changed_by_parquet(table: pa.Table, content: pa.Buffer) -> Unfit | None:
    """Return what reading the file would change, looking at those columns only whose type leaves it open."""
    doubtful = [field.name for field in table.schema if not _is_exact_in_parquet(field.type)]
    if not doubtful:
        return None
    try:
        found = _read_parquet(content, doubtful)
        changed = next((name for name in doubtful if not _same_column(found[name], table[name])), None)
    except _UNWRITABLE as error:
        return Unfit(f"Parquet can't give it back: {_first_line(error)}")
    return (
        None if changed is None else Unfit(f"Parquet would change the column {changed!r} of type {table[changed].type}")
    )


def _same_column(found: _Column, expected: _Column) -> bool:
    if found.type != expected.type or not found.equals(expected):
        return False
    # Two dictionary columns are equal when their values are; unused categories count as well.
    return not pa.types.is_dictionary(found.type) or found.combine_chunks().dictionary.equals(
        expected.combine_chunks().dictionary
    )


def _is_exact_in_parquet(type_: _Type) -> bool:
    types = pa.types
    if types.is_list(type_) or types.is_large_list(type_):
        return _is_exact_in_parquet(type_.value_type)
    if types.is_struct(type_):
        return all(_is_exact_in_parquet(type_.field(index).type) for index in range(type_.num_fields))
    if types.is_timestamp(type_):
        return bool(type_.unit != "s")
    return bool(
        types.is_integer(type_)
        or types.is_floating(type_)
        or types.is_boolean(type_)
        or types.is_string(type_)
        or types.is_large_string(type_)
        or types.is_binary(type_)
        or types.is_large_binary(type_)
        or types.is_date32(type_)
        or types.is_duration(type_)
        or types.is_decimal(type_)
        or types.is_null(type_)
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
