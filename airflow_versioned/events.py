"""The content of an asset event: the commit and the lineage ID, small enough to be stored with every event."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.asset import AssetUniqueKey
from airflow.sdk.execution_time.context import OutletEventAccessor

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

    from versioned_io import Commit

MAX_KEYS_PER_TASK = 100
"""Airflow's API server spends about 15 ms on each key and consumer, in a request that times out after 5 s. That is
enough for three consumers."""


def event_extra(commit: "Commit") -> dict[str, Any]:
    """Return the ``extra`` of the events of *commit*."""
    return build_extra(commit.repo, commit.branch, commit.id, commit.lineage_id, commit.number)


def build_extra(repo: str, branch: str, commit: str, lineage_id: str, number: int) -> dict[str, Any]:
    """Return the ``extra`` of an event about a commit; *number* is its place in the branch."""
    return {"repo": repo, "branch": branch, "commit": commit, "lineage_id": lineage_id, "number": number}


def read_extra(extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the commit's facts in an event's ``extra``, or an empty mapping if there are none.

    A watcher's event holds them under ``payload``, a task's at the top. Anyone who may post events can write
    anything there. So the result is a hint, and never decides which work is done.
    """
    found = extra or {}
    payload = found.get("payload")
    facts = payload if isinstance(payload, Mapping) else found
    return {name: facts[name] for name in ("repo", "branch", "commit", "lineage_id", "number") if name in facts}


def emit_events(
    context: "Context", outlet: "Asset", events: "Iterable[tuple[Mapping[str, Any], Iterable[str]]]"
) -> None:
    """Make the running task emit, for *outlet*, an event for each key of each of *events*, when it succeeds.

    Airflow's own accessor has one ``extra`` for all keys of an asset; its API takes one for each event. So every item
    of *events* gets an accessor of its own, under a key that equals no other.

    Args:
        events: ``extra``, and the partition keys of its events.
    """
    accessors: Any = context["outlet_events"]
    for extra, keys in events:
        key = _EventKey(outlet.name, outlet.uri)
        accessor = OutletEventAccessor(key=key, extra=dict(extra))
        accessor.add_partitions(list(keys))
        accessors._dict[key] = accessor  # noqa: SLF001 (read by Airflow's task runner; test_events.py watches over it)


class _EventKey(AssetUniqueKey):
    """The name and URI of an asset, for one group of its events. It equals only itself."""

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)
