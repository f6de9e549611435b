"""A complete Airflow 3.3 on loopback: scheduler, triggerer, DAG processor, API server, metadata on PostgreSQL."""

import base64
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from devservers.airflow_api import AirflowApi
from devservers.postgres_server import PostgresServer
from devservers.process import (
    ServerError,
    ServerProcess,
    find_free_port,
    inherited_environment,
    run_command,
    wait_until,
)

COMPONENTS: Final = ("api-server", "scheduler", "dag-processor", "triggerer")
START_TIMEOUT_S = 180.0  # 20 s on an idle two-core machine; slow continuous-integration machines get nine times that


class AirflowServer:
    """All four Airflow components with the LocalExecutor, healthy after `start`, gone after `stop`.

    Everyone who can reach the port on 127.0.0.1 is an administrator. Logs are in ``home/server-logs``, task logs in
    ``home/logs``; both are kept. The metadata is not in SQLite, since its scheduler dies under a burst of events.

    Args:
        home: ``AIRFLOW_HOME``; created, may hold an earlier run's logs.
        dags: The DAG folder.
        env: More environment for all components, such as ``AIRFLOW_CONN_…`` for connections.
        settings: More configuration, ``{"core.parallelism": "8"}``; it overrides the defaults of this class.
        port: The API server's port, ``None`` for a free one.
        postgres: A running server to make the metadata database in; ``None`` starts one that ends with this one.
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        *,
        env: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
        postgres: PostgresServer | None = None,
    ) -> None:
        self.home = home.absolute()
        self.dags = dags.absolute()
        self.port = port or find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.logs = self.home / "server-logs"
        self.processes: dict[str, ServerProcess] = {}
        self._extra_env = dict(env or {})
        self._settings = dict(settings or {})
        self._shared_postgres = postgres
        self._own_postgres: PostgresServer | None = None
        self._env: dict[str, str] | None = None
        self._api: AirflowApi | None = None

    @property
    def env(self) -> dict[str, str]:
        """The environment of the components; the ``airflow`` command works with it. Only after `start`."""
        if self._env is None:
            raise ServerError("the Airflow server has no environment before it is started")
        return dict(self._env)

    @property
    def api(self) -> AirflowApi:
        """A client of the REST API, authorised. Only after `start`."""
        if self._api is None:
            raise ServerError("the Airflow server has no API before it is started")
        return self._api

    def start(self) -> Self:
        """Create the metadata, start the components and return when all four are healthy (about 20 s).

        Raises:
            ServerError: A component ended or is not healthy in time; nothing is left running.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            self._env = self._build_environment(self._create_database())
            airflow = [sys.executable, "-m", "airflow"]
            run_command(
                "airflow db migrate",
                [*airflow, "db", "migrate"],
                env=self._env,
                log=self.logs / "db-migrate.log",
                timeout_s=START_TIMEOUT_S,
            )
            self.start_components(*COMPONENTS)
        except BaseException:
            self.stop()
            raise
        return self

    def start_components(self, *names: str) -> None:
        """Start the named components that `stop_components` stopped, and return when all four are healthy."""
        for name in names:
            process = ServerProcess(
                f"airflow {name}",
                [sys.executable, "-m", "airflow", name],
                env=self.env,
                log=self.logs / f"{name}.log",
            )
            self.processes[name] = process.start()
        running = tuple(self.processes.values())
        api = AirflowApi(self.url)
        wait_until(api.log_in, what="Airflow's API server to answer", timeout_s=START_TIMEOUT_S, processes=running)
        if set(self.processes) == set(COMPONENTS):
            wait_until(
                api.is_healthy,
                what="all Airflow components to be healthy",
                timeout_s=START_TIMEOUT_S,
                processes=running,
            )
        self._api = api

    def stop_components(self, *names: str, crash: bool = False) -> None:
        """Stop the named components, or with *crash* kill them with everything they started."""
        for name in names:
            process = self.processes.pop(name)
            if crash:
                process.kill()
            else:
                process.stop()

    def stop(self) -> None:
        """Stop everything and drop the metadata (about 5 s). Idempotent."""
        for process in self.processes.values():
            process.request_stop()
        self.stop_components(*self.processes)
        self._api = None
        if self._own_postgres is not None:
            self._own_postgres.stop()
            self._own_postgres = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _create_database(self) -> str:
        if self._shared_postgres is None:
            self._own_postgres = PostgresServer(self.logs).start()
        postgres = self._own_postgres or self._shared_postgres
        if postgres is None:
            raise ServerError("no PostgreSQL server for Airflow's metadata")
        return postgres.create_database(f"airflow_{self.port}", driver="psycopg2")

    def _build_environment(self, database_url: str) -> dict[str, str]:
        settings = {
            "core.dags_folder": str(self.dags),
            "core.load_examples": "False",
            "core.executor": "LocalExecutor",
            "core.parallelism": "4",
            "core.dags_are_paused_at_creation": "False",
            "core.simple_auth_manager_all_admins": "True",
            "core.execution_api_server_url": f"{self.url}/execution/",
            "core.fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "database.sql_alchemy_conn": database_url,
            "api.host": "127.0.0.1",
            "api.port": str(self.port),
            "api.workers": "1",
            "api.base_url": self.url,
            "api.secret_key": secrets.token_hex(32),
            "api_auth.jwt_secret": secrets.token_hex(32),
            # The defaults are made for hundreds of DAGs; tests wait for each of these.
            "scheduler.scheduler_idle_sleep_time": "0.5",
            "dag_processor.refresh_interval": "5",
            "dag_processor.min_file_process_interval": "5",
            "triggerer.default_capacity": "100",
            # The defaults are fixed ports: two Airflows on one machine would fight for them.
            "logging.worker_log_server_port": str(find_free_port()),
            "logging.trigger_log_server_port": str(find_free_port()),
            "usage_data_collection.enabled": "False",
            **self._settings,
        }
        env = inherited_environment(without=("AIRFLOW_", "_AIRFLOW_"))
        env["AIRFLOW_HOME"] = str(self.home)
        for name, value in settings.items():
            section, _, option = name.partition(".")
            env[f"AIRFLOW__{section.upper()}__{option.upper()}"] = value
        env.update(self._extra_env)
        return env
