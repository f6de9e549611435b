"""Differences between two tables by rows and columns, in bounded memory.

Each row becomes one binary value, and so does its key. Both sides are written to temporary files. A pair of files that
is too large for memory is split by ranges of keys. A join compares the two sides of each part.

Source: the Grace hash join (Kitsuregawa, Tanaka and Moto-oka, 1983), with ranges of sampled keys in place of hashes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.formats.row_batches import TableRows, cells_of, rows_as_bytes
from versioned_io.model.columns import aggregated, bytes_scalar, number_scalar

BUCKET_BYTES: Final = 32 * 1024 * 1024
"""The size of a pair of files that is compared at once; the join takes several times as much memory."""

_SCHEMA: Final = pa.schema([("key", pa.binary()), ("row", pa.binary()), ("n", pa.int64())])
_MOST_PARTS: Final = 64
_SAMPLES_OF_A_BATCH: Final = 64
_MOST_SAMPLES: Final = 8_192
_SAMPLE_BYTES: Final = 4_096
"""To this length sampled keys are cut: a bound between two ranges need not be a whole key."""
_MOST_SAMPLED_BYTES: Final = 1024 * 1024
"""Each of the parts that are written at once has samples, two times `_MOST_PARTS`."""


@dataclass(frozen=True, slots=True)
class RetypedColumn:
    """A column that both tables have, with another type."""

    name: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row that differs; the cells of the columns that both tables have, as text, or None for a null.

    Attributes:
        old, new: The cells by column; None for a row that the side lacks.
    """

    old: dict[str, str | None] | None
    new: dict[str, str | None] | None


@dataclass(frozen=True, slots=True)
class TableDiff:
    """The differences between two versions of a table.

    Attributes:
        path: The path of the file.
        change: ``added``, ``modified`` or ``deleted``: what happened to the file.
        key: The columns that say which rows are the same. Empty if whole rows are compared, as a multiset.
        columns_added, columns_removed: The columns that only one side has, by name, with their types.
        columns_retyped: The columns whose type differs. Their cells are compared as text.
        rows_changed: The number of rows whose key both sides have, with other cells; always 0 without a key.
        rows: The first of the rows that differ, at most as many of each kind as were asked for.
    """

    path: str
    change: str
    key: tuple[str, ...]
    columns_added: dict[str, str]
    columns_removed: dict[str, str]
    columns_retyped: tuple[RetypedColumn, ...]
    rows_added: int
    rows_removed: int
    rows_changed: int
    rows_unchanged: int
    rows: tuple[RowChange, ...]

    @property
    def is_equal(self) -> bool:
        """Whether both sides have the same columns and rows, whatever their order and their bytes."""
        columns = self.columns_added or self.columns_removed or self.columns_retyped
        return not (columns or self.rows_added or self.rows_removed or self.rows_changed)


def diff_tables(
    old: TableRows | None,
    new: TableRows | None,
    *,
    key: Sequence[str] = (),
    limit: int = 20,
    bucket_bytes: int = BUCKET_BYTES,
) -> TableDiff:
    """Return how *new* differs from *old*; None is a table that is not there.

    Args:
        key: The columns that say which rows are the same; none to compare whole rows.
        limit: The most rows of each kind (added, removed, changed) to return with their cells.
        bucket_bytes: The bytes of rows that are compared at once.

    Raises:
        InvalidInputError: A column of the key is missing, or two rows of a side have the same key. Name other columns.

    Cost: reads each side once, and writes both to temporary files as text. Files larger than *bucket_bytes* are written
        once more for each 64-fold of that size. Memory for a few times *bucket_bytes*.
    """
    there = new if new is not None else old
    if there is None:
        msg = "a table is compared with another: name at least one that exists"
        raise InvalidInputError(msg)
    for side in (old, new):
        _check_key(side, key)
    names = [name for name in there.schema.names if old is None or name in old.schema.names]
    result = _Result(tuple(key), names, limit)
    with TemporaryDirectory(prefix="versioned-diff-") as directory:
        sides = [_write_side(side, Path(directory) / name, result) for side, name in ((old, "old"), (new, "new"))]
        _compare(sides[0], sides[1], result, bucket_bytes)
    return replace(
        _columns(there.path, old, new),
        key=tuple(key),
        rows_added=result.added,
        rows_removed=result.removed,
        rows_changed=result.changed,
        rows_unchanged=result.unchanged,
        rows=tuple(result.rows()),
    )


def _check_key(side: TableRows | None, key: Sequence[str]) -> None:
    missing = [name for name in key if side is not None and name not in side.schema.names]
    if side is not None and missing:
        columns = ", ".join(map(repr, side.schema.names))
        msg = f"{quoted(side.path)} has no column {missing[0]!r} that its rows could be known by; it has {columns}"
        raise InvalidInputError(msg)


def _columns(path: str, old: TableRows | None, new: TableRows | None) -> TableDiff:
    """Return the differences between the columns, without the rows."""
    before = {} if old is None else {one.name: str(one.type) for one in old.schema}
    after = {} if new is None else {one.name: str(one.type) for one in new.schema}
    both = [name for name in after if name in before]
    return TableDiff(
        path,
        "added" if old is None else "deleted" if new is None else "modified",
        (),
        {name: kind for name, kind in after.items() if name not in before},
        {name: kind for name, kind in before.items() if name not in after},
        tuple(RetypedColumn(name, before[name], after[name]) for name in both if before[name] != after[name]),
        *(0, 0, 0, 0),
        rows=(),
    )


@dataclass(slots=True)
class _Result:
    """The counts, and the first rows of each kind."""

    key: tuple[str, ...]
    names: list[str]
    limit: int
    added: int = 0
    removed: int = 0
    changed: int = 0
    unchanged: int = 0
    shown: dict[str, list[RowChange]] = field(default_factory=lambda: {"changed": [], "removed": [], "added": []})

    def rows(self) -> Iterator[RowChange]:
        """Yield the rows to show."""
        for rows in self.shown.values():
            yield from rows

    def show(self, kind: str, old: Any, new: Any) -> None:  # noqa: ANN401 (Arrow arrays, or None for a missing side)
        """Keep the first rows of *old* and *new*, which belong to each other, until there are enough of *kind*."""
        enough = self.limit - len(self.shown[kind])
        sides = [None if side is None else side.slice(0, enough).to_pylist() for side in (old, new)]
        for number in range(len(sides[0] or sides[1] or ())):
            before, after = (None if side is None else cells_of(side[number], self.names) for side in sides)
            self.shown[kind].append(RowChange(before, after))


class _SpilledRows:
    """Rows of one side in a temporary file, with a sample of their keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self.samples: list[bytes] = []
        self._stride = 1
        self._seen = 0
        self._writer = pyarrow.ipc.new_stream(str(path), _SCHEMA)

    def append(self, rows: pa.Table) -> None:
        """Write rows, with equal ones as one."""
        if not rows.num_rows:
            return
        self._writer.write_table(rows)
        self.size_bytes += rows.nbytes
        step = max(rows.num_rows // _SAMPLES_OF_A_BATCH, 1)
        for key in pc.binary_slice(rows.column("key")[::step], 0, _SAMPLE_BYTES).to_pylist():
            if self._seen % self._stride == 0:
                self.samples.append(key)
            self._seen += 1
        while len(self.samples) > _MOST_SAMPLES or sum(map(len, self.samples)) > _MOST_SAMPLED_BYTES:
            self.samples, self._stride = self.samples[::2], self._stride * 2

    def close(self) -> None:
        """End the file."""
        self._writer.close()

    def batches(self) -> Iterator[pa.Table]:
        """Yield the rows."""
        with pa.OSFile(str(self.path)) as file, pyarrow.ipc.open_stream(file) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])

    def read(self) -> pa.Table:
        """Return all rows, with equal ones as one."""
        tables = list(self.batches())
        return _grouped(pa.concat_tables(tables).combine_chunks()) if tables else _SCHEMA.empty_table()


def _write_side(side: TableRows | None, path: Path, result: _Result) -> _SpilledRows:
    part = _SpilledRows(path)
    for batch in () if side is None else side.batches:
        rows = rows_as_bytes(batch, result.names)
        keys = rows_as_bytes(batch, result.key) if result.key else rows
        # Without a key, the whole row is the key.
        texts = rows if result.key else pa.repeat(bytes_scalar(b""), batch.num_rows)
        ones = pa.repeat(number_scalar(1, pa.int64()), batch.num_rows)
        part.append(_grouped(pa.table([keys, texts, ones], schema=_SCHEMA)))
    part.close()
    return part


def _grouped(rows: pa.Table) -> pa.Table:
    """Return *rows* with one for each key, and how many there are of it."""
    found = aggregated(rows, ["key"], [("row", "one"), ("n", "sum")])
    return pa.table([found.column(name).cast(kind) for name, kind in _kinds()], schema=_SCHEMA)


def _kinds() -> list[tuple[str, pa.DataType]]:
    return [("key", pa.binary()), ("row_one", pa.binary()), ("n_sum", pa.int64())]


def _compare(old: _SpilledRows, new: _SpilledRows, result: _Result, bucket_bytes: int) -> None:
    """Compare two parts, split by ranges of keys while they are too large."""
    total = old.size_bytes + new.size_bytes
    bounds = _bounds(old.samples + new.samples, -(-total // bucket_bytes)) if total > bucket_bytes else []
    if not bounds:
        _compare_at_once(old.read(), new.read(), result)
        return
    pairs = zip(_split(old, bounds), _split(new, bounds), strict=True)
    for less, more in pairs:
        # A part that is as large as the whole has one key, or keys that no sample tells apart.
        is_smaller = less.size_bytes + more.size_bytes < total
        _compare(less, more, result, bucket_bytes if is_smaller else total)
        less.path.unlink()
        more.path.unlink()


def _bounds(samples: list[bytes], parts: int) -> list[bytes]:
    """Return keys that split the sampled ones into *parts* of about one size."""
    ordered = sorted(samples)
    parts = min(parts, _MOST_PARTS)
    chosen = {ordered[len(ordered) * number // parts] for number in range(1, parts)} if ordered else set()
    return sorted(chosen - {ordered[0]}) if ordered else []


def _split(part: _SpilledRows, bounds: list[bytes]) -> list[_SpilledRows]:
    parts = [_SpilledRows(part.path.with_name(f"{part.path.name}-{number}")) for number in range(len(bounds) + 1)]
    for rows in part.batches():
        place = pa.repeat(number_scalar(0, pa.int32()), rows.num_rows)
        for bound in bounds:
            place = pc.add(place, pc.cast(pc.greater_equal(rows.column("key"), bytes_scalar(bound)), pa.int32()))
        for number in pc.unique(place).to_pylist():
            parts[number].append(rows.filter(pc.equal(place, number)))
    for one in parts:
        one.close()
    return parts


def _compare_at_once(old: pa.Table, new: pa.Table, result: _Result) -> None:
    if result.key:
        _refuse_doubles(old, "old", result)
        _refuse_doubles(new, "new", result)
    both = old.join(new, keys="key", join_type="full outer", left_suffix="_old", right_suffix="_new").sort_by("key")
    before, after = (pc.fill_null(both.column(f"n_{side}"), 0) for side in ("old", "new"))
    if not result.key:
        result.unchanged += pc.sum(pc.min_element_wise(before, after)).as_py() or 0
        gone, come = (pc.max_element_wise(pc.subtract(*pair), 0) for pair in ((before, after), (after, before)))
        result.removed += pc.sum(gone).as_py() or 0
        result.added += pc.sum(come).as_py() or 0
        result.show("removed", both.filter(pc.greater(gone, 0)).column("key"), None)
        result.show("added", None, both.filter(pc.greater(come, 0)).column("key"))
        return
    come, gone = both.filter(pc.equal(before, 0)), both.filter(pc.equal(after, 0))
    kept = both.filter(pc.and_(pc.greater(before, 0), pc.greater(after, 0)))
    changed = kept.filter(pc.not_equal(kept.column("row_old"), kept.column("row_new")))
    result.added += come.num_rows
    result.removed += gone.num_rows
    result.changed += changed.num_rows
    result.unchanged += kept.num_rows - changed.num_rows
    result.show("changed", changed.column("row_old"), changed.column("row_new"))
    result.show("removed", gone.column("row_old"), None)
    result.show("added", None, come.column("row_new"))


def _refuse_doubles(rows: pa.Table, side: str, result: _Result) -> None:
    twice = rows.filter(pc.greater(rows.column("n"), 1))
    if twice.num_rows:
        cells = cells_of(twice.column("key")[0].as_py(), result.key)
        said = ", ".join(f"{name}={quoted(cell)}" for name, cell in cells.items())
        count = twice.column("n")[0].as_py()
        msg = f"{count} rows of the {side} table have the key {said}: name more columns for the key"
        raise InvalidInputError(msg)
