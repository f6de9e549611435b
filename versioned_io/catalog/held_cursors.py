"""Commits that consumers with a cursor outside of the store hold against expiry, each for a limited time."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

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


class Hold(NamedTuple):
    """A commit that is held under a name."""

    name: str
    commit: CommitId
    hold_s: int


def held_at_heads(connection: Connection) -> list[Hold]:
    """Return the holds of commits that are heads of branches. Cost: 1 SELECT."""
    heads = select(branches.c.head_id).where(branches.c.head_id.is_not(None))
    query = select(held_cursors.c.name, held_cursors.c.commit_id, held_cursors.c.hold_s)
    return [Hold(*row) for row in connection.execute(query.where(held_cursors.c.commit_id.in_(heads)))]


def renew_holds(connection: Connection, held: Iterable[Hold], now: datetime) -> None:
    """Restart the time of holds, unless they were replaced meanwhile, and delete those whose time is over.

    Collections do so for commits that are heads. So the time of a hold counts from the last of them that found the
    commit at a head.

    Cost: 1 DELETE, and 1 UPDATE for each.
    """
    for hold in sorted(held):
        restarted = update(held_cursors).values(held_until=now + timedelta(seconds=hold.hold_s))
        same = held_cursors.c.commit_id == hold.commit, held_cursors.c.hold_s == hold.hold_s
        connection.execute(restarted.where(held_cursors.c.name == hold.name, *same))
    connection.execute(delete(held_cursors).where(held_cursors.c.held_until < now))
