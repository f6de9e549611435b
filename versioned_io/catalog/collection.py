"""What collecting garbage asks of the catalog, and what it notes there."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from versioned_io.catalog.chunk_index import LIVE
from versioned_io.catalog.tables import (
    branches,
    chunks,
    commits,
    due_keys,
    journal,
    leases,
    packs,
    repos,
    subscriptions,
    tags,
)
from versioned_io.catalog.values import CommitState
from versioned_io.identifiers import CommitId, PackName
from versioned_io.pages.schema import PageRef

CONDEMNED: Final = "condemned"
"""The state of a pack that nothing leads to: no new commit may refer to it, and some day it is deleted."""

DELETED: Final = "deleted"
"""The state of a pack whose object is gone, or is being deleted; its row stays, so that nobody can bring it back."""

CLOCK_TOLERANCE: Final = timedelta(minutes=1)
"""Clocks that differ by less are taken to agree."""

_BATCH = 500


@dataclass(frozen=True, slots=True)
class PackRow:
    """A pack as the catalog knows it."""

    name: PackName
    size_bytes: int
    state: str
    condemned_at: datetime | None


@dataclass(frozen=True, slots=True)
class CommitRow:
    """What decides whether a commit is kept."""

    id: CommitId
    repo: str
    branch: str
    parent: CommitId | None
    merged: CommitId | None
    created_at: datetime


def list_packs(connection: Connection) -> list[PackRow]:
    """Return every pack that is not deleted. Cost: 1 SELECT."""
    query = select(packs).where(packs.c.state != DELETED)
    return [PackRow(row.name, row.size_bytes, row.state, row.condemned_at) for row in connection.execute(query)]


def states_of(connection: Connection, names: Sequence[PackName]) -> dict[PackName, str]:
    """Return the states of those packs that the catalog knows. Cost: 1 SELECT for each 500."""
    found: dict[PackName, str] = {}
    for batch in _batches(names):
        query = select(packs.c.name, packs.c.state).where(packs.c.name.in_(batch))
        found |= {row.name: row.state for row in connection.execute(query)}
    return found


def live_roots(connection: Connection) -> Iterator[tuple[CommitId, PageRef | None]]:
    """Yield every commit whose data is kept, with its tree. Cost: 1 SELECT, streamed."""
    query = select(commits.c.id, commits.c.root).where(commits.c.state == CommitState.LIVE.value)
    for row in connection.execute(query):
        yield row.id, None if row.root is None else PageRef.from_json(json.loads(row.root))


def record_packs(connection: Connection) -> set[PackName]:
    """Return the packs that hold commit records or entries of the journal: those are kept for ever. Cost: 2 SELECTs."""
    found = set(connection.execute(select(commits.c.pack).distinct()).scalars())
    return {PackName(name) for name in found | set(connection.execute(select(journal.c.pack)).scalars())}


def condemn_packs(connection: Connection, names: Collection[PackName], at: datetime) -> list[PackName]:
    """Condemn those of the packs that are live, and forget which contents they hold; return them.

    Cost: 1 UPDATE and 1 DELETE for each 500.
    """
    found: list[PackName] = []
    for batch in _batches(sorted(names)):
        condemned = (
            update(packs)
            .where(packs.c.name.in_(batch), packs.c.state == LIVE)
            .values(state=CONDEMNED, condemned_at=at)
            .returning(packs.c.name)
        )
        done = list(connection.execute(condemned).scalars())
        connection.execute(delete(chunks).where(chunks.c.pack.in_(done)))
        found += done
    return found


def revive_packs(connection: Connection, names: Collection[PackName]) -> list[PackName]:
    """Make those of the packs live again that are condemned, since something leads to them; return them."""
    found: list[PackName] = []
    for batch in _batches(sorted(names)):
        revived = (
            update(packs)
            .where(packs.c.name.in_(batch), packs.c.state == CONDEMNED)
            .values(state=LIVE, condemned_at=None)
            .returning(packs.c.name)
        )
        found += connection.execute(revived).scalars()
    return found


def bury_packs(connection: Connection, seen: Sequence[PackRow]) -> list[PackName]:
    """Note as deleted those of the packs that are still condemned, as they were *seen* before the mark; return them.

    One that was revived and condemned again meanwhile is another case, which this mark does not decide. Whoever does
    this deletes the objects afterwards: nothing can lead to them any more.

    Cost: 1 SELECT and 1 UPDATE for each 500.
    """
    buried: list[PackName] = []
    for batch in _batches([row.name for row in seen]):
        times = {row.name: row.condemned_at for row in seen}
        condemned = packs.c.name.in_(batch) & (packs.c.state == CONDEMNED)
        held = connection.execute(select(packs.c.name, packs.c.condemned_at).where(condemned).with_for_update())
        same = [PackName(row.name) for row in held if row.condemned_at == times[row.name]]
        connection.execute(update(packs).where(packs.c.name.in_(same)).values(state=DELETED))
        buried += same
    return buried


def bury_orphans(connection: Connection, sizes: Sequence[tuple[PackName, int]], at: datetime) -> list[PackName]:
    """Note as deleted those of the packs that the catalog does not know, so that no late writer can enter them.

    Returns those that are deleted now because of it: not those that a writer or another collector entered first.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    buried: list[PackName] = []
    for start in range(0, len(sizes), _BATCH):
        rows = [
            {"name": name, "size_bytes": size, "state": DELETED, "created_at": at, "condemned_at": at}
            for name, size in sorted(sizes[start : start + _BATCH])
        ]
        entered = dialect.insert(packs).values(rows).on_conflict_do_nothing().returning(packs.c.name)
        buried += connection.execute(entered).scalars()
    return buried


def hold_names(connection: Connection) -> None:
    """Let nobody make or move a name, or commit, until the transaction ends; on SQLite writers hold everything."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE branches, tags, subscriptions, due_keys IN SHARE ROW EXCLUSIVE MODE"))


def live_commits(connection: Connection) -> dict[CommitId, CommitRow]:
    """Return every commit whose data is kept. Cost: 1 SELECT; memory for some facts of each."""
    query = (
        select(
            commits.c.id, repos.c.name, commits.c.branch, commits.c.parent_id, commits.c.merged_id, commits.c.created_at
        )
        .join(repos, repos.c.id == commits.c.repo_id)
        .where(commits.c.state == CommitState.LIVE.value)
    )
    return {row[0]: CommitRow(*row) for row in connection.execute(query)}


def named_commits(connection: Connection, since: datetime) -> set[CommitId]:
    """Return the commits that something points at: branches, tags, consumers' cursors, and the journal since a time.

    Cost: 6 SELECTs.
    """
    columns = (
        branches.c.head_id,
        tags.c.commit_id,
        subscriptions.c.cursor_id,
        due_keys.c.commit_id,
        due_keys.c.done_commit_id,
    )
    found: set[CommitId | None] = set()
    for column in columns:
        found |= set(connection.execute(select(column).distinct()).scalars())
    for row in connection.execute(select(journal.c.old_id, journal.c.new_id).where(journal.c.at >= since)):
        found |= {row.old_id, row.new_id}
    return {CommitId(one) for one in found if one is not None}


def branch_rules(connection: Connection) -> dict[tuple[str, str], tuple[CommitId | None, str]]:
    """Return the head and the retention rule, as JSON, of the branches that have one, by (repo, branch)."""
    query = (
        select(repos.c.name, branches.c.name, branches.c.head_id, branches.c.retention)
        .join(repos, repos.c.id == branches.c.repo_id)
        .where(branches.c.retention.is_not(None))
    )
    return {(repo, branch): (head, rule) for repo, branch, head, rule in connection.execute(query)}


def forget_commits(connection: Connection, commit_ids: Iterable[CommitId]) -> None:
    """Note that the data of these commits is let go of; their records and lineage stay. Cost: 1 UPDATE for each 500."""
    for batch in _batches(sorted(commit_ids)):
        connection.execute(update(commits).where(commits.c.id.in_(batch)).values(state=CommitState.FORGOTTEN.value))


def catalog_time(connection: Connection, now: datetime) -> datetime:
    """Return the catalog server's time; SQLite has no server, so there it is *now*."""
    if connection.dialect.name != "postgresql":
        return now
    found: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return found


def hold_lease(connection: Connection, lease: str, now: datetime, *, is_new: bool) -> None:
    """Note that the transaction *lease* is under way at *now*: packs that were stored since it began are kept.

    One that was ended by the collector does not come back: the commit will find it missing.
    """
    at = catalog_time(connection, now)
    if is_new:
        connection.execute(insert(leases).values(id=lease, begun_at=at, renewed_at=at))
    else:
        connection.execute(update(leases).where(leases.c.id == lease).values(renewed_at=at))


def release_lease(connection: Connection, lease: str) -> bool:
    """End a lease, and say whether it was still there. Cost: 1 DELETE."""
    ended = delete(leases).where(leases.c.id == lease).returning(leases.c.id)
    return connection.execute(ended).one_or_none() is not None


def end_stale_leases(connection: Connection, now: datetime, timeout: timedelta) -> int:
    """End the leases that nobody renewed for *timeout*; their transactions can't commit any more. Return how many."""
    limit = catalog_time(connection, now) - timeout
    ended = delete(leases).where(leases.c.renewed_at < limit).returning(leases.c.id)
    return len(connection.execute(ended).all())


def longest_lease(connection: Connection, now: datetime) -> timedelta | None:
    """Return for how long the oldest transaction under way has been at it; None when the clocks can't tell.

    Cost: 1 SELECT.
    """
    found = connection.execute(select(func.min(leases.c.begun_at), func.max(leases.c.renewed_at))).one()
    if found[0] is None:
        return timedelta(0)
    at = catalog_time(connection, now)
    return None if found[1] > at + CLOCK_TOLERANCE else max(timedelta(0), at - found[0])


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _BATCH):
        yield names[start : start + _BATCH]
