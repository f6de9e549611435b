"""A run of a pipeline: plan, evaluate, commit; again from the start when its inputs or its output moved meanwhile."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import replace
from typing import Final

from versioned_io.errors import ConflictError, PackCondemnedError, PackLostError
from versioned_io.model.commits import Commit, RunInfo
from versioned_io.model.identifiers import CommitId, new_uuid7
from versioned_io.model.repo_kinds import RepoKind
from versioned_io.processing.datums.datum_plan import DatumPlan
from versioned_io.processing.datums.located import ensure_output
from versioned_io.processing.results.batches import BatchPlace
from versioned_io.processing.running.claiming import renewed_claims
from versioned_io.processing.running.committing import Lacking, ResultsLostError, RunCommit
from versioned_io.processing.running.definition import PipelineDefinition, PipelineStore
from versioned_io.processing.running.evaluated_batch import EvaluatedBatch, PendingBatch, name_lacking, part_of_plan
from versioned_io.processing.running.evaluation_loop import InProcess, PendingDatums, RunResults
from versioned_io.processing.running.planning import commit_of, make_plan
from versioned_io.processing.running.progress_of_run import PipelineRun, RunProgress
from versioned_io.versioning.naming.naming import ensure_system_branch
from versioned_io.versioning.runs.run import Run, build_run_info, current_run

MOST_ROUNDS: Final = 10
"""After this many rounds newer inputs wait for the next run, so that a run ends also where inputs never rest."""


class PipelineRunner:
    """One run of a pipeline.

    Args:
        executor: Evaluates datums; None evaluates them in this thread. It stays open.
        max_workers: How many datums to evaluate at once.
        on_progress: Called after each stored batch.
        owner: The name under which datums are claimed; None for one that no other run has.
    """

    def __init__(
        self,
        store: PipelineStore,
        definition: PipelineDefinition,
        *,
        executor: Executor | None,
        max_workers: int,
        on_progress: Callable[[RunProgress], object] | None,
        owner: str | None,
    ) -> None:
        self._store = store
        self._definition = definition
        self._executor = executor or InProcess()
        self._workers = max_workers
        self._on_progress = on_progress
        self._id = new_uuid7()
        self._owner = owner or self._id
        self._adopted: set[CommitId] = set()
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
            if self._rounds == 1:
                ensure_output(self._store.backend, self._definition.output)
            self._adopt(plan)
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

    def evaluate(self, batch: PendingBatch | None) -> EvaluatedBatch:
        """Store the results of the datums of *batch*, or of all datums without one, and return the report.

        Raises:
            StorageError: The store failed. A repeated call evaluates what is left.
        """
        while True:
            self._rounds += 1
            plan = make_plan(self._store, self._definition)
            if self._rounds == 1:
                ensure_output(self._store.backend, self._definition.output)
            if self._evaluate(plan if batch is None else part_of_plan(plan, batch)):
                return self._report_batch()

    def adopt(self, evaluated: Iterable[EvaluatedBatch]) -> None:
        """Count what other processes have evaluated as evaluated by this run. It tries their failed datums no more."""
        for one in evaluated:
            self._adopted.update(one.commits)
            self._results.failed |= {bytes.fromhex(lacks.fingerprint): lacks.error for lacks in one.failed}
            self._results.recovered |= {bytes.fromhex(lacks.fingerprint): lacks.error for lacks in one.recovered}
            self._results.ran |= {bytes.fromhex(lacks.fingerprint): lacks.key for lacks in one.failed + one.recovered}

    def _adopt(self, plan: DatumPlan) -> None:
        """Take over the results that the adopted batches have for datums of the plan."""
        for one in plan.reuses:
            commit = plan.results.get(one.fingerprint)
            if commit in self._adopted and one.fingerprint not in self._results.ran:
                self._results.ran[one.fingerprint] = one.key
                self._results.results[one.fingerprint] = commit

    def _report_batch(self) -> EvaluatedBatch:
        found = self._results
        done = {one: commit for one, commit in found.results.items() if one in found.ran}
        counts = {"run": len(done), "failed": len(found.failed), "recovered": len(found.recovered)}
        failed, recovered = name_lacking(found.ran, found.failed), name_lacking(found.ran, found.recovered)
        return EvaluatedBatch(tuple(sorted(set(done.values()))), counts, failed, recovered)

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
        with renewed_claims(backend, self._owner):
            pending.run(self._executor, self._workers)
        return is_current

    def _make_place(self) -> BatchPlace:
        if self._place is None:
            definition = self._definition
            branch = f"run/{self._id}"
            ref = ensure_system_branch(self._store.backend, definition.output.repo, RepoKind.RESULTS, branch)
            self._place = BatchPlace(ref, self._id, definition.name, definition.uses_index, self._owner)
        return self._place

    def _reads_heads(self, plan: DatumPlan) -> bool:
        """Return whether the inputs are still those of the plan."""
        now = self._store.snapshots(tuple(plan.snapshots))
        return all(commit_of(now[ref]) == commit_of(one) for ref, one in plan.snapshots.items())

    def _commit(self, plan: DatumPlan) -> Commit | None:
        definition = self._definition
        read = [commit for one in plan.snapshots.values() if (commit := commit_of(one)) is not None]
        outer = current_run()
        for commit in read:
            if outer is not None:
                outer.note(commit)
        run = Run(self._describe(outer), lineage_id=None if outer is None else outer.lineage_id)
        for commit in read:
            run.note(commit)
        key = f"pipeline/{self._id}/{self._rounds}"
        results = {**plan.results, **self._results.results}
        lacking = Lacking(self._results.failed, self._results.recovered, definition.on_failure == "keep")
        made = RunCommit(self._store.backend, definition, plan, run, key).commit(results, lacking)
        if outer is not None:
            for commit in run.commits:
                outer.note_made(commit)
        return made

    def _describe(self, outer: Run | None) -> RunInfo:
        """Return the facts of the run: those of the run that this code belongs to, such as a task's, or its own."""
        definition = self._definition
        code, parameters = definition.identity.code, definition.evaluation.parameters
        if outer is not None and outer.info is not None:
            return replace(outer.info, code_version=code, params={**outer.info.params, **parameters})
        return build_run_info(
            definition.name,
            orchestrator="versioned-io",
            run_id=self._id,
            partition_key=None,
            url=None,
            code_version=code,
            git_commit=None,
            params=parameters,
        )

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
            "skipped": plan.skips,
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
