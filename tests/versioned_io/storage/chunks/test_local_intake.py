"""Taking in many local files at once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.versioned_io.storage.chunks.data import new_objects, noise
from tests.versioned_io.storage.chunks.no_index import NoIndex
from tests.versioned_io.storage.objects.stores import CountingObjects
from versioned_io.errors import SourceChangedError
from versioned_io.storage.chunks.chunk_columns import TakenFile, chunk_refs
from versioned_io.storage.chunks.data_writer import DataWriter
from versioned_io.storage.chunks.local_intake import take_local_files
from versioned_io.storage.chunks.reader import ChunkReader

KIB = 1024
SIZES = st.sampled_from([0, 1, 1000, 60 * KIB, 128 * KIB, 128 * KIB + 1, 600 * KIB, 5 * KIB * KIB])


def take(directory, contents, writer):
    files = []
    for number, data in enumerate(contents):
        path = directory / f"{number}"
        path.write_bytes(data)
        files.append((str(path), len(data)))
    steps = []
    columns = take_local_files(writer.intake, files, on_read=lambda *step: steps.append(step))
    return columns, steps


def stored_files(columns):
    digests = [bytes(columns.digests[at : at + 32]) for at in range(0, len(columns.digests), 32)]
    return [
        TakenFile(size, digest, columns.several.get(row, digest))
        for row, (size, digest) in enumerate(zip(columns.sizes, digests, strict=True))
    ]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(SIZES, st.integers(0, 3)), max_size=20))
def test_files_are_what_they_are_when_written_one_by_one(tmp_path_factory, kinds):
    contents = [noise(size, seed) for size, seed in kinds]
    objects = new_objects()
    writer = DataWriter(objects, NoIndex(), roll_bytes=4 * KIB * KIB)
    columns, steps = take(tmp_path_factory.mktemp("in"), contents, writer)
    alone = DataWriter(new_objects(), NoIndex())
    files = stored_files(columns)
    assert files == [alone.intake.write(data) for data in contents]
    assert sum(count for count, _ in steps) == len(contents)
    assert sum(size for _, size in steps) == sum(map(len, contents))
    assert [writer.intake.read(file) for file in files] == contents
    writer.close_pack()
    reader = ChunkReader(objects)
    assert [reader.read_file(chunk_refs(chunks)) for chunks in writer.placer.chunk_lists(files)] == contents


def test_equal_files_are_stored_once(tmp_path):
    writer = DataWriter(new_objects(), NoIndex())
    take(tmp_path, [noise(50 * KIB)] * 300, writer)
    writer.close_pack()
    assert writer.placer.new_chunks().num_rows == 1
    assert writer.packs.bytes_stored < 60 * KIB


def test_what_lies_between_files_that_are_stored_already_is_gathered(tmp_path):
    contents = [noise(20 * KIB, number) for number in range(20)]
    objects = new_objects()
    writer = DataWriter(objects, NoIndex())
    for data in contents[::3]:
        writer.intake.write(data)
    columns, _ = take(tmp_path, contents, writer)
    writer.close_pack()
    assert [writer.intake.read(file) for file in stored_files(columns)] == contents
    assert writer.placer.new_chunks().num_rows == 20


def test_large_files_count_while_they_are_read(tmp_path):
    _, steps = take(tmp_path, [b"small", noise(9 * KIB * KIB)], DataWriter(new_objects(), NoIndex()))
    assert steps[0] == (1, 5)
    assert len(steps) >= 4
    assert steps[-1] == (1, 0)


@pytest.mark.parametrize("size", [5, 300 * KIB])
def test_a_file_of_another_size_than_was_said_is_refused(tmp_path, size):
    (tmp_path / "a").write_bytes(bytes(size))
    for said in (size - 1, size + 1):
        with pytest.raises(SourceChangedError, match=rf"'{tmp_path / 'a'}' changed .*it had {said} bytes before"):
            take_local_files(
                DataWriter(new_objects(), NoIndex()).intake, [(str(tmp_path / "a"), said)], on_read=lambda *_: None
            )


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(SourceChangedError, match="it is gone"):
        take_local_files(
            DataWriter(new_objects(), NoIndex()).intake, [(str(tmp_path / "a"), 3)], on_read=lambda *_: None
        )


def test_a_large_file_that_is_written_to_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(noise(9 * KIB * KIB))

    def on_read(files, size_bytes):
        with path.open("r+b") as file:
            file.write(b"!")

    writer = DataWriter(CountingObjects(new_objects()), NoIndex())
    with pytest.raises(SourceChangedError, match="it was written to"):
        take_local_files(writer.intake, [(str(path), 9 * KIB * KIB)], on_read=on_read)
