"""The hook: from a connection to a store, and a run that is noted."""

import json

import pytest

from airflow_versioned import VersionedHook
from versioned_io.errors import RepoNotFoundError, StoreNotFoundError


@pytest.fixture
def connection(tmp_path, monkeypatch):
    def connect(url):
        monkeypatch.setenv("AIRFLOW_CONN_VERSIONED_DEFAULT", json.dumps({"conn_type": "versioned", "host": str(url)}))

    connect(tmp_path / "store")
    return connect


def test_it_opens_the_store_of_its_connection(store, connection):
    with VersionedHook().get_store() as opened:
        assert [repo.name for repo in opened.repos()] == ["orders", "quality"]


def test_it_opens_an_explicit_store(store, tmp_path):
    with VersionedHook(store=str(tmp_path / "store")).get_conn() as opened:
        assert len(opened.repos()) == 2


def test_testing_the_connection_says_what_is_there(store, connection):
    assert VersionedHook().test_connection() == (True, "the store holds 2 repos")


def test_testing_a_connection_to_nothing_says_what_to_do(connection, tmp_path):
    connection(tmp_path / "none")
    ok, message = VersionedHook().test_connection()
    assert not ok
    assert "no store at" in message
    with pytest.raises(StoreNotFoundError):
        VersionedHook().get_store()


def test_a_run_gives_its_commits_the_task(store, connection, build_context):
    with VersionedHook().run(build_context()) as opened, opened.transaction("orders@main") as tx:
        tx.write("a.csv", b"1")
    assert tx.commit.run.job == "check"


def test_a_repo_that_was_renamed_is_named(store, connection):
    with VersionedHook().get_store() as opened:
        opened.rename_repo("orders", "sales")
        with pytest.raises(RepoNotFoundError, match="'sales' now"):
            opened.transaction("orders@main")
