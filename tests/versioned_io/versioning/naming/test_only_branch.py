"""The only branch of a repo is not deleted by mistake; a reflog is of the present repo alone."""

import pytest

import versioned_io as vio
from versioned_io.errors import InvalidInputError, RefNotFoundError


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path, write):
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "s", catalog=catalog) as made:
        made.create_repo("r")
        yield made


def test_the_only_branch_must_be_forced_and_comes_back(store, write):
    with pytest.raises(InvalidInputError, match=r"only branch.*versioned repo delete r"):
        store.delete_branch("r@main", force=True)  # without a commit nothing could begin another one
    head = write(store, "r@main", {"a": b"1"})
    with pytest.raises(InvalidInputError, match=r"only branch.*--force"):
        store.delete_branch("r@main")
    assert store.delete_branch("r@main", force=True) == head.id
    store.create_branch("r@main", at=f"r@{head.id}")
    assert store.commit("r@main") == head
    store.create_branch("r@dev", at="r@main")
    store.delete_branch("r@main")
    assert [branch.name for branch in store.branches("r")] == ["dev"]
    assert store.fsck().is_clean


def test_the_reflog_of_a_new_repo_says_nothing_of_a_deleted_one(store, write):
    write(store, "r@main", {"a": b"1"})
    store.create_branch("r@dev", at="r@main")
    store.protect_branch("r@main")
    before = store.reflog("r@main")
    store.delete_repo("r", force=True)
    store.restore_repo("r")
    assert store.reflog("r@main")[: len(before)] == before  # it is the same repo
    restored = store.reflog("r@main")
    store.delete_repo("r", force=True)
    store.create_repo("r")
    assert [one.entry.action.value for one in store.reflog("r@main")] == ["create_repo"]
    with pytest.raises(RefNotFoundError):
        store.reflog("r@dev")
    store.delete_repo("r")
    # The newest one of this name comes back, and what was told of it.
    store.restore_repo("r")
    assert [one.entry.action.value for one in store.reflog("r@main")] == ["create_repo", "delete_branch", "create_repo"]
    assert restored
