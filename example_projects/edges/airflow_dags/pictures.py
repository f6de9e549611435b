"""The pipelines as a DAG: each commit of photographs evaluates the new ones, in batches, and then the montage."""

import sys
from pathlib import Path

from airflow.sdk import DAG

from airflow_versioned import VersionedDatumOperator, datum_task_group, versioned_asset

sys.path.insert(0, str(Path(__file__).parents[1]))
from edges import edges, montage

PHOTOGRAPHS = versioned_asset("photographs@main")

with DAG("pictures", schedule=[PHOTOGRAPHS], catchup=False):
    drawn = datum_task_group(edges, batch_size=4, wakes_on=[PHOTOGRAPHS])
    shown = VersionedDatumOperator(task_id="montage", pipeline=montage, outlets=[versioned_asset("montage@main")])
    drawn >> shown
