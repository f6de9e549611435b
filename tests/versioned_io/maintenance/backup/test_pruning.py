"""Old backups are verified and deleted, and every backup that is kept can be restored."""

import json
import os
import random
import shutil
import time
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

import versioned_io as vio
from versioned_io.errors import IntegrityError, InvalidInputError, StorageError
from versioned_io.interfaces.cli.app import app
from versioned_io.maintenance.backup import destination, making, pruning

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


class KilledError(BaseException):
    pass


@pytest.fixture
def store(tmp_path, write):
    with vio.create_store(tmp_path / "s") as made:
        made.create_repo("r")
        write(made, "r@main", {"kept": b"kept"})
        yield made


@pytest.fixture
def three(store, tmp_path, write):
    """Three backups at one place; the first one alone has a pack that the store has deleted since."""
    store.create_branch("r@old", at="r@main")
    write(store, "r@old", {"old": random.Random(1).randbytes(9_000_000)})  # in a pack without the commit's record
    ids = [store.backup(tmp_path / "b").id]
    store.delete_branch("r@old")
    store.gc(**NOW)
    for number in range(2):
        write(store, "r@main", {"new": b"%d" % number})
        ids.append(store.backup(tmp_path / "b").id)
    return tmp_path / "b", ids


def restored(place, to, at=None):
    shutil.rmtree(to, ignore_errors=True)
    vio.restore_store(place, to, at=at)
    with vio.open_store(to) as store:
        assert store.fsck().is_clean
        return {file.path for file in store.snapshot("r@main").walk()}


def packs_at(place):
    return {path.stem for path in place.rglob("*.pack")}


def test_a_prune_deletes_old_backups_and_what_only_they_had(three, tmp_path):
    place, ids = three
    before = packs_at(place)
    dry = vio.prune_backups(place, keep_last=2, dry_run=True)
    assert packs_at(place) == before
    report = vio.prune_backups(place, keep_last=2)
    assert (report.kept, report.deleted) == (tuple(ids[1:]), (ids[0],))
    assert report.packs == dry.packs == len(before - packs_at(place)) > 0
    assert [one.id for one in vio.list_backups(place)] == ids[1:]
    assert {path.name for path in (place / "tables").iterdir() if any(path.iterdir())} == set(ids[1:])
    assert not list((place / "pruning").iterdir())
    assert vio.verify_backups(place).whole == tuple(ids[1:])
    for one in ids[1:]:
        assert restored(place, tmp_path / "new", one) == {"kept", "new"}
    assert vio.prune_backups(place, keep_last=2).deleted == ()
    with pytest.raises(InvalidInputError):
        vio.restore_store(place, tmp_path / "gone", at=ids[0])


def test_the_newest_backup_stays_however_old_it_is(three):
    place, ids = three
    later = datetime.now(UTC) + timedelta(days=400)
    assert vio.prune_backups(place, keep_for=timedelta(days=500), clock=lambda: later).deleted == ()
    assert vio.prune_backups(place, keep_for=timedelta(days=1), clock=lambda: later).kept == (ids[-1],)
    for wrong in ({}, {"keep_last": 0}, {"keep_last": -1}, {"keep_for": 1}):
        with pytest.raises(InvalidInputError):
            vio.prune_backups(place, **wrong)
    with pytest.raises(InvalidInputError, match="no backups"):
        vio.prune_backups(place / "packs", keep_last=1)


def test_nothing_is_deleted_while_a_backup_can_not_be_read(three):
    place, ids = three
    before = packs_at(place)
    (place / f"manifests/{ids[1]}.json").write_text("{}")
    with pytest.raises(IntegrityError):
        vio.prune_backups(place, keep_last=1)
    assert packs_at(place) == before
    report = vio.verify_backups(place)
    assert report.whole == (ids[0], ids[2])
    assert len(report.problems) == 1


@pytest.mark.parametrize("harm", ["flipped", "lost", "table"])
def test_a_verification_names_what_can_not_be_restored(three, harm):
    place, ids = three
    pack = max(place.rglob("*.pack"), key=lambda path: path.stat().st_size)
    if harm == "lost":
        pack.unlink()
    else:
        file = pack if harm == "flipped" else place / f"tables/{ids[0]}/commits.jsonl.zst"
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    report = vio.verify_backups(place)
    assert len(report.problems) == 1
    assert ids[0] not in report.whole
    done = CliRunner().invoke(app, ["backups", "verify", str(place)])
    assert done.exit_code == 6, done.output


@pytest.mark.parametrize("stage", range(4))
def test_a_prune_that_died_leaves_every_kept_backup_whole_and_the_next_one_finishes(
    three, tmp_path, write, monkeypatch, stage
):
    place, ids = three
    calls = []

    def die(objects, keys, *rest):
        calls.append(keys)
        if len(calls) > stage:
            raise KilledError
        delete(objects, keys, *rest)

    delete = pruning._delete
    with monkeypatch.context() as patched:
        patched.setattr(pruning, "_delete", die)
        if stage < 3:
            with pytest.raises(KilledError):
                vio.prune_backups(place, keep_last=1)
        else:
            vio.prune_backups(place, keep_last=1)
    assert restored(place, tmp_path / "new", ids[-1]) == {"kept", "new"}
    with vio.open_store(tmp_path / "s") as store:
        write(store, "r@main", {"newer": b"1"})
        store.backup(place)
    if stage < 3:
        with pytest.raises(StorageError, match="another prune"):
            vio.prune_backups(place, keep_last=1)
        monkeypatch.setattr(pruning, "_AT_WORK", timedelta(0))
    vio.prune_backups(place, keep_last=1)
    assert not list((place / "pruning").iterdir())
    assert vio.verify_backups(place).problems == ()
    assert restored(place, tmp_path / "new") == {"kept", "new", "newer"}
    store_packs = packs_at(tmp_path / "s")
    assert packs_at(place) <= store_packs


def test_a_prune_that_was_paused_does_not_delete_what_a_later_backup_has_copied_again(
    three, store, tmp_path, monkeypatch
):
    place, ids = three
    monkeypatch.setattr(pruning, "_AT_WORK", timedelta(0))
    monkeypatch.setattr(pruning, "_BATCH", 1)
    lost = packs_at(place) - packs_at(tmp_path / "s")
    copies = {path: path.read_bytes() for path in place.rglob("*.pack") if path.stem in lost}
    calls = []

    def pause(objects, keys, *rest):
        calls.append(keys)
        if len(calls) == 2:  # its note and its decisions are made; another process finishes its work
            assert set(vio.prune_backups(place, keep_last=1).deleted) == set()
            for path, data in copies.items():
                path.write_bytes(data)
        delete(objects, keys, *rest)

    delete = pruning._delete
    monkeypatch.setattr(pruning, "_delete", pause)
    with pytest.raises(StorageError, match="paused"):
        vio.prune_backups(place, keep_last=1)
    assert packs_at(place) >= lost
    assert restored(place, tmp_path / "new", ids[-1]) == {"kept", "new"}


@pytest.mark.parametrize("year", [1971, 2200])
def test_a_backup_by_a_wrong_clock_is_in_the_order_in_which_it_was_made(three, store, tmp_path, write, year):
    place, ids = three
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "time_ns", lambda: int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000_000)
        wrong = store.backup(place).id
    write(store, "r@main", {"after": b"1"})
    last = store.backup(place).id
    assert [one.id for one in vio.list_backups(place)] == [*ids, wrong, last]
    assert "after" in restored(place, tmp_path / "new")
    assert vio.prune_backups(place, keep_last=1).kept == (last,)


@pytest.mark.parametrize("first", ["the note of the prune", "the backup"])
def test_a_backup_beside_a_prune_is_whole_or_refused(three, store, tmp_path, monkeypatch, first):
    place, _ = three
    # A pack that the prune deletes and that the backup under way counts on, as one does that was interrupted.
    doomed = packs_at(place) - packs_at(tmp_path / "s")
    assert doomed
    copied = making._copied_before

    def with_doomed(dest):
        newest, found = copied(dest)
        found.known |= {name: destination.BackedUpPack(name, 1, "0" * 64) for name in doomed}
        return newest, found

    def prune(*_):
        vio.prune_backups(place, keep_last=1)

    with monkeypatch.context() as patched:
        patched.setattr(making, "_copied_before", with_doomed)
        patched.setattr(making, "_packs_of", lambda _: sorted(doomed))
        if first == "the backup":
            made = []
            new_id = pruning.new_uuid7

            def new_id_beside_a_backup():
                made.append(store.backup(place).id)
                return new_id()

            patched.setattr(pruning, "new_uuid7", new_id_beside_a_backup)
            prune()
            assert doomed <= packs_at(place)
            assert made[0] in {one.id for one in vio.list_backups(place)}
            assert any((place / f"tables/{made[0]}").iterdir())
            return
        put = destination.put_manifest

        def die_before_deleting(objects, keys):
            raise KilledError

        def put_after_the_note(dest, manifest):
            with monkeypatch.context() as dying:
                dying.setattr(pruning, "_delete", die_before_deleting)
                with pytest.raises(KilledError):
                    prune()
            put(dest, manifest)

        patched.setattr(making, "put_manifest", put_after_the_note)
        with pytest.raises(StorageError, match="prune"):
            store.backup(place)
    assert len(vio.list_backups(place)) == 3


@pytest.mark.parametrize("lost", ["packs", "tables"])
def test_a_backup_whose_objects_a_whole_prune_deleted_meanwhile_is_refused(three, store, write, monkeypatch, lost):
    place, ids = three
    write(store, "r@main", {"more": b"1"})
    put = destination.put_manifest
    before = packs_at(place)
    deleted = []

    def put_after_a_prune(dest, manifest):
        # An interrupted backup left these two days ago, or this backup has been at it for two days.
        mine = place.glob(f"tables/{manifest.id}/*") if lost == "tables" else place.rglob("*.pack")
        for file in mine:
            if lost == "tables" or file.stem not in before:
                os.utime(file, (file.stat().st_mtime - 200_000,) * 2)
                deleted.append(file)
        vio.prune_backups(place, keep_last=3)
        assert deleted
        assert not any(file.exists() for file in deleted)
        put(dest, manifest)

    with monkeypatch.context() as patched:
        patched.setattr(making, "put_manifest", put_after_a_prune)
        with pytest.raises(StorageError, match="prune deletes objects of this backup"):
            store.backup(place)
    assert [one.id for one in vio.list_backups(place)] == ids
    store.backup(place)
    assert vio.verify_backups(place).problems == ()


@pytest.mark.parametrize("lost", ["pack", "table"])
def test_a_backup_that_lacks_something_does_not_count_as_kept(three, store, tmp_path, write, lost):
    place, ids = three
    before = packs_at(place)
    write(store, "r@main", {"more": b"1"})
    newest = store.backup(place).id
    if lost == "pack":
        for file in place.rglob("*.pack"):
            if file.stem not in before:
                file.unlink()
    else:
        (place / f"tables/{newest}/commits.jsonl.zst").unlink()
    report = vio.prune_backups(place, keep_last=1)
    assert report.kept == (ids[-1], newest)
    assert restored(place, tmp_path / "new", ids[-1]) == {"kept", "new"}


def test_the_note_of_a_prune_leads_to_nothing_but_packs_and_tables(three, tmp_path, monkeypatch):
    place, ids = three
    outside = tmp_path / "outside"
    outside.write_text("1")
    keys = ["tables/../../outside", "../outside", f"manifests/{ids[-1]}.json", "backups.json"]
    (place / "pruning").mkdir(exist_ok=True)
    (place / "pruning" / f"{'0' * 32}.json").write_text(json.dumps(keys))
    monkeypatch.setattr(pruning, "_AT_WORK", timedelta(0))
    assert vio.prune_backups(place, keep_last=3).deleted == ()
    assert outside.exists()
    assert vio.verify_backups(place).whole == tuple(ids)


def test_the_commands_list_and_prune(three):
    place, ids = three
    run = CliRunner().invoke
    done = run(app, ["backups", "list", str(place)])
    assert done.exit_code == 0
    assert all(one in done.output for one in ids)
    done = run(app, ["backups", "prune", str(place), "--keep-last", "1"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("deleted")
    assert run(app, ["backups", "prune", str(place)]).exit_code == 2
    done = run(app, ["backups", "verify", str(place)])
    assert done.exit_code == 0, done.output
