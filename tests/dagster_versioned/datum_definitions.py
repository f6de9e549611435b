"""Definitions that a process of its own executes, and may be killed in: the asset of a slow pipeline.

Usage: python -m tests.dagster_versioned.datum_definitions [PARENT_RUN]
"""

import os
import sys
import time
from pathlib import Path

import dagster as dg

import versioned_io as vio
from dagster_versioned import VersionedStoreResource, datum_asset


@vio.pipeline("measure", inputs=vio.glob("drawings@main", "/(*).txt"), output="measures@main", code_version="1")
def measure(datum, out):
    """Measure a drawing so slowly that each result is stored alone."""
    name = datum["drawings"].captures[0]
    with Path(os.environ["VERSIONED_TEST_JOURNAL"]).open("a") as file:
        file.write(f"{name}\n")
    time.sleep(float(os.environ["VERSIONED_TEST_SLOWNESS"]))
    out.write(name, str(len(datum["drawings"].read())).encode())


def build_job():
    """Return the job of the asset; every step is a process of its own."""
    definitions = dg.Definitions(
        assets=[datum_asset(measure, batch_size=int(os.environ["VERSIONED_TEST_BATCH"]) or None)],
        jobs=[dg.define_asset_job("measures", "*")],
        resources={"versioned_store": VersionedStoreResource(store=os.environ["VERSIONED_TEST_STORE"])},
    )
    return getattr(definitions, "resolve_job_def", definitions.get_job_def)("measures")


if __name__ == "__main__":
    parent = dg.ReexecutionOptions(sys.argv[1]) if len(sys.argv) > 1 else None
    with dg.DagsterInstance.get() as instance:
        job = dg.reconstructable(build_job)
        result = dg.execute_job(job, instance=instance, reexecution_options=parent)
        sys.exit(not result.success)
