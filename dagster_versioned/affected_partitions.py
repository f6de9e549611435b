"""The requests of a commit sensor whose assets are partitioned: a run, or a place in a backfill, per partition."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

import versioned_io as vio
from dagster_versioned import compat
from dagster_versioned.commit_watch import CommitWatch, SensorTarget, name_keys
from dagster_versioned.sensor_cursor import CausedBy, SensorCursor
from versioned_io.errors import CommitForgottenError


def request_partitions(
    context: dg.SensorEvaluationContext,
    watch: CommitWatch,
    target: SensorTarget,
    changes: "vio.Changes",
    cursor: SensorCursor,
    *,
    unmatched: str | None,
) -> dg.SensorResult:
    """Return the requests for the partitions that *changes* touched, and the cursor after them.

    A key without a partition of the assets is not an error, as for a month whose files arrive before it ends. The key
    is named, and waits in the cursor until the partition exists. Missing dynamic partitions are added.

    The result depends only on the arguments and on the existing partitions. So an evaluation that crashed is repeated
    with the same run keys.

    Args:
        unmatched: The sentence of `describe_unmatched`.
    """
    definition = target.definition
    if definition is None:
        raise dg.DagsterInvariantViolationError(f"{target} has no partitions to request")
    wanted = wanted_of(watch, changes, cursor)
    with compat.partitions_loaded_from(context.instance):
        sorted_out = sort_out(wanted, definition)
        requests = list(_requests(watch, target, {key: wanted[key] for key in sorted_out.known}))
    after = SensorCursor(changes.head.id if changes.head is not None else cursor.commit, sorted_out.waiting(wanted))
    remark = _remark(target, sorted_out)
    if remark and requests:
        context.log.warning(remark)
    skip_reason = None
    if not requests:
        why = unmatched or _describe(watch, changes)
        skip_reason = ". ".join(filter(None, [why, remark, changes.unknown]))
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=skip_reason,
        cursor=str(after),
        dynamic_partitions_requests=sorted_out.add_requests,
    )


@dataclass(slots=True)
class SortedOut:
    """The keys that are partitions (or become partitions by adding values), and the keys that are not.

    Attributes:
        add_requests: The dynamic partitions to add.
    """

    known: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    add_requests: list[dg.AddDynamicPartitionsRequest] = field(default_factory=list)

    def waiting(self, wanted: Mapping[str, CausedBy]) -> dict[str, CausedBy]:
        """Return the unknown keys, which the cursor keeps."""
        return {key: wanted[key] for key in self.unknown}


def wanted_of(watch: CommitWatch, changes: "vio.Changes", cursor: SensorCursor) -> dict[str, CausedBy]:
    """Return the keys that *changes* touched and those that wait in the cursor, sorted, each with its newest commit."""
    waiting = {key: cause for key, cause in cursor.waiting.items() if key not in changes.deleted}
    touched = {**changes.keys, **(changes.deleted if watch.request_deleted else {})}
    wanted = waiting | {key: CausedBy(commit.id, commit.lineage_id) for key, commit in touched.items()}
    return dict(sorted(wanted.items()))


def sort_out(wanted: Iterable[str], definition: dg.PartitionsDefinition[Any]) -> SortedOut:
    """Return which keys are partitions, or become partitions by adding values, and which are neither."""
    result = SortedOut()
    dimensions = _dimensions_of(definition)
    missing: dict[str, dict[str, None]] = {name: {} for name in dimensions}
    existing = {
        name: set(dimension.get_partition_keys()) if _is_dynamic(dimension) else set()
        for name, dimension in dimensions.items()
    }
    valid = (
        definition.filter_valid_partition_keys(set(wanted))
        if not any(map(_is_dynamic, dimensions.values()))
        else frozenset()
    )
    for key in wanted:
        values = _values_by_dimension(key, definition)
        if key in valid or _is_addable(values, dimensions):
            result.known.append(key)
            for name, value in (values or {}).items():
                if _is_dynamic(dimensions[name]) and value not in existing[name]:
                    missing[name][value] = None
        else:
            result.unknown.append(key)
    for name, values_to_add in missing.items():
        dimension = dimensions[name]
        if values_to_add and isinstance(dimension, dg.DynamicPartitionsDefinition):
            result.add_requests.append(dimension.build_add_request(list(values_to_add)))
    return result


_ONLY = ""
"""The name of the dimension of a definition with one dimension."""


def _dimensions_of(definition: dg.PartitionsDefinition[Any]) -> dict[str, dg.PartitionsDefinition[Any]]:
    if isinstance(definition, dg.MultiPartitionsDefinition):
        return {dimension.name: dimension.partitions_def for dimension in definition.partitions_defs}
    return {_ONLY: definition}


def _values_by_dimension(key: str, definition: dg.PartitionsDefinition[Any]) -> Mapping[str, str] | None:
    """Return the value of each dimension; ``None`` if *key* is not a key of a multi-dimensional definition."""
    if not isinstance(definition, dg.MultiPartitionsDefinition):
        return {_ONLY: key}
    names = sorted(dimension.name for dimension in definition.partitions_defs)
    values = key.split("|")
    return dict(zip(names, values, strict=True)) if len(values) == len(names) else None


def _is_dynamic(definition: dg.PartitionsDefinition[Any]) -> bool:
    return isinstance(definition, dg.DynamicPartitionsDefinition) and definition.name is not None


def _is_addable(values: Mapping[str, str] | None, dimensions: Mapping[str, dg.PartitionsDefinition[Any]]) -> bool:
    if values is None or not any(map(_is_dynamic, dimensions.values())):
        return False
    return all(
        _is_dynamic(dimensions[name]) or dimensions[name].has_partition_key(value) for name, value in values.items()
    )


def _requests(watch: CommitWatch, target: SensorTarget, known: Mapping[str, CausedBy]) -> Iterable[dg.RunRequest]:
    if len(known) <= watch.max_run_requests or not target.takes_backfills:
        return [_run_request(watch, key, cause) for key, cause in known.items()]
    by_lineage: dict[str, dict[str, CausedBy]] = defaultdict(dict)
    for key, cause in known.items():
        by_lineage[cause.lineage_id][key] = cause
    requests: list[dg.RunRequest] = []
    for _, keys in sorted(by_lineage.items()):
        newest = max(keys.values(), key=lambda cause: cause.commit)
        if len(keys) == 1:
            requests.extend(_run_request(watch, key, cause) for key, cause in keys.items())
        else:
            definitions = {
                key: definition for key, definition in target.partitions_defs.items() if definition is not None
            }
            requests.append(
                compat.backfill_request(definitions, keys, watch.tags_for(newest.commit, newest.lineage_id))
            )
    return requests


def _run_request(watch: CommitWatch, key: str, cause: CausedBy) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=watch.run_key_for(cause.commit, key),
        partition_key=key,
        run_config=watch.run_config,
        tags=watch.tags_for(cause.commit, cause.lineage_id),
    )


def describe_unmatched(
    watch: CommitWatch, store: "vio.Store", changes: "vio.Changes", cursor: SensorCursor
) -> str | None:
    """Return that no changed path matches the template, with one of the paths; None if that is not so.

    Cost: if new commits touched no key, that of `Store.diff`; otherwise nothing.
    """
    if watch.partitions is None or changes.head is None or not changes.commits or changes.keys or changes.deleted:
        return None
    repo = watch.ref.repo
    try:
        paths = store.diff(cursor.commit and f"{repo}@{cursor.commit}", f"{repo}@{changes.head.id}").column("path")
    except CommitForgottenError:
        return None  # the changed keys are known without its data, but not the other paths
    if not len(paths):
        return None
    news = f"{len(changes.commits)} new commit(s) on {watch.ref} changed {len(paths)} path(s)"
    return f"{news}, and none matches the template {watch.partitions!r}: one is {paths[0].as_py()!r}"


def _describe(watch: CommitWatch, changes: "vio.Changes") -> str:
    if not changes.commits:
        return f"no new commit on {watch.ref}"
    deleted = f"; deleted partitions are left alone: {name_keys(sorted(changes.deleted))}" if changes.deleted else ""
    what = f"{len(changes.commits)} new commit(s) on {watch.ref} changed no partition of {watch.partitions!r}"
    return f"{what} that is to be run{deleted}"


def _remark(target: SensorTarget, sorted_out: SortedOut) -> str:
    if not sorted_out.unknown:
        return ""
    return (
        f"{len(sorted_out.unknown)} key(s) are not partitions of {target} and wait until they are: "
        f"{name_keys(sorted(sorted_out.unknown))}"
    )
