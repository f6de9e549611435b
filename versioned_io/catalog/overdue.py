"""How long a catalog has been without maintenance, in plain SQL."""

from datetime import datetime
from typing import Final

from versioned_io.catalog.plain import AnyConnection, only_row, rows
from versioned_io.catalog.values import as_time

RUN: Final = "run"
"""The task that stands for a whole run of all steps."""

_QUERY: Final = """SELECT
    (SELECT done_at FROM maintenance WHERE task = :run),
    (SELECT at FROM journal ORDER BY sequence LIMIT 1),
    (SELECT count(*) FROM (SELECT id FROM commits WHERE mark_epoch IS NULL LIMIT :limit) AS waiting)"""


def neglected_since(connection: AnyConnection, limit: int) -> tuple[datetime | None, bool]:
    """Return the time of the last maintenance, and whether at least *limit* commits wait for a mark.

    For a store that was never maintained it is the time of the first journal entry. Cost: 1 SELECT, by indexes.
    """
    run, begun, waiting = only_row(rows(connection, _QUERY, run=RUN, limit=limit))
    since = run or begun
    return None if since is None else as_time(since), waiting >= limit
