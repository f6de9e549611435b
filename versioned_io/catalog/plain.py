"""Questions in plain SQL: SQLite answers them by its driver alone, so a command that only reads loads no SQLAlchemy."""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote

from versioned_io.catalog.read_only import connect_read_only
from versioned_io.errors import IntegrityError
from versioned_io.platform.process import new_lock

if TYPE_CHECKING:
    from sqlalchemy import Connection

BUSY_TIMEOUT_S: Final = 60
"""How long SQLite waits for another process before it gives up."""

_LEAST_FREE: Final = 256 * 1024
"""With less space on the disk, a SQLite error of reading or writing is put down to that; its log grows by 32 KiB."""

Values: TypeAlias = Mapping[str, object]


class PlainConnection:
    """A connection to a SQLite file, in a transaction that reads."""

    __slots__ = ("_raw",)

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    def execute(self, query: str, values: "Values | tuple[object, ...]") -> list[tuple[Any, ...]]:
        """Return the rows that answer *query*, with values by name or by position; a list only by name.

        Raises:
            sqlite3.Error: The driver's.
        """
        if isinstance(values, tuple):
            return self._raw.execute(query, values).fetchall()
        flat: dict[str, object] = {}
        for name, value in values.items():
            if isinstance(value, list | tuple):
                each = {f"{name}_{number}": one for number, one in enumerate(value)}
                query = query.replace(f":{name}", f"({', '.join(f':{one}' for one in each)})")
                flat |= each
            else:
                flat[name] = value
        return self._raw.execute(query, flat).fetchall()


AnyConnection: TypeAlias = "Connection | PlainConnection"
"""A connection that answers questions in plain SQL."""


def rows(connection: AnyConnection, query: str, /, **values: object) -> list[tuple[Any, ...]]:
    """Return the rows that answer *query*, with values as the driver gives them.

    Args:
        query: SQL that SQLite and PostgreSQL share, with ``:name`` for a value and ``IN :names`` for a list. For
            PostgreSQL, ``group_concat`` becomes ``string_agg``.

    Raises:
        StorageError: The catalog failed; in the block that gave *connection*.

    Cost: 1 SELECT.
    """
    if isinstance(connection, PlainConnection):
        return connection.execute(query, values)
    from versioned_io.catalog.texts import run_text

    return run_text(connection, query, values)


class PlainConnections:
    """Connections to a SQLite file that is there, for any number of threads; none makes the file, or writes to it.

    Args:
        is_read_only: Whether this user can't write to the file.
    """

    def __init__(self, path: Path, *, is_read_only: bool) -> None:
        self._path = path
        self._place = os.path.abspath(path)  # noqa: PTH100 (Path.resolve would follow links once and for all)
        self._is_read_only = is_read_only
        self._lock = new_lock()
        self._idle: list[tuple[tuple[int, int] | None, sqlite3.Connection]] = []
        self.were_used = False

    @contextmanager
    def connect(self) -> Iterator[PlainConnection]:
        """Yield a connection that sees one state of the file.

        Raises:
            sqlite3.Error: The driver's.
        """
        identity, raw = self._take()
        is_usable = False
        try:
            raw.execute("BEGIN")
            yield PlainConnection(raw)
            is_usable = not self._is_read_only
        finally:
            try:
                raw.rollback()
            except sqlite3.Error:
                is_usable = False
                raise
            finally:
                self._give_back(identity, raw, is_usable=is_usable)

    def close_idle(self) -> None:
        """Close what nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, raw in idle:
            raw.close()

    def abandon(self) -> None:
        """Forget what is another process's, without closing it."""
        self._idle = []

    def _take(self) -> tuple[tuple[int, int] | None, sqlite3.Connection]:
        self.were_used = True
        identity = identity_of(self._place)
        while True:
            with self._lock:
                found = self._idle.pop() if self._idle else None
            if found is None:
                return identity, self._open()
            if found[0] == identity:
                return found
            found[1].close()  # to a file that was replaced

    def _give_back(self, identity: tuple[int, int] | None, raw: sqlite3.Connection, *, is_usable: bool) -> None:
        if is_usable:
            with self._lock:
                self._idle.append((identity, raw))
        else:
            raw.close()

    def _open(self) -> sqlite3.Connection:
        if self._is_read_only:
            # A connection for each read: whether there is a log that must be read too may change in between.
            raw = connect_read_only(self._path, BUSY_TIMEOUT_S)
        else:
            place = f"file:{quote(self._place)}?mode=rw"
            raw = sqlite3.connect(place, uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        raw.isolation_level = None
        try:
            if not self._is_read_only:
                # The last connection that is closed copies the log into the file, also that of other writers.
                raw.execute("PRAGMA synchronous=FULL").close()
        except BaseException:
            raw.close()
            raise
        return raw


def identity_of(place: str) -> tuple[int, int] | None:
    """Return what tells the file at *place* from one that replaces it; None where there is none."""
    try:
        status = os.stat(place)  # noqa: PTH116 (each transaction asks)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def one_row(found: Sequence[tuple[Any, ...]]) -> tuple[Any, ...] | None:
    """Return the only row of an answer, if it has one."""
    return found[0] if found else None


def only_row(found: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return the only row of an answer that must have one.

    Raises:
        IntegrityError: A row is missing that another one leads to. Run fsck.
    """
    if not found:
        msg = "a row of the catalog is missing that another one leads to; run fsck"
        raise IntegrityError(msg)
    return found[0]


def about_full_disk(error: BaseException | None, database: str | None) -> str:
    """Return what to add to the message of a database error when the disk is full, which SQLite often does not say.

    SQLite says "disk I/O error" when it can't make the files beside the catalog larger.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return "; free some space and try again"
    if code not in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN} or not database:
        return ""
    try:
        status = os.statvfs(os.path.dirname(os.path.abspath(database)))  # noqa: PTH100, PTH120 (as in `PlainConnections`)
    except OSError:
        return ""
    is_full = status.f_bavail * status.f_frsize < _LEAST_FREE or (status.f_files and not status.f_favail)
    return ": the disk is full; free some space and try again" if is_full else ""
