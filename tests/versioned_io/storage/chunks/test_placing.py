"""Giving chunks their places."""

from tests.versioned_io.storage.chunks.data import TableIndex, new_objects, noise, read_back
from tests.versioned_io.storage.chunks.no_index import NoIndex
from versioned_io.model.places import ChunkRef
from versioned_io.storage.chunks.data_writer import DataWriter
from versioned_io.storage.packs.reader import read_footer

MIB = 1024 * 1024


def test_equal_bytes_are_stored_once_within_a_transaction_and_between_them():
    objects, index = new_objects(), TableIndex()
    writer = DataWriter(objects, index)
    big = noise(2 * MIB)
    once = [writer.intake.write(data) for data in (big, b"small", big, b"small")]
    writer.close_pack()
    assert once[0] == once[2]
    assert writer.packs.bytes_stored < len(big) + 20_000
    index.learn(writer)

    again = DataWriter(objects, index)
    file = again.intake.write(big + b"!")
    again.close_pack()
    assert again.packs.bytes_stored < 1.2 * MIB
    assert read_back(objects, again, [file]) == [big + b"!"]
    assert again.placer.new_chunks().num_rows == 1


def test_the_index_is_asked_in_batches():
    index = TableIndex()
    writer = DataWriter(new_objects(), index)
    for number in range(10_000):
        writer.intake.write(b"file %d" % number)
    writer.placer.flush()
    writer.intake.write(b"file 5")
    writer.placer.flush()
    assert index.questions == [4096, 4096, 10_000 - 2 * 4096]


def test_small_files_share_a_block_and_large_chunks_have_their_own():
    objects = new_objects()
    writer = DataWriter(objects, NoIndex())
    for number in range(1000):
        writer.intake.write(noise(2_000, number))
    writer.intake.write(noise(150_000))
    writer.close_pack()
    [info] = writer.packs.stored
    sizes = sorted(frame.raw_size for frame in read_footer(objects, info.name).frames)
    assert 150_000 in sizes
    assert len(sizes) == 3
    assert info.chunks == 1001


def test_the_footer_says_where_every_chunk_is():
    """So the chunk index can be rebuilt from the packs alone."""
    objects = new_objects()
    writer = DataWriter(objects, NoIndex(), roll_bytes=MIB)
    for number in range(50):
        writer.intake.write(noise(60_000 + number * 3_000, number))
    writer.close_pack()
    rebuilt = set()
    for info in writer.packs.stored:
        footer = read_footer(objects, info.name)
        for chunk in footer.chunks:
            frame = footer.frames[chunk.frame]
            pack = bytes.fromhex(footer.name)
            rebuilt.add(ChunkRef(chunk.digest, pack, frame.offset, frame.stored_size, chunk.inner, chunk.size))
    assert rebuilt == {ChunkRef(**row) for row in writer.placer.new_chunks().to_pylist()}
