"""Row keys that are never reused. By itself SQLite reuses the highest key after its row is deleted.

Source: docs/design/0002-commit-protocol.md, "The same branch".
"""

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects import sqlite

from versioned_io.catalog.tables import properties


def reserve_id(connection: Connection, table: Table) -> dict[str, int]:
    """Return the key of the next row of *table* as a value to insert; empty for PostgreSQL, which never reuses keys.

    So work that refers to a deleted row, such as a transaction on a deleted branch, finds no row with its key.

    Cost: on SQLite 2 SELECTs and 1 INSERT.
    """
    if connection.dialect.name != "sqlite":
        return {}
    name = f"last {table.name} id"
    last = connection.execute(select(properties.c.value).where(properties.c.name == name)).scalar()
    highest = connection.execute(select(func.max(table.c.id))).scalar()
    new = max(int(last or 0), highest or 0) + 1
    row = sqlite.insert(properties).values(name=name, value=str(new))
    connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": str(new)}))
    return {"id": new}
