"""The tables that differ between two commits, compared by rows and columns."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

from versioned_io.errors import InvalidInputError, PathNotFoundError
from versioned_io.errors.root import quoted
from versioned_io.formats.row_batches import TABLES, is_table, open_rows
from versioned_io.formats.table_diff import TableDiff, diff_tables
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.history.log import diff_trees
from versioned_io.versioning.snapshots.snapshot import Snapshot


class TablePlace(NamedTuple):
    """A file or a directory of a commit."""

    snapshot: Snapshot
    path: str


@dataclass(frozen=True, slots=True)
class DataDiff:
    """The differences between the tables of two commits.

    Attributes:
        tables: The tables that differ, sorted by path. Each is compared when the iterator reaches it.
        others: The paths that differ and are not tables.
    """

    tables: Iterator[TableDiff]
    others: tuple[str, ...]


def diff_two(old: TablePlace, new: TablePlace, *, key: Sequence[str], limit: int) -> DataDiff:
    """Return the differences between two files, wherever they are.

    Raises:
        PathNotFoundError: The file does not exist.
        InvalidInputError: One of them is not a table.
    """
    for snapshot, path in (old, new):
        if not snapshot.exists(path):
            raise PathNotFoundError(path, snapshot.name)
        if not is_table(path):
            msg = f"{quoted(path)} is not a table: rows are compared in files with {', '.join(sorted(TABLES))}"
            raise InvalidInputError(msg)
    return DataDiff(_compared([(old, new)], key, limit), ())


def diff_changed(
    backend: Backend, old: TablePlace | None, new: TablePlace, *, key: Sequence[str], limit: int
) -> DataDiff:
    """Return the differences between the tables that differ at the path of *new*, or below it."""
    trees = [None if place is None or place.snapshot.is_empty else place.snapshot.commit for place in (old, new)]
    changes = diff_trees(backend, *trees)
    below = f"{new.path}/" if new.path else ""
    pairs: list[tuple[TablePlace | None, TablePlace | None]] = []
    others: list[str] = []
    for path, change in zip(changes.column("path").to_pylist(), changes.column("change").to_pylist(), strict=True):
        if path != new.path and not path.startswith(below):
            continue
        if not is_table(path):
            others.append(path)
            continue
        before = None if old is None or change == "added" else TablePlace(old.snapshot, path)
        pairs.append((before, None if change == "deleted" else TablePlace(new.snapshot, path)))
    return DataDiff(_compared(pairs, key, limit), tuple(others))


def _compared(
    pairs: Sequence[tuple[TablePlace | None, TablePlace | None]], key: Sequence[str], limit: int
) -> Iterator[TableDiff]:
    for pair in pairs:
        with ExitStack() as opened:
            sides = [
                None if place is None else open_rows(place.path, opened.enter_context(place.snapshot.open(place.path)))
                for place in pair
            ]
            yield diff_tables(*sides, key=key, limit=limit)
