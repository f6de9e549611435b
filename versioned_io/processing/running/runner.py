"""A run of a pipeline: plan, evaluate, commit; again from the start when its inputs or its output moved meanwhile."""

import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from versioned_io.errors import BoundBranchError, ConflictError, PackCondemnedError, PackLostError, RefNotFoundError
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import new_uuid7
from versioned_io.model.repo_kinds import RepoKind
from versioned_io.processing.datums.datum_plan import DatumPlan, plan_datums
from versioned_io.processing.datums.located import OutputState, find_output
from versioned_io.processing.inputs.selecting import list_datums
from versioned_io.processing.inputs.specs import refs_of
from versioned_io.processing.results.batches import BatchPlace
from versioned_io.processing.running.claiming import renewed_claims
from versioned_io.processing.running.committing import Lacking, ResultsLostError, RunCommit
from versioned_io.processing.running.definition import PipelineDefinition, PipelineStore
from versioned_io.processing.running.evaluation_loop import InProcess, PendingDatums, RunResults
from versioned_io.processing.running.progress_of_run import PipelineRun, RunProgress
from versioned_io.versioning.naming.naming import ensure_system_branch
from versioned_io.versioning.runs.run import Run, build_run_info
from versioned_io.versioning.snapshots.snapshot import Snapshot

MOST_ROUNDS: Final = 10
"""After this many rounds newer inputs wait for the next run, so that a run ends also where inputs never rest."""


def make_plan(store: PipelineStore, definition: PipelineDefinition) -> DatumPlan:
    """Return the plan of a pipeline for the heads as they are now. Nothing is written.

    Raises:
        RepoNotFoundError, RefNotFoundError: An input or the output does not exist.
        InvalidInputError: The head of the output was not made by a pipeline.
        BoundBranchError: Another pipeline made it. Name another output, or declare what this one replaces.

    Cost: that of `list_datums` and `plan_datums`.
    """
    output = find_output(store.backend, definition.output)
    _refuse_output_of_another(output, definition)
    snapshots = store.snapshots(tuple(refs_of(definition.inputs)))
    datums = list_datums(definition.inputs, snapshots)
    found, uses_index = definition.fingerprints, definition.uses_index
    return plan_datums(store.backend, output, snapshots, datums, found, uses_index=uses_index)


def _refuse_output_of_another(output: OutputState, definition: PipelineDefinition) -> None:
    owner = definition.name if output.head is None else output.head.metadata.get("pipeline", definition.name)
    if owner not in {definition.name, definition.replaces}:
        raise BoundBranchError(str(output.branch), str(owner), definition.name)


class PipelineRunner:
    """One run of a pipeline.

    Args:
        executor: Evaluates datums; None evaluates them in this thread. It stays open.
        max_workers: How many datums to evaluate at once.
        on_progress: Called after each stored batch.
    """

    def __init__(
        self,
        store: PipelineStore,
        definition: PipelineDefinition,
        *,
        executor: Executor | None,
        max_workers: int,
        on_progress: Callable[[RunProgress], object] | None,
    ) -> None:
        self._store = store
        self._definition = definition
        self._executor = executor or InProcess()
        self._workers = max_workers
        self._on_progress = on_progress
        self._id = new_uuid7()
        self._results = RunResults()
        self._place: BatchPlace | None = None
        self._began = time.monotonic()
        self._rounds = 0

    def run(self) -> PipelineRun:
        """Make the output that of the inputs, and return the result.

        Raises:
            PathClaimedError: Two datums write one path. The results are kept; mend the code.
            StorageError: The store failed. A repeated run reuses every stored result.
        """
        while True:
            self._rounds += 1
            plan = make_plan(self._store, self._definition)
            if not self._evaluate(plan):
                continue  # an input has a newer head, and what ran is kept
            if self._definition.on_failure == "refuse" and self._failed(plan):
                return self._report(plan, None)
            try:
                return self._report(plan, self._commit(plan))
            except (ConflictError, PackCondemnedError, PackLostError, ResultsLostError) as error:
                if self._rounds >= MOST_ROUNDS:
                    if isinstance(error, ResultsLostError):
                        raise ConflictError(str(self._definition.output)) from error
                    raise
                if isinstance(error, ResultsLostError):
                    self._results.lose(error.lost)

    def _evaluate(self, plan: DatumPlan) -> bool:
        """Evaluate what has no result; return False if an input moved while datums were left."""
        is_current = True

        def on_batch(left: int) -> bool:
            nonlocal is_current
            self._tell(plan, left)
            is_current = not left or self._rounds >= MOST_ROUNDS or self._reads_heads(plan)
            return is_current

        if not plan.runs:
            return True
        backend = self._store.backend
        pending = PendingDatums(
            backend, plan, self._definition.evaluation, self._results, make_place=self._make_place, on_batch=on_batch
        )
        with renewed_claims(backend, self._id):
            pending.run(self._executor, self._workers)
        return is_current

    def _make_place(self) -> BatchPlace:
        if self._place is None:
            definition = self._definition
            branch = f"run/{self._id}"
            ref = ensure_system_branch(self._store.backend, definition.output.repo, RepoKind.RESULTS, branch)
            self._place = BatchPlace(ref, self._id, definition.name, definition.uses_index)
        return self._place

    def _reads_heads(self, plan: DatumPlan) -> bool:
        """Return whether the inputs are still those of the plan."""
        now = self._store.snapshots(tuple(plan.snapshots))
        return all(_commit_of(now[ref]) == _commit_of(one) for ref, one in plan.snapshots.items())

    def _commit(self, plan: DatumPlan) -> Commit | None:
        definition = self._definition
        info = build_run_info(
            definition.name,
            orchestrator="versioned-io",
            run_id=self._id,
            partition_key=None,
            url=None,
            code_version=definition.identity.code,
            git_commit=None,
            params=definition.evaluation.parameters,
        )
        run = Run(info)
        for snapshot in plan.snapshots.values():
            if (commit := _commit_of(snapshot)) is not None:
                run.note(commit)
        key = f"pipeline/{self._id}/{self._rounds}"
        results = {**plan.results, **self._results.results}
        lacking = Lacking(self._results.failed, self._results.recovered, definition.on_failure == "keep")
        return RunCommit(self._store.backend, definition, plan, run, key).commit(results, lacking)

    def _failed(self, plan: DatumPlan) -> dict[str, str]:
        failed = self._results.failed
        return {one.key: failed[one.fingerprint] for one in plan.changed if one.fingerprint in failed}

    def _counts(self, plan: DatumPlan) -> dict[str, int]:
        found = self._results
        changed = plan.changed
        failed = sum(one.fingerprint in found.failed for one in changed)
        recovered = sum(one.fingerprint in found.recovered for one in changed)
        run = sum(found.ran.get(one.fingerprint) == one.key for one in changed if one.fingerprint in found.results)
        left = sum(one.fingerprint not in found.results and one.fingerprint not in found.lacking for one in plan.runs)
        return {
            "run": run,
            "reused": len(changed) - run - failed - recovered - left,
            "skipped": len(plan.skips),
            "failed": failed,
            "recovered": recovered,
            "deleted": len(plan.gone),
        }

    def _tell(self, plan: DatumPlan, left: int) -> None:
        if self._on_progress is not None:
            counts = self._counts(plan)
            counts.pop("deleted")
            self._on_progress(RunProgress(**counts, pending=left, seconds=time.monotonic() - self._began))

    def _report(self, plan: DatumPlan, commit: Commit | None) -> PipelineRun:
        failed = self._failed(plan)
        found = self._results.recovered
        recovered = {one.key: found[one.fingerprint] for one in plan.changed if one.fingerprint in found}
        state = "partial" if failed or recovered else "succeeded"
        if failed and self._definition.on_failure == "refuse":
            state = "failed"
        runs = tuple(sorted(self._results.ran.values()))
        return PipelineRun(self._id, state, commit, self._counts(plan), runs, failed, recovered, self._rounds)


def _commit_of(snapshot: Snapshot) -> Commit | None:
    """Return the commit of a snapshot; None of a branch that has none yet."""
    try:
        return snapshot.commit
    except RefNotFoundError:
        return None
