"""Idempotency keys: a retried transaction finds the commits of its first try."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select, update

from versioned_io.catalog.tables import idempotency_keys
from versioned_io.catalog.upserts import upsert
from versioned_io.errors import ExistsError, IntegrityError
from versioned_io.model.identifiers import CommitId
from versioned_io.model.refs import BranchRef

LIFETIME = timedelta(days=30)
"""How long a key is kept: longer than any orchestrator retries. Garbage collection deletes older keys."""


@dataclass(frozen=True, slots=True)
class FirstTry:
    """The result on one branch of the first transaction that used a key."""

    commit: CommitId | None
    changed: bool


def expire_keys(connection: Connection, now: datetime) -> int:
    """Delete the keys that are older than `LIFETIME`; return how many. Cost: 1 DELETE."""
    old = delete(idempotency_keys).where(idempotency_keys.c.created_at < now - LIFETIME)
    return len(connection.execute(old.returning(idempotency_keys.c.key)).all())


def find_first_try(connection: Connection, key: str) -> dict[str, FirstTry] | None:
    """Return the result of the first transaction with *key*, by ``repo@branch``; None if the key is unused.

    Cost: 1 SELECT.
    """
    text = connection.execute(
        select(idempotency_keys.c.commits).where(idempotency_keys.c.key == key)
    ).scalar_one_or_none()
    return None if text is None else parse_first_try(key, text)


def parse_first_try(key: str, text: str) -> dict[str, FirstTry]:
    """Return the first result from *text*, the catalog's row for *key*, by ``repo@branch``.

    Raises:
        IntegrityError: The row is malformed. Run fsck.
    """
    try:
        return {ref: FirstTry(**fields) for ref, fields in json.loads(text).items()}
    except (TypeError, ValueError, AttributeError) as error:
        msg = f"the catalog's row of the idempotency key {key!r} is malformed ({error}); run fsck"
        raise IntegrityError(msg) from error


def insert_key(connection: Connection, key: str, left: Mapping[str, FirstTry], now: datetime) -> None:
    """Insert the result of the transaction with *key*.

    Raises:
        ExistsError: Another try was faster. Get its result with `find_first_try`.

    Cost: 1 INSERT.
    """
    row = {"key": key, "commits": _encode(left), "created_at": now}
    entered = upsert(connection, idempotency_keys).on_conflict_do_nothing().returning(idempotency_keys.c.key)
    if connection.execute(entered, row).first() is None:
        raise ExistsError("idempotency key", key)


def rename_repo_in_keys(connection: Connection, old: str, new: str) -> None:
    """Rename the repo *old* to *new* in the keys' results. Cost: 1 SELECT, and 1 UPDATE for each key."""
    _rename_in_keys(
        connection,
        f'"{old}@',
        lambda ref: f"{new}@{ref[len(old) + 1 :]}" if ref.startswith(f"{old}@") else ref,
    )


def rename_branch_in_keys(connection: Connection, old: BranchRef, new: BranchRef) -> None:
    """Rename the branch *old* to *new* in the keys' results. Cost: 1 SELECT, and 1 UPDATE for each key."""
    _rename_in_keys(connection, f'"{old}"', lambda ref: str(new) if ref == str(old) else ref)


def _rename_in_keys(connection: Connection, part: str, rename: Callable[[str], str]) -> None:
    query = select(idempotency_keys.c.key, idempotency_keys.c.commits)
    for row in connection.execute(query.where(idempotency_keys.c.commits.contains(part, autoescape=True))).all():
        left = parse_first_try(row.key, row.commits)
        text = _encode({rename(ref): one for ref, one in left.items()})
        connection.execute(update(idempotency_keys).where(idempotency_keys.c.key == row.key).values(commits=text))


def _encode(left: Mapping[str, FirstTry]) -> str:
    return json.dumps({ref: {"commit": one.commit, "changed": one.changed} for ref, one in left.items()})
