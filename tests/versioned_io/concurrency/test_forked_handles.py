"""Every kind of handle across fork(), on each catalog and in a bucket: the child works or gets one sentence."""

import contextlib
import itertools
import pickle
from datetime import timedelta

import pytest

import versioned_io as vio
from tests.versioned_io.concurrency.forks import Child
from versioned_io.errors import MaintenanceRunningError, VersionedError
from versioned_io.interfaces.filesystem import VersionedFileSystem

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


IN_BUCKETS = [pytest.param(place, marks=pytest.mark.soak) for place in ("bucket", "bucket with a cache")]


@pytest.fixture(params=["directory", *IN_BUCKETS])
def store(request, tmp_path, postgres_url):
    place, options, catalog = tmp_path / "s", {}, postgres_url
    if request.param != "directory":
        place, options = request.getfixturevalue("s3_place")
    cache = tmp_path / "cache" if "cache" in request.param else None
    with vio.create_store(place, catalog=catalog, storage_options=options, cache=cache) as created:
        created.create_repo("r")
        for number in range(30):
            with created.transaction("r@main") as tx:
                tx.write(f"d/{number:02}", b"%d" % number * 1000)
        created.at = {"url": place, "catalog": catalog, "storage_options": options}
        yield created


def commit(store, path):
    with store.transaction("r@main") as tx:
        tx.write(path, b"x")
    return tx.commit


def begun(iterator):
    """An iterator that has given its first value, and may hold a connection or a request."""
    first = next(iterator)
    return lambda: list(itertools.chain([first], iterator))


def read_again(file):
    """A file of which one byte was read."""
    file.read(1)
    return lambda: (file.seek(0), file.read())[1]


def _run(store):
    with store.run("job"):
        store.snapshot("r@main").read("d/02")
        return commit(store, "made").id


def _hold(store):
    head = store.snapshot("r@main").commit.id
    return lambda: store.hold_cursor("h", head, hold_for=timedelta(days=1))


def _pickled(store):
    text = pickle.dumps(store.snapshot("r@main"))
    return lambda: pickle.loads(text).read("d/01")


HANDLES = {
    "log": lambda store: lambda: [one.id for one in store.log("r@main", limit=10)],
    "a log in the middle": lambda store: begun(iter(store.log("r@main"))),
    "a walk in the middle": lambda store: begun(iter(store.snapshot("r@main").walk())),
    "a listing in the middle": lambda store: begun(iter(store.snapshot("r@main").list("d"))),
    "a file": lambda store: read_again(store.snapshot("r@main").open("d/07")),
    "a file of the file system": lambda store: read_again(VersionedFileSystem.of(store).open("r@main/d/05")),
    "a subscription": lambda store: store.subscription("s", "r@main").collect,
    "a run": lambda store: lambda: _run(store),
    "lineage": lambda store: lambda: store.upstream("r@main:d/03"),
    "a held cursor": _hold,
    "maintenance": lambda store: lambda: store.maintain(budget=timedelta(seconds=5)),
    "a pickle": _pickled,
    "fsck": lambda store: lambda: store.fsck().problems,
}
"""What is made before the fork, and called in the children and in the parent."""


@pytest.mark.parametrize("kind", HANDLES)
def test_a_handle_works_in_the_child_or_is_refused_and_works_on_in_the_parent(store, kind):
    use = HANDLES[kind](store)

    def work():
        with contextlib.suppress(VersionedError):  # a sentence; anything else, or a hang, ends the child with a code
            use()
        commit(store, "child")

    children = [Child(work) for _ in range(2)]
    mine = []
    with contextlib.suppress(MaintenanceRunningError):
        mine = use()
    commit(store, "parent")
    assert [child.join() for child in children] == [0, 0]
    if kind.endswith("in the middle"):
        assert len(mine) >= 30
    assert {"child", "parent"} <= {file.path for file in store.snapshot("r@main").walk()}
    store.close()
    with vio.open_store(**store.at) as other:
        assert other.fsck().is_clean
