"""A catalog that is older than what was acknowledged is noticed, and nothing is written to it."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import versioned_io as vio
from versioned_io.errors import CatalogOlderError, IntegrityError, VersionedError
from versioned_io.model.beacons import Beacon, BeaconKind, parse_beacon
from versioned_io.storage.beacons import list_beacons

NAME = "0192f0c1d2e37a4b8c5d6e7f8091a2b3"


@pytest.fixture
def place(tmp_path):
    return tmp_path / "s"


def copy_catalog(place, to):
    """Copy the SQLite files of a closed store."""
    to.mkdir(exist_ok=True)
    for file in Path(place).glob("catalog.db*"):
        shutil.copy2(file, to)


def put_back(place, backup):
    for file in Path(place).glob("catalog.db*"):
        file.unlink()
    copy_catalog(backup, Path(place))


def beacons_of(store):
    return list_beacons(store._backend.objects).beacons


@pytest.fixture
def older(place, tmp_path, write):
    """The place of a store whose catalog was restored from a backup, three commits and a tag older than its packs."""
    with vio.create_store(place) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
    copy_catalog(place, tmp_path / "backup")
    with vio.open_store(place) as store:
        for number in range(3):
            write(store, "r@main", {"a": b"new %d" % number})
        store.create_tag("r@v1", at="r@main")
    put_back(place, tmp_path / "backup")
    return place


WRITES = {
    "commit": lambda store: write_one(store, "r@main"),
    "repo": lambda store: store.create_repo("other"),
    "branch": lambda store: store.create_branch("r@dev", at="r@main"),
    "tag": lambda store: store.create_tag("r@v2", at="r@main"),
    "reset": lambda store: store.reset("r@main", "r@main"),
    "subscription": lambda store: store.subscription("s", "r@main"),
    "gc": lambda store: store.gc(),
    "compact": lambda store: store.compact(),
    "purge": lambda store: store.purge("r", "a"),
    "repair": lambda store: store.fsck(repair=True),
}


def write_one(store, branch):
    with store.transaction(branch) as tx:
        tx.write("b", b"2")


@pytest.mark.parametrize("name", WRITES)
def test_nothing_is_written_to_an_older_catalog(older, dump, name):
    with vio.open_store(older) as store:
        assert "versioned recover" in store.warning
        before = dump(store), beacons_of(store)
        with pytest.raises(CatalogOlderError, match="versioned recover"):
            WRITES[name](store)
        assert (dump(store), beacons_of(store)) == before


def test_an_older_catalog_can_be_read(older):
    with vio.open_store(older) as store:
        assert [problem.kind for problem in store.fsck().problems][:1] == ["catalog"]
        assert store.snapshot("r@main").read("a") == b"1"
        assert len(list(store.log("r@main"))) == 1


def test_a_catalog_that_is_up_to_date_is_not_warned_of(older, tmp_path, write):
    vio.rebuild_store(older, catalog=f"sqlite:///{tmp_path}/other.db")
    place = tmp_path / "t"
    with vio.create_store(place) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
    copy_catalog(place, tmp_path / "backup-of-t")
    put_back(place, tmp_path / "backup-of-t")
    with vio.open_store(place) as store:
        assert store.warning is None
        write(store, "r@main", {"a": b"2"})


@pytest.mark.parametrize(
    "newest",
    [
        lambda store: write_one(store, "r@main"),
        lambda store: store.create_tag("r@v1", at="r@main"),
        lambda store: store.create_branch("r@dev", at="r@main"),
        lambda store: store.create_repo("other"),
        lambda store: store.reset("r@main", "r@main~1"),
        lambda store: store.squash("r@main"),
        lambda store: store.protect_branch("r@main"),
        lambda store: store.merge("r@side", "r@main"),
        lambda store: store.purge("r", "gone"),
    ],
    ids=["commit", "tag", "branch", "repo", "reset", "squash", "protection", "merge", "purge"],
)
def test_whatever_is_the_newest_thing_is_missed(place, tmp_path, write, newest):
    with vio.create_store(place) as store:
        store.create_repo("r")
        for number in range(3):
            write(store, "r@main", {"a": b"%d" % number, "gone": b"secret"})
        store.create_branch("r@side", at="r@main")
        write(store, "r@side", {"side": b"1"})
    copy_catalog(place, tmp_path / "backup")
    with vio.open_store(place) as store:
        newest(store)
    put_back(place, tmp_path / "backup")
    with vio.open_store(place) as store:
        assert store.warning is not None
        with pytest.raises(IntegrityError):
            write(store, "r@main", {"a": b"3"})


def test_a_compaction_is_missed(place, tmp_path, write):
    with vio.create_store(place) as store:
        store.create_repo("r")
        for number in range(20):
            write(store, "r@main", {f"{number}": b"%d" % number})
    copy_catalog(place, tmp_path / "backup")
    with vio.open_store(place) as store:
        assert store.compact().new_packs
    put_back(place, tmp_path / "backup")
    with vio.open_store(place) as store, pytest.raises(CatalogOlderError):
        store.gc()


def test_rows_of_the_newest_commit_and_its_pack_that_are_missing_are_noticed(place, write):
    from sqlalchemy import text

    with vio.create_store(place) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
        newest = write(store, "r@main", {"a": b"2"})
        with store._backend.catalog.engine.begin() as connection:
            values = {"old": newest.parent, "new": newest.id}
            pack = connection.execute(text("SELECT pack FROM commits WHERE id = :new"), values).scalar_one()
            connection.execute(text("UPDATE branches SET head_id = :old WHERE head_id = :new"), values)
            connection.execute(text("DELETE FROM commits WHERE id = :new"), values)
            connection.execute(text("DELETE FROM chunks WHERE pack = :pack"), {"pack": pack})
            connection.execute(text("DELETE FROM packs WHERE name = :pack"), {"pack": pack})
    with vio.open_store(place) as store, pytest.raises(CatalogOlderError, match=newest.id):
        store.gc()


def test_a_row_of_the_journal_that_is_missing_is_noticed(place, write):
    from sqlalchemy import text

    with vio.create_store(place) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
        store.create_tag("r@v1", at="r@main")
        with store._backend.catalog.engine.begin() as connection:
            connection.execute(text("DELETE FROM journal WHERE action = 'create_tag'"))
    with vio.open_store(place) as store, pytest.raises(CatalogOlderError):
        store.gc()


def test_a_store_that_was_copied_without_its_catalogs_log_is_noticed(place, tmp_path, write):
    with vio.create_store(place) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
    with vio.open_store(place) as store:
        write(store, "r@main", {"a": b"2"})
        # While it is open, the newest commits are in the log alone.
        shutil.copytree(place, tmp_path / "copy", ignore=shutil.ignore_patterns("catalog.db-*"))
    with vio.open_store(tmp_path / "copy") as store, pytest.raises(CatalogOlderError):
        store.gc()


def test_wrong_clocks_change_nothing(place, tmp_path, write, clock):
    with vio.create_store(place, clock=clock) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
    copy_catalog(place, tmp_path / "backup")
    clock.advance(-400 * 86_400)
    with vio.open_store(place, clock=clock) as store:
        write(store, "r@main", {"a": b"2"})
    put_back(place, tmp_path / "backup")
    clock.advance(4_000 * 86_400)
    with vio.open_store(place, clock=clock) as store, pytest.raises(CatalogOlderError):
        store.gc()


def test_few_beacons_are_left_by_many_short_processes(place, write):
    with vio.create_store(place) as store:
        store.create_repo("r")
    for number in range(12):
        with vio.open_store(place) as store:
            write(store, "r@main", {"a": b"%d" % number})
            assert len(beacons_of(store)) == 1


def test_two_handles_leave_no_more_than_one_beacon_each(place, write):
    with vio.create_store(place) as one, vio.open_store(place) as two:
        one.create_repo("r")
        for number in range(6):
            write((one, two)[number % 2], "r@main", {"a": b"%d" % number})
            assert len(beacons_of(one)) == 1


def test_a_beacon_that_was_deleted_by_hand_costs_no_more_than_the_notice(place, write):
    with vio.create_store(place) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
        shutil.rmtree(place / "beacons")
        write(store, "r@main", {"a": b"2"})
    shutil.rmtree(place / "beacons")
    with vio.open_store(place) as store:
        assert store.warning is None
        write(store, "r@main", {"a": b"3"})


def test_a_commit_counts_although_its_beacon_can_not_be_put(place):
    with vio.create_store(place) as store:
        store.create_repo("r")
        shutil.rmtree(place / "beacons")
        (place / "beacons").write_bytes(b"in the way")
    with pytest.raises(VersionedError):
        vio.open_store(place)
    (place / "beacons").unlink()
    with vio.open_store(place) as store:
        with store.transaction("r@main") as tx:
            tx.write("a", b"1")
            (place / "beacons").mkdir()
        assert store.snapshot("r@main").read("a") == b"1"


def test_a_rebuild_says_what_was_acknowledged_and_is_in_no_pack(place, write):
    with vio.create_store(place) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
        with store._backend.catalog.read() as connection:
            before = {row.name for row in connection.exec_driver_sql("SELECT name FROM packs")}
        lost = write(store, "r@main", {"a": b"2"})
    for file in place.glob("catalog.db*"):
        file.unlink()
    for file in place.glob("packs/**/*.pack"):
        if file.stem not in before:
            file.unlink()
    report = vio.rebuild_store(place)
    assert any(lost.id in sentence and "lost" in sentence for sentence in report.uncertain)
    with vio.open_store(place) as store:
        assert store.warning is None
        write(store, "r@main", {"a": b"3"})


@pytest.mark.parametrize(
    "beacon",
    [Beacon(BeaconKind.COMMIT, NAME), Beacon(BeaconKind.PACK, NAME), Beacon(BeaconKind.ENTRY, NAME, 12)],
    ids=str,
)
def test_the_key_of_a_beacon_says_everything(beacon):
    assert parse_beacon(beacon.key) == beacon


@pytest.mark.parametrize(
    "key", ["", "beacons/", f"beacons/commit-{NAME}x", f"beacons/entry-{NAME}", "beacons/owner-00000001"]
)
def test_what_is_not_a_beacon_is_not_taken_for_one(key):
    assert parse_beacon(key) is None


AS_NOBODY = """
import logging, os, sys
import versioned_io as vio

def work(place):
    with vio.open_store(place) as store:
        print(store.snapshot("r@main").read("a").decode(), store.warning)
        try:
            store.create_tag("r@v1", at="r@main")
            print("made")
        except vio.VersionedError as error:
            print(type(error).__name__)

work(sys.argv[2])  # loads every module: the interpreter's own may be out of nobody's reach
os.setgroups([]); os.setgid(65534); os.setuid(65534)
logging.basicConfig(level=logging.WARNING)
work(sys.argv[1])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("may_write", [False, True])
def test_a_user_who_may_not_list_the_beacons_can_work_and_is_warned(write, may_write):
    # Not below pytest's directories, which are their owner's alone.
    with tempfile.TemporaryDirectory() as directory:
        place, warm = Path(directory, "s"), Path(directory, "warm")
        for one in (place, warm):
            with vio.create_store(one) as store:
                store.create_repo("r")
                write(store, "r@main", {"a": b"1"})
        Path(directory).chmod(0o755)
        for path in (place, *place.rglob("*")):
            path.chmod((0o777 if may_write else 0o755) if path.is_dir() else (0o666 if may_write else 0o644))
        (place / "beacons").chmod(0o333 if may_write else 0o711)
        command = [sys.executable, "-c", AS_NOBODY, str(place), str(warm)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "an older catalog" in done.stderr, done.stderr
        assert done.stdout.splitlines() == ["1 None", "made", "1 None", "made" if may_write else "StorageError"]


def test_a_beacon_whose_number_has_zeros_before_it_is_none_since_no_writer_makes_it():
    pack = "0" * 32
    assert parse_beacon(f"beacons/entry-{pack}-10") == Beacon(BeaconKind.ENTRY, pack, 10)
    assert parse_beacon(f"beacons/entry-{pack}-010") is None
