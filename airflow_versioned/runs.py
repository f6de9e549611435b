"""The running Airflow task, as the store records it with every commit."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_versioned.events import read_extra

if TYPE_CHECKING:
    from airflow.sdk import Context

    from versioned_io import Run, Store

_STARTED_BY_SOMEBODY = {"manual", "backfill", "operator_triggered", "asset_materialization"}
_GIT_COMMIT = re.compile(r"[0-9a-f]{40}")
LINEAGE_CONF = "lineage_id"  # a run's conf may carry the lineage ID of what caused it


def describe_job(context: "Context") -> dict[str, Any]:
    """Return the identity of the running task, as arguments of `Store.run`."""
    instance: Any = context["ti"]
    run: Any = context["dag_run"]
    bundle_version = getattr(getattr(instance, "bundle_instance", None), "version", None)
    dag_version = getattr(instance, "dag_version_id", None)
    return {
        "job": instance.dag_id,
        "run_id": run.run_id,
        "partition_key": run.partition_key,
        "url": instance.log_url,
        "code_version": bundle_version or (str(dag_version) if dag_version else None),
        "git_commit": bundle_version if is_git_commit(bundle_version) else None,
        "params": {"task": instance.task_id, "map_index": instance.map_index, "try_number": instance.try_number},
    }


def retry_key(context: "Context", *work: object) -> str:
    """Return the key by which a retry of the running task recognises its transaction.

    *work* tells the task's transactions apart. The key stays the same in a retry, and changes when the run is cleared.
    """
    instance: Any = context["ti"]
    run: Any = context["dag_run"]
    cleared = getattr(run, "clear_number", None) or 0
    facts = [run.dag_id, run.run_id, instance.task_id, instance.map_index, cleared, *work]
    return f"airflow {hashlib.blake2b(json.dumps(facts, default=str).encode(), digest_size=20).hexdigest()}"


def is_git_commit(version: str | None) -> bool:
    """Return whether a bundle's version is a git commit ID, as that of Airflow's git bundle is."""
    return version is not None and _GIT_COMMIT.fullmatch(version) is not None


def find_lineage(context: "Context") -> str | None:
    """Return the lineage ID that caused this run: from its conf, or from its events when they agree on one."""
    run: Any = context["dag_run"]
    named = (run.conf or {}).get(LINEAGE_CONF)
    if isinstance(named, str):
        return named
    found = {facts["lineage_id"] for facts in read_triggers(context) if "lineage_id" in facts}
    return found.pop() if len(found) == 1 else None


def read_triggers(context: "Context") -> Iterator[dict[str, Any]]:
    """Yield the facts in each event that triggered this run, in no order."""
    events: Iterable[Any] = (context.get("triggering_asset_events") or {}).values()
    for group in events:
        for event in group:
            yield read_extra(event.extra)


def is_asked_for(context: "Context") -> bool:
    """Return whether a person or an operator started or cleared this run, and so wants the work to be repeated.

    A retry does not count: Airflow raises a task's ``max_tries`` above its ``retries`` only when it is cleared.
    """
    run: Any = context["dag_run"]
    instance: Any = context["ti"]
    task: Any = context["task"]
    return run.run_type in _STARTED_BY_SOMEBODY or instance.max_tries > (task.retries or 0)


@contextmanager
def open_run(context: "Context", store: "Store", *, lineage_id: str | None = None) -> "Iterator[Run]":
    """Record the reads of the block, and give its commits this task as their run, with lineage and provenance.

    Args:
        lineage_id: By default the one that caused the run (`find_lineage`); with neither, the first commit mints one.
    """
    with store.run(
        orchestrator="airflow", lineage_id=lineage_id or find_lineage(context), **describe_job(context)
    ) as run:
        yield run
