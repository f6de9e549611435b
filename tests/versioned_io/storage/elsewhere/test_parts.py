"""Parts: what is written down of them, and nothing else, is read back."""

import json

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from versioned_io.errors import IntegrityError
from versioned_io.storage.elsewhere.parts import (
    PART_CONTEXT,
    Part,
    Pin,
    decode_part,
    encode_part,
    name_part,
    parts_of,
)

PIN = Pin("s3://bucket/ké y", '"abc-2"', None, 2500)


def test_an_object_is_cut_into_parts_without_a_gap():
    assert [(part.offset, part.size) for part in parts_of(PIN)] == [(0, 1000), (1000, 1000), (2000, 500)]
    assert list(parts_of(Pin("s3://b/k", "e", None, 0))) == []


def test_a_payload_is_json_in_one_way_only():
    part = Part(PIN, 1000, 1000)
    assert encode_part(part).decode() == (
        '{"etag":"\\"abc-2\\"","object_size":2500,"offset":1000,"size":1000,"url":"s3://bucket/ké y","version":null}'
    )
    assert name_part(encode_part(part)) == blake3(encode_part(part), derive_key_context=PART_CONTEXT).digest()
    assert name_part(encode_part(part)) != blake3(encode_part(part)).digest()


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PINS = st.builds(Pin, url=TEXT, etag=TEXT, version=st.none() | TEXT, size=st.integers(1, 1 << 60))


@given(PINS, st.data())
def test_what_was_written_is_read_back(pin, data):
    size = data.draw(st.integers(1, min(pin.size, (1 << 32) - 1)))
    part = Part(pin, data.draw(st.integers(0, pin.size - size)), size)
    assert decode_part(encode_part(part)) == part


@pytest.mark.parametrize(
    "change",
    [
        {"size": 0},
        {"size": -1},
        {"offset": -1},
        {"offset": 2000},
        {"object_size": 1999},
        {"size": 1 << 32, "object_size": 1 << 40},
        {"size": True},
        {"size": 1000.0},
        {"url": None},
        {"etag": None},
        {"version": 3},
        {"more": 1},
    ],
)
def test_what_makes_no_sense_is_refused(change):
    fields = json.loads(encode_part(Part(PIN, 1000, 1000))) | change
    payload = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    with pytest.raises(IntegrityError, match="run fsck"):
        decode_part(payload)


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"\xff", b"nonsense", b"[" * 60_000])
def test_what_is_no_part_at_all_is_refused(payload):
    with pytest.raises(IntegrityError, match="run fsck"):
        decode_part(payload)


def test_the_same_part_written_in_another_way_is_refused():
    payload = json.dumps(json.loads(encode_part(Part(PIN, 0, 1000)))).encode()
    with pytest.raises(IntegrityError, match="run fsck"):
        decode_part(payload)
