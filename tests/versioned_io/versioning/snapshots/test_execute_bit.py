"""The execute bit goes in and out with the bytes, and its recording modifies nothing that is there already."""

import os
import stat
import subprocess

import pytest

import versioned_io as vio
from versioned_io.errors import IntegrityError
from versioned_io.versioning.snapshots.file_info import recorded_bit


@pytest.fixture
def store(tmp_path):
    with vio.create_store(tmp_path / "s") as made:
        made.create_repo("r")
        yield made


@pytest.fixture
def local(tmp_path):
    directory = tmp_path / "in"
    (directory / "bin").mkdir(parents=True)
    for name, mode in (("bin/run.sh", 0o755), ("bin/large", 0o700), ("data.csv", 0o644)):
        (directory / name).write_bytes(b"x" * (20_000_000 if name == "bin/large" else 10))
        (directory / name).chmod(mode)
    return directory


def take_in(store, directory):
    with store.transaction("r@main") as tx:
        tx.write_tree(directory)
    return tx


def take_in_one_by_one(store, directory):
    with store.transaction("r@main") as tx:
        for path in sorted(path for path in directory.rglob("*") if path.is_file()):
            tx.write(path.relative_to(directory).as_posix(), path)
    return tx


def programs(directory):
    return {
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and path.stat().st_mode & stat.S_IXUSR
    }


def many(directory):
    """Enough files that an import keeps them in columns."""
    for number in range(300):
        (directory / f"n{number}").write_bytes(b"%d" % number)
        (directory / f"n{number}").chmod(0o755 if number % 2 else 0o644)


@pytest.mark.parametrize("take", [take_in, take_in_one_by_one])
@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_it_goes_in_and_out(store, local, tmp_path, take, mode):
    many(local)
    take(store, local)
    out = tmp_path / "out"
    store.snapshot("r@main").checkout(out, mode=mode)
    assert programs(out) == programs(local) >= {"bin/run.sh", "bin/large"}
    assert store.snapshot("r@main").stat("bin/run.sh").attributes == {"executable": "true"}
    assert store.snapshot("r@main").stat("data.csv").attributes == {}
    assert not take(store, local).changed
    assert not take(store, out if mode == "full" else local).changed


@pytest.mark.parametrize("take", [take_in, take_in_one_by_one])
@pytest.mark.parametrize("prepare", [lambda _: None, many])
def test_the_first_import_after_an_upgrade_modifies_nothing(store, local, take, prepare):
    prepare(local)
    with store.transaction("r@main") as tx:
        for path in (path for path in local.rglob("*") if path.is_file()):
            tx.write(path.relative_to(local).as_posix(), path.read_bytes())  # as versions did that knew no bit
    before = store.commit("r@main")
    assert not take(store, local).changed
    (local / "new").write_bytes(b"new")
    (local / "new").chmod(0o755)
    after = take(store, local).commit
    assert [change["path"] for change in store.diff(f"r@{before.id}", f"r@{after.id}").to_pylist()] == ["new"]
    assert store.snapshot("r@main").stat("bin/run.sh").attributes == {}
    assert store.snapshot("r@main").stat("new").attributes == {"executable": "true"}


@pytest.mark.parametrize("take", [take_in, take_in_one_by_one])
def test_new_bytes_record_it(store, local, take):
    with store.transaction("r@main") as tx:
        tx.write("bin/run.sh", b"old")
    take(store, local)
    assert store.snapshot("r@main").stat("bin/run.sh").attributes == {"executable": "true"}


@pytest.mark.parametrize("take", [take_in, take_in_one_by_one])
def test_a_recorded_bit_that_changes_is_a_change_both_ways(store, local, tmp_path, take):
    take(store, local)
    digest = store.snapshot("r@main").stat("bin/run.sh").digest
    out = tmp_path / "out"
    for mode, text in ((0o644, "false"), (0o755, "true"), (0o640, "false")):
        store.snapshot("r@main").checkout(out, mode="incremental")
        (local / "bin/run.sh").chmod(mode)
        tx = take(store, local)
        assert tx.changed
        assert (tx.commit.stats.added, tx.commit.stats.modified, tx.commit.stats.deleted) == (0, 1, 0)
        found = store.snapshot("r@main").stat("bin/run.sh")
        assert (found.digest, found.attributes) == (digest, {"executable": text})
        store.snapshot("r@main").checkout(out, mode="incremental")
        assert ("bin/run.sh" in programs(out)) == (text == "true")
        assert not take(store, local).changed


def test_a_bit_can_be_recorded_for_the_same_bytes(store, local):
    with store.transaction("r@main") as tx:
        tx.write("run", b"1")
    with store.transaction("r@main") as tx:
        tx.write("run", b"1", attributes={"executable": "true"})
    assert tx.changed
    assert store.snapshot("r@main").stat("run").attributes == {"executable": "true"}


def test_an_explicit_attribute_counts_and_others_stay_beside_the_bit(store, local):
    with store.transaction("r@main") as tx:
        tx.write("a", local / "bin/run.sh", attributes={"executable": "false"})
        tx.write("b", local / "bin/run.sh", attributes={"format": "sh"})
    snapshot = store.snapshot("r@main")
    assert snapshot.stat("a").attributes == {"executable": "false"}
    assert snapshot.stat("b").attributes == {"executable": "true", "format": "sh"}


def test_a_copy_a_move_a_merge_and_a_branch_keep_it(store, local, tmp_path):
    take_in(store, local)
    store.create_branch("r@dev", at="r@main")
    with store.transaction("r@dev") as tx:
        tx.copy(":bin/run.sh", to="copied")
        tx.move("bin/large", "moved")
    store.merge("r@dev", into="r@main")
    store.snapshot("r@main").checkout(tmp_path / "out")
    assert programs(tmp_path / "out") == {"bin/run.sh", "copied", "moved"}


def test_a_checkout_again_mends_a_recorded_bit_and_leaves_other_modes(store, local, tmp_path):
    take_in(store, local)
    out = tmp_path / "out"
    snapshot = store.snapshot("r@main")
    snapshot.checkout(out, mode="incremental")
    (out / "bin/run.sh").chmod(0o640)
    (out / "data.csv").chmod(0o755)
    assert snapshot.checkout(out, mode="incremental") == 0
    assert stat.S_IMODE((out / "bin/run.sh").stat().st_mode) == 0o750
    assert stat.S_IMODE((out / "data.csv").stat().st_mode) == 0o755  # its row says nothing
    assert snapshot.checkout(out, mode="incremental") == 0


def test_two_writers_of_the_same_bytes_do_not_conflict_over_a_bit_that_nothing_records(store, local):
    with store.transaction("r@main") as tx:
        tx.write("other", b"1")
    late = store.transaction("r@main")
    late.write("run", local / "bin/run.sh")
    with store.transaction("r@main") as tx:
        tx.write("run", (local / "bin/run.sh").read_bytes())
    late.finish()
    assert not late.changed


def test_the_mask_of_the_process_counts(store, local, tmp_path):
    take_in(store, local)
    before = os.umask(0o077)
    try:
        store.snapshot("r@main").checkout(tmp_path / "out")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out/bin/run.sh").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "out/data.csv").stat().st_mode) == 0o600


def test_what_an_import_does_not_keep_is_counted(store, local):
    for name in ("empty", "nested/empty/deep", "bin/below"):
        (local / name).mkdir(parents=True)
    (local / "data.csv").chmod(0o4755)
    tx = take_in(store, local)
    assert tx.not_kept == (5, 1)  # empty, nested, nested/empty, nested/empty/deep, bin/below


def test_fsspec_keeps_it(store, local, tmp_path):
    from versioned_io.interfaces.filesystem import VersionedFileSystem

    fs = VersionedFileSystem(store=store.url)
    fs.put(str(local / "bin/run.sh"), "r@main/run.sh")
    fs.get("r@main/run.sh", str(tmp_path / "got.sh"))
    assert (tmp_path / "got.sh").stat().st_mode & stat.S_IXUSR


def test_a_script_runs_after_a_round_trip(store, tmp_path):
    (tmp_path / "in").mkdir()
    script = tmp_path / "in" / "hello"
    script.write_text("#!/bin/sh\necho hello\n")
    script.chmod(0o755)
    take_in(store, tmp_path / "in")
    store.snapshot("r@main").checkout(tmp_path / "out")
    assert subprocess.run([tmp_path / "out" / "hello"], capture_output=True, check=True).stdout == b"hello\n"


@pytest.mark.parametrize(
    "text", ['{"executable":', '["executable"]', '{"executable":1}', "[" * 100_000 + '"executable"']
)
def test_attributes_that_no_writer_stores_are_named(text):
    with pytest.raises(IntegrityError, match="run fsck"):
        recorded_bit(text)
