"""Housekeeping with a catalog that is older than the packs deletes nothing that was acknowledged."""

import contextlib
import random
import sqlite3
from datetime import timedelta

import pytest
from sqlalchemy import select, text

import versioned_io as vio
from tests.versioned_io.older_catalogs import packs_in, put_back, raw_writing, rows_of, without_beacons
from versioned_io.catalog.tables import journal, packs
from versioned_io.errors import CatalogOlderError, InvalidInputError, VersionedError
from versioned_io.maintenance.collection.new_garbage import collect_new
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.writer import PackWriter
from versioned_io.versioning.transactions import publish

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store(request, tmp_path, write):
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "any", catalog=catalog) as store:
        store.create_repo("r")
        for number in range(3):
            write(store, "r@main", {"a": b"%d" % number, "secret": b"s%d" % number, f"d/{number}": b"x" * number})
        yield store


def noise(seed, size=20_000):
    return random.Random(seed).randbytes(size)


def keep_house(store):
    """Run everything that may delete something, whether it is refused or not."""
    errors = []
    for call in (
        lambda: store.gc(**NOW),
        lambda: store.compact(small_bytes=1 << 20),
        lambda: store.purge("r", "secret"),
        lambda: store.gc(**NOW),
    ):
        try:
            call()
        except VersionedError as error:
            errors.append(error)
    return errors


def commits(count):
    def make(store, write):
        for number in range(count):
            write(store, "r@main", {"new": b"%d" % number})

    return make


def large(store, write):
    with store.transaction("r@main") as tx:
        tx.write("large", noise(1, 9_000_000))  # so that the data has a pack of its own


STEPS = {
    "one commit": commits(1),
    "two commits": commits(2),
    "three commits": commits(3),
    "a commit with data in a pack of its own": large,
    "a tag": lambda store, write: store.create_tag("r@v1", at="r@main"),
    "a tag of a new commit": lambda store, write: (commits(1)(store, write), store.create_tag("r@v1", at="r@main")),
    "a repo": lambda store, write: store.create_repo("new"),
    "a repo with a commit": lambda store, write: (store.create_repo("new"), write(store, "new@main", {"a": b"1"})),
    "a branch": lambda store, write: store.create_branch("r@dev", at="r@main~1"),
    "a branch that was deleted": lambda store, write: (
        store.create_branch("r@dev", at="r@main"),
        write(store, "r@dev", {"b": b"1"}),
        store.delete_branch("r@dev"),
    ),
    "a reset and a commit": lambda store, write: (store.reset("r@main", "r@main~1"), commits(1)(store, write)),
    "a squash": lambda store, write: store.squash("r@main", "r@main~2"),
    "a merge": lambda store, write: (
        store.create_branch("r@dev", at="r@main"),
        write(store, "r@dev", {"b": b"1"}),
        write(store, "r@main", {"c": b"1"}),
        store.merge("r@dev", "r@main"),
    ),
}
PROVED = STEPS.keys() - {
    "one commit",
    "a commit with data in a pack of its own",
    "a tag",
    "a repo",
    "a branch",
    "a squash",
}


@pytest.mark.parametrize("step", STEPS)
def test_nothing_is_deleted_of_what_a_catalog_set_back_does_not_know(any_store, write, step):
    before = rows_of(any_store)
    STEPS[step](any_store, write)
    kept = packs_in(any_store)
    any_store = put_back(any_store, before)
    errors = keep_house(any_store)
    assert packs_in(any_store) >= kept - purged_of(before)
    assert bool([error for error in errors if isinstance(error, CatalogOlderError)]) == (step in PROVED)
    assert all("versioned recover" in str(error) for error in errors if isinstance(error, CatalogOlderError))
    if step not in PROVED:
        assert any_store.gc(**NOW).unclear


def purged_of(rows):
    """The packs that the older catalog knows: of those, housekeeping may delete what its own commits need no more."""
    return {f"packs/{row['name'][-2:]}/{row['name']}.pack" for row in rows["packs"]}


def test_years_later_and_without_grace_it_is_still_there(tmp_path, write, clock):
    with vio.create_store(tmp_path / "s", clock=clock) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
        before = rows_of(store)
        newest = write(store, "r@main", {"a": b"2"})
        kept = packs_in(store)
        older = put_back(store, before, clock=clock)
        clock.advance(10 * 365 * 86_400)
        assert older.gc(**NOW).unclear == (newest.id,)
        assert packs_in(older) >= kept
        for pack in (tmp_path / "s" / "packs").rglob("*.pack"):
            pack.touch()
        assert older.gc(dry_run=True).unclear == ()  # younger than the grace, so it may be on its way
        assert older.gc(**NOW, dry_run=True).unclear == (newest.id,)


def test_a_store_whose_writers_died_is_collected_and_what_they_left_is_listed(any_store, write, monkeypatch):
    class KilledError(BaseException):
        pass

    def die(*_):
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(publish, "_commit_drafts", die)
        for number in range(100):
            with contextlib.suppress(KilledError):
                write(any_store, "r@main", {"dead": b"%d" % number})
    head = any_store.commit("r@main")
    pack = PackWriter(any_store._backend.objects)
    pack.append(FrameKind.PAGE, b"of a writer that died")
    plain = pack.close().name
    any_store.create_branch("r@dev", at="r@main")
    with any_store.transaction("r@dev") as tx:
        tx.write("large", noise(2, 9_000_000))
    any_store.delete_branch("r@dev")
    report = any_store.gc(**NOW)
    assert len(report.unclear) == 100
    assert (report.forgotten, report.condemned, report.orphans) == (1, 1, 1)
    assert not any(plain in key for key in packs_in(any_store))
    any_store.compact(small_bytes=1 << 20)
    assert any_store.commit("r@main") == head
    assert any_store.fsck().is_clean
    # Somebody finds out that they are nobody's.
    before = len(packs_in(any_store))
    report = any_store.gc(**NOW, disown=report.unclear[:60])
    assert len(report.unclear) == 40
    assert before - len(packs_in(any_store)) >= 60 - 1  # and the entry that says so
    assert any_store.gc(**NOW).unclear == report.unclear
    assert any_store.fsck().is_clean


def test_what_the_catalog_knows_or_nobody_holds_can_not_be_disowned(any_store):
    head = any_store.commit("r@main").id
    for wrong in (head, "0" * 32, "nonsense", ""):
        with pytest.raises(InvalidInputError, match="can't disown"):
            any_store.gc(**NOW, disown=[wrong])
    assert any_store.commit("r@main").id == head


def test_a_disowned_commit_does_not_come_back_with_a_rebuild(tmp_path, write):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
        before = rows_of(store)
        lost = write(store, "r@main", {"a": b"2"})
        older = put_back(store, before)
        older.gc(disown=[lost.id])  # which is young, so the pack stays
        head = older.commit("r@main")
        older.close()
    for file in (tmp_path / "s").glob("catalog.db*"):
        file.unlink()
    assert vio.rebuild_store(tmp_path / "s").uncertain == ()
    with vio.open_store(tmp_path / "s") as store:
        assert store.commit("r@main") == head
        assert store.fsck().is_clean


def remove_rows(store, *statements):
    """Remove rows past the library, and past foreign keys where SQLite does not see to them by default."""
    engine = store._backend.catalog.engine
    if engine.dialect.name == "sqlite":
        with contextlib.closing(sqlite3.connect(engine.url.database)) as connection, connection:
            for statement in statements:
                assert connection.execute(statement).rowcount > 0
    else:
        with raw_writing(store) as connection:
            for statement in statements:
                assert connection.execute(text(statement)).rowcount > 0
    return without_beacons(store)


@pytest.mark.parametrize("what", ["the head's commit", "an entry of the journal"])
@pytest.mark.parametrize("rows", ["its row", "its row and its pack's"])
def test_rows_that_were_removed_by_hand_cost_no_pack(any_store, what, rows):
    if any_store._backend.catalog.engine.dialect.name == "postgresql" and "commit" in what:
        pytest.skip("its foreign keys see to that")
    any_store.create_tag("r@v1", at="r@main~1")
    any_store.create_tag("r@v2", at="r@main~1")
    kept, head = packs_in(any_store), any_store.commit("r@main")
    pack = head.root.pack.hex()
    statements = [f"DELETE FROM commits WHERE id = '{head.id}'"]
    if "journal" in what:
        with any_store._backend.catalog.read() as connection:
            pack = connection.execute(select(journal.c.pack).where(journal.c.name == "v1")).scalar_one()
        statements = [f"DELETE FROM journal WHERE pack = '{pack}'"]
    else:
        statements.append(f"DELETE FROM chunks WHERE pack = '{pack}'")
    if "pack" in rows:
        statements.append(f"DELETE FROM packs WHERE name = '{pack}'")
    any_store = remove_rows(any_store, *statements)
    with pytest.raises(CatalogOlderError):
        any_store.gc(**NOW)
    assert packs_in(any_store) == kept


@pytest.mark.parametrize("state", ["deleted", "condemned"])
def test_a_pack_with_a_row_that_condemns_it_stays_when_no_catalog_knows_its_record(any_store, write, state):
    before = rows_of(any_store)
    lost = write(any_store, "r@main", {"new": noise(3)})
    rows = rows_of(any_store)["packs"]
    any_store = put_back(any_store, before)
    [pack] = [row for row in rows if row["name"] == lost.root.pack.hex()]
    with raw_writing(any_store) as connection:
        connection.execute(packs.insert().values(**{**pack, "state": state, "condemned_at": pack["created_at"]}))
    for _ in range(2):
        assert any_store.gc(**NOW).unclear == (lost.id,)
    assert any(pack["name"] in key for key in packs_in(any_store))


def test_a_record_that_can_not_be_read_is_kept_and_named_until_it_is_disowned(any_store):
    pack = PackWriter(any_store._backend.objects)
    pack.append(FrameKind.COMMIT, b'{"format":1}')
    name = pack.close().name
    for _ in range(2):
        assert any_store.gc(**NOW).unclear == (name,)
    assert any(name in key for key in packs_in(any_store))
    assert any_store.gc(**NOW, disown=[name]).unclear == ()
    assert not any(name in key for key in packs_in(any_store))


def test_a_clone_of_the_catalog_does_not_collect_what_the_other_has_made_since(tmp_path, write):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
        rows = rows_of(store)
        for number in range(2):
            write(store, "r@main", {"a": noise(number)})
        kept, newest = packs_in(store), rows_of(store)
        clone = put_back(store, rows)
        keep_house(clone)
        assert packs_in(clone) >= kept
        again = put_back(clone, newest)
        assert again.fsck().is_clean
        assert again.snapshot("r@main").read("a") == noise(1)


def test_collecting_what_a_merge_left_keeps_what_an_unknown_commit_leads_to(tmp_path, write):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        for number in range(12):
            write(store, "r@main", {f"d/{number}": b"%d" % number})
        before = rows_of(store)
        newest = write(store, "r@main", {"a": b"new"})
        older = put_back(store, before)
        assert older.compact().trees == 12
        for _ in range(2):
            collect_new(older._backend, grace=timedelta(0))
        older.close()
    report = vio.recover_store(tmp_path / "s")
    assert report.commits == 1
    with vio.open_store(tmp_path / "s") as store:
        snapshot = store.snapshot(f"r@{newest.id}")
        assert [snapshot.read(f"d/{number}") for number in range(12)] == [b"%d" % number for number in range(12)]
