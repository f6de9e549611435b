"""An Airflow home of the tests' own, chosen before anything imports Airflow, which reads it once."""

import os
import tempfile
from types import SimpleNamespace

import pytest

import versioned_io as vio

_HOME = tempfile.TemporaryDirectory(prefix="airflow-home-", ignore_cleanup_errors=True)
os.environ["AIRFLOW_HOME"] = _HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
os.environ.setdefault("AIRFLOW__CORE__DAGS_FOLDER", f"{_HOME.name}/dags")


@pytest.fixture
def store(tmp_path):
    """Return a store with the repos of the tests."""
    with vio.create_store(tmp_path / "store") as store:
        for repo in ("orders", "quality"):
            store.create_repo(repo)
        yield store


class TaskStates(dict):
    """What Airflow keeps for a task instance over its retries and clears."""

    def set(self, key, value):
        self[key] = value


@pytest.fixture
def task_states():
    return TaskStates()


@pytest.fixture
def build_context():
    """Return a builder of what Airflow gives a task, as far as this provider reads it."""
    from airflow.sdk.execution_time.context import OutletEventAccessors

    def build(
        *,
        run_id="asset_triggered__1",
        run_type="asset_triggered",
        partition_key=None,
        conf=None,
        max_tries=0,
        retries=0,
        outlets=(),
        events=(),
        states=None,
        catchup=True,
        try_number=1,
        start_date=None,
        task_states=None,
        clear_number=0,
    ):
        run = SimpleNamespace(
            dag_id="check",
            run_id=run_id,
            run_type=run_type,
            partition_key=partition_key,
            conf=conf or {},
            start_date=start_date,
            clear_number=clear_number,
        )
        instance = SimpleNamespace(
            dag_id="check",
            task_id="task",
            run_id=run_id,
            map_index=-1,
            try_number=try_number,
            max_tries=max_tries,
            log_url=f"http://airflow/dags/check/runs/{run_id}/tasks/task",
            dag_version_id="0199",
            get_dagrun_state=lambda dag_id, other: (states or {}).get(other, "running"),
        )
        return {
            "dag_run": run,
            "ti": instance,
            "task": SimpleNamespace(retries=retries, dag=SimpleNamespace(catchup=catchup)),
            "outlets": list(outlets),
            "task_state_store": TaskStates() if task_states is None else task_states,
            "outlet_events": OutletEventAccessors(),
            "triggering_asset_events": {"asset": [SimpleNamespace(extra=extra) for extra in events]},
        }

    return build
