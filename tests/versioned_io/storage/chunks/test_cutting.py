"""Cutting and naming."""

import io

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.versioned_io.storage.chunks.data import noise
from versioned_io.storage.chunks.cutting import (
    EMPTY_DIGEST,
    MAXIMUM_SIZE,
    MINIMUM_SIZE,
    cut_bytes,
    cut_stream,
    digest_of,
    file_digest,
)
from versioned_io.storage.chunks.sources import FileSource, Filler, IteratorSource

DATA = noise(5_000_000)
TEXT = b"".join(b"2012-%02d-%02d,%d.%d,sun\n" % (n % 12 + 1, n % 28 + 1, n % 40, n % 10) for n in range(150_000))


def lengths(data: bytes) -> list[int]:
    return [len(chunk) for chunk in cut_bytes(data)]


def streamed(source: Filler, window_size: int) -> list[int]:
    """Return the chunks' sizes of a stream that goes through two windows in turn."""
    windows = [memoryview(bytearray(window_size)) for _ in range(2)]
    turn = 0

    def take_window() -> memoryview:
        nonlocal turn
        turn += 1
        return windows[turn % 2]

    return [len(chunk) for chunks in cut_stream(source, take_window) for chunk in chunks]


@settings(max_examples=30)
@given(st.integers(0, 3_000_000), st.integers(0, 1_000_000), st.sampled_from([DATA, TEXT, bytes(5_000_000)]))
def test_chunks_join_to_the_input_and_keep_to_the_sizes(size, start, data):
    data = data[start : start + size]
    chunks = [bytes(chunk) for chunk in cut_bytes(data)]
    assert b"".join(chunks) == data
    assert all(MINIMUM_SIZE <= len(chunk) <= MAXIMUM_SIZE for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= MAXIMUM_SIZE for chunk in chunks)


class Dribbling(io.RawIOBase):
    """Gives its bytes in pieces of odd sizes."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._rest = data
        self._sizes = sizes
        self._turn = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        size = min(self._sizes[self._turn % len(self._sizes)], len(buffer), len(self._rest))
        self._turn += 1
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


@settings(max_examples=30)
@given(
    st.sampled_from([DATA, TEXT, bytes(5_000_000)]),
    st.integers(0, 5_000_000),
    st.lists(st.integers(1, 700_000), min_size=1, max_size=4),
    st.integers(MAXIMUM_SIZE + 1, 3 * MAXIMUM_SIZE),
)
def test_cuts_depend_on_the_bytes_alone_not_on_how_they_come(data, size, pieces, window):
    data = data[:size]
    source = FileSource(Dribbling(data, [*pieces, 100_000]))
    assert streamed(source, window) == lengths(data)


@pytest.mark.parametrize("tenths", [11, 15, 17, 27])
def test_a_chunk_that_the_window_cuts_off_is_not_taken_for_a_whole_one(tenths):
    source = FileSource(io.BytesIO(bytes(5_000_000)))
    assert streamed(source, MAXIMUM_SIZE * tenths // 10) == lengths(bytes(5_000_000))


@pytest.mark.parametrize("size", [0, 1, MINIMUM_SIZE - 1, MINIMUM_SIZE])
def test_a_file_up_to_the_minimum_is_one_chunk(size):
    assert lengths(DATA[:size]) == ([size] if size else [])


def test_an_insertion_changes_only_the_chunks_around_it():
    edited = DATA[:2_500_000] + b"inserted" + DATA[2_500_000:]
    before = {digest_of(chunk) for chunk in cut_bytes(DATA)}
    new = [len(chunk) for chunk in cut_bytes(edited) if digest_of(chunk) not in before]
    assert len(new) <= 2


def test_cuts_are_the_same_for_ever():
    """Frozen: with other cuts, what stores hold already would be stored again."""
    assert lengths(DATA) == FROZEN_NOISE
    assert lengths(TEXT) == FROZEN_TEXT
    assert lengths(bytes(2_500_000)) == [1048576, 1048576, 402848]


def test_the_digest_of_a_file_of_one_chunk_is_blake3_of_its_bytes():
    assert digest_of(b"abc") == blake3(b"abc").digest()
    assert file_digest([digest_of(b"abc")], [3]) == blake3(b"abc").digest()
    assert file_digest([], []) == EMPTY_DIGEST == blake3(b"").digest()


def test_the_digest_of_a_file_of_many_chunks_is_of_their_digests_and_sizes():
    chunks = [bytes(chunk) for chunk in cut_bytes(DATA)]
    pairs = b"".join(blake3(chunk).digest() + len(chunk).to_bytes(8, "little") for chunk in chunks)
    expected = blake3(pairs, derive_key_context="versioned-io 2026 v1 file of several chunks").digest()
    assert file_digest([digest_of(chunk) for chunk in chunks], [len(chunk) for chunk in chunks]) == expected


def test_a_file_that_holds_the_digests_of_another_does_not_get_its_digest():
    """Without the derive-key mode, this one-chunk file would be taken for the file of two chunks."""
    digests, sizes = [digest_of(b"a"), digest_of(b"b")], [1, 1]
    crafted = b"".join(digest + size.to_bytes(8, "little") for digest, size in zip(digests, sizes, strict=True))
    assert file_digest([digest_of(crafted)], [len(crafted)]) != file_digest(digests, sizes)


def test_an_iterator_is_drawn_to_its_end_over_empty_parts():
    parts = iter([b"", DATA[:1], b"", DATA[1:400_000], bytearray(DATA[400_000:2_000_000]), b""])
    assert streamed(IteratorSource(parts), 2 * MAXIMUM_SIZE) == lengths(DATA[:2_000_000])


FROZEN_NOISE = [
    319853,
    278755,
    278851,
    315178,
    319821,
    152483,
    433290,
    290528,
    554843,
    290954,
    326113,
    269152,
    343505,
    274405,
    442434,
    109835,
]
FROZEN_TEXT = [1048576, 1048576, 865348]
