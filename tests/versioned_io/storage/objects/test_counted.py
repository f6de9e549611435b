"""How many requests the store's work costs."""

import threading

import pytest

import versioned_io as vio
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.storage.objects.counted import CountedObjects, RequestCounts
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.testing import ObjectStoreContract
from versioned_io.versioning.backend.backend import Backend

FILES = 20_000


class TestCountedObjects(ObjectStoreContract):
    @pytest.fixture
    def objects(self, tmp_path):
        return CountedObjects(LocalObjects(tmp_path / "objects"))


def test_every_request_and_byte_is_counted_once(tmp_path):
    objects = CountedObjects(LocalObjects(tmp_path))
    objects.put("a/1", [b"12345", memoryview(b"678")])
    objects.get("a/1")
    objects.get_ranges("a/1", [(0, 2), (4, 3)])
    objects.get_range("a/1", 0, 1)
    objects.size("a/1")
    list(objects.list("a/"))
    objects.delete(iter(["a/1", "a/2"]))
    expected = RequestCounts(puts=1, gets=3, ranges=3, heads=1, lists=1, deletes=2, bytes_put=8, bytes_got=14)
    assert objects.counts == expected
    assert objects.reset() == expected
    assert objects.counts == RequestCounts()


def test_threads_lose_no_count(tmp_path):
    objects = CountedObjects(LocalObjects(tmp_path))
    objects.put("key", [b"x"])
    threads = [threading.Thread(target=lambda: [objects.get("key") for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (objects.counts.gets, objects.counts.bytes_got) == (4000, 4000)


@pytest.fixture
def counted(tmp_path):
    """A store with a tree of several pages, whose caches are cold, and what counts its requests."""
    with vio.create_store(tmp_path / "store") as made:
        made.create_repo("r")
        with made.transaction("r@main") as tx:
            for number in range(FILES):
                tx.write(f"d/{number:06}", b"%d" % number)
        inner = made._backend
        objects = CountedObjects(inner.objects)
        backend = Backend(objects, inner.catalog, PageSource(objects), ChunkReader(objects), inner.clock)
        yield vio.Store(made.url, backend), objects


def test_a_small_commit_is_one_put(counted):
    store, objects = counted
    objects.reset()
    with store.transaction("r@main") as tx:
        tx.write("d/000007", b"changed")
        tx.write("new", b"new")
    assert (objects.counts.puts, objects.counts.lists, objects.counts.heads) == (1, 0, 0)


def test_a_file_is_read_with_one_get_for_each_level_and_one_for_its_data(counted):
    store, objects = counted
    root = store.commit("r@main").root
    assert root.level >= 1
    objects.reset()
    assert store.snapshot("r@main").read("d/012345") == b"12345"
    levels = root.level + 1
    assert 1 <= objects.counts.ranges <= levels + 1
    assert objects.counts == RequestCounts(
        gets=objects.counts.gets, ranges=objects.counts.ranges, bytes_got=objects.counts.bytes_got
    )


def test_a_diff_reads_the_pages_that_changed_and_no_others(counted):
    store, objects = counted
    with store.transaction("r@main") as tx:
        tx.write("d/000007", b"changed")
    backend = store._backend
    cold = Backend(objects, backend.catalog, PageSource(objects), ChunkReader(objects), backend.clock)
    objects.reset()
    found = vio.Store(store.url, cold).diff("r@main~1", "r@main")
    assert found.column("path").to_pylist() == ["d/000007"]
    levels = store.commit("r@main").root.level + 1
    assert 1 <= objects.counts.ranges <= 2 * levels
    assert objects.counts.puts == objects.counts.lists == 0
