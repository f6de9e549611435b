"""Leases of announcers on keys, in the rows of the relay's own subscription.

No consumer claims a relay's own keys, so their lease columns are free for this. If an announcer dies, its keys are free
again when the lease ends. No other key waits for them.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, or_, select, update

from versioned_io.catalog.row_locks import hold_due_keys
from versioned_io.catalog.tables import due_keys

_BATCH = 400


def hold_keys(
    connection: Connection, relay_id: int, keys: Sequence[str], *, owner: str, now: datetime, until: datetime
) -> set[str]:
    """Lease keys to an announcer, and return those that no other announcer holds.

    Args:
        relay_id: The relay's own subscription. A key that it has no row for can't be leased, and is returned.

    Cost: 1 UPDATE and 1 SELECT for each 400 keys.
    """
    mine: set[str] = set()
    lease = due_keys.c.claimed_until
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        these = and_(due_keys.c.subscription_id == relay_id, due_keys.c.key.in_(batch))
        is_free = or_(due_keys.c.owner.is_(None), due_keys.c.owner == owner, lease <= now)
        hold_due_keys(connection, relay_id, batch)
        connection.execute(update(due_keys).where(these, is_free).values(owner=owner, claimed_until=until))
        others = select(due_keys.c.key).where(these, due_keys.c.owner != owner, lease > now)
        mine.update(set(batch) - set(connection.execute(others).scalars()))
    return mine


def renew_keys(connection: Connection, relay_id: int, keys: Sequence[str], *, owner: str, until: datetime) -> None:
    """Lease keys that an announcer still holds for longer; leave others alone. Cost: 1 UPDATE for each 400 keys."""
    _change_lease(connection, relay_id, keys, owner=owner, to={"claimed_until": until})


def free_keys(connection: Connection, relay_id: int, keys: Sequence[str], *, owner: str) -> None:
    """End an announcer's leases on keys. Cost: 1 UPDATE for each 400 keys."""
    _change_lease(connection, relay_id, keys, owner=owner, to={"owner": None, "claimed_until": None})


def _change_lease(
    connection: Connection, relay_id: int, keys: Sequence[str], *, owner: str, to: Mapping[str, datetime | None]
) -> None:
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        these = and_(due_keys.c.subscription_id == relay_id, due_keys.c.key.in_(batch))
        hold_due_keys(connection, relay_id, batch)
        connection.execute(update(due_keys).where(these, due_keys.c.owner == owner).values(**to))


def list_held(
    connection: Connection, relay_ids: Collection[int], *, now: datetime, but: str = ""
) -> set[tuple[int, str]]:
    """Return the keys that others than *but* announce now, each with its relay's own subscription. Cost: 1 SELECT."""
    held = and_(due_keys.c.subscription_id.in_(relay_ids), due_keys.c.owner != but, due_keys.c.claimed_until > now)
    return {
        (row.subscription_id, row.key)
        for row in connection.execute(select(due_keys.c.subscription_id, due_keys.c.key).where(held))
    }
