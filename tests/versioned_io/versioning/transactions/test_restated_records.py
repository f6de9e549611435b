"""Records and entries whose pack is lost or damaged are stored again from the catalog, which knows what they said."""

import random
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

import versioned_io as vio
from tests.versioned_io.conftest import commit_files
from versioned_io.catalog.tables import journal
from versioned_io.model.places import pack_key, pack_name
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.reader import read_footer

NOW = {"grace": timedelta(0), "expire": timedelta(0)}
FILES = {"a": random.Random(1).randbytes(300_000)}


@pytest.fixture
def place(tmp_path):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        store.create_repo("q")
        with store.run(orchestrator="o", job="j", run_id="1"):
            commit_files(store, "q@main", {"in": b"1"})
            store.snapshot("q@main").read("in")
            commit_files(store, "r@main", FILES, idempotency_key="k", message="first")
    return tmp_path / "s"


def lose(pack):
    pack.unlink()


def spoil_records(pack):
    """Flip a bit in every commit record and entry, and leave the rest whole."""
    data = bytearray(pack.read_bytes())
    with vio.open_store(pack.parents[2]) as store:
        frames = read_footer(store._backend.objects, pack.stem).frames
    for frame in frames:
        if frame.kind in {FrameKind.COMMIT, FrameKind.JOURNAL}:
            data[frame.offset + frame.stored_size - 3] ^= 0x10
    pack.write_bytes(data)


def pack_of(store, ref):
    return Path(store.url) / pack_key(pack_name(store.commit(ref).root.pack))


def state(store):
    """Return what a rebuild must bring back."""
    graph = store.upstream("r@main")
    return [list(store.log(f"{repo}@main")) for repo in "rq"], store.repos(), store.tags("r"), graph


def rebuilt(place):
    for file in place.glob("catalog.db*"):
        file.unlink()
    report = vio.rebuild_store(place)
    return vio.open_store(place), report


def test_a_record_that_is_damaged_is_stored_again_by_a_repair_and_rebuilt_as_it_was(place):
    with vio.open_store(place) as store:
        before = state(store)
        spoil_records(pack_of(store, "r@main"))
        assert not store.fsck().is_clean
        report = store.fsck(repair=True)
        assert any("was stored again" in one for one in report.repaired)
        assert [one.kind for one in store.fsck().problems] == ["pack"]  # the damage itself, which nothing needs
        assert state(store) == before
    store, report = rebuilt(place)
    with store:
        assert (state(store), report.uncertain) == (before, ())
        again = commit_files(store, "r@main", FILES, idempotency_key="k")
        assert again == before[0][0][0]


def test_an_entry_of_the_journal_whose_pack_is_lost_is_stored_again_by_a_repair(place):
    with vio.open_store(place) as store:
        store.create_tag("r@v1", at="r@main")
        before = state(store)
        with store._backend.catalog.read() as connection:
            name = connection.execute(select(journal.c.pack).where(journal.c.name == "v1")).scalar_one()
        lose(Path(store.url) / pack_key(name))
        store.fsck(repair=True)
        store.gc(**NOW)
        assert store.fsck().is_clean
    store, report = rebuilt(place)
    with store:
        assert (state(store), report.uncertain) == (before, ())


@pytest.mark.parametrize("steps", [["maintain"], ["compact"], ["fsck"], ["fsck", "maintain"]])
def test_after_a_lost_pack_was_healed_maintenance_leads_the_trees_there_and_a_rebuild_knows_all(place, steps):
    with vio.open_store(place) as store:
        before = state(store)
        lose(pack_of(store, "r@main"))
    with vio.open_store(place) as store:
        commit_files(store, "r@main", FILES)
        lasting = store.commit("r@main")
        for step in steps:
            if step == "maintain":
                assert [one.problem for one in store.maintain().steps if one.problem] == []
            elif step == "compact":
                store.compact()
            else:
                store.fsck(repair=True)
        store.maintain()
        store.gc(**NOW)
        assert store.snapshot("r@main~1").read("a") == FILES["a"]
        assert store.fsck().is_clean
    store, report = rebuilt(place)
    with store:
        assert report.uncertain == ()
        assert [one.id for one in store.log("r@main")] == [lasting.id, before[0][0][0].id]
        assert {one.id for one in store.upstream("r@main~1").commits} == {one.id for one in before[3].commits}
        assert store.snapshot("r@main~1").read("a") == FILES["a"]
