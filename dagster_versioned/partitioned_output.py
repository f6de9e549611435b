"""One value per partition, from a run that materialises several partitions at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg


class PartitionedOutput(dict[str, Any]):
    """The values of several partitions, by partition key: the return value of a single-run backfill.

    In a run over several partitions a plain ``dict`` has the same meaning. In a run over one, a ``dict`` is the value
    itself. So an asset that may run for either returns this class.

    >>> from dagster_versioned import PartitionedOutput
    >>> PartitionedOutput({"2012-01": 4.4, "2012-02": 13.5})["2012-02"]
    13.5
    """


def split_by_partition(obj: object, partition_keys: Sequence[str]) -> Mapping[str, Any]:
    """Return the value of each partition, in the order of *partition_keys*.

    A `PartitionedOutput` is always split, and a ``dict`` if the run has several partitions. Anything else is the value
    of the only partition, as in Dagster's own IO managers.

    Raises:
        DagsterInvariantViolationError: There are several partitions, and keys are missing or too many; the message
            names them. Return one value per partition key of the run.
    """
    if isinstance(obj, PartitionedOutput):
        return _checked(obj, partition_keys)
    if len(partition_keys) == 1:
        return {partition_keys[0]: obj}
    if not isinstance(obj, dict):
        raise dg.DagsterInvariantViolationError(
            f"the run has {len(partition_keys)} partitions, but the output is one {type(obj).__name__}: "
            "return a dict or PartitionedOutput by partition key, or launch one run per partition"
        )
    return _checked(obj, partition_keys)


def _checked(values: Mapping[str, Any], partition_keys: Sequence[str]) -> dict[str, Any]:
    missing = [key for key in partition_keys if key not in values]
    unknown = sorted(str(key) for key in set(values) - set(partition_keys))
    if missing or unknown:
        faults = [f"{what} {_shown(keys)}" for what, keys in (("no value for", missing), ("unknown", unknown)) if keys]
        raise dg.DagsterInvariantViolationError(
            f"the output must have a value for each of the run's {len(partition_keys)} partitions: {'; '.join(faults)}"
        )
    return {key: values[key] for key in partition_keys}


def _shown(keys: Sequence[str]) -> str:
    few = 5
    return ", ".join(map(repr, keys[:few])) + (f" and {len(keys) - few} more" if len(keys) > few else "")
