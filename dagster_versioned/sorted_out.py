"""Which keys are partitions of the assets, may become partitions, or never can."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import dagster as dg

from dagster_versioned import compat

ADDED_BY_THE_DAEMON = 100
"""Up to this many new dynamic partitions are left to the daemon, which runs one query for each: 2 ms on SQLite."""

_ONLY = ""
"""The name of the dimension of a definition with one dimension."""

_UNUSABLE = ("...", *"\a\b\f\n\r\t\v\0")
"""Texts that Dagster refuses in the name of a dynamic partition."""


class Standing(StrEnum):
    """How a key stands to a partitions definition."""

    IS_PARTITION = "partition"
    ADDABLE = "addable"
    MAY_BECOME = "may become one"
    NEVER = "never"


@dataclass(slots=True)
class SortedOut:
    """Keys by their standing, each list in the given order.

    Attributes:
        known: Partitions, and keys that become partitions when values of dynamic dimensions are added.
        unknown: Keys that may become partitions without us, such as a month that has not ended.
        never: Keys that can't become partitions of this definition.
    """

    known: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    never: list[str] = field(default_factory=list)


def sort_out(wanted: Iterable[str], definition: dg.PartitionsDefinition[Any]) -> SortedOut:
    """Return which keys are partitions or can be added, which may become partitions, and which never can.

    Cost: 1 query of the instance for each dynamic dimension.
    """
    keys = list(wanted)
    dimensions = _dimensions_of(definition)
    has_dynamic = any(map(_is_dynamic, dimensions.values()))
    valid = frozenset() if has_dynamic else compat.valid_partition_keys(definition, keys)
    seen: dict[tuple[str, str], Standing] = {}
    result = SortedOut()
    for key in keys:
        if key in valid:
            result.known.append(key)
            continue
        standing = _standing_of(_values_by_dimension(key, definition), dimensions, seen)
        if standing is Standing.NEVER:
            result.never.append(key)
        elif standing is Standing.MAY_BECOME or not has_dynamic:
            result.unknown.append(key)
        else:
            result.known.append(key)
    return result


def add_requests_for(
    keys: Iterable[str], definition: dg.PartitionsDefinition[Any], instance: dg.DagsterInstance
) -> list[dg.AddDynamicPartitionsRequest]:
    """Add the dynamic partitions that *keys* lack, if they are many, or else return requests to add them.

    The daemon runs a query for each key of a request. More than `ADDED_BY_THE_DAEMON` are added here, in one
    statement.

    Cost: 1 query of the instance for each dynamic dimension; 3 ms for 1,000 added ones.
    """
    dimensions = {name: one for name, one in _dimensions_of(definition).items() if _is_dynamic(one)}
    missing: dict[str, dict[str, None]] = {name: {} for name in dimensions}
    existing = {name: set(dimension.get_partition_keys()) for name, dimension in dimensions.items()}
    for key in keys if dimensions else ():
        for name, value in (_values_by_dimension(key, definition) or {}).items():
            if name in dimensions and value not in existing[name]:
                missing[name][value] = None
    requests = []
    for name, values in missing.items():
        dimension = dimensions[name]
        if not values or not isinstance(dimension, dg.DynamicPartitionsDefinition) or dimension.name is None:
            continue
        if len(values) > ADDED_BY_THE_DAEMON:
            instance.add_dynamic_partitions(dimension.name, list(values))
        else:
            requests.append(dimension.build_add_request(list(values)))
    return requests


def delete_requests_for(
    keys: Sequence[str], definition: dg.PartitionsDefinition[Any]
) -> list[dg.DeleteDynamicPartitionsRequest]:
    """Return a request to remove those of *keys* that are dynamic partitions.

    Raises:
        DagsterInvalidDefinitionError: The partitions are not dynamic, or have several dimensions.

    Cost: 1 query of the instance.
    """
    if not isinstance(definition, dg.DynamicPartitionsDefinition) or definition.name is None:
        raise dg.DagsterInvalidDefinitionError(
            f"on_delete='remove' needs assets with dynamic partitions, not {describe(definition)}: use 'skip' or "
            "'request'"
        )
    existing = set(definition.get_partition_keys()) if keys else set()
    found = [key for key in keys if key in existing]
    return [definition.build_delete_request(found)] if found else []


def describe(definition: dg.PartitionsDefinition[Any]) -> str:
    """Return the definition for a message, cut after 200 characters."""
    text = f"{type(definition).__name__} ({definition})"
    return text if len(text) <= 200 else f"{text[:199]}…"


def end_of(definition: dg.PartitionsDefinition[Any]) -> str | None:
    """Return the fixed date at which the time windows end; None if there is none."""
    ends = [
        one.end
        for one in _dimensions_of(definition).values()
        if isinstance(one, dg.TimeWindowPartitionsDefinition) and one.end is not None
    ]
    return f"{min(ends):%Y-%m-%d}" if ends else None


def _dimensions_of(definition: dg.PartitionsDefinition[Any]) -> dict[str, dg.PartitionsDefinition[Any]]:
    if isinstance(definition, dg.MultiPartitionsDefinition):
        return {dimension.name: dimension.partitions_def for dimension in definition.partitions_defs}
    return {_ONLY: definition}


def _values_by_dimension(key: str, definition: dg.PartitionsDefinition[Any]) -> Mapping[str, str] | None:
    """Return the value of each dimension; ``None`` if *key* is not a key of a multi-dimensional definition."""
    if not isinstance(definition, dg.MultiPartitionsDefinition):
        return {_ONLY: key}
    names = sorted(dimension.name for dimension in definition.partitions_defs)
    values = key.split("|")
    return dict(zip(names, values, strict=True)) if len(values) == len(names) else None


def _is_dynamic(definition: dg.PartitionsDefinition[Any]) -> bool:
    return isinstance(definition, dg.DynamicPartitionsDefinition) and definition.name is not None


def _standing_of(
    values: Mapping[str, str] | None,
    dimensions: Mapping[str, dg.PartitionsDefinition[Any]],
    seen: dict[tuple[str, str], Standing],
) -> Standing:
    """Return the standing of a key, which is the worst of its dimensions'; *seen* remembers them."""
    if values is None:
        return Standing.NEVER
    found: list[Standing] = []
    for name, value in values.items():
        if (name, value) not in seen:
            seen[name, value] = _standing_in(dimensions[name], value)
        found.append(seen[name, value])
    return max(found, key=list(Standing).index)


def _standing_in(definition: dg.PartitionsDefinition[Any], value: str) -> Standing:
    if _is_dynamic(definition):
        return Standing.NEVER if any(text in value for text in _UNUSABLE) else Standing.ADDABLE
    if definition.has_partition_key(value):
        return Standing.IS_PARTITION
    if isinstance(definition, dg.StaticPartitionsDefinition):
        return Standing.NEVER
    if isinstance(definition, dg.TimeWindowPartitionsDefinition):
        return Standing.MAY_BECOME if _may_begin(definition, value) else Standing.NEVER
    return Standing.MAY_BECOME


def _may_begin(definition: dg.TimeWindowPartitionsDefinition, key: str) -> bool:
    """Return whether *key* is the start of a window that is not before the first one."""
    try:
        start = definition.start_time_for_partition_key(key)
        return start >= definition.start and definition.get_partition_key_for_timestamp(start.timestamp()) == key
    except (ValueError, OverflowError):
        return False  # not a date, or one that has no time stamp
