"""A client of Airflow's REST API for tests and demos, with functions that wait."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from devservers.process import ServerError, wait_until

REQUEST_TIMEOUT_S = 30.0
FINISHED_STATES: Final = frozenset({"success", "failed"})


@dataclass(frozen=True, slots=True)
class DagRun:
    """One run of a DAG."""

    dag_id: str
    run_id: str
    state: str
    run_type: str
    partition_key: str | None
    conf: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AssetEvent:
    """One event of an asset."""

    id: int
    uri: str
    partition_key: str | None
    extra: Mapping[str, Any]
    source_dag_id: str | None
    source_run_id: str | None


class AirflowApiError(Exception):
    """The API answered with an error: the request, the status and the body."""


class AirflowApi:
    """A client of one API server.

    Args:
        url: ``http://127.0.0.1:PORT``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._token: str | None = None

    def log_in(self) -> bool:
        """Get a token; false while the server does not answer."""
        try:
            self._token = self.request("GET", "/auth/token")["access_token"]
        except (AirflowApiError, OSError):
            return False
        return True

    def request(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Return the decoded answer of one request; an empty mapping for an empty answer.

        Raises:
            AirflowApiError: The status is not 2xx.
            OSError: The server does not answer.
        """
        headers = {"Content-Type": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, method=method, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            raise AirflowApiError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error
        answer: dict[str, Any] = json.loads(text) if text else {}
        return answer

    def is_healthy(self) -> bool:
        """Whether the metadata database, scheduler, triggerer and DAG processor all report healthy."""
        health = self.request("GET", "/api/v2/monitor/health")
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all(health[part]["status"] == "healthy" for part in parts)

    def import_errors(self) -> dict[str, str]:
        """Return the stack traces of DAG files that don't import, by file name."""
        errors = self.request("GET", "/api/v2/importErrors?limit=100")["import_errors"]
        return {error["filename"]: error["stack_trace"] for error in errors}

    def has_dag(self, dag_id: str) -> bool:
        """Whether the DAG is parsed and active.

        Raises:
            ServerError: A DAG file does not import; the message has the stack traces.
        """
        errors = self.import_errors()
        if errors:
            raise ServerError(
                "a DAG file does not import\n" + "\n".join(f"{name}\n{text}" for name, text in errors.items())
            )
        dags = self.request("GET", "/api/v2/dags?limit=1000&exclude_stale=true")["dags"]
        return any(dag["dag_id"] == dag_id for dag in dags)

    def wait_for_dag(self, dag_id: str, *, timeout_s: float = 180.0) -> None:
        """Return when the DAG is parsed and active."""
        wait_until(
            lambda: self.has_dag(dag_id), what=f"the DAG {dag_id!r} to be parsed", timeout_s=timeout_s, poll_s=0.5
        )

    def trigger(
        self, dag_id: str, *, conf: Mapping[str, object] | None = None, partition_key: str | None = None
    ) -> str:
        """Start a run and return its ID."""
        body = {"logical_date": None, "conf": dict(conf or {}), "partition_key": partition_key}
        run_id: str = self.request("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)["dag_run_id"]
        return run_id

    def runs(self, dag_id: str) -> list[DagRun]:
        """Return all runs of a DAG, oldest first."""
        found: list[DagRun] = []
        while True:
            path = f"/api/v2/dags/{dag_id}/dagRuns?limit=100&offset={len(found)}&order_by=id"
            page = self.request("GET", path)
            found += [_dag_run(item) for item in page["dag_runs"]]
            if len(found) >= page["total_entries"] or not page["dag_runs"]:
                return found

    def wait_for_run(self, dag_id: str, run_id: str, *, timeout_s: float = 120.0) -> DagRun:
        """Return the run once it has succeeded or failed."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}"

        def finished() -> DagRun | None:
            try:
                run = _dag_run(self.request("GET", path))
            except OSError:  # a server with too much to do; one that has ended is noticed by the timeout
                return None
            return run if run.state in FINISHED_STATES else None

        return wait_until(
            finished, what=f"the run {run_id!r} of {dag_id!r} to finish", timeout_s=timeout_s, poll_s=0.25
        )

    def wait_for_runs(
        self, dag_id: str, count: int, *, settle_s: float = 0.0, timeout_s: float = 300.0
    ) -> list[DagRun]:
        """Return all runs of the DAG once *count* have finished and none is under way, oldest first.

        Args:
            settle_s: Look again after this time, and keep waiting if more runs appeared. This shows that *only* *count*
                runs were started.
        """

        def finished() -> list[DagRun] | None:
            runs = self.runs(dag_id)
            done = [run for run in runs if run.state in FINISHED_STATES]
            return runs if len(done) >= count and len(done) == len(runs) else None

        what = f"{count} runs of the DAG {dag_id!r} to finish"
        runs = wait_until(finished, what=what, timeout_s=timeout_s, poll_s=0.5)
        while settle_s:
            time.sleep(settle_s)
            again = wait_until(finished, what=what, timeout_s=timeout_s, poll_s=0.5)
            if len(again) == len(runs):
                return again
            runs = again
        return runs

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Return the state of each task of a run, by task ID, with ``[index]`` for a mapped one."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}/taskInstances?limit=1000"
        return {
            item["task_id"] if item["map_index"] < 0 else f"{item['task_id']}[{item['map_index']}]": item["state"]
            for item in self.request("GET", path)["task_instances"]
        }

    def xcom(self, dag_id: str, run_id: str, task_id: str, *, key: str = "return_value", map_index: int = -1) -> object:
        """Return what a task pushed.

        Raises:
            AirflowApiError: It pushed nothing under *key*.
        """
        run = urllib.parse.quote(run_id, safe="")
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run}/taskInstances/{task_id}/xcomEntries/{urllib.parse.quote(key)}"
        value: object = self.request("GET", f"{path}?map_index={map_index}&deserialize=true")["value"]
        return value

    def task_log(self, dag_id: str, run_id: str, task_id: str, *, attempt: int = 1, map_index: int = -1) -> str:
        """Return a task's log as one text, for messages."""
        run = urllib.parse.quote(run_id, safe="")
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run}/taskInstances/{task_id}/logs/{attempt}?map_index={map_index}"
        content = self.request("GET", path)["content"]
        return "\n".join(json.dumps(line) if isinstance(line, dict) else str(line) for line in content)

    def asset_id(self, uri: str) -> int:
        """Return the ID of the asset with exactly this URI.

        Raises:
            ServerError: No DAG that is parsed names it.
        """
        assets = self.request("GET", "/api/v2/assets?limit=1000&uri_pattern=" + urllib.parse.quote(uri, safe=""))[
            "assets"
        ]
        for asset in assets:
            if asset["uri"] == uri:
                found: int = asset["id"]
                return found
        raise ServerError(f"no DAG names an asset {uri!r}")

    def asset_events(self, uri: str) -> list[AssetEvent]:
        """Return up to the last 1,000 events of an asset, oldest first."""
        path = f"/api/v2/assets/events?asset_id={self.asset_id(uri)}&limit=1000&order_by=-timestamp"
        events = [_asset_event(item) for item in self.request("GET", path)["asset_events"]]
        return events[::-1]


def _dag_run(item: Mapping[str, Any]) -> DagRun:
    return DagRun(
        dag_id=item["dag_id"],
        run_id=item["dag_run_id"],
        state=item["state"],
        run_type=item["run_type"],
        partition_key=item.get("partition_key"),
        conf=item.get("conf") or {},
    )


def _asset_event(item: Mapping[str, Any]) -> AssetEvent:
    return AssetEvent(
        id=item["id"],
        uri=item["uri"],
        partition_key=item.get("partition_key"),
        extra=item.get("extra") or {},
        source_dag_id=item.get("source_dag_id"),
        source_run_id=item.get("source_run_id"),
    )
