"""The Airflow provider of versioned-io: commits wake DAGs, affected partitions run, lineage IDs travel along.

Importing this package imports no Airflow: Airflow reads `airflow_versioned.provider_info` while its own
configuration is still being built. The names below are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_versioned.assets import VersionedAsset, versioned_asset
    from airflow_versioned.datums import VersionedDatumOperator, datum_task_group
    from airflow_versioned.hooks import VersionedHook
    from airflow_versioned.maintenance import build_maintenance_dag
    from airflow_versioned.merging import VersionedMergeOperator
    from airflow_versioned.operators import VersionedCommitOperator
    from airflow_versioned.pipeline_dags import build_pipeline_dag
    from airflow_versioned.pushing import push_events
    from airflow_versioned.run_branch import RunBranch, branch_per_run
    from airflow_versioned.sensors import VersionedCommitSensor
    from airflow_versioned.triggers import CommitTrigger
    from airflow_versioned.work import Work

__all__ = [
    "CommitTrigger",
    "RunBranch",
    "VersionedAsset",
    "VersionedCommitOperator",
    "VersionedCommitSensor",
    "VersionedDatumOperator",
    "VersionedHook",
    "VersionedMergeOperator",
    "Work",
    "branch_per_run",
    "build_maintenance_dag",
    "build_pipeline_dag",
    "datum_task_group",
    "push_events",
    "versioned_asset",
]

_HOME = {
    "CommitTrigger": "airflow_versioned.triggers",
    "RunBranch": "airflow_versioned.run_branch",
    "VersionedAsset": "airflow_versioned.assets",
    "VersionedCommitOperator": "airflow_versioned.operators",
    "VersionedCommitSensor": "airflow_versioned.sensors",
    "VersionedDatumOperator": "airflow_versioned.datums",
    "VersionedHook": "airflow_versioned.hooks",
    "VersionedMergeOperator": "airflow_versioned.merging",
    "Work": "airflow_versioned.work",
    "branch_per_run": "airflow_versioned.run_branch",
    "build_maintenance_dag": "airflow_versioned.maintenance",
    "build_pipeline_dag": "airflow_versioned.pipeline_dags",
    "datum_task_group": "airflow_versioned.datums",
    "push_events": "airflow_versioned.pushing",
    "versioned_asset": "airflow_versioned.assets",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
