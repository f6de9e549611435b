"""Different things are counted as a dict counts them."""

from hypothesis import given
from hypothesis import strategies as st

from versioned_io.maintenance.size import distinct
from versioned_io.maintenance.size.distinct import DistinctSizes


def hash_of(number):
    """Return a hash of which either half may be shared with others."""
    return (number % 7).to_bytes(8, "little") + (number // 7).to_bytes(8, "little")


@given(st.lists(st.lists(st.integers(0, 60), max_size=30), max_size=12), st.sampled_from([1, 8, 1_000]))
def test_what_is_added_is_counted_once_with_its_size(batches, fewest):
    expected = {}
    counted = DistinctSizes()
    before = distinct._FEWEST_NEW
    distinct._FEWEST_NEW = fewest
    try:
        for numbers in batches:
            counted.add(b"".join(map(hash_of, numbers)), [number * 2**40 for number in numbers])
            expected |= {number: number * 2**40 for number in numbers}
    finally:
        distinct._FEWEST_NEW = before
    assert len(counted) == len(expected)
    assert counted.total() == sum(expected.values())


def test_nothing_is_nothing():
    counted = DistinctSizes()
    counted.add(b"", [])
    assert (len(counted), counted.total()) == (0, 0)
