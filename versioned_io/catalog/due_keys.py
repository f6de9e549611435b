"""Due keys: for each subscription, the partition keys that must be processed because of new data.

Each request for a key has a sequence number, which rises with each new request. A key is *due* while its newest
request is newer than the last completed one. So a key stays due if newer data arrives during its run, and a completed
request is never due again. Rows stay after completion, to answer retries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, false, literal, or_, select, true, update

from versioned_io.catalog.row_locks import hold_due_keys
from versioned_io.catalog.subscriptions import IS_GONE, get_cursor
from versioned_io.catalog.tables import commits, due_keys, subscriptions
from versioned_io.catalog.upserts import upsert
from versioned_io.errors import ClaimLostError, NotFoundError
from versioned_io.model.due_keys import DueKey
from versioned_io.model.identifiers import CommitId, LineageId
from versioned_io.platform.clock import CLOCK_SKEW

_BATCH = 400
_LONGEST_REDELIVERY = timedelta(hours=1)


def request_keys(connection: Connection, subscription_id: int, keys: Mapping[str, CommitId], now: datetime) -> None:
    """Make every key of *keys* due for its commit. A live claim of an older request is left alone.

    Cost: 1 SELECT, and 1 INSERT for each 400 keys.
    """
    sequence = connection.execute(
        select(subscriptions.c.sequence).where(subscriptions.c.id == subscription_id)
    ).scalar_one_or_none()
    if sequence is None:
        raise NotFoundError(IS_GONE)
    rows = [
        {
            "subscription_id": subscription_id,
            "key": key,
            "commit_id": commit_id,
            "sequence": sequence,
            "done_sequence": 0,
            "requested_at": now,
        }
        for key, commit_id in sorted(keys.items())
    ]
    for start in range(0, len(rows), _BATCH):
        statement = upsert(connection, due_keys).values(rows[start : start + _BATCH])
        renewed = {name: statement.excluded[name] for name in ("commit_id", "sequence", "requested_at")}
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["subscription_id", "key"], set_={**renewed, "announced_at": None}
            )
        )


def repeat_keys(
    connection: Connection, subscription_id: int, keys: Sequence[str], now: datetime, *, head: CommitId, is_relay: bool
) -> list[str] | None:
    """Request *keys* again as of *head*, and return those for which no unclaimed request was waiting already.

    Return None, and change nothing, if the cursor is not at *head*. The keys of a newer commit may be done already, and
    a request as of *head* would have the older data processed last.

    Args:
        is_relay: Whether the subscription is a relay's own: its keys are never claimed, so an announced one is settled.

    Cost: 1 UPDATE; 1 SELECT for each 400 keys; and as `request_keys` where a request is made.
    """
    # Never 1, which marks the requests of the first collection; `Relay.adopt` tells them by that.
    raised = case((subscriptions.c.sequence < 1, 2), else_=subscriptions.c.sequence + 1)
    this = and_(subscriptions.c.id == subscription_id, subscriptions.c.cursor_id == head)
    if not connection.execute(update(subscriptions).where(this).values(sequence=raised)).rowcount:
        get_cursor(connection, subscription_id)  # raises if the subscription was deleted
        return None
    unclaimed = or_(due_keys.c.claimed_sequence.is_(None), due_keys.c.claimed_sequence != due_keys.c.sequence)
    waits = due_keys.c.announced_at.is_(None) if is_relay else unclaimed
    wanted = sorted(set(keys))
    waiting: set[str] = set()
    for start in range(0, len(wanted), _BATCH):
        these = and_(due_keys.c.subscription_id == subscription_id, due_keys.c.key.in_(wanted[start : start + _BATCH]))
        waiting.update(connection.execute(select(due_keys.c.key).where(these, _IS_DUE, waits)).scalars())
    fresh = [key for key in wanted if key not in waiting]
    if fresh:
        request_keys(connection, subscription_id, dict.fromkeys(fresh, head), now)
    return fresh


def withdraw_keys(connection: Connection, subscription_id: int, keys: Sequence[str]) -> None:
    """Make *keys* no longer due, because their last file was deleted.

    Cost: 1 UPDATE for each 400 keys.
    """
    for start in range(0, len(keys), _BATCH):
        some = keys[start : start + _BATCH]
        hold_due_keys(connection, subscription_id, some)
        batch = due_keys.c.key.in_(some)
        connection.execute(
            update(due_keys)
            .where(due_keys.c.subscription_id == subscription_id, batch, _IS_DUE)
            .values(done_sequence=due_keys.c.sequence, done_commit_id=None, done_by=None)
        )


def list_due(connection: Connection, subscription_id: int, *, limit: int | None = None) -> list[DueKey]:
    """Return the keys that are due, oldest request first.

    Cost: 1 SELECT.
    """
    query = _requests(due_keys.c.subscription_id == subscription_id).where(_IS_DUE)
    return [
        _to_due(row) for row in connection.execute(query.order_by(due_keys.c.sequence, due_keys.c.key).limit(limit))
    ]


def list_waiting(
    connection: Connection,
    after_s: Mapping[int, float | None],
    *,
    now: datetime,
    limit: int | None = None,
    but: str | None = None,
) -> list[DueKey]:
    """Return the due keys whose announcement is missing or was probably lost, oldest request first.

    An announcement was probably lost if nobody has claimed the request within *after_s*. After several announcements
    the wait grows: it is the age that the request had at the last announcement, up to an hour. So a consumer that is
    paused for a week is not woken every minute. A claimed request counts as delivered, even if its work failed.

    Args:
        after_s: Subscription → the seconds after which an announcement may be repeated; None for never.
        limit: The most keys to return for each subscription.
        but: An owner whose leases don't count.

    Cost: 1 SELECT; none for no subscriptions.
    """
    if not after_s:
        return []
    delivered = and_(due_keys.c.claimed_sequence.is_not(None), due_keys.c.claimed_sequence == due_keys.c.sequence)
    leased = and_(due_keys.c.owner.is_not(None), due_keys.c.owner != (but or ""), due_keys.c.claimed_until > now)
    waits = or_(due_keys.c.announced_at.is_(None), *(_is_overdue(one, wait_s, now) for one, wait_s in after_s.items()))
    query = _requests(due_keys.c.subscription_id.in_(list(after_s))).where(_IS_DUE, ~leased, ~delivered, waits)
    rows = connection.execute(query.order_by(due_keys.c.subscription_id, due_keys.c.sequence, due_keys.c.key))
    found = (due for due in map(_to_due, rows) if _waited_long_enough(due, now))
    return [due for _, group in groupby(found, key=lambda due: due.subscription_id) for due in islice(group, limit)]


def _is_overdue(subscription_id: int, wait_s: float | None, now: datetime) -> ColumnElement[bool]:
    if wait_s is None:
        return false()
    announced = due_keys.c.announced_at
    is_late = or_(announced < now - timedelta(seconds=wait_s), announced > now + CLOCK_SKEW)  # by a wrong clock
    return and_(due_keys.c.subscription_id == subscription_id, is_late)


def _waited_long_enough(due: DueKey, now: datetime) -> bool:
    if due.announced_at is None:
        return True
    return due.announced_at > now + CLOCK_SKEW or now - due.announced_at > min(
        due.announced_at - due.requested_at, _LONGEST_REDELIVERY
    )


def get_key(connection: Connection, subscription_id: int, key: str) -> DueKey | None:
    """Return the newest request for *key*, due or done, if there ever was one.

    Cost: 1 SELECT.
    """
    row = connection.execute(_requests(_is(subscription_id, key))).one_or_none()
    return None if row is None else _to_due(row)


def mark_announced(connection: Connection, dues: Sequence[DueKey], now: datetime) -> None:
    """Record that these requests were announced now. Newer requests for the same keys are left alone.

    Cost: 1 UPDATE a request.
    """
    for due in sorted(dues, key=lambda one: (one.subscription_id, one.key)):
        same = and_(_is(due.subscription_id, due.key), due_keys.c.sequence == due.sequence)
        connection.execute(update(due_keys).where(same).values(announced_at=now))


@dataclass(frozen=True, slots=True)
class Claimant:
    """A consumer that claims a key, and the length of its lease.

    Attributes:
        owner: Identifies the work. A retry uses the same text.
        instead_of: An owner that is known to have ended, so its lease no longer counts.
    """

    owner: str
    now: datetime
    lease_s: float
    instead_of: str | None = None

    @property
    def until(self) -> datetime:
        """The time at which the lease ends."""
        return self.now + timedelta(seconds=self.lease_s)

    def may_take(self) -> ColumnElement[bool]:
        """Return the SQL condition that no other owner holds the key."""
        owners = [self.owner] if self.instead_of is None else [self.owner, self.instead_of]
        return or_(due_keys.c.owner.is_(None), due_keys.c.owner.in_(owners), due_keys.c.claimed_until <= self.now)

    def is_first(self) -> ColumnElement[bool]:
        """Return the condition that no other owner has claimed this request before."""
        claimed = due_keys.c.claimed_sequence
        return or_(claimed.is_(None), claimed != due_keys.c.sequence, due_keys.c.owner == self.owner)


def claim_key(
    connection: Connection, subscription_id: int, key: str, claimant: Claimant, *, repeat: bool = True
) -> DueKey | None:
    """Claim the newest request for *key* for the claimant and return it, or return None.

    None means that nothing is due, or that another owner's lease is running. Without *repeat* it also means that
    another owner has claimed this request before, and failed. The same owner may claim a request again, even after it
    has completed it. That is how a retry learns that the work is done.

    Cost: 1 UPDATE, 1 SELECT.
    """
    its_own = and_(due_keys.c.done_by == claimant.owner, due_keys.c.done_sequence == due_keys.c.sequence)
    is_open = _IS_DUE if repeat else and_(_IS_DUE, claimant.is_first())
    return _take(connection, _is(subscription_id, key), or_(is_open, its_own), claimant)


def force_key(
    connection: Connection, subscription_id: int, key: str, claimant: Claimant, *, head: CommitId
) -> DueKey | None:
    """Claim *key* as of the commit *head* although it is not due; return None while another owner holds it.

    Cost: 1 INSERT, 1 UPDATE, 1 SELECT.
    """
    row = {
        "subscription_id": subscription_id,
        "key": key,
        "commit_id": head,
        "sequence": 0,
        "done_sequence": 0,
        "requested_at": claimant.now,
    }
    connection.execute(upsert(connection, due_keys).values(row).on_conflict_do_nothing())
    settled = and_(_is(subscription_id, key), ~_IS_DUE)
    connection.execute(update(due_keys).where(settled).values(commit_id=head))
    return _take(connection, _is(subscription_id, key), true(), claimant)


def _take(
    connection: Connection, mine: ColumnElement[bool], condition: ColumnElement[bool], claimant: Claimant
) -> DueKey | None:
    claim = {"owner": claimant.owner, "claimed_sequence": due_keys.c.sequence, "claimed_until": claimant.until}
    claimed = connection.execute(update(due_keys).where(mine, condition, claimant.may_take()).values(claim))
    return _to_due(connection.execute(_requests(mine)).one()) if claimed.rowcount == 1 else None


def release_key(connection: Connection, due: DueKey, now: datetime) -> None:
    """End the lease on a claimed request, which stays due; do nothing if another owner has claimed it meanwhile.

    The request counts as delivered, so it is not announced again. A newer request that came meanwhile is announced.

    Cost: 2 UPDATEs.
    """
    mine = and_(
        _is(due.subscription_id, due.key), due_keys.c.owner == due.owner, due_keys.c.claimed_sequence == due.sequence
    )
    overtaken = due_keys.c.sequence > due.sequence
    connection.execute(update(due_keys).where(mine, ~overtaken).values(claimed_until=now))
    connection.execute(
        update(due_keys)
        .where(mine, overtaken)
        .values(owner=None, claimed_until=None, announced_at=None, requested_at=now)
    )


def list_overtaken(
    connection: Connection, subscription_ids: Sequence[int], *, now: datetime, limit: int
) -> list[DueKey]:
    """Return the due keys with a live lease on an older request, so that nobody may claim the newer one.

    Cost: 1 SELECT.
    """
    leased = and_(due_keys.c.owner.is_not(None), due_keys.c.claimed_until > now)
    overtaken = and_(leased, due_keys.c.sequence > due_keys.c.claimed_sequence)
    query = _requests(and_(due_keys.c.subscription_id.in_(subscription_ids), overtaken)).where(_IS_DUE)
    rows = connection.execute(query.order_by(due_keys.c.subscription_id, due_keys.c.key).limit(limit))
    return [_to_due(row) for row in rows]


def free_overtaken(connection: Connection, due: DueKey, now: datetime) -> None:
    """End the lease of *due*'s owner on an older request: the newer one waits for a wake-up, as if it were new.

    Cost: 1 UPDATE.
    """
    same = and_(_is(due.subscription_id, due.key), due_keys.c.owner == due.owner, due_keys.c.sequence == due.sequence)
    freed = {"owner": None, "claimed_until": None, "announced_at": None, "requested_at": now}
    connection.execute(update(due_keys).where(same, due_keys.c.claimed_sequence < due.sequence).values(freed))


def complete_key(connection: Connection, due: DueKey, now: datetime) -> None:
    """Record that a claimed request was completed. A second call changes nothing.

    A newer request for the key stays due, and its age counts from now. Nobody could claim it until now, so an earlier
    announcement of it had no effect.

    Raises:
        ClaimLostError: Another owner has claimed the request, and does the work or has done it. Discard your result.

    Cost: 1 UPDATE; 1 SELECT more if it was already completed.
    """
    mine = and_(
        _is(due.subscription_id, due.key), due_keys.c.owner == due.owner, due_keys.c.claimed_sequence == due.sequence
    )
    this_moment = literal(now, due_keys.c.requested_at.type)
    done = connection.execute(
        update(due_keys)
        .where(mine)
        .values(
            # Never lowered: the key may have been withdrawn meanwhile.
            done_sequence=case((due_keys.c.done_sequence > due.sequence, due_keys.c.done_sequence), else_=due.sequence),
            done_commit_id=due.commit,
            done_by=due.owner,
            owner=None,
            claimed_until=now,
            announced_at=case((due_keys.c.sequence > due.sequence, None), else_=due_keys.c.announced_at),
            requested_at=case((due_keys.c.sequence > due.sequence, this_moment), else_=due_keys.c.requested_at),
        )
    )
    if done.rowcount == 1:
        return
    found = connection.execute(select(due_keys).where(_is(due.subscription_id, due.key))).one_or_none()
    if found is None:
        raise NotFoundError(IS_GONE)
    if (found.done_by, found.done_sequence) != (due.owner, due.sequence):
        raise ClaimLostError(due.subscription, due.key, found.owner or found.done_by or "nobody")


_IS_DUE = due_keys.c.sequence > due_keys.c.done_sequence


def _is(subscription_id: int, key: str) -> ColumnElement[bool]:
    return and_(due_keys.c.subscription_id == subscription_id, due_keys.c.key == key)


def _requests(condition: ColumnElement[bool]) -> Select[Any]:
    return (
        select(due_keys, subscriptions.c.name, commits.c.lineage_id, commits.c.number)
        .join(subscriptions, subscriptions.c.id == due_keys.c.subscription_id)
        .join(commits, commits.c.id == due_keys.c.commit_id)
        .where(condition)
    )


def _to_due(row: Row[Any]) -> DueKey:
    return DueKey(
        subscription_id=row.subscription_id,
        subscription=row.name,
        key=row.key,
        commit=CommitId(row.commit_id),
        lineage_id=LineageId(row.lineage_id),
        number=row.number,
        sequence=row.sequence,
        requested_at=row.requested_at,
        announced_at=row.announced_at,
        owner=row.owner,
        claimed_until=row.claimed_until,
        is_done=row.done_sequence >= row.sequence,
        done_by=row.done_by,
    )
