"""Taking files in."""

import io
import subprocess
import sys
import threading
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.versioned_io.storage.chunks.data import TableIndex, new_objects, noise, read_back
from tests.versioned_io.storage.chunks.no_index import NoIndex
from tests.versioned_io.storage.objects.stores import CountingObjects
from versioned_io.errors import IntegrityError, InvalidInputError
from versioned_io.storage.chunks.chunk_columns import TakenFile, chunk_refs
from versioned_io.storage.chunks.data_writer import DataWriter
from versioned_io.storage.chunks.intake import take_pins
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.storage.elsewhere import Elsewhere, Pin, parts
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.reader import iterate_frames

MIB = 1024 * 1024

CONTENTS = st.sampled_from([b"", b"a", b"a" * 1000, noise(1000), noise(200_000), noise(3 * MIB), b"zero" * 300_000])


@settings(max_examples=25)
@given(st.lists(st.tuples(CONTENTS, st.booleans()), max_size=12), st.sampled_from([MIB // 2, 48 * MIB]))
def test_files_are_read_back_before_and_after_they_are_stored(contents, roll_bytes):
    objects, index = new_objects(), TableIndex()
    writer = DataWriter(objects, index, roll_bytes=roll_bytes)
    files = []
    for data, flushes in contents:
        files.append(writer.intake.write(data))
        if flushes:
            writer.placer.flush()
        assert writer.intake.read(files[-1]) == data
    for (data, _), file in zip(contents, files, strict=True):
        assert file.size == len(data)
        assert writer.intake.read(file) == data
        assert writer.intake.read(file, 10, 500) == data[10:510]
    writer.close_pack()
    assert read_back(objects, writer, files) == [data for data, _ in contents]
    for (data, _), file in zip(contents, files, strict=True):
        assert writer.intake.read(file, len(data) // 2) == data[len(data) // 2 :]


def test_every_kind_of_source_gives_the_same_file(tmp_path):
    writer = DataWriter(new_objects(), NoIndex())
    for size in (0, 1, 128 * 1024, 128 * 1024 + 1, 3 * MIB):
        data = noise(size)
        path = tmp_path / f"{size}"
        path.write_bytes(data)
        expected = writer.intake.write(data)
        assert writer.intake.read(expected) == data
        with path.open("rb") as file:
            assert writer.intake.write(file) == expected
        for source in (
            path,
            bytearray(data),
            memoryview(data),
            io.BytesIO(data),
            iter([data[: size // 3], data[size // 3 :]]),
        ):
            assert writer.intake.write(source) == expected


def test_a_file_is_read_from_its_position():
    writer = DataWriter(new_objects(), NoIndex())
    file = io.BytesIO(b"headerbody")
    file.seek(6)
    assert writer.intake.read(writer.intake.write(file)) == b"body"


@pytest.mark.parametrize("source", ["text", 5, None, ["list"], object()])
def test_what_is_no_source_is_refused(source):
    with pytest.raises(InvalidInputError, match="give bytes, a path, a binary file or an iterator"):
        DataWriter(new_objects(), NoIndex()).intake.write(source)


def test_memory_is_bounded_however_large_a_file_is():
    objects = CountingObjects(new_objects())
    objects.put = lambda key, data: None  # the store of this test is in memory as well
    writer = DataWriter(objects, NoIndex(), roll_bytes=4 * MIB)
    tracemalloc.start()
    try:
        file = writer.intake.write(noise(MIB, number % 97) for number in range(120))
        writer.close_pack()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert file.size == 120 * MIB
    assert peak < 48 * MIB


def test_a_view_with_steps_is_written_as_what_it_shows():
    writer = DataWriter(new_objects(), NoIndex())
    assert writer.intake.read(writer.intake.write(memoryview(b"0123456789")[::2])) == b"02468"


def test_memory_is_bounded_where_little_of_a_large_file_is_new():
    """What can't be compressed keeps the memory it was read into, until its pack is stored."""
    objects = CountingObjects(new_objects())
    objects.put = lambda key, data: None
    writer = DataWriter(objects, NoIndex(), roll_bytes=48 * MIB)
    base = noise(8 * MIB)
    tracemalloc.start()
    try:
        file = writer.intake.write(base[: 6 * MIB] + noise(1000, number) + base[6 * MIB :] for number in range(1, 40))
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
    file, end = writer.intake.write(b""), 0
    for size in sizes:
        file = writer.intake.append(file, iter([data[end : end + size]]))
        end += size
        if flushes:
            writer.placer.flush()
    assert file == DataWriter(new_objects(), NoIndex()).intake.write(data)
    assert writer.intake.read(file) == data
    writer.close_pack()
    assert read_back(objects, writer, [file]) == [data]


def test_an_append_reads_and_stores_only_the_last_chunk():
    objects = CountingObjects(new_objects())
    first = DataWriter(objects, NoIndex())
    data = noise(20 * MIB)
    chunks = first.placer.chunk_lists([first.intake.write(data)])
    first.close_pack()
    objects.calls.clear()
    writer = DataWriter(objects, NoIndex())
    file = writer.intake.append(chunk_refs(chunks[0]), b"tail")
    writer.close_pack()
    assert objects.calls == {"get_ranges": 1, "ranges": 1, "put": 1}
    assert writer.packs.bytes_stored < 1.1 * MIB
    assert writer.placer.new_chunks().num_rows <= 2
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


def test_threads_take_files_in_at_once():
    objects = new_objects()
    writer = DataWriter(objects, NoIndex(), roll_bytes=2 * MIB)
    contents = [noise(300_000 if number % 10 == 0 else 5_000, number % 150) for number in range(200)]
    files = [None] * len(contents)

    def take(numbers):
        for number in numbers:
            files[number] = writer.intake.write(io.BytesIO(contents[number]))
            assert writer.intake.read(files[number]) == contents[number]

    threads = [threading.Thread(target=take, args=(range(first, 200, 4),)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close_pack()
    assert read_back(objects, writer, files) == contents
    assert writer.placer.new_chunks().num_rows == len(set(writer.placer.new_chunks()["digest"].to_pylist()))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(parts, "_PART_BYTES", 2)


def pin(name, size):
    return Pin(f"s3://bucket/{name}", f'"{name}"', None, size)


def files_of(columns):
    digests = [bytes(columns.digests[at : at + 32]) for at in range(0, len(columns.digests), 32)]
    return [
        TakenFile(size, digest, columns.several.get(row, digest))
        for row, (size, digest) in enumerate(zip(columns.sizes, digests, strict=True))
    ]


def test_many_parts_go_to_several_packs_in_order_and_once():
    objects, index, steps = new_objects(), TableIndex(), []
    pins = [pin("large", 9_001), pin("small", 1), pin("empty", 0), pin("small", 1)]
    writer = DataWriter(objects, index, roll_bytes=100_000)
    columns = take_pins(writer.placer, pins, on_taken=lambda *done: steps.append(done))
    assert list(columns.sizes) == [9_001, 1, 0, 1]
    assert (sum(files for files, _ in steps), sum(size for _, size in steps)) == (4, 9_003)
    lists = writer.placer.chunk_lists(files_of(columns))
    writer.close_pack()
    large, small, empty, again = (chunk_refs(one) for one in lists)
    assert [chunk.size for chunk in large] == [2] * 4_500 + [1]
    assert {chunk.inner for chunk in large} == {0}
    assert (small, empty) == (again, ())
    assert len(writer.packs.stored) > 2
    stored = [kind for info in writer.packs.stored for kind, _, _ in iterate_frames(objects, info.name)]
    assert stored == [FrameKind.SOURCE] * 4_502
    reader = ChunkReader(objects)
    assert all(reader.name_chunk(chunk) == chunk.digest for chunk in (*large[::500], *small))
    with pytest.raises(InvalidInputError, match="sources="):
        reader.read_file(small)

    index.refs = {chunk.digest: chunk for chunk in (*large, *small)}
    second = DataWriter(objects, index)
    assert take_pins(second.placer, pins, on_taken=lambda *_: None).digests == columns.digests
    second.close_pack()
    assert (second.packs.stored, second.placer.new_chunks().num_rows) == ([], 0)


def test_a_reference_to_less_than_a_part_is_no_part(tmp_path):
    objects = new_objects()
    (tmp_path / "f").write_bytes(b"abcd")
    elsewhere = Elsewhere({str(tmp_path): {}})
    found = elsewhere.look_up(elsewhere.locate(tmp_path / "f"))
    writer = DataWriter(objects, NoIndex(), elsewhere=elsewhere)
    columns = take_pins(writer.placer, [found], on_taken=lambda *_: None)
    [file] = files_of(columns)
    assert writer.intake.read(file) == b"abcd"  # while it waits in memory
    chunks = chunk_refs(writer.placer.chunk_lists([file])[0])
    writer.close_pack()
    reader = ChunkReader(objects, elsewhere)
    assert reader.read_file(chunks) == b"abcd"
    for wrong in ({"size": 1}, {"inner": 1}):
        crafted = type(chunks[0])(**{name: getattr(chunks[0], name) for name in chunks[0].__slots__} | wrong)
        with pytest.raises(IntegrityError):
            reader.name_chunk(crafted)
