"""The numbers that say how a stored table differs from its former version, found without temporary files."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.errors import InvalidInputError, PathNotFoundError
from versioned_io.errors.root import quoted
from versioned_io.formats.row_batches import TableRows, cells_as_bytes, is_table, open_rows
from versioned_io.model.columns import aggregated, number_scalar
from versioned_io.versioning.snapshots.snapshot import Snapshot

COMPARED_BYTES: Final = 1024 * 1024
"""Rows are compared where both files together are at most this large."""

COMPARED_CELLS: Final = 1_000_000
"""Rows are compared where both tables together have at most this many cells: equal cells take next to no bytes."""

_COMPARED_MEMORY: Final = 64 * 1024 * 1024
"""Rows are compared where no table takes more bytes than this in memory: a text in all cells is in the file once."""


class ColumnChange(NamedTuple):
    """A column that differs: its types before and after, or None on the side that lacks it."""

    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class TableChange:
    """How a table differs from the one that was at its path before.

    Attributes:
        rows_before: The number of rows of the former table.
        rows: The number of rows of the table.
        rows_added, rows_removed: The rows that only one of the two has, by the columns that both have. None if they
            were not compared. A changed row is one that was removed and one that was added.
        columns: The columns that differ; None if they were not compared.
    """

    rows_before: int
    rows: int
    rows_added: int | None = None
    rows_removed: int | None = None
    columns: tuple[ColumnChange, ...] | None = None


def find_table_change(before: Snapshot, after: Snapshot, path: str, *, most_bytes: int | None) -> TableChange | None:
    """Return how the table that `save_object` stored at *path* differs; None if one of the commits has none there.

    Rows and columns are not compared where the file has two columns of one name, or cells without text. Rows are not
    compared where there are more than `COMPARED_CELLS`, or they take much memory.

    Args:
        most_bytes: The size of both files together up to which their rows are compared, such as `COMPARED_BYTES`. None
            to compare neither rows nor columns.

    Raises:
        IntegrityError, StorageError: A file can't be read.

    Cost: 1 look-up in each commit. If the files differ, reads the ends of both, or up to *most_bytes* all of both.
    """
    try:
        old, new = before.stat(path), after.stat(path)
    except PathNotFoundError:
        return None
    counts = [one.attributes.get("rows", "") for one in (old, new)]
    if not is_table(path) or not all(map(str.isdecimal, counts)):
        return None
    change = TableChange(int(counts[0]), int(counts[1]))
    if old.digest == new.digest:
        return replace(change, rows_added=0, rows_removed=0, columns=())
    if most_bytes is None:
        return change
    try:
        with ExitStack() as opened:
            sides = [open_rows(path, opened.enter_context(snapshot.open(path))) for snapshot in (before, after)]
            change = replace(change, columns=tuple(_changed_columns(*(side.schema for side in sides))))
            cells = sum(int(count) * len(side.schema.names) for count, side in zip(counts, sides, strict=True))
            if old.size + new.size > most_bytes or cells > COMPARED_CELLS:
                return change
            added, removed = _count_rows(*sides)
            return replace(change, rows_added=added, rows_removed=removed)
    except InvalidInputError:  # the numbers of rows are known all the same
        return change


def _changed_columns(old: pa.Schema, new: pa.Schema) -> Iterator[ColumnChange]:
    for name in dict.fromkeys([*new.names, *old.names]):
        change = ColumnChange(name, *(str(one.field(name).type) if name in one.names else None for one in (old, new)))
        if change.old != change.new:
            yield change


def _count_rows(old: TableRows, new: TableRows) -> tuple[int, int]:
    """Return the number of rows that only *new* has, and that only *old* has; equal rows are counted."""
    kinds = {name: old.schema.field(name).type for name in new.schema.names if name in old.schema.names}
    as_text = {name for name, kind in kinds.items() if kind != new.schema.field(name).type or not _is_groupable(kind)}
    gone, come = (_comparable(side, kinds, as_text) for side in (old, new))
    if not kinds:
        return come.num_rows, gone.num_rows
    shift = come.num_rows - gone.num_rows
    # Most edits leave most rows at their place, from the start or from the end. Comparing these is cheap.
    for from_end in (False, True):
        gone, come = _without_equal(gone, come, from_end=from_end)
    added = pc.sum(pc.max_element_wise(_balance(gone, come), 0)).as_py() or 0
    return added, added - shift


def _comparable(side: TableRows, kinds: Mapping[str, pa.DataType], as_text: set[str]) -> pa.Table:
    """Return the columns *kinds* with cells that Arrow compares and groups."""
    rows = pa.Table.from_batches(_limited(side), side.schema).combine_chunks()
    columns = {
        name: cells_as_bytes(rows.column(name), name) if name in as_text else _decoded(rows.column(name))
        for name in kinds
    }
    return pa.table(columns) if columns else rows.select([])


def _limited(side: TableRows) -> list[pa.RecordBatch]:
    """Return the batches of a table.

    Raises:
        InvalidInputError: They take more memory than `_COMPARED_MEMORY`.
    """
    batches: list[pa.RecordBatch] = []
    size_bytes = 0
    for batch in side.batches:
        size_bytes += batch.nbytes
        if size_bytes > _COMPARED_MEMORY:
            msg = (
                f"the rows of {quoted(side.path)} take too much memory here: compare them with `versioned diff --data`"
            )
            raise InvalidInputError(msg)
        batches.append(batch)
    return batches


def _without_equal(old: pa.Table, new: pa.Table, *, from_end: bool) -> tuple[pa.Table, pa.Table]:
    """Return both without the rows that are equal at the same place, counted from the start or from the end."""
    size = min(old.num_rows, new.num_rows)
    starts = (old.num_rows - size, new.num_rows - size) if from_end else (0, 0)
    aligned = [side.slice(start, size) for side, start in zip((old, new), starts, strict=True)]
    differs = pc.invert(reduce(pc.and_, (_equal(*(one.column(name) for one in aligned)) for name in old.column_names)))
    rests = [(side.slice(0, start), side.slice(start + size)) for side, start in zip((old, new), starts, strict=True)]
    kept = [pa.concat_tables([rest[0], one.filter(differs), rest[1]]) for one, rest in zip(aligned, rests, strict=True)]
    return kept[0], kept[1]


def _equal(old: Any, new: Any) -> Any:  # noqa: ANN401 (Arrow columns of one type)
    nulls = pc.and_(pc.is_null(old), pc.is_null(new))
    return pc.or_(nulls, pc.fill_null(pc.equal(old, new), False))  # noqa: FBT003 (Arrow's signature)


def _balance(old: pa.Table, new: pa.Table) -> Any:  # noqa: ANN401 (an Arrow column of numbers)
    """Return for each different row how many more times *new* has it."""
    names = [str(position) for position in range(old.num_columns)]
    weighted = [
        side.rename_columns(names).append_column("n", pa.repeat(number_scalar(n, pa.int64()), side.num_rows))
        for side, n in ((old, -1), (new, 1))
    ]
    return aggregated(pa.concat_tables(weighted).combine_chunks(), names, [("n", "sum")]).column("n_sum")


def _is_groupable(kind: Any) -> bool:  # noqa: ANN401 (the stubs narrow only what isinstance() tells apart)
    """Return whether Arrow compares and groups cells of this type; others are compared as text."""
    types = pa.types
    if types.is_dictionary(kind):
        return _is_groupable(kind.value_type)
    return bool(
        types.is_integer(kind)
        or types.is_float32(kind)
        or types.is_float64(kind)
        or types.is_boolean(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_date(kind)
        or types.is_timestamp(kind)
    )


def _decoded(column: Any) -> Any:  # noqa: ANN401 (an Arrow column of any kind)
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
