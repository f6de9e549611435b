"""The sensor of pipelines: it requests a run when a plan is not empty."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import dagster as dg

import versioned_io as vio
from dagster_versioned import compat, tags
from dagster_versioned.datum_runs import DeclaredPipeline, declared_by
from dagster_versioned.lazy_store import LazyStore
from dagster_versioned.sorted_out import add_requests_for
from dagster_versioned.store_fields import StoreLike, settings_of
from versioned_io.errors import RefNotFoundError, RepoNotFoundError, StoreNotFoundError


def build_datum_sensor(
    *assets: dg.AssetsDefinition,
    name: str | None = None,
    store: StoreLike | None = None,
    catalog: str | None = None,
    resource_key: str = "versioned_store",
    minimum_interval_seconds: int | None = None,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
) -> dg.SensorDefinition:
    """Build the sensor that runs assets of `datum_asset` when their datums have changed.

    Each tick plans each pipeline. A plan that is not empty requests a run, once for each state of inputs, code and
    output. While a run that the sensor has requested is unfinished, the pipeline's next one waits: the run itself reads
    newer inputs. A run whose datums failed is not requested again before something changes. For an asset with a
    partition for each datum it adds the pending partitions, and requests them as one backfill.

    The run has the lineage ID of the newest input commit as a tag. The run creates a missing output.

    Args:
        assets: Made by `datum_asset`.
        name: By default made of the assets' names.
        store, catalog, resource_key: As for `build_commit_sensor`.

    Raises:
        DagsterInvalidDefinitionError: No assets were given, or one was not made by `datum_asset`.

    Cost: a tick costs a plan of each pipeline (`vio.Pipeline.plan`), and 3 queries of the instance.

    Example:
        >>> import versioned_io as vio
        >>> from dagster_versioned import build_datum_sensor, datum_asset
        >>> @datum_asset(inputs=vio.glob("rain@main", "/*.csv"), output="wet@main")
        ... def wet(datum, out):
        ...     out.write(datum["rain"].path, datum["rain"].read().upper())
        >>> build_datum_sensor(wet, store="./data").name
        'wet_datums'
    """
    if not assets:
        raise dg.DagsterInvalidDefinitionError("name at least one asset that datum_asset made")
    declared = [_declared(asset) for asset in assets]
    joined = "_".join(re.sub(r"[^A-Za-z0-9_]", "_", "__".join(asset.key.path)) for asset in assets)

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        found = store if store is not None else getattr(context.resources, resource_key)
        with LazyStore(settings_of(found, catalog), create=False) as opened:
            return _evaluate(context, list(zip(assets, declared, strict=True)), opened)

    return dg.SensorDefinition(
        name=name or f"{joined}_datums",
        evaluation_fn=evaluate,
        asset_selection=dg.AssetSelection.assets(*assets),
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        description=f"Runs {', '.join(one.name for one in declared)} when datums have changed.",
        required_resource_keys={resource_key} if store is None else None,
    )


def _declared(asset: dg.AssetsDefinition) -> DeclaredPipeline:
    found = declared_by.get(asset.node_def)
    if found is None:
        raise dg.DagsterInvalidDefinitionError(f"{asset.key.to_user_string()!r} was not made by datum_asset")
    return found


def _evaluate(
    context: dg.SensorEvaluationContext,
    pipelines: list[tuple[dg.AssetsDefinition, DeclaredPipeline]],
    opened: LazyStore,
) -> dg.SensorResult:
    asked: dict[str, str] = json.loads(context.cursor or "{}")
    found = [_wanted_of(context, asset, declared, opened, asked) for asset, declared in pipelines]
    wanted = [one for one in found if isinstance(one, _Wanted)]
    asked |= {one.name: one.state for one in wanted}
    requests = [one.request for one in wanted if one.request is not None]
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=[one for each in wanted for one in each.partitions],
        skip_reason=None if requests else "; ".join(one for one in found if isinstance(one, str)) or "nothing to run",
        cursor=json.dumps(asked),
    )


class _Wanted(NamedTuple):
    """A run, or a backfill, that is requested for one state of a pipeline; and partitions to add or to delete."""

    name: str
    state: str
    request: dg.RunRequest | None
    partitions: Sequence[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = ()


def _wanted_of(
    context: dg.SensorEvaluationContext,
    asset: dg.AssetsDefinition,
    declared: DeclaredPipeline,
    opened: LazyStore,
    asked: Mapping[str, str],
) -> _Wanted | str:
    """Return the request for a pipeline, or the reason why there is none."""
    under_way = compat.describe_unfinished_work(context.instance, tags.PIPELINE, [declared.name])
    if under_way is not None:
        return f"{declared.name} waits for {under_way}"
    try:
        store = opened.get()
        plan = declared.of_store(store).plan()
    except (StoreNotFoundError, RepoNotFoundError, RefNotFoundError) as error:
        return f"{declared.name} waits: {error}"
    state = plan.state
    if plan.is_empty:
        gone = _gone_partitions(context, asset, plan)
        return _Wanted(declared.name, state, None, gone) if gone else f"{declared.name}: no datum has changed"
    if asked.get(declared.name) == state:
        return f"{declared.name}: a run for this state was requested before, and has not brought the output up to date"
    context.log.info("%s: %s", declared.name, plan.counts)
    labels = _tags_of(declared, plan)
    if isinstance(asset.partitions_def, dg.DynamicPartitionsDefinition):
        # A run of any one commits what needs no evaluation.
        keys = plan.runs or plan.reuses[:1] or plan.deletes[:1] or plan.skips[:1]
        if not keys:
            return f"{declared.name}: no datum is left"
        with compat.partitions_loaded_from(context.instance):
            added = add_requests_for(keys, asset.partitions_def, context.instance)
            request = compat.backfill_request({asset.key: asset.partitions_def}, keys, labels)
        return _Wanted(declared.name, state, request, added)
    request = dg.RunRequest(run_key=f"{declared.name}/{state}", asset_selection=[asset.key], tags=labels)
    return _Wanted(declared.name, state, request)


def _gone_partitions(
    context: dg.SensorEvaluationContext, asset: dg.AssetsDefinition, plan: "vio.PipelinePlan"
) -> list[dg.DeleteDynamicPartitionsRequest]:
    """Return the request to delete the partitions of datums that the inputs do not have any more."""
    definition = asset.partitions_def
    if not isinstance(definition, dg.DynamicPartitionsDefinition):
        return []
    gone = sorted(set(context.instance.get_dynamic_partitions(str(definition.name))) - set(plan.skips))
    return [definition.build_delete_request(gone)] if gone else []


def _tags_of(declared: DeclaredPipeline, plan: "vio.PipelinePlan") -> dict[str, str]:
    found = {tags.PIPELINE: declared.name}
    if plan.inputs:
        newest = max(plan.inputs, key=lambda commit: (commit.order, commit.id))
        found |= {tags.LINEAGE_ID: newest.lineage_id, tags.COMMIT: str(newest.id)}
    return found
