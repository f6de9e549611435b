import datetime as dt
import decimal

import pytest

pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")
testing = pytest.importorskip("polars.testing")
plst = pytest.importorskip("polars.testing.parametric")
hypothesis = pytest.importorskip("hypothesis")

# Parquet of an older Arrow holds fewer types as they are; the others then take another format.
OLDER = int(pa.__version__.partition(".")[0]) < 26

COLUMNS = {
    "numbers": pl.Series([1, None], dtype=pl.UInt8),
    "not a number": pl.Series([1.0, float("nan"), None]),
    "categories": pl.Series(["a", "b", None], dtype=pl.Categorical),
    "choice": pl.Series(["a", None], dtype=pl.Enum(["b", "a", "c"])),
    "decimals": pl.Series([decimal.Decimal("1.2"), None], dtype=pl.Decimal(10, 2)),
    "instants": pl.Series([0, None]).cast(pl.Datetime("ns", "Europe/Paris")),
    "times": pl.Series([dt.time(1, 2)]),
    "durations": pl.Series([dt.timedelta(1)], dtype=pl.Duration("ms")),
    "lists": pl.Series([[1, 2], [], None]),
    "arrays": pl.Series([[1, 2], [3, 4], None], dtype=pl.Array(pl.Int8, 2)),
    "structures": pl.Series([{"a": 1, "b": [{"c": "x"}]}, None, {"a": None, "b": []}]),
    "lists of categories": pl.Series([["a"], ["b"], None], dtype=pl.List(pl.Categorical)),
    "nothing": pl.Series([None, None]),
    "bytes": pl.Series([b"a", None, b""]),
    "text": pl.Series(["日", None, ""]),
    "no rows": pl.Series([], dtype=pl.Datetime("us")),
    "no categories": pl.Series([], dtype=pl.Categorical),
}


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, pl.Series):
        testing.assert_series_equal(found, expected, check_exact=True)
    else:
        assert found.schema == expected.schema
        testing.assert_frame_equal(found, expected, check_exact=True)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_frame_comes_back_exactly_from_parquet(objects, name):
    frame = pl.DataFrame({name: COLUMNS[name]})
    stored = objects.save(frame)
    assert OLDER or (stored.format, stored.path, stored.rows) == (
        "polars-parquet",
        "2012-01/data.parquet",
        frame.height,
    )
    assert_same(objects.load(allow_pickle=OLDER), frame)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_series_comes_back_as_a_series(objects, name):
    series = COLUMNS[name].alias(name)
    found, _ = objects.round_trip(series)
    assert_same(found, series)


@pytest.mark.parametrize(
    "series", [pl.Series([], dtype=pl.Enum(["a", "b"])), pl.Series([{}, None], dtype=pl.Struct([]))], ids=str
)
def test_what_parquet_would_change_comes_back_exactly_from_arrow(objects, series):
    frame = pl.DataFrame({"a": series})
    found, format_name = objects.round_trip(frame)
    assert format_name == "polars-ipc"
    assert_same(found, frame)


@pytest.mark.parametrize("series", [pl.Series([1, 2], dtype=pl.Int128)], ids=str)
def test_what_arrow_would_change_comes_back_exactly_from_a_pickle(objects, series):
    frame = pl.DataFrame({"a": series})
    found, format_name = objects.round_trip(frame)
    assert format_name == "pickle"
    assert_same(found, frame)


def test_a_lazy_frame_is_collected_and_comes_back_lazy(objects):
    lazy = pl.LazyFrame({"a": [1, 2, 3]}).filter(pl.col("a") > 1)
    stored = objects.save(lazy)
    assert (stored.format, stored.rows) == ("polars-parquet", 2)
    found = objects.load(allow_pickle=False)
    assert type(found) is pl.LazyFrame
    assert found.collect()["a"].to_list() == [2, 3]


def test_how_a_frame_is_cut_into_chunks_does_not_change_its_bytes(objects):
    whole = pl.DataFrame({"a": range(1000), "b": [str(n % 7) for n in range(1000)]})
    parts = pl.concat([whole[:300], whole[300:]], rechunk=False)
    assert parts.n_chunks() == 2
    assert objects.save(whole) == objects.save(parts)


@hypothesis.settings(
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
    max_examples=40,
    deadline=None,
)
@hypothesis.given(
    plst.dataframes(
        max_cols=4,
        max_size=5,
        allow_time_zones=False,
        excluded_dtypes=[pl.Object],
        allow_null=True,
    )
)
def test_property_every_frame_comes_back_and_equal_frames_give_equal_bytes(objects, frame):
    stored = objects.save(frame)
    assert objects.save(frame.clone()) == stored
    assert_same(objects.load(), frame)
