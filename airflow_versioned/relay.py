"""The relay: a DAG that turns a wake-up of a branch into one event for each affected partition.

Airflow starts a partition run only for an event with a partition key, and a watcher's events have none. After any
wake-up, the relay reads the due keys from the store and announces them. See
docs/design/0003-wakeups-and-durable-cursors.md.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowRuntimeError, AirflowSkipException

from airflow_versioned.branch import DeclaredBranch
from airflow_versioned.events import MAX_KEYS_PER_TASK, build_extra, emit_events, read_extra
from versioned_io import Announcement

FIRST = "announced"  # the XCom of what the first task announced; its return value is what it left to others
RECENT_EVENTS = 300
MAX_ANNOUNCEMENTS = 250  # Airflow maps a task at most 1,024 times
MAX_ANNOUNCING_TASKS = 2  # more would only queue in the API server, which does the work
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
    **dag_options: Any,  # noqa: ANN401 (DAG's own options)
) -> DAG:
    """Return the relay of *asset*: wake-up → collect and announce → confirm, one run at a time.

    After a crash between announcing and confirming, the keys are announced again. That is harmless: consumers claim.

    Args:
        asset: The branch, seen through a template: its events carry the keys.
        head: The branch as a whole, whose watcher wakes the relay.

    Raises:
        ValueError: The asset has no partitions.
    """
    if declared.partitions is None:
        msg = f"{declared.ref} without partitions needs no relay: schedule a DAG on the asset itself"
        raise ValueError(msg)
    options = {
        "catchup": False,
        "is_paused_upon_creation": False,
        "description": f"Announces the partitions of {declared.ref} that commits affect",
        "tags": ["versioned-io", "relay"],
        **dag_options,
        "default_args": {**DEFAULT_ARGS, **dag_options.get("default_args", {})},
    }
    with DAG(dag_id or name_relay(declared), schedule=[head], max_active_runs=1, **options) as dag:

        @task(inlets=[asset], outlets=[asset])
        def announce() -> list[dict[str, Any]]:
            first, *rest = collect_due(asset, declared, consumers)
            emit(asset, declared, first)
            get_current_context()["ti"].xcom_push(FIRST, first.to_json())
            return [announcement.to_json() for announcement in rest]

        @task
        def confirm(announced: dict[str, Any]) -> None:
            location = declared.address.locate()
            with location.open_store() as store:
                declared.relay_of(store, location.deployment).confirm(
                    Announcement.from_json(announced), redeliver_after_s=declared.redeliver_after_s
                )

        @task(outlets=[asset], max_active_tis_per_dag=MAX_ANNOUNCING_TASKS)
        def announce_chunk(chunk: dict[str, Any]) -> None:
            emit(asset, declared, Announcement.from_json(chunk))

        @task_group
        def more(chunk: dict[str, Any]) -> None:
            announce_chunk(chunk) >> confirm.override(task_id="confirm_chunk")(chunk)

        rest: Any = announce()
        confirm(rest[FIRST])
        more.expand(chunk=rest)
    return dag


def emit(asset: Asset, declared: DeclaredBranch, announcement: Announcement) -> None:
    """Make the running task emit the events of *announcement*."""
    events = (
        (build_extra(declared.repo, declared.branch, commit.commit, commit.lineage_id, commit.number), commit.keys)
        for commit in announcement.commits
    )
    emit_events(get_current_context(), asset, events)


def name_relay(declared: DeclaredBranch) -> str:
    """Return the relay's DAG ID: only letters, digits, ``-``, ``_`` and ``.``, as Airflow wants it."""
    template = declared.template
    parts = ["relay", declared.repo, declared.branch, *(template.fields if template is not None else ())]
    return ".".join("".join(c if c.isalnum() or c in "-_" else "-" for c in part) for part in parts)


def collect_due(asset: Asset, declared: DeclaredBranch, consumers: Sequence[str]) -> list[Announcement]:
    """Return the announcements to make now, at least one.

    Raises:
        AirflowSkipException: Nothing is due: the wake-up came twice, or a task's own events announced everything.
    """
    location = declared.address.locate()
    with location.open_store() as store:
        announcements = declared.relay_of(store, location.deployment).collect(
            consumers=consumers,
            seen=read_announced(asset, declared),
            redeliver_after_s=declared.redeliver_after_s,
            is_listening=is_listening,
            most_keys=MAX_KEYS_PER_TASK,
            most_announcements=MAX_ANNOUNCEMENTS,
        )
    if not announcements:
        msg = f"nothing to announce for {declared.ref}"
        raise AirflowSkipException(msg)
    return announcements


def is_listening(dag_id: str) -> bool:
    """Return whether an event would start a run of the DAG now: Airflow knows it, and it is not paused.

    Cost: 1 request to Airflow's API server.
    """
    instance: Any = get_current_context()["ti"]
    try:
        return not instance.get_dag(dag_id).is_paused
    except AirflowRuntimeError:  # Airflow has no such DAG
        return False


def read_announced(asset: Asset, declared: DeclaredBranch) -> dict[str, int]:
    """Return key → highest commit number among the asset's recent events, the relay's own and other tasks'.

    Cost: 1 request to Airflow's API server.
    """
    seen: dict[str, int] = {}
    for event in get_current_context()["inlet_events"][asset].ascending(ascending=False).limit(RECENT_EVENTS):
        facts = read_extra(event.extra)
        number = facts.get("number")
        about_this = (facts.get("repo"), facts.get("branch")) == (declared.repo, declared.branch)
        if event.partition_key and isinstance(number, int) and about_this:
            seen[event.partition_key] = max(seen.get(event.partition_key, 0), number)
    return seen
