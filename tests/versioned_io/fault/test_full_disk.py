"""A disk that is full: a commit fails with a clear error, nothing changed, and work goes on when there is space."""

import contextlib
import os
import random
import resource
import shutil
import subprocess
from datetime import timedelta

import pytest

import versioned_io as vio
from tests.versioned_io.conftest import commit_files
from versioned_io.errors import StorageError

BEFORE = {"kept": b"1" * 1000, "changed": b"1"}


@pytest.fixture
def disk(tmp_path):
    """An empty file system of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("a small file system can be mounted by root only")
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("no file system may be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def files(store):
    snapshot = store.snapshot("r@main")
    return {file.path: snapshot.read(file.path) for file in snapshot.walk()}


def fill(disk):
    """Leave no byte free and return the file that takes the space."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    return ballast


@pytest.mark.parametrize("full", ["both", "objects", "catalog"])
def test_a_commit_onto_a_full_disk_changes_nothing_and_works_when_there_is_space(tmp_path, disk, dump, full):
    objects = (tmp_path if full == "catalog" else disk) / "s"
    catalog = (tmp_path if full == "objects" else disk) / "c.db"
    with vio.create_store(objects, catalog=f"sqlite:///{catalog}") as store:
        store.create_repo("r")
        first = commit_files(store, "r@main", BEFORE)
        ballast = fill(disk)
        before = dump(store)[0]
        # Beside 700 KB in the packs, names of which the catalog needs more than a page that it has already.
        new = {f"d/{number:05}": random.Random(number).randbytes(40) for number in range(9_000)}
        with pytest.raises(StorageError, match=r"space|full"):
            commit_files(store, "r@main", new)
        assert dump(store)[0] == before
        assert store.commit("r@main") == first
        assert files(store) == BEFORE
        assert store.fsck().is_clean
        ballast.unlink()
        commit_files(store, "r@main", {"changed": b"2"})
        assert files(store) == {**BEFORE, "changed": b"2"}
        assert store.commit("r@main").parent == first.id
        assert store.fsck().is_clean
    with vio.open_store(objects, catalog=f"sqlite:///{catalog}") as store:
        assert files(store) == {**BEFORE, "changed": b"2"}


def test_a_pack_that_is_larger_than_the_disk_takes_leaves_no_trace(tmp_path, dump, write):
    """The limit on the size of files fails a write half way, as a disk does that fills up meanwhile."""
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        first = write(store, "r@main", BEFORE)
        before = dump(store)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        try:
            with pytest.raises(StorageError):
                write(store, "r@main", {"large": random.Random(1).randbytes(3_000_000)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert dump(store) == before
        assert not [path for path in (tmp_path / "s" / "packs").rglob("*") if ".tmp-" in path.name]
        assert store.commit("r@main") == first
        assert store.fsck().is_clean
        write(store, "r@main", {"large": random.Random(1).randbytes(3_000_000)})
        assert store.fsck().is_clean


def test_a_clock_that_goes_back_a_year_loses_nothing(tmp_path, clock, write, files_of):
    place = tmp_path / "s"
    with vio.create_store(place, clock=clock) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
        clock.advance(-365 * 24 * 3600)
        write(store, "r@main", {"a": b"2"})
        store.create_branch("r@dev", at="r@main~1")
        write(store, "r@dev", {"b": b"1"})
        store.gc()
        clock.advance(5)
        write(store, "r@main", {"c": b"1"})
        log = list(store.log("r@main"))
        assert [commit.number for commit in log] == [3, 2, 1]
        year = timedelta(days=365)
        # A date is what the clock said; the order of commits is another thing.
        assert [log[2].created_at - one.created_at for one in log] == [year - timedelta(seconds=5), year, timedelta(0)]
        assert [one.order for one in log] == sorted((one.order for one in log), reverse=True)
        truth = {ref: files_of(store, ref) for ref in ("r@main", "r@main~1", "r@main~2", "r@dev")}
        assert truth["r@main"] == {"a": b"2", "c": b"1"}
        assert truth["r@dev"] == {"a": b"1", "b": b"1"}
        assert store.fsck().is_clean
    for file in place.glob("catalog.db*"):
        file.unlink()
    report = vio.rebuild_store(place, clock=clock)
    assert (report.damaged, report.uncertain) == ((), ())
    with vio.open_store(place, clock=clock) as store:
        assert {ref: files_of(store, ref) for ref in truth} == truth
        assert list(store.log("r@main")) == log
        assert store.fsck().is_clean


def test_a_catalog_that_can_not_be_opened_on_a_full_disk_says_that_the_disk_is_full(tmp_path, disk):
    with vio.create_store(tmp_path / "s", catalog=f"sqlite:///{disk}/c.db") as store:
        store.create_repo("r")
    ballast = fill(disk)  # without the files beside the catalog, which its last connection deleted
    with pytest.raises(StorageError, match="the disk is full; free some space"):
        vio.open_store(tmp_path / "s", catalog=f"sqlite:///{disk}/c.db")
    ballast.unlink()
    with vio.open_store(tmp_path / "s", catalog=f"sqlite:///{disk}/c.db") as store:
        assert [repo.name for repo in store.repos()] == ["r"]
