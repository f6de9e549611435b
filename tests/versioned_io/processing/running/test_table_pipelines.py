"""A pipeline over the rows of a table: exactly the keys whose rows changed run, and each sees its own rows only."""

import io
import random
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import versioned_io as vio
from versioned_io.errors import InvalidInputError

KEYS = 1000
INPUT = vio.table("stocks@main", "/prices.parquet", by="symbol")


@pytest.fixture
def stocks(store):
    for repo in ("stocks", "sums"):
        store.create_repo(repo)
    return store


def prices_of(keys):
    """Return three rows for each key, those of one key apart from each other."""
    return {"symbol": [f"S{key:04}" for key in range(keys)] * 3, "price": [float(one) for one in range(3 * keys)]}


def put(store, columns, *, path="prices.parquet", **options):
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    with store.transaction("stocks@main") as tx:
        tx.write(path, sink.getvalue())


@vio.pipeline("sums", inputs=INPUT, output="sums@main", code_version="1")
def sums(datum, out):
    rows = datum["stocks"].table()
    assert rows.column("symbol").unique().to_pylist() == [datum["stocks"].value]
    out.write(datum["stocks"].value, repr(rows.column("price").to_pylist()).encode())


def look(store, spec, see):
    """Return what *see* returns for each datum of *spec*, by its value."""
    seen = {}

    @vio.pipeline("look", inputs=spec, output="sums@main", code_version=uuid.uuid4().hex)
    def pipe(datum, out):
        seen[datum["stocks"].value] = see(datum["stocks"])

    assert not store.pipeline(pipe).run().failed
    return seen


def test_exactly_the_changed_keys_run(stocks):
    columns = prices_of(KEYS)
    put(stocks, columns)
    pipe = stocks.pipeline(sums)
    assert pipe.run().counts["run"] == KEYS
    changed = random.Random(1).sample(range(3 * KEYS), 17)
    for row in changed:
        columns["price"][row] += 0.5
    put(stocks, columns)
    wanted = {columns["symbol"][row] for row in changed}
    run = pipe.run()
    assert run.runs == tuple(sorted(f"prices.parquet#symbol={one}" for one in wanted))
    assert run.counts["skipped"] == KEYS - len(wanted)
    found = stocks.snapshot("sums@main")
    for key in range(KEYS):
        values = [columns["price"][key + turn * KEYS] for turn in range(3)]
        assert found.read(f"S{key:04}") == repr(values).encode()


@pytest.mark.soak
def test_of_a_million_rows_exactly_the_changed_keys_run_and_another_layout_runs_none(stocks):
    keys, rows = 10_000, 1_000_000
    columns = {"symbol": [f"S{row % keys:05}" for row in range(rows)], "price": [float(row) for row in range(rows)]}

    @vio.pipeline("many", inputs=INPUT, output="sums@main", code_version="1")
    def many(datum, out):
        out.write(datum["stocks"].value, repr(sum(datum["stocks"].table().column("price").to_pylist())).encode())

    put(stocks, columns)
    assert stocks.pipeline(many).run().counts["run"] == keys
    changed = sorted(random.Random(1).sample(range(keys), 7))
    for key in changed:
        columns["price"][key + 3 * keys] += 1
    put(stocks, columns, row_group_size=10_000)
    assert stocks.pipeline(many).run().runs == tuple(f"prices.parquet#symbol=S{key:05}" for key in changed)
    put(stocks, columns, row_group_size=77_777, compression="gzip", use_dictionary=False)
    assert stocks.pipeline(many).plan().counts == {"runs": 0, "reuses": 0, "skips": keys, "deletes": 0}


@pytest.mark.parametrize("options", [{"row_group_size": 7}, {"compression": "gzip"}, {"use_dictionary": False}])
def test_another_layout_runs_nothing(stocks, options):
    put(stocks, prices_of(50))
    pipe = stocks.pipeline(sums)
    pipe.run()
    put(stocks, prices_of(50), **options)
    assert pipe.plan().is_empty
    assert pipe.run().counts == {"run": 0, "reused": 0, "skipped": 50, "failed": 0, "recovered": 0, "deleted": 0}


def test_a_key_that_goes_takes_its_output_and_a_new_one_runs(stocks):
    columns = {"symbol": ["A", "B"], "price": [1.0, 2.0]}
    put(stocks, columns)
    pipe = stocks.pipeline(sums)
    pipe.run()
    put(stocks, {"symbol": ["C", "B"], "price": [1.0, 2.0]})
    run = pipe.run()
    assert (run.runs, run.counts["deleted"]) == (("prices.parquet#symbol=C",), 1)
    assert [one.path for one in stocks.snapshot("sums@main").walk()] == ["B", "C"]


@pytest.mark.parametrize("access", [lambda one: one.read(), lambda one: one.open(), lambda one: one.size])
def test_the_whole_file_is_refused(stocks, access):
    put(stocks, prices_of(2))

    def see(files):
        with pytest.raises(InvalidInputError, match=r"is cut by 'symbol', so it can't be read whole: call table\(\)"):
            access(files)
        return files.path, files[0].column, files.captures, dict(files.fields)

    assert look(stocks, INPUT, see) == {
        one: ("prices.parquet", "symbol", (one,), {"symbol": one}) for one in ("S0000", "S0001")
    }


def test_a_whole_file_has_no_rows_of_a_datum(stocks):
    put(stocks, prices_of(2))

    def see(files):
        assert (files.column, files.value) == (None, None)
        with pytest.raises(InvalidInputError, match="is a whole file, not rows of a table"):
            files.table()

    assert look(stocks, vio.glob("stocks@main", "/*"), see) == {None: None}


def test_the_rows_are_those_of_the_key_in_order_from_all_files(stocks):
    put(stocks, {"symbol": ["A", None, "B"], "other": ["x", "y", "x"]}, path="d/1")
    put(stocks, {"symbol": ["B", "A", None], "other": ["x", "y", "y"]}, path="d/2")
    spec = vio.table("stocks@main", "/d", by="symbol")
    seen = look(stocks, spec, lambda files: files.table().to_pylist())
    assert seen["A"] == [{"symbol": "A", "other": "x"}, {"symbol": "A", "other": "y"}]
    assert seen["B"] == [{"symbol": "B", "other": "x"}] * 2
    assert seen[None] == [{"symbol": None, "other": "y"}] * 2


def test_several_tables_and_columns_stay_apart(stocks):
    put(stocks, {"symbol": ["A", None, "B"], "other": ["x", "y", "x"]}, path="d/1")
    put(stocks, {"symbol": ["B", "A", None], "other": ["x", "y", "y"]}, path="d/2")
    put(stocks, {"symbol": ["A"], "other": ["z"]}, path="e/1")
    union = vio.union(
        vio.table("stocks@main", "/(*)/*", by="symbol"), vio.table("stocks@main", "/(*)/*", by="other", name="others")
    )

    @vio.pipeline("counts", inputs=union, output="counts@main", code_version="1", cache="never")
    def counts(datum, out):
        (files,) = datum.values()
        assert files.table().column(files.column).unique().to_pylist() == [files.value]
        out.write(f"{files.column}/{files.path}/{files.value}", str(files.table().num_rows).encode())

    stocks.create_repo("counts")
    run = stocks.pipeline(counts).run()
    assert (run.counts["run"], run.counts["failed"]) == (12, 0)
    assert stocks.snapshot("counts@main").read("other/d/2/y") == b"2"


def test_code_does_not_see_how_the_file_is_stored(stocks):
    table = pa.table({"symbol": ["A", "B"], "tags": [["x"], None], "nested": [{"q": "a"}, None]})
    stored = pa.table(
        {
            "symbol": table["symbol"].dictionary_encode(),
            "tags": table["tags"].cast(pa.large_list(pa.dictionary(pa.int32(), pa.string()))),
            "nested": table["nested"].cast(pa.struct([pa.field("q", pa.large_string())])),
        }
    ).replace_schema_metadata({"by": "somebody"})
    found = []
    for one in (table, stored):
        put(stocks, one)
        seen = look(stocks, INPUT, lambda files: files.table())
        found.append(seen["A"])
    assert found[0].schema.equals(found[1].schema, check_metadata=True)
    assert found[0].equals(found[1])
    assert found[0].nbytes < 200
