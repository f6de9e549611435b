"""Who may read a local store: its directory's mode decides, whatever the umask of a writer is."""

import os
import stat
from pathlib import Path

import pytest

import versioned_io as vio
from versioned_io.storage.objects import open_objects
from versioned_io.storage.objects.cached import CachedObjects


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o027, 0o077], ids=lambda mask: f"umask {mask:03o}")
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def work(place):
    """Make a store and use it, so that everything is made that ever lies in it; return the modes while it is open."""
    with vio.create_store(str(place)) as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            tx.write("a", b"1")
        store.create_tag("r@one", at="r@main")
        store.gc()
        modes = modes_below(place)
        assert {"catalog.db", "catalog.db-wal", "catalog.db-shm", "versioned.json"} <= {path.name for path in modes}
        return modes


def modes_below(place):
    return {path: stat.S_IMODE(path.stat().st_mode) for path in [place, *sorted(Path(place).rglob("*"))]}


def check(modes, directories, files):
    for path, mode in modes.items():
        wanted = directories if path.is_dir() else files
        assert mode == wanted, f"{path} has {mode:o}, not {wanted:o}"


def test_a_store_that_is_made_is_its_owners_alone(umask, tmp_path):
    check(work(tmp_path / "store"), 0o700, 0o600)


@pytest.mark.parametrize(
    ("given", "directories", "files"),
    [(0o755, 0o755, 0o644), (0o750, 0o750, 0o640), (0o2770, 0o2770, 0o660), (0o2775, 0o2775, 0o664)],
    ids=lambda mode: f"{mode:o}",
)
def test_the_mode_of_a_directory_that_is_there_decides(umask, tmp_path, given, directories, files):
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(given)
    check(work(tmp_path / "store"), directories, files)


def test_a_directory_that_is_for_everybody_to_write_into_does_not_pass_that_on(umask, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o1777)
    modes = work(tmp_path / "store")
    del modes[tmp_path / "store"]
    check(modes, 0o755, 0o644)


def test_a_store_stays_shared_when_another_of_its_group_writes_with_another_umask(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o2775)
    before = os.umask(0o077)
    try:
        work(tmp_path / "store")
        with vio.open_store(str(tmp_path / "store")) as store, store.transaction("r@main") as tx:
            tx.write("b", b"2")
    finally:
        os.umask(before)
    check(modes_below(tmp_path / "store"), 0o2775, 0o664)


@pytest.mark.parametrize(("given", "directories", "files"), [(None, 0o700, 0o600), (0o770, 0o770, 0o660)])
def test_a_cache_is_its_owners_alone_unless_it_is_shared(umask, tmp_path, given, directories, files):
    if given is not None:
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache").chmod(given)
    objects = open_objects(str(tmp_path / "objects"))
    objects.put("packs/aa/x", [b"data"])
    cached = CachedObjects(objects, tmp_path / "cache")
    assert cached.get_range("packs/aa/x", 0, 4) == b"data"
    modes = modes_below(tmp_path / "cache")
    assert any(path.is_file() for path in modes)
    check(modes, directories, files)


def test_a_catalog_elsewhere_is_as_its_directory(umask, tmp_path):
    (tmp_path / "catalogs").mkdir()
    (tmp_path / "catalogs").chmod(0o750)
    with vio.create_store(str(tmp_path / "store"), catalog=f"sqlite:///{tmp_path}/catalogs/c.db") as store:
        store.create_repo("r")
        check(modes_below(tmp_path / "catalogs"), 0o750, 0o640)
