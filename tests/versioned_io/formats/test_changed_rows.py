"""How many rows and which columns of a stored table changed."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versioned_io.formats import find_table_change, save_object
from versioned_io.formats.changed_rows import COMPARED_BYTES, _count_rows
from versioned_io.formats.row_batches import TableRows

pd = pytest.importorskip("pandas")


def change(objects, old, new, most_bytes=COMPARED_BYTES):
    commits = []
    for value in (old, new):
        with objects.store.transaction(objects.branch, empty="allow") as tx:
            stored = save_object(tx, objects.stem, value)
        commits.append(objects.store.snapshot(f"{objects.repo}@{tx.commit.id}"))
    return find_table_change(*commits, stored.path, most_bytes=most_bytes)


CELLS = st.sampled_from([0, 1, 2])
FLOATS = st.sampled_from([None, 0.5, float("nan")])
ROWS = st.lists(st.tuples(CELLS, st.sampled_from(["a", "b", None]), FLOATS), max_size=12)
SCHEMA = pa.schema([("n", pa.int64()), ("t", pa.string()), ("f", pa.float64())])


def rows_of(rows):
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    table = pa.table([pa.array(list(one), kind) for one, kind in zip(columns, SCHEMA.types, strict=True)], SCHEMA)
    return TableRows("x", SCHEMA, iter(table.to_batches(max_chunksize=5)))


@given(ROWS, ROWS)
def test_rows_are_compared_as_a_multiset(old, new):
    before, after = (Counter(map(repr, rows)) for rows in (old, new))
    assert _count_rows(rows_of(old), rows_of(new)) == ((after - before).total(), (before - after).total())


def test_columns_that_came_went_or_have_another_type_are_named(objects):
    old = pa.table({"city": ["oslo", "rome"], "rain": [3, 4], "temp": [1, 2]})
    new = pa.table({"city": ["oslo", "bern"], "rain": ["3", "4"], "wind": [1.0, 2.0]})
    found = change(objects, old, new)
    assert (found.rows_before, found.rows, found.rows_added, found.rows_removed) == (2, 2, 1, 1)
    assert found.columns == (("rain", "int64", "string"), ("wind", None, "double"), ("temp", "int64", None))


def test_an_equal_table_has_no_change(objects):
    table = pa.table({"n": [1, 2]})
    found = change(objects, table, table)
    assert (found.rows_added, found.rows_removed, found.columns) == (0, 0, ())


def test_tables_without_a_common_column_have_no_row_in_common(objects):
    found = change(objects, pa.table({"a": [1, 2]}), pa.table({"b": [1, 2, 3]}))
    assert (found.rows_added, found.rows_removed) == (3, 2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([[1], [2]], [[1], [3]]),
        ([{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 3}]),
        ([None, None], [None, 1]),
        ([b"x", b"y"], [b"x", b"z"]),
    ],
)
def test_any_type_of_column_is_compared(objects, old, new):
    found = change(objects, pa.table({"x": old, "y": [1, 1]}), pa.table({"x": new, "y": [1, 1]}))
    assert (found.rows_added, found.rows_removed) == (1, 1)


def test_categories_and_an_index_of_pandas_are_compared(objects):
    old = pd.DataFrame({"a": pd.Categorical(["x", "y"])}, index=["p", "q"])
    found = change(objects, old, pd.DataFrame({"a": pd.Categorical(["y", "y"])}, index=["p", "q"]))
    assert (found.rows_added, found.rows_removed, found.columns) == (1, 1, ())


def test_of_large_tables_the_columns_alone_are_compared(objects):
    old, new = pa.table({"n": [1]}), pa.table({"n": [1, 2], "m": [1, 2]})
    found = change(objects, old, new, most_bytes=10)
    assert (found.rows_before, found.rows, found.rows_added, found.rows_removed) == (1, 2, None, None)
    assert [one.name for one in found.columns] == ["m"]
    assert change(objects, old, new, most_bytes=None).columns is None


@pytest.mark.parametrize(
    "column", [pa.repeat(pa.scalar(1), 600_000), pa.repeat(pa.scalar("x" * 1000), 100_000)], ids=["numbers", "texts"]
)
def test_rows_of_small_files_that_are_large_in_memory_are_not_compared(objects, column):
    old = pa.table({"n": column})
    new = pa.table({"n": column, "m": pa.repeat(pa.scalar(True), len(column))})
    found = change(objects, old, new)
    assert (found.rows, found.rows_added, found.rows_removed) == (len(column), None, None)
    assert [one.name for one in found.columns] == ["m"]


def test_two_columns_of_one_name_leave_the_numbers_of_rows(objects):
    found = change(objects, *(pa.table([range(n), range(n)], ["a", "a"]) for n in (1, 2)))
    assert (found.rows_before, found.rows, found.rows_added, found.columns) == (1, 2, None, None)


def test_a_value_that_is_not_a_table_has_no_change(objects):
    assert change(objects, {"a": 1}, {"a": 2}) is None
    assert change(objects, {"a": 1}, pa.table({"a": [1]})) is None
