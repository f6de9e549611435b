"""A real Dagster and a real Airflow over one versioned store, and their runs since the last look."""

import json
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from devservers.airflow_server import AirflowServer
from devservers.dagster_server import DagsterServer
from devservers.process import find_free_port

HERE = Path(__file__).parent
QUALITY_DAG = "quality_report"
# Longer than the slowest of: a sensor's interval (2 s), the watcher's (1 s), a relay run (a few seconds).
SETTLE_S = 12.0


@dataclass(frozen=True, slots=True)
class Ran:
    """The number of runs of each partition in each orchestrator, and of trainings of the model."""

    dagster: Mapping[str, int]
    models: int
    airflow: Mapping[str, int]


class Orchestrators:
    """Both orchestrators, healthy inside the ``with`` block and gone after it.

    Args:
        store: The directory of the versioned store.
        home: Where their state and logs go.
    """

    def __init__(self, store: Path, home: Path) -> None:
        port = find_free_port()
        self.dagster = DagsterServer(
            home / "dagster",
            HERE / "dagster_definitions.py",
            env={"VERSIONED_STORE": str(store), "DAGSTER_WEBSERVER_URL": f"http://127.0.0.1:{port}"},
            port=port,
        )
        connection = {"conn_type": "versioned", "host": str(store)}
        settings = home / "airflow" / "config" / "airflow_local_settings.py"
        settings.parent.mkdir(parents=True)
        # Tasks are forked, so they need not load Airflow's modules again.
        settings.write_text("import versioned_io.store\n")
        self.airflow = AirflowServer(
            home / "airflow",
            HERE / "airflow_dags",
            env={"AIRFLOW_CONN_VERSIONED_DEFAULT": json.dumps(connection)},
            # A LocalExecutor slot stays taken for one heartbeat after its task; 5 s by default.
            settings={"workers.min_heartbeat_interval": "1"},
        )
        self._seen = Ran({}, 0, {})

    def __enter__(self) -> Self:
        with ThreadPoolExecutor(2) as pool:
            starts = [pool.submit(self.dagster.start), pool.submit(self.airflow.start)]
        try:
            for start in starts:
                start.result()
            self.airflow.api.wait_for_dag(QUALITY_DAG)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def wait(self, *, partitions: int, models: int) -> Ran:
        """Wait until that many runs have ended since the last call and none is under way; return the actual runs.

        There may be more: after the last run has ended, both orchestrators are watched for as long as a wake-up can
        take.

        Raises:
            ServerError: It took longer than 5 minutes.
        """
        seen = self._seen
        dagster_runs = len(self.dagster.api.runs()) + (1 if partitions else 0) + models
        airflow_runs = sum(seen.airflow.values()) + partitions
        self.dagster.api.wait_for_runs(dagster_runs)
        self.airflow.api.wait_for_runs(QUALITY_DAG, airflow_runs)
        self.dagster.api.wait_for_runs(dagster_runs, settle_s=SETTLE_S)
        self.airflow.api.wait_for_runs(QUALITY_DAG, airflow_runs, settle_s=1)
        self._seen = self._look()
        return Ran(
            dagster=_difference(self._seen.dagster, seen.dagster),
            models=self._seen.models - seen.models,
            airflow=_difference(self._seen.airflow, seen.airflow),
        )

    def _look(self) -> Ran:
        """Return everything that has run: what Dagster materialised, and each Airflow run whose task did its work."""
        dagster, airflow = self.dagster.api, self.airflow.api
        worked = [
            run.partition_key
            for run in airflow.runs(QUALITY_DAG)
            if airflow.task_states(QUALITY_DAG, run.run_id).get("report") == "success"
        ]
        return Ran(
            dagster=Counter(str(event.partition) for event in dagster.materializations("monthly_summary")),
            models=len(dagster.materializations("climate_model")),
            airflow=Counter(str(key) for key in worked),
        )

    def _stop(self) -> None:
        with ThreadPoolExecutor(2) as pool:
            for stopped in [pool.submit(self.dagster.stop), pool.submit(self.airflow.stop)]:
                stopped.result()


def _difference(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {key: count - before.get(key, 0) for key, count in sorted(now.items()) if count > before.get(key, 0)}
