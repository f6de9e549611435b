"""The asset of a pipeline as several steps: one plans, many evaluate a batch each, and one commits."""

from collections.abc import Iterator, Mapping
from inspect import Parameter, Signature
from typing import Any

import dagster as dg

import versioned_io as vio
from dagster_versioned import compat
from dagster_versioned.datum_runs import DeclaredPipeline, StepPipeline, input_heads, metadata_of_run, refuse_failed

MOST_STEPS = 1_000
"""Dagster keeps a row and some events for each step, and its UI draws them all."""


def build_batched_asset(
    declared: DeclaredPipeline, batch_size: int, max_workers: int, resource_key: str, options: Mapping[str, Any]
) -> dg.AssetsDefinition:
    """Return the asset as a graph: its steps exchange batches and reports, never datums."""
    name = declared.op_name
    retry_policy = options.get("retry_policy")
    deps = [dg.AssetDep.from_coercible(one).asset_key for one in options.get("deps") or ()]
    upstream = {f"upstream_{number}": key for number, key in enumerate([*declared.dep_keys, *deps])}

    @dg.op(
        name=f"{name}_plan",
        ins={one: dg.In(dg.Nothing) for one in upstream},
        out=dg.DynamicOut(dict),
        required_resource_keys={resource_key},
    )
    def plan(context: dg.OpExecutionContext) -> Iterator[dg.DynamicOutput[Any]]:
        found = StepPipeline(declared, context, getattr(context.resources, resource_key)).pipe.plan()
        context.log.info("%s: %s", declared.name, found.counts)
        for number, batch in enumerate(found.batches(batch_size, at_most=MOST_STEPS)):
            yield dg.DynamicOutput(batch.to_json(), mapping_key=str(number))

    @dg.op(name=f"{name}_evaluate", required_resource_keys={resource_key}, retry_policy=retry_policy)
    def evaluate(context: dg.OpExecutionContext, batch: dict[str, Any]) -> dict[str, Any]:
        step = StepPipeline(declared, context, getattr(context.resources, resource_key))
        report = step.evaluate(vio.PendingBatch.from_json(batch), max_workers)
        if step.pipe.on_failure == "refuse":
            refuse_failed(declared.name, {one.key: one.error for one in report.failed})
        return report.to_json()

    @dg.op(name=f"{name}_commit", out=dg.Out(dg.Nothing), required_resource_keys={resource_key})
    def commit(context: dg.OpExecutionContext, reports: list[dict[str, Any]]) -> Iterator[dg.Output[None]]:
        step = StepPipeline(declared, context, getattr(context.resources, resource_key))
        run = step.commit([vio.EvaluatedBatch.from_json(one) for one in reports])
        if run.state == "failed":
            refuse_failed(declared.name, run.failed)
        if run.commit is not None:
            compat.set_data_version(compat.step_of_compute(context), options["key"], str(run.commit.tree_digest))
        yield dg.Output(None, metadata=metadata_of_run(run, input_heads(step.store, declared.input_refs)))

    def compose(**given: Any) -> Any:  # noqa: ANN401 (handles of Dagster's composition)
        return commit(plan(**given).map(evaluate).collect())

    # Dagster reads the graph's inputs from the signature, and only here their number is known.
    compose.__signature__ = Signature([Parameter(one, Parameter.KEYWORD_ONLY) for one in upstream])  # type: ignore[attr-defined]
    of_step = ("retry_policy", "kinds", "deps")
    given = {key: value for key, value in options.items() if key not in of_step}
    labels = {**{f"dagster/kind/{kind}": "" for kind in options.get("kinds", ())}, **(options.get("tags") or {})}
    ins = {one: dg.AssetIn(key=key, dagster_type=dg.Nothing) for one, key in upstream.items()}
    return dg.graph_asset(**{**given, "tags": labels}, name=None, ins=ins)(compose)
