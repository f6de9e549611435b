"""A pipeline of one store: it plans, runs and explains itself."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Final, NamedTuple

from versioned_io.catalog.evaluated import count_disagreements, find_failures, find_results
from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.model.arguments import (
    check_callable,
    parse_items,
    parse_name,
    parse_number,
    parse_optional_count,
    parse_text,
)
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import new_uuid7
from versioned_io.model.repo_kinds import RepoKind
from versioned_io.processing.datums.datum_plan import DatumPlan
from versioned_io.processing.datums.datum_tree import DatumFacts, Identity, list_facts, place_of, read_datums
from versioned_io.processing.datums.located import OutputState, find_output
from versioned_io.processing.fingerprints.code_manifest import CodeChange, CodeManifest
from versioned_io.processing.fingerprints.computation import computation_digest, fingerprints
from versioned_io.processing.fingerprints.of_function import code_of_function
from versioned_io.processing.inputs.specs import refs_of
from versioned_io.processing.pipelines.declaring import PipelineFunction
from versioned_io.processing.pipelines.explaining import code_changes, explain_datum
from versioned_io.processing.pipelines.pipeline_history import PipelineVersion, list_versions
from versioned_io.processing.pipelines.pipeline_plan import PipelinePlan
from versioned_io.processing.pipelines.rerunning import Rerun, rerun_commit
from versioned_io.processing.pipelines.verified_sample import Verification, verify_results
from versioned_io.processing.results.batches import BatchPlace, invalidate_results
from versioned_io.processing.results.stored_results import read_log
from versioned_io.processing.running.as_command import CommandProgram
from versioned_io.processing.running.committing import mark_invalid
from versioned_io.processing.running.definition import OnFailure, PipelineDefinition, PipelineStore
from versioned_io.processing.running.evaluated_batch import EvaluatedBatch, PendingBatch
from versioned_io.processing.running.evaluating import Evaluation, ExpectedCode
from versioned_io.processing.running.kept_programs import end_kept_programs
from versioned_io.processing.running.planning import make_plan, with_staged
from versioned_io.processing.running.process_groups import threads_of_commands
from versioned_io.processing.running.progress_of_run import PipelineRun, RunProgress
from versioned_io.processing.running.runner import PipelineRunner
from versioned_io.versioning.naming.naming import ensure_system_branch
from versioned_io.versioning.transactions.transaction import Transaction

_POOL: Final = "_max_workers"


class Identified(NamedTuple):
    """A computation that can be told from every other one.

    Attributes:
        fingerprints: Returns the fingerprints of datums, of the bytes that their code can see.
    """

    manifest: CodeManifest
    identity: Identity
    fingerprints: Callable[[Sequence[bytes]], list[bytes]]


def identify(function: PipelineFunction) -> Identified:
    """Return the identity of a pipeline's computation: code, parameters, and the name if it shares no results.

    Raises:
        UncertainCodeError: Something that the function reaches, or a parameter, has no certain digest.

    Cost: that of `code_of_function`.
    """
    plain, version = function.function, function.code_version
    if isinstance(plain, CommandProgram):
        manifest = plain.code(version)
    else:
        manifest = code_of_function(plain, code_version=version)
    salt = "" if function.is_shared else function.name
    whole = computation_digest(manifest.digest, function.parameters, salt)
    identity = Identity(manifest.digest.hex(), computation_digest(b"", function.parameters).hex(), salt)
    return Identified(manifest, identity, partial(fingerprints, whole))


class Pipeline:
    """A pipeline of one store; made by `Store.pipeline`."""

    def __init__(self, store: PipelineStore, function: PipelineFunction) -> None:
        self._store = store
        self._function = function
        found = identify(function)
        self._warnings = (*function.warnings, *found.manifest.warnings)
        is_command = isinstance(function.function, CommandProgram)
        self._definition = PipelineDefinition(
            function.name,
            function.inputs,
            function.output,
            function.on_failure,
            Evaluation(
                function.function if is_command else function,
                function.parameters,
                function.timeout_s,
                function.tries,
                function.error_handler,
                None if is_command else ExpectedCode(found.manifest.digest, function.code_version),
            ),
            found.identity,
            found.fingerprints,
            found.manifest.to_json(),
            function.is_cached,
            function.replaces,
            function.place,
        )

    def __repr__(self) -> str:
        return f"Pipeline({self.name!r}, output={str(self._definition.output)!r})"

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self._definition.name

    @property
    def output(self) -> str:
        """The branch that the pipeline owns, as ``repo@branch``."""
        return str(self._definition.output)

    @property
    def on_failure(self) -> OnFailure:
        """The decision about the commit if datums fail: ``refuse``, ``keep`` or ``drop``."""
        return self._definition.on_failure

    @property
    def input_refs(self) -> tuple[str, ...]:
        """The refs that its inputs read, each once.

        >>> store.pipeline(upper).input_refs
        ('weather@main',)
        """
        return tuple(refs_of(self._definition.inputs))

    def plan(self, *, staged: Transaction | None = None) -> PipelinePlan:
        """Return what `run` would do for the present heads. Nothing is written.

        >>> store.pipeline(upper).plan().runs
        ['2012/01.csv', '2012/02.csv']
        >>> with store.transaction("weather@main") as tx:
        ...     _ = tx.write("2012/03.csv", b"date,rain")
        ...     store.pipeline(upper).plan(staged=tx).runs
        ['2012/01.csv', '2012/02.csv', '2012/03.csv']

        Args:
            staged: A transaction that is not committed yet. Then the plan is for the heads after its commit.

        Raises:
            TransactionClosedError: The transaction has ended. Plan without it.
            RepoNotFoundError, RefNotFoundError: An input or the output branch does not exist. Create it.
            InvalidInputError: The head of the output was not made by a pipeline.

        Cost: if only files changed since the last run, that of the datums with these files. Otherwise reads the pages
            of the inputs' paths and of the datum tree. And 1 SELECT for each 500 changed datums.
        """
        if not isinstance(staged, Transaction | None):
            msg = f"staged={quoted(staged)} is not a transaction: pass the one of `with store.transaction(...) as tx`"
            raise InvalidInputError(msg)
        store = self._store if staged is None else with_staged(self._store, staged)
        plan = make_plan(store, self._definition)
        warnings = (*self._warnings, *self._of_disagreements())
        return PipelinePlan(self._store, plan, warnings, self._definition.identity)

    def run(
        self,
        executor: Executor | None = None,
        *,
        max_workers: int | None = None,
        on_progress: Callable[[RunProgress], object] | None = None,
        owner: str | None = None,
    ) -> PipelineRun:
        """Make the output that of the inputs, and return the result.

        The repo and the branch of the output are created if they are missing.

        Afterwards the output is byte for byte what it would be if everything were computed from nothing. Only datums
        without a known result are evaluated. Results are durable batch by batch, so a repeated run reuses those of a
        killed one.

        >>> run = store.pipeline(upper).run()
        >>> run.state, run.counts["run"], run.counts["skipped"]
        ('succeeded', 2, 0)

        Args:
            executor: Evaluates datums, such as a `ProcessPoolExecutor`; it stays open. By default datums are evaluated
                here, one after the other.
            max_workers: How many are evaluated at once. Without an executor, more than 1 starts this many processes,
                or threads that each run a command.
            on_progress: Called after each stored batch.
            owner: A name that this run shares with its own retries, and with nothing that runs at the same time. Then
                a retry need not wait for the datums that a killed run was evaluating. By default they are free again
                after 60 s.

        If this code belongs to a run (`Store.run`, a step of Dagster, a task of Airflow), the commit carries that run
        and its lineage ID.

        Raises:
            InvalidInputError: An argument is malformed.
            PathClaimedError: Two datums write one path. The results are kept; mend the function and run again.
            RepoNotFoundError, RefNotFoundError: An input or the output branch does not exist. Create it.
            ConflictError: Other runs of the pipeline committed each time. Run again.
            StorageError: The store failed. Run again: stored results are reused.

        Cost: that of `plan`; for each batch of at most 1,024 datums a commit; and a commit for the output.
        """
        with self._runner(executor, max_workers, on_progress, owner) as runner:
            return runner.run()

    def evaluate(
        self,
        batch: PendingBatch | None = None,
        executor: Executor | None = None,
        *,
        max_workers: int | None = None,
        on_progress: Callable[[RunProgress], object] | None = None,
        owner: str | None = None,
    ) -> EvaluatedBatch:
        """Evaluate the datums of *batch* that have no result, store the results, and return a report for `commit`.

        With `PipelinePlan.batches` and `commit` this is `run` in parts: plan in one process, evaluate in many, commit
        in one. Nothing is committed to the output here. A repeated call evaluates only what has no result yet.

        >>> pipe = store.pipeline(upper)
        >>> reports = [pipe.evaluate(batch) for batch in pipe.plan().batches(1)]
        >>> run = pipe.commit(reports)
        >>> run.state, run.counts["run"]
        ('succeeded', 2)

        Args:
            batch: A batch of a plan; by default all datums.
            executor, max_workers, on_progress, owner: As for `run`.

        Raises:
            InvalidInputError: An argument is malformed, or the pipeline has ``cache="never"``: call `run`.
            StorageError: The store failed. Call again: stored results stay.

        Cost: that of `plan`; for each batch of at most 1,024 datums a commit.
        """
        if batch is not None and not isinstance(batch, PendingBatch):
            msg = f"batch={batch!r} is not a batch of datums: take one of plan().batches()"
            raise InvalidInputError(msg)
        self._refuse_unshared()
        with self._runner(executor, max_workers, on_progress, owner) as runner:
            return runner.evaluate(batch)

    def commit(
        self,
        evaluated: Iterable[EvaluatedBatch] = (),
        *,
        on_progress: Callable[[RunProgress], object] | None = None,
        owner: str | None = None,
    ) -> PipelineRun:
        """Make the output that of the inputs from the results of `evaluate`, and return the result.

        It plans on the newest heads. Datums that are new since the batches, or that lost their result, are evaluated
        here. Datums that failed in *evaluated* are not tried again, and `on_failure` decides about them.

        >>> pipe = store.pipeline(upper)
        >>> pipe.commit([pipe.evaluate()]).counts["run"]
        2

        Args:
            evaluated: The reports of this run's batches.
            on_progress, owner: As for `run`.

        Raises:
            InvalidInputError: An argument is malformed, or the pipeline has ``cache="never"``: call `run`.
            PathClaimedError, ConflictError, StorageError: As for `run`.

        Cost: that of `run` without the evaluations.
        """
        reports = parse_items(evaluated, EvaluatedBatch, "evaluated")
        self._refuse_unshared()
        with self._runner(None, None, on_progress, owner) as runner:
            runner.adopt(reports)
            return runner.run()

    def _refuse_unshared(self) -> None:
        if not self._definition.uses_index:
            msg = f"the pipeline {self.name!r} has cache='never', so its processes can't share results: call run()"
            raise InvalidInputError(msg)

    @contextmanager
    def _runner(
        self,
        executor: Executor | None,
        max_workers: int | None,
        on_progress: Callable[[RunProgress], object] | None,
        owner: str | None,
    ) -> Iterator[PipelineRunner]:
        """Yield a runner with its executor, which is closed if it was made here."""
        workers = parse_optional_count(max_workers, "max_workers")
        check_callable(on_progress, "on_progress")
        name = None if owner is None else parse_name(owner, "owner")
        if not isinstance(executor, Executor | None):
            msg = f"executor={executor!r} is not an executor: pass one of concurrent.futures, or max_workers"
            raise InvalidInputError(msg)
        with ExitStack() as stack:
            workers = self._function.workers if executor is None and workers is None else workers
            if executor is None and workers is not None and workers > 1:
                executor = stack.enter_context(self._pool(workers))
            stack.callback(end_kept_programs)
            if workers is None:
                workers = 1 if executor is None else int(getattr(executor, _POOL, None) or 1)
            yield PipelineRunner(
                self._store,
                self._definition,
                executor=executor,
                max_workers=max(1, workers),
                on_progress=on_progress,
                owner=name,
            )

    def _pool(self, workers: int) -> AbstractContextManager[Executor]:
        """Return threads for commands, which have processes of their own, or else processes."""
        is_command = self._function.place is None
        return threads_of_commands(workers) if is_command else ProcessPoolExecutor(workers)

    def explain(self, key: str) -> str:
        """Return one sentence: what the next run does with a datum, and why.

        >>> store.pipeline(upper).explain("2012/01.csv")
        "'2012/01.csv' runs: it is new"

        Raises:
            InvalidInputError: Neither the inputs nor the output have such a datum.

        Cost: that of `plan`.
        """
        parse_text(key, "key")
        plan = make_plan(self._store, self._definition)
        return "; ".join([explain_datum(self._store.backend, plan, self._definition, key), *self._of_disagreements()])

    def code_changes(self, key: str) -> list[CodeChange]:
        """Return the parts of the code that changed since a datum of the output was evaluated, each with a diff.

        Empty if nothing changed, or the output does not have the datum.

        >>> _ = store.pipeline(upper).run()
        >>> store.pipeline(upper).code_changes("2012/01.csv")
        []

        Cost: 2 SELECTs, and reads the pages of the datum and the text of its code.
        """
        output = find_output(self._store.backend, self._definition.output)
        return code_changes(self._store.backend, output, self._definition, parse_text(key, "key"))

    def history(self) -> list[PipelineVersion]:
        """Return the codes that made the output over time, newest first, each with its changes.

        >>> _ = store.pipeline(upper).run()
        >>> [(version.number, version.runs) for version in store.pipeline(upper).history()]
        [(1, 1)]

        Cost: 2 SELECTs for each 200 runs, and reads the text of each code.
        """
        return list_versions(self._store.backend, find_output(self._store.backend, self._definition.output))

    def invalidate(self, keys: Iterable[str]) -> int:
        """End the results of datums, so that the next run evaluates them; return how many there were.

        Until then their outputs stay. The results end permanently, for every pipeline that could reuse them.

        >>> pipe = store.pipeline(upper)
        >>> _ = pipe.run()
        >>> pipe.invalidate(["2012/01.csv"])
        1
        >>> pipe.run().runs
        ('2012/01.csv',)

        Raises:
            InvalidInputError: *keys* is text, or a datum does not exist.

        Cost: that of `plan`, and 2 commits.
        """
        wanted = set(parse_items(keys, str, "keys"))
        if not wanted:
            return 0
        output = find_output(self._store.backend, self._definition.output)
        plan = make_plan(self._store, self._definition)
        old = read_datums(self._store.backend, output.root, [place_of(key) for key in wanted])
        fingerprints = {facts.fingerprint for facts in old.values()}
        for key in wanted:
            row = plan.datums.find(key)
            if row is not None:
                fingerprints.update(self._fingerprints(plan, row))
            elif place_of(key) not in old:
                msg = f"the datum {key!r} does not exist: neither the inputs nor {output.branch} have it"
                raise InvalidInputError(msg)
        invalidate_results(self._store.backend, self._own_place(), fingerprints)
        if old:
            mark_invalid(self._store.backend, output, self.name, list(old.values()))
        return len(wanted)

    def log(self, key: str) -> str:
        """Return the text that the last evaluation of a datum printed, also of one that failed.

        >>> _ = store.pipeline(upper).run()
        >>> store.pipeline(upper).log("2012/01.csv")
        ''

        Raises:
            InvalidInputError: The datum was not evaluated.

        Cost: that of `plan`, and reads the text.
        """
        parse_text(key, "key")
        plan = make_plan(self._store, self._definition)
        row = plan.datums.find(key)
        backend = self._store.backend
        old = self._facts(plan.output, key)
        asked = [] if row is None else self._fingerprints(plan, row)
        asked += [] if old is None else [old.fingerprint]
        with backend.catalog.look_up() as connection:
            found = {**find_results(connection, asked), **find_failures(connection, asked)}
        for fingerprint in asked:
            if fingerprint in found:
                return read_log(backend, found[fingerprint], fingerprint)
        msg = f"the datum {key!r} was not evaluated, or its result has expired: no log of it is kept"
        raise InvalidInputError(msg)

    def rerun(self, commit: Commit, path: str | None = None, *, any_code: bool = False) -> Rerun:
        """Evaluate the datums of a commit again, and compare the bytes, as `Store.rerun` does.

        >>> pipe = store.pipeline(upper)
        >>> pipe.rerun(pipe.run().commit).is_equal
        True

        Raises:
            InvalidInputError, NotFoundError, CommitForgottenError: As for `Store.rerun`.

        Cost: as `Store.rerun`.
        """
        try:
            return rerun_commit(self._store.backend, self._definition, commit, path=path, any_code=any_code)
        finally:
            end_kept_programs()

    def datums(self) -> list[DatumFacts]:
        """Return the datums of the output as it is, sorted by key.

        >>> _ = store.pipeline(upper).run()
        >>> [(datum.key, datum.outputs) for datum in store.pipeline(upper).datums()]
        [('2012/01.csv', ('2012/01.csv',)), ('2012/02.csv', ('2012/02.csv',))]

        Cost: reads the whole datum tree; some 10 us a datum.
        """
        output = find_output(self._store.backend, self._definition.output)
        return list_facts(self._store.backend, output.root)

    def verify(self, share: float = 0.01) -> Verification:
        """Evaluate a random share of the datums again whose results are kept, and compare. The output stays as it is.

        A result that differs is kept as a disagreement, and the first one still counts. From then on `plan`, `explain`
        and `disagreements` call the pipeline nondeterministic, also after a rebuild.

        >>> pipe = store.pipeline(upper)
        >>> _ = pipe.run()
        >>> pipe.verify(share=1).is_deterministic
        True

        Args:
            share: From 0 to 1. At least one datum is chosen if it is not 0.

        Raises:
            InvalidInputError: *share* is not a number from 0 to 1.

        Cost: that of a plan of all datums, and of the evaluations, in this process.
        """
        return verify_results(self._store, self._definition, parse_number(share, "share", most=1), self._own_place)

    @property
    def disagreements(self) -> int:
        """How often an evaluation gave other bytes than the first one of its fingerprint: 0 if it is deterministic."""
        with self._store.backend.catalog.look_up() as connection:
            return count_disagreements(connection, self.name)

    def _of_disagreements(self) -> list[str]:
        count = self.disagreements
        return [f"the pipeline is not deterministic: {count} evaluations gave other bytes"] if count else []

    def _fingerprints(self, plan: DatumPlan, row: int) -> list[bytes]:
        return self._definition.fingerprints([plan.datums.seen(row)])

    def _facts(self, output: OutputState, key: str) -> DatumFacts | None:
        place = place_of(key)
        return read_datums(self._store.backend, output.root, [place]).get(place)

    def _own_place(self) -> BatchPlace:
        run_id = new_uuid7()
        repo = self._definition.output.repo
        branch = ensure_system_branch(self._store.backend, repo, RepoKind.RESULTS, f"run/{run_id}")
        return BatchPlace(branch, run_id, self.name)
