"""A client of Dagster's GraphQL API for tests and demos, with functions that wait."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from devservers.process import ServerError, wait_until

REQUEST_TIMEOUT_S = 60.0
FINISHED_STATUSES: Final = frozenset({"SUCCESS", "FAILURE", "CANCELED"})

_RUNS = """
query($limit: Int!, $cursor: String) { runsOrError(limit: $limit, cursor: $cursor) { __typename
  ... on Runs { results { runId status jobName tags { key value } assetSelection { path } } }
  ... on Error { message } } }
"""
_BACKFILLS = """
query { partitionBackfillsOrError(limit: 1000) { __typename
  ... on PartitionBackfills { results { id status } } ... on Error { message } } }
"""
_LOCATIONS = """
query { workspaceOrError { __typename ... on Workspace { locationEntries { name loadStatus
  locationOrLoadError { __typename ... on RepositoryLocation { repositories { name } }
    ... on PythonError { message stack } } } } ... on Error { message } } }
"""
_DAEMONS = "query { instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
_MATERIALIZATIONS = """
query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { __typename ... on Asset {
  assetMaterializations(limit: 5000) { runId partition timestamp tags { key value } metadataEntries { label __typename
    ... on TextMetadataEntry { text } ... on IntMetadataEntry { intValue } ... on FloatMetadataEntry { floatValue }
    ... on UrlMetadataEntry { url } ... on PathMetadataEntry { path } ... on JsonMetadataEntry { jsonString }
    ... on BoolMetadataEntry { boolValue } } } } } }
"""
_START_SENSOR = """
mutation($selector: SensorSelector!) { startSensor(sensorSelector: $selector) { __typename
  ... on Sensor { name } ... on Error { message } } }
"""
_LAUNCH = """
mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on Error { message } } }
"""
_TICKS = """
query($selector: InstigationSelector!) { instigationStateOrError(instigationSelector: $selector) { __typename
  ... on InstigationState { ticks(limit: 100) { tickId status skipReason runIds timestamp error { message } } }
  ... on Error { message } } }
"""


@dataclass(frozen=True, slots=True)
class DagsterRun:
    """One run."""

    run_id: str
    status: str
    job: str
    tags: Mapping[str, str]
    assets: frozenset[str]

    @property
    def partition(self) -> str | None:
        """The partition key of a run for one partition."""
        return self.tags.get("dagster/partition")


@dataclass(frozen=True, slots=True)
class Materialization:
    """One materialization of an asset."""

    run_id: str
    partition: str | None
    metadata: Mapping[str, object]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SensorTick:
    """One evaluation of a sensor."""

    status: str
    skip_reason: str | None
    run_ids: tuple[str, ...]
    error: str | None


class DagsterApiError(Exception):
    """The API answered with an error: the query, and the message."""


class DagsterApi:
    """A client of one webserver.

    Args:
        url: ``http://127.0.0.1:PORT``.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, text: str, variables: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Return the ``data`` of one GraphQL request.

        Raises:
            DagsterApiError: The answer has errors.
            OSError: The server does not answer.
        """
        body = json.dumps({"query": text, "variables": dict(variables or {})}).encode()
        request = urllib.request.Request(
            f"{self.url}/graphql", data=body, headers={"Content-Type": "application/json"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as response:
                answer = json.loads(response.read())
        except urllib.error.HTTPError as error:
            raise DagsterApiError(f"{error.code} {error.read().decode(errors='replace')}") from error
        if answer.get("errors"):
            raise DagsterApiError(json.dumps(answer["errors"]))
        data: dict[str, Any] = answer["data"]
        return data

    def _ask(self, field: str, text: str, variables: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Return one field of the answer, having raised when it is of an error type."""
        answer: dict[str, Any] = self.query(text, variables)[field]
        if "message" in answer:
            raise DagsterApiError(f"{field}: {answer['__typename']}: {answer['message']}")
        return answer

    def has_loaded(self) -> bool:
        """Whether the code location has loaded.

        Raises:
            ServerError: The definitions don't load; the message has the stack trace.
        """
        entries = self._ask("workspaceOrError", _LOCATIONS)["locationEntries"]
        for entry in entries:
            loaded = entry["locationOrLoadError"]
            # The code server may not listen yet: the webserver tries again by itself.
            if loaded and "message" in loaded and "DagsterUserCodeUnreachableError" not in loaded["message"]:
                raise ServerError(f"the definitions don't load: {loaded['message']}\n{''.join(loaded['stack'])}")
        return bool(entries) and all(
            entry["locationOrLoadError"] and "repositories" in entry["locationOrLoadError"] for entry in entries
        )

    def is_daemon_healthy(self) -> bool:
        """Whether every daemon that the instance requires has reported lately and without an error."""
        statuses = self.query(_DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return all(status["healthy"] for status in statuses if status["required"])

    def runs(self) -> list[DagsterRun]:
        """Return all runs, oldest first."""
        found: list[dict[str, Any]] = []
        while True:
            cursor = found[-1]["runId"] if found else None
            page = self._ask("runsOrError", _RUNS, {"limit": 500, "cursor": cursor})["results"]
            found += page
            if not page:
                return [_run(item) for item in reversed(found)]

    def unfinished_backfills(self) -> int:
        """Return how many backfills are under way."""
        results = self._ask("partitionBackfillsOrError", _BACKFILLS)["results"]
        ended = {"COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED"}
        return sum(1 for backfill in results if backfill["status"] not in ended)

    def wait_for_run(self, run_id: str, *, timeout_s: float = 120.0) -> DagsterRun:
        """Return the run once it has ended."""

        def finished() -> DagsterRun | None:
            return next((run for run in self.runs() if run.run_id == run_id and run.status in FINISHED_STATUSES), None)

        return wait_until(finished, what=f"the run {run_id!r} to finish", timeout_s=timeout_s, poll_s=0.25)

    def wait_for_runs(self, count: int, *, settle_s: float = 0.0, timeout_s: float = 300.0) -> list[DagsterRun]:
        """Return all runs once *count* have ended and no run and no backfill is under way, oldest first.

        Args:
            settle_s: Look again after this time, and keep waiting if more runs appeared. This shows that *only* *count*
                runs were started.
        """

        def finished() -> list[DagsterRun] | None:
            runs = self.runs()
            done = sum(1 for run in runs if run.status in FINISHED_STATUSES)
            return runs if done >= count and done == len(runs) and self.unfinished_backfills() == 0 else None

        what = f"{count} Dagster runs to finish"
        runs = wait_until(finished, what=what, timeout_s=timeout_s, poll_s=0.5)
        while settle_s:
            time.sleep(settle_s)
            again = wait_until(finished, what=what, timeout_s=timeout_s, poll_s=0.5)
            if len(again) == len(runs):
                return again
            runs = again
        return runs

    def materializations(self, asset: str) -> list[Materialization]:
        """Return the materializations of the asset ``a/b``, oldest first; none when it has never been seen."""
        answer = self.query(_MATERIALIZATIONS, {"key": {"path": asset.split("/")}})["assetOrError"]
        items = answer.get("assetMaterializations", [])
        return [_materialization(item) for item in reversed(items)]

    def launch(self, job: str, *, assets: tuple[str, ...] = (), partition: str | None = None) -> str:
        """Queue a run of a job (``"__ASSET_JOB"`` for assets without one) and return its ID."""
        selector: dict[str, object] = {**self._repository(), "pipelineName": job}
        if assets:
            selector["assetSelection"] = [{"path": asset.split("/")} for asset in assets]
        tags = [{"key": "dagster/partition", "value": partition}] if partition is not None else []
        params = {"selector": selector, "runConfigData": {}, "executionMetadata": {"tags": tags}}
        run_id: str = self._ask("launchPipelineExecution", _LAUNCH, {"params": params})["run"]["runId"]
        return run_id

    def start_sensor(self, name: str) -> None:
        """Switch a sensor on."""
        self._ask("startSensor", _START_SENSOR, {"selector": {**self._repository(), "sensorName": name}})

    def sensor_ticks(self, name: str) -> list[SensorTick]:
        """Return up to the last 100 evaluations of a sensor, newest first."""
        answer = self._ask("instigationStateOrError", _TICKS, {"selector": {**self._repository(), "name": name}})
        return [
            SensorTick(
                status=tick["status"],
                skip_reason=tick["skipReason"],
                run_ids=tuple(tick["runIds"]),
                error=tick["error"]["message"] if tick["error"] else None,
            )
            for tick in answer["ticks"]
        ]

    def _repository(self) -> dict[str, str]:
        entry = self._ask("workspaceOrError", _LOCATIONS)["locationEntries"][0]
        name = entry["locationOrLoadError"]["repositories"][0]["name"]
        return {"repositoryName": name, "repositoryLocationName": entry["name"]}


def _run(item: Mapping[str, Any]) -> DagsterRun:
    return DagsterRun(
        run_id=item["runId"],
        status=item["status"],
        job=item["jobName"],
        tags={tag["key"]: tag["value"] for tag in item["tags"]},
        assets=frozenset("/".join(key["path"]) for key in item["assetSelection"] or ()),
    )


def _materialization(item: Mapping[str, Any]) -> Materialization:
    return Materialization(
        run_id=item["runId"],
        partition=item["partition"],
        metadata={entry["label"]: _metadata_value(entry) for entry in item["metadataEntries"]},
        tags={tag["key"]: tag["value"] for tag in item["tags"]},
    )


def _metadata_value(entry: Mapping[str, Any]) -> object:
    """Return the one field of a metadata entry that carries its value; ``None`` for a kind not asked for."""
    value = next((value for field, value in entry.items() if field not in {"label", "__typename"}), None)
    return json.loads(value) if entry["__typename"] == "JsonMetadataEntry" and value is not None else value
