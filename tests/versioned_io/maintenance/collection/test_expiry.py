"""What is forgotten is found while nobody waits, and names that move meanwhile keep what they lead to."""

from datetime import timedelta

import pytest

from versioned_io.catalog import collection
from versioned_io.errors import CommitForgottenError
from versioned_io.maintenance.collection import expiry

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


@pytest.fixture
def repo(new_store, write):
    store = new_store()
    store.create_repo("r")
    for number in range(6):
        write(store, "r@main", {"a": b"%d" % number})
    return store


def forgotten_with(repo, monkeypatch, action):
    """Collect, with *action* just after the candidates were found, outside of any transaction."""
    original = repo._backend.catalog.__class__.write
    calls = []

    def write_after(self):
        if not calls:
            calls.append(1)
            monkeypatch.undo()
            action()
        return original(self)

    find = expiry._find_candidates

    def found(*arguments):
        seen = find(*arguments)
        monkeypatch.setattr(type(repo._backend.catalog), "write", write_after)
        return seen

    monkeypatch.setattr(expiry, "_find_candidates", found)
    return repo.gc(**NOW).forgotten


def test_a_tag_on_a_commit_that_was_to_go_keeps_it_and_what_it_stands_on(repo, monkeypatch):
    third = repo.commit("r@main~3")
    repo.reset("r@main", "r@main~5")
    assert forgotten_with(repo, monkeypatch, lambda: repo.create_tag("r@late", at=third.id)) == 3
    assert repo.snapshot("r@late").read("a") == b"2"
    assert repo.snapshot("r@late~1").read("a") == b"1"


def test_a_commit_on_a_branch_that_was_made_of_one_that_was_to_go_keeps_it(repo, write, monkeypatch):
    last = repo.commit("r@main")
    repo.reset("r@main", "r@main~5")

    def revive():
        repo.create_branch("r@back", at=last.id)
        write(repo, "r@back", {"b": b"1"})
        write(repo, "r@back", {"b": b"2"})

    assert forgotten_with(repo, monkeypatch, revive) == 0
    assert repo.snapshot("r@back~2").read("a") == b"5"


def test_a_commit_on_a_branch_with_a_rule_keeps_no_more_than_the_rule(repo, write, monkeypatch):
    repo.set_retention("r@main", keep_last=2)
    assert forgotten_with(repo, monkeypatch, lambda: write(repo, "r@main", {"a": b"new"})) == 4
    with pytest.raises(CommitForgottenError):
        repo.snapshot("r@main~3").read("a")


def test_a_rule_that_was_lifted_meanwhile_keeps_everything(repo, monkeypatch):
    repo.set_retention("r@main", keep_last=2)
    assert forgotten_with(repo, monkeypatch, lambda: repo.set_retention("r@main")) == 0
    assert repo.snapshot("r@main~5").read("a") == b"0"


def test_without_anything_to_forget_nobody_is_held_up(repo, monkeypatch):
    def held(_connection):
        raise AssertionError("the names were held")

    monkeypatch.setattr(collection, "hold_names", held)
    assert repo.gc(**NOW).forgotten == 0


def test_under_the_lock_the_commits_are_not_looked_through_again(repo, monkeypatch, write):
    repo.set_retention("r@main", keep_last=2)
    looked = []
    original = collection.live_commits
    monkeypatch.setattr(collection, "live_commits", lambda connection: looked.append(1) or original(connection))
    assert repo.gc(**NOW).forgotten == 4
    assert len(looked) == 1
