"""Assets that are computed datum by datum: a run evaluates what changed, and reuses every other result."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, overload

import dagster as dg

import versioned_io as vio
from dagster_versioned import tags
from dagster_versioned.datum_batches import build_batched_asset
from dagster_versioned.datum_runs import (
    DeclaredPipeline,
    StepPipeline,
    declared_by,
    input_heads,
    metadata_of_run,
    refuse_failed,
)


@overload
def datum_asset(pipeline: "vio.PipelineFunction", **options: Any) -> dg.AssetsDefinition: ...  # noqa: ANN401


@overload
def datum_asset(
    pipeline: None = None,
    *,
    inputs: Any,  # noqa: ANN401 (an input of the core)
    output: str,
    name: str | None = None,
    **options: Any,  # noqa: ANN401
) -> Callable[[Callable[..., object]], dg.AssetsDefinition]: ...


def datum_asset(
    pipeline: "vio.PipelineFunction | None" = None,
    *,
    inputs: Any = None,
    output: str | None = None,
    name: str | None = None,
    batch_size: int | None = None,
    partitions: Literal["datums"] | None = None,
    max_workers: int = 1,
    pipeline_options: Mapping[str, Any] | None = None,
    resource_key: str = "versioned_store",
    **options: Any,
) -> "dg.AssetsDefinition | Callable[[Callable[..., object]], dg.AssetsDefinition]":
    """Build the asset of a pipeline's output: one run evaluates all datums without a result, and commits.

    The asset is the repo of the output, and depends on the assets of the inputs' repos (`build_repo_assets`). Its data
    version is the digest of the output's files, so a run that changes no byte makes nothing downstream stale. The
    commit carries the Dagster run and its lineage ID. The numbers of datums that ran, were reused, skipped, failed or
    deleted are metadata.

    Results are stored in batches while the step works. So a retry of a failed or killed run evaluates only what has no
    result yet. If a datum fails, the step fails with the datum's name, unless the pipeline's ``on_failure`` is ``keep``
    or ``drop``.

    >>> import dagster as dg
    >>> import versioned_io as vio
    >>> from dagster_versioned import VersionedStoreResource, datum_asset
    >>> @datum_asset(inputs=vio.glob("rain@main", "/*.csv"), output="wet@main", pipeline_options={"code_version": "1"})
    ... def wet(datum, out):
    ...     out.write(datum["rain"].path, datum["rain"].read().upper())
    >>> with vio.create_store("./data") as store:
    ...     _ = store.create_repo("rain")
    ...     with store.transaction("rain@main") as tx:
    ...         _ = tx.write("2012.csv", b"wet")
    >>> result = dg.materialize([wet], resources={"versioned_store": VersionedStoreResource(store="./data")})
    >>> result.asset_materializations_for_node("wet")[0].metadata["versioned/datums_run"].value
    1

    Args:
        pipeline: A function that ``@vio.pipeline`` decorated. Without it, the result decorates a function of
            ``(datum, out)``, with *inputs* and *output*.
        inputs, output: As for ``vio.pipeline``.
        name: The pipeline's name; by default the function's.
        batch_size: Divides the work into steps of about this many datums, at most 1,000 steps, which the executor may
            run at the same time. By default one step does it all.
        partitions: ``datums`` makes each datum a dynamic partition, which `build_datum_sensor` adds and deletes. A run
            evaluates the datums of its partitions. The run after which no datum is pending commits. By default there
            are no partitions: one run for all datums costs less, and any number of them fits.
        max_workers: How many processes a step evaluates datums in. For more than one, the function must be in the top
            level of a module, decorated with ``@vio.pipeline``.
        pipeline_options: Other arguments of ``vio.pipeline``, such as ``on_failure``.
        resource_key: The key of the `VersionedStoreResource`.
        options: Arguments of ``dagster.asset``, such as ``group_name`` and ``automation_condition``.

    Raises:
        DagsterInvalidDefinitionError: Neither a pipeline nor *inputs* and *output* were given, or both. Or *partitions*
            was given with *batch_size*.
    """
    if partitions is not None and batch_size is not None:
        raise dg.DagsterInvalidDefinitionError("a partition for each datum leaves nothing to divide by batch_size")
    how = _How(batch_size, partitions == "datums", max_workers, resource_key)
    if pipeline is not None:
        if inputs is not None or output is not None or name is not None or pipeline_options is not None:
            raise dg.DagsterInvalidDefinitionError(
                f"the pipeline {getattr(pipeline, 'name', pipeline)!r} has inputs, an output and options already"
            )
        return _build(DeclaredPipeline.of(pipeline), how, options)
    if inputs is None or output is None:
        raise dg.DagsterInvalidDefinitionError("datum_asset needs a pipeline, or inputs= and output=")

    def decorate(function: Callable[..., object]) -> dg.AssetsDefinition:
        called = name or str(getattr(function, "__name__", "pipeline"))
        made = vio.pipeline(called, inputs=inputs, output=output, **(pipeline_options or {}))(function)
        declared = DeclaredPipeline.of(made)
        described = {"description": function.__doc__, **options}
        return _build(declared, how, described)

    return decorate


class _How(NamedTuple):
    """How an asset divides its datums over runs, steps and processes."""

    batch_size: int | None
    is_partitioned: bool
    max_workers: int
    resource_key: str


def _build(declared: DeclaredPipeline, how: _How, options: Mapping[str, Any]) -> dg.AssetsDefinition:
    given = {
        "key": dg.AssetKey.from_coercible(options.get("key") or declared.asset_key),
        "metadata": {tags.REF: declared.output, tags.PIPELINE: declared.name},
        "kinds": {"versioned"},
        **{name: value for name, value in options.items() if name != "key"},
    }
    if how.is_partitioned:
        made = _build_partitioned_asset(declared, how.max_workers, how.resource_key, given)
    elif how.batch_size is not None:
        made = build_batched_asset(declared, how.batch_size, how.max_workers, how.resource_key, given)
    else:
        made = _build_whole_asset(declared, how.max_workers, how.resource_key, given)
    declared_by[made.node_def] = declared
    return made


def _build_whole_asset(
    declared: DeclaredPipeline, max_workers: int, resource_key: str, options: Mapping[str, Any]
) -> dg.AssetsDefinition:
    deps: Sequence[Any] = [*declared.dep_keys, *(options.get("deps") or ())]

    def evaluate_datums(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        step = StepPipeline(declared, context, getattr(context.resources, resource_key))
        run = step.run(max_workers)
        if run.state == "failed":
            refuse_failed(declared.name, run.failed)
        context.log.info("%s: %s, %s", declared.name, run.state, dict(run.counts))
        inputs = input_heads(step.store, declared.input_refs)
        version = None if run.commit is None else dg.DataVersion(str(run.commit.tree_digest))
        return dg.MaterializeResult(metadata=metadata_of_run(run, inputs), data_version=version)

    asset: Callable[..., dg.AssetsDefinition] = dg.asset(
        **{**options, "deps": deps}, required_resource_keys={resource_key}
    )
    return asset(evaluate_datums)


def _partitions_of(key: dg.AssetKey) -> dg.DynamicPartitionsDefinition:
    """Return the partitions of an asset of datums."""
    return dg.DynamicPartitionsDefinition(name=f"{key.to_user_string()}_datums")


def _build_partitioned_asset(
    declared: DeclaredPipeline, max_workers: int, resource_key: str, options: Mapping[str, Any]
) -> dg.AssetsDefinition:
    """Return the asset: a run evaluates the datums of its partitions, and the last one of a plan commits."""
    deps: Sequence[Any] = [*declared.dep_keys, *(options.get("deps") or ())]
    partitions = _partitions_of(options["key"])

    def evaluate_datums(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        step = StepPipeline(declared, context, getattr(context.resources, resource_key))
        if step.pipe.on_failure != "refuse":
            raise dg.DagsterInvalidDefinitionError(
                f"the pipeline {declared.name!r} with on_failure={step.pipe.on_failure!r} can't have a partition for "
                "each datum: no run knows which datums of other runs have failed"
            )
        reports = [step.evaluate(vio.PendingBatch(key, key, 1), max_workers) for key in context.partition_keys]
        refuse_failed(declared.name, {one.key: one.error for report in reports for one in report.failed})
        plan = step.pipe.plan()
        if plan.runs:
            context.log.info("%s: the commit waits for %d other datums", declared.name, len(plan.runs))
            return dg.MaterializeResult(metadata={tags.STATE: "stored", tags.PENDING_DATUMS: len(plan.runs)})
        run = step.commit(reports)
        return dg.MaterializeResult(metadata=metadata_of_run(run, input_heads(step.store, declared.input_refs)))

    asset: Callable[..., dg.AssetsDefinition] = dg.asset(
        **{**options, "deps": deps}, partitions_def=partitions, required_resource_keys={resource_key}
    )
    return asset(evaluate_datums)
