"""What each entry may load: users wait for it in every command, step and task."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import versioned_io as vio

ROOT = Path(__file__).resolve().parents[2]

FOREIGN = {"airflow", "alembic", "boto3", "dagster", "fsspec", "obstore", "pandas", "polars", "psycopg"}
"""Packages that no command on a local store has a use for."""
COLUMNS = {"numpy", "pyarrow"}
SQL = {"sqlalchemy"}
LAYOUT = {"pydantic", "rich"}
"""What typer converts values by, and what folds wide tables: each takes as long to load as typer itself."""
TERMINAL = LAYOUT | {"typer"}

UPKEEP = {
    *("maintenance.backup", "maintenance.collection", "maintenance.compaction", "maintenance.erasure"),
    *("maintenance.evidence", "maintenance.fsck", "maintenance.rebuild", "maintenance.size"),
    *("maintenance.upkeep.steps", "maintenance.upkeep.upkeep"),
}
WRITING = {
    *("versioning.transactions.publish", "versioning.transactions.staging", "versioning.transactions.transaction"),
    *("versioning.history.merging", "versioning.history.squashing"),
    *("storage.chunks.data_writer", "storage.pages.build", "storage.pages.edit", "catalog.publishing"),
}
COPYING_OUT = {"versioning.snapshots.checkout", "versioning.snapshots.local_writer", "versioning.snapshots.glob"}
CAUSING = {"processing", "formats"}
FILES = {"versioning.snapshots", "storage.pages.read", "storage.pages.schema"}

BUDGETS = {
    "files": (
        ("ls r@main", "cat r@main:a.txt", "show r@main"),
        FOREIGN | LAYOUT | SQL,
        UPKEEP | WRITING | COPYING_OUT | CAUSING,
    ),
    "names": (
        ("repo list", "repo show r", "branch list r", "tag list r", "log r@main", "status"),
        FOREIGN | LAYOUT | SQL | COLUMNS,
        UPKEEP | WRITING | COPYING_OUT | CAUSING | FILES,
    ),
}
"""Commands, with the packages and the rooms of ours that none of them loads. One process runs all: that is cheaper."""
ANY_OF_THE_CORE = {"catalog", "interfaces", "maintenance", "processing", "storage", "store", "versioning"}
IMPORTS = {
    ("import versioned_io", "json"): (
        FOREIGN | COLUMNS | SQL | TERMINAL,
        ANY_OF_THE_CORE | {"errors", "formats", "model"},
    ),
    ("import airflow_versioned", "json"): (FOREIGN | COLUMNS | SQL | TERMINAL, ANY_OF_THE_CORE),
    ("import dagster_versioned", "dagster_shared"): (FOREIGN | COLUMNS | SQL | TERMINAL, ANY_OF_THE_CORE),
    # Every name. What Dagster and Airflow load themselves is not counted.
    ("from dagster_versioned import *", "dagster"): (FOREIGN | COLUMNS | SQL | TERMINAL, ANY_OF_THE_CORE),
    ("from airflow_versioned import *", "airflow.sdk, airflow.triggers.base"): (
        FOREIGN - {"airflow"} | COLUMNS | SQL | TERMINAL,
        ANY_OF_THE_CORE,
    ),
}

STEP = (
    {"airflow", "boto3", "obstore", "pandas", "polars", "psycopg"},
    UPKEEP
    | COPYING_OUT
    | {"processing", "versioning.history", "versioning.naming"}
    | {"catalog.collection", "catalog.damages", "catalog.due_keys", "catalog.subscriptions"},
    {"affected_partitions", "commit_sensor", "maintenance_schedule", "resource"},
)
"""What a step's process with a small input and output does not load: packages, rooms, modules of dagster_versioned."""
LAUNCHED = """
import json, runpy, sys
sys.argv[0] = "dagster"
try:
    runpy.run_module("dagster", run_name="__main__", alter_sys=True)
except SystemExit as ended:
    assert not ended.code
sys.stderr.write(chr(10) + json.dumps(sorted(sys.modules)))
"""

COMMANDS = """
import json, sys
from versioned_io.interfaces.cli import main
for command in sys.argv[1:]:
    sys.argv[1:] = command.split()
    try:
        main()
    except SystemExit as ended:
        assert not ended.code
    sys.stderr.write(json.dumps([command, sorted(sys.modules)]) + chr(10))
"""
IMPORT = """
import json, sys
import {before}
known = set(sys.modules)
{statement}
print(json.dumps(sorted(set(sys.modules) - known)))
"""
COMMIT = """
import json, os, sys
import versioned_io
with versioned_io.open_store(os.environ["VERSIONED_STORE"]) as store, store.transaction("r@main") as tx:
    tx.write("b.txt", b"b")
print(json.dumps(sorted(name for name in sys.modules if "postgres" in name or "psycopg" in name)))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with a commit and a tag."""
    directory = tmp_path_factory.mktemp("start-up") / "data"
    with vio.create_store(directory) as made:
        made.create_repo("r")
        with made.transaction("r@main") as tx:
            tx.write("a.txt", b"a")
        made.create_tag("r@v1", at="r@main")
    return directory


@pytest.mark.parametrize("kind", BUDGETS)
def test_a_command_loads_only_what_it_needs(kind, store):
    commands, packages, rooms = BUDGETS[kind]
    ran = run(COMMANDS, *commands, VERSIONED_STORE=str(store))
    answers = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [command for command, _ in answers] == list(commands)
    assert {command: over_budget(loaded, packages, rooms) for command, loaded in answers} == {
        one: [] for one in commands
    }


@pytest.mark.parametrize(("statement", "before"), IMPORTS)
def test_an_import_loads_only_what_it_needs(statement, before, tmp_path):
    ran = run(IMPORT.format(statement=statement, before=before), AIRFLOW_HOME=str(tmp_path))
    loaded = json.loads(ran.stdout.splitlines()[-1])
    assert any(name.startswith(statement.split()[1]) for name in loaded)
    packages, rooms = IMPORTS[statement, before]
    assert over_budget(loaded, packages, rooms) == []


def test_a_commit_on_sqlite_loads_nothing_of_postgresql(store):
    assert json.loads(run(COMMIT, VERSIONED_STORE=str(store)).stdout) == []


def test_a_step_of_dagster_loads_only_what_it_needs(tmp_path):
    arguments = {"directory": str(tmp_path), "manager": "VersionedIOManager", "runs": 1}
    prepared = subprocess.run(
        [sys.executable, "-m", "benchmarks.dagster_steps", "prepare", json.dumps(arguments)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    found = json.loads(prepared.stdout.splitlines()[-1])
    ((_, _, *step),) = found["steps"]
    ran = run(LAUNCHED, *step, **found["environment"])
    assert "STEP_SUCCESS" in ran.stderr
    loaded = json.loads(ran.stderr.splitlines()[-1])
    assert {"dagster_versioned.io_manager", "versioned_io.versioning.transactions.publish"} <= set(loaded)
    packages, rooms, ours = STEP
    assert over_budget(loaded, packages | {f"dagster_versioned.{module}" for module in ours}, rooms) == []


@pytest.mark.parametrize("rooms", [UPKEEP, WRITING, COPYING_OUT, CAUSING, FILES, ANY_OF_THE_CORE, STEP[1]])
def test_every_room_that_a_budget_names_is_there(rooms):
    root = Path(vio.__file__).parent
    paths = {room: root.joinpath(*room.split(".")) for room in rooms}
    assert [room for room, path in paths.items() if not (path.is_dir() or path.with_suffix(".py").is_file())] == []


def run(code, *arguments, **environment):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **environment})


def over_budget(loaded, packages, rooms):
    """Return the loaded modules that are forbidden."""
    forbidden = (*packages, *(f"versioned_io.{room}" for room in rooms))
    return [name for name in loaded if any(name == one or name.startswith(f"{one}.") for one in forbidden)]
