"""Where bytes come from."""

import io

import pytest

from versioned_io.errors import InvalidInputError
from versioned_io.storage.chunks.sources import FileSource, IteratorSource


class OnlyRead:
    """A file-like object without readinto."""

    def __init__(self, answer):
        self._answer = answer

    def read(self, size, /):
        answer, self._answer = self._answer, b""
        return answer


def test_a_file_without_readinto_is_read():
    target = memoryview(bytearray(10))
    source = FileSource(OnlyRead(b"abc"))
    assert source.fill(target) == 3
    assert bytes(target[:3]) == b"abc"
    assert source.fill(target) == 0


@pytest.mark.parametrize("answer", ["text", None, 5], ids=["text", "none", "number"])
def test_a_source_that_gives_no_bytes_is_told_what_to_do(answer):
    with pytest.raises(InvalidInputError, match="binary mode"):
        FileSource(OnlyRead(answer)).fill(memoryview(bytearray(10)))
    with pytest.raises(InvalidInputError, match="binary mode"):
        IteratorSource(iter([answer, b"x"] if answer is not None else [5])).fill(memoryview(bytearray(10)))


def test_a_file_in_text_mode_is_refused():
    with pytest.raises(InvalidInputError, match="binary mode"):
        FileSource(io.StringIO("text")).fill(memoryview(bytearray(10)))


def test_a_file_that_would_block_is_refused():
    class NotReady(OnlyRead):
        def readinto(self, target):
            return None

    with pytest.raises(InvalidInputError, match="blocking mode"):
        FileSource(NotReady(b"")).fill(memoryview(bytearray(10)))


def test_parts_larger_than_the_target_are_handed_out_in_pieces():
    source = IteratorSource(iter([b"abcdef", b"gh"]))
    target = memoryview(bytearray(4))
    pieces = []
    while count := source.fill(target):
        pieces.append(bytes(target[:count]))
    assert pieces == [b"abcd", b"ef", b"gh"]
