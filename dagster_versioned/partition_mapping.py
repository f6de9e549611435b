"""Which partitions of the assets a file's key belongs to: one of the same name, a time window, or the user's choice."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import dagster as dg

import versioned_io as vio
from dagster_versioned.sensor_cursor import CausedBy
from dagster_versioned.sorted_out import describe
from versioned_io.errors import InvalidInputError

Mapper: TypeAlias = Callable[[str], str | Iterable[str] | None]
"""Returns the partition or partitions that the files of a key belong to; None if to none."""

_TIME_OF_DAY = re.compile("%[HIMSXcfp]")


@dataclass(frozen=True, slots=True)
class PartitionMapping:
    """How the keys of files become partition keys of the assets.

    Attributes:
        date_format: The keys are dates in this format; each belongs to the time window that has it. Another key is
            taken as it is.
        mapper: Decides by itself. Without both, a key is the partition of that name.
    """

    date_format: str | None = None
    mapper: Mapper | None = None

    @property
    def is_identity(self) -> bool:
        """Whether each key is its own partition."""
        return self.date_format is None and self.mapper is None

    def partitions_of(self, key: str, definition: dg.PartitionsDefinition[Any]) -> list[str]:
        """Return the partitions that the files of *key* belong to.

        Raises:
            InvalidInputError: `mapper` returned something else than keys.
            DagsterInvalidDefinitionError: There is a `date_format`, and the assets have no time windows.
        """
        if self.mapper is not None:
            found = self.mapper(key)
            keys = [found] if isinstance(found, str) else list(found or ())
            if not all(isinstance(one, str) for one in keys):
                msg = f"the mapper returned {found!r} for {key!r}: return a partition key, several, or None"
                raise InvalidInputError(msg)
            return keys
        return [key] if self.date_format is None else [_window_of(key, self.date_format, definition)]


@dataclass(frozen=True, slots=True)
class Touched:
    """The partitions that commits touched, each with the newest of these commits.

    Attributes:
        deleted: Partitions whose last file is gone.
    """

    changed: Mapping[str, CausedBy]
    deleted: Mapping[str, CausedBy]


def touched_partitions(
    mapping: PartitionMapping,
    changes: "vio.Changes",
    definition: dg.PartitionsDefinition[Any],
    keys_at_head: Callable[[], Iterable[str]],
) -> Touched:
    """Return the partitions that *changes* touched.

    A partition of several keys that lost one of them is changed, and it is deleted with the last of them.

    Args:
        keys_at_head: Returns all keys of the branch; called if keys of a mapping were deleted.
    """
    if mapping.is_identity:
        return Touched(causes_of(changes.keys), causes_of(changes.deleted))
    changed = _mapped(mapping, changes.keys, definition)
    lost = _mapped(mapping, changes.deleted, definition)
    if not lost:
        return Touched(causes_of(changed), {})
    alive = {one for key in keys_at_head() for one in mapping.partitions_of(key, definition)}
    for one in lost.keys() & alive:
        changed[one] = _newest(lost[one], changed.get(one))
    return Touched(causes_of(changed), causes_of({one: lost[one] for one in lost.keys() - alive}))


def causes_of(keys: Mapping[str, "vio.Commit"]) -> dict[str, CausedBy]:
    """Return the commit of each key as a cause."""
    return {key: CausedBy(commit.id, commit.lineage_id, commit.number) for key, commit in keys.items()}


def _mapped(
    mapping: PartitionMapping, keys: Mapping[str, "vio.Commit"], definition: dg.PartitionsDefinition[Any]
) -> "dict[str, vio.Commit]":
    newest: dict[str, vio.Commit] = {}
    for key, commit in keys.items():
        for one in mapping.partitions_of(key, definition):
            newest[one] = _newest(commit, newest.get(one))
    return newest


def _newest(commit: "vio.Commit", other: "vio.Commit | None") -> "vio.Commit":
    """Return the later of two commits of a branch: by number, since IDs are chosen before a writer's turn comes."""
    return commit if other is None or other.number < commit.number else other


def _window_of(key: str, date_format: str, definition: dg.PartitionsDefinition[Any]) -> str:
    """Return the key of the time window that has the date *key*; *key* itself if it is not such a date."""
    if not isinstance(definition, dg.TimeWindowPartitionsDefinition):
        raise dg.DagsterInvalidDefinitionError(
            f"date_format needs assets that are partitioned by time, not by {describe(definition)}: use mapper="
        )
    try:
        date = datetime.strptime(key, date_format)  # noqa: DTZ007 (without a zone it has that of the partitions)
    except ValueError:
        return key
    if date.tzinfo is None:
        date = date.replace(tzinfo=ZoneInfo(definition.timezone))
    window = definition.get_partition_key_for_timestamp(date.timestamp())
    start, end = definition.start_time_for_partition_key(window), definition.end_time_for_partition_key(window)
    if end.timestamp() <= date.timestamp():
        return key  # the window is excluded, and Dagster names the one before
    if _TIME_OF_DAY.search(date_format) is None and start.date() < date.date() == end.date():
        # Windows begin at 2 o'clock, say: a whole day belongs to the one that begins on it, as its key says.
        return definition.get_partition_key_for_timestamp(end.timestamp())
    return window
