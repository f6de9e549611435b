"""Taking the output of a run over several partitions apart."""

import dagster as dg
import pytest

from dagster_versioned.partitioned_output import PartitionedOutput, split_by_partition


def test_a_dict_with_one_value_per_partition_is_taken_apart_in_the_order_of_the_partitions() -> None:
    split = split_by_partition({"b": 2, "a": 1}, ["a", "b"])
    assert list(split.items()) == [("a", 1), ("b", 2)]


def test_a_partitioned_output_is_taken_apart_even_for_one_partition() -> None:
    assert split_by_partition(PartitionedOutput({"a": 1}), ["a"]) == {"a": 1}


def test_the_dict_of_a_one_partition_run_is_its_value_whatever_its_keys_are() -> None:
    assert split_by_partition({"a": 1}, ["a"]) == {"a": {"a": 1}}


def test_one_value_for_several_partitions_is_refused() -> None:
    with pytest.raises(dg.DagsterInvariantViolationError, match="the run has 2 partitions, but the output is one list"):
        split_by_partition([1], ["a", "b"])


def test_missing_and_unknown_partitions_are_named() -> None:
    with pytest.raises(dg.DagsterInvariantViolationError, match="no value for 'b'; unknown 'c'"):
        split_by_partition({"a": 1, "c": 3}, ["a", "b"])
    with pytest.raises(dg.DagsterInvariantViolationError, match="no value for 'k0', 'k1', 'k2', 'k3', 'k4' and 4 more"):
        split_by_partition(PartitionedOutput({}), [f"k{i}" for i in range(9)])


def test_it_is_a_dict_so_that_an_asset_annotated_so_may_return_it() -> None:
    assert isinstance(PartitionedOutput({"a": 1}), dict)
