"""What happens between two steps of a purge, a compaction or a collection: others go on, and nothing false is left."""

import random
from datetime import timedelta

import pytest
from sqlalchemy import select, update

import versioned_io as vio
from versioned_io.catalog import collection
from versioned_io.catalog.collection import CONDEMNED
from versioned_io.catalog.tables import leases, packs
from versioned_io.maintenance.compaction import moved_records, moving
from versioned_io.maintenance.erasure import purge
from versioned_io.storage.chunks.data_writer import DataWriter
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.packs.reader import iterate_frames
from versioned_io.storage.packs.writer import PackWriter
from versioned_io.versioning.transactions import publish

NOW = {"grace": timedelta(0), "expire": timedelta(0)}
SECRET = b"PERSONAL DATA " * 20


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store(request, tmp_path, write):
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "store", catalog=catalog) as store:
        store.create_repo("r")
        for number in range(10):
            write(store, "r@main", {f"d/{number}": noise(number), "secret": SECRET + b"%d" % number})
        yield store


def noise(seed, size=2_000):
    return random.Random(seed).randbytes(size)


def forget_caches(store):
    store._backend.pages._cache._pages.clear()
    store._backend.chunks._blocks.clear()


def check(store, wanted, files_of):
    forget_caches(store)
    assert files_of(store, "r@main") == wanted
    assert store.fsck().problems == ()


def once(monkeypatch, owner, name, action, *, before=True):
    """Let *action* happen once, before or after the function *name* of *owner*."""
    original = getattr(owner, name)

    def replaced(*arguments, **options):
        monkeypatch.setattr(owner, name, original)
        if before:
            action()
        result = original(*arguments, **options)
        if not before:
            action()
        return result

    monkeypatch.setattr(owner, name, replaced)


def everything_stored(store):
    objects = store._backend.objects
    names = [info.key.rpartition("/")[2].removesuffix(".pack") for info in objects.list("packs/")]
    return b"".join(bytes(payload) for name in names for _, _, payload in iterate_frames(objects, name))


def test_a_commit_whose_head_was_purged_before_it_was_stored_lands_on_what_is_left(any_store, files_of, monkeypatch):
    reports = []
    once(monkeypatch, DataWriter, "close_pack", lambda: reports.append(any_store.purge("r", "secret")))
    with any_store.transaction("r@main") as tx:
        tx.write("new", b"new")
    assert reports[0].gone
    check(any_store, {"new": b"new", **{f"d/{number}": noise(number) for number in range(10)}}, files_of)
    assert SECRET not in everything_stored(any_store)


def test_a_purge_says_so_when_a_record_that_may_count_names_what_was_purged_and_is_done_when_it_does_not(
    any_store, write, files_of, monkeypatch
):
    reports = []
    once(monkeypatch, publish, "_commit_drafts", lambda: reports.append(any_store.purge("r", "secret")))
    commit = write(any_store, "r@main", {"new": b"new"})
    # Its first attempt was on the tree with the secret, and might have become a commit.
    assert (reports[0].gone, len(reports[0].unclear), commit.id in reports[0].unclear) == (False, 1, False)
    assert any_store.purge("r", "secret").gone
    check(any_store, {"new": b"new", **{f"d/{number}": noise(number) for number in range(10)}}, files_of)


def test_a_commit_whose_head_was_compacted_and_collected_before_it_was_stored_loses_nothing(
    any_store, files_of, monkeypatch
):
    wanted = files_of(any_store, "r@main")

    def compact():
        assert any_store.compact().packs
        any_store.gc(**NOW)

    once(monkeypatch, DataWriter, "close_pack", compact)
    with any_store.transaction("r@main") as tx:
        tx.write("new", b"new")
    check(any_store, {**wanted, "new": b"new"}, files_of)


def test_a_writer_that_holds_the_branches_is_not_overtaken_by_a_compaction(any_store, files_of, monkeypatch):
    wanted = files_of(any_store, "r@main")
    monkeypatch.setattr(publish, "_optimistic_attempts", lambda *_: 0)
    with any_store.transaction("r@main") as tx:
        tx.write("new", b"new")
    any_store.compact()
    with any_store.transaction("r@main") as tx:
        tx.write("newer", b"newer")
    check(any_store, {**wanted, "new": b"new", "newer": b"newer"}, files_of)


def test_a_compaction_that_a_purge_overtook_does_not_bring_back_what_was_purged(any_store, files_of, monkeypatch):
    once(monkeypatch, moved_records.MovedRecords, "write", lambda: any_store.purge("r", "secret"))
    any_store.compact()
    check(any_store, {f"d/{number}": noise(number) for number in range(10)}, files_of)
    any_store.gc(**NOW)
    check(any_store, {f"d/{number}": noise(number) for number in range(10)}, files_of)


def test_a_purge_that_a_compaction_overtook_says_so_and_can_be_repeated(any_store, files_of, monkeypatch):
    def compact():
        any_store.compact()
        any_store.gc(**NOW)

    once(monkeypatch, moving._Move, "rewrite_trees", compact)
    assert not any_store.purge("r", "secret").gone
    assert any_store.fsck().is_clean
    assert any_store.purge("r", "secret").gone
    check(any_store, {f"d/{number}": noise(number) for number in range(10)}, files_of)
    assert SECRET not in everything_stored(any_store)


def test_content_that_a_writer_brings_again_while_it_is_purged_is_not_replaced_by_zeros(any_store, write, monkeypatch):
    again = SECRET + b"3"
    once(monkeypatch, moving._Move, "rewrite_trees", lambda: write(any_store, "r@main", {"again": again}))
    report = any_store.purge("r", "secret")
    forget_caches(any_store)
    assert any_store.snapshot("r@main").read("again") == again
    assert any_store.fsck().problems == ()
    assert not report.gone


def test_a_large_version_that_only_a_forgotten_commit_had_is_purged_too(any_store):
    data = noise(77, 9_000_000)  # large enough to lie in another pack than the page that names it
    any_store.create_branch("r@dev", at="r@main")
    with any_store.transaction("r@dev") as tx:
        tx.write("secret", data)
    any_store.delete_branch("r@dev")
    any_store.gc(grace=timedelta(days=1), expire=timedelta(0))
    assert any_store.purge("r", "secret").gone
    assert sum(info.size_bytes for info in any_store._backend.objects.list("packs/")) < 1_000_000


def test_a_purge_that_died_before_it_deleted_is_finished_by_the_next(any_store, files_of, monkeypatch):
    def die(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(purge, "remove_packs", die)
        with pytest.raises(KeyboardInterrupt):
            any_store.purge("r", "secret")
    assert SECRET in everything_stored(any_store)
    assert any_store.purge("r", "secret").gone
    assert SECRET not in everything_stored(any_store)
    check(any_store, {f"d/{number}": noise(number) for number in range(10)}, files_of)


def test_a_purge_that_died_between_the_rows_and_the_objects_is_finished_by_the_next(any_store, monkeypatch):
    delete = LocalObjects.delete

    def die(self, keys):
        keys = list(keys)
        if any(key.startswith("packs/") for key in keys):
            raise KeyboardInterrupt
        delete(self, keys)

    with monkeypatch.context() as patched:
        patched.setattr(LocalObjects, "delete", die)
        with pytest.raises(KeyboardInterrupt):
            any_store.purge("r", "secret")
    assert SECRET in everything_stored(any_store)
    assert any_store.purge("r", "secret").gone
    assert SECRET not in everything_stored(any_store)
    assert any_store.fsck().is_clean


def test_what_was_switched_by_a_purge_is_in_the_journal_at_that_moment(any_store, monkeypatch):
    def die(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(purge, "remove_packs", die)
    with pytest.raises(KeyboardInterrupt):
        any_store.purge("r", "secret", reason="a request")
    with any_store._backend.catalog.read() as connection:
        from versioned_io.catalog.journal import entries_of

        last = entries_of(connection, "r")[-1][0].entry
    assert (last.action, last.details) == ("purge", {"path": "secret", "reason": "a request"})


def test_the_packs_of_a_compaction_under_way_are_not_taken_for_garbage(any_store, files_of, monkeypatch):
    wanted = files_of(any_store, "r@main")
    once(monkeypatch, moving._Move, "rewrite_trees", lambda: any_store.gc(**NOW))
    any_store.compact()
    check(any_store, wanted, files_of)
    with any_store._backend.catalog.read() as connection:
        assert connection.execute(select(leases)).all() == []


def test_a_compaction_whose_packs_others_rewrote_and_deleted_begins_again(any_store, files_of, monkeypatch):
    wanted = files_of(any_store, "r@main")

    def overtake():
        any_store.compact()
        any_store.gc(**NOW)

    once(monkeypatch, moving._Move, "copy_blocks", overtake)
    any_store.compact()
    check(any_store, wanted, files_of)


def test_a_collection_marks_again_when_trees_moved_while_it_marked(any_store, files_of, monkeypatch):
    from versioned_io.maintenance.collection import garbage

    wanted = files_of(any_store, "r@main")

    def overtake():
        any_store.compact()
        any_store.gc(**NOW)

    once(monkeypatch, garbage, "mark_trees", overtake)
    any_store.gc(**NOW)
    check(any_store, wanted, files_of)


def test_a_pack_that_was_revived_and_condemned_again_is_not_buried_by_who_saw_it_before(any_store):
    with any_store._backend.catalog.write() as connection:
        early = any_store._backend.clock() - timedelta(hours=2)
        connection.execute(update(packs).values(state=CONDEMNED, condemned_at=early))
        seen = collection.list_packs(connection)
        connection.execute(update(packs).values(condemned_at=early + timedelta(hours=1)))
        assert collection.bury_packs(connection, seen) == []
        connection.execute(update(packs).values(condemned_at=early))
        assert len(collection.bury_packs(connection, seen)) == len(seen)


def test_a_collector_whose_clock_is_years_ahead_forgets_nothing_early(tmp_path, write, clock):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        for number in range(3):
            write(store, "r@main", {"a": noise(number)})
        store.set_retention("r@main", keep_for=timedelta(days=30))
    clock.advance(10 * 365 * 86_400)
    with vio.open_store(tmp_path / "s", clock=clock) as store:
        assert store.gc().forgotten == 0


def test_a_collector_whose_clock_is_a_day_behind_keeps_the_packs_of_transactions_under_way(tmp_path, clock):
    with vio.create_store(tmp_path / "s") as store, vio.open_store(tmp_path / "s", clock=clock) as behind:
        store.create_repo("r")
        tx = store.transaction("r@main")
        tx.write("large", noise(5, 60_000_000))
        tx.write("more", noise(6, 60_000_000))
        pack = PackWriter(store._backend.objects)
        pack.append_block(b"another's, which commits in a moment", [])
        pack.close()
        assert behind.gc(**NOW).orphans == 0
        tx.finish()
        assert store.snapshot("r@main").stat("large").size == 60_000_000


def test_a_writer_whose_clock_is_days_off_commits_and_is_not_collected(any_store, write, clock, files_of):
    wanted = files_of(any_store, "r@main")
    engine = any_store._backend.catalog.engine
    with vio.open_store(any_store.url, catalog=engine.url, clock=clock) as late:
        write(late, "r@main", {"late": b"late"})
    any_store.gc(**NOW)
    check(any_store, {**wanted, "late": b"late"}, files_of)
