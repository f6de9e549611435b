"""How the tables of an output differ from those of the commit before, as metadata of its materialisations."""

from collections.abc import Mapping
from logging import Logger
from typing import Any

import versioned_io as vio
from dagster_versioned import tags
from versioned_io import formats
from versioned_io.errors import VersionedError

MOST_TABLES = 50
"""The tables of an output whose rows and columns are compared: each opens two files, which takes about 5 ms."""

TableChanges = Mapping[str | None, "formats.TableChange"]
"""The changes by partition key, or under None; of tables that were there before alone."""


def find_table_changes(
    store: "vio.Store", commit: "vio.Commit", objects: "Mapping[str | None, formats.StoredObject]", log: Logger
) -> TableChanges:
    """Return how each table of *commit* differs from the commit before; none if the data of that time can't be read.

    Of large tables, and of more than `MOST_TABLES`, some numbers are left out.

    Cost: for tables, 2 snapshots, and for each table 2 look-ups and the reads of `formats.find_table_change`.
    """
    tables = {key: stored for key, stored in objects.items() if stored.rows is not None}
    if not tables or commit.parent is None:
        return {}
    found: dict[str | None, formats.TableChange] = {}
    most_bytes = formats.COMPARED_BYTES
    try:
        before, after = (store.snapshot(f"{commit.repo}@{one}") for one in (commit.parent, commit.id))
        for number, (key, stored) in enumerate(tables.items()):
            limit = most_bytes if number < MOST_TABLES else None
            change = formats.find_table_change(before, after, stored.path, most_bytes=limit)
            if change is not None:
                found[key] = change
                # About the bytes that were read: both versions have about one size.
                most_bytes -= 2 * stored.size if change.rows_added is not None else 0
    except VersionedError as error:  # such as a commit that has expired; the output is stored all the same
        log.debug("the tables before commit %s are not known: %s", commit.id, error)
    return found


def metadata_of_change(change: "formats.TableChange") -> dict[str, Any]:
    """Return the metadata that show *change*."""
    metadata: dict[str, Any] = {
        tags.ROW_COUNT_BEFORE: change.rows_before,
        tags.ROW_COUNT_CHANGE: change.rows - change.rows_before,
    }
    if change.rows_added is not None and change.rows_removed is not None:
        metadata |= {tags.ROWS_ADDED: change.rows_added, tags.ROWS_REMOVED: change.rows_removed}
    if change.columns:
        metadata[tags.COLUMNS_CHANGED] = "; ".join(map(_column_text, change.columns))
    return metadata


def _column_text(column: "formats.ColumnChange") -> str:
    if column.old is None:
        return f"{column.name} ({column.new}) added"
    if column.new is None:
        return f"{column.name} ({column.old}) removed"
    return f"{column.name} from {column.old} to {column.new}"
