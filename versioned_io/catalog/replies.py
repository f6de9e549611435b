"""The outcome of a COMMIT whose reply was lost, queried in a way that the query can't overtake the COMMIT.

Source: docs/design/0002-commit-protocol.md, "A reply that was lost".
"""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

SETTLE_TIMEOUT_S: Final = 60.0
"""How long to wait for a COMMIT that is still in progress on the server."""

REACH_TIMEOUT_S: Final = 5.0
"""How long to retry when the catalog does not answer."""

_PAUSE_S: Final = 0.05
_EVIDENCE: Final = "evidence"
_PRIMARY_CODE: Final = 0xFF
_LOCK_NOT_AVAILABLE: Final = "55P03"
_STILL_UNDER_WAY: Final = "and the server was still at it a minute later"
_OWN_STATE: Final = text("SELECT pg_current_xact_id_if_assigned()::text, pg_postmaster_start_time()")
_STATE_OF: Final = text("SELECT pg_xact_status(CAST(:id AS xid8)), pg_postmaster_start_time()")


class OutcomeNotFoundError(Exception):
    """The catalog could not tell whether the transaction was committed. Args: the reason."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A test for whether a transaction was committed.

    Attributes:
        look: A function that returns whether it was, on another connection that may write.
        waits: Whether *look* first requests a lock that the transaction holds until its end, so that it can't run too
            early. Otherwise PostgreSQL is asked for the state of the transaction itself.
    """

    look: Callable[[Connection], bool]
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """A transaction that is about to be committed, and the facts for finding its outcome afterwards.

    Attributes:
        evidence: The test that the transaction's writer noted, if any.
        transaction: PostgreSQL's ID of the transaction; None if it is not needed, or if nothing was written.
        server_since: The start time of the server. A restarted server doesn't know the transaction.
    """

    evidence: Evidence | None
    transaction: str | None = None
    server_since: datetime | None = None


def note_evidence(connection: Connection, evidence: Evidence) -> None:
    """Set the test for the outcome of this connection's open transaction, in case the reply to its COMMIT is lost."""
    connection.info[_EVIDENCE] = evidence


def forget_evidence(connection: Connection) -> None:
    """Delete the test of an earlier transaction."""
    connection.info.pop(_EVIDENCE, None)


def about_to_commit(connection: Connection) -> Pending:
    """Return the facts for finding the open transaction's outcome later.

    Cost: 1 SELECT on PostgreSQL; none with evidence that waits.
    """
    evidence: Evidence | None = connection.info.pop(_EVIDENCE, None)
    if connection.dialect.name != "postgresql" or (evidence is not None and evidence.waits):
        return Pending(evidence)
    transaction, since = connection.execute(_OWN_STATE).one()
    return Pending(evidence, transaction, since)


def was_refused(error: DBAPIError) -> bool:
    """Return whether the database reports that it did not commit; after any other error the outcome is open."""
    if isinstance(error.orig, sqlite3.Error):
        code: int | None = getattr(error.orig, "sqlite_errorcode", None)
        return code is not None and code & _PRIMARY_CODE != sqlite3.SQLITE_IOERR
    state: str | None = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    # In classes 08 and 57 the connection or the server ended, possibly after the COMMIT.
    return state is not None and not error.connection_invalidated and state[:2] not in {"08", "57"}


def was_committed(engine: Engine, pending: Pending) -> bool:
    """Wait until the transaction has ended, and return whether it was committed.

    Raises:
        OutcomeNotFoundError: The catalog is unreachable, or the transaction has not ended within a minute.

    Cost: 1 SQL transaction, and 1 SELECT every 50 ms while the COMMIT is in progress.
    """
    give_up = time.monotonic() + REACH_TIMEOUT_S
    while True:
        try:
            return _ask(engine, pending)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
                raise OutcomeNotFoundError(_STILL_UNDER_WAY) from error
            # Retried, since the pool may hold more connections that the same event has cut.
            if engine.dialect.name != "postgresql" or time.monotonic() > give_up:
                raise OutcomeNotFoundError("it can't be asked now") from error
        time.sleep(_PAUSE_S)


def _ask(engine: Engine, pending: Pending) -> bool:
    if engine.dialect.name == "postgresql" and (pending.evidence is None or not pending.evidence.waits):
        return _ask_for_state(engine, pending)
    if pending.evidence is None:
        raise OutcomeNotFoundError("SQLite does not tell")
    return _look(engine, pending.evidence)


def _look(engine: Engine, evidence: Evidence) -> bool:
    with engine.connect().execution_options(takes_write_lock=True) as connection, connection.begin() as transaction:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL lock_timeout = '{SETTLE_TIMEOUT_S:.0f}s'"))
        found = evidence.look(connection)
        transaction.rollback()
    return found


def _ask_for_state(engine: Engine, pending: Pending) -> bool:
    if pending.transaction is None:
        return True  # nothing was written in it
    give_up = time.monotonic() + SETTLE_TIMEOUT_S
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while True:
            state, since = _state_of(connection, pending.transaction)
            if since != pending.server_since:
                break  # the transaction ended with its server, and its ID may have been reused
            if state != "in progress":
                return bool(state == "committed")
            if time.monotonic() > give_up:
                raise OutcomeNotFoundError(_STILL_UNDER_WAY)
            time.sleep(_PAUSE_S)
    if pending.evidence is None:
        raise OutcomeNotFoundError("its server was restarted")
    return _look(engine, pending.evidence)


def _state_of(connection: Connection, transaction: str) -> tuple[Any, Any]:
    state, since = connection.execute(_STATE_OF, {"id": transaction}).one()
    return state, since
