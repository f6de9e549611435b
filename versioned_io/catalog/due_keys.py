"""The partition keys that new data asks to be processed, for each subscription, in the catalog.

Each request for a key has a sequence number, which rises with each new one. A key is *due* while its newest request
is above the one that was last completed. So work that was overtaken by newer data stays due, and
work that was done is never due again. Rows stay after completion, to answer retries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, literal, or_, select, true, update
from sqlalchemy.dialects import postgresql, sqlite

from versioned_io.catalog.subscriptions import IS_GONE
from versioned_io.catalog.tables import commits, due_keys, subscriptions
from versioned_io.errors import ClaimLostError, NotFoundError
from versioned_io.identifiers import CommitId, LineageId

_BATCH = 400
_LONGEST_REDELIVERY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class DueKey:
    """A request to process a partition key, of one subscription.

    Attributes:
        commit: The newest commit that touched the key; process the data as of this commit.
        lineage_id: That commit's; the work carries it onward.
        number: That commit's place in its branch.
        sequence: Which request for this key it is.
        announced_at: When it was last announced to an orchestrator, or None.
        owner: Who holds or last held it, or None.
        claimed_until: When the owner's lease ends, or None.
        is_done: Whether it is completed already: a retry of its owner, or somebody who asked by hand, has it again.
    """

    subscription_id: int
    subscription: str
    key: str
    commit: CommitId
    lineage_id: LineageId
    number: int
    sequence: int
    requested_at: datetime
    announced_at: datetime | None
    owner: str | None
    claimed_until: datetime | None
    is_done: bool


def request_keys(connection: Connection, subscription_id: int, keys: Mapping[str, CommitId], now: datetime) -> None:
    """Make every key of *keys* due, for the commit beside it; a live claim of an older request is left alone.

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
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    for start in range(0, len(rows), _BATCH):
        statement = dialect.insert(due_keys).values(rows[start : start + _BATCH])
        renewed = {name: statement.excluded[name] for name in ("commit_id", "sequence", "requested_at")}
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["subscription_id", "key"], set_={**renewed, "announced_at": None}
            )
        )


def withdraw_keys(connection: Connection, subscription_id: int, keys: Sequence[str]) -> None:
    """Make *keys* no longer due: their last file is gone.

    Cost: 1 UPDATE for each 400 keys.
    """
    for start in range(0, len(keys), _BATCH):
        batch = due_keys.c.key.in_(keys[start : start + _BATCH])
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


def list_unannounced(
    connection: Connection, subscription_id: int, *, now: datetime, redeliver_after_s: float, limit: int | None = None
) -> list[DueKey]:
    """Return the keys that are due and whose announcement is missing or was probably lost, oldest request first.

    It was probably lost when nobody has claimed the request for *redeliver_after_s* seconds, or, after several
    announcements, for as long as the request had waited at the last of them, up to an hour: so a consumer that is
    paused for a week is not told every minute. A request that was claimed was delivered, whatever became of it.

    Cost: 1 SELECT.
    """
    delivered = and_(due_keys.c.claimed_sequence.is_not(None), due_keys.c.claimed_sequence == due_keys.c.sequence)
    leased = and_(due_keys.c.owner.is_not(None), due_keys.c.claimed_until > now)
    overdue = due_keys.c.announced_at < now - timedelta(seconds=redeliver_after_s)
    query = _requests(due_keys.c.subscription_id == subscription_id).where(
        _IS_DUE, ~leased, ~delivered, or_(due_keys.c.announced_at.is_(None), overdue)
    )
    rows = connection.execute(query.order_by(due_keys.c.sequence, due_keys.c.key))
    found = (due for due in map(_to_due, rows) if _waited_long_enough(due, now))
    return list(found)[:limit]


def _waited_long_enough(due: DueKey, now: datetime) -> bool:
    if due.announced_at is None:
        return True
    return now - due.announced_at > min(due.announced_at - due.requested_at, _LONGEST_REDELIVERY)


def get_key(connection: Connection, subscription_id: int, key: str) -> DueKey | None:
    """Return the newest request for *key*, due or done, if there ever was one.

    Cost: 1 SELECT.
    """
    row = connection.execute(_requests(_is(subscription_id, key))).one_or_none()
    return None if row is None else _to_due(row)


def mark_announced(connection: Connection, dues: Sequence[DueKey], now: datetime) -> None:
    """Note that these requests were announced now; newer requests for the same keys are left alone.

    Cost: 1 UPDATE a request.
    """
    for due in dues:
        same = and_(_is(due.subscription_id, due.key), due_keys.c.sequence == due.sequence)
        connection.execute(update(due_keys).where(same).values(announced_at=now))


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims a key, and for how long.

    Attributes:
        owner: The same text again is the same work, retried.
        instead_of: An owner that is known to have ended, whose lease therefore binds nobody.
    """

    owner: str
    now: datetime
    lease_s: float
    instead_of: str | None = None

    @property
    def until(self) -> datetime:
        """When the lease ends."""
        return self.now + timedelta(seconds=self.lease_s)

    def may_take(self) -> ColumnElement[bool]:
        """Return the condition that nobody else holds the key."""
        owners = [self.owner] if self.instead_of is None else [self.owner, self.instead_of]
        return or_(due_keys.c.owner.is_(None), due_keys.c.owner.in_(owners), due_keys.c.claimed_until <= self.now)


def claim_key(connection: Connection, subscription_id: int, key: str, claimant: Claimant) -> DueKey | None:
    """Give the newest request for *key* to the claimant, or return None.

    None means that nothing is due, or that another owner's lease is running. The same owner may claim
    again, also a request that it has completed: that is how a retry learns what it had done.

    Cost: 1 UPDATE, 1 SELECT.
    """
    its_own = and_(due_keys.c.done_by == claimant.owner, due_keys.c.done_sequence == due_keys.c.sequence)
    return _take(connection, _is(subscription_id, key), or_(_IS_DUE, its_own), claimant)


def force_key(
    connection: Connection, subscription_id: int, key: str, claimant: Claimant, *, head: CommitId
) -> DueKey | None:
    """Give *key* to the claimant although it is not due, as of the commit *head*; None while another owner holds it.

    Cost: 1 INSERT, 1 UPDATE, 1 SELECT.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    row = {
        "subscription_id": subscription_id,
        "key": key,
        "commit_id": head,
        "sequence": 0,
        "done_sequence": 0,
        "requested_at": claimant.now,
    }
    connection.execute(dialect.insert(due_keys).values(row).on_conflict_do_nothing())
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
    """End the lease on a claimed request, still due; nothing happens if it is somebody else's by now.

    It counts as delivered, so it is not announced again by itself; a newer request that came meanwhile is.

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


def complete_key(connection: Connection, due: DueKey, now: datetime) -> None:
    """Note that a claimed request was done. Doing it again changes nothing.

    A newer request for the key stays due and counts as made now, for until now nobody could take it: a wake-up
    that was sent for it before was in vain.

    Raises:
        ClaimLostError: The claim is somebody else's by now, who does the work or has done it: throw yours away.

    Cost: 1 UPDATE; 1 SELECT more when it was done before.
    """
    mine = and_(
        _is(due.subscription_id, due.key), due_keys.c.owner == due.owner, due_keys.c.claimed_sequence == due.sequence
    )
    this_moment = literal(now, due_keys.c.requested_at.type)
    done = connection.execute(
        update(due_keys)
        .where(mine)
        .values(
            # Never back: the key may have been withdrawn meanwhile.
            done_sequence=case((due_keys.c.done_sequence > due.sequence, due_keys.c.done_sequence), else_=due.sequence),
            done_commit_id=due.commit,
            done_by=due.owner,
            owner=None,
            claimed_until=None,
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
    )
