"""What a small commit asks of the catalog, and what others wait for meanwhile."""

import subprocess
import sys
from collections import Counter

import pytest
from sqlalchemy import event

import versioned_io as vio
from versioned_io.versioning.transactions.transaction import draft_of

FIRST_COMMIT = """
import sys
import versioned_io as vio
from sqlalchemy import event

def note(connection):
    if connection.get_execution_options().get("takes_write_lock") and not before:
        before.append(set(sys.modules))

before = []
with vio.open_store(sys.argv[1]) as store:
    with store.transaction("r@main") as tx:
        from versioned_io.versioning.transactions.transaction import draft_of

        tx.write("b", b"b")
        store._backend.busy_branches.add(draft_of(tx).target.id)  # as after a lost race: it is drafted under the lock
        event.listen(store._backend.catalog.engine, "begin", note)
    print(",".join(sorted(set(sys.modules) - before[0])))
"""


@pytest.fixture
def place(tmp_path, write):
    with vio.create_store(tmp_path / "store") as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"a"})
    return tmp_path / "store"


def statements_of(store, *, holds):
    """Commit, and return how many statements were sent without the write lock of SQLite, and with it."""
    sent = Counter()

    def note(connection, *_):
        sent[connection.get_execution_options().get("takes_write_lock", False)] += 1

    engine = store._backend.catalog.engine
    event.listen(engine, "before_cursor_execute", note)
    with store.transaction("r@main") as tx:
        tx.write("b", b"%d" % holds)
        if holds:
            store._backend.busy_branches.add(draft_of(tx).target.id)
    event.remove(engine, "before_cursor_execute", note)
    assert tx.changed
    return sent[False], sent[True]


def test_a_small_commit_sends_few_statements_and_fewer_under_the_lock(place, write):
    with vio.open_store(place) as store:
        write(store, "r@main", {"b": b"first"})  # which asks for the store's owner, too
        # Outside: 3 SELECTs, each after a BEGIN. Inside: 4 SELECTs, one of them for the beacon; 3 INSERTs, 1 UPDATE.
        assert statements_of(store, holds=False) == (6, 8)
        # The head is looked up inside, with its commit.
        assert statements_of(store, holds=True) == (4, 9)


def test_the_first_commit_of_a_process_loads_no_module_while_others_wait_for_the_lock(place):
    """It loaded 341, pandas among them: 16 processes that began together did so one after the other."""
    command = [sys.executable, "-c", FIRST_COMMIT, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "\n"
