"""All uses of Dagster's internals in one place, where its public API is not enough; tried with 1.11.4 to 1.13.

Each function documents its need and the result if Dagster does not offer it. Only `compat_older`, for older IO
managers, does the same. No other module uses a name of Dagster's that starts with an underscore, or imports from
``dagster._core``.
"""

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.definitions.partitions.utils.mapping import infer_partition_mapping
from dagster._core.execution.context.compute import current_execution_context
from dagster._core.execution.context.metadata_logging import AssetMetadataHandle, OutputMetadataAccumulator
from dagster._core.execution.context.system import StepExecutionContext
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
    WILL_RETRY_TAG,
)

from dagster_versioned import tags

Step = StepExecutionContext
"""One attempt at one step of a run, as Dagster executes it; each attempt has its own object."""

TICKS_RESUMED_FOR_S = 24 * 60 * 60
"""The seconds within which the daemon resumes a tick that it had begun before it died."""

_RETRIES_LOOKED_AT = 100
_MAPPED_PAIRS_LOOKED_AT = 10_000


def step_of(context: dg.InputContext | dg.OutputContext) -> Step | None:
    """Return the step that calls an IO manager; ``None`` outside a run, as in a test or an asset value loader."""
    return context._step_context  # noqa: SLF001 (the property step_context raises where there is none)


def key_of_step(step: Step) -> str:
    """Return the step's name within its run; a retry has the same."""
    return step.step.key


def step_of_compute(
    context: dg.OpExecutionContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
) -> Step:
    """Return the step whose compute function was given *context*."""
    op_context = context if isinstance(context, dg.OpExecutionContext) else context.op_execution_context
    return op_context._step_execution_context  # noqa: SLF001 (get_step_execution_context() warns)


def current_step() -> Step | None:
    """Return the step whose compute function is running in this thread; ``None`` outside one."""
    context = current_execution_context.get()
    return None if context is None else step_of_compute(context)


def partitions_def_of(context: dg.InputContext | dg.OutputContext) -> dg.PartitionsDefinition[Any] | None:
    """Return the partitions definition of the asset; ``None`` where the context was built without one."""
    if not hasattr(context, "_asset_partitions_def"):  # an output of Dagster 1.11, which only its step knows
        step = step_of(context)
        return None if step is None else step.job_def.asset_layer.get(context.asset_key).partitions_def
    return context._asset_partitions_def  # noqa: SLF001 (the property asset_partitions_def raises where there is none)


def data_version_of(instance: dg.DagsterInstance, asset_key: dg.AssetKey) -> str | None:
    """Return the data version of the last materialisation of an asset without partitions. Cost: 1 query."""
    event = instance.get_latest_materialization_event(asset_key)
    if event is None or event.asset_materialization is None:
        return None
    return (event.asset_materialization.tags or {}).get(tags.DATA_VERSION)


def data_versions_of(instance: dg.DagsterInstance, asset_key: dg.AssetKey, keys: Sequence[str]) -> dict[str, str]:
    """Return the data version of the last materialisation of each partition. Cost: 1 query."""
    if not keys:
        return {}
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    found = instance.event_log_storage.get_latest_tags_by_partition(
        asset_key, kind, [tags.DATA_VERSION], asset_partitions=list(keys)
    )
    return {key: one[tags.DATA_VERSION] for key, one in found.items() if tags.DATA_VERSION in one}


def annotation_of(context: dg.InputContext) -> Any:  # noqa: ANN401 (a type annotation)
    """Return the annotation of the input; ``None`` where there is none, or the context was built without."""
    dagster_type = context._dagster_type  # noqa: SLF001 (the property dagster_type raises where there is none)
    annotation = None if dagster_type is None else dagster_type.typing_type
    return None if annotation is Any else annotation


def instance_of(context: dg.InputContext | dg.OutputContext) -> dg.DagsterInstance | None:
    """Return the instance of the run, or of the asset value loader; ``None`` outside of both."""
    if isinstance(context, dg.InputContext):
        return context._instance  # noqa: SLF001 (the property instance raises where there is none)
    step = step_of(context)
    return None if step is None else step.instance


def set_data_version(step: Step, asset_key: dg.AssetKey, version: str) -> None:
    """Set this data version on the materialisation of *asset_key*, unless the asset's own code set one."""
    if not step.has_data_version(asset_key):
        step.set_data_version(asset_key, dg.DataVersion(version))


def add_partition_metadata(step: Step, asset_key: dg.AssetKey, metadata_of: Mapping[str, Mapping[str, Any]]) -> None:
    """Add to the materialisation of each partition its own metadata.

    `Step.add_asset_metadata` handles one partition at a time, and copies all metadata for each. With a thousand
    partitions that takes seconds. So this function does the same writes, once.
    """
    merged = dict(step._metadata_accumulator.per_output_metadata)  # noqa: SLF001
    for partition_key, metadata in metadata_of.items():
        handle = AssetMetadataHandle(asset_key=asset_key, partition_key=partition_key)
        merged[handle] = {**merged.get(handle, {}), **metadata}
    step._metadata_accumulator = OutputMetadataAccumulator(per_output_metadata=merged)  # noqa: SLF001


def code_version_of(step: Step) -> str | None:
    """Return the code version that the step's assets declare, or else its op; ``key=version, …`` where they differ."""
    layer = step.job_def.asset_layer
    keys = sorted(step.get_output_asset_keys())
    versions = {key.to_user_string(): layer.get(key).code_version for key in keys if layer.has(key)}
    declared = {key: version for key, version in versions.items() if version is not None}
    if not declared:
        of_outputs = {output.code_version for output in step.op_def.output_defs}
        return of_outputs.pop() if len(of_outputs) == 1 else None
    if len(declared) == len(versions) and len(set(declared.values())) == 1:
        return next(iter(declared.values()))
    return ", ".join(f"{key}={version}" for key, version in declared.items())


def partition_of_run(run_tags: Mapping[str, str]) -> str | None:
    """Return the partition key of a run, or ``first...last`` of a run over a range."""
    single = run_tags.get(PARTITION_NAME_TAG)
    if single is not None:
        return single
    ends = (run_tags.get(ASSET_PARTITION_RANGE_START_TAG), run_tags.get(ASSET_PARTITION_RANGE_END_TAG))
    return "...".join(end for end in ends if end is not None) or None


def partition_keys_of(step: Step) -> list[str]:
    """Return the partition keys of the step's run; none if it has no partitions."""
    if not step.has_partition_key_range:
        return [step.partition_key] if step.has_partition_key else []
    definition = None if step.assets_def is None else step.assets_def.partitions_def
    if definition is None:
        return []
    with partition_loading_context(dynamic_partitions_store=step.instance):
        return list(definition.get_partition_keys_in_range(step.partition_key_range))


def config_of_op(step: Step) -> object:
    """Return the config that the run gave to the step's op, as it was configured; ``None`` if it has none.

    A value from the environment is ``{"env": "NAME"}``, in the run's own config and in a default, never its resolved
    value. The output of a config mapping or of ``configured`` is left out, since it may hold a resolved value.
    """
    given: Any = step.dagster_run.run_config
    for name in step.node_handle.path:
        given = _item(_item(given, "ops"), name)
    return _as_configured(step.op_config, _item(given, "config"), step.op_def.config_field)


def _as_configured(resolved: object, given: object, field: Any) -> object:  # noqa: ANN401 (Dagster exports no type)
    """Return *resolved* as the run configured it, or as the schema's default if the run gave no value."""
    fields = getattr(getattr(field, "config_type", None), "fields", None)
    if isinstance(resolved, Mapping) and isinstance(given, Mapping) and fields:
        each = {name: _as_configured(value, given.get(name), fields.get(name)) for name, value in resolved.items()}
        return {name: value for name, value in each.items() if value is not None}
    if given is not None:
        return given
    return field.default_value if field is not None and field.default_provided else None


def _item(config: object, name: str) -> object:
    return config.get(name) if isinstance(config, Mapping) else None


def partitions_made_from(context: dg.InputContext) -> dict[str, str]:
    """Return, for a run over several partitions, input partition → the one partition of the run made from it.

    It has only the input partitions from which exactly one is made, by the declared partition mapping. It is empty if
    the run has one partition, or too many to ask the mapping about each.

    Cost: asks the mapping once for each partition of the run.
    """
    step, upstream = step_of(context), partitions_def_of(context)
    if step is None or step.assets_def is None or upstream is None or not step.has_partition_key_range:
        return {}
    definition = step.assets_def.partitions_def
    if definition is None:
        return {}
    uses: dict[str, set[str]] = defaultdict(set)
    with partition_loading_context(dynamic_partitions_store=step.instance):
        declared = step.assets_def.get_partition_mapping_for_dep(context.asset_key)
        mapping = infer_partition_mapping(declared, definition, upstream)
        pairs = 0
        for key in definition.get_partition_keys_in_range(step.partition_key_range):
            subset = definition.subset_with_partition_keys([key])
            found = mapping.get_upstream_mapped_partitions_result_for_partitions(subset, definition, upstream)
            for used in found.partitions_subset.get_partition_keys():
                uses[used].add(key)
                pairs += 1
            if pairs > _MAPPED_PAIRS_LOOKED_AT:
                return {}
    return {used: next(iter(keys)) for used, keys in uses.items() if len(keys) == 1}


def executor_name_of(step: Step | None) -> str:
    """Return the name of the executor that runs the step."""
    return step.job_def.executor_def.name if step is not None else "executor"


def cause_of_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[str, datetime]:
    """Return the ID of the backfill or else the run, and the time when it began; the same in every process.

    Cost: 1 query.
    """
    backfill_id = run.tags.get(BACKFILL_ID_TAG)
    if backfill_id is not None:
        backfill = instance.get_backfill(backfill_id)
        if backfill is not None:
            return backfill_id, datetime.fromtimestamp(backfill.backfill_timestamp, UTC)
    record = instance.get_run_record_by_id(run.run_id)
    return run.run_id, record.create_timestamp if record is not None else datetime.now(UTC)


def describe_unfinished_work(
    instance: dg.DagsterInstance,
    tag: str,
    values: Sequence[str],
    carries: Callable[[dg.DagsterInstance, Mapping[str, str], Sequence[str]], bool] | None = None,
) -> str | None:
    """Return a phrase for a backfill or run that carries one of the tag's *values* and is unfinished, if any.

    A failed run is also unfinished if it will be retried and the retry was not launched yet. So is a run that a sensor
    has requested and the daemon has not launched yet.

    Args:
        values: At least one.
        carries: Returns whether the tags of a backfill carry one of the values; by default they must have the tag.

    Cost: 3 queries, and if they find nothing, 1 for each sensor.
    """
    carries = carries or (lambda _, carried, wanted: carried.get(tag) in wanted)
    # `import dagster` does not load this, and the import takes a quarter of that time.
    from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus

    # Dagster 1.11 has no status FAILING in its first releases.
    may_launch = [status for status in BulkActionStatus if status.name in {"REQUESTED", "CANCELING", "FAILING"}]
    by_tag = {tag: list(values)}
    # The query does not filter by tag: SQLAlchemy warns at every call of that query of Dagster 1.13.
    for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=may_launch)):
        if carries(instance, backfill.tags, values):
            return f"backfill {backfill.backfill_id}"
    runs = instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES, tags=by_tag), limit=1)
    if runs:
        return f"run {runs[0].run_id} of {runs[0].job_name}"
    failed = instance.get_runs(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags={**by_tag, WILL_RETRY_TAG: "true"}),
        limit=_RETRIES_LOOKED_AT,
    )
    waiting = next((run for run in failed if AUTO_RETRY_RUN_ID_TAG not in run.tags), None)
    if waiting is not None:
        return f"the retry of run {waiting.run_id}"
    return _describe_reserved_runs(instance, lambda carried: carries(instance, carried, values))


def _describe_reserved_runs(instance: dg.DagsterInstance, carries: Callable[[Mapping[str, str]], bool]) -> str | None:
    """Return a phrase for runs that a tick has reserved and the daemon is launching, or will when it restarts."""
    from dagster._core.scheduler.instigation import InstigatorType, TickStatus

    if instance.schedule_storage is None:
        return None  # an instance in memory, which no daemon works for
    since = time.time() - TICKS_RESUMED_FOR_S
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        ids = (state.instigator_origin_id, state.selector_id)
        for tick in instance.get_ticks(*ids, after=since, limit=1, statuses=[TickStatus.STARTED]):
            if any(carries(request.tags) for _, request in tick.unsubmitted_run_ids_with_requests):
                return f"the runs that sensor {state.instigator_name} is launching"
    return None


def keep_text(instance: dg.DagsterInstance, name: str, text: str) -> None:
    """Keep a text in the instance, in the place of the one with the same name. Cost: 1 query.

    Dagster can set several at once, but if one of them exists it then drops those that do not.
    """
    instance.run_storage.set_cursor_values({name: text})


def kept_text(instance: dg.DagsterInstance, name: str) -> str | None:
    """Return the text that was kept under *name*. Cost: 1 query."""
    return instance.run_storage.get_cursor_values({name}).get(name)


def valid_partition_keys(definition: dg.PartitionsDefinition[Any], keys: Iterable[str]) -> frozenset[str]:
    """Return those of *keys* that are partitions.

    Dagster before 1.13.26 can't say this of many keys at once, so each is asked about.
    """
    wanted = set(keys)
    ask = getattr(definition, "filter_valid_partition_keys", None)
    if ask is not None:
        return frozenset(ask(wanted))
    return frozenset(key for key in wanted if definition.has_partition_key(key))


def location_of(context: dg.SensorEvaluationContext) -> str:
    """Return the name of the sensor's code location; empty where the context was built without one."""
    origin = getattr(context, "code_location_origin", None)
    return "" if origin is None else str(origin.location_name)


def full_name_of(context: dg.SensorEvaluationContext, sensor_name: str) -> str:
    """Return a name that no other sensor has, of any code location or instance; at most 200 characters. Cost: 1 query.

    The repositories of most code locations are all called ``__repository__``.
    """
    ask = getattr(context.instance.run_storage, "get_run_storage_id", str)  # storages of other makers may have none
    whole = json.dumps([location_of(context), context.repository_name, sensor_name])
    digest = hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()
    return f"{ask()[:36]}/{sensor_name[:100]}/{digest}"


def tick_before_edit(context: dg.SensorEvaluationContext, sensor_name: str) -> int | None:
    """Return the ID of the last tick that ended, if somebody has set the sensor's cursor since; else None.

    None as well for a sensor that has no tick yet, or where the code location of several of its name is not known.

    Cost: 2 queries.
    """
    from dagster._core.scheduler.instigation import InstigatorType, TickStatus

    instance = context.instance
    if instance.schedule_storage is None:
        return None
    states = [
        state
        for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        if state.instigator_name == sensor_name
    ]
    if len(states) > 1:  # of other code locations, or of one that had another name
        here = (location_of(context), context.repository_name)
        places = [state.origin.repository_origin for state in states]
        states = [
            state
            for state, place in zip(states, places, strict=True)
            if (place.code_location_origin.location_name, place.repository_name) == here
        ]
    if len(states) != 1:
        return None
    ids = (states[0].instigator_origin_id, states[0].selector_id)
    ended = instance.get_ticks(*ids, limit=1, statuses=[TickStatus.SUCCESS, TickStatus.SKIPPED])
    if not ended or (ended[0].cursor or None) == (context.cursor or None):
        return None
    return int(ended[0].tick_id)


def backfill_request(
    partitions_defs: Mapping[dg.AssetKey, dg.PartitionsDefinition[Any]],
    partition_keys: Iterable[str],
    tags: Mapping[str, str],
) -> dg.RunRequest:
    """Return a request that the sensor daemon answers with one backfill of these partitions of these assets."""
    keys = list(partition_keys)
    subsets = {
        asset_key: definition.subset_with_partition_keys(keys) for asset_key, definition in partitions_defs.items()
    }
    # mypy does not see the constructor of a named tuple behind Dagster's class decorator.
    subset = AssetGraphSubset(partitions_subsets_by_asset_key=subsets)  # type: ignore[call-arg]
    return dg.RunRequest.for_asset_graph_subset(subset, tags=tags)


def targeted_partitions(
    context: dg.SensorEvaluationContext, selection: dg.AssetSelection | None, job_name: str | None
) -> dict[dg.AssetKey, dg.PartitionsDefinition[Any] | None]:
    """Return the assets that a sensor targets, by its asset selection or else by its job, with their partitions.

    A job without assets counts as one asset of the job's name.
    """
    repository = context.repository_def
    if repository is None:
        raise dg.DagsterInvariantViolationError(
            "the sensor needs the repository of its definitions: pass repository_def= to build_sensor_context()"
        )
    graph = repository.asset_graph
    if selection is not None:
        return {key: graph.get(key).partitions_def for key in sorted(selection.resolve(graph))}
    job = repository.get_job(str(job_name))
    keys = sorted(job.asset_layer.executable_asset_keys)
    if not keys:
        return {dg.AssetKey(job.name): job.partitions_def}
    return {key: job.asset_layer.get(key).partitions_def for key in keys}


@contextmanager
def partitions_loaded_from(instance: dg.DagsterInstance | None) -> Iterator[None]:
    """Within the block, look up dynamic partitions in *instance*, and use one fixed time as now."""
    # `import dagster` offers the name since 1.12.
    with partition_loading_context(dynamic_partitions_store=instance):
        yield
