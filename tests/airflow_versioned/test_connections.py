"""Where the store is, as an Airflow connection says it."""

import pytest
from airflow.sdk import Connection

from airflow_versioned.connections import StoreAddress, StoreLocation, read_connection
from versioned_io import StoreSettings
from versioned_io.errors import InvalidInputError


def test_host_and_password_are_the_two_urls():
    connection = Connection(
        conn_id="c", conn_type="versioned", host="s3://bucket/x", password="postgresql+psycopg://u:secret@h/db"
    )
    location = read_connection(connection)
    assert location == StoreLocation(StoreSettings("s3://bucket/x", "postgresql+psycopg://u:secret@h/db"), "airflow")


def test_the_deployment_is_a_field_of_its_own():
    connection = Connection(conn_id="c", conn_type="versioned", host="/data", extra='{"deployment": "staging"}')
    assert read_connection(connection) == StoreLocation(StoreSettings("/data"), "staging")


def test_the_catalogs_url_is_never_shown():
    assert "secret" not in repr(
        StoreLocation(StoreSettings("/data", "postgresql://u:secret@h/db", {"secret_access_key": "secret"}))
    )


def test_a_connection_of_another_type_is_refused():
    with pytest.raises(ValueError, match="type 'aws'"):
        read_connection(Connection(conn_id="c", conn_type="aws", host="x"))


def test_a_connection_without_a_store_is_refused():
    with pytest.raises(ValueError, match="fill in its Store URL"):
        read_connection(Connection(conn_id="c", conn_type="versioned"))


def test_an_explicit_store_needs_no_connection():
    assert StoreAddress(url="/data").locate() == StoreLocation(StoreSettings("/data"))


def test_a_connection_in_the_environment_is_found(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_ARCHIVE", '{"conn_type": "versioned", "host": "/archive"}')
    assert StoreAddress("archive").locate() == StoreLocation(StoreSettings("/archive"))


@pytest.mark.parametrize(
    "options", ['{"endpoint": "http://h:9000", "allow_http": "true"}', '"endpoint=http://h:9000 allow_http=true"']
)
def test_every_setting_of_a_store_is_a_field(options):
    sources = '{"s3://b/": {"region": "x"}}'
    extra = f'{{"storage_options": {options}, "cache": "/c", "cache_bytes": "5", "sources": {sources}}}'
    connection = Connection(conn_id="c", conn_type="versioned", host="s3://bucket/x", extra=extra)
    assert read_connection(connection).settings == StoreSettings(
        "s3://bucket/x",
        storage_options={"endpoint": "http://h:9000", "allow_http": "true"},
        cache="/c",
        cache_bytes=5,
        sources={"s3://b/": {"region": "x"}},
    )


@pytest.mark.parametrize("extra", ['{"storage_options": "hush"}', '{"cache_bytes": "hush"}', '{"sources": "hush"}'])
def test_a_malformed_field_is_named_with_its_connection(extra):
    with pytest.raises(InvalidInputError, match="of connection 'c' is not"):
        read_connection(Connection(conn_id="c", conn_type="versioned", host="/d", extra=extra))
