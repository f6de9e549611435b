"""Where the store is, as an Airflow connection says it."""

import json

import pytest
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

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


def test_a_deployment_that_could_be_another_ones_connection_is_refused():
    """The relays of deployment ``a/b`` have the names of the relays of the connection ``b`` in deployment ``a``."""
    connection = Connection(conn_id="c", conn_type="versioned", host="/data", extra='{"deployment": "a/b"}')
    with pytest.raises(ValueError, match="deployment 'a/b' of connection 'c' has a '/'"):
        read_connection(connection)


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


def with_credentials(monkeypatch, other, *, store="s3://bucket/x", **extra):
    """Return the settings of a connection that names *other* for its credentials."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(other))
    named = json.dumps({"credentials_conn_id": "aws_default", **extra})
    return read_connection(Connection(conn_id="c", conn_type="versioned", host=store, extra=named)).settings


@pytest.mark.parametrize(
    ("store", "other", "expected"),
    [
        (
            "s3://bucket/x",
            {"conn_type": "aws", "login": "ada", "password": "pw", "extra": {"region_name": "eu-west-1"}},
            {"access_key_id": "ada", "secret_access_key": "pw", "region": "eu-west-1"},
        ),
        (
            "s3://bucket/x",
            {"conn_type": "aws", "extra": {"aws_session_token": "t", "endpoint_url": "http://minio:9000"}},
            {"session_token": "t", "endpoint": "http://minio:9000", "allow_http": "true"},
        ),
        (
            "s3://bucket/x",
            {
                "conn_type": "aws",
                "extra": {"profile_name": "p", "service_config": {"s3": {"endpoint_url": "https://m"}}},
            },
            {"profile": "p", "endpoint": "https://m"},
        ),
        ("s3://bucket/x", {"conn_type": "aws"}, None),
        (
            "gs://bucket/x",
            {"conn_type": "google_cloud_platform", "extra": {"keyfile_dict": {"type": "service_account"}}},
            {"service_account_key": '{"type": "service_account"}'},
        ),
        (
            "az://box/x",
            {"conn_type": "wasb", "login": "account", "password": "key"},
            {"account_name": "account", "account_key": "key"},
        ),
        (
            "az://box/x",
            {"conn_type": "wasb", "login": "app", "password": "pw", "extra": {"tenant_id": "t"}},
            {"client_id": "app", "client_secret": "pw", "tenant_id": "t"},
        ),
        (
            "az://box/x",
            {
                "conn_type": "wasb",
                "host": "https://account.blob.core.windows.net/",
                "login": "app",
                "password": "pw",
                "extra": {"tenant_id": "t"},
            },
            {"account_name": "account", "client_id": "app", "client_secret": "pw", "tenant_id": "t"},
        ),
        (
            "az://box/x",
            {"conn_type": "wasb", "host": "account", "extra": {"sas_token": "s"}},
            {"account_name": "account", "sas_key": "s"},
        ),
    ],
)
def test_the_credentials_of_another_connection_are_storage_options(monkeypatch, store, other, expected):
    assert with_credentials(monkeypatch, other, store=store).storage_options == expected


def test_storage_options_of_the_connection_itself_win(monkeypatch):
    other = {"conn_type": "aws", "login": "ada", "password": "pw"}
    settings = with_credentials(monkeypatch, other, storage_options={"access_key_id": "bob"})
    assert settings.storage_options == {"access_key_id": "bob", "secret_access_key": "pw"}


@pytest.mark.parametrize(
    ("store", "other", "said"),
    [
        ("s3://bucket/x", {"conn_type": "http", "password": "hush"}, "has type 'http'"),
        ("/data", {"conn_type": "aws", "password": "hush"}, "is not for the store '/data'"),
        ("s3://b/x", {"conn_type": "aws", "password": "hush", "extra": {"role_arn": "arn:x"}}, "assumes a role"),
        ("az://b/x", {"conn_type": "wasb", "extra": {"connection_string": "hush"}}, "has a connection_string"),
    ],
)
def test_credentials_that_a_store_can_not_use_are_refused_without_showing_them(monkeypatch, store, other, said):
    with pytest.raises(ValueError, match=said) as caught:
        with_credentials(monkeypatch, other, store=store)
    assert "hush" not in str(caught.value)


def test_a_missing_connection_with_credentials_is_named(monkeypatch):
    connection = Connection(
        conn_id="c", conn_type="versioned", host="s3://b/x", extra='{"credentials_conn_id": "nowhere"}'
    )
    with pytest.raises(AirflowNotFoundException, match="nowhere"):
        read_connection(connection)


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
