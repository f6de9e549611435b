"""The head, the footer and the trailer of a pack."""

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from versioned_io.errors import FormatError, IntegrityError
from versioned_io.identifiers import PackName
from versioned_io.packs.footer import (
    Footer,
    FooterChunk,
    FooterFrame,
    check_head,
    decode_footer,
    decode_trailer,
    encode_footer,
    encode_head,
    encode_trailer,
)
from versioned_io.packs.frames import FrameKind

NAME = PackName("01a1fc2bb0f778f6b8137ba496771d87")
PACK = bytes.fromhex(NAME)
U32 = st.integers(0, (1 << 32) - 1)

frames = st.builds(FooterFrame, st.sampled_from(FrameKind), st.integers(0, (1 << 64) - 1), U32, U32)
chunks = st.builds(FooterChunk, st.binary(min_size=32, max_size=32), U32, U32, U32)


@given(st.lists(frames, max_size=5), st.lists(chunks, max_size=5))
def test_a_footer_is_read_back(frames, chunks):
    footer = Footer(NAME, tuple(frames), tuple(chunks))
    assert decode_footer(NAME, encode_footer(footer)) == footer


@pytest.mark.parametrize("payload", [b"", b"\0" * 7, b"\1" + b"\0" * 7, b"\0" * 9])
def test_a_footer_that_does_not_fit_its_counts_is_damaged(payload):
    with pytest.raises(IntegrityError, match="counts"):
        decode_footer(NAME, payload)


def test_a_trailer_is_read_back_and_belongs_to_one_pack():
    trailer = encode_trailer(PACK, 1234, 56)
    assert decode_trailer(PACK, trailer) == (1234, 56)
    for wrong in (trailer[:-1], trailer + b"\0", b"", bytes(len(trailer))):
        with pytest.raises(IntegrityError, match="trailer"):
            decode_trailer(PACK, wrong)
    with pytest.raises(IntegrityError, match="trailer"):
        decode_trailer(bytes(16), trailer)


def test_a_head_belongs_to_one_pack():
    check_head(PACK, encode_head(PACK))
    for wrong in (encode_head(bytes(16)), encode_head(PACK)[:-1], b""):
        with pytest.raises(IntegrityError, match="first bytes"):
            check_head(PACK, wrong)


def test_a_pack_of_a_newer_format_asks_for_an_upgrade():
    start = b"VIOPACK2" + PACK
    with pytest.raises(FormatError, match=r"format 2.*upgrade"):
        check_head(PACK, start + xxhash.xxh3_64_intdigest(start).to_bytes(8, "little"))
