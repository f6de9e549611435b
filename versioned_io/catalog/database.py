"""The database of a catalog: SQLAlchemy's engine, made when it is first needed, and plain connections until then."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from versioned_io.catalog.forking import ConnectionGate
from versioned_io.catalog.plain import PlainConnections
from versioned_io.catalog.read_only import is_read_only
from versioned_io.platform.process import HomeProcess, new_lock

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

_WRITERS: Final = 8
"""How many threads may be in a writing transaction, or wait for one. Each may need a second connection, to read with,
and the pool has 15. If waiting writers took them all, the writer that they wait for could not go on."""

_PLAIN_URL: Final = re.compile(r"sqlite:///([\w/.~+-]+)", re.ASCII)
"""A URL that is nothing but the path of a file, in characters that no version of SQLAlchemy quotes."""


class Database:
    """The way to one catalog's database, for any number of threads.

    Attributes:
        file: Of SQLite, its file.
        is_read_only: Whether this user can't write to that file.
        gate: The gate that each use of a connection passes.
    """

    def __init__(self, url: URL | None, file: Path | None, home: HomeProcess | None) -> None:
        self._url = url
        self.file = file
        self.is_read_only = file is not None and is_read_only(file)
        self._lock = new_lock()
        self._engine: Engine | None = None
        self._plain = None if file is None else PlainConnections(file, is_read_only=self.is_read_only)
        self.gate = ConnectionGate(self, writers=_WRITERS, home=None if self.is_read_only else home)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite; else it is PostgreSQL."""
        return self.file is not None

    @property
    def shown_url(self) -> str:
        """The SQLAlchemy URL, without the password, nor the options, which may hold one too."""
        if self._url is not None:
            return self._url.set(query={}).render_as_string(hide_password=True)
        text = f"sqlite:///{self.file}"
        if _PLAIN_URL.fullmatch(text):
            return text
        from versioned_io.catalog.engines import sqlite_url

        return sqlite_url(Path(str(self.file))).render_as_string()

    @property
    def plain(self) -> PlainConnections | None:
        """Connections without SQLAlchemy: of SQLite, until there is an engine, whose pool serves everything then."""
        return self._plain if self._engine is None else None

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine. Cost: its import, a third of a second, the first time."""
        if self._engine is None:
            from versioned_io.catalog.engines import engine_of

            with self._lock:
                if self._engine is None:
                    # A file that a plain connection has opened must not be created by a later connection.
                    is_there = self._plain is not None and self._plain.were_used
                    made = engine_of(self._url, self.file, is_read_only=self.is_read_only, is_there=is_there)
                    self._engine = made
            if self._plain is not None:
                self._plain.close_idle()
        return self._engine

    def close(self) -> None:
        """Close every idle connection; a later use opens new ones."""
        if self._plain is not None:
            self._plain.close_idle()
        if self._engine is not None:
            self._engine.dispose()

    def close_idle(self) -> None:
        """Close every idle connection, and have those in use come back to where they were taken from."""
        if self._plain is not None:
            self._plain.close_idle()
        if self._engine is not None:
            # Not the engine's `dispose`: it creates a new pool, while connections in use return to this one.
            self._engine.pool.dispose()

    def abandon(self) -> None:
        """Forget every connection without closing it: they are the parent's of this process."""
        if self._plain is not None:
            self._plain.abandon()
        if self._engine is not None:
            self._engine.dispose(close=False)


def plain_file(url: object) -> Path | None:
    """Return the SQLite file of a URL that is nothing but its path; None for any other."""
    found = _PLAIN_URL.fullmatch(url) if isinstance(url, str) else None
    return None if found is None else Path(found[1])


def database_of(url: str | Path | URL, home: HomeProcess | None) -> Database:
    """Return the way to the database at *url*. A relative path of a file becomes absolute now.

    Raises:
        InvalidInputError: It is not a SQLAlchemy URL, or its driver is not installed.

    Cost: the import of SQLAlchemy where *url* is more than the path of a SQLite file.
    """
    # Connections are made whenever they are needed, and the process may be in another directory by then.
    if isinstance(url, Path):
        return Database(None, url.absolute(), home)
    if (file := plain_file(url)) is not None:
        return Database(None, file.absolute(), home)
    from versioned_io.catalog.engines import parse_url

    parsed = parse_url(url)
    is_file = parsed.get_backend_name() == "sqlite"
    if is_file and parsed.database and not parsed.database.startswith((":memory:", "file:")):
        parsed = parsed.set(database=str(Path(parsed.database).absolute()))
    made = Database(parsed, Path(parsed.database or "") if is_file else None, home)
    _ = made.engine  # now, since a driver may be missing, and an option say more than the path
    return made
