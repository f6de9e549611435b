"""What the suites of the core share: the whole state of a store as a value, and a store with something in it."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from sqlalchemy import event, select

from tests.versioned_io.older_catalogs import OPENED
from versioned_io.catalog.tables import metadata

# How long one example takes says nothing on a machine with other work.
settings.register_profile("core", deadline=None)
settings.load_profile("core")


@pytest.fixture(autouse=True)
def _close_stores_of_older_catalogs():
    """Close what `older_catalogs` opened."""
    yield
    while OPENED:
        OPENED.pop().close()


def dump_store(store, *, without=()):
    """Return all that the catalog holds and the names of all packs: equal dumps, nothing was changed.

    Tables and columns in *without* are left out, such as "damages" or "packs.mark_epoch".
    """
    backend = store._backend
    with backend.catalog.read() as connection:
        tables = {
            table.name: sorted(
                repr(row)
                for row in connection.execute(
                    select(*(one for one in table.columns if f"{table.name}.{one.name}" not in without))
                )
            )
            for table in metadata.sorted_tables
            if table.name not in without
        }
    return tables, sorted(item.key for item in backend.objects.list("packs/"))


@pytest.fixture
def dump():
    return dump_store


@pytest.fixture
def count_statements():
    """A context manager that yields the list of SQL statements that a store's catalog executes inside of it."""

    @contextmanager
    def count(store):
        statements = []

        def note(connection, cursor, statement, *_):
            if statement != "BEGIN":
                statements.append(statement)

        engine = store._backend.catalog.engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            yield statements
        finally:
            event.remove(engine, "before_cursor_execute", note)

    return count


class SteppingClock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return SteppingClock()


def commit_files(store, branch, files, **options):
    """Commit ``{path: bytes}`` to a branch, where None deletes, and return the commit."""
    with store.transaction(branch, **options) as tx:
        for path, data in files.items():
            if data is None:
                tx.delete(path)
            else:
                tx.write(path, data)
    return tx.commit


@pytest.fixture
def write():
    return commit_files


@pytest.fixture
def files_of():
    """A function that returns ``{path: bytes}`` of a snapshot."""

    def read(store, ref, directory=""):
        snapshot = store.snapshot(ref)
        return {file.path: snapshot.read(file.path) for file in snapshot.walk(directory)}

    return read
