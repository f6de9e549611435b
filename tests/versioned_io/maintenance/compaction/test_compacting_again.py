"""A compaction costs what is new: what the one before it made is left alone, and each record is read once."""

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event, select

import versioned_io as vio
from tests.versioned_io.storage.objects.stores import CountingObjects
from versioned_io.catalog.collection import list_packs
from versioned_io.catalog.tables import commits
from versioned_io.errors import PackCondemnedError
from versioned_io.maintenance.compaction import compaction, moved_records, moving, switching
from versioned_io.storage.packs.frames import FrameKind

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store(request, tmp_path):
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "store", catalog=catalog) as store:
        store.create_repo("r")
        yield store


def grow(store, write, first, count):
    for number in range(first, first + count):
        write(store, "r@main", {"changing": b"%d" % number, f"d/{number:03}": b"kept %d" % number})


def contents(store):
    found = {}
    for commit in store.log("r@main"):
        snapshot = store.snapshot(f"r@{commit.id}")
        found[commit.id] = {file.path: snapshot.read(file.path) for file in snapshot.walk()}
    return found


def live_packs(store):
    with store._backend.catalog.read() as connection:
        return {row.name: row for row in list_packs(connection) if row.state == "live"}


def test_the_second_compaction_moves_only_what_came_since(any_store, write):
    grow(any_store, write, 0, 60)
    any_store.compact()
    any_store.gc(**NOW)
    merged = {name for name, row in live_packs(any_store).items() if row.tier == 1}
    grow(any_store, write, 60, 12)
    before = contents(any_store)
    new_bytes = sum(row.size_bytes for row in live_packs(any_store).values() if row.tier == 0)
    report = any_store.compact()
    assert report.trees == 12
    assert report.packs <= 13  # the journal's entry of the collection, too
    assert report.new_bytes < 1.5 * new_bytes
    any_store.gc(**NOW)
    assert merged <= live_packs(any_store).keys()
    assert contents(any_store) == before
    assert any_store.fsck().is_clean
    assert any_store.gc(**NOW, dry_run=True).condemned == 0


def test_each_record_is_read_once_however_many_lie_in_one_pack(any_store, write, monkeypatch):
    grow(any_store, write, 0, 40)
    any_store.compact()
    any_store.gc(**NOW)
    grow(any_store, write, 40, 10)
    read = Counter()

    def counting(original):
        def counted(objects, asked, kind):
            found = original(objects, asked, kind)
            read[kind] += len(found)
            return found

        return counted

    for name in ("read_frames_of", "fetch_frames"):
        monkeypatch.setattr(moved_records, name, counting(getattr(moved_records, name)))
    any_store.compact()
    assert 10 <= read[FrameKind.COMMIT] <= 12


def test_merged_packs_are_merged_again_when_their_tier_is_full(any_store, write, monkeypatch):
    monkeypatch.setattr(compaction, "_MANY_MERGED", 3)
    monkeypatch.setattr(compaction, "_FULL_TIER", 3)
    monkeypatch.setattr(compaction, "_FEW_SMALL_PACKS", 2)
    for turn in range(3):
        grow(any_store, write, turn * 4, 4)
        any_store.compact()
    before = contents(any_store)
    any_store.compact()
    any_store.gc(**NOW)
    assert {row.tier for row in live_packs(any_store).values()} <= {0, 2}
    assert contents(any_store) == before
    assert any_store.fsck().is_clean


def test_trees_are_switched_a_few_at_a_time_and_each_time_is_whole(any_store, write, monkeypatch):
    monkeypatch.setattr(switching, "_SWITCHED_AT_ONCE", 5)
    grow(any_store, write, 0, 23)
    before = contents(any_store)
    moves = []
    original = switching.catalog.move_trees

    def noted(connection, trees, **options):
        moves.append(len(trees))
        original(connection, trees, **options)

    monkeypatch.setattr(switching.catalog, "move_trees", noted)
    any_store.compact()
    assert max(moves) == 5
    assert sum(moves) == 23
    any_store.gc(**NOW)
    assert contents(any_store) == before
    assert any_store.fsck().is_clean


def asked_by_the_second_compaction(store, write, older):
    """Return how many requests and statements the compaction of 12 commits takes after one of *older* commits."""
    store.create_repo("r")
    grow(store, write, 0, older)
    store.compact()
    grow(store, write, older, 12)
    statements = []
    event.listen(store._backend.catalog.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    counted = CountingObjects(store._backend.objects)
    report = compaction.compact_store(replace(store._backend, objects=counted))
    assert report.trees == 12
    return counted.calls, len(statements)


def test_what_the_second_compaction_asks_for_does_not_grow_with_what_is_older(new_store, write):
    calls, statements = asked_by_the_second_compaction(new_store(), write, 15)
    assert (calls, statements) == asked_by_the_second_compaction(new_store(), write, 45)
    assert "list" not in calls
    assert calls["get"] == calls["size"] == 12  # each pack is read once, and before that, its pages by the mark
    assert calls["get_ranges"] <= 12 + 1  # and those of the parent of the first
    assert statements <= 60


@pytest.mark.parametrize("part", [1, 2, 4])
def test_a_switch_that_ends_half_way_leaves_all_that_was_there(any_store, write, monkeypatch, part):
    monkeypatch.setattr(switching, "_SWITCHED_AT_ONCE", 5)
    grow(any_store, write, 0, 23)
    before = contents(any_store)
    calls = []
    original = switching.catalog.move_trees

    def dies(connection, trees, **options):
        calls.append(1)
        if len(calls) == part + 1:
            raise KeyboardInterrupt
        original(connection, trees, **options)

    monkeypatch.setattr(switching.catalog, "move_trees", dies)
    with pytest.raises(KeyboardInterrupt):
        any_store.compact()
    monkeypatch.undo()
    assert contents(any_store) == before
    assert any_store.fsck().is_clean
    any_store.gc(**NOW)
    assert contents(any_store) == before
    any_store.compact(small_bytes=1 << 30)
    any_store.gc(**NOW)
    assert contents(any_store) == before
    assert any_store.fsck().is_clean


def test_a_collector_between_two_parts_of_a_switch_costs_no_file(any_store, write, monkeypatch):
    monkeypatch.setattr(switching, "_SWITCHED_AT_ONCE", 5)
    grow(any_store, write, 0, 23)
    before = contents(any_store)
    calls = []
    write_of = type(any_store._backend.catalog).write

    def collected_before(catalog):
        calls.append(1)
        if len(calls) == 6:
            monkeypatch.setattr(type(catalog), "write", write_of)
            any_store.gc(**NOW)
        return write_of(catalog)

    monkeypatch.setattr(type(any_store._backend.catalog), "write", collected_before)
    with suppress(PackCondemnedError):
        any_store.compact()
    assert contents(any_store) == before
    any_store.gc(**NOW)
    assert contents(any_store) == before
    assert any_store.fsck().is_clean


def test_only_trees_that_can_lead_to_what_moves_are_looked_at(any_store, write, monkeypatch):
    any_store.create_repo("other")
    for number in range(12):
        write(any_store, "other@main", {"x": b"%d" % number})
    any_store.compact()
    grow(any_store, write, 0, 12)
    looked = []
    original = moving._Move._trees
    monkeypatch.setattr(moving._Move, "_trees", lambda move: looked.extend(found := original(move)) or found)
    any_store.compact()
    own = {commit.id for commit in any_store.log("r@main")}
    assert {one[0] for one in looked} == own


def test_a_commit_keeps_its_round_when_its_tree_is_merged(any_store, write):
    grow(any_store, write, 0, 12)
    any_store.compact()
    with any_store._backend.catalog.read() as connection:
        assert None not in set(connection.execute(select(commits.c.mark_epoch)).scalars())
