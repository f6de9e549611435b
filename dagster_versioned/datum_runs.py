"""A pipeline in a Dagster step: the store's three calls, with the step's run, lineage ID, log and metadata."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from logging import Logger
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg

import versioned_io as vio
from dagster_versioned import compat, tags
from dagster_versioned.naming import asset_of_repo
from dagster_versioned.resource import VersionedStoreResource
from dagster_versioned.step_runs import run_of_step, settle_lineage
from versioned_io.errors import RefNotFoundError
from versioned_io.model.refs import parse_branch_ref, parse_commit_ref

_LOGS_EVERY_S = 5.0
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class DeclaredPipeline:
    """A pipeline as definitions declare it, without a store.

    Attributes:
        of_store: Returns the pipeline of an open store.
    """

    name: str
    input_refs: tuple[str, ...]
    output: str
    of_store: "Callable[[vio.Store], vio.Pipeline]"

    @classmethod
    def of(cls, function: "vio.PipelineFunction") -> "DeclaredPipeline":
        """Return the declaration of a decorated function."""
        return cls(function.name, function.input_refs, str(function.output), lambda store: store.pipeline(function))

    @property
    def asset_key(self) -> dg.AssetKey:
        """The asset that stands for the output's repo."""
        return asset_of_repo(parse_branch_ref(self.output).repo)

    @property
    def dep_keys(self) -> list[dg.AssetKey]:
        """The assets that stand for the repos of the inputs, each once."""
        return list(dict.fromkeys(asset_of_repo(parse_commit_ref(ref).repo) for ref in self.input_refs))

    @property
    def op_name(self) -> str:
        """The name as Dagster allows it for an op."""
        return re.sub(r"[^A-Za-z0-9_]", "_", "__".join(self.asset_key.path))


declared_by: "WeakKeyDictionary[Any, DeclaredPipeline]" = WeakKeyDictionary()
"""The pipelines of assets, by the definition of the op or the graph that computes them."""


class StepPipeline:
    """A pipeline in the step that is running.

    Args:
        context: The context of the step's compute function.
    """

    def __init__(
        self,
        declared: DeclaredPipeline,
        context: dg.AssetExecutionContext | dg.OpExecutionContext,
        resource: VersionedStoreResource,
    ) -> None:
        self._resource = resource
        self._step = compat.step_of_compute(context)
        self._log = context.log
        self.declared = declared
        self.store = resource.get_store()
        self.pipe = declared.of_store(self.store)

    def run(self, max_workers: int) -> "vio.PipelineRun":
        """Return the run of the pipeline, whose commit carries the step's run and lineage ID."""
        with self._commit_run().active():
            return self.pipe.run(max_workers=max_workers, on_progress=Progress(self._log), owner=self._owner)

    def evaluate(self, batch: "vio.PendingBatch", max_workers: int) -> "vio.EvaluatedBatch":
        """Return the report of a batch, whose results are stored."""
        progress = Progress(self._log)
        return self.pipe.evaluate(batch, max_workers=max_workers, on_progress=progress, owner=self._owner)

    def commit(self, reports: "Sequence[vio.EvaluatedBatch]") -> "vio.PipelineRun":
        """Return the run of the pipeline that commits what batches have evaluated."""
        with self._commit_run().active():
            return self.pipe.commit(reports, on_progress=Progress(self._log), owner=self._owner)

    @property
    def _owner(self) -> str:
        """The name that the step shares with its retries, also with those in a re-execution of the run."""
        run = self._step.dagster_run
        return f"dagster/{run.root_run_id or run.run_id}/{compat.key_of_step(self._step)}"

    def _commit_run(self) -> "vio.Run":
        """Return the run context of the commit: the step's facts, and the lineage ID, which the Dagster run gets."""
        resource = self._resource
        run = run_of_step(self._step, self.store, webserver_url=resource.webserver_url, git_commit=resource.git_commit)
        for commit in input_heads(self.store, self.declared.input_refs):
            run.note(commit)
        lineage_id = settle_lineage(self._step, run)
        self._step.instance.add_run_tags(self._step.run_id, {tags.PIPELINE: self.declared.name})
        return vio.Run(run.info, lineage_id=lineage_id)


def input_heads(store: "vio.Store", refs: Sequence[str]) -> "list[vio.Commit]":
    """Return the commits of *refs*, without those of branches that have none. Cost: 1 SELECT for each."""
    found = []
    for ref in refs:
        try:
            found.append(store.commit(ref))
        except RefNotFoundError:
            continue
    return found


class Progress:
    """Writes a line about the progress of a run to the step's log, at most every 5 seconds."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._told_at = time.monotonic()

    def __call__(self, found: "vio.RunProgress") -> None:
        """Write the line if it is time."""
        if time.monotonic() - self._told_at < _LOGS_EVERY_S:
            return
        self._told_at = time.monotonic()
        eta = "" if found.eta_s is None else f", {found.eta_s:.0f} s left"
        done = found.run + found.failed + found.recovered
        self._log.info("%d datums evaluated, %d pending, %.1f a second%s", done, found.pending, found.rate, eta)


def metadata_of_run(run: "vio.PipelineRun", inputs: "Sequence[vio.Commit]") -> dict[str, Any]:
    """Return the metadata of a materialisation: the counts of datums, the commit, and the inputs."""
    metadata: dict[str, Any] = {f"{tags.DATUMS}_{name}": count for name, count in run.counts.items()}
    metadata[tags.STATE] = run.state
    if run.failed:
        metadata[tags.FAILED_DATUMS] = dg.MetadataValue.json(dict(list(run.failed.items())[:_MOST_NAMED]))
    if inputs:
        rows = [f"| {one.repo} | {one.id} |" for one in inputs]
        metadata[tags.MADE_FROM] = dg.MetadataValue.md("\n".join(["| repo | commit |", "|---|---|", *rows]))
    commit = run.commit
    if commit is None:
        return metadata
    return metadata | {
        tags.LINEAGE_ID: commit.lineage_id,
        tags.COMMIT: str(commit.id),
        tags.REPO: commit.repo,
        tags.BRANCH: commit.branch,
    }


def refuse_failed(name: str, failed: Mapping[str, str]) -> None:
    """Raise if datums failed.

    Raises:
        dagster.Failure: They did. A retry evaluates them alone.
    """
    if not failed:
        return
    named = "; ".join(f"{key!r}: {error}" for key, error in list(failed.items())[:_MOST_NAMED])
    raise dg.Failure(
        description=f"{len(failed)} datums of the pipeline {name!r} failed: {named}",
        metadata={tags.FAILED_DATUMS: dg.MetadataValue.json(dict(list(failed.items())[:_MOST_NAMED]))},
    )
