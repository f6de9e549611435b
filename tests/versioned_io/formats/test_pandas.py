import datetime as dt
import decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from versioned_io.errors import InvalidInputError

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

# Parquet of an older Arrow holds fewer types as they are; the others then take another format.
OLDER = int(pa.__version__.partition(".")[0]) < 26
pdst = pytest.importorskip("hypothesis.extra.pandas")

FROM_SESSION = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40, deadline=None
)


def frame_with_attrs(attrs):
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = attrs
    return frame


AS_PARQUET = {
    "plain": pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [1.5, np.nan], "d": [True, False]}),
    "object text": pd.DataFrame({"a": pd.Series(["x", None, "y"], dtype=object)}),
    "object integers": pd.DataFrame({"a": pd.Series([1, 2], dtype=object)}),
    "object integers with holes": pd.DataFrame({"a": pd.Series([1, None, 2], dtype=object)}),
    "object booleans": pd.DataFrame({"a": pd.Series([True, None], dtype=object)}),
    "small numbers": pd.DataFrame({"a": np.array([1], "i1"), "b": np.array([1], "u2"), "c": np.array([1], "f2")}),
    "largest number": pd.DataFrame({"a": np.array([2**64 - 1], "u8")}),
    "seconds": pd.DataFrame({"a": np.array(["2012-01-01", "NaT"], dtype="datetime64[s]")}),
    "nanoseconds": pd.DataFrame({"a": np.array(["2012-01-01T00:00:00.123456789"], dtype="datetime64[ns]")}),
    "time zone": pd.DataFrame({"a": pd.date_range("2020", periods=2, tz="Europe/Paris")}),
    "UTC": pd.DataFrame({"a": pd.to_datetime(["2020-01-01", None], utc=True)}),
    "durations": pd.DataFrame({"a": pd.to_timedelta([1, 2], unit="s")}),
    "index of dates": pd.DataFrame({"a": [1, 2]}, index=pd.date_range("2020", periods=2)),
    "index of months": pd.DataFrame({"a": [1, 2]}, index=pd.date_range("2020", periods=2, freq="MS", name="month")),
    "index of durations": pd.DataFrame({"a": [1, 2]}, index=pd.to_timedelta([1, 5], unit="h")),
    "index of text": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["u", "v"], name="n")),
    "index of ranges": pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(5, 9, 2, name="k")),
    "index of periods": pd.DataFrame({"a": [1, 2]}, index=pd.period_range("2020", periods=2, freq="M")),
    "index of levels": pd.DataFrame(
        {"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["x", None])
    ),
    "columns of integers": pd.DataFrame({0: [1], 1: [2]}),
    "columns of levels": pd.DataFrame(
        [[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["q", "r"])
    ),
    "named columns": pd.DataFrame({"a": [1]}).rename_axis(columns="what"),
    "categories": pd.DataFrame({"a": pd.Categorical(["x", None], categories=["z", "x"], ordered=True)}),
    "nullable": pd.DataFrame(
        {
            "a": pd.array([1, None], dtype="Int64"),
            "b": pd.array([True, None], dtype="boolean"),
            "f": pd.array([1.5, None], dtype="Float64"),
        }
    ),
    "arrow types": pd.DataFrame({"a": pd.array([1, None], dtype="int64[pyarrow]")}),
    "periods": pd.DataFrame({"a": pd.period_range("2020", periods=2, freq="M")}),
    "intervals": pd.DataFrame({"a": pd.interval_range(0, 2)}),
    "dates": pd.DataFrame({"a": [dt.date(2020, 1, 1), None]}),
    "times": pd.DataFrame({"a": [dt.time(1, 2)]}),
    "decimals": pd.DataFrame({"a": [decimal.Decimal("1.20"), decimal.Decimal("3.00")]}),
    "bytes": pd.DataFrame({"a": [b"x", b""]}),
    "nothing": pd.DataFrame(),
    "no columns": pd.DataFrame(index=[1, 2, 3]),
    "no rows": pd.DataFrame({"a": pd.Series([], dtype="i1"), "b": pd.Series([], dtype="str")}),
    "attrs": frame_with_attrs({"unit": "mm", "sources": ["a", "b"]}),
}
AS_IPC = {
    "categories of integers": pd.DataFrame({"a": pd.Categorical([1, 2], categories=[3, 2, 1])}),
    "unused categories without rows": pd.DataFrame({"a": pd.Categorical([], categories=["z", "x"])}),
}
AS_PICKLE = {
    "lists": pd.DataFrame({"a": [[1], [2, 3]]}),
    "dictionaries": pd.DataFrame({"a": [{"x": 1}, {"y": 2}]}),
    "mixed": pd.DataFrame({"a": [1, "x"]}),
    "complex": pd.DataFrame({"a": [1j]}),
    "big-endian": pd.DataFrame({"a": np.array([1, 2], dtype=">i4")}),
    "sparse": pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}),
    "twice": pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "columns of two types": pd.DataFrame([[1, 2]], columns=["a", 1]),
    "datetimes as objects": pd.DataFrame({"a": pd.Series([dt.datetime(2020, 1, 1, tzinfo=dt.UTC)], dtype=object)}),
    "text of NumPy": pd.DataFrame({"a": pd.Series([np.str_("q")], dtype=object)}),
    "attrs with a tuple": frame_with_attrs({"a": (1, 2)}),
    "attrs with an object": frame_with_attrs({"a": object}),
    "sets": pd.DataFrame({"a": [{1, 2}]}),
    "unique labels": pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
}


def assert_same(found, expected):
    assert type(found) is type(expected)
    check = pd.testing.assert_frame_equal if isinstance(expected, pd.DataFrame) else pd.testing.assert_series_equal
    check(found, expected, check_exact=True, check_freq=True)
    assert found.attrs == expected.attrs
    assert found.flags == expected.flags


@pytest.mark.parametrize("name", AS_PARQUET)
def test_a_frame_comes_back_exactly_from_parquet(objects, name):
    frame = AS_PARQUET[name]
    stored = objects.save(frame)
    assert OLDER or (stored.format, stored.path, stored.rows) == ("pandas-parquet", "2012-01/data.parquet", len(frame))
    assert_same(objects.load(allow_pickle=OLDER), frame)


@pytest.mark.parametrize("name", AS_IPC)
def test_a_frame_that_parquet_would_change_comes_back_exactly_from_arrow(objects, name):
    frame = AS_IPC[name]
    stored = objects.save(frame)
    assert (stored.format, stored.path) == ("pandas-ipc", "2012-01/data.arrow")
    assert "Parquet" in objects.snapshot().stat(stored.path).attributes["fallback_reason"]
    assert_same(objects.load(allow_pickle=False), frame)


@pytest.mark.parametrize("name", AS_PICKLE)
def test_a_frame_that_arrow_would_change_comes_back_exactly_from_a_pickle(objects, name):
    frame = AS_PICKLE[name]
    found, format_name = objects.round_trip(frame)
    assert format_name == "pickle"
    assert_same(found, frame)


def test_a_frame_that_parquet_would_change_is_refused_when_only_parquet_will_do(objects):
    with pytest.raises(
        InvalidInputError, match=r"a pandas.DataFrame can't be stored as 'parquet': .*column 'a'.*change"
    ):
        objects.save(AS_PICKLE["lists"], format="parquet")


def test_why_a_frame_is_pickled_is_the_same_in_every_process(objects):
    frame = pd.DataFrame({"a": [object()]})
    stored = objects.save(pd.DataFrame({"a": [1, object]}))
    reason = objects.snapshot().stat(stored.path).attributes["fallback_reason"]
    assert "0x" not in reason
    with pytest.raises(InvalidInputError):
        objects.save(frame, format="parquet")


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1, 2], name="n"),
        pd.Series(["a", None]),
        pd.Series([1.5], index=pd.Index(["x"], name="key"), name="v"),
        pd.Series(pd.Categorical(["b"], categories=["a", "b"])),
        pd.Series([], dtype="f8", name=""),
    ],
    ids=lambda series: f"{series.dtype} {series.name}",
)
def test_a_series_comes_back_as_a_series(objects, series):
    found, format_name = objects.round_trip(series)
    assert format_name == "pandas-parquet"
    assert_same(found, series)


def test_a_series_whose_name_is_no_text_is_pickled(objects):
    found, format_name = objects.round_trip(pd.Series([1], name=5))
    assert format_name == "pickle"
    assert found.name == 5


def test_a_subclass_is_pickled(objects):
    found, format_name = objects.round_trip(Weather({"rain": [1]}))
    assert format_name == "pickle"
    assert type(found) is Weather


class Weather(pd.DataFrame):
    @property
    def _constructor(self):
        return Weather


@FROM_SESSION
@given(
    pdst.data_frames(
        [
            pdst.column("i", dtype="i4"),
            pdst.column("f", dtype="f8"),
            pdst.column("t", dtype="datetime64[ns]"),
            pdst.column("s", elements=st.text(max_size=5), dtype=object),
            pdst.column("o", elements=st.none() | st.integers(-5, 5) | st.text(max_size=3), dtype=object),
        ],
        index=pdst.range_indexes(max_size=5) | pdst.indexes(dtype="i8", max_size=5, unique=False),
    )
)
def test_property_every_frame_comes_back_and_equal_frames_give_equal_bytes(objects, frame):
    stored = objects.save(frame)
    if stored.format != "pickle":
        assert objects.save(frame.copy()) == stored
    assert_same(objects.load(), frame)


def test_the_file_is_parquet_in_one_row_group_that_any_reader_reads(objects, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    stored = objects.save(pd.DataFrame({"a": range(2_000_000)}))
    objects.snapshot().checkout(tmp_path, "2012-01")
    file = pq.ParquetFile(tmp_path / "data.parquet")
    assert file.metadata.num_row_groups == 1
    assert stored.rows == 2_000_000
    assert pd.read_parquet(tmp_path / "data.parquet")["a"].iloc[-1] == 1_999_999


def test_inserted_rows_store_a_small_part_of_the_table_again(objects):
    numbers = np.random.default_rng(1).integers(0, 1 << 60, 1_000_000)
    objects.save(pd.DataFrame({"a": numbers}))
    first = objects.snapshot().commit.stats.bytes_stored
    objects.save(pd.DataFrame({"a": np.insert(numbers, 500_000, [1, 2, 3])}))
    assert objects.snapshot().commit.stats.bytes_stored < 0.3 * first
