"""A DAG that maintains a store: one task, one run at a time."""

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_versioned.connections import StoreAddress
from airflow_versioned.naming import build_dag_id
from airflow_versioned.uris import DEFAULT_CONNECTION
from versioned_io.errors import MaintenanceRunningError

DEFAULT_BUDGET = timedelta(minutes=5)

_log = logging.getLogger(__name__)


def build_maintenance_dag(
    conn_id: str = DEFAULT_CONNECTION,
    schedule: str = "17 * * * *",
    *,
    store: str | None = None,
    budget: timedelta = DEFAULT_BUDGET,
    dag_id: str | None = None,
    **dag_options: Any,  # noqa: ANN401 (DAG's own options)
) -> DAG:
    """Return a DAG that maintains the store of a connection at the times of *schedule*, one run at a time.

    If another process maintains the store, the task is skipped with a message. A task that finds damage does the other
    steps and then fails without a retry.

    >>> from airflow_versioned import build_maintenance_dag
    >>> build_maintenance_dag("versioned_default", "0 3 * * *").dag_id
    'versioned_maintenance.versioned_default'

    Args:
        conn_id: A connection of type ``versioned``.
        schedule: A cron expression; hourly by default.
        store: The store's URL or absolute path, instead of a connection.
        budget: No step begins after this time.
        dag_id: By default ``versioned_maintenance.<conn_id>``, and with *store* its path and a digest.
        dag_options: Whatever `DAG` takes, beside max_active_runs.

    Raises:
        ValueError: *store* is a relative path.
    """
    from airflow.sdk import task

    address = StoreAddress(conn_id, store)
    budget_s = budget.total_seconds()
    options = {
        "catchup": False,
        "description": "Keeps a versioned store sound and small: forgets, collects, merges, verifies",
        "tags": ["versioned-io", "maintenance"],
        **dag_options,
        "default_args": {"retries": 2, "retry_delay": timedelta(minutes=1), **dag_options.get("default_args", {})},
    }
    words = ["versioned_maintenance", conn_id] if address.url is None else ["versioned_maintenance", address.url]
    own_id = dag_id or build_dag_id(words, [conn_id, address.url], is_plain=address.url is None)
    with DAG(own_id, schedule=schedule, max_active_runs=1, **options) as dag:

        @task
        def maintain() -> dict[str, Any]:
            return maintain_store(address, budget_s)

        maintain()
    return dag


def maintain_store(address: StoreAddress, budget_s: float) -> dict[str, Any]:
    """Maintain the store once, and return a report of the steps as JSON.

    Raises:
        AirflowSkipException: Another process maintains the store.
        AirflowFailException: Something is damaged; run ``versioned fsck``.
    """
    with address.open_store() as store:
        try:
            report = store.maintain(timedelta(seconds=budget_s))
        except MaintenanceRunningError as error:
            raise AirflowSkipException(str(error)) from error
    for step in report.steps:
        _log.info("%s, since %s: %s in %.1f s", step.name, step.why, dict(step.did), step.seconds)
    if report.problems:
        raise AirflowFailException(f"the store has problems: {'; '.join(report.problems)}")
    return {
        "steps": [step.name for step in report.steps],
        "left": list(report.left),
        "seconds": report.seconds,
        "bytes_written": report.bytes_written,
    }
