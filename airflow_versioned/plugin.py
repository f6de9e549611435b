"""The plugin that registers this provider's listener; Airflow finds it by its entry point."""

from airflow.plugins_manager import AirflowPlugin

from airflow_versioned.notes import TaskListener


class VersionedPlugin(AirflowPlugin):
    """Lets the store know what a task reads, and what it has announced once Airflow has its events."""

    name = "versioned_io"
    listeners = [TaskListener()]  # noqa: RUF012 (Airflow's own attribute)
