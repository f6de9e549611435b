"""A sensor that turns the commits of a branch into runs of exactly the partitions that they affect."""

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

import dagster as dg

import versioned_io as vio
from dagster_versioned import compat, tags
from dagster_versioned.affected_partitions import Found, describe_unmatched, request_partitions
from dagster_versioned.causes import carries
from dagster_versioned.commit_watch import MAX_PARTITIONS, CommitWatch, OnDelete, OnImpossibleKey, SensorTarget
from dagster_versioned.cursor_hold import hold_commit
from dagster_versioned.lazy_store import LazyStore
from dagster_versioned.partition_mapping import Mapper, PartitionMapping
from dagster_versioned.sensor_cursor import SensorCursor, parse_sensor_cursor
from dagster_versioned.store_fields import StoreLike, settings_of
from versioned_io.errors import (
    CommitNotFoundError,
    InvalidInputError,
    RefNotFoundError,
    RepoNotFoundError,
    StoreNotFoundError,
)
from versioned_io.model.partitions import PartitionTemplate
from versioned_io.model.refs import parse_branch_ref

DAY_S = 24 * 60 * 60.0


def build_commit_sensor(
    ref: str,
    *,
    target: Any = None,  # noqa: ANN401 (whatever Dagster takes for a selection of assets)
    job: Any = None,  # noqa: ANN401 (whatever Dagster takes for a job)
    partitions: str | None = None,
    key: str | None = None,
    store: StoreLike | None = None,
    catalog: str | None = None,
    resource_key: str = "versioned_store",
    name: str | None = None,
    start: Literal["beginning", "now"] = "beginning",
    on_delete: OnDelete = "skip",
    date_format: str | None = None,
    mapper: Mapper | None = None,
    on_impossible_key: OnImpossibleKey = "fail",
    max_run_requests: int = 10,
    max_partitions: int = MAX_PARTITIONS,
    max_wait_s: float | None = DAY_S,
    run_config: Mapping[str, Any] | dg.RunConfig | None = None,
    run_tags: Mapping[str, str] | None = None,
    minimum_interval_seconds: int | None = None,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
    description: str | None = None,
) -> dg.SensorDefinition:
    """Build a sensor that requests runs of *target* for the changes in new commits of the branch *ref*.

    **Partitioned assets.** The sensor reads each new commit's changed paths from the diff, and maps them to keys by
    *partitions*. Each affected partition is requested once, as a run. More than *max_run_requests* partitions become
    one backfill for each lineage ID. If these are too many as well, one backfill takes all partitions, and each run
    gets the lineage ID of its partition's commit. Keys without a partition wait in the cursor until the partition
    exists; missing dynamic partitions are added. New commits whose keys can never be partitions fail the tick.

    **Assets without partitions.** One run is requested for the branch's newest commit if the content changed. The
    sensor first waits until every run and backfill of this instance with the lineage ID of a new commit has ended. So
    if one write lands as 48 commits of a partitioned asset, the model made from them is trained once.

    A commit of the same bytes changes nothing and requests nothing. The runs carry the tags ``versioned/lineage_id``,
    ``versioned/commit`` and ``versioned/ref``. So their commits carry the lineage ID of the latest commit that touched
    the partition.

    The sensor's cursor, kept by Dagster, is the durable cursor. A crash has these effects, in the order of a tick:

    1. During the evaluation, or before Dagster stored its result: nothing happened. The next tick sees the same cursor
       and the same commits, and requests the same runs under the same run keys.
    2. After dynamic partitions were added: they exist without a run until the next tick, which finds them and
       requests the same runs.
    3. Dagster stores the new cursor and the IDs of the runs and backfills *in one write*. Before it, see 2. After it,
       the restarted daemon resumes the tick and launches the missing runs, each run key once.
    4. While an unpartitioned target waits, the cursor does not move, so nothing can be lost.

    Dagster retries a run that was launched and failed: the cursor has already passed it. To repeat the runs of all
    commits after one, set the sensor's cursor back to it, or to ``replay:`` and its ID. Their run keys then have an
    epoch, since Dagster uses a run key only once.

    The commit of the cursor is kept from expiring, for 30 days after a newer one has come. If it has expired or was
    dropped nevertheless, the sensor continues with the changes that are still
    known. The log of the tick names the gaps.

    >>> import dagster as dg
    >>> from dagster_versioned import build_commit_sensor
    >>> @dg.asset(partitions_def=dg.MonthlyPartitionsDefinition("2012-01", fmt="%Y-%m"))
    ... def rain() -> None: ...
    >>> sensor = build_commit_sensor("weather@main", target=[rain], partitions="{year}/{month}.csv", store="./data")
    >>> sensor.name
    'weather_main_commits'

    Args:
        ref: A branch, ``repo@branch``. If the store, repo or branch does not exist yet, the sensor waits for it.
        target: The assets to run, as anything that Dagster takes for a selection; or else give *job*.
        partitions: The template of the paths, such as ``{year}/{month}.csv``. Assets without partitions run when
            one of the paths that match it changed.
        key: The template of the partition key, such as ``{year}-{month}-01``; by default the fields' values joined by
            ``-``. A multi-dimensional key has the values in the order of the dimensions' names, joined by ``|``.
        store: Its location, its `StoreSettings`, or a resource that is configured with plain values; by default the
            resource under *resource_key*.
        start: Whether the first evaluation begins with the branch's first commit, or ignores the existing commits.
        on_delete: Whether a partition whose last file was deleted is left alone, requested, or removed from the dynamic
            partitions.
        date_format: The form of keys that are dates, such as ``%Y-%m-%d``. Each belongs to the partition whose time
            window has it, as daily files to a weekly asset. A key of another form is taken as it is.
        mapper: A function of the key that returns the partition it belongs to, several, or None. With it or
            *date_format*, a partition that lost one of its files is requested.
        on_impossible_key: Whether new commits whose keys can never be partitions of the assets fail the tick, or are
            passed over.
        max_run_requests: A hundred runs cost the daemon some 25 s, one backfill of a hundred partitions 0.25 s. A *job*
            always gets runs, for Dagster has no backfill of a job from a sensor.
        max_partitions: How many partitions one tick requests; the rest follows in the next ticks. A *job* has at most
            100 runs in a tick.
        max_wait_s: The seconds that the oldest commit may wait for unfinished runs of its lineage. Then an
            unpartitioned target runs anyway, so a branch that changes all the time does not starve it. None sets
            no limit.
        run_config, run_tags: For every run; *run_tags* also for backfills.

    Raises:
        RefSyntaxError: *ref* is not a branch.
        InvalidInputError: *partitions* or *key* is not a template.
        DagsterInvalidDefinitionError: Neither or both of *target* and *job* were given, or both of *date_format* and
            *mapper*.

    Cost: 1 GET, 1 LIST and 8 SELECTs for a tick without a new commit, half of them to open the store. A tick with new
        commits costs as `Store.changes` instead of the other half, and the instance's queries for its runs.
    """
    branch = parse_branch_ref(ref)
    if partitions is not None:
        PartitionTemplate.parse(partitions, key)
    if (target is None) == (job is None):
        raise dg.DagsterInvalidDefinitionError("a commit sensor runs assets or a job: give one of target= and job=")
    if date_format is not None and mapper is not None:
        raise dg.DagsterInvalidDefinitionError("give one of date_format= and mapper=")
    if max_partitions < 1:
        raise dg.DagsterInvalidDefinitionError(f"max_partitions must be at least 1, not {max_partitions}")
    watch = CommitWatch(
        ref=branch,
        partitions=partitions,
        key=key,
        from_head=start == "now",
        mapping=PartitionMapping(date_format, mapper),
        on_delete=on_delete,
        on_impossible_key=on_impossible_key,
        max_run_requests=max_run_requests,
        max_partitions=max_partitions,
        max_wait_s=max_wait_s,
        run_config=run_config,
        run_tags=dict(run_tags or {}),
        sensor_name=name or re.sub(r"[^A-Za-z0-9_]", "_", f"{branch.repo}_{branch.branch}_commits"),
    )
    selection = dg.AssetSelection.from_coercible(target) if target is not None else None

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        job_name = None if selection is not None else definition.job_name
        found = store if store is not None else getattr(context.resources, resource_key)
        with LazyStore(settings_of(found, catalog), create=False) as opened:
            result = _evaluate(context, watch, opened, lambda: _target_of(context, selection, job_name))
            if result.cursor:
                hold_commit(context, watch.sensor_name, opened.get(), result)
            return result

    definition = dg.SensorDefinition(
        name=watch.sensor_name,
        evaluation_fn=evaluate,
        job=job,
        asset_selection=selection,
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        description=description or f"Runs what the commits of {branch} affect.",
        required_resource_keys={resource_key} if store is None else None,
        metadata={"versioned/ref": str(branch), **({"versioned/partitions": partitions} if partitions else {})},
    )
    return definition


def _evaluate(
    context: dg.SensorEvaluationContext,
    watch: CommitWatch,
    opened: LazyStore,
    find_target: Callable[[], SensorTarget],
) -> dg.SensorResult:
    try:
        store = opened.get()
        if context.cursor is None and watch.from_head:
            return _begin_at_head(watch, store)
        cursor = parse_sensor_cursor(context.cursor) if context.cursor else SensorCursor()
        changes = store.changes(str(watch.ref), since=cursor.commit, partitions=watch.partitions, key=watch.key)
    except (StoreNotFoundError, RepoNotFoundError, RefNotFoundError) as error:
        return dg.SensorResult(skip_reason=f"{watch.ref} does not exist yet: {error}")
    except CommitNotFoundError as error:
        msg = (
            f"the cursor of sensor {context.sensor_name} is a commit that {watch.ref} does not have: {error}; "
            "set the cursor to one that it has, or to 'beginning'"
        )
        raise InvalidInputError(msg) from error
    if changes.unknown:
        context.log.warning("%s: %s", watch.ref, changes.unknown)
    watch = replace(watch, epoch=_epoch_of(context, watch, cursor, changes))
    target = find_target()
    unmatched = describe_unmatched(watch, store, changes, cursor)
    if target.definition is None:
        return _request_whole(context, watch, changes, cursor, unmatched=unmatched)
    if watch.partitions is None:
        raise dg.DagsterInvalidDefinitionError(
            f"{target} is partitioned: build the commit sensor with partitions=, the template of the paths of "
            f"{watch.ref}"
        )

    def keys_at_head() -> Sequence[str]:
        head = changes.head
        template = watch.partitions
        if head is None or template is None:
            return []
        return store.affected(None, f"{watch.ref.repo}@{head.id}", template, key=watch.key)

    return request_partitions(context, watch, target, Found(changes, unmatched, keys_at_head), cursor)


def _epoch_of(
    context: dg.SensorEvaluationContext, watch: CommitWatch, cursor: SensorCursor, changes: "vio.Changes"
) -> str:
    """Return the part of the run keys by which runs that were requested before are requested again.

    It is empty in an ordinary tick, so that a crashed tick repeats its run keys. A commit that is handled once more
    needs it. This happens in a replay, after the cursor was set back by hand, and after the branch was moved back. A
    replay that crashes before Dagster has stored the tick has launched nothing, so its epoch may differ the next time.

    Cost: nothing without a new commit; otherwise 2 queries of the instance.
    """
    if cursor.is_replay:
        return uuid.uuid4().hex[:12]
    if cursor.epoch or changes.head is None or changes.head.id == cursor.commit:
        return cursor.epoch
    follows = changes.commits[0].parent if changes.commits else None
    if cursor.commit is not None and follows != cursor.commit:
        return cursor.commit
    edited_after = compat.tick_before_edit(context, watch.sensor_name)
    return "" if edited_after is None else f"tick-{edited_after}"


def _begin_at_head(watch: CommitWatch, store: "vio.Store") -> dg.SensorResult:
    head = store.changes(str(watch.ref), since=None).head
    cursor = SensorCursor(head.id if head is not None else None)
    return dg.SensorResult(
        skip_reason=f"the first evaluation leaves alone what is on {watch.ref} already", cursor=str(cursor)
    )


def _target_of(
    context: dg.SensorEvaluationContext, selection: dg.AssetSelection | None, job_name: str | None
) -> SensorTarget:
    return SensorTarget(compat.targeted_partitions(context, selection, job_name), takes_backfills=selection is not None)


def _request_whole(
    context: dg.SensorEvaluationContext,
    watch: CommitWatch,
    changes: "vio.Changes",
    cursor: SensorCursor,
    *,
    unmatched: str | None,
) -> dg.SensorResult:
    """Return one request for the branch's head if its content changed and no run of its lineage is unfinished.

    Unfinished runs or backfills of this instance with the lineage ID of a new commit will make more commits. Meanwhile
    the cursor stays, and the next evaluation looks again. So 48 partitions of one write become one request, for the
    last of them. After `max_wait_s` it no longer waits.
    """
    head = changes.head
    if head is None or head.id == cursor.commit:
        return dg.SensorResult(skip_reason=f"no new commit on {watch.ref}")
    news = f"{len(changes.commits)} new commit(s) on {watch.ref}"
    after = str(SensorCursor(head.id))
    if not (changes.keys or changes.deleted):
        what = "files" if watch.partitions is None else f"partitions of {watch.partitions!r}"
        why = unmatched or f"{news} left its {what} as they were"
        return dg.SensorResult(skip_reason=". ".join(filter(None, [why, changes.unknown])), cursor=after)
    unfinished = _unfinished(context, watch, changes)
    if unfinished is not None:
        # Dagster notes the cursor with this tick, so the next one could not tell that somebody has set it back.
        waits = str(SensorCursor(cursor.commit, is_replay=True)) if watch.epoch else None
        return dg.SensorResult(
            skip_reason=f"{news} wait for {unfinished}, which may add more under the same lineage ID", cursor=waits
        )
    request = dg.RunRequest(
        run_key=watch.run_key_for(head.id), run_config=watch.run_config, tags=watch.tags_for(head.id, head.lineage_id)
    )
    return dg.SensorResult(run_requests=[request], cursor=after)


def _unfinished(context: dg.SensorEvaluationContext, watch: CommitWatch, changes: "vio.Changes") -> str | None:
    news = changes.commits or ((changes.head,) if changes.head is not None else ())
    oldest = min(commit.created_at for commit in news)
    # An impossible date, far in the future, ends the wait as well: otherwise the wait would never end.
    if watch.max_wait_s is not None and abs((datetime.now(UTC) - oldest).total_seconds()) > watch.max_wait_s:
        return None
    lineage_ids = sorted({commit.lineage_id for commit in news})
    return compat.describe_unfinished_work(context.instance, tags.LINEAGE_ID, lineage_ids, carries)
