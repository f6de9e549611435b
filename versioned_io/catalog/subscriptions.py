"""Subscriptions in the catalog: durable cursors over branches, each at the last commit that its consumer collected."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, delete, func, select, update

from versioned_io.catalog.commits import get_commit
from versioned_io.catalog.repo_rows import BranchRow, find_branch
from versioned_io.catalog.row_ids import reserve_id
from versioned_io.catalog.tables import branches, due_keys, subscriptions
from versioned_io.catalog.upserts import upsert
from versioned_io.errors import InvalidInputError, NotFoundError
from versioned_io.errors.root import quoted
from versioned_io.model.arguments import parse_text
from versioned_io.model.identifiers import CommitId, is_id
from versioned_io.model.refs import BranchRef

IS_GONE = "the subscription was deleted, alone or with its branch: ask store.subscription() for a new one"

_LONGEST_NAME = 250


STARTS: Final = ("beginning", "now")
"""Where a new subscription may begin."""


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """A subscription as the catalog keeps it.

    Attributes:
        cursor: The last commit whose changes were collected.
        relay: The deployment whose relay announces its keys, or None.
        consumer: The consumer that they are announced to; None for the relay's own subscription.
    """

    id: int
    name: str
    branch: BranchRef
    partitions: str | None
    key_template: str | None
    cursor: CommitId | None
    relay: str | None = None
    consumer: str | None = None


def ensure_subscription(
    connection: Connection,
    name: str,
    branch: BranchRef,
    *,
    partitions: str | None,
    key_template: str | None,
    start: str,
    now: datetime,
    relay: str | None = None,
    consumer: str | None = None,
) -> SubscriptionRow:
    """Return the subscription *name* of *branch*; create it if it is missing.

    A new one begins at the branch's head if *start* is ``now``, and before its first commit if it is ``beginning``. If
    it is a commit's ID, it begins after that commit.

    Raises:
        InvalidInputError: It exists with other templates: choose another name, or use its templates. Or *name* or
            *start* is not valid.
        RepoNotFoundError, RefNotFoundError, CommitNotFoundError: The branch or the commit does not exist.

    Cost: 2 SELECTs, and 1 INSERT the first time; 1 SELECT more if *start* is a commit's ID.
    """
    if not is_start(start):
        msg = f"start={quoted(start)} is not valid: use 'beginning' or 'now', or a commit's ID"
        raise InvalidInputError(msg)
    if not 0 < len(parse_text(name, "name of a subscription")) <= _LONGEST_NAME:
        msg = f"a subscription's name has 1 to {_LONGEST_NAME} characters, not {len(name)}"
        raise InvalidInputError(msg)
    row = find_branch(connection, branch)
    cursor = {"now": row.head, "beginning": None}[start] if start in STARTS else _commit_of(connection, branch, start)
    values = {
        "name": name,
        "branch_id": row.id,
        "partitions": partitions,
        "key_template": key_template,
        "cursor_id": cursor,
        "sequence": 0,
        "created_at": now,
        "relay": relay,
        "consumer": consumer,
    }
    connection.execute(
        upsert(connection, subscriptions)
        .values({**values, **reserve_id(connection, subscriptions)})
        .on_conflict_do_nothing()
    )
    found = _to_row(connection.execute(_of_branch(row.id).where(subscriptions.c.name == name)).one(), branch)
    if (found.partitions, found.key_template) != (partitions, key_template):
        msg = (
            f"subscription {name!r} of {branch} has partitions={found.partitions!r} and key={found.key_template!r}, "
            f"not {partitions!r} and {key_template!r}: use another name, or the same templates"
        )
        raise InvalidInputError(msg)
    if (found.relay, found.consumer) != (relay, consumer) and relay is not None:
        # The migration that added these columns could not fill them: the name was too long to parse.
        connection.execute(
            update(subscriptions).where(subscriptions.c.id == found.id).values(relay=relay, consumer=consumer)
        )
        return replace(found, relay=relay, consumer=consumer)
    return found


def is_start(start: str) -> bool:
    """Return whether *start* says where a new subscription may begin: one of `STARTS`, or what may be a commit's ID."""
    return start in STARTS or is_id(start)


def _commit_of(connection: Connection, branch: BranchRef, commit_id: str) -> CommitId:
    commit = get_commit(connection, commit_id)
    if commit.repo != branch.repo:
        msg = f"start={commit_id!r} is a commit of repo {commit.repo!r}: pass one of {branch.repo!r}"
        raise InvalidInputError(msg)
    return commit.id


def find_subscription(connection: Connection, name: str, branch: BranchRef) -> SubscriptionRow | None:
    """Return the subscription *name* of *branch* if there is one.

    Cost: 2 SELECTs.
    """
    row = find_branch(connection, branch)
    found = connection.execute(_of_branch(row.id).where(subscriptions.c.name == name)).one_or_none()
    return None if found is None else _to_row(found, branch)


def list_subscriptions(
    connection: Connection, branch: BranchRef, *, prefix: str = "", relay: str | None = None
) -> list[SubscriptionRow]:
    """Return the subscriptions of *branch* whose names begin with *prefix*, sorted by name.

    Args:
        relay: Return only the subscriptions that this relay announces for.

    Cost: 2 SELECTs.
    """
    row = find_branch(connection, branch)
    query = (
        _of_branch(row.id)
        # Not LIKE, which ignores case in SQLite.
        .where(func.substr(subscriptions.c.name, 1, len(prefix)) == prefix)
        .order_by(subscriptions.c.name)
    )
    if relay is not None:
        query = query.where(subscriptions.c.relay == relay)
    return [_to_row(found, branch) for found in connection.execute(query)]


def list_of_relay(connection: Connection, branch: BranchRow, relay: str) -> list[SubscriptionRow]:
    """Return the subscriptions of a branch that a relay announces for, sorted by name. Cost: 1 SELECT."""
    query = _of_branch(branch.id).where(subscriptions.c.relay == relay).order_by(subscriptions.c.name)
    return [_to_row(found, branch.ref) for found in connection.execute(query)]


def names_of_subscriptions(connection: Connection, branch_id: int) -> list[str]:
    """Return the names of a branch's subscriptions, sorted. Cost: 1 SELECT."""
    query = select(subscriptions.c.name).where(subscriptions.c.branch_id == branch_id).order_by(subscriptions.c.name)
    return list(connection.execute(query).scalars())


def delete_subscriptions(connection: Connection, branch_id: int, name: str | None = None) -> int:
    """Delete a branch's subscriptions, or only *name*, with their due keys; return how many. Cost: 2 DELETEs."""
    own = subscriptions.c.branch_id == branch_id
    chosen = own if name is None else own & (subscriptions.c.name == name)
    ids = select(subscriptions.c.id).where(chosen)
    connection.execute(delete(due_keys).where(due_keys.c.subscription_id.in_(ids)))
    return len(connection.execute(delete(subscriptions).where(chosen).returning(subscriptions.c.id)).all())


def get_cursor(connection: Connection, subscription_id: int) -> CommitId | None:
    """Return the last commit that the subscription has collected, or None if it has collected none.

    Raises:
        NotFoundError: The subscription was deleted.

    Cost: 1 SELECT.
    """
    query = select(subscriptions.c.cursor_id).where(subscriptions.c.id == subscription_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError(IS_GONE)
    cursor: CommitId | None = row.cursor_id
    return cursor


def is_behind(connection: Connection, subscription_id: int) -> bool:
    """Return whether the branch's head is another commit than the cursor.

    Raises:
        NotFoundError: The subscription was deleted.

    Cost: 1 SELECT.
    """
    query = (
        select(func.coalesce(branches.c.head_id, "") != func.coalesce(subscriptions.c.cursor_id, ""))
        .join(branches, branches.c.id == subscriptions.c.branch_id)
        .where(subscriptions.c.id == subscription_id)
    )
    found: bool | None = connection.execute(query).scalar_one_or_none()
    if found is None:
        raise NotFoundError(IS_GONE)
    return bool(found)


def set_cursor(connection: Connection, subscription_id: int, target: CommitId) -> None:
    """Move the cursor to *target*, whatever its position.

    Raises:
        NotFoundError: The subscription was deleted.

    Cost: 1 UPDATE.
    """
    moved = connection.execute(
        update(subscriptions)
        .where(subscriptions.c.id == subscription_id)
        .values(cursor_id=target, sequence=subscriptions.c.sequence + 1)
    )
    if not moved.rowcount:
        raise NotFoundError(IS_GONE)


def advance_cursor(
    connection: Connection, subscription_id: int, *, expected: CommitId | None, target: CommitId
) -> bool:
    """Move the cursor from *expected* to *target* and return True, or return False if another process has moved it.

    Cost: 1 UPDATE.
    """
    cursor = subscriptions.c.cursor_id
    unmoved = cursor.is_(None) if expected is None else cursor == expected
    moved = connection.execute(
        update(subscriptions)
        .where(subscriptions.c.id == subscription_id, unmoved)
        .values(cursor_id=target, sequence=subscriptions.c.sequence + 1)
    )
    return moved.rowcount == 1


def _of_branch(branch_id: int) -> Select[Any]:
    return select(subscriptions).where(subscriptions.c.branch_id == branch_id)


def _to_row(found: Row[Any], branch: BranchRef) -> SubscriptionRow:
    return SubscriptionRow(
        found.id, found.name, branch, found.partitions, found.key_template, found.cursor_id, found.relay, found.consumer
    )
