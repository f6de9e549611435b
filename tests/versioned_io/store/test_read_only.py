"""A store that this user may read and not write."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import versioned_io as vio
from tests.versioned_io.conftest import commit_files
from versioned_io.catalog.connect import connect_catalog
from versioned_io.errors import StorageError

SCRIPT = Path(__file__).with_name("read_as_nobody.py")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def place():
    """A directory that other users can reach, as those of pytest can't be."""
    directory = Path(tempfile.mkdtemp(prefix="versioned-io-read-only-"))
    directory.chmod(0o755)
    yield directory
    for path in [directory, *directory.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(directory)


@pytest.fixture
def filled(place):
    with vio.create_store(place / "store") as store:
        store.create_repo("r")
        commit_files(store, "r@main", {"a": b"1", "d/b": b"2"})
    return place / "store"


def protect(url):
    for path in [url, *url.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def look(url, place):
    with vio.create_store(place / "warm") as warm:
        warm.create_repo("r")
        commit_files(warm, "r@main", {"a": b"1"})
    command = [sys.executable, str(SCRIPT), str(url), str(place / "warm")]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_is_read_and_each_change_is_refused_in_one_sentence(filled, place):
    protect(filled)
    before = {path: path.stat().st_mtime_ns for path in filled.rglob("*")}
    found = look(filled, place)
    assert found["seen"] == {"a": "1", "d/b": "2"}
    assert set(found["refused"]) == {"commit", "create_repo", "create_tag", "put", "delete"}
    for code, message in found["refused"].values():
        assert code == "storage"
        assert "can be read but not changed here" in message
        assert "\n" not in message
    assert {path: path.stat().st_mtime_ns for path in filled.rglob("*")} == before


def test_what_a_live_writer_has_in_its_log_is_read_too(filled, place):
    with vio.open_store(filled) as writer:
        commit_files(writer, "r@main", {"a": b"newer"})
        assert (filled / "catalog.db-wal").stat().st_size > 0
        protect(filled)
        assert look(filled, place)["seen"] == {"a": "newer", "d/b": "2"}


def test_a_log_that_can_not_be_read_is_an_error_and_never_an_older_state(filled, place):
    with vio.open_store(filled) as writer:
        commit_files(writer, "r@main", {"a": b"newer"})
        shutil.copytree(filled, place / "copy")
    (place / "copy" / "catalog.db-shm").unlink()
    protect(place / "copy")
    found = look(place / "copy", place)
    assert found.get("seen", {"a": "newer", "d/b": "2"}) == {"a": "newer", "d/b": "2"}
    if "error" in found:
        assert found["error"][0] == "storage"


def test_a_read_without_locks_beside_a_writer_fails_and_can_be_repeated(filled, monkeypatch):
    database = filled / "catalog.db"
    writer = sqlite3.connect(database)
    writer.execute("PRAGMA journal_mode=DELETE")
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))
    catalog = connect_catalog(f"sqlite:///{database}")
    monkeypatch.undo()
    assert catalog.read_only == database

    def read_beside_a_write():
        with catalog.read() as connection:
            writer.execute("CREATE TABLE meanwhile (x)")
            writer.commit()
            connection.exec_driver_sql("SELECT count(*) FROM repos").scalar_one()

    with pytest.raises(StorageError, match="try again"):
        read_beside_a_write()
    with catalog.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM repos").scalar_one() == 1
    with pytest.raises(StorageError, match="not changed here"), catalog.write():
        pass
    writer.close()
    catalog.close()


def test_a_store_that_can_be_written_is_no_read_only_one(filled):
    assert stat.S_IMODE(filled.stat().st_mode) & stat.S_IWUSR
    with vio.open_store(filled) as store:
        assert store._backend.catalog.read_only is None
        store.create_repo("other")
