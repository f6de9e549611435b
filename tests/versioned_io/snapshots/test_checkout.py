"""Files of a snapshot, written into a local directory and nowhere else."""

from pathlib import Path

import pytest

import versioned_io as vio
from versioned_io.errors import InvalidInputError, PathNotFoundError
from versioned_io.snapshots.checkout import write_local_file


@pytest.fixture
def snapshot(store, write):
    store.create_repo("r")
    write(store, "r@main", {"a/b/x": b"x", "a/y": b"y", "z": b"z", "z.part": b"other"})
    return store.snapshot("r@main")


@pytest.fixture
def place(tmp_path):
    """A directory of its own: the store may be in the other one."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def local(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


EVERYTHING = {"a/b/x": b"x", "a/y": b"y", "z": b"z", "z.part": b"other"}


def test_every_file_is_written(snapshot, place):
    seen = []
    assert snapshot.checkout(place / "out", progress=seen.append) == 4
    assert local(place / "out") == EVERYTHING
    assert seen == [vio.TransferProgress(0, 4, 0, 8), vio.TransferProgress(4, 4, 8, 8)]


def test_a_directory_becomes_the_destination(snapshot, place):
    assert snapshot.checkout(str(place), "a") == 2
    assert local(place) == {"b/x": b"x", "y": b"y"}


def test_an_empty_tree_writes_nothing(store, place):
    store.create_repo("r")
    assert store.snapshot("r@main").checkout(place / "out") == 0
    assert not (place / "out").exists()


def test_nothing_is_overwritten_unless_asked_for(snapshot, place):
    (place / "z").write_bytes(b"mine")
    (place / "other").write_bytes(b"mine")
    with pytest.raises(InvalidInputError, match=r"'.*/z' exists already: choose another place, or allow overwriting"):
        snapshot.checkout(place)
    assert local(place) == {"z": b"mine", "other": b"mine"}
    assert snapshot.checkout(place, overwrite=True) == 4
    assert local(place) == {**EVERYTHING, "other": b"mine"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_does_not_fit_is_told_before_anything_is_written(snapshot, place, overwrite):
    (place / "z").mkdir()
    with pytest.raises(InvalidInputError, match=r"'.*/z'"):
        snapshot.checkout(place, overwrite=overwrite)
    assert local(place) == {}
    (place / "z").rmdir()
    (place / "a").write_bytes(b"a file")
    with pytest.raises(InvalidInputError, match=r"'.*/a' is a file, not a directory"):
        snapshot.checkout(place, overwrite=overwrite)
    assert local(place) == {"a": b"a file"}
    with pytest.raises(InvalidInputError, match="is a file, not a directory"):
        snapshot.checkout(place / "a", overwrite=overwrite)


def test_what_is_not_there_is_told(snapshot, place):
    with pytest.raises(PathNotFoundError):
        snapshot.checkout(place, "nope")
    with pytest.raises(InvalidInputError, match=r"'z' in .* is a file, not a directory"):
        snapshot.checkout(place, "z")
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("link", ["a", "a/b"])
def test_no_symbolic_link_of_a_directory_leads_out(snapshot, place, overwrite, link):
    out, outside = place / "out", place / "outside"
    (out / link).parent.mkdir(parents=True)
    outside.mkdir()
    (out / link).symlink_to(outside)
    with pytest.raises(InvalidInputError, match="a symbolic link leads out of"):
        snapshot.checkout(out, overwrite=overwrite)
    assert list(outside.iterdir()) == []
    assert local(out) == {}


def test_no_symbolic_link_of_a_file_leads_out(snapshot, place):
    out, outside = place / "out", place / "outside"
    out.mkdir()
    outside.mkdir()
    (outside / "victim").write_bytes(b"mine")
    for name in ("z", "a.part", "z.part", ".z.part", ".versioned.part"):
        (out / name).symlink_to(outside / "victim")
    with pytest.raises(InvalidInputError, match="exists already"):
        snapshot.checkout(out)
    snapshot.checkout(out, overwrite=True)
    assert (outside / "victim").read_bytes() == b"mine"
    assert local(out) == EVERYTHING
    # A dangling link counts as something that is there.
    (out / "z").unlink()
    (out / "z").symlink_to(outside / "nothing")
    with pytest.raises(InvalidInputError, match="exists already"):
        write_local_file(snapshot, "z", out / "z", overwrite=False)
    assert not (outside / "nothing").exists()


def test_the_destination_itself_may_be_a_link(snapshot, place):
    (place / "real").mkdir()
    (place / "link").symlink_to(place / "real")
    snapshot.checkout(place / "link")
    assert local(place / "real") == EVERYTHING


def test_a_failed_write_leaves_no_part_behind(new_store, write, place):
    store = new_store()
    store.create_repo("r")
    write(store, "r@main", {"a": b"x" * 100})
    pack = max(store._backend.objects.list("packs/"), key=lambda found: found.size_bytes)
    file = Path(store.url) / pack.key
    data = bytearray(file.read_bytes())
    data[60] ^= 0xFF
    file.write_bytes(data)
    with vio.open_store(store.url) as reopened, pytest.raises(vio.VersionedError, match="run fsck"):
        reopened.snapshot("r@main").checkout(place / "out")
    assert [path for path in place.rglob("*") if path.is_file()] == []
