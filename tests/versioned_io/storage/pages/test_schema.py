"""What a page holds, and what it is named by."""

import json

import pyarrow as pa
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from tests.versioned_io.storage.pages.test_format import leaf_by_hand
from tests.versioned_io.storage.pages.trees import digest, models, rows
from versioned_io.errors import FormatError, IntegrityError
from versioned_io.model.places import PageRef
from versioned_io.storage.pages.schema import (
    ENTRIES,
    ROWS,
    Entry,
    decode_page,
    encode_entries,
    encode_page,
    index_digest,
    leaf_digest,
)


def one_batch(table: pa.Table) -> pa.RecordBatch:
    return pa.concat_batches(table.to_batches())


def digest_by_hand(model) -> bytes:
    return leaf_by_hand([(path, *model[path]) for path in sorted(model)])


@given(models.filter(bool), st.integers(0, 3), st.integers(0, 3))
def test_a_leaf_is_named_by_paths_sizes_digests_and_attributes(model, before, after):
    batch = one_batch(rows(model))
    assert leaf_digest(batch) == digest_by_hand(model)
    padded = (
        {f"\x20{n}": (7, '{"x":1}') for n in range(before)}
        | model
        | {f"\U0010fffd{n}": (7, None) for n in range(after)}
    )
    if len(padded) == before + len(model) + after:
        position = sorted(padded).index(min(model))
        if sorted(padded)[position : position + len(model)] == sorted(model):
            assert leaf_digest(one_batch(rows(padded)).slice(position, len(model))) == digest_by_hand(model)


@given(models.filter(bool))
def test_where_the_bytes_lie_and_who_wrote_them_is_no_part_of_the_name(model):
    here, there = one_batch(rows(model, commit=1)), one_batch(rows(model, commit=2))
    assert here != there
    assert leaf_digest(here) == leaf_digest(there)


def test_every_part_of_a_file_is_part_of_the_name():
    names = [
        leaf_digest(one_batch(rows(model)))
        for model in (
            {"a": (1, None)},
            {"b": (1, None)},
            {"a": (2, None)},
            {"a": (1, "{}")},
            {"a": (1, None), "b": (1, None)},
            {"ab": (1, None), "c": (1, None)},
            {"a": (1, None), "bc": (1, None)},
        )
    ]
    assert len(set(names)) == len(names)


@given(models.filter(bool))
def test_a_leaf_is_read_back(model):
    batch = one_batch(rows(model))
    page = decode_page(memoryview(encode_page(0, batch)), level=0)
    assert page.level == 0
    assert page.batch.equals(batch)
    assert page.paths == sorted(model)


def entry(last: str, number: int) -> Entry:
    return Entry(last, digest(number), bytes(16), 1 << 40, (1 << 32) - 1, number, 1 << 50)


def test_an_index_page_is_read_back():
    entries = [entry("a", 1), entry("日本", 2)]
    page = decode_page(memoryview(encode_page(3, encode_entries(entries))), level=3)
    assert page.entries == entries
    assert page.batch.schema == ENTRIES


def test_an_index_page_is_named_by_the_pages_below():
    entries = [entry("a", 1), entry("b", 2)]
    expected = blake3(digest(1) + digest(2), derive_key_context="versioned-io 2026 v1 index page").digest()
    assert index_digest(entries) == expected
    assert index_digest([entry("x", 1)._replace(offset=5), entry("y", 2)]) == expected


def test_a_page_of_another_level_is_noticed():
    payload = memoryview(encode_page(1, encode_entries([entry("a", 1)])))
    with pytest.raises(IntegrityError, match="level 1 was found where one of level 2"):
        decode_page(payload, level=2)
    assert decode_page(payload).level == 1


def test_what_is_no_page_is_noticed():
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, ROWS):
        pass
    for payload in (
        b"",
        b"nonsense",
        stream.getvalue().to_pybytes(),
        bytes(encode_page(0, one_batch(rows({"a": (1, None)}))))[:-900],
    ):
        with pytest.raises(IntegrityError, match="page"):
            decode_page(memoryview(payload))


def test_a_page_with_unknown_columns_asks_for_an_upgrade():
    schema = ROWS.append(pa.field("mode", pa.int32())).with_metadata({b"versioned-io.level": b"0"})
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema))
    with pytest.raises(FormatError, match=r"mode.*upgrade"):
        decode_page(memoryview(stream.getvalue()))


def test_a_reference_goes_through_json():
    ref = PageRef(digest(1), bytes(range(16)), 1 << 40, 4_000_000_000, 3, 1 << 40, 1 << 60)
    assert PageRef.from_json(json.loads(json.dumps(ref.to_json()))) == ref


WHOLE = PageRef(digest(1), bytes(range(16)), 40, 50, 0, 1, 2).to_json()


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"digest": "xyz"},
        {"digest": 5},
        {"digest": None, "pack": ""},
        {**WHOLE, "digest": "aa"},
        {**WHOLE, "pack": "aa"},
        {**WHOLE, "offset": "40"},
        {**WHOLE, "offset": -1},
        {**WHOLE, "files": 1.0},
        {**WHOLE, "level": True},
        {**WHOLE, "size_bytes": 1 << 63},
    ],
)
def test_what_is_not_a_reference_is_told(value):
    with pytest.raises(IntegrityError, match="not a page reference"):
        PageRef.from_json(value)


@pytest.mark.parametrize("level", [0, 1, None])
def test_a_page_whose_columns_have_names_that_are_not_utf_8_is_refused(level):
    payload = bytes(encode_page(0, one_batch(rows({"a": (1, None)}))))
    for name in (b"path", b"digest", b"versioned-io.level"):
        with pytest.raises((IntegrityError, FormatError), match="page"):
            decode_page(memoryview(payload.replace(name, b"\xd0" + name[1:])), level=level)
