"""A task group whose tasks work on a branch of their own, which is merged when all of them have succeeded."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow.sdk import Asset, BaseOperator, Context, TaskGroup
from airflow.sdk.definitions.taskgroup import MappedTaskGroup
from airflow.sdk.exceptions import AirflowFailException

from airflow_versioned.branch import make_missing_repo
from airflow_versioned.hooks import VersionedHook
from airflow_versioned.merging import VersionedMergeOperator
from airflow_versioned.naming import name_run_branch
from airflow_versioned.uris import DEFAULT_CONNECTION
from versioned_io.model.refs import parse_branch_ref

if TYPE_CHECKING:
    from versioned_io import Store

OPEN, MERGE, CLOSE = "open_branch", "merge", "close_branch"
RETRIES = 3  # of the tasks that only move a name in the store
WhenRejected = Literal["drop", "keep"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunBranch:
    """The branch of each run, as `branch_per_run` gives it to the tasks of its group.

    >>> from airflow.sdk import DAG, task
    >>> from airflow_versioned import branch_per_run
    >>> with DAG("load", schedule=None) as dag:
    ...     with branch_per_run("weather@main", group_id="load") as branch:
    ...         written = task(lambda ref: ref, task_id="write")(branch.ref)
    >>> branch.merge.source == branch.ref
    True

    Attributes:
        ref: The branch, ``repo@branch``, as a template: Airflow renders it in a template field, such as the arguments
            of a task. `@task.versioned` renders it in ``inputs`` and ``output``, also with a path after it.
        group: The task group, to set dependencies on.
        merge: The last task of the group. It fails when a task of the group has failed.
    """

    ref: str
    group: TaskGroup
    merge: VersionedMergeOperator


@contextmanager
def branch_per_run(
    into: str,
    *,
    group_id: str = "on_branch",
    when_rejected: WhenRejected = "drop",
    strategy: Literal["fail", "ours", "theirs"] = "fail",
    fast_forward: bool = True,
    message: str = "",
    outlets: Sequence[Asset] = (),
    versioned_conn_id: str = DEFAULT_CONNECTION,
    store: str | None = None,
) -> Iterator[RunBranch]:
    """Make a task group whose tasks work on a branch of the run: write, audit, and publish only if all succeeded.

    The group begins with a task that creates the branch at the head of *into*. Its other tasks write to ``ref`` and
    check it. If all of them succeed, the branch is merged, all or nothing. Readers of *into* never see data that a
    check has refused. At the end the branch is deleted.

    >>> from airflow.sdk import DAG
    >>> from airflow_versioned import VersionedCommitOperator, branch_per_run
    >>> with DAG("load", schedule=None) as dag:
    ...     with branch_per_run("weather@main", group_id="load") as branch:
    ...         write = VersionedCommitOperator(task_id="write", ref=branch.ref, source="2012", to="2012")
    >>> sorted(dag.task_ids)
    ['load.close_branch', 'load.merge', 'load.open_branch', 'load.write']

    A retry continues on the same branch. If the whole group is cleared, it begins again at the head of *into*. If only
    some tasks are cleared, they continue on the branch, when it was kept. If it was dropped, the group fails with a
    sentence instead of publishing a part.

    Args:
        into: The branch that gets the result, ``repo@branch``. Templated.
        when_rejected: ``drop`` deletes the branch of a run that failed. ``keep`` leaves it for a person to look at; the
            log of the last task names it.
        strategy: The choice where *into* has changed the same files meanwhile: see `VersionedMergeOperator`.
        outlets: The assets of *into*, whose events carry the merged commit.

    Raises:
        ValueError: The group has no task, or is inside of a mapped task group.
    """
    if when_rejected not in get_args(WhenRejected):
        msg = f"when_rejected={when_rejected!r} is not one of {', '.join(map(repr, get_args(WhenRejected)))}"
        raise ValueError(msg)
    place: dict[str, Any] = {"versioned_conn_id": versioned_conn_id, "store": store}
    with TaskGroup(group_id) as group:
        _refuse_mapped(group)
        opening = OpenBranchOperator(task_id=OPEN, into=into, retries=RETRIES, **place)
        ref = f"{{{{ ti.xcom_pull(task_ids={opening.task_id!r}, map_indexes=-1) }}}}"
        merge = VersionedMergeOperator(
            task_id=MERGE,
            source=ref,
            into=into,
            message=message,
            strategy=strategy,
            fast_forward=fast_forward,
            outlets=list(outlets),
            **place,
        )
        yield RunBranch(ref, group, merge)
        own = {opening.task_id, merge.task_id}
        work = [task for task in group.iter_tasks() if task.task_id not in own]
        if not work:
            msg = f"the group {group.group_id!r} has no task that works on the branch: define one in its block"
            raise ValueError(msg)
        ids = {task.task_id for task in work}
        opening >> [task for task in work if ids.isdisjoint(task.upstream_task_ids)]
        [task for task in work if ids.isdisjoint(task.downstream_task_ids)] >> merge
        closing = CloseBranchOperator(task_id=CLOSE, into=into, when_rejected=when_rejected, retries=RETRIES, **place)
        # A teardown runs whatever has failed, does not make a failed run green, and is cleared with the other tasks.
        merge >> closing.as_teardown(setups=opening)


def _refuse_mapped(group: TaskGroup) -> None:
    """Refuse a group that is mapped: its copies in one run would share the branch.

    Raises:
        ValueError: A group around it is mapped.
    """
    outer: Any = group.parent_group
    while outer is not None and outer.group_id is not None:
        if isinstance(outer, MappedTaskGroup):
            msg = f"branch_per_run can't be inside of the mapped task group {outer.group_id!r}: map the tasks in it"
            raise ValueError(msg)  # noqa: TRY004 (not the type of an argument)
        outer = outer.parent_group


class _RunBranchOperator(BaseOperator):
    """A task that moves the branch of its run; the names in the store are the only thing that it changes."""

    template_fields: Sequence[str] = ("into",)

    def __init__(
        self,
        *,
        into: str,
        versioned_conn_id: str = DEFAULT_CONNECTION,
        store: str | None = None,
        **options: Any,  # noqa: ANN401 (BaseOperator's own)
    ) -> None:
        super().__init__(**options)
        self.into = into
        self.versioned_conn_id = versioned_conn_id
        self.store = store

    def name_branch(self, context: Context) -> str:
        """Return the branch of this run and this group, ``repo@branch``; the same in each try."""
        run: Any = context["dag_run"]
        target = parse_branch_ref(self.into)
        name = name_run_branch(run.dag_id, run.run_id, self.task_id.rpartition(".")[0], target.branch)
        return f"{target.repo}@{name}"

    def find_states(self, context: Context) -> dict[str, str | None]:
        """Return the state of each task of the group in this run. Those of mapped tasks have an index at the end.

        Cost: 1 request to Airflow's API server.
        """
        run: Any = context["dag_run"]
        instance: Any = context["ti"]
        group = self.task_id.rpartition(".")[0]
        found = instance.get_task_states(run.dag_id, task_group_id=group, run_ids=[run.run_id]).get(run.run_id, {})
        return {task_id.removeprefix(f"{group}."): state for task_id, state in found.items()}


class OpenBranchOperator(_RunBranchOperator):
    """Creates the branch of a run at the head of *into*, and returns its ref; the first task of `branch_per_run`."""

    def execute(self, context: Context) -> str:
        """Return the branch, which exists, and holds only what this run's tasks have written since they were cleared.

        Raises:
            AirflowFailException: Only a part of the group was cleared, and the branch of the other part is gone.
        """
        ref = self.name_branch(context)
        with VersionedHook(self.versioned_conn_id, store=self.store).get_store() as store:
            make_missing_repo(store, self.into)
            kept = [name for name, state in self.find_states(context).items() if state == "success" and _works(name)]
            if not has_branch(store, ref):
                if kept:
                    msg = (
                        f"{ref} was deleted, and {', '.join(sorted(kept))} wrote to it or checked it: clear the whole "
                        f"group, so that all of its work is done again"
                    )
                    raise AirflowFailException(msg)
                store.create_branch(ref, at=self.into)
            elif not kept:
                head = _head_of(store, self.into)
                store.reset(ref, head)
            _log.info("%s %s", "continuing on" if kept else "working on", ref)
        return ref


class CloseBranchOperator(_RunBranchOperator):
    """Deletes the branch of a run, or keeps one that was refused; the last task of `branch_per_run`."""

    def __init__(
        self,
        *,
        when_rejected: WhenRejected = "drop",
        **options: Any,  # noqa: ANN401 (BaseOperator's own)
    ) -> None:
        super().__init__(**options)
        self.when_rejected = when_rejected

    def execute(self, context: Context) -> None:
        """Delete the branch, unless it has commits that were not merged, and *when_rejected* is ``keep``."""
        ref = self.name_branch(context)
        with VersionedHook(self.versioned_conn_id, store=self.store).get_store() as store:
            if not has_branch(store, ref):
                return
            is_merged = self.find_states(context).get(MERGE) == "success"
            commits = next(iter(store.log(ref, limit=1)), None)
            has_work = commits is not None and commits.branch == parse_branch_ref(ref).branch
            if has_work and not is_merged and self.when_rejected == "keep":
                looked = f"versioned diff {self.into} {ref}"
                _log.warning("%s is kept, since a task of its group has not succeeded: see `%s`", ref, looked)
                return
            store.delete_branch(ref, force=True)
            _log.info("deleted %s, which was %s", ref, "merged" if is_merged else "not merged")


def _works(name: str) -> bool:
    """Return whether a task of the group is one that the user has defined."""
    return name not in {OPEN, MERGE, CLOSE}


def has_branch(store: "Store", ref: str) -> bool:
    """Return whether the store has the branch *ref*."""
    wanted = parse_branch_ref(ref)
    return any(branch.name == wanted.branch for branch in store.branches(wanted.repo))


def _head_of(store: "Store", branch: str) -> str | None:
    """Return the head of a branch as a ref; None if it has no commit."""
    head = next(iter(store.log(branch, limit=1)), None)
    return None if head is None else f"{head.repo}@{head.id}"
