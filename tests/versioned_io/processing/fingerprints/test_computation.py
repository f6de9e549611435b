"""The fingerprint: everything that is in it changes it, and no two lists of values give the same bytes."""

import datetime as dt
import enum
import re
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versioned_io.errors import UncertainCodeError
from versioned_io.processing.fingerprints.canonical_values import canonical_text
from versioned_io.processing.fingerprints.computation import computation_digest, fingerprint, fingerprints

CODE = b"c" * 32


class Colour(enum.Enum):
    RED = 1


@dataclass(frozen=True)
class Point:
    x: int


def test_each_part_changes_the_fingerprint():
    found = [
        fingerprint(CODE, {}, "", "", b"seen"),
        fingerprint(b"d" * 32, {}, "", "", b"seen"),
        fingerprint(CODE, {"a": 1}, "", "", b"seen"),
        fingerprint(CODE, {"a": "1"}, "", "", b"seen"),
        fingerprint(CODE, {}, "a", "", b"seen"),
        fingerprint(CODE, {}, "", "a", b"seen"),
        fingerprint(CODE, {}, "", "", b"see"),
    ]
    assert len(set(found)) == 7
    assert {len(one) for one in found} == {32}


def test_the_fingerprint_of_the_format_is_frozen():
    assert (
        fingerprint(CODE, {"a": 1, "b": [2.5, None]}, "s", "e", b"x").hex()
        == "a7e341b7006dc20bb7f9451215554898dc53a20d4f143e79597a8ae41d3d4767"
    )


def test_many_fingerprints_are_the_single_ones():
    computation = computation_digest(CODE, {"b": 1, "a": 2}, "s", "e")
    assert fingerprints(computation, [b"x", b"y"]) == [
        fingerprint(CODE, {"a": 2, "b": 1}, "s", "e", seen) for seen in (b"x", b"y")
    ]


@given(st.lists(st.lists(st.text(max_size=3), max_size=3), min_size=2, max_size=2, unique_by=tuple))
def test_different_texts_give_different_digests(pair):
    left, right = ({str(at): one for at, one in enumerate(texts)} for texts in pair)
    assert computation_digest(CODE, left) != computation_digest(CODE, right)


@pytest.mark.parametrize(
    "value",
    [
        *(1, 1.0, True, None, "1", b"1", 1j, (1,), [1], {1}, frozenset([1]), {1: 1}, range(3), Colour.RED, Point(1)),
        *(dt.date(2026, 1, 1), re.compile("1"), np.array([1]), np.float32(1), float("nan"), -0.0, 0.0),
    ],
)
def test_a_value_has_a_text_of_its_own(value):
    text = canonical_text(value, "x")
    assert text == canonical_text(value, "x")
    others = [1, 1.0, True, None, "1", b"1", (1,), [1], {1}, {1: 1}, Colour.RED, Point(1), 0.0, -0.0]
    assert [repr(one) for one in others if canonical_text(one, "x") == text] in ([], [repr(value)])


def test_a_set_has_no_order_and_a_dict_has_one():
    assert canonical_text({"b", "a"}, "x") == canonical_text({"a", "b"}, "x")
    assert canonical_text({"b": 1, "a": 1}, "x") != canonical_text({"a": 1, "b": 1}, "x")


@pytest.mark.parametrize("value", [object(), open, iter([]), np.array([object()])])
def test_a_value_that_may_differ_between_processes_is_refused(value):
    with pytest.raises(UncertainCodeError, match=r"parameter 'p' is a value of type .* pass it as a parameter"):
        computation_digest(CODE, {"p": value})


def test_a_value_that_contains_itself_is_refused():
    value = []
    value.append(value)
    with pytest.raises(UncertainCodeError, match="contains itself"):
        canonical_text(value, "x")
