"""The example of a project that moves: years of values on disk, one line changed, nothing materialised again."""

import difflib
import importlib
import pickle
import sys
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

import versioned_io as vio
from dagster_versioned.importing import import_definitions

EXAMPLE = Path(__file__).parents[2] / "example_projects" / "dagster_migration"
MODULE = "example_projects.dagster_migration"

pytestmark = [
    pytest.mark.slow,
    # Dagster reads its own deprecated property for each resource in a resource.
    pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run:DeprecationWarning"),
    # Its evaluation of automation conditions uses its own beta parameter.
    pytest.mark.filterwarnings("ignore:Parameter `include_sources`"),
]


class Project:
    """The project on disk, before and after."""

    def __init__(self, place: Path, instance: dg.DagsterInstance):
        self.old, self.store, self.instance = place / "old", place / "store", instance
        self.assets = importlib.import_module(f"{MODULE}.assets")

    def definitions(self, when: str) -> dg.Definitions:
        sys.modules.pop(f"{MODULE}.{when}", None)
        return importlib.import_module(f"{MODULE}.{when}").definitions

    def run(self, when: str, *names: str, partition: str | None = None) -> dg.ExecuteInProcessResult:
        definitions = self.definitions(when)
        keys = [dg.AssetKey(name.split("/")) for name in names]
        job = definitions.resolve_implicit_global_asset_job_def()
        done = job.get_subset(asset_selection=set(keys)).execute_in_process(
            instance=self.instance, partition_key=partition
        )
        assert done.success
        return done

    def fill(self, asset: str, values: dict[str, object]) -> None:
        """Put values where the stock manager has them, with the events of the runs that made them."""
        for key, value in values.items():
            path = self.old / asset / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps(value))
            self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key))

    def made(self) -> dict[str, int]:
        """How often each asset was materialised."""
        return {
            key.to_user_string(): len(
                self.instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=key), limit=5_000).records
            )
            for key in self.definitions("before").resolve_all_asset_keys()
        }

    def values(self, when: str) -> dict[str, object]:
        """Every value of every partition, by asset and partition, as text that tells values apart."""
        found = {}
        with self.definitions(when).get_asset_value_loader(instance=self.instance) as loader:
            for name in ("raw/calibration", "wettest", "driest", "report"):
                found[name] = repr(loader.load_asset_value(dg.AssetKey(name.split("/"))))
            for name, keys in self.partitions().items():
                for key in keys:
                    value = loader.load_asset_value(dg.AssetKey(name), partition_key=key)
                    found[f"{name}[{key}]"] = value.to_json() if isinstance(value, pd.DataFrame) else repr(value)
        return found

    def partitions(self) -> dict[str, list[str]]:
        return {
            "daily_rain": self.assets.DAYS.get_partition_keys()[::60],
            "monthly_rain": self.assets.MONTHS.get_partition_keys()[::6],
            "station": ["oslo", "rome"],
            "region_rain": [dg.MultiPartitionKey({"month": "2021-05-01", "region": "north/east"})],
        }


@pytest.fixture
def project(tmp_path, sqlite_instance, monkeypatch):
    monkeypatch.setenv("OLD_VALUES", str(tmp_path / "old"))
    monkeypatch.setenv("VERSIONED_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(EXAMPLE.parents[1])
    made = Project(tmp_path, sqlite_instance)
    sqlite_instance.add_dynamic_partitions("stations", ["oslo", "rome"])
    days = {day: int(day[-2:]) + 0.5 for day in made.assets.DAYS.get_partition_keys()}
    months = {
        month: pd.DataFrame([(day, rain) for day, rain in days.items() if day[:7] == month[:7]]).set_axis(
            ["day", "rain_mm"], axis=1
        )
        for month in made.assets.MONTHS.get_partition_keys()
    }
    made.fill("daily_rain", days)
    made.fill("monthly_rain", months)
    made.run("before", "raw/calibration")
    made.run("before", "daily_rain", partition="2021-01-01")
    made.run("before", "monthly_rain", partition="2021-01-01")
    for station in ("oslo", "rome"):
        made.run("before", "station", partition=station)
    made.run("before", "region_rain", partition=made.partitions()["region_rain"][0])
    made.run("before", "wettest", "driest", "report")
    return made


def test_one_line_and_its_import_differ():
    lines = [(EXAMPLE / name).read_text().splitlines()[2:] for name in ("before.py", "after.py")]
    changed = [line for line in difflib.ndiff(*lines) if line[0] in "+-" and "import" not in line]
    assert [line[:14] for line in changed] == ["- io_manager =", "+ io_manager ="]


def test_a_project_moves_and_nothing_is_materialised_again(project):
    before, values = project.made(), project.values("before")
    assert before["daily_rain"] == 1_096
    assert sum(count > 0 for count in before.values()) == 8

    assert project.values("after") == values
    assert project.made() == before
    eager = [
        asset.map_asset_specs(lambda spec: spec.replace_attributes(automation_condition=dg.AutomationCondition.eager()))
        for asset in project.assets.ASSETS
    ]
    asked = dg.evaluate_automation_conditions(dg.Definitions(eager), instance=project.instance)
    assert asked.total_requested == 0

    project.run("after", "monthly_rain", partition="2022-02-01")
    with vio.open_store(project.store) as store:
        external = store.upstream("monthly_rain@main:2022-02-01").external
    assert [use.uri.rpartition("/")[2] for use in external] == [f"2022-02-{day:02}" for day in range(1, 29)]
    assert project.values("after") == values

    report = import_definitions(f"{MODULE}.after")
    counts = {one.asset: (one.imported, one.present) for one in report.assets}
    assert counts["daily_rain"] == (1_095, 0)
    assert counts["monthly_rain"] == (35, 1)
    assert counts["region_rain"] == (1, 0)
    assert {name for name, (imported, _) in counts.items() if imported} == set(before)
    project.old.rename(project.old.with_name("old.unused"))
    project.old.mkdir()
    assert project.values("after") == values
    assert project.made() == {**before, "monthly_rain": before["monthly_rain"] + 1}
