"""The head, the footer and the trailer of a pack."""

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from versioned_io.errors import FormatError, IntegrityError
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import ChunkSpan
from versioned_io.storage.packs.footer import (
    Footer,
    FooterChunk,
    FooterFrame,
    check_head,
    decode_footer,
    decode_trailer,
    encode_footer_chunks,
    encode_head,
    encode_trailer,
    join_footer,
)
from versioned_io.storage.packs.frames import FrameKind

NAME = PackName("01a1fc2bb0f778f6b8137ba496771d87")
PACK = bytes.fromhex(NAME)
U32 = st.integers(0, (1 << 32) - 1)


def encode_footer(footer):
    spans = [(chunk.frame, ChunkSpan(chunk.digest, chunk.inner, chunk.size)) for chunk in footer.chunks]
    return join_footer(footer.frames, b"".join(encode_footer_chunks(frame, [span]) for frame, span in spans))


@st.composite
def footers(draw):
    """Footers as writers make them: frames one behind the other, chunks inside their blocks."""
    frames, chunks, end = [], [], 32
    for number, kind in enumerate(draw(st.lists(st.sampled_from(sorted(set(FrameKind) - {FrameKind.FOOTER}))))):
        frames.append(FooterFrame(kind, end, draw(st.integers(24, 1 << 31)), draw(U32)))
        end += frames[-1].stored_size
        if kind is FrameKind.BLOCK:
            inner = draw(st.integers(0, frames[-1].raw_size))
            size = draw(st.integers(0, frames[-1].raw_size - inner))
            chunks.append(FooterChunk(draw(st.binary(min_size=32, max_size=32)), number, inner, size))
    return Footer(NAME, tuple(frames), tuple(chunks))


@given(footers())
def test_a_footer_is_read_back(footer):
    assert decode_footer(NAME, encode_footer(footer)) == footer


BLOCK, PAGE = FooterFrame(FrameKind.BLOCK, 32, 100, 500), FooterFrame(FrameKind.PAGE, 132, 100, 500)


@pytest.mark.parametrize(
    ("frames", "chunk"),
    [
        ((PAGE,), None),
        ((BLOCK, BLOCK), None),
        ((BLOCK._replace(kind=99), PAGE), None),
        ((BLOCK._replace(kind=FrameKind.FOOTER),), None),
        ((BLOCK._replace(stored_size=23),), None),
        ((BLOCK, PAGE), (2, 0, 5)),
        ((BLOCK, PAGE), (1, 0, 5)),
        ((BLOCK, PAGE), (0, 400, 101)),
        ((BLOCK, PAGE), (0, (1 << 32) - 1, (1 << 32) - 1)),
    ],
)
def test_a_footer_that_tells_of_what_can_not_be_is_damaged(frames, chunk):
    """The checksum of its frame may be right: somebody may have made it on purpose."""
    chunks = () if chunk is None else (FooterChunk(bytes(32), *chunk),)
    with pytest.raises(IntegrityError, match="footer of pack"):
        decode_footer(NAME, encode_footer(Footer(NAME, frames, chunks)))


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
