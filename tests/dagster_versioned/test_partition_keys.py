"""The order of a run's partition keys."""

import random

import dagster as dg
import pytest

from dagster_versioned.partition_keys import as_keys_of, in_definition_order

NAMES = [f"p{number}" for number in (3, 1, 2, 10, 5)]


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


def shuffled(keys: list[str]) -> list[str]:
    return random.Random(0).sample(keys, len(keys))


def test_static_keys_come_in_the_order_of_their_definition(instance: dg.DagsterInstance) -> None:
    assert in_definition_order(shuffled(NAMES), dg.StaticPartitionsDefinition(NAMES), instance) == NAMES


def test_dynamic_keys_come_in_the_order_in_which_they_were_added_and_deleted_ones_last(
    instance: dg.DagsterInstance,
) -> None:
    instance.add_dynamic_partitions("files", NAMES)
    definition = dg.DynamicPartitionsDefinition(name="files")
    assert in_definition_order(shuffled([*NAMES, "a-deleted"]), definition, instance) == [*NAMES, "a-deleted"]


def test_time_windows_are_left_in_their_order(instance: dg.DagsterInstance) -> None:
    definition = dg.MonthlyPartitionsDefinition(start_date="2012-01-01")
    assert in_definition_order(["2012-01-01", "2012-02-01"], definition, instance) == ["2012-01-01", "2012-02-01"]


def test_multi_dimensional_keys_are_ordered_dimension_by_dimension(instance: dg.DagsterInstance) -> None:
    definition = dg.MultiPartitionsDefinition(
        {"b": dg.StaticPartitionsDefinition(["y", "x"]), "a": dg.StaticPartitionsDefinition(["2", "1"])}
    )
    expected = ["2|y", "2|x", "1|y", "1|x"]
    ordered = in_definition_order(shuffled(expected), definition, instance)
    assert [str(key) for key in ordered] == expected
    assert all(isinstance(key, dg.MultiPartitionKey) for key in ordered)


def test_the_text_of_a_multi_dimensional_key_is_read_by_its_definition() -> None:
    definition = dg.MultiPartitionsDefinition(
        {"b": dg.StaticPartitionsDefinition(["y"]), "a": dg.StaticPartitionsDefinition(["1"])}
    )
    (key,) = as_keys_of(["1|y"], definition)
    assert isinstance(key, dg.MultiPartitionKey)
    assert key.keys_by_dimension == {"a": "1", "b": "y"}
