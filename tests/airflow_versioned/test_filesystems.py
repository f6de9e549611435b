"""``ObjectStoragePath("versioned://...")`` in the store of a connection."""

import json
import pickle

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.io import store as attached

import versioned_io as vio
from airflow_versioned.connections import StoreAddress
from airflow_versioned.filesystems import get_fs, split_connection
from airflow_versioned.hooks import VersionedHook


@pytest.fixture(autouse=True)
def connections(tmp_path, store, monkeypatch):
    def connect(name, **fields):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps({"conn_type": "versioned", **fields}))

    with vio.create_store(tmp_path / "archive") as archive:
        archive.create_repo("orders")
        with archive.transaction("orders@main") as tx:
            tx.write("old.csv", b"old")
    connect("versioned_default", host=store.url)
    connect("archive", host=str(tmp_path / "archive"))
    connect("quality", conn_type="http", host="example.org")  # a repo has the same name
    with store.transaction("orders@main") as tx:
        tx.write("2026/a.csv", b"a")
        tx.write("2026/b.csv", b"b")
    store.create_branch("orders@feature/x", at="orders@main")
    attached._STORE_CACHE.clear()  # Airflow keeps file systems for the life of a process
    vio.offer_settings(StoreAddress().find_settings)  # as in every task
    yield connect
    vio.offer_settings(None)


@pytest.mark.parametrize(
    ("url", "content"),
    [
        ("versioned://orders@main/2026/a.csv", b"a"),
        ("versioned://orders%40main/2026/a.csv", b"a"),
        ("versioned://versioned_default@orders/2026/b.csv", b"b"),
        ("versioned://orders@feature%2Fx/2026/b.csv", b"b"),
        ("versioned://archive@orders/old.csv", b"old"),
        ("versioned://archive@orders@main/old.csv", b"old"),
    ],
)
def test_each_way_to_write_a_path_reads_the_connections_store(url, content):
    assert ObjectStoragePath(url).read_bytes() == content


def test_a_path_with_a_conn_id_of_its_own_is_in_that_store():
    assert ObjectStoragePath("versioned://orders/old.csv", conn_id="archive").read_bytes() == b"old"


def test_paths_are_listed_found_and_written(store):
    year = ObjectStoragePath("versioned://orders@main/2026")
    assert sorted(path.name for path in year.iterdir()) == ["a.csv", "b.csv"]
    assert sorted(path.name for path in year.glob("*.csv")) == ["a.csv", "b.csv"]
    (year / "c.csv").write_bytes(b"c")
    assert store.snapshot("orders@main").read("2026/c.csv") == b"c"
    with (year / "c.csv").open("rb") as file:
        assert file.read() == b"c"
    assert (year / "c.csv").exists()
    assert not (year / "d.csv").exists()


def test_a_repo_with_the_name_of_a_connection_of_another_type_is_a_repo(store):
    with store.transaction("quality@main") as tx:
        tx.write("a", b"x")
    assert ObjectStoragePath("versioned://quality@main/a").read_bytes() == b"x"


def test_a_file_system_in_a_repo_survives_pickling():
    copy = pickle.loads(pickle.dumps(get_fs("archive@orders")))
    assert copy.cat_file("main/old.csv") == b"old"


def test_what_is_cut_off_a_path_is_a_connection_a_repo_or_both():
    assert split_connection(None) == ("versioned_default", None)
    assert split_connection("archive") == ("archive", None)
    assert split_connection("orders") == ("versioned_default", "orders")
    assert split_connection("archive@orders") == ("archive", "orders")


def test_a_connection_that_is_missing_is_named():
    with pytest.raises(AirflowNotFoundException, match="nowhere"):
        get_fs("nowhere@orders")


def test_a_relative_path_in_a_connection_is_refused_in_one_sentence(connections):
    connections("relative", host="./data")
    with pytest.raises(ValueError, match=r"the store of connection 'relative', .* is a relative path"):
        VersionedHook("relative").get_store()
    works, said = VersionedHook("relative").test_connection()
    assert (works, said.endswith("and Airflow has many processes: make it absolute")) == (False, True)


def test_airflow_finds_the_file_system_by_its_scheme():
    from airflow.sdk.io import has_fs

    assert has_fs("versioned")
