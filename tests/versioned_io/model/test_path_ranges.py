"""Ranges of paths."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from versioned_io.model.path_ranges import PathRange, contains, merge_ranges, successor

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=4)


@given(texts, texts)
def test_a_prefix_is_exactly_the_texts_that_start_with_it(prefix, text):
    paths = PathRange.of_prefix(prefix)
    for candidate in (text, prefix + text, prefix):
        assert contains([paths], candidate) == candidate.startswith(prefix)


def test_a_prefix_at_the_end_of_unicode_has_a_range_too():
    assert PathRange.of_prefix("") == PathRange("", None)
    assert PathRange.of_prefix("\U0010ffff") == PathRange("\U0010ffff", None)
    assert PathRange.of_prefix("a\U0010ffff") == PathRange("a\U0010ffff", "b")
    assert PathRange.of_prefix("\ud7ff").end == "\ue000"


def test_a_directory_is_not_its_neighbours():
    below = PathRange.of_directory("foo")
    assert [path for path in ("foo", "foo-x", "foo/a", "foo/z/z", "foo0") if contains([below], path)] == [
        "foo/a",
        "foo/z/z",
    ]
    assert contains([PathRange.of_directory("")], "anything")


@given(texts, texts)
def test_nothing_lies_between_a_path_and_its_successor(path, other):
    assert path < successor(path)
    assert not path < other < successor(path)
    assert contains([PathRange.of_path(path)], other) == (path == other)


@given(st.lists(st.builds(PathRange, texts, st.none() | texts), max_size=6), texts)
def test_merged_ranges_hold_the_same_paths_and_do_not_touch(ranges, path):
    ranges = [piece for piece in ranges if piece.end is None or piece.start < piece.end]
    merged = merge_ranges(ranges)
    inside = any(piece.start <= path and (piece.end is None or path < piece.end) for piece in ranges)
    assert contains(merged, path) == inside
    for left, right in pairwise(merged):
        assert left.end is not None
        assert left.end < right.start


@given(st.lists(texts, unique=True), st.builds(PathRange, texts, st.none() | texts))
def test_the_rows_of_a_range_are_found_by_bisection(paths, piece):
    paths.sort()
    first, stop = piece.rows_of(paths)
    assert paths[first:stop] == [
        path for path in paths if piece.start <= path and (piece.end is None or path < piece.end)
    ]
