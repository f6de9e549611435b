"""The partition keys of a run in the order of their definition."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from dagster_versioned import compat


def in_definition_order(
    partition_keys: Sequence[str], definition: dg.PartitionsDefinition[Any], instance: dg.DagsterInstance | None
) -> list[str]:
    """Return *partition_keys* in the order of *definition*; keys that it doesn't have come last, sorted.

    Dagster returns static and dynamic keys in the order of a hash set, which differs between processes.

    Args:
        instance: The instance in which dynamic partitions are looked up. Without one, they keep the given order.

    Cost: 1 query of the instance for a dynamic definition; nothing for at most one key.
    """
    if len(partition_keys) <= 1 or isinstance(definition, dg.TimeWindowPartitionsDefinition):
        return list(partition_keys)
    with compat.partitions_loaded_from(instance):
        if isinstance(definition, dg.MultiPartitionsDefinition):
            return _by_dimension(partition_keys, definition)
        if instance is None and isinstance(definition, dg.DynamicPartitionsDefinition):
            return list(partition_keys)
        places = _places_of(definition)
    return sorted(partition_keys, key=lambda key: (places.get(key, len(places)), key))


def as_keys_of(partition_keys: Sequence[str], definition: dg.PartitionsDefinition[Any]) -> list[str]:
    """Return *partition_keys* with those of a multi-dimensional definition as `dagster.MultiPartitionKey`."""
    if not isinstance(definition, dg.MultiPartitionsDefinition):
        return list(partition_keys)
    return [
        key if isinstance(key, dg.MultiPartitionKey) else definition.get_partition_key_from_str(key)
        for key in partition_keys
    ]


def _by_dimension(partition_keys: Sequence[str], definition: dg.MultiPartitionsDefinition) -> list[str]:
    places = {dimension.name: _places_of(dimension.partitions_def) for dimension in definition.partitions_defs}

    def place_of(key: str) -> list[tuple[int, str]]:
        values = key.keys_by_dimension if isinstance(key, dg.MultiPartitionKey) else {}
        return [(places[name].get(values[name], len(places[name])), values[name]) for name in sorted(values)]

    return sorted(as_keys_of(partition_keys, definition), key=place_of)


def _places_of(definition: dg.PartitionsDefinition[Any]) -> dict[str, int]:
    return {key: place for place, key in enumerate(definition.get_partition_keys())}
