"""The subscriptions that wait, in plain SQL: each with its due keys and their states."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from versioned_io.catalog.plain import AnyConnection, PlainConnection, rows
from versioned_io.catalog.values import as_microseconds, as_time
from versioned_io.model.due_keys import DueKey
from versioned_io.model.due_states import DueStatus, KeyState, KeyStatus
from versioned_io.model.identifiers import CommitId, LineageId
from versioned_io.model.refs import BranchRef

_SUBSCRIPTIONS: Final = """SELECT s.id, r.name, b.name, s.name, s.relay, s.consumer, s.partitions, s.key_template,
    h.id, h.number, c.id, c.number, s.sequence, s.created_at
    FROM subscriptions s JOIN branches b ON b.id = s.branch_id JOIN repos r ON r.id = b.repo_id
    LEFT JOIN commits h ON h.id = b.head_id LEFT JOIN commits c ON c.id = s.cursor_id
    WHERE r.deleted_at IS NULL"""

_REQUESTS: Final = """SELECT k.key, k.commit_id, c.lineage_id, c.number, k.sequence, k.requested_at, k.announced_at,
    k.owner, k.claimed_sequence, k.claimed_until, k.done_sequence, k.done_by
    FROM due_keys k JOIN commits c ON c.id = k.commit_id WHERE k.subscription_id = :id"""

_IS_DUE: Final = "k.sequence > k.done_sequence"


def list_statuses(
    connection: AnyConnection,
    now: datetime,
    *,
    branch: BranchRef | None = None,
    key: str | None = None,
    limit: int | None = None,
) -> list[DueStatus]:
    """Return the subscriptions of *branch*, or of every branch, sorted by branch, then by name.

    Args:
        now: The time at which leases run; on PostgreSQL its own time counts.
        key: Only this key, due or done.
        limit: At most this many keys of each subscription.

    Cost: 1 SELECT, and 2 for each subscription; 1 more on PostgreSQL, for its time.
    """
    only = "" if branch is None else "AND r.name = :repo AND b.name = :branch"
    query = f"{_SUBSCRIPTIONS} {only} ORDER BY r.name, b.name, s.name"
    values = {} if branch is None else {"repo": branch.repo, "branch": branch.branch}
    at = _server_time(connection, now)
    return [_to_status(connection, row, at, key=key, limit=limit) for row in rows(connection, query, **values)]


def _server_time(connection: AnyConnection, now: datetime) -> datetime:
    if isinstance(connection, PlainConnection) or connection.dialect.name != "postgresql":
        return now
    found: datetime = rows(connection, "SELECT clock_timestamp()")[0][0]
    return found


def _to_status(
    connection: AnyConnection, row: Sequence[Any], now: datetime, *, key: str | None, limit: int | None
) -> DueStatus:
    row_id, repo, branch, name, relay, consumer, partitions, template, head, head_number, cursor, number = row[:12]
    sequence, created_at = row[12:]
    is_relay = relay is not None and consumer is None
    # A relay's own keys are never claimed: one that it has announced is settled.
    waits = _IS_DUE + (" AND k.announced_at IS NULL" if is_relay else "")
    counted = f"SELECT count(*) FROM due_keys k WHERE k.subscription_id = :id AND {waits}"  # noqa: S608 (constants)
    ((count,),) = rows(connection, counted, id=row_id)
    which = waits if key is None else "k.key = :key"
    most = "" if limit is None else "LIMIT :limit"
    query = f"{_REQUESTS} AND {which} ORDER BY k.sequence, k.key {most}"
    values = ({"id": row_id} if key is None else {"id": row_id, "key": key}) | (
        {} if limit is None else {"limit": limit}
    )
    found = tuple(_to_key(row_id, name, one, now, is_relay=is_relay) for one in rows(connection, query, **values))
    return DueStatus(
        branch=BranchRef(repo, branch),
        name=name,
        relay=relay,
        consumer=consumer,
        partitions=partitions,
        key=template,
        head=None if head is None else CommitId(head),
        head_number=head_number or 0,
        cursor=None if cursor is None else CommitId(cursor),
        cursor_number=number or 0,
        has_collected=sequence > 0,
        created_at=as_time(created_at),
        due_count=count,
        keys=found,
    )


def _to_key(subscription_id: int, name: str, row: Sequence[Any], now: datetime, *, is_relay: bool) -> KeyStatus:
    key, commit, lineage_id, number, sequence, requested_at, announced_at = row[:7]
    owner, claimed_sequence, claimed_until, done_sequence, done_by = row[7:]
    is_held = owner is not None and claimed_until is not None and claimed_until > as_microseconds(now)
    due = DueKey(
        subscription_id=subscription_id,
        subscription=name,
        key=key,
        commit=CommitId(commit),
        lineage_id=LineageId(lineage_id),
        number=number,
        sequence=sequence,
        requested_at=as_time(requested_at),
        announced_at=None if announced_at is None else as_time(announced_at),
        owner=owner,
        claimed_until=None if claimed_until is None else as_time(claimed_until),
        is_done=done_sequence >= sequence,
        done_by=done_by,
    )
    if due.is_done:
        return KeyStatus(due, KeyState.DONE)
    if is_held:
        is_current = is_relay or claimed_sequence == sequence
        return KeyStatus(due, KeyState.CLAIMED if is_current else KeyState.OVERTAKEN)
    if claimed_sequence == sequence:
        return KeyStatus(due, KeyState.UNFINISHED)
    return KeyStatus(due, KeyState.WAITING if announced_at is None else KeyState.ANNOUNCED)
