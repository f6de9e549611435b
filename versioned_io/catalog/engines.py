"""Engines for SQLite and PostgreSQL: durability, waiting for the write lock, and checks of idle connections."""

import random
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import (
    ArgumentError,
    DisconnectionError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from versioned_io.catalog.plain import BUSY_TIMEOUT_S
from versioned_io.catalog.read_only import connect_read_only
from versioned_io.catalog.sqlite_file import follow_file
from versioned_io.errors import InvalidInputError
from versioned_io.platform.file_modes import file_mode, make_file, mode_like

CONNECT_TIMEOUT_S = 20
"""The timeout for connecting to each address of a PostgreSQL server, unless the URL has a connect_timeout."""

_BUSY_POLL_S = 0.01
_TURN_POLL_S = (0.002, 0.02)
_PRIMARY_CODE = 0xFF
"""The bits of an SQLite error code that give its kind; the other bits give details."""

_IDLE_S = 1.0
"""A connection that was used more recently is not checked, since a check takes as long as a statement."""


def sqlite_url(path: Path) -> URL:
    """Return the SQLAlchemy URL of the SQLite file *path*, as an object, since text can't hold every path."""
    return URL.create("sqlite", database=str(path))


def parse_url(url: str | URL) -> URL:
    """Return the SQLAlchemy URL *url*.

    Raises:
        InvalidInputError: It is not one, or its kind of database is not known.
    """
    try:
        parsed = make_url(url)
        parsed.get_backend_name()
    except (ArgumentError, ValueError):
        raise _refusal(url) from None
    else:
        return parsed


def engine_of(url: URL | None, file: Path | None, *, is_read_only: bool, is_there: bool) -> Engine:
    """Return the engine for a catalog.

    Args:
        url: Where it is; None for the SQLite file *file*.
        is_there: Whether that file was there when this process used it before, so that it must not be created.

    Raises:
        InvalidInputError: The URL names no file, or its driver is not installed (``pip install
            'versioned-io[postgres]'`` for PostgreSQL).
    """
    url = sqlite_url(Path(str(file))) if url is None else url
    try:
        if file is not None and is_read_only:
            return _create_read_only(url, file)
        return create_postgres(url) if file is None else create_sqlite(url, is_there=is_there)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
        raise _refusal(url, error) from None


def _refusal(url: str | URL, error: Exception | None = None) -> InvalidInputError:
    # The name of a module is safe to show. A URL that can't be parsed may hold a password anywhere.
    reason = str(error) if isinstance(error, NoSuchModuleError | ModuleNotFoundError) else "it can't be parsed"
    return InvalidInputError(
        f"{_without_password(str(url))!r} is not a usable catalog URL ({reason}); "
        f"use sqlite:///path or postgresql+psycopg://user@host/database, "
        "and install versioned-io[postgres] for the latter"
    )


def _create_read_only(url: URL, path: Path) -> Engine:
    # A connection for each read: whether there is a log that must be read too may change in between.
    engine = create_engine(url, creator=lambda: connect_read_only(path, BUSY_TIMEOUT_S), poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def create_sqlite(url: URL, *, is_there: bool) -> Engine:
    """Return an engine whose transactions are durable and wait for each other.

    Raises:
        ArgumentError: The URL has no file. Give a path.
    """
    if url.database in {None, "", ":memory:"}:
        msg = f"{url} is in memory, and would be lost at once: give the path of a file"
        raise ArgumentError(msg)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})

    @event.listens_for(engine, "do_connect", once=True)
    def make(_dialect: object, _record: object, _arguments: object, _options: object) -> None:
        # SQLite creates its file with the umask's mode, and its other files with the same mode. If the file can't be
        # created here, SQLite raises the error.
        if url.database and not url.database.startswith("file:") and not is_there:
            with suppress(OSError):
                path = Path(url.database)
                make_file(path, file_mode(mode_like(path.parent)))

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        # The driver must not begin transactions by itself: `begin` below does, with the right kind.
        connection.isolation_level = None
        _use_wal(connection)
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("takes_write_lock", False):
            _take_turn(connection)
        else:
            connection.exec_driver_sql("BEGIN")

    follow_file(engine, is_there=is_there)
    return engine


def _take_turn(connection: Connection) -> None:
    """Begin a writing transaction as soon as no other process writes.

    SQLite's busy handler backs off to 100 ms, so long waiters lose to newcomers. Here all waiters poll at the same
    rate.
    """
    cursor = connection.connection.cursor()
    give_up = time.monotonic() + BUSY_TIMEOUT_S
    try:
        cursor.execute("PRAGMA busy_timeout=0")
        while not _begins_to_write(cursor, give_up):
            time.sleep(random.uniform(*_TURN_POLL_S))  # noqa: S311 (spreads writers out, guards nothing)
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
    except sqlite3.Error as error:
        cursor.close()  # an unread statement keeps the write lock after the connection is closed
        connection.invalidate(error)  # its busy timeout was changed
        raise OperationalError("BEGIN IMMEDIATE", None, error) from error
    cursor.close()


def _begins_to_write(cursor: DBAPICursor, give_up: float) -> bool:
    try:
        cursor.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0)  # only SQLite's own errors have a code
        if code & _PRIMARY_CODE != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
            raise
        return False
    return True


def create_postgres(url: URL) -> Engine:
    """Return an engine that checks idle connections before use, since the server may have been restarted."""
    # Without a timeout a connection to a server that does not answer takes as long as TCP's own: minutes.
    waits = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_TIMEOUT_S}
    engine = create_engine(url, connect_args=waits)

    @event.listens_for(engine, "connect")
    @event.listens_for(engine, "checkin")
    def note_use(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ask(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        if time.monotonic() - record.info["used_at"] < _IDLE_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error  # the pool opens another connection

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Set the file to WAL mode, and retry: SQLite refuses at once while another connection writes a new file."""
    give_up = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(_BUSY_POLL_S)
        else:
            return


def _without_password(url: str) -> str:
    if "://" not in url:
        return "..."  # such as a driver's host=... password=...
    address, question, _ = url.partition("?")
    scheme, separator, rest = address.partition("://")
    credentials, at, host = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    hidden = f"{user}:***" if colon else user
    return f"{scheme}{separator}{hidden}{at}{host}" + ("?..." if question else "")
