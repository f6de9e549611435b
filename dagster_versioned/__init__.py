"""Dagster's side of versioned-io: an IO manager, a resource, and sensors that run only what a commit affects."""

from dagster_shared.libraries import DagsterLibraryRegistry

from dagster_versioned.commit_sensor import build_commit_sensor
from dagster_versioned.default_io_manager import default_io_manager
from dagster_versioned.io_manager import VersionedIOManager
from dagster_versioned.maintenance_schedule import build_maintenance_schedule
from dagster_versioned.partitioned_output import PartitionedOutput
from dagster_versioned.resource import VersionedStoreResource
from versioned_io import __version__

__all__ = [
    "PartitionedOutput",
    "VersionedIOManager",
    "VersionedStoreResource",
    "__version__",
    "build_commit_sensor",
    "build_maintenance_schedule",
    "default_io_manager",
]

DagsterLibraryRegistry.register("dagster-versioned", __version__, is_dagster_package=False)
