"""Transactions lock rows in one order: one that waits for a row holds none that comes after it, so none deadlock."""

import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, event, insert, select, text

import versioned_io as vio
from versioned_io.catalog import announcing, collection, due_keys, rounds
from versioned_io.catalog.chunk_index import LIVE, refuse_condemned
from versioned_io.catalog.collection import CONDEMNED, PackRow
from versioned_io.catalog.repo_rows import find_branch
from versioned_io.catalog.repos import lock_branch
from versioned_io.catalog.tables import branches, commits, packs, repos
from versioned_io.catalog.tables import due_keys as due_keys_table
from versioned_io.maintenance.collection.new_garbage import collect_new
from versioned_io.model.refs import BranchRef

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = [f"{number:032x}" for number in range(1, 9)]
KEYS = [f"key-{number}" for number in range(8)]


@pytest.fixture
def store(postgres_url, tmp_path):
    with vio.create_store(tmp_path / "store", catalog=postgres_url) as store:
        store.create_repo("r")
        yield store


@pytest.fixture
def beside(postgres_url):
    """An engine for other connections to the catalog."""
    engine = create_engine(postgres_url)
    yield engine
    engine.dispose()


def put(store, path, data):
    with store.transaction("r@main", message="put") as tx:
        tx.write(path, data)
    return tx.commit


@contextmanager
def waiting_for(beside, locked, work, before=None):
    """Hold the rows of *locked* while *work* runs in a thread; yield when it waits for them.

    Args:
        before: Makes changes with the holder's connection, which are committed when *work* may go on.
    """
    failed = []

    def run():
        try:
            work()
        except Exception as error:  # noqa: BLE001 (raised again below)
            failed.append(error)

    with beside.connect() as holder:
        assert holder.execute(locked).all()
        if before is not None:
            before(holder)
        thread = threading.Thread(target=run)
        thread.start()
        try:
            waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            while holder.execute(waits).scalar_one() == 0:
                assert thread.is_alive(), failed
            yield
        finally:
            holder.rollback() if before is None else holder.commit()
            thread.join(60)
    assert not thread.is_alive()
    assert failed == []


def free(beside, column, *where):
    """Return the values of *column* in the rows that nobody has locked."""
    with beside.connect() as connection:
        return set(connection.execute(select(column).where(*where).with_for_update(skip_locked=True)).scalars())


BULK_CHANGES = {
    "condemn_packs": (LIVE, lambda connection: collection.condemn_packs(connection, NAMES, NOW)),
    "revive_packs": (CONDEMNED, lambda connection: collection.revive_packs(connection, NAMES)),
    "bury_packs": (
        CONDEMNED,
        lambda connection: collection.bury_packs(connection, [PackRow(name, 1, CONDEMNED, NOW) for name in NAMES]),
    ),
    "drop_from_rounds": (LIVE, lambda connection: rounds.drop_from_rounds(connection, NAMES)),
    "refuse_condemned": (LIVE, lambda connection: refuse_condemned(connection, NAMES)),
    "note_live_bytes": (LIVE, lambda connection: rounds.note_live_bytes(connection, dict.fromkeys(NAMES, 1))),
}


@pytest.mark.parametrize("name", BULK_CHANGES)
def test_a_transaction_that_waits_for_a_pack_holds_no_later_pack(store, beside, name):
    state, change = BULK_CHANGES[name]
    with store._backend.catalog.write() as connection:
        rows = [{"name": one, "size_bytes": 1, "state": state, "created_at": NOW, "condemned_at": NOW} for one in NAMES]
        connection.execute(insert(packs), rows[::-1])  # PostgreSQL scans the rows in this order

    def run():
        with store._backend.catalog.write() as connection:
            change(connection)

    first = select(packs.c.name).where(packs.c.name == NAMES[0]).with_for_update()
    with waiting_for(beside, first, run):
        assert free(beside, packs.c.name, packs.c.name.in_(NAMES)) == set(NAMES[1:])


BULK_KEYS = {
    "hold_keys": lambda connection, own: announcing.hold_keys(
        connection, own, KEYS, owner="me", now=NOW, until=NOW + timedelta(minutes=1)
    ),
    "free_keys": lambda connection, own: announcing.free_keys(connection, own, KEYS[::-1], owner="me"),
    "withdraw_keys": lambda connection, own: due_keys.withdraw_keys(connection, own, KEYS[::-1]),
    "mark_announced": lambda connection, own: due_keys.mark_announced(
        connection, due_keys.list_due(connection, own)[::-1], NOW
    ),
}


@pytest.mark.parametrize("name", BULK_KEYS)
def test_a_transaction_that_waits_for_a_due_key_holds_no_later_key(store, beside, name):
    store.subscription("s", "r@main", partitions="{key}")
    commit = put(store, "a", b"1")
    with store._backend.catalog.write() as connection:
        own = connection.execute(text("SELECT id FROM subscriptions")).scalar_one()
        for key in KEYS[::-1]:
            due_keys.request_keys(connection, own, {key: commit.id}, NOW)
        connection.execute(due_keys_table.update().values(sequence=1, owner="me", claimed_until=NOW))

    def run():
        with store._backend.catalog.write() as connection:
            BULK_KEYS[name](connection, own)

    first = select(due_keys_table.c.key).where(due_keys_table.c.key == KEYS[0]).with_for_update()
    with waiting_for(beside, first, run):
        assert free(beside, due_keys_table.c.key) == set(KEYS[1:])


def test_a_transaction_that_waits_for_a_commit_holds_no_pack(store, beside):
    for number in range(3):
        put(store, f"f{number}", b"%d" % number * 100_000)
    head = select(commits.c.id).order_by(commits.c.number.desc()).limit(1).with_for_update()
    works = {
        "writer": lambda: put(store, "again", b"0" * 100_000),
        "collector": lambda: collect_new(store._backend, grace=timedelta(0)),
    }
    for work in works.values():
        with beside.connect() as connection:
            known = set(connection.execute(select(packs.c.name)).scalars())
        with waiting_for(beside, head, work):
            assert free(beside, packs.c.name) == known


def test_expiry_locks_commits_in_order(store, beside):
    for number in range(4):
        put(store, "f", b"%d" % number)
    with beside.connect() as connection:
        known = sorted(connection.execute(select(commits.c.id)).scalars())

    def run():
        with store._backend.catalog.write() as connection:
            collection.forget_commits(connection, known)

    first = select(commits.c.id).where(commits.c.id == known[0]).with_for_update()
    with waiting_for(beside, first, run):
        assert free(beside, commits.c.id) == set(known[1:])


def test_who_waited_for_a_branch_sees_everything_that_was_committed_meanwhile(store, beside):
    put(store, "f", b"1")
    with store._backend.catalog.read() as connection:
        branch = find_branch(connection, BranchRef("r", "main"))
    seen = []

    def run():
        with store._backend.catalog.write() as connection:
            seen.append(lock_branch(connection, branch))

    def commit_meanwhile(holder):
        holder.execute(commits.update().values(order=100))
        holder.execute(branches.update().values(epoch=branches.c.epoch))
        holder.execute(repos.update().values(name="renamed"))

    locked = select(branches.c.id).where(branches.c.id == branch.id).with_for_update()
    with waiting_for(beside, locked, run, commit_meanwhile):
        assert seen == []
    assert (seen[0].latest, seen[0].ref.repo) == (100, "renamed")


def test_keys_are_locked_in_the_order_of_their_bytes_whatever_the_language(store):
    """Python's order, in which single statements lock them: in English, "a" comes before "B"."""
    own = store.subscription("s", "r@main", partitions="{key}")
    put(store, "B", b"1")
    put(store, "a", b"1")
    own.collect()
    seen = []

    @event.listens_for(store._backend.catalog.engine, "before_cursor_execute")
    def note(_connection, _cursor, statement, *_rest):
        seen.append(statement)

    with store._backend.catalog.write() as connection:
        announcing.hold_keys(connection, own.id, ["B", "a"], owner="me", now=NOW, until=NOW)
    (locking,) = [one for one in seen if "FOR NO KEY UPDATE" in one]
    assert 'COLLATE "C"' in locking.partition("ORDER BY")[2]


def test_who_collects_locks_new_and_withdrawn_keys_in_one_order(store, beside):
    own = store.subscription("s", "r@main", partitions="{key}")
    put(store, "a", b"1")
    put(store, "b", b"1")
    own.collect()
    with store.transaction("r@main") as tx:
        tx.delete("a")
        tx.write("b", b"2")
    first = select(due_keys_table.c.key).where(due_keys_table.c.key == "a").with_for_update()
    with waiting_for(beside, first, own.collect):
        assert free(beside, due_keys_table.c.key) == {"b"}
    assert [due.key for due in own.due()] == ["b"]


@pytest.mark.parametrize("name", ["create_branch", "create_tag", "reset"])
def test_who_waits_for_the_names_holds_no_commit(store, beside, name):
    first = put(store, "f", b"1")
    put(store, "f", b"2")
    works = {
        "create_branch": lambda: store.create_branch("r@old", at=f"r@{first.id}"),
        "create_tag": lambda: store.create_tag("r@v1", at=f"r@{first.id}"),
        "reset": lambda: store.reset("r@main", f"r@{first.id}"),
    }

    def expire(holder):
        names = "branches, tags, subscriptions, held_cursors, due_keys"
        holder.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))

    with waiting_for(beside, select(commits.c.id), works[name], expire):
        assert first.id in free(beside, commits.c.id)
