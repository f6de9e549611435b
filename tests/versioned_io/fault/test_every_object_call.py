"""Every call to the object store fails once in a day's work: each step is done or not, and was told of right."""

import shutil
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest

import versioned_io as vio
from versioned_io.chunks.reader import ChunkReader
from versioned_io.errors import StorageError
from versioned_io.pages.source import PageSource
from versioned_io.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.soak]

_NOW = timedelta(0)


class Failing:
    """An object store of which the n-th call fails, before or after it was done; *calls* says which were made."""

    def __init__(self, objects, number, *, after):
        self._objects, self._number, self._after = objects, number, after
        self.calls = []

    url = property(lambda self: self._objects.url)
    is_remote = property(lambda self: self._objects.is_remote)

    def _call(self, name, *arguments):
        self.calls.append(name)
        strikes = len(self.calls) == self._number
        if strikes and not self._after:
            raise StorageError("the network is gone: try again")
        result = getattr(self._objects, name)(*arguments)
        if strikes:
            raise StorageError("no reply came: try again")
        return result

    def put(self, key, data):
        self._call("put", key, data)

    def get(self, key):
        return self._call("get", key)

    def get_range(self, key, offset, length):
        return self._call("get_range", key, offset, length)

    def get_ranges(self, key, ranges):
        return self._call("get_ranges", key, ranges)

    def size(self, key):
        return self._call("size", key)

    def list(self, prefix):
        yield from list(self._call("list", prefix))

    def delete(self, keys):
        self._call("delete", list(keys))


def commit(store, change, branch="data@main"):
    with store.transaction(branch) as tx:
        change(tx)


def in_two_repos(tx):
    tx.write("both", b"1")
    tx.branch("other@main").copy("data@main:kept", to="copied")


STEPS = [
    lambda store: store.create_repo("data"),
    lambda store: store.create_repo("other"),
    lambda store: commit(store, lambda tx: [tx.write(path, b"1" * 40) for path in ("kept", "gone/x", "moved")]),
    lambda store: commit(store, lambda tx: tx.write("kept", b"2", append=True)),
    lambda store: store.create_branch("data@dev", at="data@main"),
    lambda store: store.create_tag("data@v1", at="data@main"),
    lambda store: commit(store, lambda tx: tx.copy("data@v1:moved", to="copy")),
    lambda store: commit(store, lambda tx: tx.move("moved", "there/moved")),
    lambda store: commit(store, lambda tx: tx.delete("gone/")),
    lambda store: commit(store, lambda tx: tx.write("dev", b"1"), "data@dev"),
    lambda store: commit(store, in_two_repos),
    lambda store: store.delete_branch("data@dev"),
    # These change no name: done again, they go on.
    lambda store: store.compact(small_bytes=1 << 20),
    lambda store: store.gc(grace=_NOW, expire=_NOW),
    lambda store: store.gc(grace=_NOW, expire=_NOW),
]


def state(store):
    """Return all that the names of a store lead to."""
    found = {}
    for repo in store.repos():
        places = [branch.name for branch in repo.branches] + list(store.tags(repo.name))
        for place in places:
            snapshot = store.snapshot(f"{repo.name}@{place}")
            found[repo.name, place] = {file.path: snapshot.read(file.path) for file in snapshot.walk()}
    return found


def over(store, objects):
    """Return the same store over other objects, with empty caches, so that what is read is really read."""
    fresh = {"pages": PageSource(objects), "chunks": ChunkReader(objects)}
    return Store(store.url, replace(store._backend, objects=objects, **fresh))


@pytest.fixture(scope="module")
def mornings(tmp_path_factory):
    """The directories of stores before each step and after the last, each with what its names lead to."""
    place = tmp_path_factory.mktemp("mornings")
    found = []
    with vio.create_store(place / "0") as store:
        found.append((place / "0", state(store)))
    for number, step in enumerate(STEPS, 1):
        shutil.copytree(place / str(number - 1), place / str(number))
        with vio.open_store(place / str(number)) as store:
            step(store)
            found.append((place / str(number), state(store)))
    return found


def fail_once(step, place, number, *, after, old, new):
    """Let the n-th call of a step fail, and return the name of the call, or None when there were fewer."""
    with vio.open_store(place) as store:
        failing = Failing(store._backend.objects, number, after=after)
        try:
            step(over(store, failing))
        except StorageError:
            # Told of as failed: it was not done, and nothing was half done.
            assert state(store) == old, failing.calls[-1]
            report = store.fsck()
            assert report.is_clean, report.problems
            step(over(store, failing))
        assert state(store) == new, failing.calls
        report = store.fsck()
        assert report.is_clean, report.problems
        return failing.calls[number - 1] if len(failing.calls) >= number else None


@pytest.mark.parametrize("after", [False, True])
def test_each_step_of_a_days_work_survives_the_failure_of_any_call(mornings, tmp_path, after):
    struck = set()
    for position, step in enumerate(STEPS):
        (before, old), (_, new) = mornings[position : position + 2]
        for number in count(1):
            place = shutil.copytree(before, tmp_path / f"{position}-{number}")
            name = fail_once(step, place, number, after=after, old=old, new=new)
            shutil.rmtree(place)
            if name is None:
                break
            struck.add(name)
    # A pack is read in ranges, as is a page; whole packs are read by fsck alone.
    assert struck == {"put", "get_ranges", "get_range", "list", "delete", "size"}
