"""Retry keys: a transaction that is tried again finds what its first try committed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError as DuplicateRowError

from versioned_io.catalog.tables import idempotency_keys
from versioned_io.errors import ExistsError, InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.identifiers import CommitId

LONGEST_KEY = 250


@dataclass(frozen=True, slots=True)
class FirstTry:
    """What the transaction that used the key first left on one branch."""

    commit: CommitId | None
    changed: bool


def parse_key(key: str | None) -> str | None:
    """Return *key* if it can be kept.

    Raises:
        InvalidInputError: It is empty, longer than `LONGEST_KEY` or no plain text.
    """
    if key is not None and (not isinstance(key, str) or not 0 < len(key) <= LONGEST_KEY or not key.isprintable()):
        msg = f"{quoted(key)} is no idempotency key: it must be 1 to {LONGEST_KEY} printable characters"
        raise InvalidInputError(msg)
    return key


def find_first_try(connection: Connection, key: str) -> dict[str, FirstTry] | None:
    """Return what the transaction that used *key* first left, by ``repo@branch``; None when nobody has used it.

    Cost: 1 SELECT.
    """
    text = connection.execute(
        select(idempotency_keys.c.commits).where(idempotency_keys.c.key == key)
    ).scalar_one_or_none()
    return None if text is None else {ref: FirstTry(**fields) for ref, fields in json.loads(text).items()}


def insert_key(connection: Connection, key: str, left: Mapping[str, FirstTry], now: datetime) -> None:
    """Note what the transaction with *key* leaves.

    Raises:
        ExistsError: Another try was faster; `find_first_try` says what it left.

    Cost: 1 INSERT.
    """
    text = json.dumps({ref: {"commit": one.commit, "changed": one.changed} for ref, one in left.items()})
    try:
        with connection.begin_nested():
            connection.execute(insert(idempotency_keys).values(key=key, commits=text, created_at=now))
    except DuplicateRowError:
        raise ExistsError("idempotency key", key) from None
