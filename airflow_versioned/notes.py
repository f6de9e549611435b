"""The events of a task's own commits, and a note in the store that they were sent, once Airflow has them.

Airflow registers a task's events when the task has succeeded, and then tells the listeners, in the task's process. So a
task that dies before leaves nothing noted, and the relay announces its commit.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from airflow.listeners import hookimpl

from airflow_versioned.connections import StoreAddress
from airflow_versioned.events import MAX_KEYS_PER_TASK, event_extra
from airflow_versioned.open_lineage import note_output
from airflow_versioned.runs import end_task_run, name_task, offer_task_run

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_versioned.branch import DeclaredBranch
    from versioned_io import Announcement, Commit, Store

ANNOUNCING_TASK_S = 15.0
"""Seconds that the relay gives a task to end after its commit, before it announces the commit itself."""

_log = logging.getLogger(__name__)


class _Note(NamedTuple):
    """An announcement that a task is going to make for one of its outlets."""

    declared: "DeclaredBranch"
    announcement: "Announcement"


class _Task(NamedTuple):
    """The identity of a task instance, whichever of its tries is running."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int


_notes: dict[_Task, list[_Note]] = {}  # of the tasks that this process runs, which is one


@runtime_checkable
class BranchOutlet(Protocol):
    """The attribute of a `VersionedAsset` that describes its branch."""

    declared: "DeclaredBranch"


def describe_outlets(context: "Context", store: "Store", commit: "Commit") -> None:
    """Add *commit* to the events of the running task's outlets, if an outlet is the commit's branch in this store.

    It is also an output of the task for OpenLineage, whatever its outlets are.

    An outlet with partitions gets one event for each key that the commit touched, so Airflow's own graph shows them. A
    key whose last file was deleted gets none. Beyond `MAX_KEYS_PER_TASK` the relay announces the rest. The events are
    emitted when the task succeeds.

    Cost: one diff against the parent for each outlet with partitions, and as `Relay.announce`.
    """
    note_output(store, commit)
    accessors: Any = context["outlet_events"]
    for outlet in context["outlets"]:
        if not isinstance(outlet, BranchOutlet) or not _is_of(outlet.declared, store, commit):
            continue
        declared = outlet.declared
        event = accessors[outlet]
        event.extra.update(event_extra(commit))
        if declared.partitions is None:
            continue
        before = None if commit.parent is None else f"{commit.repo}@{commit.parent}"
        touched = store.affected(before, f"{commit.repo}@{commit.id}", declared.partitions, key=declared.key)
        keys = keep_living(store, declared, commit, touched[:MAX_KEYS_PER_TASK])
        event.add_partitions(keys)
        if keys:
            prepare_note(context, store, declared, commit, keys)


def keep_living(store: "Store", declared: "DeclaredBranch", commit: "Commit", keys: Sequence[str]) -> list[str]:
    """Return those of *keys* that have a file in *commit*: a key whose last file was deleted has nothing to process.

    Cost: none if the commit deleted nothing; else as `Snapshot.glob` for each key.
    """
    template = declared.template
    if template is None or not commit.stats.deleted:
        return [*keys]
    snapshot = store.snapshot(f"{commit.repo}@{commit.id}")
    return [key for key in keys if next(iter(snapshot.glob(template.glob_of(key))), None) is not None]


def _is_of(declared: "DeclaredBranch", store: "Store", commit: "Commit") -> bool:
    """Return whether *commit* was made on the declared branch, and *store* is the declared one."""
    is_branch = (declared.repo, declared.branch) == (commit.repo, commit.branch)
    return is_branch and declared.address.is_of(store)


def prepare_note(
    context: "Context", store: "Store", declared: "DeclaredBranch", commit: "Commit", keys: Sequence[str]
) -> None:
    """Lease *keys* to the running task, which is going to announce them; `settle_notes` ends the lease.

    Cost: as `Relay.announce`.
    """
    relay = declared.relay_of(store, declared.address.locate().deployment)
    announcement = relay.announce(commit, keys, owner=name_task(context), lease_s=ANNOUNCING_TASK_S)
    if announcement is not None:
        _notes.setdefault(_identify(context["ti"]), []).append(_Note(declared, announcement))


def settle_notes(instance: Any, *, has_succeeded: bool) -> None:  # noqa: ANN401 (Airflow has two unrelated classes)
    """Note in the store that a task's announcements were sent, or that they were not.

    A store out of reach is logged, since the task is over: the relay repeats the announcements.

    Cost: for each outlet, as `Relay.confirm` or `Relay.withdraw`.
    """
    for declared, announcement in _notes.pop(_identify(instance), []):
        try:
            location = declared.address.locate()
            with location.open_store() as store:
                relay = declared.relay_of(store, location.deployment)
                if has_succeeded:
                    relay.confirm(announcement, redeliver_after_s=declared.redeliver_after_s)
                else:
                    relay.withdraw(announcement)
        except Exception:  # noqa: BLE001 (it would end the listeners of other plugins)
            _log.exception("can't note what was announced for %s: the relay announces it again", declared.ref)


def _identify(instance: Any) -> _Task:  # noqa: ANN401 (Airflow has two unrelated classes)
    return _Task(instance.dag_id, instance.run_id, instance.task_id, instance.map_index)


def _end_task(instance: Any, *, has_succeeded: bool) -> None:  # noqa: ANN401 (Airflow has two unrelated classes)
    end_task_run(instance)
    settle_notes(instance, has_succeeded=has_succeeded)


class TaskListener:
    """Offers each task of this process a run and a store, and settles its notes at its end.

    Airflow calls it before the task executes, and again after it has registered the task's events. At the end it comes
    before the listener of OpenLineage, which reports what this one has collected.
    """

    @hookimpl
    def on_task_instance_running(self, task_instance: Any) -> None:  # noqa: ANN401 (Airflow's own)
        """Make the task the run of everything that it reads and commits, in whichever way it opens the store."""
        from versioned_io import offer_settings

        if hasattr(task_instance, "get_template_context"):
            offer_task_run(task_instance.get_template_context())
            address = StoreAddress()
            offer_settings(address.find_settings, prepare=address.prepare)

    @hookimpl(tryfirst=True)
    def on_task_instance_success(self, task_instance: Any) -> None:  # noqa: ANN401 (Airflow's own)
        """Note that the task's announcements were sent."""
        _end_task(task_instance, has_succeeded=True)

    @hookimpl(tryfirst=True)
    def on_task_instance_failed(self, task_instance: Any) -> None:  # noqa: ANN401 (Airflow's own)
        """Return the task's announcements to the relay."""
        _end_task(task_instance, has_succeeded=False)

    @hookimpl(tryfirst=True)
    def on_task_instance_skipped(self, task_instance: Any) -> None:  # noqa: ANN401 (Airflow's own)
        """Return the task's announcements to the relay."""
        _end_task(task_instance, has_succeeded=False)
