"""Any request to S3 is reset, before it is sent, or with its reply lost or cut: one logical write is one commit."""

import random

import pytest

import versioned_io as vio
from tests.versioned_io.fault.faulty_http import REPLY_CUT, REPLY_LOST, WAYS, FaultyHTTP
from versioned_io.errors import ExistsError, StorageError
from versioned_io.storage.objects import open_objects

pytestmark = pytest.mark.slow

LARGE = random.Random(1).randbytes(3_000_000)


@pytest.fixture
def proxy(s3_server):
    with FaultyHTTP(s3_server.url) as one:
        yield one


@pytest.fixture
def shaky(proxy, s3_place):
    """An object store behind the proxy."""
    url, options = s3_place
    return open_objects(url, {**options, "endpoint": proxy.url})


@pytest.mark.parametrize("way", WAYS)
def test_an_object_is_put_once_whatever_becomes_of_the_request(proxy, shaky, way):
    proxy.arm(1, way)
    shaky.put("key", [b"first ", b"object"])
    assert proxy.struck == 1
    assert shaky.get("key") == b"first object"


@pytest.mark.parametrize("data", [b"other", b"mine!"])
def test_a_lost_reply_is_not_taken_for_another_ones_object(proxy, shaky, data):
    shaky.put("key", [b"other"])
    proxy.arm(1, REPLY_LOST)
    if data == b"other":
        shaky.put("key", [data])  # nobody can tell equal objects apart, and nobody needs to
    else:
        with pytest.raises(ExistsError):
            shaky.put("key", [data])
    assert shaky.get("key") == b"other"


def test_a_server_that_resets_everything_is_a_storage_error(proxy, s3_place):
    url, options = s3_place
    objects = open_objects(url, {**options, "endpoint": proxy.url, "max_retries": "2"})
    proxy.arm(1, REPLY_LOST, each=1)
    with pytest.raises(StorageError, match="can't put 'key'"):
        objects.put("key", [b"1"])
    assert proxy.requests == ["PUT"] * 3


@pytest.mark.parametrize("way", WAYS)
def test_reads_listings_and_deletions_go_on(proxy, shaky, way):
    for number in range(5):
        shaky.put(f"k/{number}", [b"%d" % number * 100_000])
    for call, expected in [
        (lambda: shaky.get("k/1"), b"1" * 100_000),
        (lambda: bytes(shaky.get_range("k/2", 10, 70_000)), b"2" * 70_000),
        (lambda: [bytes(part) for part in shaky.get_ranges("k/3", [(0, 9), (90_000, 9)])], [b"3" * 9] * 2),
        (lambda: shaky.size("k/4"), 100_000),
        (lambda: sorted(info.key for info in shaky.list("k/")), [f"k/{number}" for number in range(5)]),
        (lambda: shaky.delete(["k/0", "k/1"]), None),
        (lambda: shaky.delete(["k/2"]), None),
        (lambda: sorted(info.key for info in shaky.list("k/")), ["k/3", "k/4"]),
    ]:
        proxy.arm(1, way)
        assert call() == expected
        assert proxy.struck == 1


def work(store, number):
    with store.transaction("r@main", message=str(number)) as tx:
        tx.write("small", b"%d" % number)
        tx.write("large", LARGE[: 1_000_000 + number])
    snapshot = store.snapshot("r@main")
    assert snapshot.read("small") == b"%d" % number
    assert snapshot.read("large") == LARGE[: 1_000_000 + number]
    return tx.commit.number


@pytest.mark.parametrize("way", WAYS)
def test_any_request_of_a_commit_and_a_read_may_fail(proxy, s3_place, tmp_path, way):
    url, options = s3_place
    catalog = f"sqlite:///{tmp_path}/c.db"
    vio.create_store(url, catalog=catalog, storage_options=options).close()
    with vio.open_store(url, catalog=catalog, storage_options={**options, "endpoint": proxy.url}) as store:
        store.create_repo("r")
        # Every request of a commit and a read is struck in turn: the n-th while the n-th commit is made.
        for number in range(1, 50):
            proxy.arm(number, way)
            assert work(store, number) == number
            if not proxy.struck:
                break
        assert number > 2
        proxy.arm(0, way)
        assert [commit.message for commit in store.log("r@main")] == [str(one) for one in range(number, 0, -1)]
        assert store.fsck().is_clean


@pytest.mark.parametrize("way", [REPLY_LOST, REPLY_CUT])
def test_a_long_import_survives_a_reset_of_every_third_request(proxy, s3_place, tmp_path, way, files_of):
    url, options = s3_place
    catalog = f"sqlite:///{tmp_path}/c.db"
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / "in" / str(number)).write_bytes(random.Random(number).randbytes(30_000_000))
    vio.create_store(url, catalog=catalog, storage_options=options).close()
    with vio.open_store(url, catalog=catalog, storage_options={**options, "endpoint": proxy.url}) as store:
        store.create_repo("r")
        proxy.arm(1, way, each=3)
        with store.transaction("r@main") as tx:
            tx.write_tree(tmp_path / "in")
        assert files_of(store, "r@main") == {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
        assert proxy.struck >= 2
        proxy.arm(0, way)
        assert [commit.id for commit in store.log("r@main")] == [tx.commit.id]
