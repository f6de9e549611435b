"""A cursor outside of the store holds its commit against expiry, for a time."""

from datetime import timedelta

import pytest

import versioned_io as vio
from versioned_io.catalog.held_cursors import held_at_heads, renew_holds
from versioned_io.errors import CommitForgottenError, InvalidInputError, NotFoundError
from versioned_io.model.commits import CommitState

DAYS = timedelta(days=30)
NONE = timedelta(0)


@pytest.fixture
def timed(tmp_path, clock):
    with vio.create_store(tmp_path / "timed", clock=clock) as store:
        store.create_repo("weather")
        store.set_retention("weather@main", keep_last=1)
        yield store


def is_kept(store, commit) -> bool:
    return store.commit(commit.id).state is CommitState.LIVE


def collect(store, clock, after: timedelta) -> None:
    clock.advance(after.total_seconds())
    store.gc(grace=NONE, expire=NONE)


def test_a_held_commit_is_kept_until_the_time_is_over(timed, write, clock):
    seen = write(timed, "weather@main", {"a": b"1"})
    timed.hold_cursor("sensor", seen, hold_for=DAYS)
    between = write(timed, "weather@main", {"a": b"2"})
    write(timed, "weather@main", {"a": b"3"})
    collect(timed, clock, timedelta(days=29))
    assert is_kept(timed, seen)
    assert not is_kept(timed, between)
    assert timed.snapshot(f"weather@{seen.id}").read("a") == b"1"
    collect(timed, clock, timedelta(days=2))
    assert not is_kept(timed, seen)


def test_the_time_begins_when_the_commit_is_no_longer_the_head(timed, write, clock):
    seen = write(timed, "weather@main", {"a": b"1"})
    timed.hold_cursor("sensor", seen, hold_for=DAYS)
    collect(timed, clock, timedelta(days=90))
    write(timed, "weather@main", {"a": b"2"})
    collect(timed, clock, timedelta(days=29))
    assert is_kept(timed, seen)
    collect(timed, clock, timedelta(days=2))
    assert not is_kept(timed, seen)


def test_a_cursor_that_moves_on_lets_the_commit_before_expire(timed, write, clock):
    commits = [write(timed, "weather@main", {"a": bytes([number])}) for number in range(3)]
    for commit in commits[:2]:
        timed.hold_cursor("sensor", commit, hold_for=DAYS)
    timed.hold_cursor("another", commits[1].id, hold_for=NONE)
    collect(timed, clock, timedelta(minutes=1))
    assert [is_kept(timed, commit) for commit in commits] == [False, True, True]


def test_a_held_commit_can_be_dropped(timed, write):
    write(timed, "weather@main", {"a": b"1"})
    head = write(timed, "weather@main", {"a": b"2"})
    timed.hold_cursor("sensor", head, hold_for=DAYS)
    timed.drop("weather@main")
    with pytest.raises(CommitForgottenError):
        timed.snapshot(f"weather@{head.id}").read("a")


def test_a_name_that_can_not_be_kept_is_refused(timed, write):
    head = write(timed, "weather@main", {"a": b"1"})
    for name in ("", "x" * 251):
        with pytest.raises(InvalidInputError, match="1 to 250 characters"):
            timed.hold_cursor(name, head, hold_for=DAYS)


def test_a_collection_does_not_renew_a_hold_that_was_replaced_meanwhile(timed, write, clock):
    first = write(timed, "weather@main", {"a": b"1"})
    timed.hold_cursor("sensor", first, hold_for=timedelta(days=1))
    with timed._backend.catalog.read() as connection:
        held = held_at_heads(connection)
    second = write(timed, "weather@main", {"a": b"2"})
    timed.hold_cursor("sensor", second, hold_for=DAYS)
    with timed._backend.catalog.write() as connection:
        renew_holds(connection, held, clock())
    write(timed, "weather@main", {"a": b"3"})
    collect(timed, clock, timedelta(days=29))
    assert is_kept(timed, second)


def test_a_hold_is_in_a_backup(timed, write, clock, tmp_path):
    seen = write(timed, "weather@main", {"a": b"1"})
    timed.hold_cursor("sensor", seen, hold_for=DAYS)
    write(timed, "weather@main", {"a": b"2"})
    timed.backup(tmp_path / "backup")
    vio.restore_store(tmp_path / "backup", tmp_path / "restored")
    with vio.open_store(tmp_path / "restored", clock=clock) as restored:
        collect(restored, clock, timedelta(days=29))
        assert is_kept(restored, seen)


def test_a_commit_of_another_store_can_not_be_held(timed, tmp_path):
    with vio.create_store(tmp_path / "other") as other:
        other.create_repo("r")
        with other.transaction("r@main") as tx:
            tx.write("a", b"1")
    with pytest.raises(NotFoundError, match=tx.commit.id):
        timed.hold_cursor("sensor", tx.commit, hold_for=DAYS)
