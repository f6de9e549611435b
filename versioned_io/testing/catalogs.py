"""The contract of every catalog: derive from the class and give it a fixture ``catalog_url``, an empty database."""

import threading
import uuid
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import func, insert, select, update

from versioned_io.catalog.connect import Catalog, connect_catalog
from versioned_io.catalog.revisions import REVISION, find_revision, migrate
from versioned_io.catalog.tables import properties
from versioned_io.errors import ConflictError, ExistsError
from versioned_io.store import Store
from versioned_io.store.opening import create_store, open_store

_WRITERS = 4


class CatalogContract:
    """The contract of a catalog, for one database: its transactions, and a whole store that stands on them."""

    @pytest.fixture
    def catalog(self, catalog_url: str) -> Iterator[Catalog]:
        """The tables, empty."""
        found = connect_catalog(catalog_url)
        migrate(found)
        yield found
        found.close()

    @pytest.fixture
    def objects_url(self) -> str:
        """Where the objects are; in memory, so that only the catalog is tried."""
        return f"memory://{uuid.uuid4().hex}"

    @pytest.fixture
    def store(self, objects_url: str, catalog_url: str) -> Iterator[Store]:
        """A store with one repo, ``r``."""
        with create_store(objects_url, catalog=catalog_url) as created:
            created.create_repo("r")
            yield created

    def test_an_empty_database_gets_its_tables_once(self, catalog_url: str) -> None:
        catalog = connect_catalog(catalog_url)
        for _ in range(2):
            migrate(catalog)
            assert find_revision(catalog) == REVISION
        catalog.close()

    def test_several_processes_may_make_the_tables_at_once(self, catalog_url: str) -> None:
        def make(_: int) -> None:
            catalog = connect_catalog(catalog_url)
            migrate(catalog)
            catalog.close()

        assert _run_together(make) == []

    def test_a_write_is_made_whole_or_not_at_all(self, catalog: Catalog) -> None:
        def fail_halfway() -> None:
            with catalog.write() as connection:
                connection.execute(insert(properties).values(name="a", value="1"))
                raise KeyError("halfway")

        with pytest.raises(KeyError):
            fail_halfway()
        assert _count(catalog) == 0

    def test_a_read_sees_one_state_whatever_is_written_meanwhile(self, catalog: Catalog) -> None:
        query = select(func.count()).select_from(properties)
        with catalog.read() as connection:
            assert connection.execute(query).scalar_one() == 0
            with catalog.write() as writer:
                writer.execute(insert(properties).values(name="a", value="1"))
            assert connection.execute(query).scalar_one() == 0
        assert _count(catalog) == 1

    def test_writers_of_one_row_wait_for_each_other(self, catalog: Catalog) -> None:
        with catalog.write() as connection:
            connection.execute(insert(properties).values(name="n", value=""))

        def lengthen(_: int) -> None:
            for _turn in range(10):
                with catalog.write() as connection:
                    connection.execute(update(properties).values(value=properties.c.value + "x"))

        assert _run_together(lengthen) == []
        with catalog.read() as connection:
            assert len(connection.execute(select(properties.c.value)).scalar_one()) == 10 * _WRITERS

    def test_a_name_is_taken_by_exactly_one(self, store: Store) -> None:
        lost = _run_together(lambda _: store.create_repo("contended"))
        assert [type(error) for error in lost] == [ExistsError] * (_WRITERS - 1)

    def test_writers_of_disjoint_paths_all_land(self, store: Store) -> None:
        def commit(number: int) -> None:
            for turn in range(3):
                with store.transaction("r@main") as tx:
                    tx.write(f"{number}/{turn}", b"%d" % number)

        assert _run_together(commit) == []
        assert [commit.number for commit in store.log("r@main")] == list(range(3 * _WRITERS, 0, -1))
        assert len(list(store.snapshot("r@main").walk())) == 3 * _WRITERS

    def test_of_two_writers_of_one_path_the_later_is_told(self, store: Store) -> None:
        late = store.transaction("r@main")
        late.write("same", b"late")
        with store.transaction("r@main") as tx:
            tx.write("same", b"first")
        with pytest.raises(ConflictError, match="same"):
            late.finish()
        assert store.snapshot("r@main").read("same") == b"first"
        assert store.commit("r@main").id == tx.commit.id

    def test_what_was_committed_is_there_when_it_is_opened_again(
        self, store: Store, objects_url: str, catalog_url: str
    ) -> None:
        with store.transaction(
            "r@main", message="ü 😀 'quoted' \\ %s", metadata={"n": 2**53, "list": [None, 0.1]}
        ) as tx:
            tx.write("ü/file", b"data")
        with open_store(objects_url, catalog=catalog_url) as again:
            assert again.commit("r@main") == tx.commit
            assert again.snapshot("r@main").read("ü/file") == b"data"
            assert again.fsck().is_clean


def _count(catalog: Catalog) -> int:
    with catalog.read() as connection:
        return connection.execute(select(func.count()).select_from(properties)).scalar_one()


def _run_together(work: Callable[[int], object]) -> list[Exception]:
    """Run *work* with 0, 1, ... in threads that start together; return what they raised."""
    start = threading.Barrier(_WRITERS)
    raised: list[Exception] = []

    def run(number: int) -> None:
        start.wait()
        try:
            work(number)
        except Exception as error:  # noqa: BLE001 (the test says which are expected)
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(_WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised
