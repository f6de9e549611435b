"""Git-like versioned storage for data: repos of files over any object store, with lineage that records itself.

The front door is `create_store`, `open_store` and the `Store` that they return. Names are loaded when first used, so
that ``import versioned_io`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from versioned_io.errors import VersionedError
    from versioned_io.interfaces.settings import StoreSettings
    from versioned_io.model.announcements import AnnouncedCommit, Announcement, BranchState, MissedKey
    from versioned_io.model.commits import (
        BranchInfo,
        Commit,
        CommitStats,
        InputFile,
        RepoInfo,
        RunInfo,
    )
    from versioned_io.model.due_keys import DueKey
    from versioned_io.model.due_states import DueStatus, KeyState, KeyStatus, Repetition
    from versioned_io.model.partitions import PartitionTemplate
    from versioned_io.model.retention import RetentionRule
    from versioned_io.model.trigger_rules import (
        Firing,
        MetricChange,
        TriggerInfo,
        TriggerRound,
        TriggerRule,
        WaitingTrigger,
        metric,
    )
    from versioned_io.platform.ambient import offer_run, offer_settings, withdraw_run
    from versioned_io.processing.announcing import Relay
    from versioned_io.processing.changes import Changes
    from versioned_io.processing.inputs.specs import (
        CronInput,
        CrossInput,
        GlobInput,
        GroupInput,
        JoinInput,
        TableInput,
        UnionInput,
        cron,
        cross,
        glob,
        group,
        join,
        table,
        union,
    )
    from versioned_io.processing.pipelines.commanding import command
    from versioned_io.processing.pipelines.declaring import PipelineFunction, pipeline
    from versioned_io.processing.pipelines.own_specs import spec_schema
    from versioned_io.processing.pipelines.pipeline import Pipeline
    from versioned_io.processing.pipelines.pipeline_history import PipelineInfo, PipelineVersion
    from versioned_io.processing.pipelines.pipeline_plan import PipelinePlan
    from versioned_io.processing.pipelines.spec_files import read_pipeline
    from versioned_io.processing.running.datum_access import Datum, DatumOutput
    from versioned_io.processing.running.evaluated_batch import EvaluatedBatch, PendingBatch
    from versioned_io.processing.running.progress_of_run import PipelineRun, RunProgress
    from versioned_io.processing.subscriptions import Subscription
    from versioned_io.processing.watching import BranchWatch
    from versioned_io.store import Store
    from versioned_io.store.backups import list_backups, prune_backups, verify_backups
    from versioned_io.store.opening import create_store, open_or_create_store, open_store
    from versioned_io.store.recovering import (
        adopt_store,
        rebuild_store,
        recover_store,
        restore_store,
        upgrade_store,
    )
    from versioned_io.versioning.lineage.commit_graph import CommitGraph
    from versioned_io.versioning.lineage.tracing import LineageGraph
    from versioned_io.versioning.runs.run import Run, build_run, current_run
    from versioned_io.versioning.snapshots.file_info import FileInfo, FileKind, TransferProgress
    from versioned_io.versioning.snapshots.snapshot import Snapshot
    from versioned_io.versioning.transactions.staged_branch import StagedBranch
    from versioned_io.versioning.transactions.transaction import Transaction

__version__ = "0.1.0"

_HOMES = {
    "AnnouncedCommit": "model.announcements",
    "Announcement": "model.announcements",
    "BranchInfo": "model.commits",
    "BranchState": "model.announcements",
    "BranchWatch": "processing.watching",
    "Changes": "processing.changes",
    "Commit": "model.commits",
    "CommitGraph": "versioning.lineage.commit_graph",
    "CommitStats": "model.commits",
    "CronInput": "processing.inputs.specs",
    "CrossInput": "processing.inputs.specs",
    "Datum": "processing.running.datum_access",
    "DatumOutput": "processing.running.datum_access",
    "DueKey": "model.due_keys",
    "DueStatus": "model.due_states",
    "EvaluatedBatch": "processing.running.evaluated_batch",
    "FileInfo": "versioning.snapshots.file_info",
    "FileKind": "versioning.snapshots.file_info",
    "Firing": "model.trigger_rules",
    "GlobInput": "processing.inputs.specs",
    "GroupInput": "processing.inputs.specs",
    "InputFile": "model.commits",
    "JoinInput": "processing.inputs.specs",
    "KeyState": "model.due_states",
    "KeyStatus": "model.due_states",
    "LineageGraph": "versioning.lineage.tracing",
    "MetricChange": "model.trigger_rules",
    "MissedKey": "model.announcements",
    "PartitionTemplate": "model.partitions",
    "PendingBatch": "processing.running.evaluated_batch",
    "Pipeline": "processing.pipelines.pipeline",
    "PipelineFunction": "processing.pipelines.declaring",
    "PipelineInfo": "processing.pipelines.pipeline_history",
    "PipelinePlan": "processing.pipelines.pipeline_plan",
    "PipelineRun": "processing.running.progress_of_run",
    "PipelineVersion": "processing.pipelines.pipeline_history",
    "Relay": "processing.announcing",
    "Repetition": "model.due_states",
    "RepoInfo": "model.commits",
    "RetentionRule": "model.retention",
    "Run": "versioning.runs.run",
    "RunInfo": "model.commits",
    "RunProgress": "processing.running.progress_of_run",
    "Snapshot": "versioning.snapshots.snapshot",
    "StagedBranch": "versioning.transactions.staged_branch",
    "Store": "store",
    "StoreSettings": "interfaces.settings",
    "Subscription": "processing.subscriptions",
    "TableInput": "processing.inputs.specs",
    "Transaction": "versioning.transactions.transaction",
    "TransferProgress": "versioning.snapshots.file_info",
    "TriggerInfo": "model.trigger_rules",
    "TriggerRound": "model.trigger_rules",
    "TriggerRule": "model.trigger_rules",
    "UnionInput": "processing.inputs.specs",
    "VersionedError": "errors",
    "WaitingTrigger": "model.trigger_rules",
    "adopt_store": "store.recovering",
    "build_run": "versioning.runs.run",
    "command": "processing.pipelines.commanding",
    "create_store": "store.opening",
    "cron": "processing.inputs.specs",
    "cross": "processing.inputs.specs",
    "current_run": "versioning.runs.run",
    "glob": "processing.inputs.specs",
    "group": "processing.inputs.specs",
    "join": "processing.inputs.specs",
    "list_backups": "store.backups",
    "metric": "model.trigger_rules",
    "offer_run": "platform.ambient",
    "offer_settings": "platform.ambient",
    "open_or_create_store": "store.opening",
    "open_store": "store.opening",
    "pipeline": "processing.pipelines.declaring",
    "prune_backups": "store.backups",
    "read_pipeline": "processing.pipelines.spec_files",
    "rebuild_store": "store.recovering",
    "recover_store": "store.recovering",
    "restore_store": "store.recovering",
    "spec_schema": "processing.pipelines.own_specs",
    "table": "processing.inputs.specs",
    "union": "processing.inputs.specs",
    "upgrade_store": "store.recovering",
    "verify_backups": "store.backups",
    "withdraw_run": "platform.ambient",
}

__all__ = [
    "AnnouncedCommit",
    "Announcement",
    "BranchInfo",
    "BranchState",
    "BranchWatch",
    "Changes",
    "Commit",
    "CommitGraph",
    "CommitStats",
    "CronInput",
    "CrossInput",
    "Datum",
    "DatumOutput",
    "DueKey",
    "DueStatus",
    "EvaluatedBatch",
    "FileInfo",
    "FileKind",
    "Firing",
    "GlobInput",
    "GroupInput",
    "InputFile",
    "JoinInput",
    "KeyState",
    "KeyStatus",
    "LineageGraph",
    "MetricChange",
    "MissedKey",
    "PartitionTemplate",
    "PendingBatch",
    "Pipeline",
    "PipelineFunction",
    "PipelineInfo",
    "PipelinePlan",
    "PipelineRun",
    "PipelineVersion",
    "Relay",
    "Repetition",
    "RepoInfo",
    "RetentionRule",
    "Run",
    "RunInfo",
    "RunProgress",
    "Snapshot",
    "StagedBranch",
    "Store",
    "StoreSettings",
    "Subscription",
    "TableInput",
    "Transaction",
    "TransferProgress",
    "TriggerInfo",
    "TriggerRound",
    "TriggerRule",
    "UnionInput",
    "VersionedError",
    "WaitingTrigger",
    "adopt_store",
    "build_run",
    "command",
    "create_store",
    "cron",
    "cross",
    "current_run",
    "glob",
    "group",
    "join",
    "list_backups",
    "metric",
    "offer_run",
    "offer_settings",
    "open_or_create_store",
    "open_store",
    "pipeline",
    "prune_backups",
    "read_pipeline",
    "rebuild_store",
    "recover_store",
    "restore_store",
    "spec_schema",
    "table",
    "union",
    "upgrade_store",
    "verify_backups",
    "withdraw_run",
]


def __getattr__(name: str) -> object:
    """Load a name of the front door from the module that it lives in."""
    if name not in _HOMES:
        msg = f"module 'versioned_io' has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(import_module(f"versioned_io.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
