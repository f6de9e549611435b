"""Files of a snapshot, written into a local directory and nowhere else."""

import os
import resource
import signal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import versioned_io as vio
from tests.versioned_io.storage.chunks.data import noise
from tests.versioned_io.storage.objects.stores import CountingObjects
from versioned_io.errors import FormatError, IntegrityError, InvalidInputError, PathNotFoundError, StorageError
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.storage.pages.schema import ROWS
from versioned_io.versioning.snapshots.checkout import Checkout, CheckoutMode, write_local_file
from versioned_io.versioning.snapshots.local_state import find_case_clash
from versioned_io.versioning.snapshots.manifest import MANIFEST_NAME


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
    with pytest.raises(InvalidInputError, match=r"'.*/z' exists already: choose another place, or pass --overwrite"):
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
    with pytest.raises(InvalidInputError, match="is a symbolic link, which may leave"):
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


# Only what differs


def incremental(store, place, ref="r@main", **options):
    return store.snapshot(ref).checkout(place, mode="incremental", **options)


def without_notes(directory):
    return {path: data for path, data in local(directory).items() if path != MANIFEST_NAME}


def age(directory, seconds=10):
    """Make everything older: what was written in this instant is compared by its content."""
    for path in directory.rglob("*"):
        if path.is_file() and path.name != MANIFEST_NAME:
            status = path.stat()
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - seconds * 10**9))
    return directory


def test_only_what_differs_is_written(snapshot, store, write, place):
    assert incremental(store, place) == 4
    before = {path: (place / path).stat().st_ino for path in EVERYTHING}
    with store.transaction("r@main") as tx:
        tx.write("z", b"new")
        tx.write("b/new", b"n")
        tx.delete("a/b/x")
    assert incremental(store, place) == 2
    assert without_notes(place) == {"a/y": b"y", "b/new": b"n", "z": b"new", "z.part": b"other"}
    assert not (place / "a/b").exists()
    assert (place / "a/y").stat().st_ino == before["a/y"]
    assert incremental(store, place) == 0
    assert incremental(store, place, "r@main~1") == 2
    assert without_notes(place) == EVERYTHING


def test_files_whose_status_is_as_noted_are_not_read(snapshot, store, place):
    incremental(store, place)
    incremental(store, age(place))
    (place / "z").chmod(0)
    status = (place / "z").stat()
    (place / "z").chmod(0o600)
    (place / "z").write_bytes(b"Z")
    os.utime(place / "z", ns=(status.st_atime_ns, status.st_mtime_ns))
    # Whoever puts the time back is believed; this is what makes it fast.
    notes = (place / MANIFEST_NAME).stat().st_ino
    assert incremental(store, place) == 0
    assert (place / MANIFEST_NAME).stat().st_ino == notes


def test_a_change_in_the_instant_of_the_checkout_is_seen(snapshot, store, place):
    incremental(store, place)
    status = (place / "z").stat()
    (place / "z").write_bytes(b"Z")
    os.utime(place / "z", ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(InvalidInputError, match=r"modified since they were checked out.*/z'"):
        incremental(store, place)


@pytest.mark.parametrize("changes", [{"z": b"new"}, {"other": b"o"}])
def test_a_locally_modified_file_is_named_and_kept(snapshot, store, write, place, changes):
    incremental(store, age(place) if place.exists() else place)
    (place / "z").write_bytes(b"mine")
    write(store, "r@main", changes)
    held = local(place)
    with pytest.raises(InvalidInputError, match=r"modified since they were checked out, .*/z'; save them elsewhere"):
        incremental(store, place)
    assert local(place) == held
    assert incremental(store, place, overwrite=True) == 1 + ("other" in changes)
    assert without_notes(place) == {**EVERYTHING, **changes}


def test_a_modified_file_that_the_snapshot_lost_is_never_deleted(snapshot, store, place):
    incremental(store, place)
    (place / "a/y").write_bytes(b"mine")
    with store.transaction("r@main") as tx:
        tx.delete("a/")
    with pytest.raises(InvalidInputError, match=r"/a/y'"):
        incremental(store, place)
    assert without_notes(place) == {**EVERYTHING, "a/y": b"mine"}
    incremental(store, place, overwrite=True)
    assert without_notes(place) == {"a/y": b"mine", "z": b"z", "z.part": b"other"}


def test_what_no_checkout_wrote_is_left_alone_or_taken_over_when_it_is_the_same(snapshot, store, place):
    (place / "mine").write_bytes(b"mine")
    (place / "z").write_bytes(b"z")
    assert incremental(store, place) == 3
    assert without_notes(place) == {**EVERYTHING, "mine": b"mine"}
    (place / "z.part").unlink()
    assert incremental(store, place) == 1
    with store.transaction("r@main") as tx:
        tx.delete("/")
    incremental(store, place)
    assert without_notes(place) == {"mine": b"mine"}


def test_a_file_may_become_a_directory_and_a_directory_a_file(snapshot, store, place):
    incremental(store, place)
    with store.transaction("r@main") as tx:
        tx.delete("a/")
        tx.write("a", b"file")
        tx.delete("z")
        tx.write("z/below", b"b")
    assert incremental(store, place) == 2
    assert without_notes(place) == {"a": b"file", "z/below": b"b", "z.part": b"other"}
    incremental(store, place, "r@main~1")
    assert without_notes(place) == EVERYTHING


def test_a_directory_with_files_of_others_does_not_become_a_file(snapshot, store, place):
    incremental(store, place)
    (place / "a/mine").write_bytes(b"mine")
    with store.transaction("r@main") as tx:
        tx.delete("a/")
        tx.write("a", b"file")
    held = local(place)
    with pytest.raises(InvalidInputError, match="that is a directory"):
        incremental(store, place, overwrite=True)
    assert local(place) == held


def test_notes_that_cannot_be_read_are_told(snapshot, store, place):
    (place / MANIFEST_NAME).write_bytes(b"rubbish")
    with pytest.raises(FormatError, match="delete it, so that every file is compared"):
        incremental(store, place)
    store.create_repo("q")
    with store.transaction("q@main") as tx:
        tx.write(MANIFEST_NAME, b"x")
    with pytest.raises(InvalidInputError, match="needs for its notes"):
        incremental(store, place / "q", "q@main")
    with pytest.raises(InvalidInputError, match="'full', 'incremental'"):
        snapshot.checkout(place, mode="fast")


# Many and large files


@settings(max_examples=10, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[ab]{1,2}(/[ab]{1,2}){0,2}", fullmatch=True),
        st.tuples(st.sampled_from([0, 1, 3000, 130_000, 700_000, 9_000_000]), st.integers(0, 2)),
        min_size=1,
    ),
    st.booleans(),
)
def test_what_is_checked_out_is_what_was_written(tmp_path_factory, kinds, fsync):
    place = tmp_path_factory.mktemp("out")
    directories = {path[:end] for path in kinds for end in range(len(path)) if path[end] == "/"}
    contents = {path: noise(size, seed) for path, (size, seed) in kinds.items() if path not in directories}
    store = vio.create_store(tmp_path_factory.mktemp("store") / "s")
    store.create_repo("r")
    with store.transaction("r@main") as tx:
        for path, data in contents.items():
            tx.write(path, data)
    steps = []
    snapshot = store.snapshot("r@main")
    assert snapshot.checkout(place, fsync=fsync, progress=steps.append) == len(contents)
    assert local(place) == contents
    size = sum(map(len, contents.values()))
    assert steps[-1] == vio.TransferProgress(len(contents), len(contents), size, size)
    assert dict(snapshot.read_many(sorted(contents))) == contents
    store.close()


def test_a_block_is_read_once(store, place):
    store.create_repo("r")
    with store.transaction("r@main") as tx:
        for number in range(3000):
            tx.write(f"{number:04}", noise(2000, number))
    counting = CountingObjects(store._backend.objects)
    reader = ChunkReader(counting)
    snapshot = store.snapshot("r@main")
    object.__setattr__(store._backend, "chunks", reader)
    snapshot.checkout(place)
    assert counting.calls["ranges"] <= 3  # of 6 MB


def test_a_pattern_chooses_files(snapshot, place):
    assert snapshot.checkout(place, glob="**/*y") == 1
    assert local(place) == {"a/y": b"y"}
    assert snapshot.checkout(place, "a", glob="a/b/*") == 1
    assert local(place) == {"a/y": b"y", "b/x": b"x"}


def test_many_files_are_read_in_the_order_asked_for(snapshot):
    assert list(snapshot.read_many(["z", "a/y", "z"])) == [("z", b"z"), ("a/y", b"y"), ("z", b"z")]
    assert list(snapshot.read_many([])) == []
    found = snapshot.read_many(["z", "nope"])
    with pytest.raises(PathNotFoundError):
        list(found)


def test_reads_of_a_checkout_are_noted(store, snapshot, place):
    with store.run("look") as run:
        store.snapshot("r@main").checkout(place / "1", "a")
        list(store.snapshot("r@main").read_many(["z"]))
    assert sorted(file.path for file in run.inputs) == ["a/b/x", "a/y", "z"]


def test_paths_that_differ_only_in_case_are_found():
    assert find_case_clash(["a/b", "a/c", "b"]) is None
    assert find_case_clash(["a/b", "a/B"]) == ("a/b", "a/B")
    assert find_case_clash(["A/x", "a/y"]) == ("A", "a")
    assert find_case_clash(["dir/x/1", "dir/x/2", "dir/X/3"]) == ("dir/x", "dir/X")
    assert find_case_clash(["stra\u00dfe", "STRASSE"]) == ("stra\u00dfe", "STRASSE")


def test_a_disk_that_is_full_leaves_the_directory_as_it_was(new_store, place):
    store = new_store()
    store.create_repo("r")
    with store.transaction("r@main") as tx:
        tx.write("big", noise(12_000_000))
        tx.write("a/small", b"s")
    (place / "out").mkdir()
    (place / "out/mine").write_bytes(b"mine")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, before[1]))
    try:
        with pytest.raises(StorageError, match="can't write the local file 'big'"):
            store.snapshot("r@main").checkout(place / "out")
        with pytest.raises(StorageError):
            store.snapshot("r@main").checkout(place / "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in (place / "out").iterdir()] == ["mine"]
    assert not (place / "new").exists()
    assert store.snapshot("r@main").checkout(place / "out") == 2


def test_a_link_that_is_put_there_during_the_checkout_is_not_followed(store, snapshot, place):
    out, outside = place / "out", place / "outside"
    outside.mkdir()
    (out / "a").mkdir(parents=True)
    (out / "mine").write_bytes(b"mine")

    def swap(progress):
        if progress.files and not (out / "a").is_symlink():
            (out / "a").rmdir()
            (out / "a").symlink_to(outside)

    with pytest.raises(InvalidInputError, match="'a' in 'a' has become a symbolic link"):
        snapshot.checkout(out, progress=swap)
    assert list(outside.iterdir()) == []
    assert not [path for path in out.iterdir() if path.name.endswith(".part") and path.is_dir()]


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


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_a_place_that_can_not_be_is_told(snapshot, place, mode):
    with pytest.raises(InvalidInputError, match="longer than 255 bytes"):
        snapshot.checkout(place / ("x" * 300), mode=mode)
    with pytest.raises(StorageError, match="can't write the local file '/proc/x'"):
        snapshot.checkout("/proc/x", mode=mode)


def test_a_name_that_is_too_long_for_a_file_system_is_refused_before_anything_is_written(store, write, place):
    store.create_repo("r")
    write(store, "r@main", {"a": b"1", f"d/{'é' * 128}": b"2"})
    with pytest.raises(InvalidInputError, match="its name is longer than 255 bytes; leave it out with a glob"):
        store.snapshot("r@main").checkout(place / "new")
    assert not (place / "new").exists()
    store.snapshot("r@main").checkout(place / "new", glob="a")
    assert local(place / "new") == {"a": b"1"}


@pytest.fixture
def many(new_store, write):
    """A snapshot whose checkout is many tasks: its progress is told again and again."""
    store = new_store()
    store.create_repo("r")
    write(store, "r@main", {f"d/e/{number:03}": bytes([number]) * 700_000 for number in range(40)})
    return store.snapshot("r@main")


def swaps_once(path, outside):
    """A progress function that puts a symbolic link to *outside* in the place of a directory, once there is one."""

    def swap(progress):
        found = next(iter(path()), None)
        if progress.files and found is not None and not found.is_symlink():
            found.rename(found.with_name("swapped"))
            found.symlink_to(outside)

    return swap


@pytest.mark.parametrize("is_new", [True, False])
def test_a_target_that_is_swapped_for_a_link_meanwhile_is_not_followed(many, tmp_path, is_new):
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    if not is_new:
        out.mkdir()
    many.checkout(out, progress=swaps_once(lambda: [out], outside))
    assert list(outside.iterdir()) == []
    assert len([path for path in (tmp_path / "swapped").rglob("*") if path.is_file()]) == 40


def test_a_directory_of_the_work_that_is_swapped_for_a_link_is_not_followed(many, tmp_path):
    out, outside = tmp_path / "out", tmp_path / "outside"
    (outside / "e").mkdir(parents=True)
    # Between the two steps of the swap another thread may find no directory at all.
    with pytest.raises((InvalidInputError, FileNotFoundError)):
        many.checkout(out, progress=swaps_once(lambda: out.glob(".versioned-*/d"), outside))
    assert [path for path in outside.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("paths", [["../x"], ["/x"], ["a", "a/b"], ["a/../../x"], ["a//b"], ["."], ["x\x1b"], [""]])
def test_paths_that_no_writer_stores_are_not_written_either(many, tmp_path, paths):
    """They are refused when a page is read; here a table of rows is made by hand, as if that had missed one."""
    columns = {"path": paths, "size": [0] * len(paths), "digest": [bytes(32)] * len(paths), "chunks": [[]] * len(paths)}
    rows = pa.Table.from_pydict(columns, schema=pa.schema([ROWS.field(name) for name in columns]))
    checkout = Checkout(rows, tmp_path / "in" / "out", overwrite=True, syncs=False)
    with pytest.raises(IntegrityError, match="no writer stores"):
        checkout.run(many._backend.chunks, CheckoutMode.FULL, is_remote=False, progress=None)
    assert not (tmp_path / "in").exists()
