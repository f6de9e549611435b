"""A transaction with an idempotency key commits once, however often, and from wherever, it is tried again."""

import random
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

import versioned_io as vio
from versioned_io.errors import (
    ConflictError,
    EmptyCommitError,
    InvalidInputError,
    NotFoundError,
    RefNotFoundError,
    StorageError,
)
from versioned_io.store import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def repo(request, tmp_path):
    """A store with the repos r and s, on each catalog."""
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(str(tmp_path / "s"), catalog=catalog) as store:
        store.create_repo("r")
        store.create_repo("s")
        yield store


@pytest.mark.parametrize("retries", ["any", "equal"])
def test_a_repo_that_is_renamed_in_between_keeps_the_key(repo, retries):
    def write(ref, between=lambda: None):
        with repo.transaction(ref, idempotency_key="once", retries=retries) as tx:
            tx.write("a", b"1")
            between()
        return tx.commit.id

    def write_beside_and_rename():
        repo.rename_repo("r", "new")
        others.append(write("new@main"))

    others = []
    first = write("r@main", write_beside_and_rename)
    assert [first] == others == ids(repo, "new@main")
    repo.delete_repo("new")
    repo.restore_repo("new")
    assert write("new@main", lambda: repo.rename_repo("new", "newer")) == first
    assert write("newer@main") == first
    assert ids(repo, "newer@main") == [first]


def test_a_key_of_a_transaction_under_way_has_the_new_name_of_its_repo(repo):
    with repo.transaction("r@main", idempotency_key="once") as tx:
        tx.write("a", b"1")
        repo.rename_repo("r", "new")
    with repo.transaction("new@main", idempotency_key="once") as again:
        again.write("a", b"1")
    assert again.commit.id == tx.commit.id


def test_a_transaction_on_a_deleted_branch_does_not_land_on_a_new_one(repo, write):
    write(repo, "r@main", {"a": b"1"})
    repo.create_branch("r@dev", at="r@main")
    with pytest.raises(RefNotFoundError, match="deleted meanwhile"), repo.transaction("r@dev") as tx:  # noqa: PT012
        tx.write("experimental", b"1")
        repo.delete_branch("r@dev")
        repo.create_branch("r@prod", at="r@main")
    assert [file.path for file in repo.snapshot("r@prod").walk()] == ["a"]


def test_a_deleted_subscription_is_not_taken_for_a_new_one(repo, write):
    write(repo, "r@main", {"a": b"1"})
    repo.create_branch("r@dev", at="r@main")
    old = repo.subscription("old", "r@dev")
    repo.delete_branch("r@dev", force=True)
    repo.subscription("new", "r@main").collect()
    with pytest.raises(NotFoundError):
        old.due()


def ids(store, branch):
    return [commit.id for commit in store.log(branch)]


def leases(store):
    from sqlalchemy import select

    from versioned_io.catalog import tables

    with store._backend.catalog.read() as connection:
        return connection.execute(select(tables.leases.c.id)).all()


def test_a_second_try_commits_nothing_and_returns_the_first_commit(repo, write, files_of):
    first = write(repo, "r@main", {"a": b"1"}, idempotency_key="job 1")
    write(repo, "r@main", {"b": b"1"})
    again = write(repo, "r@main", {"a": b"2", "c": b"2"}, idempotency_key="job 1")
    assert again == first
    assert files_of(repo, "r@main") == {"a": b"1", "b": b"1"}
    assert len(ids(repo, "r@main")) == 2


def test_another_key_is_another_transaction(repo, write):
    first = write(repo, "r@main", {"a": b"1"}, idempotency_key="job 1")
    second = write(repo, "r@main", {"a": b"2"}, idempotency_key="job 2")
    assert ids(repo, "r@main") == [second.id, first.id]


def test_all_branches_of_the_first_try_come_back_in_the_order_of_the_second(repo):
    with repo.transaction("r@main", idempotency_key="both") as tx:
        tx.write("a", b"1")
        other = tx.branch("s@main")
        other.write("b", b"1")
    with repo.transaction("s@main", idempotency_key="both") as retry:
        retry.write("b", b"2")
        retry_other = retry.branch("r@main")
        retry_other.write("a", b"2")
    assert (retry.commit, retry_other.commit) == (other.commit, tx.commit)
    assert (len(ids(repo, "r@main")), len(ids(repo, "s@main"))) == (1, 1)


@pytest.mark.parametrize("branches", [["s@main"], ["r@main", "s@main"]])
def test_a_key_of_work_on_other_branches_is_refused(repo, write, branches):
    write(repo, "r@main", {"a": b"1"}, idempotency_key="job 1")
    tx = repo.transaction(branches[0], idempotency_key="job 1")
    tx.write("a", b"1")
    for branch in branches[1:]:
        tx.branch(branch).write("a", b"1")
    with pytest.raises(InvalidInputError, match="'job 1' is that of a transaction on r@main, not on"):
        tx.finish()
    assert (len(ids(repo, "r@main")), ids(repo, "s@main")) == (1, [])


@pytest.mark.parametrize("key", ["", "x" * 251, "line\nbreak", 1, b"bytes"])
def test_what_can_be_no_key_is_refused_before_anything_is_staged(repo, key):
    with pytest.raises(InvalidInputError, match="not a valid idempotency key"):
        repo.transaction("r@main", idempotency_key=key)
    assert ids(repo, "r@main") == []


def test_a_try_that_changed_nothing_counts_too(repo, write):
    head = write(repo, "r@main", {"a": b"1"})
    with repo.transaction("r@main", idempotency_key="same") as tx:
        tx.write("a", b"1")
    with repo.transaction("r@main", idempotency_key="same") as retry:
        retry.write("a", b"2")
    assert (tx.changed, retry.changed) == (False, False)
    assert retry.commit == head
    assert ids(repo, "r@main") == [head.id]


def test_a_try_that_failed_leaves_the_key_unused(repo, write):
    write(repo, "r@main", {"a": b"1"})
    with (
        pytest.raises(EmptyCommitError),
        repo.transaction("r@main", empty="refuse", idempotency_key="once") as tx,
    ):
        tx.write("a", b"1")
    made = write(repo, "r@main", {"a": b"2"}, idempotency_key="once")
    assert ids(repo, "r@main")[0] == made.id


class Between:
    """An object store that lets somebody else act while the first pack of a commit is on its way."""

    def __init__(self, objects, act):
        self._objects = objects
        self._act = act

    def __getattr__(self, name):
        return getattr(self._objects, name)

    def put(self, key, data):
        self._objects.put(key, data)
        act, self._act = self._act, None
        if act is not None:
            act()


def beside(store, act):
    """Return the store as it is seen by somebody whose first PUT is followed by *act*."""
    return Store(store.url, replace(store._backend, objects=Between(store._backend.objects, act)))


@pytest.mark.parametrize("data", [b"1", b"2"])
def test_the_slower_of_two_tries_gets_the_commit_of_the_faster(repo, write, data):
    faster = []

    def act():
        faster.append(write(repo, "r@main", {"a": b"1"}, idempotency_key="race"))

    slower = write(beside(repo, act), "r@main", {"a": data}, idempotency_key="race")
    assert slower == faster[0]
    assert ids(repo, "r@main") == [slower.id]
    assert repo.fsck().is_clean


def test_the_slower_of_two_empty_tries_is_not_told_that_nothing_changed(repo, write):
    write(repo, "r@main", {"a": b"0"})
    faster = []

    def act():
        faster.append(write(repo, "r@main", {"a": None}, empty="refuse", idempotency_key="race"))

    slower = write(beside(repo, act), "r@main", {"a": None}, empty="refuse", idempotency_key="race")
    assert slower == faster[0]


def test_who_lost_to_other_work_is_told_so_whatever_the_key(repo, write):
    act = lambda: write(repo, "r@main", {"a": b"other"}, idempotency_key="other")  # noqa: E731
    with pytest.raises(ConflictError):
        write(beside(repo, act), "r@main", {"a": b"1"}, idempotency_key="mine")
    made = write(repo, "r@main", {"a": b"1"}, idempotency_key="mine")
    assert ids(repo, "r@main")[0] == made.id


def test_a_retry_that_comes_late_leaves_no_lease_behind(repo):
    def attempt(number):
        with repo.transaction("r@main", idempotency_key="large") as tx:
            for part in range(3):
                tx.write(f"{part}", random.Random(10 * number + part).randbytes(20_000_000))
            assert leases(repo)
        return tx.commit

    first = attempt(1)
    assert attempt(2) == first
    assert leases(repo) == []


def test_of_many_threads_with_one_key_exactly_one_commits(repo):
    started = threading.Barrier(6)
    found, failed = [], []

    def attempt(number):
        try:
            started.wait()
            with repo.transaction("r@main", idempotency_key="race") as tx:
                tx.write("a", b"%d" % number)
            found.append(tx.commit.id)
        except Exception as error:  # noqa: BLE001 (shown by the assertion below)
            failed.append(error)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(found) == 6
    assert set(found) == set(ids(repo, "r@main"))
    assert len(set(found)) == 1


class LosesReplies:
    """A catalog whose reply to the next commit is lost, and that can't be asked until it is back."""

    def __init__(self, catalog):
        self._catalog = catalog
        self.is_gone = False
        self.loses_next = False

    def __getattr__(self, name):
        return getattr(self._catalog, name)

    @contextmanager
    def write(self):
        with self._catalog.write() as connection:
            yield connection
        if self.loses_next:
            self.loses_next, self.is_gone = False, True
            raise StorageError("no reply came: try again")

    @contextmanager
    def read(self):
        if self.is_gone:
            raise StorageError("the catalog is out of reach: try again")
        with self._catalog.read() as connection:
            yield connection


def test_a_retry_after_a_lost_reply_finds_what_was_committed(repo, write):
    catalog = LosesReplies(repo._backend.catalog)
    shaky = Store(repo.url, replace(repo._backend, catalog=catalog))
    tx = shaky.transaction("r@main", idempotency_key="lost")
    tx.write("a", b"1")
    catalog.loses_next = True
    with pytest.raises(StorageError):
        tx.finish()
    made = ids(repo, "r@main")
    assert len(made) == 1
    catalog.is_gone = False
    assert write(shaky, "r@main", {"a": b"1"}, idempotency_key="lost").id == made[0]
    assert ids(repo, "r@main") == made


def test_a_key_outlives_the_process(tmp_path, write):
    with vio.create_store(str(tmp_path / "s")) as store:
        store.create_repo("r")
        first = write(store, "r@main", {"a": b"1"}, idempotency_key="once")
    with vio.open_store(str(tmp_path / "s")) as store:
        assert write(store, "r@main", {"a": b"2"}, idempotency_key="once") == first


def test_a_try_that_staged_nothing_uses_no_key(repo, write):
    with repo.transaction("r@main", idempotency_key="job 1"):
        pass
    commit = write(repo, "r@main", {"a": b"1"}, idempotency_key="job 1")
    assert ids(repo, "r@main") == [commit.id]


def test_a_try_whose_files_were_there_already_uses_its_key(repo, write, files_of):
    write(repo, "r@main", {"a": b"1"})
    write(repo, "r@main", {"a": b"1"}, idempotency_key="job 1")
    write(repo, "r@main", {"a": b"2"})
    write(repo, "r@main", {"a": b"1"}, idempotency_key="job 1")  # a retry must not take back what came after the first
    assert files_of(repo, "r@main") == {"a": b"2"}


def test_of_equal_retries_only_those_that_stage_the_same_are_retries(repo, write, files_of):
    def attempt(files):
        return write(repo, "r@main", files, idempotency_key="job 1", retries="equal", empty="allow")

    first = attempt({"a": b"1", "gone": None})
    assert attempt({"a": b"1", "gone": None}) == first
    second = attempt({"a": b"2", "gone": None})
    third = attempt({"a": b"1"})
    assert ids(repo, "r@main") == [third.id, second.id, first.id]
    assert attempt({"a": b"1", "gone": None}) == first
    assert files_of(repo, "r@main") == {"a": b"1"}


def test_equal_retries_tell_branches_and_attributes_apart(repo):
    def attempt(branch, **attributes):
        with repo.transaction("r@main", idempotency_key="job", retries="equal", empty="allow") as tx:
            tx.branch(branch).write("a", b"1", attributes=attributes)
        return tx.commit.id

    assert len({attempt("r@main"), attempt("s@main"), attempt("r@main", x="1"), attempt("r@main")}) == 3


def test_an_equal_retry_of_a_large_import_is_recognised(repo, tmp_path):
    for number in range(300):
        (tmp_path / f"in{number % 3}").mkdir(exist_ok=True)
        (tmp_path / f"in{number % 3}" / str(number)).write_bytes(b"%d" % number)

    def attempt(order):
        with repo.transaction("r@main", idempotency_key="job", retries="equal", empty="allow") as tx:
            for part in order:
                tx.write_tree(tmp_path / f"in{part}")
        return tx.commit.id

    assert attempt([0, 1, 2]) == attempt([2, 0, 1])


@pytest.mark.parametrize("options", [{"retries": "some"}, {"retries": "equal", "idempotency_key": "x" * 186}])
def test_retries_that_mean_nothing_are_refused(repo, options):
    with pytest.raises(InvalidInputError):
        repo.transaction("r@main", **options)


def test_garbage_collection_deletes_keys_that_nobody_retries_any_more(tmp_path, clock, write):
    with vio.create_store(str(tmp_path / "s")) as created:
        store = Store(created.url, replace(created._backend, clock=clock))
        store.create_repo("r")
        first = write(store, "r@main", {"a": b"1"}, idempotency_key="job")
        clock.advance(29 * 86_400)
        store.gc()
        assert write(store, "r@main", {"a": b"2"}, idempotency_key="job") == first
        clock.advance(2 * 86_400)
        store.gc()
        assert write(store, "r@main", {"a": b"2"}, idempotency_key="job") != first


@pytest.mark.parametrize("retries", ["any", "equal"])
@pytest.mark.parametrize("what", ["the branch", "the repo", "both"])
def test_a_retry_after_a_renaming_commits_nothing(repo, write, retries, what):
    store = repo
    store.create_repo("data")
    store.create_repo("other")
    store.create_branch("data@work", at="data@main")
    first = write(store, "data@work", {"a": b"1"}, idempotency_key="k", retries=retries, empty="allow")
    name, branch = "data", "work"
    if what != "the repo":
        branch = "done"
        store.rename_branch("data@work", "step")
        store.rename_branch("data@step", branch)
    if what != "the branch":
        name = "renamed"
        store.rename_repo("data", name)
    ref = f"{name}@{branch}"
    again = write(store, ref, {"a": b"1"}, idempotency_key="k", retries=retries, empty="allow")
    assert again.id == first.id
    assert store.commit(ref).id == first.id
    # A new branch of the old name is another one.
    if what == "the branch":
        store.create_branch("data@work", at="data@main")
        if retries == "any":
            with pytest.raises(InvalidInputError, match="another key"):
                write(store, "data@work", {"a": b"1"}, idempotency_key="k", retries=retries, empty="allow")
    different = write(store, ref, {"a": b"2"}, idempotency_key="k", retries=retries, empty="allow")
    assert (different.id == first.id) == (retries == "any")
    assert store.fsck().is_clean


@pytest.mark.parametrize("retries", ["any", "equal"])
def test_a_retry_after_a_renaming_and_a_rebuild_commits_nothing(tmp_path, write, retries):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("data")
        first = write(store, "data@main", {"a": b"1"}, idempotency_key="k", retries=retries)
        store.rename_branch("data@main", "step")
        store.rename_branch("data@step", "done")
        store.create_branch("data@main", at="data@done")
        store.delete_branch("data@main")
    for file in (tmp_path / "s").glob("catalog.db*"):
        file.unlink()
    vio.rebuild_store(tmp_path / "s")
    with vio.open_store(tmp_path / "s") as store:
        again = write(store, "data@done", {"a": b"1"}, idempotency_key="k", retries=retries, empty="allow")
        assert again.id == first.id == store.commit("data@done").id
