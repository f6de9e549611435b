"""The state of a whole store at a glance: what waits, what is overdue, who may write."""

import random
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

import versioned_io as vio
from versioned_io import errors

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    now = START

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def place(tmp_path, clock):
    """A store with two repos, of which one has a commit, and one deleted."""
    with vio.create_store(tmp_path / "store", clock=clock) as store:
        store.create_repo("weather", description="rain")
        store.create_repo("empty")
        store.create_repo("gone")
        with store.transaction("weather@main") as tx:
            for month in ("01", "02", "03"):
                tx.write(f"2012/{month}.csv", b"rain")
        store.subscription("of a deleted repo", "gone@main")
        store.delete_repo("gone", force=True)
    return tmp_path / "store"


def status(place, clock):
    with vio.open_store(place, clock=clock) as store:
        return store.status()


def test_it_has_the_heads_of_all_repos_with_their_times(place, clock):
    found = status(place, clock)
    assert [(repo.name, repo.description, len(repo.branches)) for repo in found.repos] == [
        ("empty", "", 1),
        ("weather", "rain", 1),
    ]
    (empty,), (main,) = (repo.branches for repo in found.repos)
    assert (empty.head, empty.number, empty.committed_at) == (None, 0, None)
    assert (main.number, main.committed_at, main.is_protected) == (1, START, False)
    with vio.open_store(place, clock=clock) as store:
        assert main.head == store.commit("weather@main").id


def test_it_counts_the_keys_that_wait_for_each_subscription(place, clock):
    with vio.open_store(place, clock=clock) as store:
        worked = store.subscription("worked", "weather@main", partitions="{year}/{month}.csv")
        worked.collect()
        worked.complete(worked.claim("2012-01", owner="me"))
        store.subscription("new", "weather@main")
    found = {one.name: one for one in status(place, clock).subscriptions}
    assert {name: (one.branch, one.due, one.oldest_request, one.is_behind) for name, one in found.items()} == {
        "worked": ("weather@main", 2, START, False),
        "new": ("weather@main", 0, None, True),
    }


def test_maintenance_becomes_overdue_and_is_no_longer_once_it_was_done(place, clock):
    assert status(place, clock).overdue is None
    clock.now = START + timedelta(days=8)
    found = status(place, clock)
    assert "nothing was done since 2026-01-01): run `versioned maintain`" in found.overdue
    assert found.problems == ()
    with vio.open_store(place, clock=clock) as store:
        store.maintain()
    assert (status(place, clock).overdue, status(place, clock).maintained_at) == (None, clock.now)


def test_noted_damage_without_an_intact_copy_is_a_problem(place, clock):
    content = random.Random(1).randbytes(100_000)
    with vio.open_store(place, clock=clock) as store, store.transaction("empty@main") as tx:
        tx.write("big", content)
    (pack,) = (one for one in (place / "packs").rglob("*.pack") if one.stat().st_size > len(content))
    data = pack.read_bytes()
    at = data.index(content[50_000:50_100])
    pack.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with vio.open_store(place, clock=clock) as store:
        assert store.status().damages == 0  # nobody has read it yet
        with pytest.raises(errors.IntegrityError):
            store.snapshot("empty@main").read("big")
    found = status(place, clock)
    assert found.damages == 1
    assert any("no intact copy: run `versioned fsck`" in one for one in found.problems)


def test_a_copy_of_a_catalog_that_is_not_the_owner_says_so(place, clock, tmp_path):
    shutil.copy(place / "catalog.db", tmp_path / "copy.db")
    with vio.open_store(place, catalog=f"sqlite:///{tmp_path}/copy.db", clock=clock) as store:
        found = store.status()
    assert (found.is_owner, found.owner) == (False, f"sqlite:///{place}/catalog.db")
    assert "versioned adopt" in found.problems[0]
    assert status(place, clock).is_owner is True


def test_the_problem_of_a_maintenance_task_is_shown(place, clock):
    with vio.open_store(place, clock=clock) as store:
        store.maintain()
    with closing(sqlite3.connect(place / "catalog.db")) as catalog, catalog:
        catalog.execute("UPDATE maintenance SET problem = 'it is broken' WHERE task = 'mark'")
        assert catalog.execute("SELECT changes()").fetchone() == (1,)
    assert "mark: it is broken" in status(place, clock).problems
