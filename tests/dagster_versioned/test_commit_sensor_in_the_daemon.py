"""Commit sensors through the code that Dagster's daemon runs: its ticks, its backfills, its runs, on SQLite."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import SensorInstigatorData, TickStatus
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time, instance_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon import get_default_daemon_logger
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.sensor import execute_sensor_iteration

import versioned_io as vio
from dagster_versioned.compat import describe_unfinished_work

DEFINITIONS = Path(__file__).parent / "sensor_definitions.py"
WHERE_LAUNCHED = {
    "run_launcher": {
        "module": "dagster._core.launcher.sync_in_memory_run_launcher",
        "class": "SyncInMemoryRunLauncher",
    },
    "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
}

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


class Daemon:
    """The sensor and backfill daemons, one iteration at a time; runs are executed where they are launched."""

    def __init__(self, instance: dg.DagsterInstance, workspace: WorkspaceProcessContext, store: vio.Store) -> None:
        self.instance = instance
        self.store = store
        self._workspace = workspace
        self._seen: set[str] = set()
        self._now = time.time()

    def tick(self) -> None:
        """Evaluate every sensor once: for the daemon, a minute later than the last time."""
        with freeze_time(self.later()):
            logger = get_default_daemon_logger("SensorDaemon")
            errors = [error for error in execute_sensor_iteration(self._workspace, logger, None, None) if error]
        assert not errors, errors

    def later(self) -> float:
        """Return the time of the next tick."""
        self._now += 60
        return self._now

    def backfill(self) -> None:
        """Go on with every backfill."""
        list(execute_backfill_iteration(self._workspace, get_default_daemon_logger("BackfillDaemon")))

    def settle(self) -> dict[str, list[str | None]]:
        """Let the daemons work until no sensor asks for anything; return which partitions of which assets ran."""
        for _ in range(20):
            rested = self._unfinished_backfills() == 0
            self.tick()
            self.backfill()
            self.backfill()
            ticks = [self.last_tick(sensor) for sensor in ("weather_commits", "summary_commits")]
            assert not any(tick.status == TickStatus.FAILURE for tick in ticks), ticks
            quiet = all(tick.timestamp > self._now - 1 and tick.status == TickStatus.SKIPPED for tick in ticks)
            if quiet and rested and not self._unfinished_backfills():
                return self.new_runs()
        msg = f"the sensors never rested: {ticks}"
        raise AssertionError(msg)

    def new_runs(self) -> dict[str, list[str | None]]:
        """Return the partitions of each asset that ran since the last call, sorted."""
        ran: dict[str, list[str | None]] = {}
        for run in self.instance.get_runs():
            if run.run_id in self._seen:
                continue
            self._seen.add(run.run_id)
            assert run.status == dg.DagsterRunStatus.SUCCESS, run
            for key in run.asset_selection or []:
                ran.setdefault(key.to_user_string(), []).append(run.tags.get("dagster/partition"))
        return {asset: sorted(keys, key=str) for asset, keys in sorted(ran.items())}

    def last_tick(self, sensor: str):
        """Return the latest tick of a sensor."""
        for state in self.instance.all_instigator_state():
            if state.instigator_name == sensor:
                (tick,) = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
                return tick
        raise LookupError(sensor)

    def set_cursor(self, sensor: str, cursor: str) -> None:
        """Set a sensor's cursor, as the page of the sensor and ``dagster sensor cursor --set`` do."""
        (state,) = (one for one in self.instance.all_instigator_state() if one.instigator_name == sensor)
        data = SensorInstigatorData(
            cursor=cursor,
            last_tick_timestamp=state.instigator_data.last_tick_timestamp,
            min_interval=state.instigator_data.min_interval,
            sensor_type=state.instigator_data.sensor_type,
        )
        self.instance.update_instigator_state(state.with_data(data))

    def _unfinished_backfills(self) -> int:
        finished = {"COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED", "COMPLETED"}
        return len([one for one in self.instance.get_backfills() if one.status.value not in finished])


@contextmanager
def code_server(instance: dg.DagsterInstance) -> Iterator[WorkspaceProcessContext]:
    target = PythonFileTarget(
        python_file=str(DEFINITIONS), attribute=None, working_directory=str(Path.cwd()), location_name="tests"
    )
    with create_test_daemon_workspace_context(target, instance) as workspace:
        yield workspace


@contextmanager
def running_daemon(home: Path, store: vio.Store) -> Iterator[Daemon]:
    with (
        instance_for_test(temp_dir=str(home), overrides=WHERE_LAUNCHED) as instance,
        code_server(instance) as workspace,
    ):
        yield Daemon(instance, workspace, store)


def tick_and_die(home: str, now: float, point: str) -> None:
    """Be a daemon that is killed at one point of its tick."""
    with dg.DagsterInstance.from_config(home) as instance, code_server(instance) as workspace, freeze_time(now):
        flags = {"weather_commits": {point: signal.SIGKILL}}
        logger = get_default_daemon_logger("SensorDaemon")
        list(execute_sensor_iteration(workspace, logger, None, None, debug_crash_flags=flags))


@pytest.fixture
def daemon(tmp_path, store_url, opened, monkeypatch) -> Iterator[Daemon]:
    monkeypatch.setenv("DAGSTER_VERSIONED_TEST_STORE", store_url)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    home = tmp_path / "home"
    home.mkdir()
    opened.create_repo("weather")
    with running_daemon(home, opened) as daemon:
        yield daemon


def commit(store: vio.Store, files: dict[str, bytes], **options) -> vio.Commit:
    with store.transaction("weather@main", **options) as transaction:
        for path, content in files.items():
            transaction.write(path, content)
    return transaction.commit


def months(count: int) -> dict[str, bytes]:
    return {f"{2012 + number // 12}/{number % 12 + 1:02}.csv": b"1 2" for number in range(count)}


def test_each_commit_runs_exactly_the_partitions_that_it_affects_and_the_model_once(daemon):
    first = commit(daemon.store, months(12))
    ran = daemon.settle()
    assert ran == {
        "climate_model": [None],
        "monthly_summary": [f"2012-{month:02}" for month in range(1, 13)],
    }
    assert len(daemon.instance.get_backfills()) == 1
    assert {commit.lineage_id for commit in daemon.store.log("monthly_summary@main")} == {first.lineage_id}
    model = daemon.store.commit("climate_model@main")
    assert model.lineage_id == first.lineage_id

    upstream = daemon.store.upstream("climate_model@main")
    assert {use.file.path for use in upstream.files if use.file.repo == "weather"} == set(months(12))

    correction = commit(daemon.store, {"2012/03.csv": b"100"})
    assert daemon.settle() == {"climate_model": [None], "monthly_summary": ["2012-03"]}
    assert daemon.store.commit("climate_model@main").lineage_id == correction.lineage_id
    assert daemon.store.snapshot("climate_model@main").read("data.json") == b"133"

    again = commit(daemon.store, {"2012/03.csv": b"100"}, empty="allow")
    assert daemon.settle() == {}
    assert daemon.last_tick("weather_commits").cursor == again.id


def test_many_commits_are_one_backfill_in_which_each_partition_has_the_lineage_id_of_its_commit(daemon):
    made = {path: commit(daemon.store, {path: content}) for path, content in months(12).items()}
    assert daemon.settle()["climate_model"] == [None]
    assert len(daemon.instance.get_backfills()) == 1
    lineage_of = {one.run.partition_key: one.lineage_id for one in daemon.store.log("monthly_summary@main")}
    assert lineage_of == {f"2012-{path[5:7]}": one.lineage_id for path, one in made.items()}
    runs = [run for run in daemon.instance.get_runs() if run.tags.get("dagster/partition")]
    assert {run.tags["dagster/partition"]: run.tags["versioned/lineage_id"] for run in runs} == lineage_of


def test_a_dropped_commit_and_a_cursor_set_back_by_hand_run_what_they_must(daemon):
    first = commit(daemon.store, months(3))
    daemon.settle()
    commit(daemon.store, {"2012/02.csv": b"99"})
    assert daemon.settle()["monthly_summary"] == ["2012-02"]
    daemon.store.drop("weather@main")
    assert daemon.settle() == {"climate_model": [None], "monthly_summary": ["2012-02"]}
    assert daemon.store.snapshot("climate_model@main").read("data.json") == b"9"
    # The same commits under the same run keys: Dagster would launch nothing.
    daemon.set_cursor("weather_commits", "beginning")
    assert daemon.settle()["monthly_summary"] == ["2012-01", "2012-02", "2012-03"]
    daemon.set_cursor("weather_commits", "replay:beginning")
    assert daemon.settle()["monthly_summary"] == ["2012-01", "2012-02", "2012-03"]
    assert daemon.last_tick("weather_commits").cursor == first.id


def test_a_poisonous_path_stops_nothing(daemon):
    commit(daemon.store, {"1999/13.csv": b"1", "x/y.csv": b"1", "2012/01.csv": b"1"})
    assert daemon.settle() == {"climate_model": [None], "monthly_summary": ["2012-01"]}
    commit(daemon.store, {"2012/02.csv": b"1"})
    assert daemon.settle() == {"climate_model": [None], "monthly_summary": ["2012-02"]}
    assert "'1999-13', 'x-y'" in daemon.last_tick("weather_commits").skip_reason


def test_the_model_waits_while_the_backfill_of_the_same_lineage_is_unfinished(daemon):
    commit(daemon.store, months(12))
    daemon.tick()
    (backfill,) = daemon.instance.get_backfills()
    daemon.store.create_repo("monthly_summary")
    with daemon.store.transaction("monthly_summary@main", lineage_id=backfill.tags["versioned/lineage_id"]) as landed:
        landed.write("2012-01/note", b"the first of many")
    daemon.tick()
    tick = daemon.last_tick("summary_commits")
    assert f"wait for backfill {backfill.backfill_id}" in tick.skip_reason
    ran = daemon.settle()
    assert ran["climate_model"] == [None]


def test_a_daemon_that_is_killed_at_any_point_of_a_tick_has_each_partition_run_once(daemon):
    this = [sys.executable, "-W", "ignore", __file__, daemon.instance.root_directory]
    for number, point in enumerate(("TICK_CREATED", "RUN_IDS_RESERVED", "RUN_CREATED", "RUN_LAUNCHED"), start=1):
        cause = commit(daemon.store, {f"2012/{month:02}.csv": b"%d" % number for month in (number, number + 1)})
        with subprocess.Popen([*this, str(daemon.later()), point], start_new_session=True) as killed:
            status = killed.wait(timeout=120)
        with suppress(ProcessLookupError):
            os.killpg(killed.pid, signal.SIGKILL)  # the code server that it left behind
        assert status == -signal.SIGKILL
        unfinished = describe_unfinished_work(daemon.instance, "versioned/lineage_id", [cause.lineage_id])
        if point in {"RUN_IDS_RESERVED", "RUN_LAUNCHED"}:
            assert unfinished == "the runs that sensor weather_commits is launching"
        expected = [f"2012-{month:02}" for month in (number, number + 1)]
        assert daemon.settle() == {"climate_model": [None], "monthly_summary": expected}, point


if __name__ == "__main__":
    tick_and_die(sys.argv[1], float(sys.argv[2]), sys.argv[3])
