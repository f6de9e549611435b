"""``versioned status``, as a person and as a health check use it."""

import json
import sqlite3
from contextlib import closing

import pytest
from typer.testing import CliRunner

import versioned_io as vio
from versioned_io.interfaces.cli.app import app


@pytest.fixture
def place(tmp_path):
    with vio.create_store(tmp_path / "store") as store:
        store.create_repo("weather")
        with store.transaction("weather@main") as tx:
            tx.write("2012/01.csv", b"rain")
        store.subscription("retrain", "weather@main", partitions="{year}/{month}.csv").collect()
    return tmp_path / "store"


def run(place, *arguments):
    return CliRunner().invoke(app, ["status", *arguments], env={"VERSIONED_STORE": str(place)})


def spoil(place, statement):
    with closing(sqlite3.connect(place / "catalog.db")) as catalog, catalog:
        catalog.execute(statement)


def test_it_shows_heads_and_waiting_work(place):
    done = run(place)
    lines = [line.split() for line in done.stdout.splitlines()]
    with vio.open_store(place) as store:
        head = store.commit("weather@main").id
    assert done.exit_code == 0
    assert ["weather", "main", "1", head, "just", "now"] in lines
    assert ["retrain", "weather@main", "1", "just", "now", "all"] in lines
    assert "maintenance is not overdue" in done.stdout
    assert "problem" not in done.stdout


def test_as_json_it_has_every_field(place):
    found = json.loads(run(place, "--json").stdout)
    assert found["repos"][0]["branches"][0]["number"] == 1
    assert found["subscriptions"][0]["due"] == 1
    assert (found["is_owner"], found["overdue"], found["damages"], found["problems"]) == (True, None, 0, [])


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELECT 1", 0),
        ("UPDATE journal SET at = 0", 9),
        ("INSERT INTO maintenance VALUES ('mark', 0, 0, 0, 0, 'it is broken')", 9),
        (f"INSERT INTO damages VALUES ('{'0' * 32}', 0, 0, 1, x'00', 0, NULL, NULL, NULL, NULL)", 6),
    ],
)
def test_a_health_check_tells_by_its_exit_code(place, statement, code):
    spoil(place, statement)
    assert run(place).exit_code == 0
    done = run(place, "--check")
    assert done.exit_code == code, done.output
    assert ("run `versioned" in done.stdout or "it is broken" in done.stdout) == bool(code)


def test_a_store_without_a_commit_is_shown(tmp_path):
    vio.create_store(tmp_path / "store").close()
    done = run(tmp_path / "store", "--check")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, f"store {tmp_path / 'store'}")
