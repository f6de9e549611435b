"""The places of a page's chunks beside those of another version of the page."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versioned_io.storage.pages.leaf_places import LeafPlaces


def places(rows):
    """Return one place for each number in *rows*."""
    column = np.array(rows, np.uint64)
    return LeafPlaces(np.stack([column, column], axis=1), column, column.astype(np.uint32))


@dataclass
class Case:
    before: list[int]
    after: list[int]
    changed: list[int]


@pytest.mark.parametrize(
    "case",
    [
        Case([], [], []),
        Case([], [1, 2], [0, 1]),
        Case([1, 2], [], []),
        Case([1, 2], [1, 3], [1]),
        Case([1, 2], [1, 3, 2], [1]),
        Case([1, 3, 2], [1, 2], []),
        Case([1, 2], [1, 2, 3], [2]),
    ],
)
def test_the_rows_that_changed(case):
    assert places(case.after).changed_since(places(case.before)).tolist() == case.changed


@given(st.lists(st.integers(0, 3), max_size=6), st.lists(st.integers(0, 3), max_size=6))
def test_every_place_that_is_new_is_among_the_changed_rows(before, after):
    changed = places(after).changed_since(places(before)).tolist()
    assert {after[row] for row in changed} >= set(after) - set(before)
