"""The disk below a store is unmounted, or has no hard links: nothing is written to a place that is not the store."""

import ctypes.util
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

import versioned_io as vio
from versioned_io.errors import CatalogOlderError, InvalidInputError, StorageError, StoreNotFoundError, VersionedError

ROOT = Path(__file__).parents[3]

HAS_FUSE = (
    os.access("/dev/fuse", os.R_OK | os.W_OK)
    and ctypes.util.find_library("fuse3") is not None
    and find_spec("mfusepy") is not None
)


@pytest.fixture
def disk(tmp_path):
    return tmp_path / "mnt" / "disk"


@pytest.fixture
def catalog(tmp_path):
    return f"sqlite:///{tmp_path}/catalog.db"


@pytest.fixture
def store(disk, catalog, write):
    """A store on a disk of its own, whose catalog is elsewhere."""
    with vio.create_store(disk / "s", catalog=catalog) as opened:
        opened.create_repo("r")
        write(opened, "r@main", {"a": b"1"})
        yield opened


def unmount(disk):
    """Leave an empty directory in the place of the disk; return a function that mounts it again."""
    away = disk.with_name("away")
    disk.rename(away)
    disk.mkdir()

    def mount():
        shutil.rmtree(disk)
        away.rename(disk)

    return mount


def write_to(store, data=b"2"):
    with store.transaction("r@main") as tx:
        tx.write("a", data)


CALLS = {
    "commit": write_to,
    "repo": lambda store: store.create_repo("other"),
    "tag": lambda store: store.create_tag("r@v1", at="r@main"),
    "gc": lambda store: store.gc(),
    "compact": lambda store: store.compact(),
    "fsck": lambda store: store.fsck(),
    "repair": lambda store: store.fsck(repair=True),
    "large": lambda store: write_to(store, os.urandom(20_000_000)),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("what", ["its mount point is left", "another store's directory is there", "nothing is there"])
def test_nothing_is_written_where_the_store_is_not_any_more(store, disk, name, what):
    mount = unmount(disk)
    if what == "nothing is there":
        disk.rmdir()
    elif what == "another store's directory is there":
        vio.create_store(disk / "s").close()
    before = sorted(disk.rglob("*.pack"))
    with pytest.raises(StorageError, match="unmounted"):
        CALLS[name](store)
    assert sorted(disk.rglob("*.pack")) == before
    if what == "its mount point is left":
        assert list(disk.iterdir()) == []
    elif what == "nothing is there":
        assert not disk.exists()
        disk.mkdir()
    mount()
    write_to(store, b"3")
    assert store.snapshot("r@main").read("a") == b"3"
    assert store.fsck().is_clean


def test_a_read_of_what_is_not_there_says_that_the_disk_is_gone(store, disk):
    unmount(disk)
    with vio.open_store(disk.with_name("away") / "s", catalog=store._backend.catalog.engine.url) as other:
        assert other.snapshot("r@main").read("a") == b"1"
    with pytest.raises(StorageError, match="unmounted"):
        store.snapshot("r@main").read("a")


def test_a_store_that_is_opened_while_its_disk_is_unmounted_is_not_there(store, disk, catalog):
    unmount(disk)
    for call in (vio.open_store, vio.rebuild_store, vio.adopt_store):
        with pytest.raises(StoreNotFoundError):
            call(disk / "s", catalog=catalog)
    assert list(disk.iterdir()) == []


def test_packs_on_a_disk_of_their_own_that_is_unmounted_are_missed(store, disk):
    packs = disk / "s" / "packs"
    packs.rename(disk / "away")
    packs.mkdir()
    with pytest.raises(StorageError, match="unmounted"):
        write_to(store)
    assert list(packs.iterdir()) == []
    packs.rmdir()
    (disk / "away").rename(packs)
    write_to(store)


def test_a_store_of_which_another_copy_was_mounted_is_the_store(store, disk, catalog):
    away = disk.with_name("away")
    disk.rename(away)
    shutil.copytree(away, disk)  # the same disk, under other numbers
    with vio.open_store(disk / "s", catalog=catalog) as again:
        write_to(again)


def test_what_is_made_for_a_store_that_can_not_be_made_is_gone_again(tmp_path):
    pytest.importorskip("psycopg")
    with pytest.raises(StorageError):
        vio.create_store(tmp_path / "a" / "b" / "s", catalog="postgresql+psycopg://127.0.0.1:1/d")
    assert list(tmp_path.iterdir()) == []


def test_a_catalog_whose_disk_is_unmounted_is_not_made_anew(tmp_path, write):
    disk = tmp_path / "catalogs"
    disk.mkdir()
    with vio.create_store(tmp_path / "s", catalog=f"sqlite:///{disk}/catalog.db") as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
        mount = unmount(disk)
        for _ in range(3):
            with pytest.raises(StorageError):
                write_to(store)
            with pytest.raises(StorageError):
                store.snapshot("r@main")
        assert list(disk.iterdir()) == []
        mount()
        write_to(store, b"3")
        assert store.snapshot("r@main").read("a") == b"3"


@pytest.mark.parametrize("waits", [False, True])
def test_a_catalog_that_was_replaced_below_an_open_handle_is_noticed(tmp_path, write, waits):
    """An older file in its place: what is written to the old one would be lost, and what is read is out of date."""
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
    shutil.copy(tmp_path / "s" / "catalog.db", tmp_path / "backup.db")
    with vio.open_store(tmp_path / "s") as store:
        for number in range(3):
            write(store, "r@main", {"a": b"new %d" % number})
        store.create_tag("r@v1", at="r@main")
        if waits:
            store.snapshot("r@main")
        for file in (tmp_path / "s").glob("catalog.db-*"):
            file.unlink()
        (tmp_path / "backup.db").replace(tmp_path / "s" / "catalog.db")
        with pytest.raises(CatalogOlderError):
            write_to(store)
        with pytest.raises(CatalogOlderError):
            store.gc()
    with vio.open_store(tmp_path / "s") as store, pytest.raises(CatalogOlderError):
        write_to(store)


@pytest.fixture
def linkless(tmp_path):
    """The mount point of a file system without hard links."""
    directory = tmp_path / "fat"
    directory.mkdir()
    command = [sys.executable, "-m", "tests.versioned_io.fault.linkless", str(directory)]
    with subprocess.Popen(command, cwd=ROOT) as server:
        deadline = time.monotonic() + 60
        while not directory.is_mount():
            assert server.poll() is None, "the file system did not start"
            assert time.monotonic() < deadline, "the file system was not mounted in a minute"
            time.sleep(0.02)
        try:
            yield directory
        finally:
            subprocess.run(["fusermount3", "-u", "-z", str(directory)], check=True)
            server.wait(60)


@pytest.mark.skipif(not HAS_FUSE, reason="no FUSE here")
@pytest.mark.parametrize("below", ["", "s", "a/b/s"])
def test_a_file_system_without_hard_links_is_said_to_be_one(linkless, below, catalog):
    for options in ({}, {"catalog": catalog}):
        for make in (vio.create_store, vio.open_or_create_store):
            with pytest.raises(InvalidInputError, match="no hard links"):
                make(linkless / below, **options)
            assert list(linkless.iterdir()) == []
    assert not Path(catalog.removeprefix("sqlite:///")).exists()


@pytest.mark.skipif(not HAS_FUSE, reason="no FUSE here")
def test_a_store_that_was_copied_to_a_file_system_without_hard_links_says_so_at_a_write(linkless, tmp_path, write):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
    catalog = f"sqlite:///{tmp_path}/s/catalog.db"
    shutil.copytree(tmp_path / "s" / "packs", linkless / "s" / "packs")
    shutil.copy(tmp_path / "s" / "versioned.json", linkless / "s")
    with vio.open_store(linkless / "s", catalog=catalog) as store:
        with pytest.raises(VersionedError):
            write(store, "r@main", {"a": b"2"})
        assert store.snapshot("r@main").read("a") == b"1"
