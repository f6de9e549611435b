"""A repo gets another name: who uses it goes on, lineage shows the new name, and the packs tell a rebuild of it."""

import shutil
from datetime import timedelta
from multiprocessing import get_context

import pytest

import versioned_io as vio
from versioned_io.errors import (
    ExistsError,
    InvalidInputError,
    RepoNotFoundError,
    VersionedError,
)

NOW = timedelta(0)


@pytest.fixture(params=["sqlite", "postgresql"])
def filled(request, tmp_path, write):
    """A store with the repos r and s; r has branches and a tag, and s was made from it."""
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "s", catalog=catalog) as store:
        store.create_repo("r", description="rain")
        store.create_repo("s", description="sun")
        write(store, "r@main", {"a": b"1" * 100_000})
        store.create_branch("r@dev", at="r@main")
        write(store, "r@dev", {"b": b"2"})
        store.create_tag("r@v1", at="r@main")
        store.set_retention("r@main", keep_last=9)
        with store.run("job"):
            store.snapshot("r@main").read("a")
            write(store, "s@main", {"made": b"of it"})
        yield store


def told(store):
    """What a store says of its names, its history and its lineage."""
    found = {}
    for repo in store.repos():
        branches = [(one.name, one.head, one.is_protected) for one in repo.branches]
        logs = {one.name: [commit.id for commit in store.log(f"{repo.name}@{one.name}")] for one in repo.branches}
        rules = {one.name: store.retention(f"{repo.name}@{one.name}") for one in repo.branches}
        entries = {one.name: store.reflog(f"{repo.name}@{one.name}") for one in repo.branches}
        above = {
            one.name: sorted((commit.repo, commit.id) for commit in store.upstream(f"{repo.name}@{one.name}").commits)
            for one in repo.branches
            if one.head
        }
        found[repo.name] = (repo.description, branches, store.tags(repo.name), logs, rules, entries, above)
    return found


def rename(*pairs):
    def change(store, write):
        for number, (old, new) in enumerate(pairs):
            store.rename_repo(old, new)
            write(store, f"{new}@main", {f"after{number}": b"%d" % number})

    return change


def rename_and_delete(store, write):
    rename(("r", "x"))(store, write)
    store.delete_repo("x")


def rename_delete_and_restore(store, write):
    rename_and_delete(store, write)
    store.restore_repo("x")
    write(store, "x@dev", {"late": b"1"})


def rename_delete_and_begin_anew(store, write):
    rename_and_delete(store, write)
    store.create_repo("x", description="new")
    write(store, "x@main", {"new": b"1"})


CHANGES = {
    "renamed": rename(("r", "x")),
    "renamed twice": rename(("r", "x"), ("x", "y")),
    "renamed back": rename(("r", "x"), ("x", "r")),
    "exchanged": rename(("r", "t"), ("s", "r"), ("t", "s")),
    "deleted after that": rename_and_delete,
    "restored after that": rename_delete_and_restore,
    "begun anew after that": rename_delete_and_begin_anew,
}


@pytest.fixture(params=CHANGES)
def change(request):
    return CHANGES[request.param]


@pytest.fixture(params=["exchanged", "restored after that"])
def hard_change(request):
    return CHANGES[request.param]


def test_a_rebuild_says_the_same(filled, tmp_path, write, change):
    change(filled, write)
    assert filled.fsck().is_clean
    before = told(filled)
    report = vio.rebuild_store(tmp_path / "s", catalog=f"sqlite:///{tmp_path}/rebuilt.db")
    assert report.uncertain == ()
    with vio.open_store(tmp_path / "s", catalog=f"sqlite:///{tmp_path}/rebuilt.db") as store:
        assert told(store) == before
        assert store.fsck().is_clean


def test_an_older_catalog_that_is_recovered_says_the_same(tmp_path, write, change):
    place, old = tmp_path / "s", tmp_path / "old.db"
    with vio.create_store(place) as store:
        for repo in ("r", "s"):
            store.create_repo(repo)
            write(store, f"{repo}@main", {repo: b"1"})
        store.create_branch("r@dev", at="r@main")
    shutil.copy(place / "catalog.db", old)
    with vio.open_store(place) as store:
        change(store, write)
        before = told(store)
    shutil.copy(old, place / "catalog.db")
    vio.recover_store(place)
    with vio.open_store(place) as store:
        assert told(store) == before
        assert store.fsck().is_clean


def test_a_backup_is_restored_with_it(filled, tmp_path, write, hard_change):
    hard_change(filled, write)
    filled.create_repo("gone")
    filled.delete_repo("gone")
    before = told(filled)
    filled.backup(tmp_path / "backup")
    vio.restore_store(tmp_path / "backup", tmp_path / "restored")
    with vio.open_store(tmp_path / "restored") as store:
        assert told(store) == before
        assert store.fsck().is_clean
        with pytest.raises(RepoNotFoundError, match="versioned repo restore gone"):
            store.repo("gone")


def test_housekeeping_goes_on(filled, tmp_path, write, hard_change):
    hard_change(filled, write)
    before = told(filled)
    filled.gc(grace=NOW, expire=NOW)
    filled.compact()
    filled.gc(grace=NOW, expire=NOW)
    assert told(filled) == before
    assert filled.fsck().is_clean
    report = vio.rebuild_store(tmp_path / "s", catalog=f"sqlite:///{tmp_path}/rebuilt.db")
    assert report.uncertain == ()
    with vio.open_store(tmp_path / "s", catalog=f"sqlite:///{tmp_path}/rebuilt.db") as store:
        assert told(store) == before


def test_a_purge_and_a_squash_after_it_are_known_to_a_rebuild(filled, tmp_path, write):
    rename(("r", "x"), ("s", "r"))(filled, write)
    filled.squash("x@dev")
    filled.purge("x", "b")
    assert filled.fsck().is_clean
    before = told(filled)
    vio.rebuild_store(tmp_path / "s", catalog=f"sqlite:///{tmp_path}/rebuilt.db")
    with vio.open_store(tmp_path / "s", catalog=f"sqlite:///{tmp_path}/rebuilt.db") as store:
        assert told(store) == before
        assert not store.snapshot("x@dev").exists("b")


def test_the_old_name_leads_nowhere_and_says_where_it_went(filled):
    filled.rename_repo("r", "x")
    filled.rename_repo("x", "y")
    for name in ("r", "x"):
        for call in (
            lambda name=name: filled.repo(name),
            lambda name=name: filled.snapshot(f"{name}@main"),
            lambda name=name: filled.commit(f"{name}@v1"),
            lambda name=name: filled.transaction(f"{name}@main"),
            lambda name=name: filled.subscription("c", f"{name}@main"),
            lambda name=name: filled.rename_repo(name, "z"),
            lambda name=name: filled.delete_repo(name),
            lambda name=name: filled.restore_repo(name),
        ):
            with pytest.raises(RepoNotFoundError, match="'y' now"):
                call()
        for exist_ok in (False, True):
            with pytest.raises(InvalidInputError, match="'y' was called"):
                filled.create_repo(name, exist_ok=exist_ok)
    assert [repo.name for repo in filled.repos()] == ["s", "y"]


def test_a_name_that_is_taken_is_refused(filled):
    before = told(filled)
    filled.create_repo("gone")
    filled.delete_repo("gone")
    for name in ("s", "r"):
        with pytest.raises(ExistsError):
            filled.rename_repo("r", name)
    with pytest.raises(InvalidInputError, match="versioned repo restore"):
        filled.rename_repo("r", "gone")
    with pytest.raises(VersionedError):
        filled.rename_repo("r", "no@name")
    with pytest.raises(RepoNotFoundError, match="versioned repo restore gone"):
        filled.rename_repo("gone", "x")
    assert told(filled) == before
    assert filled.fsck().is_clean


def test_a_protected_branch_must_be_forced(filled):
    filled.protect_branch("r@dev")
    with pytest.raises(InvalidInputError, match=r"protected.*'dev'.*force=True"):
        filled.rename_repo("r", "x")
    assert filled.rename_repo("r", "x", force=True).branches[0].is_protected


def test_lineage_shows_the_present_name(filled):
    made = filled.commit("s@main").id
    filled.rename_repo("r", "x")
    assert {commit.repo for commit in filled.upstream("s@main").commits} == {"x", "s"}
    assert made in {commit.id for commit in filled.downstream("x@main").commits}
    assert {commit.repo for commit in filled.log("x@dev")} == {"x"}


def test_a_transaction_and_a_snapshot_from_before_go_on(filled):
    snapshot, tx = filled.snapshot("r@main"), filled.transaction("r@main")
    tx.write("late", b"1")
    filled.rename_repo("r", "x")
    assert snapshot.read("a") == b"1" * 100_000
    tx.finish()
    assert tx.commit.repo == "x"
    assert filled.snapshot("x@main").read("late") == b"1"
    assert filled.fsck().is_clean


def test_subscriptions_cursors_and_due_keys_stay(filled, write):
    subscription = filled.subscription("reader", "r@main")
    subscription.advance(filled.commit("r@main").id)
    filled.rename_repo("r", "x")
    again = filled.subscription("reader", "x@main")
    assert again.cursor == filled.commit("x@main").id
    write(filled, "x@main", {"new": b"1"})
    assert subscription.is_behind()
    assert again.is_behind()


def test_a_retry_with_an_idempotency_key_is_one_commit(filled, tmp_path):
    for repo in ("r", "s"):
        with filled.transaction(f"{repo}@main", idempotency_key=f"once {repo}") as tx:
            tx.write("once", b"1")
    rename_all = [("r", "t"), ("s", "r"), ("t", "s")]
    for old, new in rename_all:
        filled.rename_repo(old, new)
    vio.rebuild_store(tmp_path / "s", catalog=f"sqlite:///{tmp_path}/rebuilt.db")
    with vio.open_store(tmp_path / "s", catalog=f"sqlite:///{tmp_path}/rebuilt.db") as rebuilt:
        for store in (filled, rebuilt):
            for repo, key in (("s", "once r"), ("r", "once s")):
                head = store.commit(f"{repo}@main").id
                with store.transaction(f"{repo}@main", idempotency_key=key) as tx:
                    tx.write("once", b"2")
                assert tx.commit.id == head


def catalog_of(store):
    return store._backend.catalog.engine.url.render_as_string(hide_password=False)


def _rename(url, catalog, name, start, results):
    with vio.open_store(url, catalog=catalog) as store:
        start.wait()
        try:
            store.rename_repo("r", name)
        except VersionedError as error:
            results.put((name, str(error)))
        else:
            results.put((name, ""))


@pytest.mark.parametrize("names", [("x", "x"), ("x", "y")])
def test_of_two_processes_that_rename_at_once_one_is_told(filled, names):
    context = get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    workers = [
        context.Process(target=_rename, args=(filled.url, catalog_of(filled), name, start, results)) for name in names
    ]
    for worker in workers:
        worker.start()
    told_of = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    (winner,) = [name for name, error in told_of if not error]
    (message,) = [error for _, error in told_of if error]
    assert f"{winner!r} now" in message
    assert [repo.name for repo in filled.repos()] == sorted([winner, "s"])
    assert filled.fsck().is_clean
