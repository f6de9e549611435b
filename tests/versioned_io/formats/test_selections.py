"""Columns and rows of tables, pushed down to the reader where the format allows it."""

import datetime as dt
import io
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versioned_io.errors import InvalidInputError
from versioned_io.formats import Selection, load_object, save_object, select_part
from versioned_io.formats.selected_rows import read_selected, select_from_table

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

DATA = {
    "city": ["oslo", "rome", "bern"],
    "rain": [3, 4, None],
    "day": [dt.date(2024, 1, day) for day in (1, 2, 3)],
}
ARROW = pa.table(DATA)
WET = Selection.parse(["rain", "city"], [("rain", ">=", 4)])
FRAMES = {"pandas": pd.DataFrame(DATA), "polars": pl.DataFrame(DATA), "lazy": pl.LazyFrame(DATA), "arrow": ARROW}
KINDS = [pd.DataFrame, pl.DataFrame, pl.LazyFrame, pa.Table]


def load(objects, selection, hint=None):
    return load_object(
        objects.snapshot(), objects.stem, type_hint=hint, selection=selection, plain=True, allow_pickle=True
    )


def rows_of(table):
    if isinstance(table, pl.LazyFrame):
        table = table.collect()
    if isinstance(table, pd.DataFrame):
        return table.to_dict("list")
    return table.to_dict(as_series=False) if isinstance(table, pl.DataFrame) else table.to_pydict()


@pytest.mark.parametrize("stored", FRAMES)
@pytest.mark.parametrize("hint", [None, *KINDS])
def test_a_part_of_a_stored_table_comes_as_any_kind_of_table(objects, stored, hint):
    objects.save(FRAMES[stored])
    found = load(objects, WET, hint)
    assert isinstance(found, hint or type(FRAMES[stored]))
    assert rows_of(found) == {"rain": [4], "city": ["rome"]}


@pytest.mark.parametrize("hint", KINDS)
@pytest.mark.parametrize("extension", [".parquet", ".csv"])
def test_a_part_of_a_committed_file_comes_as_any_kind_of_table(objects, hint, extension):
    content = b"city,rain\noslo,3\nrome,4\nbern,\n"
    if extension == ".parquet":
        sink = io.BytesIO()
        pq.write_table(ARROW, sink)
        content = sink.getvalue()
    with objects.store.transaction(objects.branch) as tx:
        tx.write(objects.stem + extension, content)
    found = load(objects, WET, hint)
    assert isinstance(found, hint)
    assert rows_of(found) == {"rain": [4], "city": ["rome"]}


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ([("city", "==", "oslo")], ["oslo"]),
        ([("city", "=", "oslo")], ["oslo"]),
        ([("city", "!=", "oslo")], ["rome", "bern"]),
        ([("city", "in", ["oslo", "bern"])], ["oslo", "bern"]),
        ([("city", "not in", ["oslo"])], ["rome", "bern"]),
        ([("rain", "<", 4)], ["oslo"]),
        ([("rain", "!=", 4)], ["oslo"]),
        ([("rain", ">", 2), ("day", ">", dt.date(2024, 1, 1))], ["rome"]),
        ([[("rain", "<=", 3)], [("day", "==", dt.date(2024, 1, 3))]], ["oslo", "bern"]),
        ([("city", "==", "paris")], []),
    ],
)
@pytest.mark.parametrize("stored", FRAMES)
def test_filters_mean_what_they_mean_to_pyarrow(objects, stored, filters, kept):
    objects.save(FRAMES[stored])
    selection = Selection.parse(["city"], filters)
    assert rows_of(load(objects, selection)) == {"city": kept}
    assert rows_of(select_part(FRAMES[stored], selection, "x")) == {"city": kept}
    assert ARROW.filter(pq.filters_to_expression(filters)).column("city").to_pylist() == kept


class Counting(io.BytesIO):
    read_bytes = 0

    def read(self, size=-1):
        found = super().read(size)
        self.read_bytes += len(found)
        return found


def test_columns_and_row_groups_that_are_not_needed_are_not_read():
    table = pa.table({"n": list(range(1000)), "blob": [bytes([n % 251]) * 1000 for n in range(1000)], "m": [0] * 1000})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=100, compression=None, use_dictionary=False)
    file = Counting(sink.getvalue())
    assert read_selected(file, Selection.parse(["n"], None), "x").num_rows == 1000
    assert file.read_bytes < 100_000
    file = Counting(sink.getvalue())
    found = read_selected(file, Selection.parse(None, [("n", ">=", 950)]), "x")
    assert found.column("n").to_pylist() == list(range(950, 1000))
    assert 100_000 < file.read_bytes < 300_000


VALUES = st.none() | st.floats(width=32) | st.integers(-3, 3).map(float)
CONDITIONS = st.tuples(
    st.just("n"), st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), st.integers(-3, 3)
) | st.tuples(st.just("n"), st.sampled_from(["in", "not in"]), st.lists(st.integers(-3, 3).map(float), max_size=3))


@given(st.lists(VALUES, min_size=1, max_size=12), st.lists(st.lists(CONDITIONS, min_size=1, max_size=2), min_size=1))
def test_the_rows_are_those_that_pyarrow_keeps(values, filters):
    table = pa.table({"n": pa.array(values, pa.float64()), "row": list(range(len(values)))})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=3)
    sink.seek(0)
    found = read_selected(sink, Selection.parse(["row"], filters), "x")
    assert found.equals(table.filter(pq.filters_to_expression(filters)).select(["row"]))


def test_a_pandas_index_stays_with_its_rows(objects):
    when = pd.date_range("2024-01-01", periods=3, name="when")
    frame = pd.DataFrame({"a": [1, 2, 3], "c": pd.Series([4, None, 6], dtype=object, index=when)}, index=when)
    assert objects.save(frame).format == "pandas-parquet"
    found = load(objects, Selection.parse(["c"], [("a", "!=", 2)]))
    pd.testing.assert_frame_equal(found, frame[["c"]].iloc[[0, 2]], check_freq=False)
    assert found["c"].dtype == object
    assert rows_of(load(objects, Selection.parse(["a"], [("when", ">", when[1])]))) == {"a": [3]}
    pd.testing.assert_frame_equal(load(objects, Selection.parse(["a"], None)), frame[["a"]])


def test_a_selection_of_a_pickled_frame_and_of_an_ipc_file_is_made_in_memory(objects):
    frame = pd.DataFrame({"a": [1, 2], "odd": [object, {1, 2}]})
    assert objects.save(frame).format == "pickle"
    assert rows_of(load(objects, Selection.parse(["a"], [("a", ">", 1)]))) == {"a": [2]}
    with pytest.raises(InvalidInputError, match="odd"):
        load(objects, Selection.parse(["a"], [("odd", "==", 1)]))
    with objects.store.transaction(objects.branch) as tx:
        save_object(tx, objects.stem, ARROW, format="arrow-ipc")
    assert rows_of(load(objects, WET)) == {"rain": [4], "city": ["rome"]}


def test_a_default_index_of_pandas_is_numbered_from_0_wherever_the_frame_is(objects):
    frame = pd.DataFrame({"a": [1, 2, 3]})
    objects.save(frame)
    selection = Selection.parse(None, [("a", ">", 1)])
    for found in (load(objects, selection), select_part(frame, selection, "x")):
        pd.testing.assert_frame_equal(found, pd.DataFrame({"a": [2, 3]}))


def test_labels_of_pandas_that_are_numbers_are_named_by_their_text():
    frame = pd.DataFrame({1: [1, 2], 2: [3, 4]})
    found = select_part(frame, Selection.parse(["2"], [("1", ">", 1)]), "x")
    assert found.to_dict("list") == {2: [4]}


def test_two_columns_of_one_name_are_refused(objects):
    table = pa.table([[1], [2], [3]], names=["a", "a", "b"])
    sink = io.BytesIO()
    pq.write_table(table, sink)
    assert read_selected(sink, Selection.parse(["b"], None), "x").to_pydict() == {"b": [3]}
    for wanted in (
        Selection.parse(["a"], None),
        Selection.parse(["b"], [("a", "==", 1)]),
        Selection.parse(None, [("b", "==", 3)]),
    ):
        with pytest.raises(InvalidInputError, match="'x' has two columns 'a'"):
            read_selected(sink, wanted, "x")
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(InvalidInputError, match="'x' has two columns 'a'"):
        select_part(twice, Selection.parse(["a"], None), "x")


def in_parquet_and_in_memory(table, condition):
    """Return the kept rows, which must be the same whether statistics exclude row groups or not."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    selection = Selection.parse(None, [condition])
    found = read_selected(sink, selection, "x")
    assert repr(found.to_pylist()) == repr(select_from_table(table, selection, "x").to_pylist())
    return found.num_rows


SUMMER = dt.datetime(2024, 7, 1)  # noqa: DTZ001 (a column without a time zone)
FAR_DAY = pa.array([10**7, 5], pa.int32()).cast(pa.date32())


@pytest.mark.parametrize(
    ("column", "condition", "kept"),
    [
        (pa.array([Decimal("0.10")]), ("x", "==", 0.1), 1),
        (pa.array([Decimal("0.10")]), ("x", "<=", 0.1), 1),
        (pa.array([Decimal("0.10")]), ("x", "in", [Decimal("0.1")]), 1),
        (pa.array([0.1], pa.float32()), ("x", "in", [0.1]), 1),
        (pa.array([1.0, float("nan")]), ("x", "in", [float("nan")]), 1),
        (pa.array([1.0, None]), ("x", "in", [None]), 1),
        (FAR_DAY, ("x", "<", dt.date(2024, 1, 1)), 1),
        (pa.array([2**48, 5], pa.timestamp("ms")), ("x", "<", SUMMER), 1),
        (pa.array([1500], pa.time64("ns")), ("x", ">", dt.time(0, 0, 0, 1)), 1),
        (pa.array([SUMMER], pa.timestamp("us", "Europe/Oslo")), ("x", "==", SUMMER.replace(tzinfo=dt.UTC)), 1),
    ],
)
def test_statistics_exclude_no_row_that_passes(column, condition, kept):
    assert in_parquet_and_in_memory(pa.table({"x": column}), condition) == kept


def test_a_name_with_a_dot_is_not_a_field_of_another_column():
    table = pa.table({"a.b": [1, 2], "a": [{"b": 50}, {"b": 60}]})
    assert in_parquet_and_in_memory(table, ("a.b", "==", 1)) == 1


@pytest.mark.parametrize(
    ("column", "condition"),
    [
        (pa.array([1]), ("x", "in", [1.5])),
        (pa.array([dt.date(2024, 7, 1)]), ("x", "in", [SUMMER.replace(hour=15)])),
        (pa.array([SUMMER]), ("x", "in", [SUMMER.replace(tzinfo=dt.UTC)])),
        (pa.array([SUMMER], pa.timestamp("us", "UTC")), ("x", "in", [SUMMER])),
        (pa.array([Decimal("0.10")]), ("x", "<", Decimal("NaN"))),
        (pa.array([1, 2]), ("x", "==", pd.Series([1, 2]).to_numpy())),
    ],
)
def test_a_value_that_no_cell_can_have_is_refused(column, condition):
    with pytest.raises(InvalidInputError, match=r"column 'x' of 'x' has the type .*can't be compared"):
        in_parquet_and_in_memory(pa.table({"x": column}), condition)


def test_categories_are_compared_by_their_values(objects):
    objects.save(pd.DataFrame({"a": pd.Categorical(["x", "y", "x"])}))
    assert rows_of(load(objects, Selection.parse(None, [("a", "==", "x")]))) == {"a": ["x", "x"]}
    assert rows_of(load(objects, Selection.parse(None, [("a", "in", ["y"])]))) == {"a": ["y"]}


@pytest.mark.parametrize("stored", FRAMES)
@pytest.mark.parametrize("wanted", [{"columns": ["town"]}, {"filters": [("town", "==", 1)]}])
def test_an_unknown_column_is_named_with_those_that_exist(objects, stored, wanted):
    objects.save(FRAMES[stored])
    selection = Selection.parse(wanted.get("columns"), wanted.get("filters"))
    with pytest.raises(InvalidInputError, match=r"data\.parquet' has no column 'town'.*'city', 'rain', 'day'"):
        load(objects, selection)
    with pytest.raises(InvalidInputError, match=r"no column 'town'"):
        select_part(FRAMES[stored], selection, "x")


@pytest.mark.parametrize("value", [1, "2024-01-01", b"x", ["a"]])
def test_a_value_that_does_not_fit_the_column_is_named(objects, value):
    objects.save(ARROW)
    operator = "in" if isinstance(value, list) else ">"
    with pytest.raises(
        InvalidInputError, match=r"column 'day' of '2012-01/data\.parquet' has the type date32.*can't be"
    ):
        load(objects, Selection.parse(None, [("day", operator, value)]))


def test_of_none_there_is_no_part(objects):
    objects.save(None)
    assert load(objects, WET) is None


@pytest.mark.parametrize("value", [{"a": 1}, "text", b"bytes"])
def test_a_value_that_is_not_a_table_is_refused(objects, value):
    objects.save(value)
    with pytest.raises(InvalidInputError, match="columns and filters need a table"):
        load(objects, WET)


def test_a_series_has_no_columns_to_choose_but_rows(objects):
    objects.save(pd.Series([1, 2, 3], name="n"))
    assert list(load(objects, Selection.parse(None, [("n", ">", 1)]))) == [2, 3]
    with pytest.raises(InvalidInputError, match="leave columns out"):
        load(objects, Selection.parse(["n"], None))


@pytest.mark.parametrize(
    ("columns", "filters"),
    [
        ("city", None),
        ([], None),
        (["a", "a"], None),
        ([1], None),
        (None, []),
        (None, "a > 1"),
        (None, [("a", "~", 1)]),
        (None, [("a", ">")]),
        (None, [("a", "in", "xy")]),
        (None, [("a", "==", ["x"])]),
        (None, [("a", "==", None)]),
        (None, [[]]),
        (None, ("a", "==", 1)),
        (None, pc.field("a") > 1),
    ],
)
def test_another_form_is_refused_with_the_right_one(columns, filters):
    with pytest.raises(InvalidInputError, match=r"write (columns|filters)="):
        Selection.parse(columns, filters)


def test_no_selection_is_the_whole_table(objects):
    objects.save(ARROW)
    assert not Selection.parse(None, None)
    assert load(objects, Selection()).equals(ARROW)
