"""A real Dagster and a real Airflow over one versioned store, and their runs since the last look."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from devservers.airflow_api import FINISHED_STATES
from devservers.airflow_server import AirflowServer
from devservers.dagster_server import DagsterServer
from devservers.process import find_free_port

HERE = Path(__file__).parent
QUALITY_DAG = "quality_report"
BULLETIN_DAG = "bulletin"
# Longer than the slowest of: a sensor's interval (2 s), the watcher's (1 s), a relay run (a few seconds).
SETTLE_S = 12.0
TOLD_EVERY_S = 3.0
"""While somebody waits, a line says how far it is, about this often."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ran:
    """The number of runs of each partition in each orchestrator, of trainings of the model, and of bulletins."""

    dagster: Mapping[str, int]
    models: int
    airflow: Mapping[str, int]
    bulletins: int


class Orchestrators:
    """Both orchestrators, healthy inside the ``with`` block and gone after it.

    Args:
        store: The directory of the versioned store.
        home: Where their state and logs go.
        tell: Called with a line about what they do, every few seconds while they start or work.
    """

    def __init__(self, store: Path, home: Path, tell: Tell) -> None:
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
        self._tell = tell
        self._seen = Ran({}, 0, {}, 0)
        self._dagster_runs = 0

    def __enter__(self) -> Self:
        try:
            with ThreadPoolExecutor(2) as pool:
                starts = {"Dagster": pool.submit(self.dagster.start), "Airflow": pool.submit(self._start_airflow)}
                while not all(start.done() for start in starts.values()):
                    wait(starts.values(), timeout=TOLD_EVERY_S)
                    states = (f"{name} is {'up' if start.done() else 'starting'}" for name, start in starts.items())
                    self._tell(", ".join(states))
            for start in starts.values():
                start.result()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start_airflow(self) -> None:
        self.airflow.start()
        for dag in (QUALITY_DAG, BULLETIN_DAG):
            self.airflow.api.wait_for_dag(dag)

    def wait(self, *, partitions: int, models: int) -> Ran:
        """Wait until that many runs have ended since the last call and none is under way; return the actual runs.

        Each model has a bulletin. There may be more: after the last run has ended, both orchestrators are watched for
        as long as a wake-up can take.

        Raises:
            ServerError: It took longer than 5 minutes.
        """
        seen = self._seen
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(self._wait, partitions, models)
            while not wait([waiting], timeout=TOLD_EVERY_S).done:
                self._tell(self._progress(partitions, models))
            waiting.result()
        self._seen = self._look()
        self._dagster_runs = len(self.dagster.api.runs())
        return Ran(
            dagster=_difference(self._seen.dagster, seen.dagster),
            models=self._seen.models - seen.models,
            airflow=_difference(self._seen.airflow, seen.airflow),
            bulletins=self._seen.bulletins - seen.bulletins,
        )

    def _wait(self, partitions: int, models: int) -> None:
        seen, dagster, airflow = self._seen, self.dagster.api, self.airflow.api
        dagster_runs = self._dagster_runs + (1 if partitions else 0) + models
        reports, bulletins = sum(seen.airflow.values()) + partitions, seen.bulletins + models
        dagster.wait_for_runs(dagster_runs)
        airflow.wait_for_runs(QUALITY_DAG, reports)
        airflow.wait_for_runs(BULLETIN_DAG, bulletins)
        dagster.wait_for_runs(dagster_runs, settle_s=SETTLE_S)
        airflow.wait_for_runs(QUALITY_DAG, reports, settle_s=1)
        airflow.wait_for_runs(BULLETIN_DAG, bulletins, settle_s=1)

    def _progress(self, partitions: int, models: int) -> str:
        """Return how many runs have ended since the last look, beside how many are expected."""
        seen = self._seen
        months = len(self.dagster.api.materializations("monthly_summary")) - sum(seen.dagster.values())
        trained = len(self.dagster.api.materializations("climate_model")) - seen.models
        reports, bulletins = (
            sum(run.state in FINISHED_STATES for run in self.airflow.api.runs(dag))
            for dag in (QUALITY_DAG, BULLETIN_DAG)
        )
        ended = reports + bulletins - sum(seen.airflow.values()) - seen.bulletins
        if not partitions:
            return f"{months + trained} runs in Dagster and {ended} in Airflow since then"
        return (
            f"Dagster: {months} of {partitions} summaries, {trained} of {models} models; "
            f"Airflow: {reports - sum(seen.airflow.values())} of {partitions} reports, "
            f"{bulletins - seen.bulletins} of {models} bulletins"
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
            bulletins=len(airflow.runs(BULLETIN_DAG)),
        )

    def _stop(self) -> None:
        with ThreadPoolExecutor(2) as pool:
            for stopped in [pool.submit(self.dagster.stop), pool.submit(self.airflow.stop)]:
                stopped.result()


def _difference(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {key: count - before.get(key, 0) for key, count in sorted(now.items()) if count > before.get(key, 0)}
