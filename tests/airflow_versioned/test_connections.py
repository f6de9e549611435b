"""Where the store is, as an Airflow connection says it."""

import pytest
from airflow.sdk import Connection

from airflow_versioned.connections import StoreAddress, StoreLocation, read_connection


def test_host_and_password_are_the_two_urls():
    connection = Connection(
        conn_id="c", conn_type="versioned", host="s3://bucket/x", password="postgresql+psycopg://u:secret@h/db"
    )
    location = read_connection(connection)
    assert location == StoreLocation("s3://bucket/x", "postgresql+psycopg://u:secret@h/db", "airflow")


def test_the_deployment_is_a_field_of_its_own():
    connection = Connection(conn_id="c", conn_type="versioned", host="/data", extra='{"deployment": "staging"}')
    assert read_connection(connection) == StoreLocation("/data", None, "staging")


def test_the_catalogs_url_is_never_shown():
    assert "secret" not in repr(StoreLocation("/data", "postgresql://u:secret@h/db"))


def test_a_connection_of_another_type_is_refused():
    with pytest.raises(ValueError, match="type 'aws'"):
        read_connection(Connection(conn_id="c", conn_type="aws", host="x"))


def test_a_connection_without_a_store_is_refused():
    with pytest.raises(ValueError, match="fill in its Store URL"):
        read_connection(Connection(conn_id="c", conn_type="versioned"))


def test_an_explicit_store_needs_no_connection():
    assert StoreAddress(url="/data").locate() == StoreLocation("/data")


def test_a_connection_in_the_environment_is_found(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_ARCHIVE", '{"conn_type": "versioned", "host": "/archive"}')
    assert StoreAddress("archive").locate() == StoreLocation("/archive")
