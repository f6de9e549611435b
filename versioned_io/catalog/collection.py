"""The catalog's side of garbage collection: the rows that a collector reads, and the states that it records."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, text, update

from versioned_io.catalog.chunk_index import LIVE
from versioned_io.catalog.damages import forget_damages
from versioned_io.catalog.dates import settle_dates
from versioned_io.catalog.datum_uses import forget_datums
from versioned_io.catalog.held_cursors import commits_held
from versioned_io.catalog.row_locks import hold_commits, hold_packs
from versioned_io.catalog.tables import (
    branches,
    chunks,
    commits,
    disagreements,
    due_keys,
    failures,
    journal,
    leases,
    packs,
    repos,
    results,
    subscriptions,
    tags,
)
from versioned_io.catalog.upserts import upsert
from versioned_io.errors import IntegrityError
from versioned_io.model.commits import CommitState, parse_root
from versioned_io.model.fields import LARGEST_NUMBER
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.places import PageRef
from versioned_io.model.repo_kinds import RepoKind

CONDEMNED: Final = "condemned"
"""The state of an unreferenced pack: no new commit may refer to it, and it is deleted after a grace period."""

DELETED: Final = "deleted"
"""The state of a pack whose object is deleted or being deleted. Its row stays, so that no writer can enter it again."""

STORED: Final = (LIVE, CONDEMNED)
"""The states of packs that are not deleted."""

CLOCK_TOLERANCE: Final = timedelta(minutes=1)
"""Two clocks that differ by less count as equal."""

TRANSACTION: Final = "transaction"
"""The kind of lease that protects packs from collection. Maintenance has its own kind, which protects none."""

_BATCH = 500


@dataclass(frozen=True, slots=True)
class PackRow:
    """A row of the table of packs; see `versioned_io.catalog.tables` for tier, live bytes and round."""

    name: PackName
    size_bytes: int
    state: str
    condemned_at: datetime | None
    tier: int = 0
    live_bytes: int | None = None
    round: int | None = None
    created_at: datetime | None = None

    @classmethod
    def of(cls, row: Row[Any]) -> "PackRow":
        """Return the values of a row of the table."""
        name = PackName(row.name)
        return cls(
            name, row.size_bytes, row.state, row.condemned_at, row.tier, row.live_bytes, row.mark_epoch, row.created_at
        )


@dataclass(frozen=True, slots=True)
class CommitRow:
    """The facts that decide whether a commit is kept."""

    id: CommitId
    repo: str
    branch: str
    parent: CommitId | None
    merged: CommitId | None
    created_at: datetime
    order: int = 0


@dataclass(frozen=True, slots=True)
class RowCounts:
    """The size of the catalog: kept commits, contents in the index, packs that are not deleted, and their bytes."""

    commits: int
    chunks: int
    packs: int
    pack_bytes: int


def count_rows(connection: Connection) -> RowCounts:
    """Return the number of rows of each kind.

    Raises:
        IntegrityError: The size of a pack is not a whole number. Run fsck.

    Cost: 3 SELECTs, in time proportional to the rows: about 0.1 us a row.
    """
    kept = select(func.count()).where(commits.c.state == CommitState.LIVE.value)
    stored = select(func.count(), func.coalesce(func.sum(packs.c.size_bytes), 0)).where(packs.c.state.in_(STORED))
    number, size_bytes = connection.execute(stored).one()
    if size_bytes != size_bytes // 1 or size_bytes > LARGEST_NUMBER:
        msg = "the size of a pack in the catalog is not a number of bytes; run fsck"
        raise IntegrityError(msg)
    known = connection.execute(select(func.count()).select_from(chunks)).scalar_one()
    return RowCounts(connection.execute(kept).scalar_one(), known, number, int(size_bytes))


def list_packs(connection: Connection) -> list[PackRow]:
    """Return every pack that is not deleted. Cost: 1 SELECT."""
    query = select(packs).where(packs.c.state.in_(STORED))
    return [PackRow.of(row) for row in connection.execute(query)]


def states_of(connection: Connection, names: Sequence[PackName]) -> dict[PackName, str]:
    """Return the state of each pack that has a row. Cost: 1 SELECT for each 500."""
    found: dict[PackName, str] = {}
    for batch in _batches(names):
        query = select(packs.c.name, packs.c.state).where(packs.c.name.in_(batch))
        found |= {row.name: row.state for row in connection.execute(query)}
    return found


def live_roots(connection: Connection) -> Iterator[tuple[CommitId, PageRef | None]]:
    """Yield every commit whose data is kept, with the root of its tree, in the order of history. Cost: 1 SELECT."""
    live = select(commits.c.id, commits.c.root).where(commits.c.state == CommitState.LIVE.value)
    query = live.order_by(commits.c.segment_id, commits.c.number)
    for row in connection.execute(query):
        yield row.id, parse_root(row.root)


def record_packs(connection: Connection) -> set[PackName]:
    """Return the packs with commit records or journal entries. They are kept permanently. Cost: 2 SELECTs."""
    found = set(connection.execute(select(commits.c.pack).distinct()).scalars())
    return {PackName(name) for name in found | set(connection.execute(select(journal.c.pack)).scalars())}


def condemn_packs(connection: Connection, names: Collection[PackName], at: datetime) -> list[PackName]:
    """Condemn the live packs among *names*, delete their contents from the chunk index, and return these packs.

    Cost: 1 UPDATE and 1 DELETE for each 500.
    """
    found: list[PackName] = []
    hold_packs(connection, names)
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
    """Make the condemned packs among *names* live again, because a commit references them; return these packs."""
    found: list[PackName] = []
    hold_packs(connection, names)
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
    """Mark packs as deleted if they are still condemned since the time that was *seen* before the mark; return them.

    A pack that was revived and condemned again meanwhile is left out: this mark says nothing about it. The caller
    deletes the objects afterwards, since no commit can reference them any more.

    Cost: 1 SELECT, 3 UPDATEs and 1 DELETE for each 500.
    """
    buried: list[PackName] = []
    hold_packs(connection, [row.name for row in seen])
    for batch in _batches([row.name for row in seen]):
        times = {row.name: row.condemned_at for row in seen}
        condemned = packs.c.name.in_(batch) & (packs.c.state == CONDEMNED)
        held = connection.execute(select(packs.c.name, packs.c.condemned_at).where(condemned))
        same = [PackName(row.name) for row in held if row.condemned_at == times[row.name]]
        connection.execute(update(packs).where(packs.c.name.in_(same)).values(state=DELETED))
        forget_damages(connection, same)
        buried += same
    return buried


def bury_orphans(connection: Connection, sizes: Sequence[tuple[PackName, int]], at: datetime) -> list[PackName]:
    """Insert packs that have no row, as deleted, so that no late writer can enter them.

    Return the packs that this call inserted. Packs that a writer or another collector entered first are left out.
    """
    buried: list[PackName] = []
    for start in range(0, len(sizes), _BATCH):
        rows = [
            {"name": name, "size_bytes": size, "state": DELETED, "created_at": at, "condemned_at": at}
            for name, size in sorted(sizes[start : start + _BATCH])
        ]
        entered = upsert(connection, packs).values(rows).on_conflict_do_nothing().returning(packs.c.name)
        buried += connection.execute(entered).scalars()
    return buried


def hold_names(connection: Connection) -> None:
    """Lock names and heads until the transaction ends: no writer commits, or creates, moves or deletes a name.

    On SQLite a writing transaction already holds the whole catalog.
    """
    if connection.dialect.name == "postgresql":
        tables = "branches, tags, subscriptions, held_cursors, due_keys"
        connection.execute(text(f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE"))


def live_commits(connection: Connection) -> dict[CommitId, CommitRow]:
    """Return every commit whose data is kept. Cost: 1 SELECT, and memory for a `CommitRow` each."""
    query = _commit_rows().where(commits.c.state == CommitState.LIVE.value)
    found = (_to_commit_row(row) for row in connection.execute(query))
    return {row.id: row for row in found}


def commits_up_to(
    connection: Connection, newest: Iterable[CommitId], known: Collection[CommitId]
) -> dict[CommitId, CommitRow]:
    """Return *newest* and their kept ancestors, through parents and merges, back to the *known* ones, exclusive.

    Cost: 1 SELECT for each commit that is visited.
    """
    found: dict[CommitId, CommitRow] = {}
    waiting = list(newest)
    while waiting:
        commit_id = waiting.pop()
        if commit_id in known or commit_id in found:
            continue
        own = (commits.c.id == commit_id) & (commits.c.state == CommitState.LIVE.value)
        row = connection.execute(_commit_rows().where(own)).one_or_none()
        if row is not None:
            found[commit_id] = _to_commit_row(row)
            waiting += [one for one in (row.parent_id, row.merged_id) if one is not None]
    return found


def _to_commit_row(row: Row[Any]) -> CommitRow:
    return CommitRow(row.id, row.name, row.branch, row.parent_id, row.merged_id, row.created_at, row.order)


def _commit_rows() -> Select[Any]:
    return select(
        commits.c.id,
        repos.c.name,
        commits.c.branch,
        commits.c.parent_id,
        commits.c.merged_id,
        commits.c.created_at,
        commits.c.order,
    ).join(repos, repos.c.id == commits.c.repo_id)


def named_commits(connection: Connection, since: datetime, now: datetime) -> set[CommitId]:
    """Return the commits that branches, tags, cursors, due keys, or journal entries since a time point at.

    Cost: 7 SELECTs.
    """
    columns = (
        branches.c.head_id,
        tags.c.commit_id,
        subscriptions.c.cursor_id,
        due_keys.c.commit_id,
        due_keys.c.done_commit_id,
    )
    found: set[CommitId | None] = set(commits_held(connection, now))
    for column in columns:
        found |= set(connection.execute(select(column).distinct()).scalars())
    query = select(journal.c.repo, journal.c.at, journal.c.old_id, journal.c.new_id)
    entries = connection.execute(query.order_by(journal.c.repo, journal.c.sequence)).all()
    for _, of_repo in groupby(entries, key=lambda entry: entry.repo):
        rows = list(of_repo)
        for row, at in zip(rows, settle_dates([row.at for row in rows], now), strict=True):
            if at >= since:
                found |= {row.old_id, row.new_id}
    return {CommitId(one) for one in found if one is not None}


def branch_rules(connection: Connection) -> dict[tuple[str, str], tuple[CommitId | None, str]]:
    """Return the head and the retention rule (as JSON) of each branch that has a rule, by (repo, branch)."""
    query = (
        select(repos.c.name, branches.c.name, branches.c.head_id, branches.c.retention)
        .join(repos, repos.c.id == branches.c.repo_id)
        .where(branches.c.retention.is_not(None))
    )
    return {(repo, branch): (head, rule) for repo, branch, head, rule in connection.execute(query)}


def forget_commits(connection: Connection, commit_ids: Iterable[CommitId]) -> None:
    """Mark the data of these commits as expired. Their records and lineage stay. Cost: 1 UPDATE for each 500."""
    ordered = sorted(commit_ids)
    hold_commits(connection, ordered)
    for batch in _batches(ordered):
        connection.execute(update(commits).where(commits.c.id.in_(batch)).values(state=CommitState.FORGOTTEN.value))
    forget_expired_results(connection, ordered)


def forget_expired_results(connection: Connection, commit_ids: Sequence[CommitId]) -> None:
    """Delete what points at the data of *commit_ids*, which has expired.

    Cost: 1 SELECT for each 500 commits. For commits of repos of results also 3 DELETEs that scan their tables. For
        commits of repos of datums also 1 SELECT and 2 DELETEs for each 500.
    """
    of_system = select(commits.c.id, repos.c.kind).join(repos, repos.c.id == commits.c.repo_id)
    of_system = of_system.where(repos.c.kind != RepoKind.USER.value)
    found = [
        row for batch in _batches(commit_ids) for row in connection.execute(of_system.where(commits.c.id.in_(batch)))
    ]
    if any(kind == RepoKind.RESULTS.value for _, kind in found):
        expired = select(commits.c.id).where(commits.c.state == CommitState.FORGOTTEN.value)
        for table in (results, failures, disagreements):
            connection.execute(delete(table).where(table.c.commit_id.in_(expired)))
    forget_datums(connection, [CommitId(one) for one, kind in found if kind == RepoKind.DATUMS.value])


def catalog_time(connection: Connection, now: datetime) -> datetime:
    """Return the time of the catalog's server, or *now* on SQLite, which has no server."""
    if connection.dialect.name != "postgresql":
        return now
    found: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return found


def hold_lease(connection: Connection, lease: str, now: datetime, *, is_new: bool) -> None:
    """Record that the transaction *lease* is under way at *now*. Packs that were stored since it began are kept.

    A lease that the collector ended stays ended, and the transaction fails when it commits.
    """
    at = catalog_time(connection, now)
    if is_new:
        connection.execute(insert(leases).values(id=lease, begun_at=at, renewed_at=at))
    else:
        connection.execute(update(leases).where(leases.c.id == lease).values(renewed_at=at))


def release_lease(connection: Connection, lease: str) -> bool:
    """Delete a lease, and return whether it still existed. Cost: 1 DELETE."""
    ended = delete(leases).where(leases.c.id == lease).returning(leases.c.id)
    return connection.execute(ended).one_or_none() is not None


def end_stale_leases(connection: Connection, now: datetime, timeout: timedelta) -> int:
    """Delete leases that were not renewed for *timeout*, and return how many.

    Their transactions can't commit any more.
    """
    limit = catalog_time(connection, now) - timeout
    stale = (leases.c.renewed_at < limit) & (leases.c.kind == TRANSACTION)
    ended = delete(leases).where(stale).returning(leases.c.id)
    return len(connection.execute(ended).all())


def longest_lease(connection: Connection, now: datetime) -> timedelta | None:
    """Return how long the oldest open transaction has been running, or None when a clock is wrong.

    Cost: 1 SELECT.
    """
    own = leases.c.kind == TRANSACTION
    found = connection.execute(select(func.min(leases.c.begun_at), func.max(leases.c.renewed_at)).where(own)).one()
    if found[0] is None:
        return timedelta(0)
    at = catalog_time(connection, now)
    return None if found[1] > at + CLOCK_TOLERANCE else max(timedelta(0), at - found[0])


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _BATCH):
        yield names[start : start + _BATCH]
