"""A connection to the catalog: transactions, durability settings, and its errors in our words."""

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Semaphore

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    DisconnectionError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from versioned_io.catalog.read_only import FileState, connect_read_only, is_read_only, state_of
from versioned_io.catalog.tables import metadata
from versioned_io.errors import FormatError, InvalidInputError, StorageError

REVISION = "0002"
"""The newest migration that this version knows."""

CONNECT_TIMEOUT_S = 20
"""How long a PostgreSQL server may take to answer, for each of its addresses, unless the URL has a connect_timeout."""

# As Alembic makes it.
_VERSION_TABLE = """CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"""

BUSY_TIMEOUT_S = 60
"""How long a SQLite writer waits for the others before it gives up."""

_BUSY_POLL_S = 0.01
_TURN_POLL_S = (0.002, 0.02)
_PRIMARY_CODE = 0xFF
"""What of an error code of SQLite is its kind; the rest says more."""

_IDLE_S = 1.0
"""A connection that was used more recently is not asked whether it lives: that takes as long as a statement."""

_WRITERS = 8
"""How many threads may be in a writing transaction, or wait for their turn in one. Each may need a second connection to
read with, and the pool has 15: if waiting writers took them all, the one that they wait for could not go on."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """The catalog of one store, ready for use by several threads."""

    engine: Engine
    read_only: Path | None = None
    """The SQLite file, where it can't be written to."""

    _turns: Semaphore = field(default_factory=lambda: Semaphore(_WRITERS), repr=False, compare=False)

    @property
    def url(self) -> str:
        """The SQLAlchemy URL, without the password, nor the options, which may hold one too."""
        return self.engine.url.set(query={}).render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees one state of the catalog.

        Raises:
            StorageError: The catalog is out of reach or failed; nothing was changed, so try again.
        """
        with (
            _unchanged(self),
            _translated(self),
            self.engine.connect().execution_options(**self._one_state) as connection,
        ):
            yield connection

    @contextmanager
    def look_up(self) -> Iterator[Connection]:
        """Yield a connection for a single statement, or for several that need not see the same state.

        Raises:
            StorageError: As `read`.

        Cost: none beside the statements, where `read` has PostgreSQL begin and end a transaction.
        """
        if self.engine.dialect.name != "postgresql":
            with self.read() as connection:
                yield connection
            return
        with (
            _translated(self),
            self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection whose changes become durable together at the end, or not at all on an exception.

        On SQLite the write lock is taken at once, so what was read in here is still true when it ends.

        Raises:
            StorageError: The catalog is out of reach or failed. Whether the changes were made may be unknown
                when the failure came at the very end; look before trying again. Or it can't be written to by this user.
        """
        if self.read_only is not None:
            msg = f"the store can be read but not changed here: this user may not write to its catalog {self.url}"
            raise StorageError(msg)
        with (
            self._turns,
            _translated(self),
            self.engine.connect().execution_options(takes_write_lock=True) as connection,
            connection.begin(),
        ):
            yield connection

    @property
    def is_missing(self) -> bool:
        """Whether it is a SQLite file that is not there; connecting would make it."""
        database = self.engine.url.database
        return self.engine.dialect.name == "sqlite" and database is not None and not Path(database).exists()

    @property
    def _one_state(self) -> dict[str, str]:
        # PostgreSQL would show each statement a newer state; a transaction of SQLite always sees one.
        return {"isolation_level": "REPEATABLE READ"} if self.engine.dialect.name == "postgresql" else {}

    def close(self) -> None:
        """Close every idle connection, when the catalog is not needed any more; a later call opens new ones."""
        self.engine.dispose()


def connect_catalog(url: str | URL) -> Catalog:
    """Return the catalog at the SQLAlchemy URL *url*, without looking at what it holds.

    SQLite runs in WAL mode with ``synchronous=FULL``: a commit that was reported survives a loss of power. A SQLite
    file that this user can't write to is opened for reading only.

    Raises:
        InvalidInputError: *url* is no SQLAlchemy URL, or its driver is not installed (``pip install
            'versioned-io[postgres]'`` for PostgreSQL).
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database and is_read_only(Path(parsed.database)):
            return _connect_read_only(parsed, Path(parsed.database))
        engine = _create_sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _create_postgres(parsed)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
        # A module's name is safe to show; what can't be parsed may hold a password anywhere.
        reason = str(error) if isinstance(error, NoSuchModuleError | ModuleNotFoundError) else "it can't be parsed"
        msg = (
            f"{_without_password(str(url))!r} is no catalog URL that can be used here ({reason}); "
            f"use sqlite:///path or postgresql+psycopg://user@host/database, "
            "and install versioned-io[postgres] for the latter"
        )
        raise InvalidInputError(msg) from None
    return Catalog(engine)


def sqlite_url(path: Path) -> URL:
    """Return the SQLAlchemy URL of the SQLite file *path*; not as text, which could not hold every path."""
    return URL.create("sqlite", database=str(path))


def find_revision(catalog: Catalog) -> str | None:
    """Return the revision of the catalog's tables; None when it has none.

    Raises:
        StorageError: It is out of reach.
    """
    with catalog.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if found is None else str(found)


def check_revision(catalog: Catalog) -> bool:
    """Say whether the catalog has tables at all; they are then of the revision that this version needs.

    Raises:
        FormatError: It is of another revision; the message says what to run.
        StorageError: It is out of reach.
    """
    found = find_revision(catalog)
    if found is None:
        return False
    if found == REVISION:
        return True
    if found > REVISION:
        msg = f"the catalog {catalog.url} has revision {found}, this version knows {REVISION}: upgrade versioned-io"
    else:
        msg = f"the catalog {catalog.url} has revision {found}, this version needs {REVISION}: run `versioned upgrade`"
    raise FormatError(msg)


def migrate(catalog: Catalog) -> None:
    """Bring the catalog's tables to the newest revision; one that is there already is left as it is.

    A catalog without tables gets them as they are by now, which is what all migrations together would make; one with
    tables goes through the migrations that it lacks. Two processes may do so at once: on SQLite the second waits for
    the first, on PostgreSQL an advisory lock orders them.

    Cost: one transaction; where there are tables, the import of Alembic, about 0.2 s, the first time.
    """
    with catalog.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(7301872034)"))
        if inspect(connection).has_table("alembic_version"):
            run_migrations(connection)
        else:
            make_tables(connection)


def make_tables(connection: Connection) -> None:
    """Make the tables of the newest revision in an empty catalog. Cost: 1 statement for each table and index."""
    metadata.create_all(connection)
    connection.execute(text(_VERSION_TABLE))
    connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": REVISION})


def run_migrations(connection: Connection) -> None:
    """Run the migrations that a catalog lacks; all of them in an empty one. Cost: the import of Alembic, 0.2 s."""
    from alembic.command import upgrade
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    upgrade(config, "head")


def _create_sqlite(url: URL) -> Engine:
    if url.database in {None, "", ":memory:"}:
        msg = f"{url} would be forgotten at once: give the path of a file"
        raise ArgumentError(msg)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        # The driver must not begin transactions by itself: `begin` below does, and says which kind.
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

    return engine


def _take_turn(connection: Connection) -> None:
    """Begin a transaction that writes, once no other process does.

    SQLite's own waiting asks ever more seldom, in the end every 100 ms, so that who has waited long is overtaken by all
    who came just now. Here all ask alike.
    """
    cursor = connection.connection.cursor()
    give_up = time.monotonic() + BUSY_TIMEOUT_S
    try:
        cursor.execute("PRAGMA busy_timeout=0")
        while not _begins_to_write(cursor, give_up):
            time.sleep(random.uniform(*_TURN_POLL_S))  # noqa: S311 (spreads writers out, guards nothing)
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
    except sqlite3.Error as error:
        connection.invalidate(error)  # its timeout is not the usual one
        raise OperationalError("BEGIN IMMEDIATE", None, error) from error
    cursor.close()


def _begins_to_write(cursor: DBAPICursor, give_up: float) -> bool:
    try:
        cursor.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0)  # which only SQLite's own errors have
        if code & _PRIMARY_CODE != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
            raise
        return False
    return True


def _create_postgres(url: URL) -> Engine:
    """Return an engine that asks a connection whether it still lives, if it was idle: the server may be another one."""
    # A server that does not answer would be waited for as long as the system's TCP does, minutes.
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
            raise DisconnectionError from error  # the pool makes another one

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Put the file in WAL mode. While another connection writes a file that is new, SQLite refuses that at once."""
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


def _connect_read_only(url: URL, path: Path) -> Catalog:
    # A connection for each read: whether there is a log that must be read too may change in between.
    engine = create_engine(url, creator=lambda: connect_read_only(path, BUSY_TIMEOUT_S), poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return Catalog(engine, path)


@contextmanager
def _unchanged(catalog: Catalog) -> Iterator[None]:
    """Fail a read of a file, made without locks, that somebody may have written beside.

    Raises:
        StorageError: The file changed meanwhile; read again.
    """
    path = catalog.read_only
    if path is None:
        yield
        return
    before = _state(catalog.url, path)
    failure: StorageError | None = None
    try:
        yield
    except StorageError as error:
        failure = error  # what was read of two states at once may look like damage
    if _state(catalog.url, path) != before:
        msg = f"the catalog {catalog.url} was written to while it was read without the right to lock it: try again"
        raise StorageError(msg) from failure
    if failure is not None:
        raise failure


def _state(url: str, path: Path) -> FileState:
    try:
        return state_of(path)
    except OSError as error:
        msg = f"the catalog {url} failed: {error.strerror}"
        raise StorageError(msg) from error


@contextmanager
def _translated(catalog: Catalog) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        # The driver's own words only: SQLAlchemy's would repeat the statement and its parameters.
        msg = f"the catalog {catalog.url} failed: {' '.join(str(error.orig).split())}"
        raise StorageError(msg) from error
    except SQLAlchemyError as error:
        # Its first line only, for the same reason.
        msg = f"the catalog {catalog.url} failed: {str(error).partition(chr(10))[0]}"
        raise StorageError(msg) from error


def _without_password(url: str) -> str:
    if "://" not in url:
        return "..."  # such as a driver's host=... password=...
    address, question, _ = url.partition("?")
    scheme, separator, rest = address.partition("://")
    credentials, at, host = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    hidden = f"{user}:***" if colon else user
    return f"{scheme}{separator}{hidden}{at}{host}" + ("?..." if question else "")
