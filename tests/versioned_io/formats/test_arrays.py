import io

import pytest
from hypothesis import HealthCheck, given, settings

from versioned_io.errors import InvalidInputError

np = pytest.importorskip("numpy")
npst = pytest.importorskip("hypothesis.extra.numpy")

ARRAYS = [
    np.arange(12).reshape(3, 4),
    np.asfortranarray(np.arange(12).reshape(3, 4)),
    np.arange(24).reshape(4, 6)[::2, ::3],
    np.array(5.5),
    np.zeros((0, 3)),
    np.array(["a", "bcd"]),
    np.array(["2012-01-01", "NaT"], dtype="M8[D]"),
    np.array([1, 2], dtype=">i4"),
    np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
    np.array([True, False]),
    np.array([np.nan, np.inf, -0.0], dtype="f2"),
    np.array([1 + 2j]),
    np.array([b"a\0b"], dtype="S3"),
    np.zeros(2, dtype=[("日", "i4")]),
    np.zeros(2, dtype=[(f"field {number}", "i1") for number in range(5000)]),
]


def assert_same(found, array):
    assert type(found) is np.ndarray
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()
    assert found.flags.writeable


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}"[:20])
def test_an_array_comes_back_equal_from_an_npy_file(objects, array):
    stored = objects.save(array)
    assert (stored.format, stored.path) == ("numpy", "2012-01/data.npy")
    assert_same(objects.load(np.ndarray, allow_pickle=False), array)
    assert_same(np.load(io.BytesIO(objects.content(stored)), allow_pickle=False, max_header_size=200_000), array)


def test_an_array_larger_than_a_piece_comes_back_equal(objects):
    array = np.arange(2_500_000).reshape(2, -1).T
    objects.save(array)
    found = objects.load()
    assert np.array_equal(found, array)
    assert found.flags.f_contiguous


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(npst.arrays(npst.array_dtypes() | npst.scalar_dtypes(), npst.array_shapes(min_dims=0, min_side=0, max_side=4)))
def test_property_every_array_comes_back_equal(objects, array):
    first = objects.save(array)
    assert first == objects.save(array.copy())
    if first.format == "numpy":
        assert_same(objects.load(), array)


@pytest.mark.parametrize(
    "value",
    [
        np.array([{"a": 1}, None], dtype=object),
        np.array(["a", "b"], dtype=np.dtypes.StringDType()),
        np.ma.masked_array([1, 2], mask=[True, False]),
        np.array([1], dtype=np.dtype("i4", metadata={"unit": "m"})),
        np.float64(1.5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_array_that_npy_would_change_is_pickled(objects, value):
    found, format_name = objects.round_trip(value)
    assert format_name == "pickle"
    assert type(found) is type(value)
    assert repr(found) == repr(value)


def test_an_array_is_no_list(objects):
    objects.save(np.arange(3))
    with pytest.raises(InvalidInputError, match=r"holds a numpy.ndarray \(numpy\), which can't be read as list"):
        objects.load(list)
