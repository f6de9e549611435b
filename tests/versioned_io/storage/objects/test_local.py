"""The object store of a local directory."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from versioned_io.errors import StorageError
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.testing import ObjectStoreContract


class TestLocalObjects(ObjectStoreContract):
    @pytest.fixture
    def objects(self, tmp_path):
        return LocalObjects(tmp_path / "not" / "made" / "yet")


@pytest.fixture
def calls(monkeypatch):
    """The system calls that decide about durability, in the order in which they were made."""
    made = []

    def record(name):
        real = getattr(os, name)

        def call(*args, **options):
            if name == "fsync":
                target = Path(f"/proc/self/fd/{args[0]}").readlink()
                made.append(("fsync", "directory" if target.is_dir() else "file", target.name))
            else:
                made.append((name,))
            return real(*args, **options)

        monkeypatch.setattr(os, name, call)

    for name in ("writev", "fsync", "link"):
        record(name)
    return made


def test_an_object_is_on_disk_before_its_name_and_its_name_before_the_reply(tmp_path, calls):
    objects = LocalObjects(tmp_path)
    objects.put("packs/ab/first", [b"x"])
    del calls[:]
    objects.put("packs/ab/second", [b"x"])
    kinds = [(call[0], call[1]) if call[0] == "fsync" else call[0] for call in calls]
    assert kinds == ["writev", ("fsync", "file"), "link", ("fsync", "directory")]
    assert calls[-1][2] == "ab"


def test_new_directories_are_on_disk_before_the_object(tmp_path, calls):
    LocalObjects(tmp_path / "store").put("packs/ab/key", [b"x"])
    before_the_data = calls[: calls.index(("writev",))]
    assert {call[2] for call in before_the_data} == {tmp_path.name, "store", "packs"}


def test_a_put_that_fails_leaves_nothing(tmp_path, monkeypatch):
    objects = LocalObjects(tmp_path)
    real = os.fsync

    def fail(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            return real(descriptor)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="free some space"):
        objects.put("a/key", [b"x" * 1000])
    monkeypatch.undo()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    objects.put("a/key", [b"y"])
    assert objects.get("a/key") == b"y"


def test_what_a_dead_writer_left_is_never_an_object(tmp_path):
    objects = LocalObjects(tmp_path)
    objects.put("packs/ab/key", [b"x"])
    leftover = tmp_path / "packs" / "ab" / ".tmp-0123456789abcdef"
    leftover.write_bytes(b"half of an obj")
    assert [info.key for info in objects.list("")] == ["packs/ab/key"]

    now = datetime.now(UTC)
    assert objects.remove_leftovers("packs/", older_than=now - timedelta(hours=1)) == 0
    assert leftover.exists()
    assert objects.remove_leftovers("packs/", older_than=now + timedelta(hours=1)) == 1

    assert not leftover.exists()
    assert objects.get("packs/ab/key") == b"x"


def test_a_temporary_file_that_becomes_an_object_meanwhile_is_no_error(tmp_path, monkeypatch):
    """Failed once in a run of sixteen writers beside a collector."""
    (tmp_path / "packs").mkdir()
    left = tmp_path / "packs" / ".tmp-0123456789abcdef"
    left.write_bytes(b"x")
    monkeypatch.setattr(Path, "rglob", lambda *_: [tmp_path / "packs" / ".tmp-gone", left])
    now = datetime.now(UTC)
    assert LocalObjects(tmp_path).remove_leftovers("packs/", older_than=now + timedelta(hours=1)) == 1


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="can't put 'key'"):
        LocalObjects(tmp_path / "file").put("key", [b"x"])


def test_a_directory_that_was_removed_meanwhile_is_made_again(tmp_path):
    objects = LocalObjects(tmp_path)
    objects.put("packs/ab/one", [b"1"])
    objects.delete(["packs/ab/one"])
    (tmp_path / "packs" / "ab").rmdir()
    objects.put("packs/ab/two", [b"2"])
    assert objects.get("packs/ab/two") == b"2"


def test_two_stores_of_one_directory_share_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    LocalObjects(tmp_path).put("key", [b"x"])
    assert LocalObjects(tmp_path.relative_to(tmp_path)).get("key") == b"x"
    assert LocalObjects(tmp_path.relative_to(tmp_path)).url == str(tmp_path)
