"""Commits that consumers with a cursor outside of the store hold against expiry, each for a limited time."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select, update

from versioned_io.catalog.tables import branches, held_cursors
from versioned_io.catalog.upserts import upsert
from versioned_io.errors import InvalidInputError
from versioned_io.model.identifiers import CommitId

_LONGEST_NAME = 250


def hold_cursor(connection: Connection, name: str, commit_id: CommitId, hold_for: timedelta, now: datetime) -> None:
    """Hold a commit under *name*, in the place of the commit that was held under it.

    Raises:
        InvalidInputError: *name* is empty or too long.

    Cost: 1 INSERT.
    """
    if not 0 < len(name) <= _LONGEST_NAME:
        msg = f"the name of a cursor has 1 to {_LONGEST_NAME} characters, not {len(name)}"
        raise InvalidInputError(msg)
    values = {"commit_id": commit_id, "hold_s": int(hold_for.total_seconds()), "held_until": now + hold_for}
    entered = upsert(connection, held_cursors).values(name=name, **values)
    connection.execute(entered.on_conflict_do_update(index_elements=["name"], set_=values))


def commits_held(connection: Connection, now: datetime) -> set[CommitId]:
    """Return the commits that are held at *now*. Cost: 1 SELECT."""
    query = select(held_cursors.c.commit_id).where(held_cursors.c.held_until >= now)
    return {CommitId(one) for one in connection.execute(query.distinct()).scalars()}


def held_at_heads(connection: Connection) -> dict[str, timedelta]:
    """Return the time for which each held commit that is the head of a branch is held, by name. Cost: 1 SELECT."""
    heads = select(branches.c.head_id).where(branches.c.head_id.is_not(None))
    query = select(held_cursors.c.name, held_cursors.c.hold_s).where(held_cursors.c.commit_id.in_(heads))
    return {name: timedelta(seconds=hold_s) for name, hold_s in connection.execute(query)}


def renew_holds(connection: Connection, held: Mapping[str, timedelta], now: datetime) -> None:
    """Restart the time of holds, and delete those whose time is over.

    Collections do so for commits that are heads. So the time of a hold counts from the last of them that found the
    commit at a head.

    Cost: 1 DELETE, and 1 UPDATE for each.
    """
    for name, hold_for in sorted(held.items()):
        connection.execute(update(held_cursors).where(held_cursors.c.name == name).values(held_until=now + hold_for))
    connection.execute(delete(held_cursors).where(held_cursors.c.held_until < now))
