"""Taking in references: many parts, several packs, and nothing twice."""

import pytest

from tests.versioned_io.chunks.data import new_objects
from versioned_io.chunks.index import NoIndex
from versioned_io.chunks.reader import ChunkReader
from versioned_io.chunks.references import take_pins
from versioned_io.chunks.refs import ChunkRef, StoredFile, chunk_refs
from versioned_io.chunks.writer import DataWriter
from versioned_io.elsewhere import Elsewhere, Pin, parts
from versioned_io.errors import IntegrityError, InvalidInputError
from versioned_io.packs.frames import FrameKind
from versioned_io.packs.reader import iterate_frames

MIB = 1024 * 1024


class Index:
    """Knows the chunks of earlier writers."""

    def __init__(self):
        self.refs = {}

    def find(self, digests):
        return {digest: self.refs[digest] for digest in digests if digest in self.refs}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(parts, "_PART_BYTES", 2)


def pin(name, size):
    return Pin(f"s3://bucket/{name}", f'"{name}"', None, size)


def files_of(columns):
    digests = [bytes(columns.digests[at : at + 32]) for at in range(0, len(columns.digests), 32)]
    return [
        StoredFile(size, digest, columns.several.get(row, digest))
        for row, (size, digest) in enumerate(zip(columns.sizes, digests, strict=True))
    ]


def test_many_parts_go_to_several_packs_in_order_and_once():
    objects, index, steps = new_objects(), Index(), []
    pins = [pin("large", 9_001), pin("small", 1), pin("empty", 0), pin("small", 1)]
    writer = DataWriter(objects, index, roll_bytes=100_000)
    columns = take_pins(writer, pins, on_taken=lambda *done: steps.append(done))
    assert list(columns.sizes) == [9_001, 1, 0, 1]
    assert (sum(files for files, _ in steps), sum(size for _, size in steps)) == (4, 9_003)
    lists = writer.chunk_lists(files_of(columns))
    writer.close_pack()
    large, small, empty, again = (chunk_refs(one) for one in lists)
    assert [chunk.size for chunk in large] == [2] * 4_500 + [1]
    assert {chunk.inner for chunk in large} == {0}
    assert (small, empty) == (again, ())
    assert len(writer.packs()) > 2
    stored = [kind for info in writer.packs() for kind, _, _ in iterate_frames(objects, info.name)]
    assert stored == [FrameKind.SOURCE] * 4_502
    reader = ChunkReader(objects)
    assert all(reader.name_chunk(chunk) == chunk.digest for chunk in (*large[::500], *small))
    with pytest.raises(InvalidInputError, match="sources="):
        reader.read_file(small)

    index.refs = {chunk.digest: chunk for chunk in (*large, *small)}
    second = DataWriter(objects, index)
    assert take_pins(second, pins, on_taken=lambda *_: None).digests == columns.digests
    second.close_pack()
    assert (second.packs(), second.new_chunks().num_rows) == ([], 0)


def test_a_reference_to_less_than_a_part_is_no_part(tmp_path):
    objects = new_objects()
    (tmp_path / "f").write_bytes(b"abcd")
    elsewhere = Elsewhere({str(tmp_path): {}})
    found = elsewhere.look_up(elsewhere.locate(tmp_path / "f"))
    writer = DataWriter(objects, NoIndex(), elsewhere=elsewhere)
    columns = take_pins(writer, [found], on_taken=lambda *_: None)
    [file] = files_of(columns)
    assert writer.read(file) == b"abcd"  # while it waits in memory
    chunks = chunk_refs(writer.chunk_lists([file])[0])
    writer.close_pack()
    reader = ChunkReader(objects, elsewhere)
    assert reader.read_file(chunks) == b"abcd"
    for wrong in ({"size": 1}, {"inner": 1}):
        crafted = type(chunks[0])(**{name: getattr(chunks[0], name) for name in chunks[0].__slots__} | wrong)
        with pytest.raises(IntegrityError):
            reader.name_chunk(crafted)


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
