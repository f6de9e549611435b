"""Taking files in."""

import io
import subprocess
import sys
import threading
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.versioned_io.chunks.data import new_objects, noise
from tests.versioned_io.objects.stores import CountingObjects
from versioned_io.chunks import CHUNKS_TYPE, NEW_CHUNKS, ChunkReader, ChunkRef, DataWriter, NoIndex, chunk_refs
from versioned_io.errors import InvalidInputError, StorageError
from versioned_io.packs import FrameKind, iterate_frames, read_footer, read_frame

MIB = 1024 * 1024


class TableIndex:
    """The chunk index of a store, as a dictionary; it counts how often it is asked."""

    def __init__(self):
        self.refs: dict[bytes, ChunkRef] = {}
        self.questions: list[int] = []

    def learn(self, writer: DataWriter) -> None:
        for row in writer.new_chunks().to_pylist():
            self.refs[row["digest"]] = ChunkRef(**row)

    def find(self, digests):
        self.questions.append(len(digests))
        return {digest: self.refs[digest] for digest in digests if digest in self.refs}


def read_back(objects, writer, files):
    reader = ChunkReader(objects)
    return [reader.read_file(chunk_refs(chunks)) for chunks in writer.chunk_lists(files)]


CONTENTS = st.sampled_from([b"", b"a", b"a" * 1000, noise(1000), noise(200_000), noise(3 * MIB), b"zero" * 300_000])


@settings(max_examples=25)
@given(st.lists(st.tuples(CONTENTS, st.booleans()), max_size=12), st.sampled_from([MIB // 2, 48 * MIB]))
def test_files_are_read_back_before_and_after_they_are_stored(contents, roll_bytes):
    objects, index = new_objects(), TableIndex()
    writer = DataWriter(objects, index, roll_bytes=roll_bytes)
    files = []
    for data, flushes in contents:
        files.append(writer.write(data))
        if flushes:
            writer.flush()
        assert writer.read(files[-1]) == data
    for (data, _), file in zip(contents, files, strict=True):
        assert file.size == len(data)
        assert writer.read(file) == data
        assert writer.read(file, 10, 500) == data[10:510]
    writer.close_pack()
    assert read_back(objects, writer, files) == [data for data, _ in contents]
    for (data, _), file in zip(contents, files, strict=True):
        assert writer.read(file, len(data) // 2) == data[len(data) // 2 :]


def test_every_kind_of_source_gives_the_same_file(tmp_path):
    writer = DataWriter(new_objects(), NoIndex())
    for size in (0, 1, 128 * 1024, 128 * 1024 + 1, 3 * MIB):
        data = noise(size)
        path = tmp_path / f"{size}"
        path.write_bytes(data)
        expected = writer.write(data)
        assert writer.read(expected) == data
        with path.open("rb") as file:
            assert writer.write(file) == expected
        for source in (
            path,
            bytearray(data),
            memoryview(data),
            io.BytesIO(data),
            iter([data[: size // 3], data[size // 3 :]]),
        ):
            assert writer.write(source) == expected


def test_a_file_is_read_from_its_position():
    writer = DataWriter(new_objects(), NoIndex())
    file = io.BytesIO(b"headerbody")
    file.seek(6)
    assert writer.read(writer.write(file)) == b"body"


@pytest.mark.parametrize("source", ["text", 5, None, ["list"], object()])
def test_what_is_no_source_is_refused(source):
    with pytest.raises(InvalidInputError, match="give bytes, a path, a binary file or an iterator"):
        DataWriter(new_objects(), NoIndex()).write(source)


def test_a_small_commit_is_one_object():
    objects = CountingObjects(new_objects())
    writer = DataWriter(objects, NoIndex())
    files = [writer.write(b"file %d" % number) for number in range(100)]
    writer.chunk_lists(files)
    pack = writer.open_pack()
    page = pack.append(FrameKind.PAGE, b"page")
    writer.put_page(b"another page")
    writer.put_commit(b"record")
    writer.close_pack()
    assert objects.calls == {"put": 1}
    assert read_frame(objects, page, FrameKind.PAGE) == b"page"
    [info] = writer.packs()
    kinds = [kind for kind, _, _ in iterate_frames(objects, info.name)]
    assert kinds == [FrameKind.BLOCK, FrameKind.PAGE, FrameKind.PAGE, FrameKind.COMMIT]


def test_pages_of_a_large_commit_are_in_a_pack_of_their_own_behind_the_data():
    objects = new_objects()
    writer = DataWriter(objects, NoIndex())
    writer.write(noise(9 * MIB))
    writer.put_page(b"page")
    assert len(writer.packs()) == 1
    writer.put_commit(b"record")
    writer.close_pack()
    data, pages = writer.packs()
    assert {kind for kind, _, _ in iterate_frames(objects, data.name)} == {FrameKind.BLOCK}
    assert [kind for kind, _, _ in iterate_frames(objects, pages.name)] == [FrameKind.PAGE, FrameKind.COMMIT]


def test_many_pages_roll_into_several_packs():
    objects = new_objects()
    writer = DataWriter(objects, NoIndex(), roll_bytes=MIB)
    refs = [writer.put_page(noise(300_000, number)) for number in range(10)]
    for number, ref in enumerate(refs):
        held = writer.read_open_frame(ref, FrameKind.PAGE)
        page = held if held is not None else read_frame(objects, ref, FrameKind.PAGE)
        assert page == noise(300_000, number)
    writer.close_pack()
    assert len(writer.packs()) == 3
    assert writer.bytes_stored == sum(info.size_bytes for info in writer.packs())


def test_a_transaction_that_starts_over_stores_no_data_again():
    """It lost a race: new pages, a new record, the same chunks."""
    objects = CountingObjects(new_objects())
    writer = DataWriter(objects, NoIndex())
    files = [writer.write(noise(100_000))]
    writer.open_pack().append(FrameKind.PAGE, b"first try")
    writer.close_pack()
    first = writer.chunk_lists(files)
    writer.open_pack().append(FrameKind.PAGE, b"second try")
    writer.close_pack()
    assert writer.chunk_lists(files).equals(first)
    assert [info.chunks for info in writer.packs()] == [1, 0]
    assert writer.new_chunks().num_rows == 1


def test_nothing_written_is_nothing_stored():
    objects = CountingObjects(new_objects())
    writer = DataWriter(objects, NoIndex())
    assert writer.write(b"").chunk_digests == b""
    writer.open_pack()
    writer.close_pack()
    assert not objects.calls
    assert writer.packs() == []
    assert writer.new_chunks().num_rows == 0
    assert writer.new_chunks().schema == NEW_CHUNKS
    assert writer.chunk_lists([]).type == CHUNKS_TYPE


def test_equal_bytes_are_stored_once_within_a_transaction_and_between_them():
    objects, index = new_objects(), TableIndex()
    writer = DataWriter(objects, index)
    big = noise(2 * MIB)
    once = [writer.write(data) for data in (big, b"small", big, b"small")]
    writer.close_pack()
    assert once[0] == once[2]
    assert writer.bytes_stored < len(big) + 20_000
    index.learn(writer)

    again = DataWriter(objects, index)
    file = again.write(big + b"!")
    again.close_pack()
    assert again.bytes_stored < 1.2 * MIB
    assert read_back(objects, again, [file]) == [big + b"!"]
    assert again.new_chunks().num_rows == 1


def test_the_index_is_asked_in_batches():
    index = TableIndex()
    writer = DataWriter(new_objects(), index)
    for number in range(10_000):
        writer.write(b"file %d" % number)
    writer.flush()
    writer.write(b"file 5")
    writer.flush()
    assert index.questions == [4096, 4096, 10_000 - 2 * 4096]


def test_small_files_share_a_block_and_large_chunks_have_their_own():
    objects = new_objects()
    writer = DataWriter(objects, NoIndex())
    for number in range(1000):
        writer.write(noise(2_000, number))
    writer.write(noise(150_000))
    writer.close_pack()
    [info] = writer.packs()
    sizes = sorted(frame.raw_size for frame in read_footer(objects, info.name).frames)
    assert 150_000 in sizes
    assert len(sizes) == 3
    assert info.chunks == 1001


def test_the_footer_says_where_every_chunk_is():
    """So the chunk index can be rebuilt from the packs alone."""
    objects = new_objects()
    writer = DataWriter(objects, NoIndex(), roll_bytes=MIB)
    for number in range(50):
        writer.write(noise(60_000 + number * 3_000, number))
    writer.close_pack()
    rebuilt = set()
    for info in writer.packs():
        footer = read_footer(objects, info.name)
        for chunk in footer.chunks:
            frame = footer.frames[chunk.frame]
            pack = bytes.fromhex(footer.name)
            rebuilt.add(ChunkRef(chunk.digest, pack, frame.offset, frame.stored_size, chunk.inner, chunk.size))
    assert rebuilt == {ChunkRef(**row) for row in writer.new_chunks().to_pylist()}


def test_memory_is_bounded_however_large_a_file_is():
    objects = CountingObjects(new_objects())
    objects.put = lambda key, data: None  # the store of this test is in memory as well
    writer = DataWriter(objects, NoIndex(), roll_bytes=4 * MIB)
    tracemalloc.start()
    try:
        file = writer.write(noise(MIB, number % 97) for number in range(120))
        writer.close_pack()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert file.size == 120 * MIB
    assert peak < 48 * MIB


def test_a_view_with_steps_is_written_as_what_it_shows():
    writer = DataWriter(new_objects(), NoIndex())
    assert writer.read(writer.write(memoryview(b"0123456789")[::2])) == b"02468"


def test_memory_is_bounded_where_little_of_a_large_file_is_new():
    """What can't be compressed keeps the memory it was read into, until its pack is stored."""
    objects = CountingObjects(new_objects())
    objects.put = lambda key, data: None
    writer = DataWriter(objects, NoIndex(), roll_bytes=48 * MIB)
    base = noise(8 * MIB)
    tracemalloc.start()
    try:
        file = writer.write(base[: 6 * MIB] + noise(1000, number) + base[6 * MIB :] for number in range(1, 40))
        writer.close_pack()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert file.size == 39 * (8 * MIB + 1000)
    assert peak < 100 * MIB


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 1000, 130_000, 300_000, 1_100_000]), min_size=1, max_size=5), st.booleans())
def test_a_file_that_grew_by_appends_is_the_file_written_at_once(sizes, flushes):
    data = noise(sum(sizes))
    objects = new_objects()
    writer = DataWriter(objects, NoIndex())
    file, end = writer.write(b""), 0
    for size in sizes:
        file = writer.append(file, iter([data[end : end + size]]))
        end += size
        if flushes:
            writer.flush()
    assert file == DataWriter(new_objects(), NoIndex()).write(data)
    assert writer.read(file) == data
    writer.close_pack()
    assert read_back(objects, writer, [file]) == [data]


def test_an_append_reads_and_stores_only_the_last_chunk():
    objects = CountingObjects(new_objects())
    first = DataWriter(objects, NoIndex())
    data = noise(20 * MIB)
    chunks = first.chunk_lists([first.write(data)])
    first.close_pack()
    objects.calls.clear()
    writer = DataWriter(objects, NoIndex())
    file = writer.append(chunk_refs(chunks[0]), b"tail")
    writer.close_pack()
    assert objects.calls == {"get_ranges": 1, "ranges": 1, "put": 1}
    assert writer.bytes_stored < 1.1 * MIB
    assert writer.new_chunks().num_rows <= 2
    assert read_back(objects, writer, [file]) == [data + b"tail"]


@pytest.mark.parametrize("mebibytes", [60, 240])
def test_peak_memory_does_not_depend_on_the_size_of_a_file(tmp_path, mebibytes):
    path = tmp_path / "big"
    with path.open("wb") as file:
        for number in range(mebibytes // 4):
            file.write(noise(4 * MIB, number))
    script = (
        "import resource, sys; from pathlib import Path; import versioned_io as vio;"
        "store = vio.create_store(sys.argv[2]); store.create_repo('r');"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "tx = store.transaction('r@main'); tx.write('big', Path(sys.argv[1])); tx.finish();"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), str(tmp_path / "store")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 300


def test_a_commit_record_is_stored_when_all_pages_before_it_are():
    order = []
    objects = new_objects()
    put = objects.put

    class Slow:
        def __getattr__(self, name):
            return getattr(objects, name)

        def put(self, key, data):
            order.append(("begin", key))
            time.sleep(0.05)  # so that one that does not wait for those before it is seen
            put(key, data)
            order.append(("end", key))

    writer = DataWriter(Slow(), NoIndex(), roll_bytes=MIB)
    for number in range(8):
        writer.put_page(noise(400_000, number))
    record = writer.put_commit(b"one")
    for number in range(8, 14):
        writer.put_page(noise(400_000, number))
    second = writer.put_commit(b"two")
    writer.close_pack()
    for ref in (record, second):
        key = next(key for _, key in order if ref.pack.hex() in key)
        begun = order.index(("begin", key))
        earlier = [info.name for info in writer.packs()]
        earlier = earlier[: earlier.index(ref.pack.hex())]
        assert all(any(name in done for what, done in order[:begun] if what == "end") for name in earlier)
        assert bytes(read_frame(objects, ref, FrameKind.COMMIT)) in {b"one", b"two"}
    assert writer.own_packs == {info.name for info in writer.packs()}


def test_a_store_that_fails_is_told_at_the_latest_when_the_pack_is_closed():
    for failing_put in (1, 2, 3):
        writer = DataWriter(CountingObjects(new_objects(), failing_put=failing_put), NoIndex(), roll_bytes=MIB)

        def take_in(writer=writer):
            for number in range(3):
                writer.write(noise(int(1.2 * MIB), number))
            writer.close_pack()

        for call in (take_in, writer.close_pack):
            with pytest.raises(StorageError):
                call()
        writer.abort()


def test_a_writer_that_gives_up_stores_nothing_more():
    objects = CountingObjects(new_objects())
    writer = DataWriter(objects, NoIndex())
    writer.write(noise(MIB))
    writer.flush()
    writer.abort()
    assert not objects.calls


def test_threads_take_files_in_at_once():
    objects = new_objects()
    writer = DataWriter(objects, NoIndex(), roll_bytes=2 * MIB)
    contents = [noise(300_000 if number % 10 == 0 else 5_000, number % 150) for number in range(200)]
    files = [None] * len(contents)

    def take(numbers):
        for number in numbers:
            files[number] = writer.write(io.BytesIO(contents[number]))
            assert writer.read(files[number]) == contents[number]

    threads = [threading.Thread(target=take, args=(range(first, 200, 4),)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close_pack()
    assert read_back(objects, writer, files) == contents
    assert writer.new_chunks().num_rows == len(set(writer.new_chunks()["digest"].to_pylist()))
