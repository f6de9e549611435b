"""Questions in plain SQL, asked by SQLAlchemy: in a transaction that writes, and of PostgreSQL."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, TextClause, bindparam, text


def run_text(connection: Connection, query: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
    """Return the rows that answer *query*; see `versioned_io.catalog.plain.rows`."""
    lists = tuple(name for name, value in values.items() if isinstance(value, list | tuple))
    statement = _statement(query, lists, connection.dialect.name)
    return [tuple(row) for row in connection.execute(statement, values)]


@lru_cache(maxsize=256)
def _statement(query: str, lists: tuple[str, ...], dialect: str) -> TextClause:
    if dialect == "postgresql":
        query = query.replace("group_concat(", "string_agg(")
    return text(query).bindparams(*(bindparam(name, expanding=True) for name in lists))
