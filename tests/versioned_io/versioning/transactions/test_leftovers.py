"""A write that is known to have had no effect leaves nothing behind; one whose outcome is unknown leaves everything."""

import random
from datetime import timedelta

import pytest

import versioned_io as vio
from tests.versioned_io.conftest import commit_files
from tests.versioned_io.older_catalogs import packs_in
from versioned_io.errors import (
    ClaimLostError,
    CommitForgottenError,
    ConflictError,
    EmptyCommitError,
    OutcomeUnknownError,
    PathCollisionError,
    StorageError,
    VersionedError,
)
from versioned_io.storage.packs.writer import PackWriter
from versioned_io.versioning.naming import naming as names
from versioned_io.versioning.transactions import publish

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path, write):
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "any", catalog=catalog) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"0", "d/x": b"0"})
        yield store


def noise(size):
    return random.Random(size).randbytes(size)


def commit_beside(store, write, files, **options):
    """Return a ``_commit_drafts`` before which another writer commits, once: the attempt has stored its record."""
    real = publish._commit_drafts
    waiting = [files]

    def commit(*arguments):
        if waiting:
            write(store, "r@main", waiting.pop(), **options)
        return real(*arguments)

    return commit


@pytest.mark.parametrize("size", [10, 9_000_000])
@pytest.mark.parametrize("theirs", [{"a": b"theirs"}, {"a/b": b"theirs", "a": None}, {"b": b"theirs"}])
def test_a_writer_that_loses_deletes_what_it_stored(store, write, monkeypatch, size, theirs):
    before = packs_in(store)
    monkeypatch.setattr(publish, "_commit_drafts", commit_beside(store, write, theirs))
    if "b" in theirs:  # so that the first attempt has a record, and the second one finds a collision
        mine, error = {"a": noise(size), "b/c": b""}, PathCollisionError
    else:
        mine, error = {"a": noise(size)}, ConflictError
    with pytest.raises((error, ConflictError)):
        write(store, "r@main", mine)
    assert len(packs_in(store)) == len(before) + 1
    assert store.gc(**NOW).unclear == ()
    assert store.fsck().is_clean


@pytest.mark.parametrize("empty", ["refuse", "skip"])
def test_a_writer_whose_change_was_made_by_another_deletes_what_it_stored(store, write, monkeypatch, empty):
    before = packs_in(store)
    monkeypatch.setattr(publish, "_commit_drafts", commit_beside(store, write, {"a": b"same"}))
    if empty == "refuse":
        with pytest.raises(EmptyCommitError):
            write(store, "r@main", {"a": b"same"}, empty=empty)
    else:
        write(store, "r@main", {"a": b"same"}, empty=empty)
    assert len(packs_in(store)) == len(before) + 1
    assert store.gc(**NOW).unclear == ()


def test_a_second_try_of_one_transaction_deletes_what_it_stored(store, write, monkeypatch):
    before = packs_in(store)
    beside = commit_beside(store, write, {"a": b"1"}, idempotency_key="k")
    monkeypatch.setattr(publish, "_commit_drafts", beside)
    write(store, "r@main", {"a": b"1"}, idempotency_key="k")
    assert len(packs_in(store)) == len(before) + 1
    assert store.gc(**NOW).unclear == ()


@pytest.mark.parametrize("error", [ClaimLostError("s", "k", "another"), StorageError("the catalog is gone")])
def test_whatever_refuses_a_commit_its_packs_are_deleted(store, write, monkeypatch, error):
    before = packs_in(store)

    def refuse(*_arguments, **_options):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(publish, "publish", refuse)
        with pytest.raises(type(error)):
            write(store, "r@main", {"a": b"1"})
    assert packs_in(store) == before
    write(store, "r@main", {"a": b"1"})
    assert store.gc(**NOW).unclear == ()


def test_a_writer_that_does_not_know_its_outcome_deletes_nothing(store, write, monkeypatch):
    before = packs_in(store)
    real = publish._commit_drafts

    def commit(*arguments):
        real(*arguments)
        raise OutcomeUnknownError("the catalog", "it can't be asked")

    with monkeypatch.context() as patched:
        patched.setattr(publish, "_commit_drafts", commit)
        with pytest.raises(OutcomeUnknownError):
            write(store, "r@main", {"a": b"1"})
    assert len(packs_in(store)) == len(before) + 1
    assert store.snapshot("r@main").read("a") == b"1"


def test_packs_that_have_a_row_are_left_whatever_the_writer_believes(store, write, monkeypatch):
    real = publish._commit_drafts

    def commit(*arguments):
        real(*arguments)
        raise ConflictError("r@main", ("a",), "0" * 32)  # which is not true: it was committed

    with monkeypatch.context() as patched:
        patched.setattr(publish, "_commit_drafts", commit)
        with pytest.raises(VersionedError):
            write(store, "r@main", {"a": b"1"})
    assert store.snapshot("r@main").read("a") == b"1"
    assert store.fsck().is_clean


def test_a_change_of_names_that_fails_half_way_leaves_no_entry(store, write, monkeypatch):
    store.create_branch("r@dev", at="r@main")
    write(store, "r@dev", {"b": b"1"})
    store.delete_repo("r")
    store.gc(**NOW)
    before = packs_in(store)
    with pytest.raises(CommitForgottenError):
        store.restore_repo("r")
    assert packs_in(store) == before
    assert store.gc(**NOW).unclear == ()


def test_an_entry_whose_transaction_is_refused_at_its_end_is_deleted(store, monkeypatch):
    before = packs_in(store)

    def refuse(*_arguments):
        raise StorageError("the catalog is gone")

    with monkeypatch.context() as patched:
        patched.setattr(names.catalog, "set_epoch", refuse)
        with pytest.raises(StorageError):
            store.create_branch("r@dev", at="r@main")
        patched.setattr(names.catalog, "set_head", refuse)
        with pytest.raises(StorageError):
            store.reset("r@main", "r@main")
    assert packs_in(store) == before
    assert store.gc(**NOW).unclear == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.create_tag("r@v", at="r@main"),
        lambda store: store.squash("r@main"),
        lambda store: commit_files(store, "r@main", {"a": b"1"}),
    ],
)
def test_a_pack_that_arrived_although_its_put_failed_is_deleted(store, write, monkeypatch, change):
    write(store, "r@main", {"a": b"2"})
    before = packs_in(store)
    real = PackWriter.close

    def close(pack):
        real(pack)
        raise StorageError("no reply came")

    with monkeypatch.context() as patched:
        patched.setattr(PackWriter, "close", close)
        with pytest.raises(StorageError):
            change(store)
    assert packs_in(store) == before
    change(store)
    assert store.gc(**NOW).unclear == ()
