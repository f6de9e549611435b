"""Arrow arrays from buffers, without pandas."""

from array import array

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versioned_io.columns import (
    bool_column,
    fixed_column,
    fixed_column_of,
    number_column,
    optional_text_column,
    text_column,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


def check(found: pa.Array, expected: pa.Array) -> None:
    found.validate(full=True)
    assert found.equals(expected)
    assert found.type == expected.type


@given(st.lists(TEXT))
def test_text_is_what_arrow_makes_of_it(values):
    check(text_column(values), pa.array(values, pa.string()))


@given(st.lists(st.none() | TEXT))
def test_text_that_may_be_missing_is_null_there(values):
    check(optional_text_column(values), pa.array(values, pa.string()))


@given(st.lists(st.binary(min_size=3, max_size=3)))
def test_binary_values_of_one_width_lie_one_after_the_other(values):
    check(fixed_column(values, 3), pa.array(values, pa.binary(3)))
    check(fixed_column_of(b"".join(values), 3), pa.array(values, pa.binary(3)))


@pytest.mark.parametrize("kind", [pa.uint32(), pa.int64(), pa.uint64()])
@given(values=st.lists(st.integers(0, 2**32 - 1)))
def test_numbers_keep_their_type(values, kind):
    check(number_column(values, kind), pa.array(values, kind))
    check(number_column(array("L", values), kind), pa.array(values, kind))


@given(st.lists(st.booleans()))
def test_claims_are_bits(values):
    check(bool_column(values), pa.array(values, pa.bool_()))
