"""A repo is deleted with all its names, can be brought back until it is collected, and lineage still names it."""

import shutil
from datetime import timedelta

import pytest

import versioned_io as vio
from versioned_io.errors import (
    CommitForgottenError,
    ExistsError,
    InvalidInputError,
    NotFoundError,
    RefNotFoundError,
    RepoNotFoundError,
)

NOW = timedelta(0)


@pytest.fixture(params=["sqlite", "postgresql"])
def filled(request, tmp_path, write):
    """A store with the repo r, which has branches, a tag, protection and a rule; s took a file of it by reference."""
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "s", catalog=catalog) as store:
        store.create_repo("r", description="rain")
        store.create_repo("s")
        write(store, "r@main", {"a": b"1" * 100_000})
        store.create_branch("r@dev", at="r@main")
        write(store, "r@dev", {"b": b"2"})
        store.create_branch("r@gone", at="r@dev")
        store.delete_branch("r@gone")
        store.create_tag("r@v1", at="r@main")
        store.protect_branch("r@dev")
        store.set_retention("r@main", keep_last=9)
        with store.transaction("s@main") as tx:
            tx.copy("r@main:a", to="copied")
        yield store


def names_of(store, repo="r"):
    info = store.repo(repo)
    branches = [(one.name, one.head, one.is_protected, store.retention(f"{repo}@{one.name}")) for one in info.branches]
    return info.description, branches, store.tags(repo)


def test_a_repo_that_was_deleted_is_gone_with_all_its_names(filled):
    deleted = filled.delete_repo("r", force=True)
    assert [branch.name for branch in deleted.branches] == ["dev", "main"]
    assert [repo.name for repo in filled.repos()] == ["s"]
    for call in (
        lambda: filled.repo("r"),
        lambda: filled.snapshot("r@main"),
        lambda: filled.transaction("r@main"),
        lambda: filled.tags("r"),
        lambda: filled.create_branch("r@new", at="r@main"),
        lambda: filled.delete_repo("r"),
    ):
        with pytest.raises(RepoNotFoundError, match="versioned repo restore r"):
            call()
    assert filled.fsck().is_clean


def test_it_comes_back_as_it_was(filled, files_of):
    before = names_of(filled)
    filled.delete_repo("r", force=True)
    restored = filled.restore_repo("r")
    assert names_of(filled) == before
    assert restored == filled.repo("r")
    assert files_of(filled, "r@dev") == {"a": b"1" * 100_000, "b": b"2"}
    with filled.transaction("r@main") as tx:
        tx.write("after", b"1")
    assert tx.commit.number == 2
    assert filled.fsck().is_clean
    with pytest.raises(ExistsError):
        filled.restore_repo("r")


def test_a_repo_without_main_or_without_commits_comes_back_so(filled):
    filled.delete_branch("s@main", force=True)
    filled.create_repo("empty")
    for repo in ("s", "empty"):
        before = names_of(filled, repo)
        filled.delete_repo(repo)
        filled.restore_repo(repo)
        assert names_of(filled, repo) == before
    assert filled.fsck().is_clean


@pytest.mark.parametrize("reason", ["protected", "subscriptions"])
def test_what_is_protected_or_followed_must_be_forced(filled, reason):
    if reason == "subscriptions":
        filled.protect_branch("r@dev", False)
        filled.subscription("reader", "r@main")
    before = names_of(filled)
    with pytest.raises(InvalidInputError, match=f"{reason}.*force=True"):
        filled.delete_repo("r")
    assert names_of(filled) == before
    filled.delete_repo("r", force=True)


def test_a_subscription_of_a_deleted_repo_says_so(filled):
    subscription = filled.subscription("reader", "r@main")
    filled.delete_repo("r", force=True)
    for call in (lambda: subscription.cursor, subscription.is_behind, subscription.due):
        with pytest.raises(NotFoundError, match="the subscription was deleted"):
            call()


def test_a_transaction_under_way_finds_its_branch_gone(filled):
    tx = filled.transaction("r@main")
    tx.write("late", b"1")
    filled.delete_repo("r", force=True)
    with pytest.raises(RefNotFoundError, match="deleted meanwhile"):
        tx.finish()


def test_lineage_still_names_it_and_references_stay_readable(filled, files_of):
    made_from = filled.commit("r@main").id
    filled.delete_repo("r", force=True)
    filled.gc(grace=NOW, expire=NOW)
    filled.compact()
    assert files_of(filled, "s@main") == {"copied": b"1" * 100_000}
    graph = filled.upstream("s@main")
    assert ("r", made_from) in {(commit.repo, commit.id) for commit in graph.commits}
    assert filled.fsck().is_clean


def test_collection_lets_go_of_it_only_after_the_expiry(filled):
    filled.delete_repo("r", force=True)
    filled.gc(grace=NOW)
    filled.restore_repo("r")
    filled.delete_repo("r", force=True)
    filled.gc(grace=NOW, expire=NOW)
    with pytest.raises(CommitForgottenError):
        filled.restore_repo("r")
    assert [repo.name for repo in filled.repos()] == ["s"]


def test_a_new_repo_may_have_the_name_meanwhile(filled, write, files_of):
    filled.delete_repo("r", force=True)
    filled.create_repo("r", description="new")
    assert names_of(filled)[:2] == ("new", [("main", None, False, None)])
    write(filled, "r@main", {"new": b"1"})
    with pytest.raises(ExistsError):
        filled.restore_repo("r")
    assert files_of(filled, "r@main") == {"new": b"1"}
    filled.delete_repo("r")
    filled.restore_repo("r")
    assert files_of(filled, "r@main") == {"new": b"1"}
    assert filled.fsck().is_clean


@pytest.mark.parametrize("then", ["deleted", "restored", "begun anew"])
def test_a_rebuild_knows_it(filled, tmp_path, write, then):
    filled.delete_repo("r", force=True)
    if then == "restored":
        filled.restore_repo("r")
        write(filled, "r@main", {"after": b"1"})
    if then == "begun anew":
        filled.create_repo("r", description="new")
        write(filled, "r@main", {"new": b"1"})
    repos = [repo.name for repo in filled.repos()]
    before = {repo: names_of(filled, repo) for repo in repos}
    report = vio.rebuild_store(tmp_path / "s", catalog=f"sqlite:///{tmp_path}/rebuilt.db")
    assert report.uncertain == ()
    with vio.open_store(tmp_path / "s", catalog=f"sqlite:///{tmp_path}/rebuilt.db") as store:
        assert {repo.name: names_of(store, repo.name) for repo in store.repos()} == before
        if then == "deleted":
            with pytest.raises(RepoNotFoundError, match="versioned repo restore r"):
                store.snapshot("r@main")
        assert store.fsck().is_clean


@pytest.mark.parametrize("then", ["deleted", "restored"])
def test_an_older_catalog_that_is_recovered_knows_it(tmp_path, write, then):
    place, old = tmp_path / "s", tmp_path / "old.db"
    with vio.create_store(place) as store:
        store.create_repo("r", description="rain")
        write(store, "r@main", {"a": b"1"})
        store.create_tag("r@v1", at="r@main")
    shutil.copy(place / "catalog.db", old)
    with vio.open_store(place) as store:
        store.delete_repo("r")
        if then == "restored":
            store.restore_repo("r")
            before = names_of(store)
    shutil.copy(old, place / "catalog.db")
    vio.recover_store(place)
    with vio.open_store(place) as store:
        assert [repo.name for repo in store.repos()] == ([] if then == "deleted" else ["r"])
        if then == "restored":
            assert names_of(store) == before
        assert store.fsck().is_clean
