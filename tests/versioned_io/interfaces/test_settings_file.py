"""The nearest ``versioned.toml`` names the store, below flags and the environment."""

import json
import os

import pytest
from typer.testing import CliRunner

import versioned_io as vio
from versioned_io.errors import InvalidInputError
from versioned_io.interfaces.cli.app import app
from versioned_io.interfaces.settings_file import find_settings_file


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A home and a project, with a store in each, and a directory in the project where commands run."""
    for name in ("home", "project"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "versioned.toml").write_text('store = "data"\n')
        with vio.create_store(tmp_path / name / "data") as store:
            store.create_repo(name)
    (tmp_path / "project" / "a" / "b").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("VERSIONED_STORE", raising=False)
    monkeypatch.chdir(tmp_path / "project" / "a" / "b")
    return tmp_path


def run(*arguments, code=0, **environment):
    done = CliRunner().invoke(app, list(arguments), env=environment)
    assert done.exit_code == code, done.output
    return done


def repos(*arguments, **environment):
    return [one["name"] for one in json.loads(run("repo", "list", "--json", *arguments, **environment).stdout)["repos"]]


def test_the_nearest_file_above_names_the_store_and_else_that_of_the_home(place, monkeypatch):
    assert repos() == ["project"]
    assert f"the settings are from {str(place / 'project' / 'versioned.toml')!r}" in run("repo", "list", "-v").stderr
    monkeypatch.chdir(place / "elsewhere")
    assert repos() == ["home"]
    (place / "home" / "versioned.toml").unlink()
    assert "no store was named" in run("repo", "list", code=2).stderr


def test_a_flag_wins_over_the_environment_and_that_over_the_file(place):
    home, project = str(place / "home" / "data"), str(place / "project" / "data")
    assert repos(VERSIONED_STORE=home) == ["home"]
    assert repos("--store", project, VERSIONED_STORE=home) == ["project"]


def test_the_settings_of_a_file_belong_to_its_store(place):
    file = place / "project" / "versioned.toml"
    file.write_text('store = "data"\ncatalog = "sqlite:////nowhere/catalog.db"\n')
    assert "/nowhere/catalog.db" in run("repo", "list", code=7).stderr
    assert repos("--store", str(place / "home" / "data")) == ["home"]
    assert repos("--catalog", f"sqlite:///{place}/project/data/catalog.db") == ["project"]
    assert "made an empty store" in run("init", str(place / "new")).stdout
    assert (place / "new" / "catalog.db").exists()


def test_every_setting_is_read_and_secrets_come_from_the_environment(place):
    file = place / "project" / "versioned.toml"
    file.write_text(
        'store = "s3://bucket/x"\ncatalog = "postgresql+psycopg://u@h/db"\ncache = "c"\ncache_bytes = 7\n'
        '[storage_options]\nendpoint = "http://h"\n[sources."s3://more/"]\nregion = "r"\n'
    )
    found = find_settings_file(place / "project" / "a", None)
    assert found.path == file
    settings = vio.StoreSettings.from_environment(environment=found.environment)
    assert settings == vio.StoreSettings(
        "s3://bucket/x",
        "postgresql+psycopg://u@h/db",
        {"endpoint": "http://h"},
        str(place / "project" / "c"),
        7,
        {"s3://more/": {"region": "r"}},
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            '[storage_options]\nsecret_access_key = "abc"',
            "a secret in 'storage_options': put it into the environ",
        ),
        ('catalog = "postgresql+psycopg://u:hunter2@h/db"', "holds a secret in 'catalog'"),
        ('[sources."s3://x/"]\ntoken = "hunter2"', "holds a secret in 'sources'"),
        ('sotre = "data"', "unknown key 'sotre': use store, catalog"),
        ("store = 1", "'store' in .* must be a text"),
        ("cache_bytes = true", "must be a number"),
        ("storage_options = 'a=b'", "must be a table"),
        ("store = ", "can't be read"),
    ],
)
def test_a_file_that_is_wrong_is_refused_without_its_secrets(place, text, complaint):
    (place / "project" / "versioned.toml").write_text(text)
    with pytest.raises(InvalidInputError, match=complaint) as raised:
        find_settings_file(place / "project", None)
    assert "hunter2" not in str(raised.value)
    assert run("repo", "list", code=2).stderr.startswith("versioned: ")
    assert repos("--store", str(place / "project" / "data")) == ["project"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_refused(place):
    os.chown(place / "project" / "versioned.toml", 12345, 12345)
    assert "belongs to another user" not in run("repo", "list", "--store", str(place / "home" / "data")).output
    assert "belongs to another user" in run("repo", "list", code=2).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_link_of_another_user_to_a_file_of_this_one_is_refused(place, monkeypatch):
    shared = place / "shared"
    shared.mkdir()
    (shared / "versioned.toml").symlink_to(place / "project" / "versioned.toml")
    monkeypatch.chdir(shared)
    with vio.create_store(shared / "data") as store:
        store.create_repo("strange")
    assert repos() == ["strange"]
    os.chown(shared / "versioned.toml", 12345, 12345, follow_symlinks=False)
    assert "belongs to another user" in run("repo", "list", code=2).stderr


def test_a_link_to_nothing_is_no_file(place):
    file = place / "project" / "a" / "versioned.toml"
    file.symlink_to("nothing")
    assert repos() == ["project"]


def test_a_relative_catalog_is_beside_the_file(place):
    (place / "project" / "data" / "catalog.db").rename(place / "project" / "c.db")
    file = place / "project" / "versioned.toml"
    file.write_text('store = "data"\ncatalog = "sqlite:///c.db"\n')
    assert repos() == ["project"]
    assert [
        find_settings_file(place / "project", None).environment["VERSIONED_CATALOG"]
        for url in ("sqlite:////a/c.db", "sqlite:///:memory:", "postgresql:///c")
        if file.write_text(f'catalog = "{url}"')
    ] == ["sqlite:////a/c.db", "sqlite:///:memory:", "postgresql:///c"]
