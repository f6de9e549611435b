"""Pipelines in Airflow: plan, evaluate and commit as one task, or as a task group that is mapped over batches."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator, Context, TaskGroup
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from airflow_versioned.assets import VersionedAsset
from airflow_versioned.branch import make_missing_repo
from airflow_versioned.events import event_extra
from airflow_versioned.hooks import VersionedHook
from airflow_versioned.links import CommitLink
from airflow_versioned.naming import escape_word
from airflow_versioned.notes import describe_outlets
from airflow_versioned.runs import name_task
from airflow_versioned.uris import DEFAULT_CONNECTION
from versioned_io.errors import NotFoundError

if TYPE_CHECKING:
    from versioned_io import Commit, Pipeline, PipelineFunction, PipelineRun, RunProgress, Store

_LOGS_EVERY_S = 5.0
_MOST_NAMED = 20
_BATCH_SIZE = 100


class HeldPipeline:
    """A pipeline as an attribute of an operator: of a bare function there, Airflow would serialize the source.

    Args:
        function: A function that ``@vio.pipeline`` decorated.
    """

    def __init__(self, function: "PipelineFunction") -> None:
        self.function = function

    def __repr__(self) -> str:
        return f"pipeline {self.function.name}"

    def __deepcopy__(self, _memo: object) -> "HeldPipeline":
        return self


class PipelineTask(BaseOperator):
    """A task on a pipeline; each kind below does one part of the work."""

    operator_extra_links = (CommitLink(),)

    def __init__(
        self,
        *,
        pipeline: "PipelineFunction | HeldPipeline",
        max_workers: int = 1,
        wakes_on: Sequence[VersionedAsset] = (),
        when_unchanged: Literal["skip", "succeed"] = "skip",
        versioned_conn_id: str = DEFAULT_CONNECTION,
        store: str | None = None,
        **options: Any,  # noqa: ANN401 (BaseOperator's own)
    ) -> None:
        super().__init__(**options)
        self.pipeline = pipeline if isinstance(pipeline, HeldPipeline) else HeldPipeline(pipeline)
        self.max_workers = max_workers
        self.wakes_on = tuple(wakes_on)
        self.when_unchanged = when_unchanged
        self.versioned_conn_id = versioned_conn_id
        self.store = store

    @contextmanager
    def opened(self, context: Context) -> "Iterator[tuple[Store, Pipeline]]":
        """Open the store and the pipeline in the task's run."""
        with VersionedHook(self.versioned_conn_id, store=self.store).run(context) as store:
            yield store, store.pipeline(self.pipeline.function)

    def finish(self, context: Context, store: "Store", run: "PipelineRun", before: "Commit | None") -> dict[str, Any]:
        """Return the event of the committed head, and add it to the events of the task's outlets.

        Raises:
            AirflowException: Datums failed, and the pipeline does not commit without them.
            AirflowSkipException: The output is as it was before.
        """
        self.log.info("%s: %s, %s", self.pipeline.function.name, run.state, dict(run.counts))
        if run.state == "failed":
            refuse_failed(self.pipeline.function.name, run.failed)
        commit = run.commit
        instance: Any = context["ti"]
        is_new = commit is not None and (before is None or before.id != commit.id)
        if commit is None or (not is_new and instance.try_number <= 1 and self.when_unchanged == "skip"):
            msg = f"{self.pipeline.function.output} is up to date: {dict(run.counts)}"
            raise AirflowSkipException(msg)
        describe_outlets(context, store, commit)
        return {**event_extra(commit), "state": run.state, "counts": dict(run.counts)}


class VersionedDatumOperator(PipelineTask):
    """Evaluates the datums of a pipeline that have no result, and commits its output, in one task.

    Results are stored in batches while the task works. So a retry of a failed or killed task evaluates only what has no
    result yet. The commit carries the task and its lineage ID. A task that changes nothing is skipped and emits no
    event. Events of outlets that are the output branch (`versioned_asset`) carry the commit.

    >>> from airflow.sdk import DAG
    >>> import versioned_io as vio
    >>> from airflow_versioned import VersionedDatumOperator
    >>> @vio.pipeline("wet", inputs=vio.glob("rain@main", "/*.csv"), output="wet@main")
    ... def wet(datum, out):
    ...     out.write(datum["rain"].path, datum["rain"].read().upper())
    >>> with DAG("weather", schedule=None) as dag:
    ...     task = VersionedDatumOperator(task_id="wet", pipeline=wet)
    >>> dag.task_ids
    ['wet']

    Args:
        pipeline: A function that ``@vio.pipeline`` decorated. For more than one worker it must be in the top level of a
            module that workers can import.
        max_workers: How many processes evaluate datums.
        wakes_on: The heads of input branches that the DAG is scheduled on. Their wake-ups are repeated until a run has
            read the commit.
        when_unchanged: ``succeed`` succeeds, with the branch's head, where the task would be skipped.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the pipeline, and return the event of the commit, the state and the counts of datums.

        Raises:
            AirflowException: Datums failed; the log and the message name them. A retry evaluates them alone.
            AirflowSkipException: The output is up to date.
        """
        with self.opened(context) as (store, pipe), answered(self.wakes_on, context, store):
            before = head_of(store, pipe.output)
            run = pipe.run(max_workers=self.max_workers, on_progress=Progress(self.log.info), owner=name_task(context))
            return self.finish(context, store, run, before)


class PlanDatums(PipelineTask):
    """Returns the batches of a pipeline's pending datums: small objects over which Airflow maps the next task."""

    def __init__(self, *, batch_size: int = _BATCH_SIZE, most_batches: int | None = None, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self.batch_size = batch_size
        self.most_batches = most_batches

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Return the batches: at most as many as Airflow maps."""
        from airflow.configuration import conf

        at_most = self.most_batches or conf.getint("core", "max_map_length")
        with self.opened(context) as (_, pipe):
            plan = pipe.plan()
            self.log.info("%s: %s", pipe.name, plan.counts)
            return [dict(batch.to_json()) for batch in plan.batches(self.batch_size, at_most=at_most)]


class EvaluateDatums(PipelineTask):
    """Evaluates one batch, and returns its report."""

    template_fields: Sequence[str] = ("batch",)

    def __init__(self, *, batch: Mapping[str, Any], **options: Any) -> None:  # noqa: ANN401 (BaseOperator's own)
        super().__init__(**options)
        self.batch = batch

    def execute(self, context: Context) -> dict[str, Any]:
        """Store the results of the batch.

        Raises:
            AirflowException: Datums failed, and the pipeline does not commit without them. Other results are kept.
        """
        from versioned_io import PendingBatch

        with self.opened(context) as (_, pipe):
            report = pipe.evaluate(
                PendingBatch.from_json(self.batch),
                max_workers=self.max_workers,
                on_progress=Progress(self.log.info),
                owner=name_task(context),
            )
        self.log.info("%s: %s", pipe.name, dict(report.counts))
        if pipe.on_failure == "refuse":
            refuse_failed(pipe.name, {one.key: one.error for one in report.failed})
        return report.to_json()


class CommitDatums(PipelineTask):
    """Commits what the batches evaluated."""

    template_fields: Sequence[str] = ("reports",)

    def __init__(self, *, reports: Any, **options: Any) -> None:  # noqa: ANN401 (an XCom of a mapped task)
        super().__init__(**options)
        self.reports = reports

    def execute(self, context: Context) -> dict[str, Any]:
        """Commit, and return the event of the commit, the state and the counts of datums."""
        from versioned_io import EvaluatedBatch

        reports = [EvaluatedBatch.from_json(one) for one in self.reports or () if one is not None]
        with self.opened(context) as (store, pipe), answered(self.wakes_on, context, store):
            before = head_of(store, pipe.output)
            run = pipe.commit(reports, on_progress=Progress(self.log.info), owner=name_task(context))
            return self.finish(context, store, run, before)


def datum_task_group(
    pipeline: "PipelineFunction",
    *,
    group_id: str | None = None,
    batch_size: int = _BATCH_SIZE,
    most_batches: int | None = None,
    outlets: Sequence[Any] = (),
    wakes_on: Sequence[VersionedAsset] = (),
    when_unchanged: Literal["skip", "succeed"] = "skip",
    **options: Any,  # noqa: ANN401 (those of every task)
) -> TaskGroup:
    """Return a task group that runs a pipeline: ``plan``, ``evaluate`` mapped over batches, and ``commit``.

    Tasks exchange batches and reports, never datums. A retry of a batch evaluates only what has no result yet. The
    commit plans again, and evaluates newer datums itself. So the output is always that of the newest heads.

    >>> from airflow.sdk import DAG
    >>> import versioned_io as vio
    >>> from airflow_versioned import datum_task_group
    >>> @vio.pipeline("wet", inputs=vio.glob("rain@main", "/*.csv"), output="wet@main")
    ... def wet(datum, out):
    ...     out.write(datum["rain"].path, datum["rain"].read().upper())
    >>> with DAG("weather", schedule=None) as dag:
    ...     group = datum_task_group(wet, batch_size=50)
    >>> dag.task_ids
    ['wet.plan', 'wet.evaluate', 'wet.commit']

    Args:
        group_id: By default the pipeline's name.
        batch_size: How many datums a task evaluates, unless that makes more than *most_batches*.
        most_batches: By default Airflow's ``max_map_length``.
        outlets: Of the task that commits.
        wakes_on, when_unchanged: As for `VersionedDatumOperator`.
        options: Arguments of all three tasks, such as ``store``, ``max_workers`` and ``retries``.
    """
    held = HeldPipeline(pipeline)
    with TaskGroup(group_id or escape_word(pipeline.name)) as group:
        plan = PlanDatums(task_id="plan", pipeline=held, batch_size=batch_size, most_batches=most_batches, **options)
        evaluate = EvaluateDatums.partial(task_id="evaluate", pipeline=held, **options).expand(batch=plan.output)
        CommitDatums(
            task_id="commit",
            pipeline=held,
            reports=evaluate.output,
            outlets=list(outlets),
            wakes_on=wakes_on,
            when_unchanged=when_unchanged,
            trigger_rule="none_failed",
            **options,
        )
    return group


class Progress:
    """Writes a line about the progress of a run to the task's log, at most every 5 seconds."""

    def __init__(self, log: Callable[..., object]) -> None:
        self._log = log
        self._told_at = time.monotonic()

    def __call__(self, found: "RunProgress") -> None:
        """Write the line if it is time."""
        if time.monotonic() - self._told_at < _LOGS_EVERY_S:
            return
        self._told_at = time.monotonic()
        eta = "" if found.eta_s is None else f", {found.eta_s:.0f} s left"
        done = found.run + found.failed + found.recovered
        self._log("%d datums evaluated, %d pending, %.1f a second%s", done, found.pending, found.rate, eta)


@contextmanager
def answered(heads: Sequence[VersionedAsset], context: Context, store: "Store") -> Iterator[None]:
    """Complete the wake-ups of these branches that are due before the block, if it succeeds or skips the task.

    The block reads the newest commits. So what is due before it is done after it.
    """
    run: Any = context["dag_run"]
    taken = []
    for asset in heads:
        declared = asset.head.declared
        make_missing_repo(store, declared.ref)
        relay = declared.relay_of(store, declared.address.locate().deployment)
        subscription = relay.subscribe(run.dag_id)
        subscription.collect()
        due = subscription.claim("*", owner=f"{run.dag_id}/{run.run_id}")
        taken += [] if due is None else [(subscription, due)]
    try:
        yield
    except AirflowSkipException:
        for subscription, due in taken:
            subscription.complete(due)
        raise
    except BaseException:
        for subscription, due in taken:
            subscription.release(due)
        raise
    for subscription, due in taken:
        subscription.complete(due)


def refuse_failed(name: str, failed: Mapping[str, str]) -> None:
    """Raise if datums failed.

    Raises:
        AirflowException: They did. A retry evaluates them alone.
    """
    if failed:
        named = "; ".join(f"{key!r}: {error}" for key, error in list(failed.items())[:_MOST_NAMED])
        msg = f"{len(failed)} datums of the pipeline {name!r} failed: {named}"
        raise AirflowException(msg)


def head_of(store: "Store", branch: str) -> "Commit | None":
    """Return the newest commit of a branch; None if it has none, or does not exist yet."""
    try:
        return next(iter(store.log(branch, limit=1)), None)
    except NotFoundError:
        return None
