"""The relay: a DAG that turns a wake-up of a branch into one event for each affected partition.

Airflow starts a partition run only for an event with a partition key, and a watcher's events have none. After any
wake-up, the relay reads the due keys from the store and announces them. See
docs/design/0003-wakeups-and-durable-cursors.md.
"""

import logging
import math
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, get_current_context
from airflow.sdk.exceptions import AirflowRuntimeError, AirflowSkipException, ErrorType

from airflow_versioned.branch import DeclaredBranch
from airflow_versioned.connections import StoreAddress, StoreLocation
from airflow_versioned.events import MAX_KEYS_PER_TASK, build_extra, emit_events
from airflow_versioned.naming import build_dag_id
from airflow_versioned.runs import KEYS_CONF, LINEAGE_CONF, WAKE_UP_CONF, name_task, read_requested_keys
from airflow_versioned.starts import resolve_start
from versioned_io import Announcement, MissedKey
from versioned_io.errors import CommitForgottenError, VersionedError

if TYPE_CHECKING:
    from versioned_io import Store

_log = logging.getLogger(__name__)

ANNOUNCED = "announced"  # the XCom of what the first task announced
MAX_ANNOUNCING_TASKS = 2  # more would only queue in the API server, which does the work
MAX_MORE_TASKS = 250  # Airflow maps a task at most 1,024 times
MAX_RELAY_RUNS = 4  # a run whose worker was killed lasts for five minutes, and must not keep the others
RENEW_EVERY_S = 10.0
MAX_RENEWALS = 30  # a task that announces for five minutes is stuck
DEFAULT_ARGS: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(seconds=5),
    # A relay's task starts hundreds of other tasks, or makes them unnecessary, so it runs before them.
    "priority_weight": 1000,
    "weight_rule": "absolute",
}


def build_relay(
    asset: Asset,
    head: Asset,
    declared: DeclaredBranch,
    *,
    dag_id: str | None,
    consumers: Sequence[str],
    start: str,
    **dag_options: Any,  # noqa: ANN401 (DAG's own options)
) -> DAG:
    """Return the relay of *asset*: wake-up → collect and announce → confirm.

    After a crash between announcing and confirming, the keys are announced again. That is harmless: consumers claim.
    A task leases the keys that it announces, so several runs don't announce the same ones. It renews the lease until
    Airflow has its events. If its worker is killed, another run announces the keys as soon as the lease ends.

    Args:
        asset: The branch, seen through a template: its events carry the keys.
        head: The branch as a whole, whose watcher wakes the relay.
        start: Where the relay and *consumers* begin.

    Raises:
        ValueError: The asset has no partitions.
    """
    from airflow.sdk import task, task_group

    if declared.partitions is None:
        msg = f"{declared.ref} without partitions needs no relay: schedule a DAG on the asset itself"
        raise ValueError(msg)
    options = {
        "catchup": False,
        "is_paused_upon_creation": False,
        "max_active_runs": MAX_RELAY_RUNS,
        "description": f"Announces the partitions of {declared.ref} that commits affect",
        "tags": ["versioned-io", "relay"],
        **dag_options,
        "default_args": {**DEFAULT_ARGS, **dag_options.get("default_args", {})},
    }
    with DAG(dag_id or name_relay(declared), schedule=[head], **options) as dag:

        @task(outlets=[asset])
        def announce() -> list[int]:
            request_again(declared, start)
            announcement = announce_due(asset, declared, consumers, start)
            get_current_context()["ti"].xcom_push(ANNOUNCED, announcement.to_json())
            return list(range(min(math.ceil(announcement.left / MAX_KEYS_PER_TASK), MAX_MORE_TASKS)))

        @task
        def confirm(announced: dict[str, Any]) -> None:
            location = declared.address.locate()
            with location.open_store() as store:
                declared.relay_of(store, location.deployment).confirm(
                    Announcement.from_json(announced), redeliver_after_s=declared.redeliver_after_s
                )

        @task(outlets=[asset], max_active_tis_per_dag=MAX_ANNOUNCING_TASKS)
        def announce_more(number: int) -> dict[str, Any]:  # noqa: ARG001 (Airflow maps the task over it)
            return announce_due(asset, declared, consumers, start).to_json()

        @task_group
        def more(number: int) -> None:
            announced: Any = announce_more(number)
            confirm.override(task_id="confirm_more")(announced)

        rest: Any = announce()
        confirm(rest[ANNOUNCED])
        more.expand(number=rest)
    return dag


def name_relay(declared: DeclaredBranch) -> str:
    """Return the relay's DAG ID, for example ``relay.orders.main.date`` for the template ``{date}.csv``.

    The ID of a plain declaration has no digest at its end. It has the default connection, no ``key``, and a template of
    one field for each part of the path before ``.csv``. Other IDs have a digest, so no two relays share one.
    """
    fields = () if declared.template is None else declared.template.fields
    address = declared.address
    is_plain = address == StoreAddress() and (declared.partitions, declared.key) == (
        "/".join(f"{{{field}}}" for field in fields) + ".csv",
        None,
    )
    identity = [address.connection, address.url, declared.repo, declared.branch, declared.partitions, declared.key]
    return build_dag_id(["relay", declared.repo, declared.branch, *fields], identity, is_plain=is_plain)


def request_again(declared: DeclaredBranch, start: str) -> None:
    """Request the keys again that somebody has started this run for, for every consumer and each once.

    A retry requests nothing, even if it comes after their events were sent. A cleared task requests them again.

    Raises:
        PartitionKeyError: The template can't produce one of the keys.
        InvalidInputError: No file of the branch belongs to one of the keys.

    Cost: none without such keys; else as `Relay.request`.
    """
    context = get_current_context()
    keys = read_requested_keys(context)
    states: Any = context["task_state_store"] if keys else None
    marker = f"requested {getattr(context['dag_run'], 'clear_number', None) or 0}"  # a retry finds it
    if not keys or states.get(marker):
        return
    location = declared.address.locate()
    with location.open_store() as store:
        relay = declared.relay_of(store, location.deployment)
        requested = relay.request(keys, start=resolve_start(store, declared, start))
    states.set(marker, "yes")
    _log.info("%d of %d keys of %s are requested again for every consumer", len(requested), len(keys), declared.ref)


def announce_due(asset: Asset, declared: DeclaredBranch, consumers: Sequence[str], start: str) -> Announcement:
    """Announce the due keys that no other task announces, at most `MAX_KEYS_PER_TASK` wake-ups, and return them.

    Events go out when the task succeeds. A wake-up for one consumer starts its run at once.

    Raises:
        AirflowSkipException: Nothing is due: the wake-up came twice, or others announce everything.
    """
    context = get_current_context()
    location = declared.address.locate()
    with location.open_store() as store:
        announcement = declared.relay_of(store, location.deployment).collect(
            owner=name_task(context),
            consumers=consumers,
            start=resolve_start(store, declared, start),
            redeliver_after_s=declared.redeliver_after_s,
            is_listening=is_listening,
            most_keys=MAX_KEYS_PER_TASK,
        )
        unmatched = "" if announcement is not None else describe_unmatched(store, declared)
    if announcement is None:
        msg = (
            f"nothing to announce for {declared.ref}. To have partitions processed again, start this DAG with a key, "
            f'or with the conf {{"{KEYS_CONF}": ["<key>"]}}, or run `versioned due {declared.ref} --again KEY`'
            f"{unmatched}"
        )
        raise AirflowSkipException(msg)
    for missed in announcement.missed:
        wake_consumer(declared, missed)
    if not announcement.commits:
        context["task"].outlets = []  # for an outlet without events Airflow emits one that has no key
    emit_events(
        context,
        asset,
        (
            (build_extra(declared.repo, declared.branch, commit.commit, commit.lineage_id, commit.number), commit.keys)
            for commit in announcement.commits
        ),
    )
    Renewal(location, declared, announcement).start()
    return announcement


class Renewal(threading.Thread):
    """Renews the lease on the keys of an announcement for as long as the task's process lives, within limits.

    Airflow's API server takes over the events after the task's function has returned, and may be busy for a minute
    with those of other tasks. The process waits for it; a process that is killed renews nothing.
    """

    def __init__(self, location: StoreLocation, declared: DeclaredBranch, announcement: Announcement) -> None:
        super().__init__(name="versioned-renewal", daemon=True)
        self._location, self._declared, self._announcement = location, declared, announcement

    def run(self) -> None:
        """Renew until the process ends; a renewal that fails is a line in the task's log, and the next is tried."""
        for _ in range(MAX_RENEWALS):
            time.sleep(RENEW_EVERY_S)
            try:
                with self._location.open_store() as store:
                    self._declared.relay_of(store, self._location.deployment).renew(self._announcement)
            except VersionedError as error:
                _log.warning("the lease on the keys of %s was not renewed: %s", self._declared.ref, error)


def describe_unmatched(store: "Store", declared: DeclaredBranch) -> str:
    """Return a sentence on the newest commit if the template matches none of the paths that it changed; else nothing.

    It is also nothing if the commit before has expired: the task is skipped all the same.

    Cost: one diff.
    """
    head = next(iter(store.log(declared.ref, limit=1)), None)
    if head is None:
        return ""
    before, after = None if head.parent is None else f"{head.repo}@{head.parent}", f"{head.repo}@{head.id}"
    try:
        paths = store.diff(before, after).column("path")
        matched = store.affected(before, after, declared.partitions or "", key=declared.key)
    except CommitForgottenError:
        return ""
    if matched or not len(paths):
        return ""
    return (
        f". The newest commit, {head.id}, changed {len(paths)} files, such as {paths[0].as_py()!r}, and the template "
        f"{declared.partitions!r} matches none of them"
    )


def is_listening(dag_id: str) -> bool:
    """Return whether a run of the DAG would begin now: Airflow knows it, and it is not paused.

    Cost: 1 request to Airflow's API server.
    """
    instance: Any = get_current_context()["ti"]
    try:
        return not instance.get_dag(dag_id).is_paused
    except AirflowRuntimeError:  # Airflow has no such DAG
        return False


def wake_consumer(declared: DeclaredBranch, missed: MissedKey) -> None:
    """Start the run of one consumer that missed a wake-up. After a crash, a second call starts no second run.

    An event would wake every consumer of the branch. A DAG that can't be started is logged: its key stays due.

    Cost: 1 request to Airflow's API server.
    """
    from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    facts = build_extra(declared.repo, declared.branch, missed.commit, missed.lineage_id, missed.number)
    message = TriggerDagRun(
        dag_id=missed.consumer,
        run_id=f"wake_up__{missed.attempt}",
        partition_key=missed.key,  # dropped on the way by Airflow 3.3.2
        note=f"partition {missed.key}, whose wake-up was missed",
        conf={WAKE_UP_CONF: {**facts, "key": missed.key}, LINEAGE_CONF: missed.lineage_id},
    )
    try:
        answer = SUPERVISOR_COMMS.send(message)
    except AirflowRuntimeError as error:
        answer = error.error
    if isinstance(answer, ErrorResponse) and answer.error != ErrorType.DAGRUN_ALREADY_EXISTS:
        _log.warning("can't start %s for partition %r: %s", missed.consumer, missed.key, answer)
