import threading

import pytest

from versioned_io.errors import InvalidInputError
from versioned_io.formats import arrow_tables as tables

pa = pytest.importorskip("pyarrow")

# Parquet of an older Arrow holds fewer types as they are; the others then take another format.
OLDER = int(pa.__version__.partition(".")[0]) < 26

TYPES_IN_PARQUET = [
    pa.int8(),
    pa.float16(),
    pa.bool_(),
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.binary(3),
    pa.date32(),
    pa.date64(),
    pa.time32("s"),
    pa.timestamp("s"),
    pa.timestamp("ns", "UTC"),
    pa.duration("s"),
    pa.decimal128(5, 2),
    pa.decimal256(50, 3),
    pa.null(),
    pa.dictionary(pa.int8(), pa.string()),
    pa.list_(pa.int32()),
    pa.list_(pa.float32(), 3),
    pa.struct([("a", pa.int8())]),
    pa.map_(pa.string(), pa.int8()),
    pa.uuid(),
]
TYPES_IN_IPC = [pa.month_day_nano_interval(), pa.dictionary(pa.int8(), pa.int64()), pa.struct([])]


def table_of(type_):
    return pa.table({"x": pa.array([None, None], type=type_)}, metadata={"source": "a test"})


def assert_same(found, expected):
    assert type(found) is type(expected)
    assert found.schema.equals(expected.schema, check_metadata=True)
    assert found.equals(expected)


@pytest.mark.parametrize("type_", TYPES_IN_PARQUET, ids=str)
def test_a_table_comes_back_exactly_from_parquet(objects, type_):
    stored = objects.save(table_of(type_))
    assert OLDER or (stored.format, stored.path, stored.rows) == ("arrow-parquet", "2012-01/data.parquet", 2)
    assert_same(objects.load(allow_pickle=False), table_of(type_))


@pytest.mark.parametrize("type_", TYPES_IN_IPC, ids=str)
def test_a_table_that_parquet_would_change_comes_back_exactly_from_arrow(objects, type_):
    stored = objects.save(table_of(type_))
    assert (stored.format, stored.path) == ("arrow-ipc", "2012-01/data.arrow")
    assert_same(objects.load(allow_pickle=False), table_of(type_))


@pytest.mark.parametrize(
    "table",
    [
        pa.table({}),
        pa.table({"a": pa.array([], pa.int8())}),
        pa.table([[1], [2]], names=["a", "a"]),
        pa.table({"a": [1, 2]}).slice(1),
        pa.record_batch({"a": [1, 2]}),
        pa.record_batch({"a": pa.array([], pa.string())}),
    ],
    ids=["nothing", "no rows", "twice", "slice", "batch", "empty batch"],
)
def test_odd_tables_come_back_exactly(objects, table):
    objects.save(table)
    assert_same(objects.load(allow_pickle=False), table)


def test_a_time_that_is_too_large_for_parquet_is_stored_in_arrow(objects):
    """Arrow's writer of Parquet ended the process, if the column also had a null."""
    table = pa.table({"at": pa.array([2**62, None], pa.timestamp("s"))})
    assert objects.save(table).format == "arrow-ipc"
    assert objects.load().equals(table)


def test_how_a_table_is_cut_into_chunks_does_not_change_its_bytes(objects):
    whole = pa.table({"a": list(range(1000)), "b": [str(number % 7) for number in range(1000)]})
    parts = pa.concat_tables([whole.slice(0, 300), whole.slice(300)])
    assert objects.save(whole) == objects.save(parts)


@pytest.mark.parametrize("source", ["pandas", "polars", "arrow"])
@pytest.mark.parametrize("container", ["parquet", "ipc"])
def test_a_table_of_one_library_is_read_as_that_of_another(objects, source, container):
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    sources = {"pandas": table.to_pandas(), "polars": pl.from_arrow(table), "arrow": table}
    assert objects.save(sources[source], format=container).format == f"{source}-{container}"
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    as_pandas = objects.load(pd.DataFrame, allow_pickle=False)
    assert type(as_pandas) is pd.DataFrame
    assert as_pandas.to_dict("list")["a"] == [1, 2]
    assert objects.load(pl.DataFrame).to_dicts() == rows
    assert objects.load(pl.LazyFrame).collect().to_dicts() == rows
    assert objects.load(pa.Table).to_pylist() == rows
    assert type(objects.load(pl.DataFrame | None)) is pl.DataFrame
    assert type(objects.load()) is type(sources[source])
    assert type(objects.load(pd.DataFrame | pl.DataFrame | pa.Table)) is type(sources[source])


@pytest.mark.parametrize("hint", [dict, str, "pandas.Series"])
def test_a_table_is_refused_as_anything_else(objects, hint):
    if hint == "pandas.Series":
        hint = pytest.importorskip("pandas").Series
    objects.save(pa.table({"a": [1]}))
    with pytest.raises(InvalidInputError, match=r"holds a pyarrow.Table \(arrow-parquet\), which can't be read as"):
        objects.load(hint)


def test_a_pickled_table_is_not_converted(objects):
    pl = pytest.importorskip("polars")
    pd = pytest.importorskip("pandas")
    objects.save(pd.DataFrame({"a": [[1], [2]]}))
    with pytest.raises(InvalidInputError, match=r"holds a pandas.DataFrame \(pickle\).* as polars.DataFrame"):
        objects.load(pl.DataFrame)


class Watched(bytes):
    """Bytes that note which thread lets go of them."""

    def __del__(self):
        LET_GO_IN.add(threading.get_ident())


LET_GO_IN = set()


def test_reading_parquet_lets_go_of_the_content_in_this_thread():
    """Every other time it was a thread of Arrow's, after the table was there; at the interpreter's exit that aborts."""
    table = pa.table({f"c{number}": [float(row) for row in range(2000)] for number in range(6)})
    content = tables.write_parquet(table).to_pybytes()
    LET_GO_IN.clear()
    for _ in range(300):
        assert tables.read_parquet(Watched(content)).num_rows == 2000
    assert {threading.get_ident()} == LET_GO_IN
