"""Dagster's side of versioned-io: an IO manager, a resource, and sensors that run only what a commit affects.

Names are loaded when first used: the process of a step pays for the IO manager, not for the sensors.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from dagster_shared.libraries import DagsterLibraryRegistry

from versioned_io import __version__

if TYPE_CHECKING:
    from dagster_versioned.commit_sensor import build_commit_sensor
    from dagster_versioned.datum_assets import datum_asset
    from dagster_versioned.datum_sensor import build_datum_sensor
    from dagster_versioned.io_manager import VersionedIOManager, default_io_manager
    from dagster_versioned.maintenance_schedule import build_maintenance_schedule
    from dagster_versioned.partitioned_output import PartitionedOutput
    from dagster_versioned.repo_assets import build_repo_assets
    from dagster_versioned.resource import VersionedStoreResource

__all__ = [
    "PartitionedOutput",
    "VersionedIOManager",
    "VersionedStoreResource",
    "__version__",
    "build_commit_sensor",
    "build_datum_sensor",
    "build_maintenance_schedule",
    "build_repo_assets",
    "datum_asset",
    "default_io_manager",
]

_HOMES = {
    "PartitionedOutput": "partitioned_output",
    "VersionedIOManager": "io_manager",
    "VersionedStoreResource": "resource",
    "build_commit_sensor": "commit_sensor",
    "build_datum_sensor": "datum_sensor",
    "build_maintenance_schedule": "maintenance_schedule",
    "build_repo_assets": "repo_assets",
    "datum_asset": "datum_assets",
    "default_io_manager": "io_manager",
}

DagsterLibraryRegistry.register("dagster-versioned", __version__, is_dagster_package=False)


def __getattr__(name: str) -> object:
    """Load a name of the package from the module that it lives in."""
    if name not in _HOMES:
        msg = f"module 'dagster_versioned' has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(import_module(f"dagster_versioned.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
