"""What others make of the file system: pandas, Polars, PyArrow, DuckDB and UPath read and write through it."""

import fsspec
import pytest

import versioned_io as vio

pytest.importorskip("pandas")
pytest.importorskip("polars")


@pytest.fixture
def options(tmp_path):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
    return {"store": str(tmp_path / "s")}


@pytest.fixture
def fs(options):
    return fsspec.filesystem("versioned", **options)


@pytest.fixture
def frame(options):
    import pandas as pd

    frame = pd.DataFrame({"n": [1, 2, 3], "text": ["x", "y", "z"]})
    frame.to_parquet("versioned://r@main/d/t.parquet", storage_options=options)
    frame.to_csv("versioned://r@main/d/t.csv", index=False, storage_options=options)
    return frame


def test_pandas_reads_what_it_wrote(frame, options, fs):
    import pandas as pd

    assert pd.read_parquet("versioned://r@main/d/t.parquet", storage_options=options).equals(frame)
    assert pd.read_csv("versioned://r@main/d/t.csv", storage_options=options).equals(frame)
    assert [commit.message for commit in fs.store.log("r@main")] == ["write d/t.csv", "write d/t.parquet"]


def test_polars_reads_and_scans(frame, fs):
    import polars as pl

    with fs.open("r@main/d/t.parquet") as file:
        assert pl.scan_parquet(file).filter(pl.col("n") > 1).collect()["text"].to_list() == ["y", "z"]
    with fs.open("r@main/d/t.csv") as file:
        assert pl.read_csv(file).to_pandas().equals(frame)


def test_a_pyarrow_dataset_is_written_in_one_commit_and_read(frame, fs):
    import pyarrow.dataset as ds
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    arrow = PyFileSystem(FSSpecHandler(fs))
    table = ds.dataset("r@main/d/t.parquet", filesystem=arrow).to_table()
    with fs.transaction:
        ds.write_dataset(table, "r@main/ds", format="parquet", partitioning=["text"], filesystem=arrow)
    assert fs.store.commit("r@main").stats.added == 3
    again = ds.dataset("r@main/ds", filesystem=arrow, partitioning=["text"]).to_table()
    assert again.sort_by("n").to_pydict() == table.to_pydict()


def test_duckdb_reads_globs_and_writes(frame, fs):
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        connection.register_filesystem(fs)
        assert connection.sql("select sum(n) from 'versioned://r@main/d/*.parquet'").fetchall() == [(6,)]
        assert connection.sql("select count(*) from read_csv('versioned://r@main/d/t.csv')").fetchall() == [(3,)]
        connection.execute("copy (select 42 as n) to 'versioned://r@main/out.parquet'")
        assert connection.sql("select n from 'versioned://r@main/out.parquet'").fetchall() == [(42,)]


def test_a_upath_walks_reads_and_writes(frame, options, fs):
    upath = pytest.importorskip("upath")
    root = upath.UPath("versioned://r@main", **options)
    path = root / "d" / "t.csv"
    assert path.read_text().startswith("n,text")
    assert str(path) == "versioned://r@main/d/t.csv"
    assert path.parent == root / "d"
    assert sorted(child.name for child in path.parent.iterdir()) == ["t.csv", "t.parquet"]
    assert [str(found) for found in root.glob("**/*.csv")] == ["versioned://r@main/d/t.csv"]
    with path.fs.transaction:
        (root / "one.txt").write_text("1")
        (root / "two.txt").write_bytes(b"2")
        assert not (root / "one.txt").exists()
    assert fs.store.commit("r@main").stats.added == 2
    (root / "one.txt").rename(root / "three.txt")
    assert (root / "three.txt").read_bytes() == b"1"
    assert not (root / "one.txt").exists()
