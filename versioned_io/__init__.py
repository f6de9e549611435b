"""Git-like versioned storage for data: repos of files over any object store, with lineage that records itself.

The front door is `create_store`, `open_store` and the `Store` that they return. Names are loaded when first used, so
that ``import versioned_io`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from versioned_io.catalog.due_keys import DueKey
    from versioned_io.catalog.retention import RetentionRule
    from versioned_io.catalog.values import BranchInfo, Commit, CommitStats, InputFile, RepoInfo, RunInfo
    from versioned_io.changes import Changes
    from versioned_io.errors import VersionedError
    from versioned_io.lineage import LineageGraph
    from versioned_io.opening import (
        create_store,
        open_or_create_store,
        open_store,
        rebuild_store,
        upgrade_store,
    )
    from versioned_io.partitions import PartitionTemplate
    from versioned_io.runs import Run, current_run
    from versioned_io.snapshots.snapshot import Snapshot
    from versioned_io.snapshots.values import FileInfo, FileKind, TransferProgress
    from versioned_io.store import Store
    from versioned_io.subscriptions import Subscription
    from versioned_io.transactions.transaction import StagedBranch, Transaction

__version__ = "0.1.0"

_HOMES = {
    "BranchInfo": "catalog.values",
    "Changes": "changes",
    "Commit": "catalog.values",
    "CommitStats": "catalog.values",
    "DueKey": "catalog.due_keys",
    "FileInfo": "snapshots.values",
    "FileKind": "snapshots.values",
    "InputFile": "catalog.values",
    "LineageGraph": "lineage",
    "PartitionTemplate": "partitions",
    "RepoInfo": "catalog.values",
    "RetentionRule": "catalog.retention",
    "Run": "runs",
    "RunInfo": "catalog.values",
    "Snapshot": "snapshots.snapshot",
    "StagedBranch": "transactions.transaction",
    "Store": "store",
    "Subscription": "subscriptions",
    "Transaction": "transactions.transaction",
    "TransferProgress": "snapshots.values",
    "VersionedError": "errors",
    "create_store": "opening",
    "current_run": "runs",
    "open_or_create_store": "opening",
    "open_store": "opening",
    "rebuild_store": "opening",
    "upgrade_store": "opening",
}

__all__ = [
    "BranchInfo",
    "Changes",
    "Commit",
    "CommitStats",
    "DueKey",
    "FileInfo",
    "FileKind",
    "InputFile",
    "LineageGraph",
    "PartitionTemplate",
    "RepoInfo",
    "RetentionRule",
    "Run",
    "RunInfo",
    "Snapshot",
    "StagedBranch",
    "Store",
    "Subscription",
    "Transaction",
    "TransferProgress",
    "VersionedError",
    "create_store",
    "current_run",
    "open_or_create_store",
    "open_store",
    "rebuild_store",
    "upgrade_store",
]


def __getattr__(name: str) -> object:
    """Load a name of the front door from the module that it lives in."""
    if name not in _HOMES:
        msg = f"module 'versioned_io' has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(import_module(f"versioned_io.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
