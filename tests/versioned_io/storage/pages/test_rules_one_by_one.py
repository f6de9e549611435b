"""Pages that break one rule and keep all others: without the rule nothing else would refuse them.

| rule, in `versioned_io/storage/pages/rules.py` | test that fails without it |
|---|---|
| no nulls in required columns | `test_a_required_column_with_a_null_is_refused` |
| no nulls in chunks | `test_a_chunk_with_a_null_is_refused` |
| a chunk has at most 16 MiB | `test_a_chunk_that_is_too_large_is_refused` |
| entries count one file or more, and no negative sizes | `test_an_entry_that_can_not_be_is_refused` |
| a block decompresses to at most 2 MiB (`packs/frames.py`) | `test_a_block_that_is_too_large_is_refused` |
| zstd gives the size of the header (`packs/frames.py`) | `test_a_payload_that_is_larger_than_it_says_is_refused` |
| plain buffers, Arrow's own validation, rows, paths, sums of chunks, places | tests of `test_rules.py` |
"""

import pyarrow as pa
import pytest
import zstandard

from tests.versioned_io.storage.pages.test_rules import MODEL, one_batch, payload_of
from tests.versioned_io.storage.pages.trees import rows
from versioned_io.errors import IntegrityError
from versioned_io.storage.packs.frames import Codec, FrameKind, Payload, decode_frame, encode_header
from versioned_io.storage.pages.rules import LARGEST_CHUNK
from versioned_io.storage.pages.schema import ROWS, Entry, decode_page, encode_entries, encode_page


def chunks_with(number, value):
    """Return the column of chunks of three files, with *value* in field *number* of the first chunk."""
    structs = one_batch(rows(MODEL)).column("chunks").values
    fields = [structs.field(at) for at in range(structs.type.num_fields)]
    values = [value, *fields[number].to_pylist()[1:]]
    fields[number] = pa.array(values, structs.type[number].type)
    chunks = pa.StructArray.from_arrays(fields, fields=list(structs.type))
    return pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), chunks, type=ROWS.field("chunks").type)


@pytest.mark.parametrize("name", ["digest", "commit"])
def test_a_required_column_with_a_null_is_refused(name):
    values = one_batch(rows(MODEL)).column(name).to_pylist()
    with pytest.raises(IntegrityError, match="has nulls"):
        decode_page(payload_of({name: pa.array([None, *values[1:]], ROWS.field(name).type)}), level=0)


@pytest.mark.parametrize("number", [0, 1])
def test_a_chunk_with_a_null_is_refused(number):
    with pytest.raises(IntegrityError, match="nulls"):
        decode_page(payload_of({"chunks": chunks_with(number, None)}), level=0)


def test_a_chunk_that_is_too_large_is_refused():
    size = LARGEST_CHUNK + 1
    sizes = [size, *one_batch(rows(MODEL)).column("size").to_pylist()[1:]]
    with pytest.raises(IntegrityError, match="more than"):
        decode_page(payload_of({"chunks": chunks_with(5, size), "size": pa.array(sizes, pa.int64())}), level=0)


@pytest.mark.parametrize(("files", "size_bytes"), [(0, 1), (-1, 1), (1, -1), (1 << 62, 1), (1, 1 << 62)])
def test_an_entry_that_can_not_be_is_refused(files, size_bytes):
    entries = [Entry(name, bytes(32), bytes(16), 32, 300, files, size_bytes) for name in ("a", "b")]
    with pytest.raises(IntegrityError, match="impossible"):
        decode_page(memoryview(encode_page(1, encode_entries(entries))), level=1)


def frame_of(kind, size, said):
    payload = Payload(Codec.ZSTD, zstandard.ZstdCompressor().compress(bytes(size)), said)
    return encode_header(bytes(16), 32, kind, payload) + payload.stored


def test_a_block_that_is_too_large_is_refused():
    size = 3 << 20
    with pytest.raises(IntegrityError, match="never decompresses to"):
        decode_frame(bytes(16), 32, frame_of(FrameKind.BLOCK, size, size), FrameKind.BLOCK)


def test_a_payload_that_is_larger_than_it_says_is_refused():
    with pytest.raises(IntegrityError, match="does not decompress to 1000 bytes"):
        decode_frame(bytes(16), 32, frame_of(FrameKind.PAGE, 50 << 20, 1000), FrameKind.PAGE)
