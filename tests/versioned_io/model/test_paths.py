"""The rules of paths."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from versioned_io.errors import IllegalPathError
from versioned_io.errors.root import quoted
from versioned_io.model.paths import (
    MAX_PATH_BYTES,
    parent_directories,
    parse_directory,
    parse_path,
)


@pytest.mark.parametrize(
    "path",
    ["a", "a/b/c.csv", "2012/01.csv", "...", ".hidden", "a b", "ünïcode/日本", "a\\b", "-", "a:b@c~d", "x" * 1024],
)
def test_a_legal_path_comes_back_as_it_is(path):
    assert parse_path(path) == path


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "empty"),
        ("/", "empty"),
        ("//a", "part between slashes"),
        ("a//b", "part between slashes"),
        ("a/", "part between slashes"),
        (".", "part between slashes"),
        ("a/./b", "part between slashes"),
        ("..", "part between slashes"),
        ("../a", "part between slashes"),
        ("a/../../b", "part between slashes"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("a\x7fb", "control character"),
        ("a\x85b", "control character"),
        ("\ud800", "Unicode"),
        ("e\u0301.csv", "normalisation form C"),
        ("x" * 1025, "1025 bytes"),
        ("ü" * 513, "1026 bytes"),
    ],
)
def test_an_illegal_path_is_refused_and_the_rule_is_named(path, why):
    with pytest.raises(IllegalPathError, match=why) as caught:
        parse_path(path)
    assert quoted(path) in str(caught.value)


@pytest.mark.parametrize("path", [None, 7, b"a", ["a"]])
@pytest.mark.parametrize("parse", [parse_path, parse_directory])
def test_what_is_no_text_is_no_path(parse, path):
    with pytest.raises(IllegalPathError, match="not text"):
        parse(path)


def test_one_leading_slash_means_nothing():
    assert parse_path("/2012/01.csv") == "2012/01.csv"


@pytest.mark.parametrize(
    ("text", "directory"), [("", ""), ("/", ""), ("a", "a"), ("a/", "a"), ("/a/b/", "a/b"), ("a/b", "a/b")]
)
def test_a_directory_is_written_with_or_without_slashes_at_its_ends(text, directory):
    assert parse_directory(text) == directory


@pytest.mark.parametrize("text", ["a//", "..", "a/../", "a\0/", "//a"])
def test_an_illegal_directory_is_refused(text):
    with pytest.raises(IllegalPathError):
        parse_directory(text)


def test_parent_directories_come_outermost_first():
    assert parent_directories("a/b/c") == ["a", "a/b"]
    assert parent_directories("a") == []


@given(st.text(max_size=40))
def test_what_is_accepted_obeys_every_rule_and_stays_accepted(text):
    try:
        path = parse_path(text)
    except IllegalPathError:
        return
    assert parse_path(path) == path
    assert unicodedata.is_normalized("NFC", path)
    assert len(path.encode()) <= MAX_PATH_BYTES
    assert not {"", ".", ".."} & set(path.split("/"))
