"""Who drafts, merges or reads while trees move to other packs, and the old ones are deleted, does not notice."""

import random
import threading
from datetime import timedelta

import pytest

import versioned_io as vio
from versioned_io.errors import ConflictError, PackLostError
from versioned_io.maintenance.erasure import doomed
from versioned_io.maintenance.size import stats
from versioned_io.model.places import pack_key
from versioned_io.versioning.history import merging
from versioned_io.versioning.snapshots.commit_tree import CommitTree
from versioned_io.versioning.transactions import conflicts, edited_tree, publish

NOW = {"grace": timedelta(0), "expire": timedelta(0)}
FILES = {f"d/{number}": random.Random(number).randbytes(2_000) for number in range(10)}
SECRET = b"PERSONAL DATA " * 20
LARGE = random.Random(5).randbytes(3_000_000)


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store(request, tmp_path, write):
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "store", catalog=catalog) as store:
        store.create_repo("r")
        for number, (path, data) in enumerate(FILES.items()):
            write(store, "r@main", {path: data, "secret": SECRET + b"%d" % number})
        yield store


def forget_caches(store):
    store._backend.pages._cache._pages.clear()
    store._backend.chunks._blocks.clear()


def compact(store):
    """Move everything, and leave nothing where it was."""
    old = store.commit("r@main").root
    assert store.compact(small_bytes=1 << 30).packs
    store.gc(**NOW)
    assert not any(info.key.endswith(f"{old.pack.hex()}.pack") for info in store._backend.objects.list("packs/"))
    forget_caches(store)


def purge(store):
    assert store.purge("r", "secret").gone
    forget_caches(store)


MOVES = pytest.mark.parametrize("move", [compact, purge])


def at_call(monkeypatch, owner, name, number, action):
    """Let *action* happen just before the n-th call of the function *name* of *owner*."""
    original, calls = getattr(owner, name), []

    def replaced(*arguments, **options):
        calls.append(name)
        if len(calls) == number:
            action()
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, replaced)


def check(store, wanted, files_of):
    forget_caches(store)
    found = files_of(store, "r@main")
    assert found.keys() - {"secret"} == wanted.keys()
    assert all(found[path] == data for path, data in wanted.items())
    assert store.fsck().problems == ()


@MOVES
def test_a_transaction_whose_head_moved_before_it_drafted_drafts_again(any_store, files_of, monkeypatch, move):
    at_call(monkeypatch, publish, "draft_all", 1, lambda: move(any_store))
    with any_store.transaction("r@main") as tx:
        tx.write("new", b"new")
    check(any_store, {**FILES, "new": b"new"}, files_of)


@MOVES
def test_a_transaction_that_was_overtaken_and_whose_base_moved_too_lands(any_store, write, files_of, monkeypatch, move):
    tx = any_store.transaction("r@main")
    tx.write("new", b"new")
    write(any_store, "r@main", {"other": b"other"})
    monkeypatch.setattr(publish, "MOST_CHANGES_HELD", 0)  # a large one, that holds nobody up
    at_call(monkeypatch, conflicts, "diff", 1, lambda: move(any_store))
    tx.finish()
    check(any_store, {**FILES, "new": b"new", "other": b"other"}, files_of)


def test_so_does_one_that_holds_the_branches(any_store, write, files_of, monkeypatch):
    monkeypatch.setattr(publish, "_optimistic_attempts", lambda *_: 0)
    tx = any_store.transaction("r@main")
    tx.write("new", b"new")
    write(any_store, "r@main", {"other": b"other"})
    compact(any_store)
    tx.finish()
    check(any_store, {**FILES, "new": b"new", "other": b"other"}, files_of)


@MOVES
def test_who_collides_with_a_faster_writer_is_told_so_though_the_base_moved(any_store, write, files_of, move):
    tx = any_store.transaction("r@main")
    tx.write("new/below", b"new")
    winner = write(any_store, "r@main", {"new": b"a file"})
    move(any_store)
    with pytest.raises(ConflictError) as caught:
        tx.finish()
    assert set(caught.value.paths) == {"new", "new/below"}
    assert caught.value.winner == winner.id
    check(any_store, {**FILES, "new": b"a file"}, files_of)


def test_the_record_of_a_half_made_draft_is_named_as_lost(any_store, write, files_of, tmp_path, monkeypatch):
    """Else a rebuild could not tell it from the commit that the branch took."""
    any_store.create_repo("other")
    write(any_store, "other@main", {"a": b"1"})
    at_call(monkeypatch, edited_tree, "edit_tree", 2, lambda: compact(any_store))
    with any_store.transaction("other@main") as tx:
        tx.write("new", b"new")
        tx.branch("r@main").write("new", b"new")
    check(any_store, {**FILES, "new": b"new"}, files_of)
    catalog = f"sqlite:///{tmp_path}/rebuilt.db"
    report = vio.rebuild_store(any_store.url, catalog=catalog)
    assert (report.damaged, report.uncertain) == ((), ())
    assert report.unconfirmed > 0
    with vio.open_store(any_store.url, catalog=catalog) as rebuilt:
        for ref in ("r@main", "other@main"):
            assert list(rebuilt.log(ref)) == list(any_store.log(ref))


@pytest.mark.parametrize("how", ["merge", "cherry_pick"])
def test_a_merge_of_trees_that_moved_meanwhile_is_worked_out_again(any_store, write, files_of, monkeypatch, how):
    any_store.create_branch("r@dev", at="r@main~2")
    write(any_store, "r@dev", {"dev": b"dev"})
    at_call(monkeypatch, merging, "_plan", 1, lambda: compact(any_store))
    getattr(any_store, how)("r@dev", "r@main")
    check(any_store, {**FILES, "dev": b"dev"}, files_of)


@MOVES
def test_stats_of_trees_that_move_meanwhile_are_those_of_the_trees_as_they_are(any_store, monkeypatch, move):
    at_call(monkeypatch, stats, "mark_trees", 1, lambda: move(any_store))
    found = any_store.stats(exact=True)
    assert (found.commits, found.packs) == (any_store.stats(exact=True).commits, any_store.stats(exact=True).packs)
    assert found == any_store.stats(exact=True)


def test_a_purge_of_trees_that_move_meanwhile_begins_again(any_store, files_of, monkeypatch):
    at_call(monkeypatch, doomed, "lookup_many", 1, lambda: compact(any_store))
    assert any_store.purge("r", "secret").gone
    check(any_store, FILES, files_of)


def test_a_pack_that_is_really_lost_is_told_of(any_store, write):
    head = any_store.commit("r@main")
    any_store._backend.objects.delete([pack_key(head.root.pack.hex())])
    forget_caches(any_store)
    with pytest.raises(PackLostError):
        write(any_store, "r@main", {"new": b"new"})
    assert any_store.commit("r@main") == head


@pytest.mark.parametrize("rest", ["read", "readall", "seek", "lines"])
def test_a_file_that_is_open_while_its_chunks_move_is_read_to_its_end(any_store, write, rest):
    write(any_store, "r@main", {"large": LARGE})
    file = any_store.snapshot("r@main").open("large")
    assert file.read(10) == LARGE[:10]
    compact(any_store)
    if rest == "read":
        assert b"".join(iter(lambda: file.read(70_000), b"")) == LARGE[10:]
    elif rest == "readall":
        assert file.read() == LARGE[10:]
    elif rest == "seek":
        for at in (2_500_000, 1_000, 1_500_000):
            file.seek(at)
            assert file.read(400_000) == LARGE[at : at + 400_000]
            compact_again(any_store, write)
    else:
        assert b"".join(file) == LARGE[10:]


def compact_again(store, write):
    for _ in range(10):
        write(store, "r@main", {"small": random.randbytes(3_000)})
    compact(store)


def test_an_open_file_whose_pack_is_really_lost_raises(any_store, write):
    commit = write(any_store, "r@main", {"large": LARGE})
    file = any_store.snapshot("r@main").open("large")
    any_store._backend.objects.delete([pack_key(commit.root.pack.hex())])
    with pytest.raises(PackLostError):
        file.read()


def test_a_reader_whose_snapshot_another_thread_has_found_again_reads_on(any_store, monkeypatch):
    snapshot = any_store.snapshot("r@main")
    compact(any_store)

    def look_in_another_thread():
        thread = threading.Thread(target=snapshot.exists, args=["d/0"])
        thread.start()
        thread.join()

    at_call(monkeypatch, CommitTree, "_lies_elsewhere", 1, look_in_another_thread)
    assert snapshot.read("d/1") == FILES["d/1"]
