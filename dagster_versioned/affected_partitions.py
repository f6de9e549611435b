"""The requests of a commit sensor whose assets are partitioned: a run, or a place in a backfill, per partition."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

import versioned_io as vio
from dagster_versioned import compat, tags
from dagster_versioned.causes import keep_causes
from dagster_versioned.commit_watch import MAX_REMOVED, CommitWatch, SensorTarget, name_keys
from dagster_versioned.partition_mapping import Touched, touched_partitions
from dagster_versioned.sensor_cursor import CausedBy, SensorCursor
from dagster_versioned.sorted_out import SortedOut, add_requests_for, delete_requests_for, describe, end_of, sort_out
from versioned_io.errors import CommitForgottenError, InvalidInputError


@dataclass(frozen=True, slots=True)
class Found:
    """The changes that an evaluation found on the branch.

    Attributes:
        unmatched: The sentence of `describe_unmatched`.
        keys_at_head: Returns the keys of all files of the branch's head; it reads all pages.
    """

    changes: "vio.Changes"
    unmatched: str | None
    keys_at_head: Callable[[], Sequence[str]]


def request_partitions(
    context: dg.SensorEvaluationContext,
    watch: CommitWatch,
    target: SensorTarget,
    found: Found,
    cursor: SensorCursor,
) -> dg.SensorResult:
    """Return the requests for the partitions that the new commits touched, and the cursor after them.

    A key without a partition of the assets is not an error if it may become one. An example is a month whose files
    arrive before it ends. The key is named, and waits in the cursor until the partition exists. Missing dynamic
    partitions are added. A key that can never be a partition is named in every tick. If new commits have no other key,
    and no partition waits for its page, the tick fails.

    The result depends only on the arguments and on the existing partitions. So an evaluation that crashed is repeated
    with the same run keys.

    Raises:
        InvalidInputError: None of the new keys can ever be a partition.
    """
    definition = target.definition
    if definition is None:
        raise dg.DagsterInvariantViolationError(f"{target} has no partitions to request")
    with compat.partitions_loaded_from(context.instance):
        touched = touched_partitions(watch.mapping, found.changes, definition, found.keys_at_head)
        wanted = wanted_of(touched, cursor, with_deleted=watch.on_delete == "request")
        sorted_out = sort_out(wanted, definition)
        known = cursor.in_turn(sorted_out.known)
        page = known[: watch.page_for(target)]
        if not page:
            _refuse_impossible(watch, target, touched, sorted_out)
        changed_sets: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
        changed_sets += add_requests_for(page, definition, context.instance)
        removing: list[str] = []
        if watch.on_delete == "remove":
            removing = sorted({*cursor.removing, *touched.deleted} - touched.changed.keys())
            changed_sets += delete_requests_for(removing[:MAX_REMOVED], definition)
        requests = list(_requests(context.instance, watch, target, {key: wanted[key] for key in page}))
    later = known[len(page) :]
    kept = [*later, *sorted_out.unknown, *(sorted_out.never if watch.on_impossible_key == "fail" else ())]
    head = found.changes.head
    after = SensorCursor(
        head.id if head is not None else cursor.commit,
        {key: wanted[key] for key in sorted(kept)},
        epoch=watch.epoch if later else "",
        removing=tuple(removing[MAX_REMOVED:]),
    )
    remark = ". ".join(filter(None, [_remark(target, sorted_out), _impossible(watch, target, sorted_out)]))
    if remark and requests:
        context.log.warning(remark)
    skip_reason = None
    if not requests:
        why = found.unmatched or _describe(watch, found.changes, touched)
        skip_reason = ". ".join(filter(None, [why, remark, found.changes.unknown]))
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=skip_reason,
        cursor=str(after),
        dynamic_partitions_requests=changed_sets,
    )


def wanted_of(touched: Touched, cursor: SensorCursor, *, with_deleted: bool = False) -> dict[str, CausedBy]:
    """Return the touched partitions and those that wait in the cursor, sorted, each with its newest commit."""
    waiting = {key: cause for key, cause in cursor.waiting.items() if key not in touched.deleted}
    return dict(sorted((waiting | {**touched.changed, **(touched.deleted if with_deleted else {})}).items()))


def _refuse_impossible(watch: CommitWatch, target: SensorTarget, touched: Touched, sorted_out: SortedOut) -> None:
    """Raise if the new commits touched partitions, and none of them can exist."""
    never = set(sorted_out.never)
    if watch.on_impossible_key == "fail" and touched.changed and never.issuperset(touched.changed):
        raise InvalidInputError(_impossible(watch, target, sorted_out))


def _requests(
    instance: dg.DagsterInstance, watch: CommitWatch, target: SensorTarget, known: Mapping[str, CausedBy]
) -> Iterable[dg.RunRequest]:
    if len(known) <= watch.max_run_requests or not target.takes_backfills:
        return [_run_request(watch, key, cause) for key, cause in known.items()]
    by_lineage: dict[str, dict[str, CausedBy]] = defaultdict(dict)
    for key, cause in known.items():
        by_lineage[cause.lineage_id][key] = cause
    definitions = {key: definition for key, definition in target.partitions_defs.items() if definition is not None}
    if len(by_lineage) > watch.max_run_requests:
        newest = max(known.values(), key=lambda cause: cause.place)
        kept = keep_causes(instance, known, sensor_name=watch.sensor_name, now_s=time.time())
        carried = {**watch.tags_of_many(newest.commit), tags.CAUSES: kept}
        return [compat.backfill_request(definitions, known, carried)]
    requests: list[dg.RunRequest] = []
    for _, keys in sorted(by_lineage.items()):
        newest = max(keys.values(), key=lambda cause: cause.place)
        if len(keys) == 1:
            requests.extend(_run_request(watch, key, cause) for key, cause in keys.items())
        else:
            carried = watch.tags_for(newest.commit, newest.lineage_id)
            requests.append(compat.backfill_request(definitions, keys, carried))
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


def _describe(watch: CommitWatch, changes: "vio.Changes", touched: Touched) -> str:
    if not changes.commits and not touched.deleted:
        return f"no new commit on {watch.ref}"
    fate = "removed" if watch.on_delete == "remove" else "left alone"
    deleted = f"; deleted partitions are {fate}: {name_keys(sorted(touched.deleted))}" if touched.deleted else ""
    what = f"{len(changes.commits)} new commit(s) on {watch.ref} changed no partition of {watch.partitions!r}"
    return f"{what} that is to be run{deleted}"


def _remark(target: SensorTarget, sorted_out: SortedOut) -> str:
    if not sorted_out.unknown:
        return ""
    waits = f"{len(sorted_out.unknown)} key(s) are not partitions of {target} and wait until they are"
    end = end_of(target.definition) if target.definition is not None else None
    moved = "" if end is None else f". The partitions end at {end}: a later key waits until end_date is moved"
    return f"{waits}: {name_keys(sorted(sorted_out.unknown))}{moved}"


def _impossible(watch: CommitWatch, target: SensorTarget, sorted_out: SortedOut) -> str:
    if not sorted_out.never or target.definition is None:
        return ""
    return (
        f"{len(sorted_out.never)} key(s) of the template {watch.partitions!r} can never be partitions of {target}, "
        f"which has {describe(target.definition)}: {name_keys(sorted(sorted_out.never))}. Change the template or key=, "
        "pass date_format= or mapper=, or ignore such keys by on_impossible_key='skip'"
    )
