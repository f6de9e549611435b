"""A reader that has seen a newer state than the catalog shows is told so, and not answered from the older one."""

import shutil

import pytest
from sqlalchemy import create_engine, select, text

import versioned_io as vio
from tests.versioned_io.storage.test_beacons import copy_catalog
from versioned_io.catalog.tables import commits, metadata
from versioned_io.errors import CatalogOlderError, CommitNotFoundError, RefNotFoundError
from versioned_io.model.beacons import BeaconKind
from versioned_io.storage.beacons import list_beacons


class SQLiteCatalog:
    """The catalog of a store in a directory, which can be taken back to where it was."""

    def __init__(self, directory):
        self.place = directory / "s"
        self.options = {}
        self._backup = directory / "backup"

    def keep(self):
        shutil.rmtree(self._backup, ignore_errors=True)
        engine = create_engine(f"sqlite:///{self.place}/catalog.db")
        with engine.connect() as connection:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        engine.dispose()
        copy_catalog(self.place, self._backup)

    def roll_back(self):
        for file in self.place.glob("catalog.db*"):
            file.unlink()
        copy_catalog(self._backup, self.place)


class PostgresCatalog:
    """The same in a PostgreSQL database, by copies of all tables."""

    def __init__(self, directory, url):
        self.place = directory / "s"
        self.options = {"catalog": url}
        self._tables = [table.name for table in metadata.sorted_tables]

    def _run(self, *statements):
        engine = create_engine(self.options["catalog"])
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

    def keep(self):
        self._run("CREATE SCHEMA kept", *(f"CREATE TABLE kept.{name} AS TABLE public.{name}" for name in self._tables))

    def roll_back(self):
        names = ", ".join(f"public.{name}" for name in self._tables)
        # Each row refers to others: they come in the order of the tables, and of a table at once.
        self._run(
            f"TRUNCATE {names}",
            *(f"INSERT INTO public.{name} SELECT * FROM kept.{name}" for name in self._tables),
        )


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog(request, tmp_path):
    if request.param == "sqlite":
        return SQLiteCatalog(tmp_path)
    return PostgresCatalog(tmp_path, request.getfixturevalue("postgres_url"))


@pytest.fixture
def reader(catalog, write):
    """A handle that has seen three commits and a tag more than its catalog shows now."""
    with vio.create_store(catalog.place, **catalog.options) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
        store.subscription("s", "r@main")
    catalog.keep()
    with vio.open_store(catalog.place, **catalog.options) as opened:
        with vio.open_store(catalog.place, **catalog.options) as writer:
            for number in range(3):
                newest = write(writer, "r@main", {"a": b"new %d" % number})
            writer.create_tag("r@v1", at="r@main")
            writer.create_branch("r@dev", at="r@main")
        assert opened.commit("r@main") == newest
        assert opened.commit("r@v1") == newest
        assert opened.snapshot("r@dev").read("a") == b"new 2"
        catalog.roll_back()
        # What is told by the handle's memory alone: no beacon helps.
        shutil.rmtree(catalog.place / "beacons")
        (catalog.place / "beacons").mkdir()
        yield opened, newest


READS = {
    "snapshot": lambda store, _: store.snapshot("r@main"),
    "commit": lambda store, _: store.commit("r@main"),
    "log": lambda store, _: list(store.log("r@main")),
    "ID": lambda store, newest: store.commit(newest.id),
    "tag": lambda store, _: store.commit("r@v1"),
    "branch": lambda store, _: store.snapshot("r@dev"),
    "changes": lambda store, newest: store.changes("r@main", since=newest.id),
    "pending": lambda store, _: store.subscriptions("r@main")[0].pending(),
    "transaction": lambda store, _: store.transaction("r@main").__enter__(),
}


@pytest.mark.parametrize("name", READS)
def test_a_reader_that_saw_a_newer_state_is_told_of_the_roll_back(reader, name):
    store, newest = reader
    with pytest.raises(CatalogOlderError, match="versioned recover"):
        READS[name](store, newest)


def test_a_sensor_whose_cursor_the_catalog_does_not_know_is_told_why(catalog, write):
    with vio.create_store(catalog.place, **catalog.options) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
    catalog.keep()
    with vio.open_store(catalog.place, **catalog.options) as store:
        cursor = write(store, "r@main", {"a": b"2"}).id
    catalog.roll_back()
    with vio.open_store(catalog.place, **catalog.options) as store:
        with pytest.raises(CatalogOlderError):
            store.changes("r@main", since=cursor)
        with pytest.raises(CatalogOlderError):
            store.commit(cursor)


def test_what_was_never_there_is_not_found_and_nothing_else(new_store, write):
    store = new_store()
    store.create_repo("r")
    write(store, "r@main", {"a": b"1"})
    store.snapshot("r@main")
    with pytest.raises(RefNotFoundError):
        store.snapshot("r@other")
    with pytest.raises(CommitNotFoundError):
        store.commit("0" * 32)


def test_a_branch_that_was_reset_deleted_or_renamed_is_not_taken_for_a_roll_back(new_store, write):
    store = new_store()
    store.create_repo("r")
    first = write(store, "r@main", {"a": b"1"})
    write(store, "r@main", {"a": b"2"})
    store.snapshot("r@main")
    store.reset("r@main", first.id)
    assert store.commit("r@main") == first
    dropped = write(store, "r@main", {"a": b"3"})
    assert store.commit("r@main") == dropped
    store.drop("r@main")
    assert store.commit("r@main") == first
    store.create_branch("r@dev", at="r@main")
    store.snapshot("r@dev")
    store.delete_branch("r@dev")
    with pytest.raises(RefNotFoundError):
        store.snapshot("r@dev")


def test_a_transaction_that_began_before_another_threads_commit_is_not_taken_for_a_roll_back(catalog, write):
    with vio.create_store(catalog.place, **catalog.options) as store:
        store.create_repo("r")
        first = write(store, "r@main", {"a": b"1"})
        watched = store._backend.catalog
        with watched.read() as before:
            assert before.execute(text("SELECT count(*) FROM commits")).scalar_one() == 1
            newest = write(store, "r@main", {"a": b"2"})
            assert store.commit("r@main") == newest
            watched.note_seen(before, "r@main", first.id)
            watched.refuse_older(before)
        assert store.commit("r@main") == newest


def test_in_a_bucket_beacons_come_in_the_background_and_are_complete_when_the_store_is_closed(
    s3_place, postgres_url, write
):
    url, options = s3_place
    with vio.create_store(url, catalog=postgres_url, storage_options=options) as store:
        objects = store._backend.objects
        store.create_repo("r")
        for number in range(10):
            newest = write(store, "r@main", {"a": b"%d" % number})
    [beacon] = list_beacons(objects).beacons
    assert (beacon.kind, beacon.id) == (BeaconKind.COMMIT, newest.id)
    for number in range(3):
        with vio.open_store(url, catalog=postgres_url, storage_options=options) as store:
            assert store.warning is None
            write(store, "r@main", {"a": b"short %d" % number})
    assert len(list_beacons(objects).beacons) == 1
    catalog = PostgresCatalog.__new__(PostgresCatalog)
    catalog.options, catalog._tables = {"catalog": postgres_url}, [table.name for table in metadata.sorted_tables]
    catalog.keep()
    with vio.open_store(url, catalog=postgres_url, storage_options=options) as store:
        write(store, "r@main", {"a": b"lost"})
        catalog.roll_back()
        with pytest.raises(CatalogOlderError):
            write(store, "r@main", {"a": b"by memory alone"})
    with vio.open_store(url, catalog=postgres_url, storage_options=options) as store:
        assert store.warning is not None
        with pytest.raises(CatalogOlderError):
            write(store, "r@main", {"a": b"by the beacon"})
        with pytest.raises(CatalogOlderError):
            store.gc()


def test_a_look_that_began_before_a_commit_is_not_taken_for_an_older_catalog(tmp_path, write):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        before = write(store, "r@main", {"a": b"1"})
        catalog = store._backend.catalog
        with catalog.read() as connection:
            connection.execute(select(commits.c.id)).all()  # from here on it sees this state
            write(store, "r@main", {"a": b"2"})
            assert store.commit("r@main").id != before.id
            catalog.refuse_older(connection)
            catalog.note_seen(connection, "r@main", before.id)
