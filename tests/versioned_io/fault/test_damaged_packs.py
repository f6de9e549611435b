"""No damage of a pack is ever returned as data: every byte flipped, every length cut, packs swapped and zeroed."""

import random
from dataclasses import replace

import pytest

import versioned_io as vio
from versioned_io.errors import VersionedError
from versioned_io.maintenance.fsck.pack_checks import check_pack
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import pack_key
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.store import Store

FILES = {"text": b"a line\n" * 30, "binary": bytes(range(64)), "empty": b"", "d/one": b"1"}


class Damaged:
    """Objects of which one holds other bytes; nothing on the disk is touched, so 10,000 damages take seconds."""

    def __init__(self, objects, key, data):
        self._objects, self._key, self._data = objects, key, bytes(data)

    def __getattr__(self, name):
        return getattr(self._objects, name)

    def get(self, key):
        return self._data if key == self._key else self._objects.get(key)

    def get_range(self, key, offset, length):
        return self.get_ranges(key, [(offset, length)])[0]

    def get_ranges(self, key, ranges):
        if key != self._key:
            return self._objects.get_ranges(key, ranges)
        parts = [memoryview(self._data)[offset : offset + length] for offset, length in ranges]
        if any(len(part) != length for part, (_, length) in zip(parts, ranges, strict=True)):
            raise vio.errors.IntegrityError(f"{key} ends before that")
        return parts

    def size(self, key):
        return len(self._data) if key == self._key else self._objects.size(key)


@pytest.fixture
def small(tmp_path):
    """A store with two small packs of commits, the second of which shares content with the first."""
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        for files in (FILES, {"later": b"2" * 300}):
            with store.transaction("r@main") as tx:
                for path, data in files.items():
                    tx.write(path, data)
        yield store


def pack_of(store, ref):
    return PackName(store.commit(ref).root.pack.hex())


def read_with(store, objects):
    """Return what can be read of the newest commit with fresh caches; a file that can't be read is left out."""
    fresh = {"pages": PageSource(objects), "chunks": ChunkReader(objects)}
    damaged = Store(store.url, replace(store._backend, objects=objects, **fresh))
    found = {}
    try:
        snapshot = damaged.snapshot("r@main")
        paths = [file.path for file in snapshot.walk()]
    except VersionedError:
        return found
    for path in paths:
        try:
            found[path] = snapshot.read(path)
        except VersionedError:
            continue
    return found


def assert_found(store, name, data):
    objects = Damaged(store._backend.objects, pack_key(name), data)
    assert check_pack(objects, name).damages
    truth = {**FILES, "later": b"2" * 300}
    read = read_with(store, objects)
    assert read.items() <= truth.items()


@pytest.mark.slow
@pytest.mark.parametrize("ref", ["r@main~1", "r@main"])
def test_every_single_byte_that_differs_is_found_and_none_is_returned_as_data(small, ref):
    name = pack_of(small, ref)
    original = small._backend.objects.get(pack_key(name))
    assert not check_pack(small._backend.objects, name).damages
    assert read_with(small, small._backend.objects) == {**FILES, "later": b"2" * 300}
    dice = random.Random(7)
    for at in range(len(original)):
        damaged = bytearray(original)
        damaged[at] ^= 1 << dice.randrange(8)
        assert_found(small, name, damaged)


@pytest.mark.slow
def test_a_pack_that_was_cut_anywhere_is_found_and_nothing_wrong_is_read(small):
    name = pack_of(small, "r@main~1")
    original = small._backend.objects.get(pack_key(name))
    for length in range(len(original)):
        assert_found(small, name, original[:length])


def test_ranges_of_zeros_of_every_size_are_found(small):
    name = pack_of(small, "r@main~1")
    original = small._backend.objects.get(pack_key(name))
    dice = random.Random(8)
    for _ in range(200):
        start = dice.randrange(len(original) - 8)
        end = min(len(original), start + dice.choice([8, 64, 512, 4096]))
        if any(original[start:end]):
            assert_found(small, name, original[:start] + bytes(end - start) + original[end:])


def test_a_pack_in_another_s_place_is_found_and_never_read(small):
    one, two = pack_of(small, "r@main~1"), pack_of(small, "r@main")
    objects = small._backend.objects
    assert_found(small, one, objects.get(pack_key(two)))
    assert_found(small, two, objects.get(pack_key(one)))


def test_parts_of_a_pack_in_each_other_s_place_are_found(small):
    """Each frame's checksum covers where it lies, so a whole frame in another frame's place is found too."""
    name = pack_of(small, "r@main~1")
    original = small._backend.objects.get(pack_key(name))
    for size in (16, 64, 256):
        for start in range(0, len(original) - 2 * size, size):
            one, two = original[start : start + size], original[start + size : start + 2 * size]
            if one != two:
                assert_found(small, name, original[:start] + two + one + original[start + 2 * size :])
