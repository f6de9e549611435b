"""The settings that the parts of a commit sensor share."""

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import dagster as dg

from dagster_versioned import tags
from dagster_versioned.partition_mapping import PartitionMapping
from versioned_io.model.identifiers import CommitId, LineageId
from versioned_io.model.refs import BranchRef

OnDelete: TypeAlias = Literal["skip", "request", "remove"]
OnImpossibleKey: TypeAlias = Literal["fail", "skip"]

MAX_PARTITIONS = 10_000
"""How many partitions one evaluation requests: some 3 s, where it may take 60 s. The rest follows in the next ones."""

MAX_REMOVED = 1_000
"""How many dynamic partitions one evaluation removes: the daemon runs two queries for each, some 10 ms."""

MAX_RUNS_OF_JOB = 100
"""How many runs of a job one evaluation requests: the daemon launches four a second."""

MAX_KEYS_NAMED = 10
"""How many partition keys a message names before it counts the rest."""


@dataclass(frozen=True, slots=True)
class CommitWatch:
    """The settings of one commit sensor.

    Attributes:
        partitions, key: The template of the paths, and of the keys.
        from_head: Whether commits before the sensor's first evaluation are ignored.
        mapping: How keys become partitions.
        on_delete: The treatment of a partition whose last file was deleted.
        on_impossible_key: The treatment of a key that can never be a partition.
        max_run_requests: With more partitions than this, a backfill is requested.
        max_partitions: How many partitions one evaluation requests.
        max_wait_s: The seconds that the oldest commit may wait for unfinished runs.
        epoch: Part of the run keys of a replay, so that they differ from those of before; else empty.
        sensor_name: The name of the sensor.
    """

    ref: BranchRef
    partitions: str | None = None
    key: str | None = None
    from_head: bool = False
    mapping: PartitionMapping = field(default_factory=PartitionMapping)
    on_delete: OnDelete = "skip"
    on_impossible_key: OnImpossibleKey = "fail"
    max_run_requests: int = 10
    max_partitions: int = MAX_PARTITIONS
    max_wait_s: float | None = None
    run_config: Any = None
    run_tags: dict[str, str] = field(default_factory=dict)
    epoch: str = ""
    sensor_name: str = ""

    def page_for(self, target: "SensorTarget") -> int:
        """Return how many partitions of *target* one evaluation requests."""
        return self.max_partitions if target.takes_backfills else min(self.max_partitions, MAX_RUNS_OF_JOB)

    def tags_for(self, commit: CommitId, lineage_id: LineageId) -> dict[str, str]:
        """Return the tags of a run that *commit* caused."""
        return {**self.tags_of_many(commit), tags.LINEAGE_ID: lineage_id}

    def tags_of_many(self, newest: CommitId) -> dict[str, str]:
        """Return the tags of a backfill that several commits caused."""
        return {**self.run_tags, tags.COMMIT: newest, tags.REF: str(self.ref)}

    def run_key_for(self, commit: CommitId, partition_key: str | None = None) -> str:
        """Return the run key: Dagster launches at most one run under it, whatever crashes."""
        name = ":".join(part for part in (str(self.ref), commit, partition_key) if part is not None)
        return f"{name}#{self.epoch}" if self.epoch else name


@dataclass(frozen=True, slots=True)
class SensorTarget:
    """The assets, or the job, that a commit sensor runs.

    Attributes:
        partitions_defs: The partitions of each asset, or of the job under its name.
        takes_backfills: Whether it is a selection of assets; Dagster runs backfills for nothing else.
    """

    partitions_defs: dict[dg.AssetKey, dg.PartitionsDefinition[Any] | None]
    takes_backfills: bool

    @property
    def definition(self) -> dg.PartitionsDefinition[Any] | None:
        """The partitions definition that its assets share; ``None`` when none of them is partitioned.

        Raises:
            DagsterInvalidDefinitionError: Some are partitioned and others are not, or differently.
        """
        distinct = list(dict.fromkeys(self.partitions_defs.values()))
        if len(distinct) == 1:
            return distinct[0]
        kinds = {key.to_user_string(): definition for key, definition in self.partitions_defs.items()}
        shown = ", ".join(f"{key} ({definition or 'not partitioned'})" for key, definition in kinds.items())
        raise dg.DagsterInvalidDefinitionError(
            f"a commit sensor needs assets with the same partitions, or none of them partitioned, not {shown}: "
            "make one sensor for each"
        )

    def __str__(self) -> str:
        return ", ".join(key.to_user_string() for key in self.partitions_defs)


def name_keys(keys: list[str]) -> str:
    """Return the keys for a message: the first few, and how many more."""
    more = len(keys) - MAX_KEYS_NAMED
    return ", ".join(map(repr, keys[:MAX_KEYS_NAMED])) + (f" and {more} more" if more > 0 else "")
