"""Pages that somebody made on purpose: every checksum would be right, but following what they say would do harm."""

import os
import struct
import uuid
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.versioned_io.storage.pages.trees import Forest, rows
from versioned_io.errors import IllegalPathError, IntegrityError
from versioned_io.model.paths import parse_path
from versioned_io.model.places import PageRef
from versioned_io.storage.objects import open_objects
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.writer import PackWriter
from versioned_io.storage.pages.diff import diff
from versioned_io.storage.pages.edit import edit_tree
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.read import lookup, scan, stat_directory
from versioned_io.storage.pages.schema import (
    ROWS,
    Entry,
    decode_page,
    encode_entries,
    encode_page,
    index_digest,
    leaf_digest,
)

MODEL = {"a": (1, None), "b/c": (2, '{"k":"v"}'), "b/d": (3, None)}


def one_batch(table):
    return pa.concat_batches(table.to_batches())


def payload_of(changes=None, *, model=MODEL):
    """A leaf page with the columns *changes* in place of its own."""
    batch = one_batch(rows(model))
    columns = [(changes or {}).get(name, batch.column(name)) for name in ROWS.names]
    return memoryview(encode_page(0, pa.RecordBatch.from_arrays(columns, schema=ROWS)))


def texts(*values):
    """A column of texts that Arrow never looked at: any bytes, in any order."""
    data = [value if isinstance(value, bytes) else value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, data)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(data), pa.py_buffer(offsets), pa.py_buffer(b"".join(data)))


@pytest.mark.parametrize(
    "offsets", [(0, 1, 4, 1 << 20), (0, 1, 4, 2**31 - 1), (0, 4, 1, 7), (-100_000, 1, 4, 7), (0, 1, -4, 7)]
)
@pytest.mark.parametrize("column", ["path", "chunks"])
def test_offsets_that_lead_out_of_their_buffer_are_refused(column, offsets):
    """Arrow follows them: the process ends with SIGSEGV, or shows what else is in its memory as a name."""
    good = struct.pack("<4i", 0, 1, 4, 7) if column == "path" else struct.pack("<4i", 0, 1, 2, 3)
    payload = bytes(payload_of())
    assert good in payload
    with pytest.raises(IntegrityError, match="page"):
        decode_page(memoryview(payload.replace(good, struct.pack("<4i", *offsets))), level=0)


@pytest.mark.parametrize(
    "paths",
    [
        texts("a", "b", b"\xff\xfe"),
        texts("a", "b", ""),
        texts("b", "a", "c"),
        texts("a", "a", "b"),
        texts("..", "a", "b"),
        texts("../../etc/passwd", "a", "b"),
        texts("/etc/passwd", "a", "b"),
        texts("a", "b//c", "d"),
        texts("a", "b/", "c"),
        texts("a", "b/..", "c"),
        texts("a", "b/../../c", "d"),
        texts("a", "b/./c", "d"),
        texts(".", "a", "b"),
        texts("a", "b\x1b[2J", "c"),
        texts("a", "b\x7f", "c"),
        texts("a", "b\x00c", "d"),
        texts("a", "b", "c\x85"),
        texts("a", "b", "e\u0301"),
        texts("a", "b", b"\xed\xa0\x80"),
        texts("a", "b", b"\xc0\xaf"),
        texts("a", "b", "c/."),
        texts("a", "b", "c/.."),
        texts("a", "b", "ü/.."),
        texts("a", "ü/", ".b"),
        texts("a", "b", "ü\x1b[2J"),
        texts("a", "b", "c" * 1025),
    ],
)
def test_paths_that_no_writer_stores_are_refused(paths):
    with pytest.raises(IntegrityError, match="page"):
        decode_page(payload_of({"path": paths}), level=0)


@pytest.mark.parametrize("paths", [(".hidden", "a.b/.c", "z..."), ("...", "a/b", "a0"), ("a", "é", "\U0001f600")])
def test_paths_that_only_look_unusual_are_read(paths):
    assert decode_page(payload_of({"path": texts(*paths)}), level=0).paths == list(paths)


_PARTS = st.lists(st.sampled_from([*"/.a~ é\x7f\x85\x1f\u0301\u00a0", "..", "日", "😀"]), max_size=6).map("".join)


@settings(max_examples=400)
@given(st.lists(_PARTS, min_size=1, max_size=6, unique=True))
def test_a_page_is_read_exactly_when_each_of_its_paths_is_one(found):
    def is_path(text):
        try:
            return parse_path(text) == text
        except IllegalPathError:
            return False

    paths = sorted(found, key=str.encode)
    model = {f"{number:02}": (1, None) for number in range(len(paths))}
    payload = payload_of({"path": texts(*paths)}, model=model)
    if all(map(is_path, paths)):
        assert decode_page(payload, level=0).paths == paths
    else:
        with pytest.raises(IntegrityError, match="page"):
            decode_page(payload, level=0)


@pytest.mark.parametrize("counts", [(0, 0, 0), (1, 0, 2), (0, 3, 0), (2, 2, 2), (0, 0, 3)])
def test_files_have_the_sum_of_their_chunks_however_many_these_are(counts):
    one = one_batch(rows(MODEL)).column("chunks")[0].as_py()[0]
    chunks = pa.array(
        [[{**one, "size": 5 + number} for number in range(count)] for count in counts], ROWS.field(3).type
    )
    sizes = [sum(5 + number for number in range(count)) for count in counts]
    found = decode_page(payload_of({"chunks": chunks, "size": pa.array(sizes)}), level=0)
    assert found.batch.column("size").to_pylist() == sizes
    for at in range(3):
        wrong = [size + (number == at) for number, size in enumerate(sizes)]
        with pytest.raises(IntegrityError, match="another size"):
            decode_page(payload_of({"chunks": chunks, "size": pa.array(wrong)}), level=0)


def test_numbers_that_can_not_be_are_refused():
    good = one_batch(rows(MODEL))
    negative = pa.array([-1, 2, 3], pa.int64())
    nulls = pa.array([1, None, 3], pa.int64())
    structs = good.column("chunks").values
    for number, value in ((2, 1 << 63), (3, 1), (5, 1 << 31)):
        fields = [structs.field(at) for at in range(6)]
        fields[number] = pa.array([value] * 3, structs.type[number].type)
        chunks = pa.StructArray.from_arrays(fields, fields=list(structs.type))
        lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), chunks, type=good.schema[3].type)
        with pytest.raises(IntegrityError, match="page"):
            decode_page(payload_of({"chunks": lists}), level=0)
    for changes in ({"size": negative}, {"size": nulls}, {"size": pa.array([9, 2, 3])}):
        with pytest.raises(IntegrityError, match="page"):
            decode_page(payload_of(changes), level=0)


def test_a_page_has_rows_but_not_more_than_one_of_the_format_can_have():
    with pytest.raises(IntegrityError, match="0 rows"):
        decode_page(memoryview(encode_page(0, one_batch(rows(MODEL)).slice(0, 0))), level=0)
    many = {f"{number:06}": (1, None) for number in range(4097)}
    with pytest.raises(IntegrityError, match="4097 rows"):
        decode_page(payload_of(model=many), level=0)


def test_compressed_buffers_are_refused_before_arrow_allocates_what_they_claim():
    stream = pa.BufferOutputStream()
    schema = ROWS.with_metadata({b"versioned-io.level": b"0"})
    with pa.ipc.new_stream(stream, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(one_batch(rows({f"{number:06}": (1, None) for number in range(2000)})))
    payload = bytearray(stream.getvalue())
    assert decode_page(payload_of(), level=0)
    at = payload.index(struct.pack("<q", 8 * 2000))  # what the column of sizes claims to decompress to
    payload[at : at + 8] = struct.pack("<q", 1 << 40)
    for level in (0, None):
        with pytest.raises(IntegrityError, match="not of one plain batch"):
            decode_page(memoryview(payload), level=level)


@pytest.mark.parametrize("level", [b"-1", b"16", b"99999999999999999999", b"x", b""])
def test_a_page_of_a_level_that_no_tree_has_is_refused(level):
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, ROWS.with_metadata({b"versioned-io.level": level})) as writer:
        writer.write_batch(one_batch(rows(MODEL)))
    with pytest.raises(IntegrityError, match="level"):
        decode_page(memoryview(stream.getvalue()))


class Forger:
    """Puts pages, true or not, into one pack, and gives references to them."""

    def __init__(self):
        self.objects = open_objects(f"memory://{uuid.uuid4().hex}")
        self.pack = PackWriter(self.objects)

    def leaf(self, *paths):
        batch = one_batch(rows(dict.fromkeys(paths, (1, None))))
        frame = self.pack.append(FrameKind.PAGE, encode_page(0, batch))
        digest = leaf_digest(batch)
        return Entry(paths[-1], digest, frame.pack, frame.offset, frame.stored_size, len(paths), len(paths))

    def index(self, level, *entries, **said):
        frame = self.pack.append(FrameKind.PAGE, encode_page(level, encode_entries(entries)))
        files, size_bytes = sum(entry.files for entry in entries), sum(entry.size_bytes for entry in entries)
        digest = index_digest(entries)
        made = Entry(entries[-1].last, digest, frame.pack, frame.offset, frame.stored_size, files, size_bytes)
        return made._replace(**said)

    def source(self):
        self.pack.close()
        return PageSource(self.objects)


def read_everything(root: PageRef, source: PageSource) -> None:
    sum(batch.num_rows for batch in scan(root, source=source))


READS = {
    "scan": read_everything,
    "look up": lambda root, source: [lookup(root, path, source=source) for path in "abcdefgz"],
    "count": lambda root, source: stat_directory(root, "zz", source=source),
    "diff": lambda root, source: diff(None, root, source=source),
    "edit": lambda root, source: edit_tree(
        root, rows({f"{letter}x": (1, None) for letter in "abcdefgz"}), [], source=source, sink=Forest().sink
    ),
}


def lies():
    """Trees whose pages are right one by one, but don't fit together: (what is wrong, a function that makes one)."""

    def repeated(forger):
        leaf = forger.leaf("a", "b")
        root = forger.index(1, leaf, leaf._replace(last="c"), leaf._replace(last="d"))
        return root.ref(1)

    def doubled_at_every_level(forger):
        entry = forger.leaf("a", "b")
        for level in range(1, 15):
            entry = forger.index(level, *(entry._replace(last=f"{entry.last}{number}") for number in range(8)))
        return entry.ref(14)

    def shared_by_two_parents(forger):
        shared = forger.leaf("a", "b")
        one, other = forger.index(1, shared, forger.leaf("c")), forger.index(1, shared, forger.leaf("d"))
        return forger.index(2, one, other).ref(2)

    def counted_wrong(forger):
        return forger.index(1, forger.leaf("a", "b")._replace(files=3)).ref(1)

    def summed_wrong(forger):
        return replace(forger.index(1, forger.leaf("a", "b"), forger.leaf("c")).ref(1), size_bytes=1 << 50)

    def of_another_level(forger):
        return forger.index(2, forger.leaf("a", "b"), forger.leaf("c")).ref(2)

    def out_of_order(forger):
        return forger.index(1, forger.leaf("a", "d"), forger.leaf("c", "e")).ref(1)

    made = (repeated, doubled_at_every_level, shared_by_two_parents, counted_wrong, summed_wrong, of_another_level)
    return [*made, out_of_order]


@pytest.mark.parametrize("make", lies(), ids=lambda make: make.__name__)
@pytest.mark.parametrize("read", READS)
def test_pages_that_do_not_fit_together_are_refused_by_every_read(make, read):
    """So a page that is listed again and again is come to once, and a few KB never make millions of files."""
    forger = Forger()
    root = make(forger)
    if read == "count" and make.__name__ != "summed_wrong":
        pytest.skip("a count opens only the pages at its ends")
    with pytest.raises(IntegrityError, match="run fsck"):
        READS[read](root, forger.source())


def test_a_cached_page_is_not_taken_for_one_of_another_level():
    forger = Forger()
    leaf = forger.leaf("a", "b")
    source = forger.source()
    source.load(leaf.frame, 0)
    with pytest.raises(IntegrityError, match="level"):
        source.load(leaf.frame, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"offset": -1},
        {"offset": 1 << 63},
        {"stored_size": 0},
        {"level": 1 << 40},
        {"files": 0},
        {"size_bytes": -1},
        {"level": True},
        {"files": 1.5},
        {"digest": "00"},
        {"pack": "00" * 64},
        {"offset": "5"},
    ],
)
def test_a_root_that_can_not_be_is_refused(change):
    good = PageRef(os.urandom(32), os.urandom(16), 32, 100, 0, 1, 1).to_json()
    assert PageRef.from_json(good).to_json() == good
    with pytest.raises(IntegrityError, match="not a page reference"):
        PageRef.from_json(good | change)
