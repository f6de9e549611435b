"""The settings of a store as one value, and how the environment gives them."""

import pytest

import versioned_io as vio
from versioned_io.errors import InvalidInputError, StoreNotFoundError
from versioned_io.interfaces.filesystem import RegisteredFileSystem
from versioned_io.interfaces.settings import VARIABLES

FULL = {
    "VERSIONED_STORE": "s3://bucket/x",
    "VERSIONED_CATALOG": "postgresql+psycopg://u@h/db",
    "VERSIONED_STORAGE_OPTIONS": "endpoint=http://h:9000 allow_http=true",
    "VERSIONED_CACHE": "/cache",
    "VERSIONED_CACHE_BYTES": "1000",
    "VERSIONED_SOURCES": '{"/more/": {}}',
}


def test_every_variable_is_a_setting():
    assert set(FULL) == set(VARIABLES)
    assert vio.StoreSettings.from_environment(environment=FULL) == vio.StoreSettings(
        "s3://bucket/x",
        "postgresql+psycopg://u@h/db",
        {"endpoint": "http://h:9000", "allow_http": "true"},
        "/cache",
        1000,
        {"/more/": {}},
    )


def test_storage_options_may_be_a_json_object_with_spaces_in_it():
    environment = FULL | {"VERSIONED_STORAGE_OPTIONS": ' {"secret_access_key": "a b=c"}'}
    found = vio.StoreSettings.from_environment(environment=environment)
    assert found.storage_options == {"secret_access_key": "a b=c"}


def test_what_is_not_set_is_left_to_open_store():
    settings = vio.StoreSettings.from_environment(environment={"VERSIONED_STORE": "./data"})
    assert settings == vio.StoreSettings("./data")
    assert settings.options == {}


def test_an_argument_wins_over_the_environment_and_a_default_does_not():
    found = vio.StoreSettings.from_environment("/mine", "sqlite:///c.db", default="/else", environment=FULL)
    assert (found.store, found.catalog) == ("/mine", "sqlite:///c.db")
    assert vio.StoreSettings.from_environment(default="/else", environment=FULL).store == "s3://bucket/x"
    assert vio.StoreSettings.from_environment(default="/else", environment={}).store == "/else"


def test_a_store_that_nobody_names_is_asked_for():
    with pytest.raises(InvalidInputError, match="pass --store or set VERSIONED_STORE"):
        vio.StoreSettings.from_environment(environment={})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("VERSIONED_STORAGE_OPTIONS", "hush"),
        ("VERSIONED_STORAGE_OPTIONS", '{"key": {"hush": 1}}'),
        ("VERSIONED_STORAGE_OPTIONS", "{hush"),
        ("VERSIONED_SOURCES", '["hush"]'),
        ("VERSIONED_SOURCES", '{"/d/": "hush"}'),
    ],
)
def test_a_malformed_variable_is_named_and_its_value_is_not(variable, value):
    with pytest.raises(InvalidInputError, match=variable) as caught:
        vio.StoreSettings.from_environment(environment=FULL | {variable: value})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("value", ["-1", "1.5", "many", "\u0661"])
def test_a_size_is_a_whole_number_of_bytes(value):
    with pytest.raises(InvalidInputError, match="VERSIONED_CACHE_BYTES is not a number of bytes"):
        vio.StoreSettings.from_environment(environment=FULL | {"VERSIONED_CACHE_BYTES": value})


def test_no_secret_is_shown():
    assert "hush" not in repr(
        vio.StoreSettings("s", "postgresql://u:hush@h/d", {"k": "hush"}, sources={"p": {"k": "hush"}})
    )


def test_a_store_is_opened_and_made_only_on_request(tmp_path):
    settings = vio.StoreSettings(str(tmp_path / "store"))
    with pytest.raises(StoreNotFoundError):
        settings.open()
    with settings.open(create=True) as made, settings.open() as opened:
        assert made.url == opened.url


def test_fsspec_takes_every_setting_from_the_environment(s3_place, tmp_path, monkeypatch):
    """An HTTP endpoint could not be reached through the environment."""
    url, options = s3_place
    settings = vio.StoreSettings(url, f"sqlite:///{tmp_path}/catalog.db", options)
    with settings.open(create=True) as store:
        store.create_repo("orders")
        with store.transaction("orders@main") as tx:
            tx.write("a.txt", b"bytes")
    monkeypatch.setenv("VERSIONED_STORE", url)
    monkeypatch.setenv("VERSIONED_CATALOG", f"sqlite:///{tmp_path}/catalog.db")
    monkeypatch.setenv("VERSIONED_STORAGE_OPTIONS", " ".join(f"{name}={value}" for name, value in options.items()))
    assert RegisteredFileSystem().cat("orders@main/a.txt") == b"bytes"
