"""Small and sparse packs are rewritten; nobody who reads or writes meanwhile notices."""

import random
from datetime import timedelta

import pytest

import versioned_io as vio
from versioned_io.errors import InvalidInputError

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store(request, tmp_path):
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "store", catalog=catalog) as store:
        store.create_repo("r")
        yield store


def noise(seed, size=2_000):
    return random.Random(seed).randbytes(size)


def objects_of(store):
    return {info.key for info in store._backend.objects.list("packs/")}


def contents(store):
    """Every file of every commit that is kept, as bytes."""
    found = {}
    for commit in store.log("r@main"):
        snapshot = store.snapshot(f"r@{commit.id}")
        found[commit.id] = {file.path: (snapshot.read(file.path), file.written_by) for file in snapshot.walk()}
    return found


def grown(store, write, commits=20):
    for number in range(commits):
        write(store, "r@main", {"changing": noise(number), f"d/{number:03}": noise(1000 + number, 300)})
    write(store, "r@main", {f"many/{number:04}": b"%d" % number for number in range(1500)})
    return contents(store)


def test_small_packs_become_one_and_all_is_as_it_was(any_store, write):
    before = grown(any_store, write)
    digests = {commit.id: commit.tree_digest for commit in any_store.log("r@main")}
    objects = objects_of(any_store)
    report = any_store.compact()
    assert report.packs == len(objects)
    assert report.new_packs <= 2
    assert objects < objects_of(any_store)  # the old ones stay until collection takes them
    assert contents(any_store) == before
    assert {commit.id: commit.tree_digest for commit in any_store.log("r@main")} == digests
    assert any_store.fsck().is_clean
    collected = any_store.gc(**NOW)
    assert collected.deleted == len(objects)
    assert len(objects_of(any_store)) == report.new_packs
    with vio.open_store(any_store.url, catalog=any_store._backend.catalog.engine.url) as reopened:
        assert contents(reopened) == before
        assert reopened.fsck().is_clean


def test_compacting_again_finds_nothing_to_do(any_store, write):
    grown(any_store, write)
    any_store.compact()
    any_store.gc(**NOW)
    assert any_store.compact().packs == 0


def test_a_few_small_packs_are_left_alone(any_store, write):
    write(any_store, "r@main", {"a": b"1"})
    assert any_store.compact().packs == 0


def test_dead_bytes_of_a_sparse_pack_come_free(any_store):
    any_store.create_branch("r@dev", at="r@main")
    with any_store.transaction("r@main") as tx:
        tx.write("kept", noise(1, 3_000_000))
        tx.write("gone", noise(2, 9_000_000))
    kept = tx.commit
    with any_store.transaction("r@main") as tx:
        tx.delete("gone")
    any_store.set_retention("r@main", keep_last=1)
    any_store.gc(**NOW)
    before = sum(info.size_bytes for info in any_store._backend.objects.list("packs/"))
    report = any_store.compact()
    assert report.packs == 1
    assert 3_000_000 < report.new_bytes < 3_200_000
    any_store.gc(**NOW)
    assert before - sum(info.size_bytes for info in any_store._backend.objects.list("packs/")) > 8_800_000
    assert any_store.snapshot("r@main").read("kept") == noise(1, 3_000_000)
    assert any_store.commit(kept.id).stats == kept.stats
    assert any_store.fsck().is_clean


def test_content_that_moved_is_found_again_and_not_stored_twice(any_store, write):
    grown(any_store, write)
    any_store.compact()
    any_store.gc(**NOW)
    with any_store.transaction("r@main") as tx:
        tx.write("copy", noise(3))
    assert any_store.snapshot("r@main").row("copy").chunks == any_store.snapshot("r@main~18").row("changing").chunks


def test_a_writer_that_began_before_commits_after(any_store, write):
    before = grown(any_store, write, commits=12)
    tx = any_store.transaction("r@main")
    tx.copy("r@main~3:changing", "copy")
    tx.write("new", b"1")
    any_store.compact()
    tx.finish()
    any_store.gc(grace=timedelta(hours=1), expire=timedelta(0))
    any_store.gc(**NOW)
    assert any_store.snapshot("r@main").read("copy") == noise(9)
    after = contents(any_store)
    del after[tx.commit.id]
    assert after == before
    assert any_store.fsck().is_clean


def test_a_commit_between_mark_and_switch_loses_nothing(any_store, write, monkeypatch):
    before = grown(any_store, write, commits=12)
    from versioned_io.maintenance.compaction import moving

    made = []
    rewrite = moving._Move.rewrite_trees

    def interrupted(self, trees):
        rewrite(self, trees)
        made.append(write(any_store, "r@main", {"late": b"late", "changing": noise(3)}))

    monkeypatch.setattr(moving._Move, "rewrite_trees", interrupted)
    any_store.compact()
    monkeypatch.undo()
    any_store.gc(**NOW)
    after = contents(any_store)
    assert after.pop(made[0].id)["late"] == (b"late", made[0].id)
    assert after == before
    assert any_store.fsck().is_clean


def test_a_snapshot_that_was_taken_before_goes_on_reading(any_store, write):
    grown(any_store, write)
    snapshot = any_store.snapshot("r@main")
    any_store.compact()
    any_store.gc(**NOW)
    any_store._backend.pages._cache._pages.clear()
    any_store._backend.chunks._blocks.clear()
    assert snapshot.read("changing") == noise(19)
    assert snapshot.stat("d/003").size == 300
    assert snapshot.exists("d")
    assert [file.path for file in snapshot.list("d")][:2] == ["d/000", "d/001"]
    assert len(list(snapshot.walk())) == 1521


def test_a_dry_run_says_what_would_be_done(any_store, write, dump):
    grown(any_store, write)
    before = dump(any_store)
    report = any_store.compact(dry_run=True)
    assert (report.packs, report.new_packs, report.dry_run) == (len(before[1]), 0, True)
    assert dump(any_store) == before


def test_only_so_many_bytes_are_chosen(any_store, write):
    grown(any_store, write)
    report = any_store.compact(max_bytes=30_000)
    assert 0 < report.packs_bytes <= 30_000
    assert any_store.fsck().is_clean


@pytest.mark.parametrize("arguments", [{"min_live": 1.5}, {"min_live": -1}, {"small_bytes": -1}, {"max_bytes": -1}])
def test_arguments_out_of_range_change_nothing(any_store, write, arguments, dump):
    write(any_store, "r@main", {"a": b"1"})
    before = dump(any_store)
    with pytest.raises(InvalidInputError):
        any_store.compact(**arguments)
    assert dump(any_store) == before


def without_rounds(store, dump):
    """The state of a store without what marking has noted, which is right whatever became of the rest."""
    from sqlalchemy import update

    from versioned_io.catalog.tables import commits, maintenance, packs

    with store._backend.catalog.engine.connect() as connection, connection.begin() as transaction:
        connection.execute(update(commits).values(mark_epoch=None))
        connection.execute(update(packs).values(mark_epoch=None, live_bytes=None))
        connection.execute(maintenance.delete())
        found = {
            table.name: sorted(map(repr, connection.execute(table.select()).all()))
            for table in (commits, packs, maintenance)
        }
        transaction.rollback()
    return found, dump(store)[1]


def test_a_compaction_leaves_a_damaged_pack_as_it_is_and_names_it(any_store, write):
    grown(any_store, write)
    objects = any_store._backend.objects
    chunk = any_store.snapshot("r@main").row("changing").chunks[0]
    key = next(key for key in objects_of(any_store) if chunk.pack.hex() in key)
    data = bytearray(objects.get(key))
    data[chunk.offset + 30] ^= 1
    objects.delete([key])
    objects.put(key, [data])
    snapshot = any_store.snapshot("r@main")
    whole = {file.path: snapshot.read(file.path) for file in snapshot.walk() if file.path != "changing"}
    report = any_store.compact()
    assert chunk.pack.hex() in report.left
    assert objects.get(key) == data
    after = any_store.snapshot("r@main")
    assert {path: after.read(path) for path in whole} == whole
    assert not any_store.fsck().is_clean
