"""Files that were committed as they are, read by their extension and the requested type."""

import io
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

import versioned_io as vio
from versioned_io.errors import FormatError, InvalidInputError, PathNotFoundError
from versioned_io.formats import load_object, save_object

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

TABLE = pa.table({"city": ["oslo", "rome"], "rain": [3, 4]})
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


def parquet():
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    return sink.getvalue()


def feather():
    sink = io.BytesIO()
    pyarrow.feather.write_feather(TABLE, sink)
    return sink.getvalue()


def array():
    sink = io.BytesIO()
    np.save(sink, np.arange(3))
    return sink.getvalue()


TABLES = {
    ".parquet": parquet(),
    ".PARQUET": parquet(),
    ".pq": parquet(),
    ".feather": feather(),
    ".arrow": feather(),
    ".csv": b"city,rain\noslo,3\nrome,4\n",
    ".tsv": b"city\train\noslo\t3\nrome\t4\n",
    ".jsonl": b'{"city": "oslo", "rain": 3}\n{"city": "rome", "rain": 4}\n',
}


@pytest.fixture
def committed(tmp_path):
    """Return a function that commits files and returns their snapshot."""
    with vio.create_store(tmp_path / "store") as store:
        store.create_repo("r")

        def commit(**files):
            with store.transaction("r@main") as tx:
                for path, content in files.items():
                    tx.write(path, content)
            return store.snapshot("r@main")

        yield commit


@pytest.mark.parametrize("extension", TABLES)
def test_a_table_is_read_as_the_requested_kind_and_by_default_as_one_of_pandas(committed, extension):
    snap = committed(**{f"d/data{extension}": TABLES[extension]})
    expected = TABLE.to_pandas()
    assert load_object(snap, "d/data", plain=True).equals(expected)
    assert load_object(snap, "d/data", plain=True, type_hint=pd.DataFrame).equals(expected)
    assert load_object(snap, "d/data", plain=True, type_hint=pl.DataFrame).equals(pl.from_pandas(expected))
    assert load_object(snap, "d/data", plain=True, type_hint=pa.Table).equals(TABLE)
    assert load_object(snap, "d/data", plain=True, type_hint=bytes) == TABLES[extension]


@pytest.mark.parametrize(
    ("name", "content", "hint", "value"),
    [
        ("data.json", b'{"a": [1]}', None, {"a": [1]}),
        ("data.json", b'{"a": [1]}', dict, {"a": [1]}),
        ("data.json", b'{"a": [1]}', str, '{"a": [1]}'),
        ("data.csv", b"a,b\n", str, "a,b\n"),
        ("data.txt", "\u00e9".encode(), None, "\u00e9"),
        ("data.png", PNG, None, PNG),
        ("data.anything", b"x", None, b"x"),
    ],
)
def test_other_files_are_values_text_or_bytes(committed, name, content, hint, value):
    assert load_object(committed(**{name: content}), "data", plain=True, type_hint=hint) == value


def test_a_file_may_be_named_by_its_whole_path(committed):
    snap = committed(**{"d/a.csv": TABLES[".csv"], "d/a.txt": b"text", "d/bare": b"x"})
    assert load_object(snap, "d/a.csv", plain=True, type_hint=pa.Table).equals(TABLE)
    assert load_object(snap, "d/a.txt", plain=True) == "text"
    assert load_object(snap, "d/bare", plain=True) == b"x"
    with pytest.raises(PathNotFoundError):
        load_object(snap, "d/a.json", plain=True)


def test_a_stored_object_may_be_named_by_its_whole_path_too(tmp_path):
    with vio.create_store(tmp_path / "store") as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            save_object(tx, "d/numbers", (1, 2))
        snap = store.snapshot("r@main")
        (info,) = snap.walk()
        assert load_object(snap, info.path, plain=True, allow_pickle=True) == (1, 2)


def test_an_array_is_read_without_a_pickle_in_it(committed):
    assert list(load_object(committed(**{"data.npy": array()}), "data", plain=True)) == [0, 1, 2]
    sink = io.BytesIO()
    np.save(sink, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidInputError, match=r"'data.npy' can't be read as its extension .npy says"):
        load_object(committed(**{"data.npy": sink.getvalue()}), "data", plain=True)


@pytest.mark.parametrize("extension", [".pickle", ".pkl"])
def test_a_pickle_without_a_format_is_never_loaded(committed, extension):
    snap = committed(**{f"data{extension}": pickle.dumps(1)})
    for hint in (None, bytes):
        with pytest.raises(FormatError):
            load_object(snap, "data", plain=True, allow_pickle=True, type_hint=hint)


@pytest.mark.parametrize(
    ("name", "content", "hint", "words"),
    [
        ("data.parquet", b"no", None, "its extension .parquet says"),
        ("data.arrow", b"no", None, "its extension .arrow says"),
        ("data.json", b"{", None, "its extension .json says"),
        ("data.jsonl", b"{", None, "its extension .jsonl says"),
        ("data.csv", b"", None, "its extension .csv says"),
        ("data.txt", b"\xff", None, "its extension .txt says"),
        ("data.csv", b"\xff", str, "can't be read as str"),
        ("data.json", b"[]", dict, "is a list, which can't be read as dict"),
        ("data.png", PNG, pd.DataFrame, "is a bytes, which can't be read as pandas"),
    ],
)
def test_a_file_that_is_something_else_is_refused_by_name(committed, name, content, hint, words):
    with pytest.raises(InvalidInputError, match=words):
        load_object(committed(**{name: content}), "data", plain=True, type_hint=hint)


def test_a_directory_and_a_wanted_path_are_put_where_the_caller_says(committed, tmp_path):
    snap = committed(**{"data/a.txt": b"1", "data/b/c.txt": b"2", "one.csv": b"x\n1\n"})
    found = load_object(snap, "data", plain=True, directory=tmp_path / "out")
    assert {str(path.relative_to(found)) for path in found.rglob("*.txt")} == {"a.txt", "b/c.txt"}
    file = load_object(snap, "one", plain=True, type_hint=Path, directory=tmp_path / "out")
    assert (file.name, file.read_bytes()) == ("one.csv", b"x\n1\n")
    with pytest.raises(InvalidInputError, match="pass directory="):
        load_object(snap, "data", plain=True)


def test_several_files_of_one_name_are_not_chosen_from(committed):
    snap = committed(**{"data.csv": b"x\n", "data.tsv": b"x\n"})
    with pytest.raises(InvalidInputError, match=r"several files at 'data': 'data.csv', 'data.tsv'"):
        load_object(snap, "data", plain=True)


def test_what_is_not_there_is_not_found(committed):
    snap = committed(**{"other.csv": b"x\n", "data.d/x.csv": b"x\n"})
    with pytest.raises(PathNotFoundError):
        load_object(snap, "data", plain=True)


def test_an_object_is_read_by_its_recorded_format(committed, tmp_path):
    with vio.open_store(tmp_path / "store") as store:
        committed(**{"x.txt": b"x"})
        with store.transaction("r@main") as tx:
            save_object(tx, "data", (1, 2))
        snap = store.snapshot("r@main")
        assert load_object(snap, "data", plain=True, allow_pickle=True) == (1, 2)
        with pytest.raises(InvalidInputError):
            load_object(snap, "data", plain=True)
