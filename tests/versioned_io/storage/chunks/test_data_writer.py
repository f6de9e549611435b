"""The order in which the bytes of a transaction are stored."""

import pytest

from tests.versioned_io.storage.chunks.data import new_objects, noise
from tests.versioned_io.storage.chunks.no_index import NoIndex
from tests.versioned_io.storage.objects.stores import CountingObjects
from versioned_io.errors import StorageError
from versioned_io.storage.chunks.chunk_columns import CHUNKS_TYPE, NEW_CHUNKS
from versioned_io.storage.chunks.data_writer import DataWriter
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.reader import iterate_frames, read_frame

MIB = 1024 * 1024


def test_a_small_commit_is_one_object():
    objects = CountingObjects(new_objects())
    writer = DataWriter(objects, NoIndex())
    files = [writer.intake.write(b"file %d" % number) for number in range(100)]
    writer.placer.chunk_lists(files)
    writer.begin_pages()
    page = writer.packs.put_page(b"page")
    writer.packs.put_page(b"another page")
    writer.packs.put_commit(b"record")
    writer.close_pack()
    assert objects.calls == {"put": 1}
    assert read_frame(objects, page, FrameKind.PAGE) == b"page"
    [info] = writer.packs.stored
    kinds = [kind for kind, _, _ in iterate_frames(objects, info.name)]
    assert kinds == [FrameKind.BLOCK, FrameKind.PAGE, FrameKind.PAGE, FrameKind.COMMIT]


def test_pages_of_a_large_commit_are_in_a_pack_of_their_own_behind_the_data():
    objects = new_objects()
    writer = DataWriter(objects, NoIndex())
    writer.intake.write(noise(9 * MIB))
    writer.begin_pages()
    writer.packs.put_page(b"page")
    assert len(writer.packs.stored) == 1
    writer.packs.put_commit(b"record")
    writer.close_pack()
    data, pages = writer.packs.stored
    assert {kind for kind, _, _ in iterate_frames(objects, data.name)} == {FrameKind.BLOCK}
    assert [kind for kind, _, _ in iterate_frames(objects, pages.name)] == [FrameKind.PAGE, FrameKind.COMMIT]


def test_a_transaction_that_starts_over_stores_no_data_again():
    """It lost a race: new pages, a new record, the same chunks."""
    objects = CountingObjects(new_objects())
    writer = DataWriter(objects, NoIndex())
    files = [writer.intake.write(noise(100_000))]
    writer.begin_pages()
    writer.packs.put_page(b"first try")
    writer.close_pack()
    first = writer.placer.chunk_lists(files)
    writer.begin_pages()
    writer.packs.put_page(b"second try")
    writer.close_pack()
    assert writer.placer.chunk_lists(files).equals(first)
    assert [info.chunks for info in writer.packs.stored] == [1, 0]
    assert writer.placer.new_chunks().num_rows == 1


def test_nothing_written_is_nothing_stored():
    objects = CountingObjects(new_objects())
    writer = DataWriter(objects, NoIndex())
    assert writer.intake.write(b"").chunk_digests == b""
    writer.begin_pages()
    writer.close_pack()
    assert not objects.calls
    assert writer.packs.stored == []
    assert writer.placer.new_chunks().num_rows == 0
    assert writer.placer.new_chunks().schema == NEW_CHUNKS
    assert writer.placer.chunk_lists([]).type == CHUNKS_TYPE


def test_a_store_that_fails_is_told_at_the_latest_when_the_pack_is_closed():
    for failing_put in (1, 2, 3):
        writer = DataWriter(CountingObjects(new_objects(), failing_put=failing_put), NoIndex(), roll_bytes=MIB)

        def take_in(writer=writer):
            for number in range(3):
                writer.intake.write(noise(int(1.2 * MIB), number))
            writer.close_pack()

        for call in (take_in, writer.close_pack):
            with pytest.raises(StorageError):
                call()
        writer.abort()


def test_a_writer_that_gives_up_stores_nothing_more():
    objects = CountingObjects(new_objects())
    writer = DataWriter(objects, NoIndex())
    writer.intake.write(noise(MIB))
    writer.placer.flush()
    writer.abort()
    assert not objects.calls
