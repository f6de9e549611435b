"""The datums of a table: its rows, cut by the values of one column, with a digest for each value."""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3

from versioned_io.errors import FormatError, InvalidInputError
from versioned_io.model.columns import (
    bytes_scalar,
    fixed_column,
    number_array,
    number_column,
    optional_text_column,
    text_column,
    text_scalar,
)
from versioned_io.processing.inputs.datum_set import DatumFile
from versioned_io.processing.inputs.globbing import files_at, files_of, matched_paths
from versioned_io.processing.inputs.matches import FileLists, MatchedPaths, Matches, escaped_values
from versioned_io.processing.inputs.seen_bytes import framed, framed_column, joined, slices_digests
from versioned_io.processing.inputs.specs import TableInput
from versioned_io.versioning.snapshots.glob import parse_glob
from versioned_io.versioning.snapshots.snapshot import Snapshot

CUT_CONTEXT: Final = "versioned-io 2026 rows of a table datum v1"

_PARQUET: Final = b"PAR1"
_ARROW_FILE: Final = b"ARROW1"


class TableCut(NamedTuple):
    """The values of a column of one table, each with the digest and the number of its rows.

    Attributes:
        values: As text, sorted; null comes last.
    """

    values: pa.StringArray
    digests: pa.FixedSizeBinaryArray
    counts: pa.Int64Array


class _Groups(NamedTuple):
    """The rows of a table by the values of a column.

    Attributes:
        values: As of `TableCut`.
        order: The numbers of the rows, those of each value together.
        starts, counts: The part of *order* that each value has.
    """

    values: pa.StringArray
    order: np.ndarray
    starts: np.ndarray
    counts: np.ndarray


class _GroupedTable(NamedTuple):
    """A table that was read, and where its values are.

    Attributes:
        path, column: The path in the snapshot, and the column that cuts the table.
        places: The number of each value in *groups*.
    """

    path: str
    column: str
    table: pa.Table
    groups: _Groups
    places: Mapping[str | None, int]


_last_read: Final[WeakKeyDictionary[Snapshot, _GroupedTable]] = WeakKeyDictionary()
"""The table that was read last from each snapshot: its keys follow each other."""

Cuts = MutableMapping[bytes, TableCut]
"""Cuts that were made before, by the digest of the files and the rule."""


def table_matches(
    spec: TableInput, snapshot: Snapshot, cuts: Cuts | None = None, *, only: Sequence[str] | None = None
) -> Matches:
    """Return the datums of a table input; a directory that matches is one table of all the files below it.

    The digest of a value covers names, types, nulls and values of its rows, in their order. It does not depend on row
    groups, compression, dictionaries, or the division of a directory into files. Other values' rows don't count.

    Args:
        only: The paths of the tables to look at; by default all.

    Raises:
        InvalidInputError: A file lacks the column, or its type can't be written as text.
        FormatError: A file is neither Parquet nor Arrow.

    Cost: reads each file whole, unless *cuts* has its cut; 0.5 us a row.
    """
    pattern = parse_glob(spec.path, has_fields=True)
    if only is None or pattern.is_root:
        files = files_of(snapshot, pattern)
        found = matched_paths(pattern, files)
    else:
        files = files_at(snapshot, only, [f"{path}/" for path in only])
        found = matched_paths(pattern, files)
        found = found.chosen(pc.is_in(found.keys, value_set=text_column(only)))
    names = files.paths.to_pylist()
    of_match: list[TableCut] = []
    for start, count in zip(found.starts.tolist(), found.counts.tolist(), strict=True):
        digest = blake3(
            b"".join(files.digests.slice(start, count).to_pylist()) + spec.by.encode(), derive_key_context=CUT_CONTEXT
        )
        cut = None if cuts is None else cuts.get(digest.digest())
        if cut is None:
            cut = cut_table(read_tables(snapshot, names[start : start + count]), spec.by)
        if cuts is not None:
            cuts[digest.digest()] = cut
        of_match.append(cut)
    return _as_matches(spec, snapshot, found, of_match)


def _as_matches(spec: TableInput, snapshot: Snapshot, found: MatchedPaths, cuts: Sequence[TableCut]) -> Matches:
    """Return one row for each value of each table, sorted by key."""
    of_table = np.repeat(np.arange(len(cuts)), [len(cut.values) for cut in cuts])
    paths = found.paths.take(number_column(of_table, pa.int64()))
    values = pa.concat_arrays([text_column([]), *(cut.values for cut in cuts)])
    keys = pc.binary_join_element_wise(paths, text_scalar(f"#{spec.by}"), _endings(values), text_scalar(""))
    order = pc.cast(pc.sort_indices(keys), pa.int64())
    digests = pa.concat_arrays([fixed_column([], 32), *(cut.digests for cut in cuts)])
    counts = pa.concat_arrays([number_column([], pa.int64()), *(cut.counts for cut in cuts)])
    rows = FileLists(*(column.take(order) for column in (paths, counts, digests)))
    each = np.arange(len(keys), dtype=np.int64)
    pattern = parse_glob(spec.path, has_fields=True)
    columns = pattern.capture_columns(paths)
    rules = {"join_on": spec.join_on, "group_by": spec.group_by}
    return Matches(
        name=spec.name,
        snapshot=snapshot,
        found=MatchedPaths(keys.take(order), rows.paths, each, np.ones(len(keys), np.int64)),
        files=rows,
        captures=tuple(column.take(order) for column in (*columns, values)),
        fields={**pattern.fields, spec.by: pattern.groups},
        rules={name: rule for name, rule in rules.items() if rule is not None},
        column=spec.by,
    )


def _endings(values: pa.StringArray) -> pa.StringArray:
    """Return the end of the key of each value: nothing for null, so that it differs from every text."""
    safe = escaped_values(values, r"[%#\x00-\x1f]", "%#")
    return pc.fill_null(pc.binary_join_element_wise(text_scalar("="), safe, text_scalar("")), text_scalar(""))


def cut_table(table: pa.Table, by: str) -> TableCut:
    """Return the cut of *table* by the column *by*.

    Raises:
        InvalidInputError: The column does not exist, or its type can't be written as text.
    """
    groups = _grouped(table, by)
    rows = _row_bytes(table).take(number_column(groups.order, pa.int64()))
    slices = slices_digests(rows, groups.starts, groups.counts).to_pylist()
    schema = b"".join(framed(f"{field.name}:{_plain_type(field.type)}".encode()) for field in table.schema)
    digests = [blake3(framed(schema) + one, derive_key_context=CUT_CONTEXT).digest() for one in slices]
    return TableCut(groups.values, fixed_column(digests, 32), number_column(groups.counts, pa.int64()))


def _grouped(table: pa.Table, by: str) -> _Groups:
    texts = _texts(table, by)
    known = pc.unique(texts.drop_null())
    known = known.take(pc.sort_indices(known))
    codes = number_array(pc.cast(pc.fill_null(pc.index_in(texts, value_set=known), len(known)), pa.int64()))
    counts = np.bincount(codes, minlength=len(known))
    values = pa.concat_arrays([known, pa.nulls(len(counts) - len(known), pa.string())])
    return _Groups(values, np.argsort(codes, kind="stable"), np.cumsum(counts) - counts, counts)


def rows_of(file: DatumFile) -> pa.Table:
    """Return the rows of a table datum, in their order, and only these.

    The table shows nothing that the digest of the rows does not cover. So dictionaries are decoded, large types are
    plain ones, and metadata of the schema is left out.

    Raises:
        InvalidInputError: *file* is not of a table input.

    Cost: the rows. The first key of a table reads it whole, and keeps it while the snapshot lives.
    """
    if file.column is None:
        msg = f"{file.path!r} is a whole file, not rows of a table: read it whole"
        raise InvalidInputError(msg)
    found = _last_read.get(file.snapshot)
    if found is None or (found.path, found.column) != (file.path, file.column):
        found = _last_read[file.snapshot] = _read_grouped(file.snapshot, file.path, file.column)
    groups, place = found.groups, found.places[file.captures[-1]]
    start = int(groups.starts[place])
    return found.table.take(number_column(groups.order[start : start + int(groups.counts[place])], pa.int64()))


def _read_grouped(snapshot: Snapshot, path: str, column: str) -> _GroupedTable:
    paths = [row.path for row in snapshot.rows(path)] if snapshot.is_directory(path) else [path]
    table = _as_digested(read_tables(snapshot, paths))
    groups = _grouped(table, column)
    places = {value: place for place, value in enumerate(groups.values.to_pylist())}
    return _GroupedTable(path, column, table, groups, places)


def _as_digested(table: pa.Table) -> pa.Table:
    """Return a table as the digest of its rows sees it."""
    return table.cast(pa.schema([pa.field(field.name, _digested_type(field.type)) for field in table.schema]))


def _digested_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that stands for all types which `_plain_type` calls by one name."""
    if pa.types.is_dictionary(kind):
        return _digested_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        return pa.string() if pa.types.is_large_string(kind) else pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_digested_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _digested_type(field.type)) for field in kind])
    return kind


def read_tables(snapshot: Snapshot, paths: Sequence[str]) -> pa.Table:
    """Return the tables of files as one, in the order of *paths*.

    Raises:
        FormatError: A file is neither Parquet nor Arrow.
        InvalidInputError: The files have different columns.
    """
    tables = [_read_table(snapshot, path) for path in paths]
    try:
        return pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    except pa.ArrowInvalid as error:
        msg = f"the files {paths[0]!r} to {paths[-1]!r} are not one table ({error}): match each by itself"
        raise InvalidInputError(msg) from error


def _read_table(snapshot: Snapshot, path: str) -> pa.Table:
    import pyarrow.parquet as pq

    data = pa.py_buffer(snapshot.read(path))
    start = data.slice(0, min(len(_ARROW_FILE), data.size)).to_pybytes()
    try:
        if start.startswith(_PARQUET):
            return pq.read_table(pa.BufferReader(data), use_threads=False)
        return (pa.ipc.open_file if start == _ARROW_FILE else pa.ipc.open_stream)(data).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        msg = (
            f"the file {path!r} in {snapshot.name} is neither Parquet nor Arrow ({error}): leave it out of the pattern"
        )
        raise FormatError(msg) from error


def _texts(table: pa.Table, by: str) -> pa.StringArray:
    if table.schema.names.count(by) != 1:
        msg = f"the table has {table.schema.names.count(by)} columns {by!r}; its columns are {table.schema.names}"
        raise InvalidInputError(msg)
    column = _whole(table.column(by))
    try:
        return pc.cast(column, pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        msg = f"the column {by!r} of type {column.type} can't cut a table: its values have no text; choose another"
        raise InvalidInputError(msg) from error


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece, and without a dictionary."""
    whole = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def _plain_type(kind: pa.DataType) -> str:
    """Return the name of a type; how its values are stored does not count, nor does the name of a list's items."""
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_list(inner) or pa.types.is_large_list(inner):
        return f"list<{_plain_type(inner.value_type)}>"
    if pa.types.is_struct(inner):
        return f"struct<{', '.join(f'{field.name!r}: {_plain_type(field.type)}' for field in inner)}>"
    return str(inner).removeprefix("large_")


def _row_bytes(table: pa.Table) -> pa.Array:
    """Return, row by row, the bytes of all values; each value has a mark for null, or its length before it."""
    parts: list[pa.Array | pa.Scalar] = [bytes_scalar(b"")] if table.num_columns else []
    for column in table.columns:
        parts += _cell_bytes(_whole(column))
    return joined(parts)


def _cell_bytes(values: pa.Array) -> Iterator[pa.Array]:
    """Yield the columns whose concatenation tells the values apart, and null from all of them."""
    kind = values.type
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        values = pc.cast(values, pa.string() if pa.types.is_large_string(kind) else pa.binary())
    elif not (pa.types.is_string(kind) or pa.types.is_binary(kind)):
        values = _fixed_bytes(values)
    absent = pc.is_null(values)
    yield pc.if_else(absent, bytes_scalar(b"n"), bytes_scalar(b"v"))
    yield from framed_column(pc.fill_null(pc.cast(values, pa.binary()), bytes_scalar(b"")))


def _fixed_bytes(values: pa.Array) -> pa.Array:
    """Return values of fixed width as their bytes; nested ones as text."""
    kind = values.type
    if pa.types.is_boolean(kind):
        values = pc.cast(values, pa.uint8())
    if pa.types.is_fixed_size_binary(values.type) or not pa.types.is_primitive(values.type):
        if pa.types.is_fixed_size_binary(values.type) and not pa.types.is_decimal(values.type):
            return values
        return _texts_of(values.to_pylist())
    width = values.type.bit_width // 8
    valid = values.is_valid()
    filled = values.buffers()[1]
    fixed = pa.Array.from_buffers(pa.binary(width), len(values), [None, filled], offset=values.offset)
    return pc.if_else(valid, fixed, pa.nulls(1, pa.binary(width))[0])


def _texts_of(values: Sequence[Any]) -> pa.Array:
    return optional_text_column([None if value is None else repr(value) for value in values])
