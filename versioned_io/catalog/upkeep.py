"""The state of maintenance: finished tasks, the backlog, and the lease of the one process that may run it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update

from versioned_io.catalog.chunk_index import LIVE
from versioned_io.catalog.collection import CONDEMNED, catalog_time
from versioned_io.catalog.rounds import count_without_round
from versioned_io.catalog.tables import branches, commits, journal, leases, maintenance, packs
from versioned_io.catalog.upserts import upsert

LEASE_TIMEOUT: Final = timedelta(minutes=3)
"""The maintaining process counts as dead if it has not renewed its lease for this long."""

LEASE: Final = "lease"
"""The row of the table of tasks that a process locks while it takes the lease."""

FORGOTTEN: Final = "forgotten"
"""The row with the number of commits that have expired since the last full mark, and since when they are counted."""

_KIND: Final = "maintenance"


@dataclass(frozen=True, slots=True)
class TaskRow:
    """The row of one maintenance task; see `versioned_io.catalog.tables`."""

    task: str
    done_at: datetime | None = None
    watermark: int = 0
    seconds: float = 0.0
    bytes_written: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """The amount of work that waits for maintenance.

    Attributes:
        commits: The number of commits that no mark has walked.
        small_packs: The number of live packs that were never merged.
        condemned_packs: The number of packs in their grace period.
        growth_bytes: The bytes that writers stored in the last seven days.
    """

    commits: int
    small_packs: int
    condemned_packs: int
    growth_bytes: int


def load_tasks(connection: Connection) -> dict[str, TaskRow]:
    """Return the row of every task, by name. Cost: 1 SELECT."""
    return {row.task: _to_task(row) for row in connection.execute(select(maintenance))}


def note_task(connection: Connection, row: TaskRow) -> None:
    """Record the result of a task. Cost: 2 statements."""
    _ensure(connection, row.task)
    values = {
        "done_at": row.done_at,
        "watermark": row.watermark,
        "seconds": row.seconds,
        "bytes_written": row.bytes_written,
        "problem": row.problem,
    }
    connection.execute(update(maintenance).where(maintenance.c.task == row.task).values(values))


def take_lease(connection: Connection, lease: str, now: datetime) -> datetime | None:
    """Acquire the lease of maintenance and return None, or return since when another process has held it.

    Cost: 5 statements.
    """
    _ensure(connection, LEASE)
    connection.execute(select(maintenance.c.task).where(maintenance.c.task == LEASE).with_for_update()).all()
    at = catalog_time(connection, now)
    own = leases.c.kind == _KIND
    holder = connection.execute(select(leases).where(_is_held(at))).first()
    if holder is not None:
        begun_at: datetime = holder.begun_at
        return begun_at
    connection.execute(delete(leases).where(own))
    connection.execute(insert(leases).values(id=lease, begun_at=at, renewed_at=at, kind=_KIND))
    return None


def renew_lease(connection: Connection, lease: str, now: datetime) -> bool:
    """Renew the lease, and return whether it still existed. If not, another process considered this one dead."""
    renewed = update(leases).where(leases.c.id == lease).values(renewed_at=catalog_time(connection, now))
    return bool(connection.execute(renewed.returning(leases.c.id)).all())


def end_lease(connection: Connection, lease: str) -> None:
    """Delete the lease. Cost: 1 DELETE."""
    connection.execute(delete(leases).where(leases.c.id == lease))


def lease_holder(connection: Connection, now: datetime) -> datetime | None:
    """Return since when a process has held the lease, or None if none does. Cost: 1 SELECT."""
    return connection.execute(select(leases.c.begun_at).where(_is_held(catalog_time(connection, now)))).scalar()


def _is_held(at: datetime) -> ColumnElement[bool]:
    """Return the SQL condition that a process holds the lease at *at*; a lease renewed in the far future is ignored."""
    renewed = leases.c.renewed_at.between(at - LEASE_TIMEOUT, at + LEASE_TIMEOUT)
    return (leases.c.kind == _KIND) & renewed


def count_backlog(connection: Connection, now: datetime) -> Backlog:
    """Return the backlog of maintenance. Cost: 4 SELECTs, which count packs and commits."""
    small = select(func.count()).where(packs.c.state == LIVE, packs.c.tier == 0)
    condemned = select(func.count()).where(packs.c.state == CONDEMNED)
    since = catalog_time(connection, now) - timedelta(days=7)
    grown = select(func.coalesce(func.sum(packs.c.size_bytes), 0)).where(packs.c.tier == 0, packs.c.created_at >= since)
    return Backlog(
        count_without_round(connection),
        connection.execute(small).scalar_one(),
        connection.execute(condemned).scalar_one(),
        int(connection.execute(grown).scalar_one()),
    )


def last_entry(connection: Connection) -> int:
    """Return the number of the journal's last entry; 0 when it is empty. Cost: 1 SELECT."""
    return connection.execute(select(func.max(journal.c.sequence))).scalar_one() or 0


def has_retention(connection: Connection) -> bool:
    """Return whether some branch has a retention rule. Cost: 1 SELECT."""
    return (
        connection.execute(select(branches.c.id).where(branches.c.retention.is_not(None)).limit(1)).first() is not None
    )


def count_commits(connection: Connection) -> int:
    """Return the number of commits, kept or expired. Cost: 1 SELECT."""
    return connection.execute(select(func.count()).select_from(commits)).scalar_one()


def _ensure(connection: Connection, task: str) -> None:
    connection.execute(upsert(connection, maintenance).values(task=task).on_conflict_do_nothing())


def _to_task(row: Row[Any]) -> TaskRow:
    return TaskRow(row.task, row.done_at, row.watermark, row.seconds, row.bytes_written, row.problem)
