"""The filter of touched paths: a no is certain, a yes nearly so."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versioned_io.storage.pages import touched as module
from versioned_io.storage.pages.touched import MOST_ENTRIES, PathProbe, touched_filter

PATHS = st.lists(
    st.text("abc/é", min_size=1, max_size=12).map(lambda text: text.strip("/") or "a"), max_size=40, unique=True
)


def may_have_touched(touched, path):
    return PathProbe(path).may_be_in(touched)


def column(paths):
    return pa.array(paths, pa.string())


@given(PATHS, PATHS)
def test_what_was_touched_and_the_directories_that_it_is_in_are_never_denied(paths, whole):
    touched = touched_filter(column(paths), whole)
    for path in [*paths, *whole, *(f"{directory}/below/it" for directory in whole)]:
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            assert may_have_touched(touched, "/".join(parts[:count]))


@given(PATHS, PATHS)
def test_nothing_touched_is_denied_where_directories_stand_for_paths(paths, whole):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_ENTRIES", 5)
        test_what_was_touched_and_the_directories_that_it_is_in_are_never_denied.hypothesis.inner_test(paths, whole)


def test_what_was_not_touched_is_nearly_always_denied():
    touched = touched_filter(column([f"region/day={number}/part.csv" for number in range(200)]))
    wrong = sum(may_have_touched(touched, f"other/day={number}/part.csv") for number in range(5_000))
    assert wrong < 5_000 * 0.02
    assert not may_have_touched(touched_filter(column([])), "a")


def test_a_directory_that_was_touched_as_a_whole_says_nothing_of_its_neighbours():
    touched = touched_filter(column(["a/one"]), ["b/gone"])
    assert may_have_touched(touched, "b/gone/anything/below")
    assert not may_have_touched(touched, "b/other")
    assert not may_have_touched(touched, "a/two")
    assert may_have_touched(touched_filter(column([]), [""]), "anything/at/all")


def test_of_very_many_paths_the_filter_knows_the_directories_and_is_small():
    touched = touched_filter(column([f"day={number % 100}/part-{number}.csv" for number in range(50_000)]))
    assert len(touched) <= MOST_ENTRIES * 10 // 8
    assert may_have_touched(touched, "day=7/part-7.csv")
    wrong = sum(may_have_touched(touched, f"other={number}/part.csv") for number in range(5_000))
    assert wrong < 5_000 * 0.05
    everything = touched_filter(column([f"directory-{number}/part.csv" for number in range(MOST_ENTRIES + 1)]))
    assert may_have_touched(everything, "anything")


def test_where_nothing_is_known_everything_may_be():
    assert may_have_touched(None, "a")
    assert may_have_touched(touched_filter(column(["a"])), "")


@given(st.lists(PATHS, max_size=8), PATHS)
def test_a_probe_says_of_each_of_many_filters_what_a_new_one_says(many, asked):
    filters = [None, *(touched_filter(column(paths), paths[:1]) for paths in many)]
    for path in ["", *asked]:
        probe = PathProbe(path)
        assert [probe.may_be_in(one) for one in filters] == [may_have_touched(one, path) for one in filters]
