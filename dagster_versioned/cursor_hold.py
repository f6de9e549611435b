"""The hold by which a sensor's cursor, which Dagster keeps, keeps its commit from expiring in the store."""

from datetime import timedelta

import dagster as dg

import versioned_io as vio
from dagster_versioned import compat
from dagster_versioned.sensor_cursor import SensorCursor, parse_sensor_cursor
from versioned_io.errors import VersionedError

HOLD = timedelta(days=30)
"""How long a sensor that is off keeps its commit. Afterwards it may expire, if a retention rule says so."""


def hold_commit(
    context: dg.SensorEvaluationContext, sensor_name: str, store: "vio.Store", result: dg.SensorResult
) -> None:
    """Hold the commit of the cursor after an evaluation, and that of the cursor before, if the evaluation moved it.

    Dagster stores the new cursor afterwards. If it dies before, the next evaluation begins at the old one, whose commit
    is held as well until the cursor moves again.

    A store that can't be written to does not stop the sensor: the log names the reason, and the commit may expire.

    Cost: nothing if the cursor stays; otherwise 1 query of the instance and 2 SQL transactions.
    """
    before = parse_sensor_cursor(context.cursor) if context.cursor else SensorCursor()
    after = parse_sensor_cursor(result.cursor) if result.cursor else before
    if after.commit is None or after.commit == before.commit:
        return
    name = f"dagster:{compat.full_name_of(context, sensor_name)}"
    for holder, commit in ((f"{name} before", before.commit), (name, after.commit)):
        try:
            if commit is not None:
                store.hold_cursor(holder, commit, hold_for=HOLD)
        except VersionedError as error:
            context.log.warning("commit %s may expire before the next evaluation: %s", commit, error)
