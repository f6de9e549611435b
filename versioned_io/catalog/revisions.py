"""The revision of a catalog's tables, and migrations to the newest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from versioned_io.catalog.connect import Catalog
from versioned_io.catalog.plain import PlainConnection, one_row, rows
from versioned_io.errors import (
    FormatError,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from versioned_io.catalog.plain import AnyConnection

REVISION = "0013"
"""The newest migration that this version knows."""
# The same statement as Alembic's.
_VERSION_TABLE = """CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"""


_compiled_definitions: dict[str, tuple[str, ...]] = {}
"""The results of `_definitions`, by the name of the dialect."""


def find_revision(catalog: Catalog) -> str | None:
    """Return the revision of the catalog's tables, or None without tables.

    Raises:
        StorageError: The catalog is unreachable. Try again.
    """
    with catalog.ask() as connection:
        if not _has_revision(connection):
            return None
        found = one_row(rows(connection, "SELECT version_num FROM alembic_version"))
    return None if found is None else str(found[0])


def _has_revision(connection: AnyConnection) -> bool:
    """Return whether there is a table with the revision."""
    if isinstance(connection, PlainConnection):
        return bool(rows(connection, "PRAGMA table_info(alembic_version)"))
    from sqlalchemy import inspect

    return inspect(connection).has_table("alembic_version")


def check_revision(catalog: Catalog) -> bool:
    """Return whether the catalog has tables; raise unless they are of the revision that this version needs.

    Raises:
        FormatError: The tables are of another revision. The message says what to run.
        StorageError: The catalog is unreachable. Try again.
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
    """Migrate the catalog's tables to the newest revision, if they aren't yet.

    A catalog without tables gets the newest tables directly; all migrations together would give the same. For a catalog
    with tables the missing migrations run. Two processes may migrate at once: on SQLite the second waits for the first,
    and on PostgreSQL an advisory lock orders them.

    Cost: 1 transaction; for a catalog with tables also the import of Alembic, about 0.2 s the first time.
    """
    with catalog.write() as connection:
        migrate_within(connection)


def migrate_within(connection: Connection) -> None:
    """Migrate as `migrate` does, in the transaction of *connection*."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy import text

        connection.execute(text("SELECT pg_advisory_xact_lock(7301872034)"))
    if _has_revision(connection):
        run_migrations(connection)
    else:
        make_tables(connection)


def make_tables(connection: Connection) -> None:
    """Create the tables of the newest revision in an empty catalog. Cost: 1 statement for each table and index."""
    from sqlalchemy import text

    for statement in _definitions(connection.engine):
        connection.exec_driver_sql(statement)
    connection.execute(text(_VERSION_TABLE))
    connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": REVISION})


def _definitions(engine: Engine) -> tuple[str, ...]:
    """Return the statements that create all tables and indexes; compiling them takes longer than running them."""
    from sqlalchemy import create_mock_engine

    from versioned_io.catalog.tables import tables_for

    dialect = engine.dialect
    if dialect.name not in _compiled_definitions:
        found: list[str] = []
        noting = create_mock_engine(engine.url, lambda ddl, *_, **__: found.append(str(ddl.compile(dialect=dialect))))
        tables_for(dialect.name).create_all(noting, checkfirst=False)
        _compiled_definitions[dialect.name] = tuple(found)
    return _compiled_definitions[dialect.name]


def make_tables_of(connection: Connection, revision: str) -> None:
    """Create the tables of a revision in an empty catalog; existing tables stay unchanged.

    Cost: that of `make_tables`; for an older revision that of `run_migrations`.
    """
    if _has_revision(connection):
        return
    if revision == REVISION:
        make_tables(connection)
    else:
        run_migrations(connection, to=revision)


def run_migrations(connection: Connection, *, to: str = "head") -> None:
    """Run the migrations that a catalog lacks; all of them for an empty one. Cost: the import of Alembic, 0.2 s."""
    from alembic.command import upgrade
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    upgrade(config, to)
