"""The running Airflow task, as the store records it with every commit."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowRuntimeError

from airflow_versioned.events import read_extra
from airflow_versioned.open_lineage import forget_uses, report_datasets
from versioned_io.model.identifiers import is_id

if TYPE_CHECKING:
    from airflow.sdk import Context

    from versioned_io import Commit, Run, Store

_FINISHED = {"success", "failed"}
UNDER_WAY = {"queued", "running"}
_STARTED_BY_SOMEBODY = {"manual", "backfill", "operator_triggered", "asset_materialization"}
_log = logging.getLogger(__name__)
_GIT_COMMIT = re.compile(r"[0-9a-f]{40}")
LINEAGE_CONF = "lineage_id"  # a run's conf may carry the lineage ID of what caused it
KEYS_CONF = "keys"  # in the conf of a relay's run: the keys to process again
WAKE_UP_CONF = "versioned_wake_up"  # in the conf of a run that the relay started: the commit that asks, and the key


def describe_job(context: "Context") -> dict[str, Any]:
    """Return the identity of the running task, as arguments of `Store.run`."""
    instance: Any = context["ti"]
    run: Any = context["dag_run"]
    bundle_version = getattr(getattr(instance, "bundle_instance", None), "version", None)
    dag_version = getattr(instance, "dag_version_id", None)
    return {
        "job": instance.dag_id,
        "run_id": run.run_id,
        "partition_key": find_partition_key(context),
        "url": instance.log_url,
        "code_version": bundle_version or (str(dag_version) if dag_version else None),
        "git_commit": bundle_version if is_git_commit(bundle_version) else None,
        "params": {"task": instance.task_id, "map_index": instance.map_index, "try_number": instance.try_number},
    }


def retry_key(context: "Context", ordinal: int, *work: object) -> str:
    """Return the key by which a retry of the running task recognises its transaction.

    It is a digest of the DAG, the run, the task, its map index and the number of times that the run was cleared. So it
    stays the same in a retry, whatever the retry writes, and a cleared task has another one.

    Args:
        ordinal: The number of the transaction within the task.
        work: Whatever else makes it another piece of work, such as newer data that the task has claimed.
    """
    instance: Any = context["ti"]
    run: Any = context["dag_run"]
    cleared = getattr(run, "clear_number", None) or 0
    facts = [run.dag_id, run.run_id, instance.task_id, instance.map_index, cleared, ordinal, *work]
    return f"airflow {hashlib.blake2b(json.dumps(facts, default=str).encode(), digest_size=20).hexdigest()}"


def log_commit(commit: "Commit", try_number: int) -> None:
    """Write a line about a commit of the running task to its log."""
    stats, made_by = commit.stats, commit.run
    changed = f"{stats.added} added, {stats.modified} changed, {stats.deleted} deleted"
    place = f"{commit.repo}@{commit.branch}"
    earlier = None if made_by is None else made_by.params.get("try_number")
    if earlier is not None and earlier != try_number:
        said = "an earlier try of this task has made this commit, so what this try wrote is not committed:"
        _log.info("%s number %d of %s: %s, lineage ID %s", said, commit.number, place, commit.id, commit.lineage_id)
    else:
        said = f"commit number {commit.number} of {place}"
        _log.info("%s: %s (%s), lineage ID %s", said, commit.id, changed, commit.lineage_id)


def find_partition_key(context: "Context") -> str | None:
    """Return the partition key of this run: its own, or the one that the relay started it for.

    Airflow 3.3.2 drops the key of a run that a task starts, so the relay puts it into the conf.
    """
    run: Any = context["dag_run"]
    facts = (run.conf or {}).get(WAKE_UP_CONF)
    named = facts.get("key") if isinstance(facts, dict) else None
    return run.partition_key or (named if isinstance(named, str) else None)


def name_task(context: "Context") -> str:
    """Return a name of the running task that its retries share: of its DAG, run, task and map index."""
    instance: Any = context["ti"]
    return f"{instance.dag_id}/{context['dag_run'].run_id}/{instance.task_id}/{instance.map_index}"


def is_git_commit(version: str | None) -> bool:
    """Return whether a bundle's version is a git commit ID, as that of Airflow's git bundle is."""
    return version is not None and _GIT_COMMIT.fullmatch(version) is not None


def find_lineage(context: "Context") -> str | None:
    """Return the lineage ID that caused this run: from its conf, or from its events when they agree on one."""
    run: Any = context["dag_run"]
    named = (run.conf or {}).get(LINEAGE_CONF)
    if isinstance(named, str):
        return named
    # Other programs post events, too, and call something else a lineage ID.
    found = {facts["lineage_id"] for facts in read_triggers(context) if is_id(facts.get("lineage_id", ""))}
    return found.pop() if len(found) == 1 else None


def read_triggers(context: "Context") -> Iterator[dict[str, Any]]:
    """Yield the facts in each event that triggered this run, in no order."""
    events: Iterable[Any] = (context.get("triggering_asset_events") or {}).values()
    for group in events:
        for event in group:
            yield read_extra(event.extra)


def is_started_by_somebody(context: "Context") -> bool:
    """Return whether a person or an operator started this run, and so wants the work to be done whatever is due.

    A run that the relay started for a consumer that had missed its wake-up does not count.
    """
    run: Any = context["dag_run"]
    return run.run_type in _STARTED_BY_SOMEBODY and WAKE_UP_CONF not in (run.conf or {})


def is_cleared(context: "Context") -> bool:
    """Return whether the running task was cleared. A retry does not count.

    Airflow raises a task's ``max_tries`` above its ``retries`` only when it is cleared.
    """
    instance: Any = context["ti"]
    task: Any = context["task"]
    return bool(instance.max_tries > (task.retries or 0))


def read_requested_keys(context: "Context") -> list[str]:
    """Return the partition keys that somebody started this run for: the run's own, or those in its conf.

    Raises:
        ValueError: The ``keys`` of the conf are not a list of texts.
    """
    if not is_started_by_somebody(context):
        return []
    run: Any = context["dag_run"]
    named = (run.conf or {}).get(KEYS_CONF, [])
    if not isinstance(named, list) or not all(isinstance(key, str) for key in named):
        msg = f"{KEYS_CONF}={named!r} in the run's conf must be a list of partition keys, such as ['2026-01-01']"
        raise ValueError(msg)
    return [*named] if named or run.partition_key is None else [run.partition_key]


def is_woken(context: "Context") -> bool:
    """Return whether an event of an asset, or the relay, started this run."""
    run: Any = context["dag_run"]
    return run.run_type == "asset_triggered" or WAKE_UP_CONF in (run.conf or {})


def is_over(owner: str, get_state: "Callable[[str, str], str]") -> bool:
    """Return whether the run that holds a claim has ended without releasing it, as when its worker was killed.

    Args:
        owner: The run's DAG ID and ID, joined by ``/``.
        get_state: Returns the state of the run of these two IDs.

    Raises:
        AirflowRuntimeError: Airflow can't say; a retry asks again.

    Cost: 1 request to Airflow's API server.
    """
    state = find_state(owner, get_state)
    return state is None or state in _FINISHED


def find_state(owner: str, get_state: "Callable[[str, str], str]") -> str | None:
    """Return the state of the run that *owner* names, or None if Airflow has no such run.

    Raises:
        AirflowRuntimeError: Airflow can't say; a retry asks again.

    Cost: 1 request to Airflow's API server.
    """
    dag_id, _, run_id = owner.partition("/")
    try:
        return get_state(dag_id, run_id)
    except AirflowRuntimeError as error:
        if (error.error.detail or {}).get("status_code") == HTTPStatus.NOT_FOUND:
            return None
        raise


class _TaskRun:
    """The run of the task that this process executes, offered to every read and commit in it."""

    def __init__(self, context: "Context") -> None:
        self.identity = name_task(context)
        self.try_number = context["ti"].try_number
        self.context = context
        self.commits: list[Commit] = []  # of the blocks in it

    def build(self) -> "Run":
        """Return the run; called by the first read or commit."""
        from versioned_io import build_run

        lineage_id = find_lineage(self.context)
        return build_run(orchestrator="airflow", lineage_id=lineage_id, **describe_job(self.context)).open()


_task_run: _TaskRun | None = None  # of the task that this process executes, which is one


def offer_task_run(context: "Context") -> None:
    """Make the running task the run of everything that it reads and commits, also without `VersionedHook.run`.

    Cost: none until the first read or commit.
    """
    global _task_run  # noqa: PLW0603 (a process executes one task)
    from versioned_io import offer_run

    _task_run = _TaskRun(context)
    forget_uses()
    offer_run(_task_run.build)


def find_outlets() -> list[Any]:
    """Return the declared branches among the outlets of the task that this process executes; empty outside of one."""
    outlets = [] if _task_run is None else _task_run.context["outlets"]
    return [outlet.declared for outlet in outlets if hasattr(outlet, "declared")]


def end_task_run(instance: object) -> None:
    """End what `offer_task_run` began, and write a line about each commit that has none yet to the task's log.

    The commits that the task has read and made are then reported as OpenLineage's datasets.
    """
    global _task_run
    ended, _task_run = _task_run, None
    if ended is None:
        return
    from versioned_io import offer_settings, withdraw_run

    offer_settings(None)
    run = withdraw_run()
    made = () if run is None else run.commits
    for commit in made:
        log_commit(commit, ended.try_number)
    report_datasets(run, [*ended.commits, *made], instance)
    forget_uses()


def _current_task_run(context: "Context") -> "Run | None":
    """Return the offered run if it is that of the task with *context*."""
    if _task_run is None or _task_run.identity != name_task(context):
        return None
    from versioned_io import current_run

    return current_run()


@contextmanager
def open_run(context: "Context", store: "Store", *, lineage_id: str | None = None) -> "Iterator[Run]":
    """Record the reads of the block, and give its commits this task as their run, with lineage and provenance.

    Reads of the task before the block count too, except those of other blocks. After it, its reads count for what the
    task commits outside of blocks. Each commit gets a line in the task's log.

    Args:
        lineage_id: By default the one that caused the run (`find_lineage`); with neither, the first commit mints one.
    """
    instance: Any = context["ti"]
    task_run = _current_task_run(context)
    found = lineage_id or find_lineage(context)
    with store.run(orchestrator="airflow", lineage_id=found, **describe_job(context)) as run:
        if task_run is not None:
            run.include(task_run)
        try:
            yield run
        finally:
            if task_run is not None:
                task_run.add_part(run)
                if _task_run is not None:
                    _task_run.commits += run.commits
            for commit in run.commits:
                log_commit(commit, instance.try_number)
