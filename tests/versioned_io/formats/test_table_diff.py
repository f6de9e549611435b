"""Two tables compared by rows and columns, beside a comparison in plain Python, in one part and in many."""

import io
import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import versioned_io as vio
from versioned_io.errors import InvalidInputError, PathNotFoundError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
table_diff = pytest.importorskip("versioned_io.formats.table_diff")
row_batches = pytest.importorskip("versioned_io.formats.row_batches")

CELLS = {
    "number": st.none() | st.integers(-3, 3),
    "text": st.none() | st.sampled_from(["", "-", "1:1", "a", "\u8868", "1:", ":"]),
}


def rows(table, batch_rows=3):
    return row_batches.TableRows("t.parquet", table.schema, iter(table.to_batches(max_chunksize=batch_rows)))


def table(cells):
    return pa.table(
        {
            "number": pa.array([one["number"] for one in cells], pa.int64()),
            "text": pa.array([one["text"] for one in cells], pa.string()),
        }
    )


def counts(found):
    return found.rows_added, found.rows_removed, found.rows_changed, found.rows_unchanged


TABLES = st.lists(st.fixed_dictionaries(CELLS), max_size=12)


@settings(max_examples=60, deadline=None)
@given(TABLES, TABLES, st.sampled_from([1, 200, table_diff.BUCKET_BYTES]))
def test_whole_rows_are_compared_as_a_multiset(old, new, bucket_bytes):
    found = table_diff.diff_tables(rows(table(old)), rows(table(new)), bucket_bytes=bucket_bytes)
    before, after = (Counter((one["number"], one["text"]) for one in side) for side in (old, new))
    assert counts(found) == ((after - before).total(), (before - after).total(), 0, (after & before).total())
    shown = {(one.new["number"], one.new["text"]) for one in found.rows if one.new is not None}
    assert shown == {(None if number is None else str(number), text) for number, text in after - before}


@settings(max_examples=60, deadline=None)
@given(TABLES, TABLES, st.sampled_from([1, 200, table_diff.BUCKET_BYTES]))
def test_rows_with_a_key_are_added_removed_or_changed(old, new, bucket_bytes):
    before, after = ({one["number"]: one["text"] for one in side} for side in (old, new))
    sides = (table([{"number": key, "text": text} for key, text in side.items()]) for side in (before, after))
    found = table_diff.diff_tables(*map(rows, sides), key=["number"], bucket_bytes=bucket_bytes)
    both = before.keys() & after.keys()
    changed = {key for key in both if before[key] != after[key]}
    assert counts(found) == (
        len(after.keys() - before.keys()),
        len(before.keys() - after.keys()),
        len(changed),
        len(both) - len(changed),
    )
    shown = {(one.new["number"], one.old["text"], one.new["text"]) for one in found.rows if one.old and one.new}
    assert shown == {(None if key is None else str(key), before[key], after[key]) for key in changed}


def test_columns_that_come_go_and_change_their_type_are_told_and_other_cells_compared():
    old = pa.table({"id": pa.array([1, 2], pa.int32()), "gone": [1, 1], "value": [1.5, 2.5]})
    new = pa.table({"value": [1.5, 9.0], "id": pa.array([1, 2], pa.int64()), "come": ["a", "b"]})
    found = table_diff.diff_tables(rows(old), rows(new), key=["id"])
    assert (found.columns_added, found.columns_removed) == ({"come": "string"}, {"gone": "int64"})
    assert found.columns_retyped == (table_diff.RetypedColumn("id", "int32", "int64"),)
    assert counts(found) == (0, 0, 1, 1)
    assert [(one.old, one.new) for one in found.rows] == [({"value": "2.5", "id": "2"}, {"value": "9", "id": "2"})]


def test_cells_of_every_kind_are_compared():
    at = datetime(2026, 1, 1, tzinfo=UTC)
    cells = {
        "nan": pa.array([float("nan")]),
        "bytes": pa.array([b"\xff\x00"]),
        "large": pa.array(["x"], pa.large_string()),
        "time": pa.array([at], pa.timestamp("us", "UTC")),
        "list": pa.array([[1, None]]),
        "struct": pa.array([{"a": 1, "b": [at]}]),
        "word": pa.array(["a"]).dictionary_encode(),
        "decimal": pa.array([1], pa.decimal128(5, 2)),
        "null": pa.nulls(1),
    }
    one = pa.table(cells)
    assert counts(table_diff.diff_tables(rows(one), rows(one))) == (0, 0, 0, 1)
    others = {
        "nan": pa.array([1.0]),
        "bytes": pa.array([b"\xff\x01"]),
        "large": pa.array(["y"], pa.large_string()),
        "time": pa.array([at.replace(microsecond=1)], pa.timestamp("us", "UTC")),
        "list": pa.array([[1, 0]]),
        "struct": pa.array([{"a": 1, "b": []}], one.schema.field("struct").type),
        "word": pa.array(["b"]).dictionary_encode(),
        "decimal": pa.array([2], pa.decimal128(5, 2)),
    }
    for name, changed in others.items():
        other = pa.table({**cells, name: changed})
        assert counts(table_diff.diff_tables(rows(one), rows(other))) == (1, 1, 0, 0), name


def test_of_a_table_that_is_new_or_gone_every_row_is():
    one = pa.table({"a": [1, 1, 2]})
    added, deleted = table_diff.diff_tables(None, rows(one)), table_diff.diff_tables(rows(one), None)
    assert (added.change, counts(added)) == ("added", (3, 0, 0, 0))
    assert (deleted.change, counts(deleted)) == ("deleted", (0, 3, 0, 0))


def test_as_many_rows_are_shown_as_were_asked_for():
    found = table_diff.diff_tables(None, rows(pa.table({"a": list(range(100))}), 10), limit=3, bucket_bytes=500)
    assert (found.rows_added, [one.new["a"] for one in found.rows]) == (100, ["0", "1", "2"])


@pytest.mark.parametrize(("key", "complaint"), [(["b"], "has no column 'b'"), (["a"], "have the key a='1'")])
def test_a_key_that_is_missing_or_not_unique_is_refused(key, complaint):
    one = pa.table({"a": [1, 1, 2]})
    with pytest.raises(InvalidInputError, match=complaint):
        table_diff.diff_tables(rows(one), rows(one), key=key)


HUNGRY = """
import pyarrow as pa
from versioned_io.formats.table_diff import diff_tables
from versioned_io.formats.row_batches import TableRows

TEXTS = pa.repeat("x" * 500, 5_000)
SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string())])

def made(extra):
    for number in range(0, 150_000, 5_000):
        yield pa.record_batch([pa.array(range(number, number + 5_000)), TEXTS], schema=SCHEMA)
    yield pa.record_batch([pa.array([extra]), pa.array(["x"])], schema=SCHEMA)

sides = [TableRows("t.parquet", SCHEMA, made(extra)) for extra in (-1, -2)]
found = diff_tables(*sides, key=["id"], bucket_bytes=4 * 1024 * 1024)
print(found.rows_added, found.rows_removed, found.rows_unchanged, pa.default_memory_pool().max_memory() // 1024**2)
"""


def test_memory_does_not_grow_with_the_table():
    """Both sides have 75 MB of text."""
    done = subprocess.run([sys.executable, "-c", HUNGRY], capture_output=True, text=True, check=True)
    added, removed, unchanged, peak_mib = map(int, done.stdout.split())
    assert (added, removed, unchanged) == (1, 1, 150_000)
    assert peak_mib < 60


@pytest.fixture
def store(tmp_path):
    with vio.create_store(tmp_path / "store") as made:
        made.create_repo("r")
        yield made


def parquet(table):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def ipc(table, opened):
    sink = io.BytesIO()
    with opened(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


OLD, NEW = pa.table({"id": [1, 2], "v": ["a", "b"]}), pa.table({"id": [1, 2, 3], "v": ["a", "c", "d"]})
FILES = {
    "t.parquet": [parquet(OLD), parquet(NEW)],
    "t.arrow": [ipc(OLD, pa.ipc.new_file), ipc(NEW, pa.ipc.new_file)],
    "t.feather": [ipc(OLD, pa.ipc.new_stream), ipc(NEW, pa.ipc.new_stream)],
    "t.csv": [b"id,v\n1,a\n2,b\n", b"id,v\n1,a\n2,c\n3,d\n"],
    "t.tsv": [b"id\tv\n1\ta\n2\tb\n", b"id\tv\n1\ta\n2\tc\n3\td\n"],
}


@pytest.mark.parametrize("name", FILES)
def test_a_committed_table_is_compared_by_its_extension(store, name):
    for content in FILES[name]:
        with store.transaction("r@main") as tx:
            tx.write(f"d/{name}", content)
            tx.write("notes.txt", content)
            tx.write(f"other/{name}", content)
    found = store.diff_data("r@main~1:d", "r@main:d", key=["id"])
    (table,) = found.tables
    assert (table.path, table.change, counts(table), found.others) == (f"d/{name}", "modified", (1, 0, 1, 1), ())
    assert [(one.old, one.new) for one in table.rows] == [
        ({"id": "2", "v": "b"}, {"id": "2", "v": "c"}),
        (None, {"id": "3", "v": "d"}),
    ]
    everything = store.diff_data("r@main~1", "r@main")
    assert ([one.path for one in everything.tables], everything.others) == (
        [f"d/{name}", f"other/{name}"],
        ("notes.txt",),
    )
    (one,) = store.diff_data(f"r@main~1:d/{name}", f"r@main:other/{name}", key=["id"]).tables
    assert counts(one) == (1, 0, 1, 1)
    first = list(store.diff_data(None, "r@main~1").tables)
    assert [(one.change, one.rows_added) for one in first] == [("added", 2), ("added", 2)]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("t.parquet", b"no", "can't be read as its extension .parquet says"),
        ("t.arrow", b"ARROW1no", "can't be read as its extension .arrow says"),
        ("t.csv", b"a,b\n1\n", "can't be read as its extension .csv says"),
        ("t.csv", b"a,a\n1,2\n", "two columns 'a'"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_named(store, name, content, complaint):
    with store.transaction("r@main") as tx:
        tx.write(name, content)
    with pytest.raises(InvalidInputError, match=complaint) as raised:
        list(store.diff_data(None, "r@main").tables)
    assert name in str(raised.value)


def test_what_is_not_a_table_or_not_there_is_refused(store):
    with store.transaction("r@main") as tx:
        tx.write("a.json", json.dumps([1]).encode())
        tx.write("a.csv", b"")
        tx.write("d/a.csv", b"a\n1\n")
        tx.write("e/a.csv", b"a\n1\n")
    with pytest.raises(InvalidInputError, match="is not a table"):
        store.diff_data("r@main:a.json", "r@main:a.json")
    with pytest.raises(PathNotFoundError):
        store.diff_data("r@main:b.csv", "r@main:a.csv")
    with pytest.raises(InvalidInputError, match="different directories"):
        store.diff_data("r@main:d", "r@main:e")
    assert counts(next(store.diff_data("r@main:a.csv", "r@main:d/a.csv").tables)) == (1, 0, 0, 0)


def test_a_comparison_is_no_input_of_a_run(store):
    with store.transaction("r@main") as tx:
        tx.write("a.csv", b"a\n1\n")
    store.create_repo("out")
    with store.run("compare"):
        list(store.diff_data(None, "r@main").tables)
        with store.transaction("out@main") as tx:
            tx.write("x", b"1")
    assert store.upstream("out@main").edges == ()


def test_a_table_of_one_path_is_compared_with_nothing(store):
    with store.transaction("r@main") as tx:
        tx.write("d/a.csv", b"a\n1\n")
        tx.write("d/a.csv.csv", b"a\n1\n")
    assert [one.path for one in store.diff_data(None, "r@main:d/a.csv").tables] == ["d/a.csv"]


def test_samples_of_long_rows_take_little_memory(tmp_path):
    part = table_diff._SpilledRows(tmp_path / "part")
    for number in range(40):
        texts = [b"%06d" % (number * 100 + row) + b"x" * 8_000 for row in range(100)]
        part.append(pa.table([texts, texts, [1] * 100], schema=table_diff._SCHEMA))
    part.close()
    assert 64 < len(part.samples) <= sum(map(len, part.samples)) // 1_000
    assert sum(map(len, part.samples)) <= 1024**2


def test_long_rows_that_begin_alike_are_compared_in_parts():
    texts = ["x" * 5_000 + str(number) for number in range(50)] + [f"{number}" * 3_000 for number in range(10)]
    old, new = pa.table({"text": texts}), pa.table({"text": [*texts[1:], "y" * 5_000]})
    found = table_diff.diff_tables(rows(old), rows(new), bucket_bytes=20_000)
    assert counts(found) == (1, 1, 0, 59)


def test_cells_without_a_text_and_endless_first_lines_are_refused_by_name():
    kind = pa.struct([("t", pa.timestamp("us"))])
    one = pa.table({"odd": pa.array([{"t": 2**62}], kind)})
    with pytest.raises(InvalidInputError, match="the column 'odd'"):
        table_diff.diff_tables(rows(one), rows(one))
    with pytest.raises(InvalidInputError, match="first line is longer than 1 MiB"):
        row_batches.open_rows("t.csv", io.BytesIO(b"x" * 2_000_000))


@pytest.mark.parametrize("header", [b'x,"a\nb"', b'x,"a\n""b"', b'x,a"b', b'"x",y'])
def test_the_cells_below_a_name_with_quotes_or_several_lines_are_text(header):
    sides = [row_batches.open_rows("t.csv", io.BytesIO(header + b"\n1," + cell + b"\n")) for cell in (b"1", b"1.0")]
    assert counts(table_diff.diff_tables(*sides)) == (1, 1, 0, 0)
