"""The migrations make what the tables say."""

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from versioned_io.catalog import migrations
from versioned_io.catalog.connect import connect_catalog
from versioned_io.catalog.engines import sqlite_url
from versioned_io.catalog.revisions import (
    REVISION,
    check_revision,
    make_tables,
    migrate,
    run_migrations,
)
from versioned_io.catalog.tables import metadata
from versioned_io.errors import FormatError


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog(request, tmp_path):
    url = sqlite_url(tmp_path / "catalog.db") if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    connected = connect_catalog(url)
    yield connected
    connected.close()


@pytest.fixture(params=["at once", "by migrations"])
def made(request, catalog):
    """A catalog whose tables were made, either way."""
    assert not check_revision(catalog)
    with catalog.write() as connection:
        (make_tables if request.param == "at once" else run_migrations)(connection)
    return catalog


def test_an_empty_database_becomes_what_the_tables_say(made):
    catalog = made
    assert check_revision(catalog)
    with catalog.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_names_of_constraints_and_comments_are_what_the_tables_say(made):
    catalog = made
    with catalog.read() as connection:
        found = inspect(connection)
        for table in metadata.sorted_tables:
            assert found.get_pk_constraint(table.name)["name"] == table.primary_key.name
            keys = {key["name"]: key["referred_table"] for key in found.get_foreign_keys(table.name)}
            assert keys == {key.name: key.referred_table.name for key in table.foreign_key_constraints}
            indexes = {index["name"] for index in found.get_indexes(table.name) if "duplicates_constraint" not in index}
            assert indexes == {index.name for index in table.indexes}
            options = {index["name"]: index.get("dialect_options", {}) for index in found.get_indexes(table.name)}
            partial = {name for name, found in options.items() if f"{connection.dialect.name}_where" in found}
            assert partial == ({"ix_input_files_confirmed_by_path"} if table.name == "input_files" else set())
            if connection.dialect.name == "postgresql":
                assert found.get_table_comment(table.name)["text"] == table.comment


def columns_of(connection):
    """Every column of every table, with its default: what SQLite and PostgreSQL say themselves."""
    found = inspect(connection)
    return {
        table: [(one["name"], str(one["type"]), one["nullable"], one["default"]) for one in found.get_columns(table)]
        for table in found.get_table_names()
    }


def test_both_ways_make_the_same_columns(tmp_path):
    made = []
    for name, make in (("a", make_tables), ("b", run_migrations)):
        catalog = connect_catalog(sqlite_url(tmp_path / name))
        with catalog.write() as connection:
            make(connection)
            made.append(columns_of(connection))
        catalog.close()
    assert made[0].keys() == made[1].keys()
    for table, columns in made[0].items():
        assert sorted(columns) == sorted(made[1][table]), table


def test_migrating_again_changes_nothing(catalog):
    migrate(catalog)
    with catalog.write() as connection:
        connection.execute(text("INSERT INTO properties VALUES ('store_id', 'x')"))
    migrate(catalog)
    with catalog.read() as connection:
        assert connection.execute(text("SELECT * FROM properties")).all() == [("store_id", "x")]


def test_the_newest_migration_is_the_one_that_this_version_asks_for():
    assert ScriptDirectory(migrations.__path__[0]).get_current_head() == REVISION


FORMER_NAMES = {
    "airflow:check:{date}.csv": ("{date}.csv", None, "airflow", "check"),
    "airflow:(relay):{date}.csv": ("{date}.csv", None, "airflow", None),
    "eu:west:check:{a}/{b} as {b}|{a}": ("{a}/{b}", "{b}|{a}", "eu:west", "check"),
    "airflow:train:*": (None, None, "airflow", "train"),
    "mine": (None, None, None, None),
    "mine:*": (None, None, None, None),
    "airflow:" + "d" * 209 + ":" + "0" * 32: ("{date}.csv", None, None, None),
}
"""The name of a subscription → its template, its key, and the relay and the consumer that follow from the name."""


def test_subscriptions_of_older_catalogs_learn_their_relays_and_consumers_from_their_names(catalog):
    with catalog.write() as connection:
        run_migrations(connection, to="0007")
        connection.execute(text("INSERT INTO repos (id, name, description, created_at) VALUES (1, 'r', '', 0)"))
        connection.execute(
            text("INSERT INTO branches (id, repo_id, name, epoch, is_protected) VALUES (1, 1, 'main', 1, false)")
        )
        for name, (partitions, key, _, _) in FORMER_NAMES.items():
            connection.execute(
                text(
                    "INSERT INTO subscriptions (name, branch_id, partitions, key_template, sequence, created_at)"
                    " VALUES (:name, 1, :partitions, :key, 0, 0)"
                ),
                {"name": name, "partitions": partitions, "key": key},
            )
        run_migrations(connection)
        rows = connection.execute(text("SELECT name, partitions, key_template, relay, consumer FROM subscriptions"))
        assert {row[0]: tuple(row[1:]) for row in rows} == FORMER_NAMES


@pytest.mark.parametrize(("found", "advice"), [("9999", "upgrade versioned-io"), ("0000", "run `versioned upgrade`")])
def test_a_catalog_of_another_revision_is_refused(catalog, found, advice):
    migrate(catalog)
    with catalog.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :found"), {"found": found})
    with pytest.raises(FormatError, match=f"revision {found}.*{advice}"):
        check_revision(catalog)


def test_a_migration_that_is_interrupted_leaves_nothing(tmp_path):
    script = """
import os, sys
from sqlalchemy import event
from versioned_io.catalog.connect import connect_catalog
from versioned_io.catalog.engines import sqlite_url
from versioned_io.catalog.revisions import run_migrations
from pathlib import Path
catalog = connect_catalog(sqlite_url(Path(sys.argv[1])))
@event.listens_for(catalog.engine, "after_cursor_execute")
def die(connection, cursor, statement, *_):
    if "CREATE TABLE tags" in statement:
        os.kill(os.getpid(), 9)
with catalog.write() as connection:
    run_migrations(connection)
"""
    file = tmp_path / "catalog.db"
    assert subprocess.run([sys.executable, "-c", script, str(file)], check=False).returncode == -9
    catalog = connect_catalog(sqlite_url(file))
    assert not check_revision(catalog)
    migrate(catalog)
    assert check_revision(catalog)
    catalog.close()
