"""A schedule that maintains a store: one op, one run at a time."""

import re
from datetime import timedelta
from typing import Any

import dagster as dg

from dagster_versioned.lazy_store import LazyStore
from dagster_versioned.store_fields import StoreLike, settings_of
from versioned_io.errors import MaintenanceRunningError

POOL = "versioned_maintenance"
"""The pool of the op, and the value of its run's tag ``versioned/maintenance``: an instance may limit either."""


def build_maintenance_schedule(
    store: StoreLike,
    cron: str = "17 * * * *",
    *,
    catalog: str | None = None,
    budget: timedelta = timedelta(minutes=5),
    name: str = "versioned_maintenance",
    execution_timezone: str | None = None,
    default_status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.STOPPED,
) -> dg.ScheduleDefinition:
    """Build a schedule whose job maintains *store* at the times of *cron*.

    The op is in the pool ``versioned_maintenance``, and the runs carry the tag ``versioned/maintenance``. So an
    instance can limit them to one. Without a limit, a second run finds that the store is already being maintained, and
    succeeds: the store admits one process at a time. A run that finds damage does the other steps and then fails.

    >>> from dagster_versioned import build_maintenance_schedule
    >>> build_maintenance_schedule("./data", "0 3 * * *").cron_schedule
    '0 3 * * *'

    Args:
        store: Its location, its `StoreSettings`, or a resource that is configured with plain values. A store that is
            missing is not made.
        cron: The times of the runs; hourly by default.
        catalog: The SQLAlchemy URL of the catalog, if *store* is a location; by default SQLite in its directory.
        budget: No step begins after this time.
        name: Of the schedule; the job's is ``<name>_job``. Two schedules need two names.
    """
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        msg = f"a schedule can't be called {name!r}: use letters, digits and _"
        raise dg.DagsterInvalidDefinitionError(msg)

    @dg.op(name=f"{name}_op", pool=POOL, out=dg.Out(dg.Nothing))
    def maintain(context: dg.OpExecutionContext) -> None:
        _maintain(context, store, catalog, budget)

    @dg.job(name=f"{name}_job", tags={"versioned/maintenance": POOL})
    def maintenance_job() -> None:
        maintain()

    return dg.ScheduleDefinition(
        name=name,
        job=maintenance_job,
        cron_schedule=cron,
        execution_timezone=execution_timezone,
        default_status=default_status,
        description="Keeps a versioned store sound and small: forgets, collects, merges, verifies.",
    )


def _maintain(context: dg.OpExecutionContext, store: StoreLike, catalog: str | None, budget: timedelta) -> None:
    with LazyStore(settings_of(store, catalog), create=False) as lazy:
        try:
            report = lazy.get().maintain(budget)
        except MaintenanceRunningError as error:
            context.log.info(str(error))
            return
    for step in report.steps:
        context.log.info("%s, since %s: %s in %.1f s", step.name, step.why, dict(step.did), step.seconds)
    facts: dict[str, Any] = {
        "steps": len(report.steps),
        "seconds": report.seconds,
        "bytes_written": report.bytes_written,
        "left": ", ".join(report.left),
    }
    if report.problems:
        raise dg.Failure(f"the store has problems: {'; '.join(report.problems)}", metadata=facts)
    context.add_output_metadata(facts)
