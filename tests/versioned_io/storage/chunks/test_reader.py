"""Reading files back."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.versioned_io.storage.chunks.data import new_objects, noise
from tests.versioned_io.storage.chunks.no_index import NoIndex
from tests.versioned_io.storage.objects.stores import CountingObjects
from versioned_io.errors import IntegrityError, InvalidInputError, PackLostError
from versioned_io.model.places import ChunkRef
from versioned_io.storage.chunks.chunk_columns import chunk_refs
from versioned_io.storage.chunks.data_writer import DataWriter
from versioned_io.storage.chunks.reader import ChunkReader

DATA = noise(3_000_000)

MIB = 1024 * 1024


def stored(contents, **options):
    objects = new_objects()
    writer = DataWriter(objects, NoIndex(), **options)
    files = [writer.intake.write(data) for data in contents]
    writer.close_pack()
    return objects, [chunk_refs(chunks) for chunks in writer.placer.chunk_lists(files)]


@pytest.fixture(scope="module")
def large():
    objects, [chunks] = stored([DATA], roll_bytes=1_000_000)
    return objects, chunks


@settings(max_examples=60)
@given(offset=st.integers(0, 3_200_000), length=st.none() | st.integers(0, 3_200_000))
def test_any_range_is_that_slice(large, offset, length):
    objects, chunks = large
    expected = DATA[offset:] if length is None else DATA[offset : offset + length]
    assert ChunkReader(objects).read_file(chunks, offset, length) == expected


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["read", "seek", "end", "back"]), st.integers(0, 1_500_000)), max_size=12))
def test_a_seekable_file_does_as_a_file_in_memory(large, steps):
    objects, chunks = large
    ours, theirs = ChunkReader(objects).open_file(chunks), io.BytesIO(DATA)
    buffered = io.BufferedReader(ours)
    for step, amount in steps:
        if step == "read":
            assert buffered.read(amount) == theirs.read(amount)
        elif step == "seek":
            assert buffered.seek(amount) == theirs.seek(amount)
        elif step == "end":
            assert buffered.seek(-amount, io.SEEK_END) == theirs.seek(-amount, io.SEEK_END)
        else:
            move = -min(amount, theirs.tell())
            assert buffered.seek(move, io.SEEK_CUR) == theirs.seek(move, io.SEEK_CUR)
        assert buffered.tell() == theirs.tell()
    assert buffered.read() == theirs.read()


def test_lines_are_read_and_a_closed_file_is_not(large):
    objects, [chunks] = stored([b"one\ntwo\nthree"])
    raw = ChunkReader(objects).open_file(chunks)
    assert list(io.TextIOWrapper(io.BufferedReader(raw))) == ["one\n", "two\n", "three"]
    closed = ChunkReader(objects).open_file(chunks)
    closed.close()
    for call in (closed.tell, closed.readall, lambda: closed.seek(0), lambda: closed.readinto(bytearray(1))):
        with pytest.raises((InvalidInputError, ValueError), match="closed"):
            call()


def test_what_makes_no_sense_is_refused(large):
    objects, chunks = large
    reader = ChunkReader(objects)
    for offset, length in ((-1, None), (0, -1)):
        with pytest.raises(InvalidInputError, match="0 or more"):
            reader.read_file(chunks, offset, length)
    with pytest.raises(InvalidInputError, match="seek"):
        reader.open_file(chunks).seek(-1)
    with pytest.raises(InvalidInputError, match="seek"):
        reader.open_file(chunks).seek(0, 7)


def test_an_empty_file_costs_no_request():
    counting = CountingObjects(new_objects())
    assert ChunkReader(counting).read_file(()) == b""
    assert ChunkReader(counting).open_file(()).read() == b""
    assert not counting.calls


def test_many_small_files_of_one_block_are_one_request():
    objects, files = stored([noise(1_000, number) for number in range(500)])
    counting = CountingObjects(objects)
    reader = ChunkReader(counting)
    for number, chunks in enumerate(files):
        assert reader.read_file(chunks) == noise(1_000, number)
    assert counting.calls["ranges"] == 1


def test_the_cache_keeps_to_its_size():
    objects, files = stored([noise(100_000, number) for number in range(50)])
    counting = CountingObjects(objects)
    reader = ChunkReader(counting, cache_bytes=1_200_000)
    for number, chunks in enumerate(files):
        assert reader.read_file(chunks) == noise(100_000, number)
    assert reader._cached_bytes <= 1_200_000
    assert sum(len(block) for block in reader._blocks.values()) == reader._cached_bytes
    assert all(len(block.obj) == len(block) for block in reader._blocks.values())
    first = counting.calls["ranges"]
    reader.read_file(files[0])
    assert counting.calls["ranges"] == first + 1


def test_a_file_that_is_read_straight_on_takes_few_requests(large):
    objects, chunks = large
    counting = CountingObjects(objects)
    assert io.BufferedReader(ChunkReader(counting).open_file(chunks)).read(2_900_000) == DATA[:2_900_000]
    assert counting.calls["get_ranges"] <= len(chunks)
    whole = CountingObjects(objects)
    ChunkReader(whole).read_file(chunks)
    assert whole.calls["ranges"] == len({chunk.pack for chunk in chunks})


def test_every_flipped_bit_of_a_stored_block_is_noticed_by_the_reader():
    objects, [chunks] = stored([b"some text " * 5])
    [info] = objects.list("packs/")
    good = objects.get(info.key)
    start, stop = chunks[0].offset, chunks[0].offset + chunks[0].stored
    for bit in range(start * 8, stop * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        damaged = new_objects()
        damaged.put(info.key, [bytes(bad)])
        with pytest.raises(IntegrityError, match="damaged"):
            ChunkReader(damaged).read_file(chunks)


def test_a_reference_that_reaches_past_its_block_is_noticed():
    objects, [[chunk]] = stored([b"some text " * 5])
    longer = ChunkRef(chunk.digest, chunk.pack, chunk.offset, chunk.stored, chunk.inner + 1, chunk.size)
    with pytest.raises(IntegrityError, match="reaches past"):
        ChunkReader(objects).read_file([longer])


def test_a_pack_that_is_gone_is_told():
    objects, [chunks] = stored([b"some text"])
    objects.delete([info.key for info in objects.list("packs/")])
    with pytest.raises(PackLostError, match="pack"):
        ChunkReader(objects).read_file(chunks)


class Watched(ChunkReader):
    """Notes how much is read at once, and reads nothing."""

    def __init__(self):
        super().__init__(new_objects())
        self.at_once = []

    def read_chunks(self, chunks):
        self.at_once.append(sum(chunk.size for chunk in chunks))
        return [memoryview(bytes(chunk.size)) for chunk in chunks]


def test_of_a_large_file_four_parts_are_read_together():
    reader = Watched()
    chunks = [ChunkRef(bytes(32), bytes(16), number * 300, 300, 0, 8 * MIB) for number in range(20)]
    assert sum(map(len, reader.stream(chunks))) == 160 * MIB
    assert reader.at_once == [32 * MIB] * 5
    reader.at_once.clear()
    with reader.open_file(chunks) as file:
        buffer = bytearray(8 * MIB)
        while file.readinto(buffer):
            pass
    assert reader.at_once == [8 * MIB, 16 * MIB, *[32 * MIB] * 4, 8 * MIB]
