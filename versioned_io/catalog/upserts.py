"""INSERT statements that know ON CONFLICT, which each dialect spells in a class of its own."""

from typing import TYPE_CHECKING, Union

from sqlalchemy import Connection, Table

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite


def upsert(connection: Connection, table: Table) -> Union["postgresql.Insert", "sqlite.Insert"]:
    """Return an INSERT into *table* for the connection's dialect; the caller adds what happens on a conflict.

    Loads only that dialect: PostgreSQL's takes about 50 ms, which a process that writes to SQLite would waste.
    """
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
