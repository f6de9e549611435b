"""What the suites of the core share: the whole state of a store as a value, and a store with something in it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from sqlalchemy import select

from versioned_io.catalog.tables import metadata

# How long one example takes says nothing on a machine with other work.
settings.register_profile("core", deadline=None)
settings.load_profile("core")


def dump_store(store):
    """Return all that the catalog holds and the names of all packs: equal dumps, nothing was changed."""
    backend = store._backend
    with backend.catalog.read() as connection:
        tables = {
            table.name: sorted(map(repr, connection.execute(select(table)).all())) for table in metadata.sorted_tables
        }
    return tables, sorted(item.key for item in backend.objects.list("packs/"))


@pytest.fixture
def dump():
    return dump_store


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
