"""The datums of a table: a changed row changes its own key only, however the file is laid out."""

import decimal
import io
from datetime import date

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

import versioned_io as vio
from versioned_io.errors import FormatError, InvalidInputError
from versioned_io.processing.inputs.selecting import list_datums
from versioned_io.processing.inputs.table_cuts import rows_of

COLUMNS = {
    "symbol": pa.array(["A", "B", None, "A", "C", "B", "", "x y", "%#=", None]),
    "number": pa.array([1, 2, 3, 4, None, 6, 7, 8, 9, 10]),
    "price": pa.array([1.5, None, 0.0, -0.0, 2.5, 1e300, 1.0, 2.0, 3.0, 4.0]),
    "flag": pa.array([True, False, None, True, True, False, True, False, True, None]),
    "day": pa.array([date(2026, 1, day) for day in range(1, 11)]),
    "cost": pa.array([decimal.Decimal(day) for day in range(10)]),
    "note": pa.array(["", None, "x", "y", "", "z", None, None, None, None]),
    "tags": pa.array([["a"], [], None, ["b", "c"], ["d"], [], [], [], [], []]),
}
TABLE = pa.table(COLUMNS)
KEYS = ["t#symbol", "t#symbol=", "t#symbol=%25%23=", "t#symbol=A", "t#symbol=B", "t#symbol=C", "t#symbol=x y"]


@pytest.fixture
def store(tmp_path):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        yield store


def parquet(table, **options):
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def feather(table):
    sink = io.BytesIO()
    pyarrow.feather.write_feather(table, sink)
    return sink.getvalue()


def stream(table):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def datums(store, files, path="/t", **options):
    with store.transaction("r@main", empty="allow") as tx:
        for name, data in files.items():
            tx.write(name, data)
    return list_datums(vio.table("r@main", path, by=options.pop("by", "symbol"), **options), store.snapshot)


def seen(found):
    return dict(zip(found.keys.to_pylist(), found.seen_page(0, len(found)), strict=True))


def replaced(column, row, value):
    values = TABLE[column].to_pylist()
    values[row] = value
    return TABLE.set_column(
        TABLE.schema.get_field_index(column), column, pa.array(values, TABLE.schema.field(column).type)
    )


def test_each_value_is_a_datum_and_null_is_one(store):
    found = datums(store, {"t": parquet(TABLE)})
    assert found.keys.to_pylist() == KEYS
    assert [row.inputs["r"][0].fields["symbol"] for row in found] == [None, "", "%#=", "A", "B", "C", "x y"]
    for row in found:
        (file,) = row.inputs["r"]
        wanted = [one for one in TABLE.to_pylist() if one["symbol"] == file.captures[-1]]
        assert rows_of(file).to_pylist() == wanted
        assert file.size == len(wanted)


@pytest.mark.parametrize(
    "data",
    [
        parquet(TABLE, row_group_size=2),
        parquet(TABLE, compression="zstd", use_dictionary=False),
        parquet(TABLE.set_column(0, "symbol", TABLE["symbol"].dictionary_encode())),
        parquet(TABLE.set_column(0, "symbol", TABLE["symbol"].cast(pa.large_string()))),
        feather(TABLE),
        stream(pa.concat_tables([TABLE.slice(0, 3), TABLE.slice(3)])),
    ],
)
def test_the_layout_of_a_file_does_not_count(store, data):
    before = seen(datums(store, {"t": parquet(TABLE)}))
    assert seen(datums(store, {"t": data})) == before


@pytest.mark.parametrize(
    ("column", "row", "value", "keys"),
    [
        ("number", 0, 5, {"t#symbol=A"}),
        ("number", 4, 0, {"t#symbol=C"}),
        ("note", 0, None, {"t#symbol=A"}),
        ("note", 1, "", {"t#symbol=B"}),
        ("number", 2, None, {"t#symbol"}),
        ("price", 3, 0.0, {"t#symbol=A"}),
        ("flag", 1, None, {"t#symbol=B"}),
        ("day", 5, date(2025, 1, 1), {"t#symbol=B"}),
        ("cost", 7, decimal.Decimal(9), {"t#symbol=x y"}),
        ("tags", 3, ["b,c"], {"t#symbol=A"}),
        ("symbol", 4, "B", {"t#symbol=C", "t#symbol=B"}),
        ("symbol", 6, None, {"t#symbol", "t#symbol="}),
    ],
)
def test_a_changed_row_changes_its_own_keys_only(store, column, row, value, keys):
    before = seen(datums(store, {"t": parquet(TABLE)}))
    after = seen(datums(store, {"t": parquet(replaced(column, row, value))}))
    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} == keys


def test_names_types_and_the_order_of_a_keys_rows_count(store):
    before = seen(datums(store, {"t": parquet(TABLE)}))
    renamed = seen(datums(store, {"t": parquet(TABLE.rename_columns({"cost": "costs"}))}))
    assert all(renamed[key] != before[key] for key in KEYS)
    typed = TABLE.set_column(1, "number", TABLE["number"].cast(pa.int32()))
    assert all(seen(datums(store, {"t": parquet(typed)}))[key] != before[key] for key in KEYS)
    turned = seen(datums(store, {"t": parquet(TABLE.take(list(range(9, -1, -1))))}))
    assert {key for key in KEYS if turned[key] == before[key]} == set(KEYS) - {"t#symbol", "t#symbol=A", "t#symbol=B"}


def test_files_are_cut_each_or_as_one_table(store):
    files = {"d/1": parquet(TABLE.slice(0, 4)), "d/2": parquet(TABLE.slice(4))}
    each = datums(store, files, "/d/(*)", group_by="{symbol}")
    assert len(each) == len(set(TABLE["symbol"].slice(0, 4).to_pylist())) + len(
        set(TABLE["symbol"].slice(4).to_pylist())
    )
    assert each.keys.to_pylist()[0] == "d/1#symbol"
    whole = datums(store, {}, "/d", name="w")
    one = datums(store, {"t": parquet(TABLE)}, name="w")
    assert [file.digest for row in whole for file in row.inputs["w"]] == [
        file.digest for row in one for file in row.inputs["w"]
    ]
    assert rows_of(whole.page(3, 1)[0].inputs["w"][0]).num_rows == 2


def test_cuts_are_kept_by_content_and_rule(store):
    datums(store, {"t": parquet(TABLE)})
    cuts = {}
    spec = vio.table("r@main", "/t", by="symbol")
    first = list_datums(spec, store.snapshot, cuts=cuts)
    assert len(cuts) == 1
    with store.transaction("r@main") as tx:
        tx.move("t", "u")
    again = list_datums(vio.table("r@main", "/u", by="symbol"), store.snapshot, cuts=cuts)
    assert len(cuts) == 1
    assert [file.digest for row in again for file in row.inputs["r"]] == [
        file.digest for row in first for file in row.inputs["r"]
    ]
    list_datums(vio.table("r@main", "/u", by="number"), store.snapshot, cuts=cuts)
    assert len(cuts) == 2


def test_a_file_that_is_no_table_or_lacks_the_column_is_refused(store):
    with pytest.raises(InvalidInputError, match="has 0 columns 'nope'"):
        datums(store, {"t": parquet(TABLE)}, by="nope")
    with pytest.raises(InvalidInputError, match="can't cut a table"):
        datums(store, {"t": parquet(TABLE)}, by="tags")
    with pytest.raises(FormatError, match="neither Parquet nor Arrow"):
        datums(store, {"t": b"date,rain"})
