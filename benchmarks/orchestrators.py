"""Inside the orchestrators: the IO manager beside Dagster's own, and how long a commit takes to become a run."""

import json
import shutil
import time
from datetime import datetime
from functools import partial

import versioned_io as vio
from benchmarks.bench import Bench
from benchmarks.measures import CaseResult
from benchmarks.processes import ROOT, run_ours
from devservers.airflow_server import AirflowServer
from devservers.dagster_server import DagsterServer
from devservers.process import wait_until

DAG = "check_orders"
SENSOR_INTERVAL_S = 2.0
"""The interval that ``example_projects/dagster_only`` sets."""

_EXAMPLES = ROOT / "example_projects"
_POLL_S = 0.05
_TIMEOUT_S = 120.0


def dagster_io(bench: Bench) -> CaseResult:
    """Store the same outputs with Dagster's filesystem IO manager and ours, in turns."""
    result = CaseResult("dagster-io", "VersionedIOManager beside FilesystemIOManager, in runs on a SQLite instance")
    repeats = max(2, round(20 * min(1.0, bench.scale * 5)))
    directory = bench.new_path("dagster")
    directory.mkdir()
    bench.say(f"{repeats} runs of each kind with each manager")
    found = run_ours(
        "compare",
        bench.work,
        module="benchmarks.ours_dagster",
        directory=directory,
        repeats=repeats,
        seed=bench.seed,
    )[1]
    for name, samples in found["samples"].items():
        for measure, values in samples.items():
            for value in values:
                result.add(name, {measure: value})
    dagsters = "FilesystemIOManager"
    small = result.median("small_output_ms") - result.median("small_output_ms", dagsters)
    result.check("a small output, beyond FilesystemIOManager's", small, 4, "ms")
    result.check_ratio("large_output_ms", ["pickle, write, fsync"], 2)
    result.check_ratio("run_of_10_ms", [dagsters], 1.05)
    result.notes.append("a run opens the store once, so its first output takes longer; the run has all of it")
    result.notes.append(
        "the large output is 10 MB of incompressible bytes; ours and the synced file are durable, Dagster's is not"
    )
    return result


def latency(bench: Bench) -> CaseResult:
    """Commit to a store that real, idle orchestrators watch, and see when their runs begin."""
    result = CaseResult("latency", "from a commit to the run, real servers, warm and otherwise idle")
    commits = 10 if bench.scale >= 1 else 3
    _airflow(bench, result, commits)
    _dagster(bench, result, commits)
    worst = max(result.samples["Dagster"]["run_requested_s"])
    result.check("commit to Airflow run started, median", result.median("run_started_s", "Airflow"), 2, "s")
    result.check("commit to Dagster run requested, longest", worst, SENSOR_INTERVAL_S + 1, "s")
    result.notes.append(
        f"Airflow's watcher looks every 2 s, its default; Dagster's sensor every {SENSOR_INTERVAL_S:g} s"
    )
    return result


def _airflow(bench: Bench, result: CaseResult, commits: int) -> None:
    home = bench.new_path("airflow")
    dags = home / "dags"
    shutil.copytree(_EXAMPLES / "airflow_only" / "dags", dags)
    config = home / "airflow" / "config"
    config.mkdir(parents=True)
    (config / "airflow_local_settings.py").write_text("import versioned_io.store\n")  # docs/airflow.md, "Faster tasks"
    connection = json.dumps({"conn_type": "versioned", "host": str(home / "store")})
    bench.say("starting Airflow")
    with (
        vio.create_store(home / "store") as store,
        AirflowServer(
            home / "airflow",
            dags,
            env={"AIRFLOW_CONN_VERSIONED_DEFAULT": connection},
            settings={"workers.min_heartbeat_interval": "1"},
        ) as airflow,
    ):
        for repo in ("orders", "quality"):
            store.create_repo(repo)
        airflow.api.wait_for_dag(DAG)
        for number in range(commits + 1):
            bench.say(f"Airflow, commit {number} of {commits}")
            key = f"2026-01-{number + 1:02}"
            committed = _commit(store, "orders@main", f"{key}.csv", f"customer,amount\nada,{number}\n")
            started = wait_until(
                partial(_started, airflow, key), what=f"the run of {key}", timeout_s=_TIMEOUT_S, poll_s=_POLL_S
            )
            airflow.api.wait_for_runs(DAG, number + 1)
            if number:  # the first is not warm
                result.add("Airflow", {"run_started_s": started - committed})


def _started(airflow: AirflowServer, key: str) -> float | None:
    """Return when the run of a partition began, in seconds of Unix time as Airflow noted it."""
    runs = airflow.api.request("GET", f"/api/v2/dags/{DAG}/dagRuns?limit=100&order_by=-id")["dag_runs"]
    found = [run["start_date"] for run in runs if run["partition_key"] == key and run["start_date"]]
    return datetime.fromisoformat(found[0]).timestamp() if found else None


def _dagster(bench: Bench, result: CaseResult, commits: int) -> None:
    home = bench.new_path("dagster-server")
    home.mkdir()
    bench.say("starting Dagster")
    definitions = _EXAMPLES / "dagster_only" / "definitions.py"
    with (
        vio.create_store(home / "store") as store,
        DagsterServer(home / "dagster", definitions, env={"VERSIONED_STORE": str(home / "store")}) as dagster,
    ):
        store.create_repo("weather")
        for number in range(commits + 1):
            bench.say(f"Dagster, commit {number} of {commits}")
            month = f"2012-{number + 1:02}"
            text = f"date,precipitation,temp_max,temp_min,wind,weather\n{month}-01,{number}.0,12.8,5.0,4.7,drizzle\n"
            committed = _commit(store, "weather@main", f"{month.replace('-', '/')}.csv", text)
            seen = wait_until(
                partial(_requested, dagster, month),
                what=f"the run of {month}",
                timeout_s=_TIMEOUT_S,
                poll_s=_POLL_S,
            )
            dagster.api.wait_for_runs(2 * (number + 1))  # the month's, and the model's
            if number:
                result.add("Dagster", {"run_requested_s": seen - committed})


def _requested(dagster: DagsterServer, month: str) -> float | None:
    """Return the Unix time by which a run of that partition was there."""
    now = time.time()
    return now if any(run.partition == month for run in dagster.api.runs()) else None


def _commit(store: vio.Store, branch: str, path: str, text: str) -> float:
    """Commit one file, and return the Unix time at which the commit was there."""
    with store.transaction(branch) as tx:
        tx.write(path, text.encode())
    return time.time()
