"""The filter of touched paths: a no is certain, a yes nearly so."""

from hypothesis import given
from hypothesis import strategies as st

from versioned_io.catalog.touched import MOST_ENTRIES, may_have_touched, touched_filter

PATHS = st.lists(st.text("abc/é", min_size=1, max_size=12).map(lambda text: text.strip("/") or "a"), max_size=40)


@given(PATHS)
def test_what_was_touched_and_the_directories_that_it_is_in_are_never_denied(paths):
    touched = touched_filter(paths)
    for path in paths:
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            assert may_have_touched(touched, "/".join(parts[:count]))


def test_what_was_not_touched_is_nearly_always_denied():
    touched = touched_filter([f"region/day={number}/part.csv" for number in range(200)])
    wrong = sum(may_have_touched(touched, f"other/day={number}/part.csv") for number in range(5_000))
    assert wrong < 5_000 * 0.02
    assert not may_have_touched(touched_filter([]), "a")


def test_where_nothing_is_known_everything_may_be():
    many = touched_filter(f"{number}" for number in range(MOST_ENTRIES + 1))
    assert many is None
    assert may_have_touched(None, "a")
    assert may_have_touched(touched_filter(["a"]), "")
