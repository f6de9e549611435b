"""The settings that the parts of a commit sensor share."""

from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from dagster_versioned import tags
from versioned_io.model.identifiers import CommitId, LineageId
from versioned_io.model.refs import BranchRef

MAX_KEYS_NAMED = 10
"""How many partition keys a message names before it counts the rest."""


@dataclass(frozen=True, slots=True)
class CommitWatch:
    """The settings of one commit sensor.

    Attributes:
        partitions, key: The template of the paths, and of the keys.
        from_head: Whether commits before the sensor's first evaluation are ignored.
        request_deleted: Whether a partition whose last file was deleted is requested too.
        max_run_requests: With more partitions than this, a backfill is requested.
        max_wait_s: The seconds that the oldest commit may wait for unfinished runs.
    """

    ref: BranchRef
    partitions: str | None = None
    key: str | None = None
    from_head: bool = False
    request_deleted: bool = False
    max_run_requests: int = 10
    max_wait_s: float | None = None
    run_config: Any = None
    run_tags: dict[str, str] = field(default_factory=dict)

    def tags_for(self, commit: CommitId, lineage_id: LineageId) -> dict[str, str]:
        """Return the tags of a run that *commit* caused."""
        return {**self.run_tags, tags.LINEAGE_ID: lineage_id, tags.COMMIT: commit, tags.REF: str(self.ref)}

    def run_key_for(self, commit: CommitId, partition_key: str | None = None) -> str:
        """Return the run key: Dagster launches at most one run under it, whatever crashes."""
        return ":".join(part for part in (str(self.ref), commit, partition_key) if part is not None)


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
