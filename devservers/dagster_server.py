"""A complete Dagster 1.13 on loopback: code server, webserver and daemon over one instance directory."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import grpc

from devservers.dagster_api import DagsterApi
from devservers.process import (
    ServerError,
    ServerProcess,
    find_free_port,
    inherited_environment,
    wait_until,
)

COMPONENTS: Final = ("code-server", "webserver", "daemon")
START_TIMEOUT_S = 120.0
# Between the request to stop and SIGKILL. The code server ignores SIGTERM and SIGINT (Dagster 1.13.27, grpcio 1.85);
# `_shut_down_code_server` has asked it by then. The webserver misses a SIGTERM that comes while it starts.
GRACE_S: Final = {"code-server": 3.0, "webserver": 5.0, "daemon": 20.0}
LOCATION: Final = "definitions"


class DagsterServer:
    """A Dagster instance with its code server, webserver and daemon: healthy after `start`, gone after `stop`.

    The daemon evaluates sensors, schedules and backfills; runs are started by the code server, at most *max_runs* at
    once, and end with it. Logs are in ``home/server-logs`` and kept, as is the instance's history.
    ``dagster.DagsterInstance.from_config(str(server.home))`` opens the same instance in the caller's process.

    Args:
        home: ``DAGSTER_HOME``; created. A ``dagster.yaml`` is written into it.
        definitions: A Python file that defines a ``Definitions``.
        env: More environment for all components.
        config: More of ``dagster.yaml``, by top-level key; it overrides the defaults of this class.
        port: The webserver's port, ``None`` for a free one.
        max_runs: How many runs are under way at once.
    """

    def __init__(
        self,
        home: Path,
        definitions: Path,
        *,
        env: Mapping[str, str] | None = None,
        config: Mapping[str, object] | None = None,
        port: int | None = None,
        max_runs: int = 2,
    ) -> None:
        self.home = home.absolute()
        self.definitions = definitions.absolute()
        self.port = port or find_free_port()
        self.code_port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.logs = self.home / "server-logs"
        self.processes: dict[str, ServerProcess] = {}
        self.api = DagsterApi(self.url)
        self._config = dict(config or {})
        self._max_runs = max_runs
        self.env = inherited_environment(without=("DAGSTER_",))
        self.env["DAGSTER_HOME"] = str(self.home)
        self.env.update(env or {})

    def start(self) -> Self:
        """Start all components and return when the definitions are loaded and the daemons report healthy (about 15 s).

        Raises:
            ServerError: A component ended, the definitions don't load, or health took too long;
                nothing is left running.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            # JSON is YAML.
            (self.home / "dagster.yaml").write_text(json.dumps(self._build_config(), indent=2) + "\n")
            workspace = {"load_from": [{"grpc_server": {**self._code_address(), "location_name": LOCATION}}]}
            (self.home / "workspace.yaml").write_text(json.dumps(workspace, indent=2) + "\n")
            self._create_tables()
            self.start_components("code-server", "webserver")
            self.start_components("daemon")
        except BaseException:
            self.stop()
            raise
        return self

    def _create_tables(self) -> None:
        """Make the instance's tables, alone: two components that do so at once fail, or leave them broken."""
        # In a process of its own: importing Dagster is the caller's choice.
        code = "import sys, dagster; dagster.DagsterInstance.from_config(sys.argv[1]).dispose()"
        command = [sys.executable, "-W", "ignore", "-c", code, str(self.home)]
        made = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False
        )
        if made.returncode != 0:
            msg = f"Dagster could not make its tables in {self.home}: {made.stderr[-2000:]}"
            raise ServerError(msg)

    def start_components(self, *names: str) -> None:
        """Start the named components that `stop_components` stopped, and return when what runs is healthy."""
        commands = self._commands()
        for name in names:
            process = ServerProcess(
                f"dagster {name}",
                commands[name],
                env=self.env,
                log=self.logs / f"{name}.log",
                grace_s=GRACE_S[name],
            )
            self.processes[name] = process.start()
        running = tuple(self.processes.values())
        if "webserver" in self.processes:
            wait_until(
                self._answers, what="Dagster's webserver to answer", timeout_s=START_TIMEOUT_S, processes=running
            )
        if {"webserver", "code-server"} <= self.processes.keys():
            wait_until(
                self.api.has_loaded, what="the definitions to load", timeout_s=START_TIMEOUT_S, processes=running
            )
        if {"webserver", "daemon"} <= self.processes.keys():
            wait_until(
                self.api.is_daemon_healthy,
                what="Dagster's daemons to be healthy",
                timeout_s=START_TIMEOUT_S,
                processes=running,
            )

    def stop_components(self, *names: str, crash: bool = False) -> None:
        """Stop the named components, or with *crash* kill them with everything they started."""
        for name in names:
            process = self.processes.pop(name)
            if crash:
                process.kill()
                continue
            if name == "code-server":
                self._shut_down_code_server(process)
            process.stop()

    def stop(self) -> None:
        """Stop everything, runs under way included. Idempotent."""
        for name, process in self.processes.items():
            if name != "code-server":
                process.request_stop()
        self.stop_components(*self.processes)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _shut_down_code_server(self, process: ServerProcess) -> None:
        """Request the code server's shutdown, as the webserver does for its own servers, and wait briefly for it."""
        with grpc.insecure_channel(f"127.0.0.1:{self.code_port}") as channel:
            shut_down = channel.unary_unary("/api.DagsterApi/ShutdownServer")  # no serialisers: an empty message is b""
            try:
                shut_down(b"", timeout=GRACE_S["code-server"])
                wait_until(
                    lambda: process.exit_code is not None,
                    what="the code server to end",
                    timeout_s=GRACE_S["code-server"],
                )
            except (grpc.RpcError, ServerError):
                return  # it may not listen yet, or a run is under way: the signals come next

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/server_info", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def _code_address(self) -> dict[str, str | int]:
        return {"host": "127.0.0.1", "port": self.code_port}

    def _build_config(self) -> dict[str, object]:
        return {
            "telemetry": {"enabled": False},
            # The default looks at the queue every 5 s; a test waits for that at every run.
            "run_coordinator": {
                "module": "dagster.core.run_coordinator",
                "class": "QueuedRunCoordinator",
                "config": {"dequeue_interval_seconds": 1, "max_concurrent_runs": self._max_runs},
            },
            **self._config,
        }

    def _commands(self) -> dict[str, list[str]]:
        python, port = [sys.executable, "-m"], str(self.port)
        local = ["--host", "127.0.0.1"]
        code = ["--python-file", str(self.definitions), "--working-directory", str(self.definitions.parent)]
        grpc_server = ["api", "grpc", *local, "--port", str(self.code_port), "--location-name", LOCATION]
        workspace = ["-w", str(self.home / "workspace.yaml")]
        return {
            "code-server": [*python, "dagster", *grpc_server, *code],
            "webserver": [*python, "dagster_webserver", *local, "--port", port, *workspace],
            "daemon": [*python, "dagster._daemon", "run", *workspace],
        }
