"""The plugin that registers this provider's listener; Airflow finds it by its entry point."""

from airflow.plugins_manager import AirflowPlugin

from airflow_versioned.notes import NotingListener


class VersionedPlugin(AirflowPlugin):
    """Lets the store know what a task has announced, once Airflow has its events."""

    name = "versioned_io"
    listeners = [NotingListener()]  # noqa: RUF012 (Airflow's own attribute)
