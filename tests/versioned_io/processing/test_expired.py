"""What changed since a commit whose data has expired, with its pages stored and with its pages deleted."""

from datetime import timedelta

import pytest

import versioned_io as vio
from versioned_io.errors import CommitForgottenError, PackLostError
from versioned_io.processing import expired
from versioned_io.storage.pages.page_source import PageSource

TEMPLATE = "{year}/{month}.csv"


@pytest.fixture
def timed(tmp_path, clock):
    with vio.create_store(tmp_path / "timed", clock=clock) as store:
        store.create_repo("weather")
        yield store


class LostPages(PageSource):
    """The pages of a tree after compaction has deleted them."""

    def load_many(self, frames, level, *, is_long_scan=False):
        raise PackLostError(frames[0].pack.hex(), "memory://")


@pytest.fixture(params=["stored", "deleted"])
def pages(request, monkeypatch):
    """Whether the pages of expired commits are stored, or deleted, as compaction leaves them in the end."""
    if request.param == "deleted":
        monkeypatch.setattr(expired, "PageSource", LostPages)  # there it is made for expired trees alone
    return request.param


def months(*numbers: int) -> dict[str, bytes | None]:
    return {f"2012/{number:02}.csv": b"%d" % number for number in numbers}


def expire(store, clock, *, keep_last: int = 1) -> None:
    """Let retention and gc expire all but the newest commits."""
    store.set_retention("weather@main", keep_last=keep_last)
    clock.advance(60)
    store.gc(grace=timedelta(0), expire=timedelta(0))


def changed_since(store, seen):
    with pytest.raises(CommitForgottenError):
        store.snapshot(f"weather@{seen.id}").read("2012/01.csv")
    return store.changes("weather@main", since=seen.id, partitions=TEMPLATE)


def test_exactly_what_was_written_after_an_expired_commit_is_changed(timed, write, clock, pages):
    write(timed, "weather@main", months(1, 2, 3))
    seen = write(timed, "weather@main", months(4))
    write(timed, "weather@main", {"2012/02.csv": b"new"})
    write(timed, "weather@main", {"2012/05.csv": b"new", "readme": b"1"})
    expire(timed, clock)
    found = changed_since(timed, seen)
    assert list(found.keys) == ["2012-02", "2012-05"]
    assert (found.deleted, len(found.commits)) == ({}, 2)
    assert bool(found.unknown) == (pages == "deleted")


def test_deletions_are_found_where_a_tree_is_kept_and_else_it_is_said_that_they_are_not(timed, write, clock, pages):
    write(timed, "weather@main", months(1, 2, 3, 4))
    seen = write(timed, "weather@main", months(5))
    write(timed, "weather@main", {"2012/01.csv": None})
    write(timed, "weather@main", {"2012/06.csv": b"1"})
    write(timed, "weather@main", {"2012/02.csv": None})
    expire(timed, clock, keep_last=2)
    found = changed_since(timed, seen)
    assert list(found.keys) == ["2012-06"]
    assert list(found.deleted) == (["2012-01", "2012-02"] if pages == "stored" else ["2012-02"])
    assert ("files that were deleted since may be missing" in found.unknown) == (pages == "deleted")
    assert seen.id in found.unknown or pages == "stored"


def test_the_files_of_a_dropped_commit_are_changed_back(timed, write, pages):
    write(timed, "weather@main", months(*range(1, 13)))
    seen = write(timed, "weather@main", {"2012/03.csv": b"wrong", "2012/04.csv": b"wrong"})
    timed.drop("weather@main")
    assert list(changed_since(timed, seen).keys) == ["2012-03", "2012-04"]
    write(timed, "weather@main", {"2012/09.csv": b"new"})
    found = changed_since(timed, seen)
    assert {key: commit.number for key, commit in found.keys.items()} == {"2012-03": 2, "2012-04": 2, "2012-09": 2}


def test_a_squash_changes_only_what_came_after_the_commit_that_was_seen(timed, write, clock, pages):
    write(timed, "weather@main", months(1, 2))
    write(timed, "weather@main", {"2012/01.csv": b"new"})
    seen = write(timed, "weather@main", months(3))
    write(timed, "weather@main", {"2012/02.csv": b"later", "2012/04.csv": b"later"})
    timed.squash("weather@main")
    clock.advance(60)
    timed.gc(grace=timedelta(0), expire=timedelta(0))
    assert list(changed_since(timed, seen).keys) == ["2012-02", "2012-04"]
    write(timed, "weather@main", {"2012/05.csv": b"1"})
    expire(timed, clock)
    assert list(changed_since(timed, seen).keys) == ["2012-02", "2012-04", "2012-05"]


def test_all_was_seen_before_a_squash(timed, write, clock, pages):
    write(timed, "weather@main", months(1, 2))
    seen = write(timed, "weather@main", months(3))
    timed.squash("weather@main")
    clock.advance(60)
    timed.gc(grace=timedelta(0), expire=timedelta(0))
    found = changed_since(timed, seen)
    assert (found.keys, found.deleted) == ({}, {})
    assert "may be missing" not in found.unknown


def test_a_merge_since_is_found_though_its_files_name_commits_of_another_branch(timed, write, clock, pages):
    first = write(timed, "weather@main", months(1, 2, 3))
    timed.create_branch("weather@dev", at="weather@main")
    write(timed, "weather@dev", {"2012/02.csv": b"dev"})
    seen = write(timed, "weather@main", {"2012/01.csv": b"new"})
    timed.merge("weather@dev", into="weather@main")
    write(timed, "weather@main", {"readme": b"1"})
    timed.delete_branch("weather@dev", force=True)
    expire(timed, clock)
    assert list(changed_since(timed, seen).keys) == ["2012-02"]
    assert list(changed_since(timed, first).keys) == ["2012-01", "2012-02"]


def test_the_cursor_of_a_subscription_holds_its_commit(timed, write, clock):
    seen = write(timed, "weather@main", months(1, 2))
    subscription = timed.subscription("model", "weather@main", partitions=TEMPLATE)
    subscription.advance(seen)
    write(timed, "weather@main", {"2012/02.csv": b"new"})
    expire(timed, clock)
    assert timed.snapshot(f"weather@{seen.id}").read("2012/01.csv") == b"1"
    assert subscription.collect() == 1
