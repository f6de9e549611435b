"""A catalog that is set back to what it was, as a restore of its own backup does; for SQLite and PostgreSQL."""

from contextlib import contextmanager

from sqlalchemy import insert, select, text

import versioned_io as vio
from versioned_io.catalog.tables import metadata
from versioned_io.model.beacons import BEACON_PREFIX

OPENED = []
"""The stores that were opened here; `conftest.py` closes them after each test."""


def rows_of(store):
    """Return every row of the catalog."""
    with store._backend.catalog.read() as connection:
        return {
            table.name: [dict(row._mapping) for row in connection.execute(select(table))]
            for table in metadata.sorted_tables
        }


@contextmanager
def raw_writing(store):
    """Yield a connection that writes to the catalog past the library, as a DBA does."""
    engine = store._backend.catalog.engine
    with engine.connect() as connection, connection.begin():
        yield connection


def put_back(store, rows, **options):
    """Make the catalog hold exactly *rows*, and return the store as another process opens it then.

    What tells of newer states outside of the packs is taken away, too.
    """
    with raw_writing(store) as connection:
        is_served = connection.dialect.name == "postgresql"
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
        for table in metadata.sorted_tables:
            ordered = rows[table.name]
            if table.name == "commits":
                ordered = sorted(ordered, key=lambda row: row["number"])
            if table.name == "segments":
                ordered = sorted(ordered, key=lambda row: row["id"])
            for row in ordered:
                connection.execute(insert(table).values(**row))
        if is_served:
            for table in ("repos", "segments", "branches", "journal", "subscriptions"):
                column = "sequence" if table == "journal" else "id"
                connection.execute(
                    text(
                        f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'),"
                        f" (SELECT coalesce(max({column}), 1) FROM {table}))"
                    )
                )
    return without_beacons(store, **options)


def without_beacons(store, **options):
    """Return the store as another process opens it, without the beacons: so the packs must tell."""
    store.close()
    objects = store._backend.objects
    names = objects.names(BEACON_PREFIX)
    objects.delete([f"{BEACON_PREFIX}{name}" for name in names if "owner" not in name])
    catalog = store._backend.catalog.engine.url.render_as_string(hide_password=False)
    OPENED.append(vio.open_store(store.url, catalog=catalog, **options))
    return OPENED[-1]


def packs_in(store):
    """Return the names of all packs that are there."""
    return {info.key for info in store._backend.objects.list("packs/")}
