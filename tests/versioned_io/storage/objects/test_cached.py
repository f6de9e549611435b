"""The cache on disk: never wrong, never too large, never in the way."""

import os
import stat

import pytest

from tests.versioned_io.storage.objects.stores import CountingObjects
from versioned_io.errors import InvalidInputError, ObjectNotFoundError
from versioned_io.storage.objects.cached import CachedObjects
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.testing import ObjectStoreContract


class TestCachedObjects(ObjectStoreContract):
    @pytest.fixture
    def objects(self, tmp_path):
        return CachedObjects(LocalObjects(tmp_path / "objects"), tmp_path / "cache")


@pytest.fixture
def inner(tmp_path):
    objects = LocalObjects(tmp_path / "objects")
    objects.put("key", [bytes(range(256)) * 40])
    return CountingObjects(objects)


@pytest.fixture
def cached(inner, tmp_path):
    return CachedObjects(inner, tmp_path / "cache", limit_bytes=10_000)


def kept(tmp_path):
    return [path for path in (tmp_path / "cache").glob("*/*") if path.is_file()]


def test_what_was_read_once_is_not_asked_for_again(cached, inner):
    for _ in range(3):
        assert [bytes(part) for part in cached.get_ranges("key", [(0, 4), (256, 2)])] == [b"\0\1\2\3", b"\0\1"]
    assert inner.calls["ranges"] == 2
    assert bytes(cached.get_range("key", 0, 5)) == b"\0\1\2\3\4"
    assert inner.calls["ranges"] == 3


def test_a_spoiled_file_is_dropped_and_read_again(cached, inner, tmp_path):
    cached.get_range("key", 0, 100)
    [file] = kept(tmp_path)
    for damage in (lambda data: data[:-1], lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:], lambda _: b""):
        file.write_bytes(damage(file.read_bytes()))
        assert bytes(cached.get_range("key", 0, 100)) == bytes(range(100))
    assert inner.calls["ranges"] == 4


def test_a_file_of_another_range_is_never_taken_for_this_one(cached, tmp_path):
    cached.get_range("key", 0, 100)
    [first] = kept(tmp_path)
    cached.get_range("key", 1, 100)
    [second] = set(kept(tmp_path)) - {first}
    second.write_bytes(first.read_bytes())
    assert bytes(cached.get_range("key", 1, 100)) == bytes(range(1, 101))


def test_it_stays_below_its_limit_and_drops_what_was_used_longest_ago(cached, tmp_path):
    for number in range(40):
        cached.get_range("key", number, 1000)
        for age, path in enumerate(sorted(kept(tmp_path), key=lambda path: path.stat().st_mtime)):
            os.utime(path, (age, age))
        cached.get_range("key", 0, 1000)
        assert sum(path.stat().st_size for path in kept(tmp_path)) <= 11_100
    assert cached._place("key", 0, 1000).exists()
    assert not cached._place("key", 5, 1000).exists()


def test_what_is_larger_than_the_limit_is_not_kept(cached, tmp_path):
    cached.get_range("key", 0, 10_001)
    assert kept(tmp_path) == []


def test_only_the_owner_can_read_it(cached, tmp_path):
    cached.get_range("key", 0, 100)
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


def test_a_cache_that_can_not_be_written_is_not_in_the_way(cached, inner, tmp_path):
    (tmp_path / "cache").rmdir()
    (tmp_path / "cache").write_bytes(b"a file")
    for _ in range(2):
        assert bytes(cached.get_range("key", 0, 3)) == b"\0\1\2"
    assert inner.calls["ranges"] == 2


def test_what_is_not_there_is_not_found(cached, tmp_path):
    with pytest.raises(ObjectNotFoundError):
        cached.get_range("nothing", 0, 1)
    with pytest.raises(InvalidInputError):
        CachedObjects(LocalObjects(tmp_path), tmp_path / "c", limit_bytes=-1)


def test_a_sweep_leaves_files_that_are_not_the_cache_s(tmp_path):
    """Such as those of a home that a setting names by mistake, or by malice."""
    inner = LocalObjects(tmp_path / "objects")
    inner.put("k", [b"x" * 4_000])
    directory = tmp_path / "home"
    others = [directory / name for name in (".ssh/id", "ab/id", "ab/" + "0" * 32, "ab/" + "ab" * 20, "a/b/c")]
    for one in others:
        one.parent.mkdir(parents=True, exist_ok=True)
        one.write_bytes(b"1" * 5_000)
    objects = CachedObjects(inner, directory, limit_bytes=1_000)
    for offset in range(0, 4_000, 500):
        objects.get_range("k", offset, 500)
    assert all(one.exists() for one in others)
    own = {one for one in directory.rglob("*") if one.is_file()} - set(others)
    assert 0 < sum(one.stat().st_size for one in own) <= 1_000
