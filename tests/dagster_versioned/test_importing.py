"""Moving the values of an existing project into a store, by the command and by the function."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

import versioned_io as vio
from dagster_versioned import VersionedIOManager
from dagster_versioned.fallback import Fallback
from dagster_versioned.importing import import_definitions, import_values
from versioned_io import formats
from versioned_io.errors import InvalidInputError

PROJECT = """
import dagster as dg
from dagster_versioned import VersionedIOManager

DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-12-31")
GRID = dg.MultiPartitionsDefinition({{
    "city": dg.StaticPartitionsDefinition(["oslo", "rome"]), "day": dg.StaticPartitionsDefinition(["1", "2"]),
}})

@dg.asset(key_prefix="raw")
def orders():
    return [1, 2, 3]

@dg.asset(partitions_def=DAYS)
def daily(context):
    return {{"day": context.partition_key}}

@dg.asset(partitions_def=GRID)
def weather(context):
    return str(context.partition_key)

outside = dg.AssetSpec("outside")

defs = dg.Definitions(assets=[orders, daily, weather, outside], resources={{"io_manager": {manager}}})
"""


class Project:
    """A project on disk whose assets were stored by a `FilesystemIOManager`."""

    def __init__(self, place: Path):
        self.old = place / "old"
        self.store = place / "store"
        self.file = place / "definitions.py"

    def write(self, manager):
        self.file.write_text(PROJECT.format(manager=manager))
        return str(self.file)

    def move(self):
        """Change the one line."""
        return self.write(f"VersionedIOManager(store={str(self.store)!r}, fallback={str(self.old)!r})")

    def put(self, name, value):
        path = self.old / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(value))

    def value(self, repo, stem):
        with vio.open_store(self.store) as store:
            return formats.load_object(store.snapshot(f"{repo}@main"), stem)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    made = Project(tmp_path)
    made.put("raw/orders", [1, 2, 3])
    for day in range(1, 31):
        made.put(f"daily/2024-04-{day:02}", {"day": day})
    made.put("weather/oslo/2", "rain")
    return made


def counts(report):
    return {one.asset: (one.imported, one.present, one.missing) for one in report.assets}


def test_values_of_every_partition_are_moved_and_keep_their_origin(project):
    report = import_definitions(project.move())
    assert counts(report) == {"daily": (30, 0, 335), "raw/orders": (1, 0, 0), "weather": (1, 0, 3)}
    assert project.value("raw.orders", "data") == [1, 2, 3]
    assert project.value("daily", "2024-04-09/data") == {"day": 9}
    assert project.value("weather", "oslo/2/data") == "rain"
    with vio.open_store(project.store) as store:
        (commit,) = store.log("weather@main")
    (read,) = commit.metadata["external_inputs"]
    assert (read["uri"], read["output"]) == ((project.old / "weather" / "oslo" / "2").as_uri(), "oslo/2")
    assert (commit.author, commit.message) == ("dagster-import", f"import from {project.old}")


def test_it_continues_where_it_stopped_and_replaces_nothing(project):
    location = project.move()
    import_definitions(location, assets=["daily"])
    project.put("daily/2024-04-01", {"day": "changed on disk"})
    project.put("daily/2024-05-01", {"day": "later"})
    assert counts(import_definitions(location, assets=["daily"])) == {"daily": (1, 30, 334)}
    assert project.value("daily", "2024-04-01/data") == {"day": 1}
    assert project.value("daily", "2024-05-01/data") == {"day": "later"}


def test_what_a_run_stored_stays(project):
    location = project.move()
    with vio.open_or_create_store(project.store) as store:
        store.create_repo("raw.orders")
        with store.transaction("raw.orders@main") as tx:
            formats.save_object(tx, "data", "new")
    assert counts(import_definitions(location, assets=["raw/orders"])) == {"raw/orders": (0, 1, 0)}
    assert project.value("raw.orders", "data") == "new"


def test_a_run_that_stores_a_value_meanwhile_wins(project, monkeypatch):
    location = project.move()
    load = Fallback.load

    def slow(self, context, key):
        value = load(self, context, key)
        with vio.open_or_create_store(project.store) as store:
            store.create_repo("raw.orders", exist_ok=True)
            with store.transaction("raw.orders@main") as tx:
                formats.save_object(tx, "data", "new")
        return value

    monkeypatch.setattr(Fallback, "load", slow)
    import_definitions(location, assets=["raw/orders"])
    assert project.value("raw.orders", "data") == "new"


def test_a_dry_run_counts_and_makes_nothing(project):
    with vio.create_store(project.store):
        pass
    report = import_definitions(project.move(), dry_run=True)
    assert counts(report) == {"daily": (30, 0, 335), "raw/orders": (1, 0, 0), "weather": (1, 0, 3)}
    with vio.open_store(project.store) as store:
        assert store.repos() == []


def test_a_project_that_has_not_moved_yet_names_a_store(project):
    location = project.write(f"dg.FilesystemIOManager(base_dir={str(project.old)!r})")
    with pytest.raises(InvalidInputError, match="pass --store, or put VersionedIOManager in its place"):
        import_definitions(location, assets=["raw/orders"])
    import_definitions(location, settings=vio.StoreSettings(str(project.store)), assets=["raw/orders"])
    assert project.value("raw.orders", "data") == [1, 2, 3]


def test_the_place_of_the_values_may_be_given(project, tmp_path):
    location = project.write(f"VersionedIOManager(store={str(project.store)!r})")
    with pytest.raises(InvalidInputError, match="nothing says where the old values are: pass --from"):
        import_definitions(location)
    assert counts(import_definitions(location, fallback=str(project.old), assets=["raw/orders"])) == {
        "raw/orders": (1, 0, 0)
    }


def test_an_unknown_asset_is_refused_before_anything_is_moved(project):
    with pytest.raises(InvalidInputError, match=r"has no asset nothing; it has daily, outside, raw/orders, weather"):
        import_definitions(project.move(), assets=["raw/orders", "nothing"])
    assert not project.store.exists()


@pytest.mark.parametrize("location", ["none.py", "no_such_module_here"])
def test_a_location_without_definitions_is_refused(location, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match=location):
        import_definitions(location)


def test_progress_tells_of_each_hundred(project):
    told = []
    import_definitions(project.move(), assets=["daily"], progress=lambda asset, done: told.append((asset, done)))
    assert told == [("daily", 100), ("daily", 200), ("daily", 300), ("daily", 365)]


def test_dynamic_partitions_are_those_of_the_instance(tmp_path):
    partitions = dg.DynamicPartitionsDefinition(name="files")
    (tmp_path / "old" / "things").mkdir(parents=True)
    (tmp_path / "old" / "things" / "b").write_bytes(pickle.dumps("of b"))
    manager = VersionedIOManager(store=str(tmp_path / "store"), fallback=str(tmp_path / "old"))
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("files", ["a", "b"])
        report = import_values(manager, {dg.AssetKey("things"): partitions}, instance=instance)
    assert counts(report) == {"things": (1, 0, 1)}


def test_the_command_shows_what_it_moved(project):
    command = [sys.executable, "-m", "versioned_io.interfaces.cli", "import-dagster", project.move()]
    environment = os.environ | {"COLUMNS": "120"}
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True, env=environment)
    assert {one["asset"]: one["imported"] for one in json.loads(done.stdout)["assets"]} == {
        "daily": 30,
        "raw/orders": 1,
        "weather": 1,
    }
    again = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "0 values imported" in again.stdout
    wrong = subprocess.run([*command, "--asset", "no"], capture_output=True, text=True, check=False, env=environment)
    assert (wrong.returncode, "has no asset no" in wrong.stderr) == (2, True)
