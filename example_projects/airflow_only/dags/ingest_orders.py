"""Commits a directory of order files, whole or not at all; the same bytes again make no commit."""

from airflow.sdk import DAG, Param

from airflow_versioned import VersionedCommitOperator

with DAG("ingest_orders", schedule=None, params={"directory": Param("/data/incoming", type="string")}):
    VersionedCommitOperator(
        task_id="commit",
        ref="orders@main",
        source="{{ params.directory }}",
        message="orders from {{ params.directory }}",
    )
