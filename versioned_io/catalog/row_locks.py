"""Locks on rows that last until the transaction ends, always taken in one order, so that no two processes deadlock.

The order is: rounds of maintenance, names and heads, commits, packs, damages and chunks, leases, due keys, results,
claims, failures. Within a table it ascends by the key. PostgreSQL locks the rows of an UPDATE in the order in which it
scans them. A transaction that changes several rows of a table, or rows of two tables, therefore locks them here first.
On SQLite a writing transaction already holds the whole catalog, and these functions do nothing.
"""

from collections.abc import Collection, Iterator
from typing import Final

from sqlalchemy import Column, ColumnElement, Connection, select, true

from versioned_io.catalog.tables import commits, due_keys, packs
from versioned_io.model.identifiers import CommitId, PackName

_BATCH: Final = 500
_BYTES: Final = "C"
"""The collation in which PostgreSQL sorts as Python does, whatever the language of the database."""


def hold_commits(connection: Connection, commit_ids: Collection[CommitId]) -> None:
    """Lock commits: none of them gets a child, and no other process rewrites or forgets their trees.

    Cost: 1 SELECT for each 500 on PostgreSQL.
    """
    _hold(connection, commits.c.id, commit_ids)


def hold_packs(connection: Connection, names: Collection[PackName]) -> None:
    """Lock packs: no other process changes their states, and no commit begins to refer to them.

    Cost: 1 SELECT for each 500 on PostgreSQL.
    """
    _hold(connection, packs.c.name, names)


def hold_due_keys(connection: Connection, subscription_id: int, keys: Collection[str]) -> None:
    """Lock the rows of a subscription's keys. Cost: 1 SELECT for each 500 on PostgreSQL."""
    _hold(connection, due_keys.c.key, keys, due_keys.c.subscription_id == subscription_id)


def _hold(
    connection: Connection, column: Column[str], values: Collection[str], where: ColumnElement[bool] | None = None
) -> None:
    if connection.dialect.name == "sqlite":
        return
    condition = true() if where is None else where
    for batch in _batches(values):
        query = select(column).where(condition, column.in_(batch)).order_by(column.collate(_BYTES))
        # Not the lock of a plain FOR UPDATE: rows of other tables may go on to refer to these rows.
        connection.execute(query.with_for_update(key_share=True)).all()


def _batches(values: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(values)
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]
