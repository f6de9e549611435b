"""Commits found by time, by the start of an ID, and by steps back."""

from datetime import timedelta

import pytest

import versioned_io as vio
from versioned_io.errors import RefNotFoundError, RefSyntaxError


@pytest.fixture
def story(tmp_path, write, clock):
    """r@main with a commit each hour, from 2026-01-01T01:00; reset to the second at 04:30, one more at 05:00."""
    with vio.create_store(tmp_path / "s", clock=clock) as store:
        store.create_repo("r")
        made = []
        for number in range(4):
            clock.advance(3600)
            made.append(write(store, "r@main", {"a": b"%d" % number}))
        clock.advance(1800)
        store.reset("r@main", "r@main~2")
        clock.advance(1800)
        made.append(write(store, "r@main", {"a": b"5"}))
        yield store, made


@pytest.mark.parametrize(
    ("time", "number"),
    [
        ("2026-01-01T01:00:00", 0),
        ("2026-01-01T01:59:59.999999+00:00", 0),
        ("2026-01-01T03:00:00+01:00", 1),
        ("2026-01-01T04:29:00", 3),
        ("2026-01-01T04:30:00", 1),
        ("2026-01-01T04:59:00", 1),
        ("2026-01-01T05:00:00", 4),
        ("2026-01-01", 4),
        ("2026-01-02", 4),
        ("2030-01-01", 4),
    ],
)
def test_where_a_branch_was_at_a_time(story, time, number):
    store, made = story
    assert store.commit(f"r@main@{{{time}}}") == made[number]
    assert store.snapshot(f"r@main@{{{time}}}").read("a") == store.snapshot(f"r@{made[number].id}").read("a")


def test_a_time_and_steps_and_a_path(story):
    store, made = story
    assert store.commit("r@main@{2026-01-01T04:29:00}~2") == made[1]
    assert store.upstream("r@main@{2026-01-01T04:29:00}:a").roots == (made[3].id,)


def test_a_branch_that_was_forked_or_renamed_meanwhile(story, clock, write):
    store, made = story
    store.create_branch("r@dev", at=f"r@{made[2].id}")
    clock.advance(3600)
    later = write(store, "r@dev", {"b": b"1"})
    store.rename_branch("r@dev", "other")
    assert store.commit("r@other@{2026-01-01T05:30:00}") == made[2]
    assert store.commit("r@other@{2030-01-01}") == later
    with pytest.raises(RefNotFoundError, match="did not exist"):
        store.commit("r@other@{2026-01-01T04:00:00}")


def test_a_time_before_everything(story):
    store, _ = story
    with pytest.raises(RefNotFoundError, match="no commit yet"):
        store.commit("r@main@{2026-01-01T00:30:00}")
    with pytest.raises(RefNotFoundError, match="did not exist"):
        store.commit("r@main@{2025-01-01}")
    with pytest.raises(RefNotFoundError, match="no branch"):
        store.commit("r@nothing@{2026-01-01}")


@pytest.mark.parametrize("text", ["r@main@{yesterday}", "r@main@{2026-01-01", "r@main@{}", "r@main@{2026-13-01}"])
def test_what_is_no_time_is_refused(story, text):
    with pytest.raises(RefSyntaxError, match="is not a time"):
        story[0].commit(text)


@pytest.mark.parametrize(
    ("text", "number"), [("^", 1), ("^^", 0), ("~1", 1), ("^2", 0), ("~^", 0), ("~", 1), ("~0", 4)]
)
def test_steps_back(story, text, number):
    store, made = story
    assert store.commit(f"r@main{text}") == made[number]


def test_the_start_of_an_id_is_enough_when_only_one_begins_so(story, write):
    store, made = story
    assert store.commit(f"r@{made[0].id[:31]}") == made[0]
    assert store.commit(f"r@{made[3].lineage_id[:31]}") == made[3]
    with pytest.raises(RefSyntaxError, match=f"several IDs begin with it: .*{made[0].id}"):
        store.commit(f"r@{made[0].id[:4]}")
    with pytest.raises(RefNotFoundError):
        store.commit(f"r@{made[0].id[:3]}")
    with pytest.raises(RefNotFoundError):
        store.commit("r@ffffffff")
    with pytest.raises(RefSyntaxError, match="the beginning of the ID"):
        store.create_branch(f"r@{made[0].id[:31]}", at=f"r@{made[1].id}")  # it would hide the commit
    assert store.commit(f"r@{made[0].id[:31]}") == made[0]
    assert timedelta(0) < made[1].created_at - made[0].created_at
