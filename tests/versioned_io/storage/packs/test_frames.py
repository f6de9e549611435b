"""Frames."""

import os
import random
import struct
import tracemalloc

import pytest
import xxhash
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from versioned_io.errors import IntegrityError
from versioned_io.model.identifiers import new_pack_name
from versioned_io.model.places import FrameRef, pack_key
from versioned_io.storage.packs.frames import (
    HEADER_SIZE,
    FrameKind,
    check_reference,
    decode_frame,
    encode_frame,
)

PACK = bytes(range(16))


def frame(payload: bytes, *, offset: int = 32, kind: FrameKind = FrameKind.BLOCK) -> bytes:
    head, stored = encode_frame(PACK, offset, kind, payload)
    return head + bytes(stored)


@given(st.binary(max_size=500), st.integers(0, 1 << 40), st.sampled_from(FrameKind))
def test_what_was_framed_is_read_back(payload, offset, kind):
    assert decode_frame(PACK, offset, frame(payload, offset=offset, kind=kind), kind) == payload


def test_a_frame_is_what_the_specification_says():
    payload = b"abc"
    head = b"vf1\n" + struct.pack("<BBHII", 2, 0, 0, 3, 3)
    check = xxhash.xxh3_64_intdigest(PACK + struct.pack("<Q", 32) + head + payload)
    assert frame(payload, kind=FrameKind.PAGE) == head + struct.pack("<Q", check) + payload


def test_what_compresses_is_compressed_and_what_does_not_is_kept_as_it_is():
    text, noise = b"versioned " * 1000, os.urandom(10_000)
    assert len(frame(text)) < 200
    assert zstandard.ZstdDecompressor().decompress(frame(text)[HEADER_SIZE:]) == text
    head, stored = encode_frame(PACK, 32, FrameKind.BLOCK, noise)
    assert stored is noise
    assert len(head) == HEADER_SIZE


@pytest.mark.parametrize("payload", [b"", b"abc", b"versioned " * 20], ids=["empty", "raw", "compressed"])
def test_every_flipped_bit_is_noticed(payload):
    good = frame(payload)
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError, match="damaged"):
            decode_frame(PACK, 32, bytes(bad), FrameKind.BLOCK)


def test_every_cut_and_every_addition_is_noticed():
    good = frame(b"versioned " * 20)
    for length in range(len(good)):
        with pytest.raises(IntegrityError, match="damaged"):
            decode_frame(PACK, 32, good[:length], FrameKind.BLOCK)
    with pytest.raises(IntegrityError, match="damaged"):
        decode_frame(PACK, 32, good + b"\0", FrameKind.BLOCK)


def test_a_frame_in_another_place_is_noticed():
    good = frame(b"abc")
    with pytest.raises(IntegrityError, match="checksum"):
        decode_frame(PACK, 33, good, FrameKind.BLOCK)
    with pytest.raises(IntegrityError, match="checksum"):
        decode_frame(bytes(16), 32, good, FrameKind.BLOCK)


def test_a_frame_of_another_kind_is_noticed():
    with pytest.raises(IntegrityError, match="it is a block, not a page"):
        decode_frame(PACK, 32, frame(b"abc"), FrameKind.PAGE)


@pytest.mark.parametrize("size", [0, 5, 1 << 30], ids=["smaller", "small", "huge"])
def test_a_payload_that_would_decompress_to_another_size_is_refused_before_it_is(size):
    """The checksum is right here: somebody made this frame on purpose."""
    stored = zstandard.ZstdCompressor().compress(b"versioned " * 20)
    head = b"vf1\n" + struct.pack("<BBHII", 1, 1, 0, len(stored), size)
    check = xxhash.xxh3_64_intdigest(PACK + struct.pack("<Q", 32) + head + stored)
    with pytest.raises(IntegrityError, match="decompress"):
        decode_frame(PACK, 32, head + struct.pack("<Q", check) + stored, FrameKind.BLOCK)


def forged(kind, payload, *, raw_size=None, codec=1):
    """A frame at byte 32 with a right checksum, of any kind, whatever its header says of the size."""
    stored = zstandard.ZstdCompressor().compress(payload) if codec else payload
    head = b"vf1\n" + struct.pack("<BBHII", kind, codec, 0, len(stored), len(payload) if raw_size is None else raw_size)
    check = xxhash.xxh3_64_intdigest(PACK + struct.pack("<Q", 32) + head + stored)
    return head + struct.pack("<Q", check) + stored


@pytest.mark.parametrize("kind", FrameKind)
def test_a_few_bytes_never_take_much_memory(kind):
    """32 MB of zeros are 3 KB when they are stored; 1.6 GB would be 49 KB."""
    data = forged(kind, bytes(32_000_000))
    tracemalloc.start()
    with pytest.raises(IntegrityError, match="decompress"):
        decode_frame(PACK, 32, data, kind)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(("kind", "size"), [(FrameKind.BLOCK, 2_097_177), (FrameKind.SOURCE, 65_561)])
def test_a_reference_to_more_than_a_frame_can_have_is_refused_before_it_is_read(kind, size):
    check_reference(FrameRef(PACK, 32, size - 1), {kind})
    with pytest.raises(IntegrityError, match=f"stored in {size} bytes"):
        check_reference(FrameRef(PACK, 32, size), {kind})


def test_a_raw_frame_is_as_long_as_its_header_says():
    with pytest.raises(IntegrityError, match="holds 3 bytes, not 5"):
        decode_frame(PACK, 32, forged(FrameKind.PAGE, b"abc", raw_size=5, codec=0), FrameKind.PAGE)


@pytest.mark.parametrize("payload", [bytes(5_000_000), random.Random(1).randbytes(1000) * 5000], ids=["zeros", "runs"])
def test_what_is_very_dense_is_stored_raw_so_that_a_reader_takes_it(payload):
    header, stored = encode_frame(PACK, 32, FrameKind.PAGE, payload)
    assert decode_frame(PACK, 32, header + bytes(stored), FrameKind.PAGE) == payload


def test_packs_of_one_moment_spread_over_many_prefixes():
    names = [new_pack_name() for _ in range(500)]
    assert len({pack_key(name).split("/")[1] for name in names}) > 100
    assert pack_key(names[0]) == f"packs/{names[0][-2:]}/{names[0]}.pack"
