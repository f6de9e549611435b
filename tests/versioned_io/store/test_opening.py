"""Making and opening stores."""

import json
import shutil
import sqlite3
import subprocess
import sys

import pytest

import versioned_io as vio
from versioned_io.errors import (
    ExistsError,
    FormatError,
    InvalidInputError,
    StorageError,
    StoreNotFoundError,
    VersionedError,
)
from versioned_io.store import opening


def snapshot_of(directory):
    """Every file below *directory* with its bytes; SQLite's shared memory is none of ours."""
    files = sorted(path for path in directory.rglob("*") if not path.name.endswith(("-shm", "-wal")))
    return {path.relative_to(directory): path.read_bytes() if path.is_file() else None for path in files}


def test_a_store_is_opened_again_with_what_was_in_it(tmp_path, write):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("weather")
        write(store, "weather@main", {"a": b"1"})
    with vio.open_store(str(tmp_path / "s")) as store:
        assert store.snapshot("weather@main").read("a") == b"1"
    with vio.open_or_create_store((tmp_path / "s").as_uri()) as store:
        assert store.snapshot("weather@main").read("a") == b"1"


@pytest.mark.parametrize("repo", [None, "weather"])
def test_a_second_store_does_not_get_the_catalog_of_another(tmp_path, repo):
    catalog = f"sqlite:///{tmp_path / 'shared.db'}"
    with vio.create_store(tmp_path / "first", catalog=catalog) as first:
        if repo:
            first.create_repo(repo)
    with pytest.raises(InvalidInputError, match=r"is another store's: a store at .*second needs an empty database"):
        vio.create_store(tmp_path / "second", catalog=catalog)
    assert not (tmp_path / "second").exists()
    with vio.open_store(tmp_path / "first", catalog=catalog) as first:
        assert [one.name for one in first.repos()] == ([repo] if repo else [])


def test_a_database_with_a_table_of_the_same_name_is_refused_and_stays_as_it_is(tmp_path):
    database = sqlite3.connect(tmp_path / "theirs.db")
    database.execute("CREATE TABLE tags (theirs)")
    with pytest.raises(StorageError, match="table tags already exists"):
        vio.create_store(tmp_path / "s", catalog=f"sqlite:///{tmp_path / 'theirs.db'}")
    assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("tags",)]
    assert not (tmp_path / "s").exists()
    database.close()


def test_a_missing_catalog_is_asked_for_by_the_flag_that_names_it(tmp_path):
    vio.create_store(tmp_path / "s", catalog=f"sqlite:///{tmp_path / 'c.db'}").close()
    with pytest.raises(FormatError, match=r"--catalog or VERSIONED_CATALOG.*`versioned rebuild`"):
        vio.open_store(tmp_path / "s")


def test_a_store_in_memory_is_found_by_its_name(write):
    with vio.create_store("memory://opening-test") as store:
        store.create_repo("weather")
        write(store, "weather@main", {"a": b"1"})
    with vio.open_store("memory://opening-test") as store:
        assert store.snapshot("weather@main").read("a") == b"1"
    with pytest.raises(StoreNotFoundError):
        vio.open_store("memory://opening-test-2")


@pytest.mark.parametrize("name", ["a b", "what?", "100%25", "#1", "ü"])
def test_a_store_can_be_in_any_directory(tmp_path, name, write):
    with vio.create_store(tmp_path / name) as store:
        store.create_repo("weather")
        write(store, "weather@main", {"a": b"1"})
    with vio.open_store(tmp_path / name) as store:
        assert store.snapshot("weather@main").read("a") == b"1"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_relative_url_means_the_directory_of_the_time_of_opening(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    with vio.create_store("./data") as store:
        store.create_repo("weather")
        monkeypatch.chdir("/")
        write(store, "weather@main", {"a": b"1"})
        assert store.url == str(tmp_path / "data")


@pytest.mark.parametrize(
    "catalog", ["sqlite:///catalog.db", "sqlite:///the catalog.db", "sqlite:///catalog.db?timeout=9"]
)
def test_a_relative_catalog_means_the_file_of_the_time_of_opening(tmp_path, monkeypatch, write, catalog):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with vio.create_store("store", catalog=catalog) as store:
            store.create_repo("weather")
    monkeypatch.chdir(tmp_path / "here")
    with vio.open_store("store", catalog=catalog) as store:
        assert [repo.name for repo in store.repos()] == ["weather"]
        monkeypatch.chdir(tmp_path / "there")  # where the same path is another store's catalog
        write(store, "weather@main", {"a": b"1"})
    with vio.open_store("store", catalog=catalog) as store:
        assert store.snapshot("weather@main").is_empty
    monkeypatch.chdir(tmp_path / "here")
    with vio.open_store("store", catalog=catalog) as store:
        assert store.snapshot("weather@main").read("a") == b"1"


def test_what_is_there_is_not_made_again(tmp_path):
    vio.create_store(tmp_path / "s").close()
    before = snapshot_of(tmp_path)
    with pytest.raises(ExistsError, match=r"store '.*/s' exists already: open it"):
        vio.create_store(tmp_path / "s")
    assert snapshot_of(tmp_path) == before


def test_a_store_that_is_not_there_is_told_and_not_made(tmp_path):
    with pytest.raises(StoreNotFoundError, match=r"no store at '.*/s': make one with create_store"):
        vio.open_store(tmp_path / "s")
    (tmp_path / "other.txt").write_text("mine")
    with pytest.raises(StoreNotFoundError):
        vio.open_store(tmp_path)
    assert list(snapshot_of(tmp_path)) == [(tmp_path / "other.txt").relative_to(tmp_path)]


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreNotFoundError):
            vio.open_store(place)
        with pytest.raises(InvalidInputError, match="there is a file in the way; choose another directory"):
            vio.create_store(place)
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_store_of_a_newer_format_is_left_alone(tmp_path):
    vio.create_store(tmp_path / "s").close()
    marker = tmp_path / "s" / "versioned.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "format": 2}))
    before = snapshot_of(tmp_path)
    with pytest.raises(FormatError, match=r"has format 2, this version reads up to 1: upgrade versioned-io"):
        vio.open_store(tmp_path / "s")
    assert snapshot_of(tmp_path) == before


@pytest.mark.parametrize(
    "marker",
    [
        "{}",
        "not json",
        "[1]",
        '{"format": "x", "store_id": "y"}',
        '{"format": 1e999, "store_id": "y"}',
        "[" * 60_000,
        "\\xff",
    ],
    ids=lambda marker: marker[:20],
)
def test_another_programs_directory_is_not_taken_for_a_store(tmp_path, marker):
    (tmp_path / "versioned.json").write_bytes(marker.encode() if marker != "\\xff" else b"\xff\xfe")
    for call in (vio.open_store, vio.create_store, vio.open_or_create_store):
        with pytest.raises(FormatError, match="is this another program's directory"):
            call(tmp_path)
    assert len(snapshot_of(tmp_path)) == 1


def test_a_lost_catalog_is_told_and_not_made_again_empty(tmp_path):
    vio.create_store(tmp_path / "s").close()
    for file in (tmp_path / "s").glob("catalog.db*"):
        file.unlink()
    before = snapshot_of(tmp_path)
    for call in (vio.open_store, vio.open_or_create_store):
        with pytest.raises(FormatError, match=r"the catalog sqlite:///.*.* is missing.*`versioned rebuild"):
            call(tmp_path / "s")
    assert snapshot_of(tmp_path) == before


def test_an_empty_catalog_is_told(tmp_path):
    vio.create_store(tmp_path / "s").close()
    for file in (tmp_path / "s").glob("catalog.db*"):
        file.unlink()
    (tmp_path / "s" / "catalog.db").touch()
    with pytest.raises(FormatError, match="is empty"):
        vio.open_store(tmp_path / "s")


def test_the_catalog_of_another_store_is_refused(tmp_path):
    for name in ("one", "two"):
        vio.create_store(tmp_path / name).close()
    with pytest.raises(
        InvalidInputError, match=r"is another store's, not that of .*/one: pass the one it was made with"
    ):
        vio.open_store(tmp_path / "one", catalog=f"sqlite:///{tmp_path}/two/catalog.db")
    # Copied over by hand is the same mistake.
    shutil.copy(tmp_path / "two" / "catalog.db", tmp_path / "one" / "catalog.db")
    for file in (tmp_path / "one").glob("catalog.db-*"):
        file.unlink()
    with pytest.raises(InvalidInputError, match="is another store's"):
        vio.open_store(tmp_path / "one")


def test_a_damaged_catalog_is_told_as_such(tmp_path):
    vio.create_store(tmp_path / "s").close()
    (tmp_path / "s" / "catalog.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageError, match="file is not a database"):
        vio.open_store(tmp_path / "s")


def test_a_catalog_elsewhere_is_used(tmp_path, write):
    url = f"sqlite:///{tmp_path}/elsewhere.db"
    with vio.create_store(tmp_path / "s", catalog=url) as store:
        store.create_repo("weather")
        write(store, "weather@main", {"a": b"1"})
    assert not (tmp_path / "s" / "catalog.db").exists()
    with pytest.raises(FormatError, match="is missing"):
        vio.open_store(tmp_path / "s")
    with vio.open_store(tmp_path / "s", catalog=url) as store:
        assert store.snapshot("weather@main").read("a") == b"1"


def test_a_place_that_can_not_be_used_is_told():
    with pytest.raises(InvalidInputError, match=r"can't open object store 'ftp://\.\.\.'"):
        vio.create_store("ftp://host/x")


def test_no_message_shows_the_password_of_the_catalog(tmp_path):
    pytest.importorskip("psycopg")
    for url in ("postgresql+psycopg://me:secret@127.0.0.1:1/d", "postgresql+psycopg://127.0.0.1:1/d?password=secret"):
        with pytest.raises(StorageError) as caught:
            vio.create_store(tmp_path / "s", catalog=url)
        error = caught.value
        while error is not None:
            if isinstance(error, VersionedError):
                assert "secret" not in str(error)
                assert "secret" not in repr(error.args)
            error = error.__cause__
    # The call that failed can be made again.
    vio.create_store(tmp_path / "s").close()


def test_a_creation_that_died_halfway_can_be_done_again(tmp_path, write):
    vio.create_store(tmp_path / "s").close()
    (tmp_path / "s" / "versioned.json").unlink()
    with pytest.raises(StoreNotFoundError):
        vio.open_store(tmp_path / "s")
    with vio.open_or_create_store(tmp_path / "s") as store:
        store.create_repo("weather")
        write(store, "weather@main", {"a": b"1"})
        assert store.fsck().is_clean


def test_a_creation_that_loses_leaves_the_directories_of_the_one_that_won(tmp_path, monkeypatch):
    place = tmp_path / "s"
    place.mkdir()  # as the winner made it; the loser makes the directory of the packs
    connect, won = opening.connect_catalog_of, []

    def connect_later(*arguments):
        monkeypatch.setattr(opening, "connect_catalog_of", connect)
        won.append(vio.create_store(place))
        return connect(*arguments)

    monkeypatch.setattr(opening, "connect_catalog_of", connect_later)
    with pytest.raises(ExistsError):
        vio.create_store(place)
    with won[0] as store:
        store.create_repo("weather")
        with store.transaction("weather@main") as tx:
            tx.write("a", b"1")
        assert store.snapshot("weather@main").read("a") == b"1"


RACER = """
import sys
import versioned_io as vio
import versioned_io.store.opening
print("ready", flush=True)
sys.stdin.readline()
call = getattr(vio, sys.argv[2])
try:
    with call(sys.argv[1]) as store:
        store.create_repo("weather", exist_ok=True)
        with store.transaction("weather@main") as tx:
            tx.write(sys.argv[3], b"1")
    print("opened", flush=True)
except vio.VersionedError as error:
    print(type(error).__name__, error, flush=True)
"""


@pytest.mark.parametrize("call", ["create_store", "open_or_create_store"])
def test_of_several_processes_that_create_one_store_at_once_every_one_is_told_the_truth(tmp_path, call):
    place = str(tmp_path / "s")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, place, call, f"file-{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=120)[0].strip() for racer in racers]
    if call == "create_store":
        assert said.count("opened") == 1
        assert all(text == "opened" or text.startswith(f"ExistsError store '{place}' exists") for text in said)
    else:
        assert said == ["opened"] * 3
    with vio.open_store(place) as store:
        files = [file.path for file in store.snapshot("weather@main").walk()]
        assert len(files) == said.count("opened")
        assert store.fsck().is_clean


def test_a_cache_is_not_used_for_a_store_on_this_machine(tmp_path):
    with vio.create_store(tmp_path / "store", cache=tmp_path / "cache") as store:
        store.create_repo("r")
    with vio.open_store(tmp_path / "store", cache=tmp_path / "cache") as store:
        assert [repo.name for repo in store.repos()] == ["r"]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("url", "text"),
    [("http://host/x", "give a directory"), ("s3://", "names no bucket"), ("gs:///x", "names no bucket")],
)
def test_a_url_that_can_be_no_store_is_told_before_anything_is_asked(url, text):
    with pytest.raises(InvalidInputError, match=text):
        vio.open_store(url, catalog="sqlite://")
