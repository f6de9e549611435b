"""A backup is a store at another place: whole, consistent, and only what is new is copied."""

import itertools
import json
import random
import shutil
import sqlite3
import threading
import tracemalloc
from datetime import timedelta

import pytest
import zstandard
from blake3 import blake3
from sqlalchemy import select
from typer.testing import CliRunner

import versioned_io as vio
from tests.versioned_io.older_catalogs import put_back, rows_of
from versioned_io.catalog.tables import metadata
from versioned_io.errors import (
    CatalogOlderError,
    ExistsError,
    IntegrityError,
    InvalidInputError,
    NotOwnerError,
    StorageError,
    VersionedError,
)
from versioned_io.interfaces.cli.app import app
from versioned_io.maintenance.backup import making
from versioned_io.maintenance.backup.destination import list_backups, read_manifest
from versioned_io.maintenance.backup.table_rows import decode_lines
from versioned_io.storage.objects import open_objects

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


def fill(store, write):
    """Make something in every part of a catalog."""
    dice = random.Random(1)
    store.create_repo("r", description="ümlaut")
    store.create_repo("q")
    first = write(store, "r@main", {"a": b"a" * 1000, "d/large": dice.randbytes(300_000)})
    with store.run("job", params={"x": 1}):
        store.snapshot("r@main").read("a")
        write(store, "q@main", {"made": b"made"}, idempotency_key="once")
    store.create_tag("r@v1", at=first.id)
    store.create_branch("r@dev", at="r@main")
    write(store, "r@dev", {"b": b"b"})
    store.subscription("s", "r@main")
    store.hold_cursor("mine", first.id, hold_for=timedelta(days=1))
    write(store, "r@main", {"a": b"new"})


def told(store):
    """Return what a store says of itself, apart from what is its own place's."""
    backend = store._backend
    left_out = {"properties", "leases", "maintenance"}
    with backend.catalog.read() as connection:
        tables = {
            one.name: sorted(map(repr, connection.execute(select(one)).all()))
            for one in metadata.sorted_tables
            if one.name not in left_out
        }
    files = {}
    for repo in store.repos():
        for branch in repo.branches:
            for commit in store.log(f"{repo.name}@{branch.name}"):
                snapshot = store.snapshot(f"{repo.name}@{commit.id}")
                files[commit.id] = {file.path: snapshot.read(file.path) for file in snapshot.walk()}
    return tables, files


@pytest.fixture
def store(tmp_path, write):
    with vio.create_store(tmp_path / "s") as made:
        fill(made, write)
        yield made


def test_a_backup_knows_every_table():
    """A new table is added here after somebody decided which of its columns a restored store clears."""
    names = {"properties", "repos", "branches", "tags", "journal", "subscriptions", "due_keys", "held_cursors"}
    names |= {"triggers"}
    commits = {"segments", "commits", "provenance", "input_files", "confirmations", "idempotency_keys"}
    contents = {"packs", "chunks", "damages", "leases", "maintenance"}
    evaluated = {"results", "claims", "failures", "disagreements", "datum_states", "datum_uses"}
    assert {table.name for table in metadata.sorted_tables} == names | commits | contents | evaluated


def test_a_restored_store_says_what_the_store_said_and_is_one_of_its_own(store, tmp_path, write):
    report = store.backup(tmp_path / "b")
    assert report.packs == report.copied > 0
    assert report.damaged == ()
    truth = told(store)
    done = vio.restore_store(tmp_path / "b", tmp_path / "new")
    assert (done.id, done.packs, done.rows) == (report.id, report.packs, report.rows)
    with vio.open_store(tmp_path / "new") as restored:
        assert told(restored) == truth
        assert restored.fsck().is_clean
        assert restored.warning is None
        due = [[one.id for one in each.subscription("s", "r@main").pending()] for each in (store, restored)]
        assert due[0] == due[1] != []
        write(restored, "r@main", {"own": b"own"})
        assert restored.gc(**NOW).deleted == 0
        assert restored.fsck().is_clean
    write(store, "r@main", {"other": b"other"})
    assert store.fsck().is_clean


@pytest.mark.parametrize("kinds", [("sqlite", "postgresql"), ("postgresql", "sqlite")])
def test_one_database_restores_into_the_other(tmp_path, write, postgres_url, kinds):
    urls = {"sqlite": None, "postgresql": postgres_url}
    with vio.create_store(tmp_path / "s", catalog=urls[kinds[0]]) as store:
        fill(store, write)
        store.backup(tmp_path / "b")
        truth = told(store)
    vio.restore_store(tmp_path / "b", tmp_path / "new", catalog=urls[kinds[1]])
    with vio.open_store(tmp_path / "new", catalog=urls[kinds[1]]) as restored:
        assert told(restored) == truth
        assert restored.fsck().is_clean
        write(restored, "r@main", {"own": b"own"})
        restored.create_repo("another")
        restored.create_branch("r@newer", at="r@main")


def manifest_times(place):
    """Return when the backups at a place were made."""
    objects = open_objects(str(place))
    return [read_manifest(objects, name).created_at for name in list_backups(objects)]


def test_a_second_backup_copies_only_what_is_new_and_both_can_be_restored(store, tmp_path, write):
    first = store.backup(tmp_path / "b")
    before = told(store)
    write(store, "r@main", {"late": b"late"})
    second = store.backup(tmp_path / "b")
    assert second.copied == 1
    assert second.packs == first.packs + 1
    after = told(store)
    for at, truth in ((first.id, before), (second.id, after), (None, after)):
        place = tmp_path / f"new-{at}"
        vio.restore_store(tmp_path / "b", place, at=at)
        with vio.open_store(place) as restored:
            assert told(restored) == truth
    report = vio.restore_store(tmp_path / "b", tmp_path / "day", at=f"{max(manifest_times(tmp_path / 'b')):%Y-%m-%d}")
    assert report.id == second.id
    oldest = f"was made by 2001-01-01 23:59:59 UTC: the oldest, {first.id}, is of 20"
    with pytest.raises(InvalidInputError, match=oldest):
        vio.restore_store(tmp_path / "b", tmp_path / "never", at="2001-01-01")
    with pytest.raises(InvalidInputError, match="neither"):
        vio.restore_store(tmp_path / "b", tmp_path / "never", at="yesterday")


def test_a_backup_beside_writers_and_a_collector_without_grace_is_one_moment(store, tmp_path, write):
    stop, failures = threading.Event(), []

    def work(step):
        number = 0
        try:
            while not stop.is_set():
                number += 1
                step(number)
        except VersionedError as error:
            failures.append(error)

    steps = [
        lambda number: write(store, "r@busy", {"n": b"%d" % number, "twin": b"%d" % number}),
        lambda number: store.gc(grace=timedelta(0), expire=timedelta(0)),
    ]
    store.create_branch("r@busy", at="r@main")
    threads = [threading.Thread(target=work, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            store.backup(tmp_path / "b")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    vio.restore_store(tmp_path / "b", tmp_path / "new")
    with vio.open_store(tmp_path / "new") as restored:
        assert restored.fsck().is_clean
        snapshot = restored.snapshot("r@busy")
        assert snapshot.read("n") == snapshot.read("twin")


def test_a_backup_that_died_leaves_the_earlier_one_and_the_next_goes_on(store, tmp_path, write, monkeypatch):
    first = store.backup(tmp_path / "b")
    write(store, "r@main", {"late": b"late"})

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(making, "put_manifest", die)
        with pytest.raises(KeyboardInterrupt):
            store.backup(tmp_path / "b")
    assert vio.restore_store(tmp_path / "b", tmp_path / "new").id == first.id
    store.backup(tmp_path / "b")
    vio.restore_store(tmp_path / "b", tmp_path / "newer")
    with vio.open_store(tmp_path / "newer") as restored:
        assert told(restored) == told(store)


def test_a_restore_that_was_interrupted_does_not_open_and_goes_on(store, tmp_path):
    store.backup(tmp_path / "b")
    calls = []

    def interrupt(stage, done):
        calls.append((stage, done))
        if len(calls) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vio.restore_store(tmp_path / "b", tmp_path / "new", progress=interrupt)
    with pytest.raises(VersionedError):
        vio.open_store(tmp_path / "new")
    report = vio.restore_store(tmp_path / "b", tmp_path / "new")
    assert 0 < report.copied < report.packs
    with vio.open_store(tmp_path / "new") as restored:
        assert told(restored) == told(store)


def test_places_that_hold_something_else_are_refused(store, tmp_path, write):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_bytes(b"mine")
    with pytest.raises(InvalidInputError, match="not empty"):
        store.backup(tmp_path / "full")
    for inside in (store.url, f"{store.url}/packs", f"{store.url}/beacons/b", tmp_path):
        with pytest.raises(InvalidInputError, match="contain each other"):
            store.backup(inside)
    store.backup(tmp_path / "b")
    with pytest.raises(InvalidInputError, match="contain each other"):
        vio.restore_store(tmp_path / "b", tmp_path / "b/inner")
    with pytest.raises(ExistsError, match="other files"):
        vio.restore_store(tmp_path / "b", tmp_path / "full")
    with pytest.raises(InvalidInputError, match="in the way"):
        vio.restore_store(tmp_path / "b", tmp_path / "full/file")
    with pytest.raises(ExistsError):
        vio.restore_store(tmp_path / "b", store.url)
    with pytest.raises(InvalidInputError, match="no backups"):
        vio.restore_store(tmp_path / "full", tmp_path / "new")
    with vio.create_store(tmp_path / "other") as other, pytest.raises(InvalidInputError, match="another store"):
        other.backup(tmp_path / "b")
    assert (tmp_path / "full/file").read_bytes() == b"mine"
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["file"]


def test_a_damaged_backup_is_not_restored_and_the_next_backup_replaces_what_is_lost(store, tmp_path):
    store.backup(tmp_path / "b")
    shutil.copytree(tmp_path / "b", tmp_path / "c")
    pack = max((tmp_path / "c").rglob("*.pack"), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[100] ^= 1
    pack.write_bytes(data)
    with pytest.raises(IntegrityError, match="damaged"):
        vio.restore_store(tmp_path / "c", tmp_path / "new")
    for path in [*(tmp_path / "b").rglob("*.zst"), *(tmp_path / "b/manifests").iterdir()]:
        copy = tmp_path / "d"
        shutil.copytree(tmp_path / "b", copy)
        harmed = copy / path.relative_to(tmp_path / "b")
        data = bytearray(harmed.read_bytes())
        data[len(data) // 2] ^= 1
        harmed.write_bytes(data)
        with pytest.raises(VersionedError):
            vio.restore_store(copy, tmp_path / "harmed")
        shutil.rmtree(copy)
        shutil.rmtree(tmp_path / "harmed", ignore_errors=True)
    lost = next((tmp_path / "b").rglob("*.pack"))
    lost.unlink()
    assert store.backup(tmp_path / "b").copied == 1
    vio.restore_store(tmp_path / "b", tmp_path / "whole")


def test_a_damage_in_the_store_is_told_and_what_is_whole_is_copied(store, tmp_path):
    pack = max((tmp_path / "s").rglob("*.pack"), key=lambda path: path.stat().st_size)
    whole = pack.read_bytes()
    pack.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert store.backup(tmp_path / "b").damaged == (pack.stem,)
    pack.write_bytes(whole)
    assert store.backup(tmp_path / "b").damaged == ()
    vio.restore_store(tmp_path / "b", tmp_path / "new")
    with vio.open_store(tmp_path / "new") as restored:
        assert restored.fsck().is_clean


def test_the_commands_back_up_and_restore(store, tmp_path):
    run = CliRunner().invoke
    done = run(app, ["backup", str(tmp_path / "b"), "--store", store.url])
    assert done.exit_code == 0, done.output
    done = run(app, ["restore", str(tmp_path / "b"), str(tmp_path / "new"), "--at", "2999-01-01"])
    assert done.exit_code == 0, done.output
    with vio.open_store(tmp_path / "new") as restored:
        assert told(restored) == told(store)


def copy_by_hand(place, to, order):
    """Copy a store in a given order, with one more commit between the two parts."""
    to.mkdir()

    def copy_packs():
        shutil.copytree(place / "packs", to / "packs")
        shutil.copy(place / "versioned.json", to)

    def copy_catalog():
        with sqlite3.connect(place / "catalog.db") as source, sqlite3.connect(to / "catalog.db") as copy:
            source.backup(copy)
        source.close()
        copy.close()

    first, second = (copy_catalog, copy_packs) if order == "catalog first" else (copy_packs, copy_catalog)
    first()
    yield
    second()


@pytest.mark.parametrize("order", ["catalog first", "packs first"])
def test_of_copies_by_hand_only_the_one_that_begins_with_the_catalog_is_readable(store, tmp_path, write, order):
    steps = copy_by_hand(tmp_path / "s", tmp_path / "copy", order)
    next(steps)
    write(store, "r@main", {"between": b"between"})
    next(steps, None)
    with vio.open_store(tmp_path / "copy") as copy:
        problems = {one.kind for one in copy.fsck().problems}
        assert ("pack" in problems) == (order == "packs first")
        if order == "catalog first":
            assert copy.snapshot("r@main").read("a") == b"new"


def test_text_that_python_takes_for_the_end_of_a_line_is_restored(tmp_path, write):
    text = "one\u2028two\u2029three\x85four\x1cfive\nsix"
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r", description="\u2028")
        write(store, "r@main", {"a\u2028b": b"1"}, message=text)
        store.backup(tmp_path / "b")
    vio.restore_store(tmp_path / "b", tmp_path / "new")
    with vio.open_store(tmp_path / "new") as restored:
        assert restored.commit("r@main").message == text
        assert restored.fsck().is_clean


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [flip, lambda path: path.unlink()], ids=["flipped", "lost"])
def test_a_whole_pack_of_an_interrupted_backup_is_not_replaced_by_a_damaged_one(store, tmp_path, harm):
    truth = told(store)
    store.backup(tmp_path / "b")
    for manifest in (tmp_path / "b/manifests").iterdir():
        manifest.unlink()  # as if it had been killed before its end
    pack = max((tmp_path / "s").rglob("*.pack"), key=lambda path: path.stat().st_size)
    harm(pack)
    for _ in range(2):
        assert store.backup(tmp_path / "b").damaged == (pack.stem,)
    vio.restore_store(tmp_path / "b", tmp_path / "new")
    with vio.open_store(tmp_path / "new") as restored:
        assert told(restored) == truth
        assert restored.fsck().is_clean


def test_a_damage_is_told_also_when_another_pack_is_collected_meanwhile(store, tmp_path, monkeypatch):
    names = sorted(path.stem for path in (tmp_path / "s").rglob("*.pack"))
    flip(next((tmp_path / "s").rglob(f"{names[0]}.pack")))
    copy, collected = making._copy_pack, [names[-1]]
    monkeypatch.setattr(making, "_copy_pack", lambda *parts: None if parts[2] in collected else copy(*parts))
    monkeypatch.setattr(making, "_is_deleted", lambda _backend, name: name in collected and bool(collected.pop()))
    assert store.backup(tmp_path / "b").damaged == (names[0],)


def test_copies_that_went_on_by_themselves_do_not_share_a_place(store, tmp_path, write):
    first = store.backup(tmp_path / "b")
    vio.restore_store(tmp_path / "b", tmp_path / "new")
    write(store, "r@main", {"own": b"1"})
    with vio.open_store(tmp_path / "new") as copy:
        assert copy.backup(tmp_path / "b").copied == 0  # nothing has parted yet: it may have taken the store's place
        copy.create_tag("r@v2", at="r@main")
        copy.backup(tmp_path / "b")
        with pytest.raises(InvalidInputError, match=r"an entry of the journal.*another place"):
            store.backup(tmp_path / "b")
        store.backup(tmp_path / "c")
        write(copy, "r@main", {"copy": b"1"})
        with pytest.raises(InvalidInputError, match=r"commit .*another place"):
            copy.backup(tmp_path / "c")
    vio.restore_store(tmp_path / "b", tmp_path / "older", at=first.id)
    with vio.open_store(tmp_path / "older") as older, pytest.raises(InvalidInputError, match="another place"):
        older.backup(tmp_path / "b")


def test_an_older_catalog_makes_no_backup_until_it_is_recovered(store, tmp_path, write):
    before = rows_of(store)
    write(store, "r@main", {"newest": b"1"})
    store.backup(tmp_path / "b")
    beacons = {path: path.read_bytes() for path in (tmp_path / "s/beacons").iterdir()}
    older = put_back(store, before)
    with pytest.raises(InvalidInputError, match="versioned recover"):
        older.backup(tmp_path / "b")
    for path, data in beacons.items():
        path.write_bytes(data)
    with pytest.raises(CatalogOlderError):
        older.backup(tmp_path / "c")
    assert not (tmp_path / "c").exists()
    older.close()
    vio.recover_store(store.url)
    with vio.open_store(store.url) as recovered:
        assert recovered.backup(tmp_path / "b").copied == 0


def test_a_restore_that_was_interrupted_at_its_very_end_is_finished(store, tmp_path):
    report = store.backup(tmp_path / "b")
    vio.restore_store(tmp_path / "b", tmp_path / "new")
    (tmp_path / "new/restoring.json").write_text(json.dumps({"backup": report.id}))
    assert vio.restore_store(tmp_path / "b", tmp_path / "new").packs == report.packs
    assert not (tmp_path / "new/restoring.json").exists()
    with pytest.raises(ExistsError, match="store"):
        vio.restore_store(tmp_path / "b", tmp_path / "new")


def test_a_bucket_holds_backups_and_a_restored_store(tmp_path, s3_place, write):
    url, options = s3_place
    there = {"catalog": f"sqlite:///{tmp_path}/new.db", "storage_options": options}
    with vio.create_store(tmp_path / "s") as store:
        for number in range(2):
            store.create_repo(f"r{number}")
            assert store.backup(f"{url}/backups", storage_options=options).copied == 1
        vio.restore_store(f"{url}/backups", f"{url}/new", source_options=options, **there)
        with vio.open_store(f"{url}/new", **there) as restored:
            assert told(restored) == told(store)
            write(restored, "r1@main", {"a": b"1"})
            assert restored.fsck().is_clean


def compressed(pieces):
    compressor = zstandard.ZstdCompressor().compressobj()
    return b"".join([*map(compressor.compress, pieces), compressor.flush()])


def test_a_table_is_read_line_by_line_so_that_a_strangers_one_takes_no_memory():
    bomb = compressed(itertools.repeat(b"0" * 1_000_000, 120))  # 120 MB of one line, in some KB
    tracemalloc.start()
    with pytest.raises(IntegrityError, match="takes more than"):
        list(decode_lines(bomb))
    assert tracemalloc.get_traced_memory()[1] < 250_000_000
    row = b'["' + b"x" * 1000 + b'"]\n'
    many = decode_lines(compressed(itertools.repeat(row * 1000, 120)))
    tracemalloc.reset_peak()
    assert [next(many) for _ in range(3)] == [["x" * 1000]] * 3
    assert tracemalloc.get_traced_memory()[1] < 100_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("line", [b"[" * 100_000 + b"\n", b"[1]", b"{\n", b"1\n", b'[{"base64": 1}]\n', b"\xff\n"])
def test_a_table_that_is_not_in_the_form_of_a_backup_is_named_as_damaged(line):
    with pytest.raises(IntegrityError, match="a table of the backup is damaged"):
        list(decode_lines(compressed([line])))


@pytest.mark.parametrize("manifest", ["[" * 100_000, "[]", '{"manifest": [], "digest": ""}'])
def test_a_manifest_that_is_not_in_the_form_of_a_backup_is_named_as_damaged(tmp_path, manifest):
    with vio.create_store(tmp_path / "s") as store:
        report = store.backup(tmp_path / "b")
    [file] = (tmp_path / "b").rglob(f"{report.id}.json")
    file.write_text(manifest)
    with pytest.raises(IntegrityError, match="is damaged"):
        vio.restore_store(tmp_path / "b", tmp_path / "new")


@pytest.mark.parametrize("fields", [{"tables": []}, {"format": 1e999}, {"packs": None}])
def test_a_manifest_with_fields_of_other_shapes_is_named_as_damaged(tmp_path, fields):
    with vio.create_store(tmp_path / "s") as store:
        report = store.backup(tmp_path / "b")
    [file] = (tmp_path / "b").rglob(f"{report.id}.json")
    manifest = {**json.loads(file.read_text())["manifest"], **fields}
    digest = blake3(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    file.write_text(json.dumps({"manifest": manifest, "digest": digest}))
    with pytest.raises(IntegrityError, match="is damaged"):
        vio.restore_store(tmp_path / "b", tmp_path / "new")


@pytest.mark.parametrize("mount_point", ["gone", "empty"])
def test_a_place_whose_disk_is_unmounted_is_not_begun_anew_unless_it_is_said(store, tmp_path, write, mount_point):
    place = tmp_path / "disk/b"
    assert store.backup(place).is_first
    assert not store.backup(tmp_path / "disk/../disk/b").is_first
    place.rename(tmp_path / "elsewhere")
    if mount_point == "empty":
        place.mkdir()
    before = sorted(tmp_path.rglob("disk/**"))
    with pytest.raises(StorageError, match="unmounted"):
        store.backup(place)
    assert sorted(tmp_path.rglob("disk/**")) == before
    # A link to it is the same place, and another place is a first backup.
    (tmp_path / "link").symlink_to(place)
    with pytest.raises(StorageError, match="unmounted"):
        store.backup(tmp_path / "link")
    assert store.backup(tmp_path / "other").is_first
    # A restored store goes on where the lost one left off, so it knows the place.
    store.backup(tmp_path / "elsewhere")
    vio.restore_store(tmp_path / "elsewhere", tmp_path / "new")
    with vio.open_store(tmp_path / "new") as restored, pytest.raises(StorageError, match="unmounted"):
        restored.backup(place)
    run = CliRunner().invoke
    done = run(app, ["backup", str(place), "--store", store.url])
    assert done.exit_code == 5, done.output
    done = run(app, ["backup", str(place), "--store", store.url, "--init"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("first backup ")
    assert not store.backup(place).is_first


def test_a_clone_that_may_not_write_is_backed_up_and_remembers_the_place_too(store, tmp_path, write):
    (tmp_path / "clone").mkdir()
    with sqlite3.connect(tmp_path / "s/catalog.db") as source, sqlite3.connect(tmp_path / "clone/catalog.db") as copy:
        source.backup(copy)
    source.close()
    copy.close()
    with vio.open_store(store.url, catalog=f"sqlite:///{tmp_path}/clone/catalog.db") as clone:
        with pytest.raises(NotOwnerError):
            write(clone, "r@main", {"a": b"1"})
        assert clone.backup(tmp_path / "of-clone").is_first
        (tmp_path / "of-clone").rename(tmp_path / "away")
        with pytest.raises(StorageError, match="unmounted"):
            clone.backup(tmp_path / "of-clone")


def test_an_older_backup_of_a_damaged_pack_is_restored_when_a_later_one_had_it_whole(store, tmp_path):
    pack = max((tmp_path / "s").rglob("*.pack"), key=lambda path: path.stat().st_size)
    whole = pack.read_bytes()
    pack.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    first = store.backup(tmp_path / "b")
    assert first.damaged
    pack.write_bytes(whole)
    store.backup(tmp_path / "b")
    vio.restore_store(tmp_path / "b", tmp_path / "new", at=first.id)
    with vio.open_store(tmp_path / "new") as restored:
        assert restored.fsck().is_clean
