"""The object store or the catalog fails at the n-th call, for every n: before it, after it, with the reply lost."""

import sqlite3
from dataclasses import replace

import pytest
from sqlalchemy import event

from tests.versioned_io.conftest import dump_store
from versioned_io.errors import StorageError
from versioned_io.store import Store
from versioned_io.versioning.transactions import publish

pytestmark = pytest.mark.slow

BEFORE = {"changed": b"1", "gone/x": b"1"}
AFTER = {"changed": b"2", "new": b"1"}


class Fault:
    """Strikes once, at the n-th call after it was armed."""

    def __init__(self, number=0):
        self.left = number

    def strikes(self):
        self.left -= 1
        return self.left == 0


class FaultyObjects:
    def __init__(self, objects, fault, *, after):
        self._objects = objects
        self._fault = fault
        self._after = after

    def __getattr__(self, name):
        return getattr(self._objects, name)

    def put(self, key, data):
        strikes = self._fault.strikes()
        if strikes and not self._after:
            raise StorageError("the network is gone: try again")
        self._objects.put(key, data)
        if strikes:
            raise StorageError("no reply came: try again")


class FaultyConnection(sqlite3.Connection):
    """A connection to SQLite whose statements and commits fail when the fault strikes."""

    fault = Fault()
    after = False
    loses_reply_to_commit = False

    def cursor(self, *_):
        return super().cursor(FaultyCursor)

    def commit(self):
        self.call(super().commit)
        if FaultyConnection.loses_reply_to_commit:
            FaultyConnection.loses_reply_to_commit = False
            raise sqlite3.OperationalError("no reply came")

    def call(self, function, *arguments):
        strikes = FaultyConnection.fault.strikes()
        if strikes and not FaultyConnection.after:
            raise sqlite3.OperationalError("the connection is gone")
        result = function(*arguments)
        if strikes:
            raise sqlite3.OperationalError("no reply came")
        return result


class FaultyCursor(sqlite3.Cursor):
    def execute(self, *arguments):
        return self.connection.call(super().execute, *arguments)

    def executemany(self, *arguments):
        return self.connection.call(super().executemany, *arguments)


@pytest.fixture
def new_faulty(new_store):
    """A function that makes a filled store on a catalog that can fail."""

    def create():
        store = new_store()
        store.create_repo("data")
        store.create_repo("other")
        with store.transaction("data@main") as tx:
            for path, data in BEFORE.items():
                tx.write(path, data)
        engine = store._backend.catalog.engine
        engine.dispose()
        event.listen(engine, "do_connect", lambda *arguments: arguments[3].update(factory=FaultyConnection))
        FaultyConnection.fault = Fault()
        return store

    return create


def attempt(store, *, race=False):
    tx = store.transaction("data@main")
    tx.write("changed", b"2")
    tx.write("new", b"1")
    tx.delete("gone/")
    tx.branch("other@main").write("first", b"1")
    if race:
        for number in range(4):
            with store.transaction("data@main") as other:
                other.write(f"race/{number}", b"1")
    return tx


def files(store, ref):
    snapshot = store.snapshot(ref)
    return {file.path: snapshot.read(file.path) for file in snapshot.walk()}


def check(store, is_new):
    assert files(store, "data@main") == (AFTER if is_new else BEFORE)
    assert files(store, "other@main") == ({"first": b"1"} if is_new else {})
    assert store.fsck().is_clean


@pytest.mark.parametrize("after", [False, True])
def test_a_put_that_fails_leaves_nothing_and_can_be_tried_again(new_faulty, after):
    for number in range(1, 10):
        store = new_faulty()
        fault = Fault(number)
        backend = replace(store._backend, objects=FaultyObjects(store._backend.objects, fault, after=after))
        tx = attempt(Store(store.url, backend))
        before = dump_store(store)[0]
        if fault.left > 0:
            try:
                tx.finish()
            except StorageError:
                assert dump_store(store)[0] == before
                check(store, is_new=False)
                attempt(store).finish()
                check(store, is_new=True)
                continue
        check(store, is_new=True)
        break
    assert number > 1


@pytest.mark.parametrize("after", [False, True])
def test_a_catalog_that_fails_at_any_call_tells_the_truth(new_faulty, after):
    reported = []
    for number in range(1, 100):
        store = new_faulty()
        tx = attempt(store)
        FaultyConnection.after = after
        FaultyConnection.fault = fault = Fault(number)
        try:
            tx.finish()
            reported.append(True)
        except StorageError:
            reported.append(False)
        struck = fault.left <= 0
        FaultyConnection.fault = Fault()
        # What was said is what is so: no failure is told of what was made, no success of what was not.
        check(store, is_new=reported[-1])
        attempt(store).finish()
        check(store, is_new=True)
        store.close()
        if not struck:
            break
    assert 10 < number < 99
    assert reported[-1]
    assert not all(reported[:-1])
    # The reply to COMMIT that was lost is recognised as a success.
    assert any(reported[:-1]) == after


class RacedObjects:
    """Whenever a pack is stored, somebody is faster with the branch; at last the reply to the commit is lost."""

    def __init__(self, store, races):
        self._objects = store._backend.objects
        self._store = store
        self._races = races
        self.puts = 0

    def __getattr__(self, name):
        return getattr(self._objects, name)

    def put(self, key, data):
        self._objects.put(key, data)
        self.puts += 1
        if self.puts <= self._races:
            with self._store.transaction("data@main") as faster:
                faster.write(f"race/{self.puts}", b"1")
        else:
            FaultyConnection.loses_reply_to_commit = True


@pytest.mark.parametrize(("most_held", "races"), [(publish.MOST_CHANGES_HELD, 1), (0, publish.OPTIMISTIC_ATTEMPTS)])
def test_the_lost_reply_to_the_last_attempt_is_recognised_too(new_faulty, monkeypatch, most_held, races):
    monkeypatch.setattr(publish, "MOST_CHANGES_HELD", most_held)
    store = new_faulty()
    objects = RacedObjects(store, races)
    with Store(store.url, replace(store._backend, objects=objects)).transaction("data@main") as tx:
        tx.write("new", b"1")
    assert objects.puts == races + 1
    assert not FaultyConnection.loses_reply_to_commit
    assert tx.commit == store.commit("data@main")
    assert tx.commit.number == 1 + races + 1
    assert store.snapshot("data@main").read("new") == b"1"
    assert store.fsck().is_clean
