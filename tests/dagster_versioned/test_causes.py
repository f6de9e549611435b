"""The commits behind the partitions of a backfill, in the Dagster instance."""

from dagster_versioned import compat, tags
from dagster_versioned.causes import KEPT_FOR_S, carries, cause_of, keep_causes
from dagster_versioned.sensor_cursor import CausedBy, SensorCursor
from versioned_io.model.identifiers import CommitId, LineageId

LINEAGE = LineageId("0" * 31 + "3")
OTHER = LineageId("0" * 31 + "4")
# A writer chose its ID first and landed last.
OLDER = CausedBy(CommitId("f" * 32), LINEAGE, 1)
NEWER = CausedBy(CommitId("0" * 32), OTHER, 2)


def test_a_run_of_several_partitions_is_caused_by_the_commit_with_the_highest_number(instance):
    name = keep_causes(instance, {"a": OLDER, "b": NEWER}, sensor_name="s", now_s=0)
    assert cause_of(instance, {tags.CAUSES: name}, ["a", "b"]) == NEWER
    assert cause_of(instance, {tags.CAUSES: name}, ["a"]) == OLDER


def test_what_waits_longest_has_its_turn_first_by_number():
    assert SensorCursor(None, {"b": OLDER, "a": NEWER}).in_turn(["c", "a", "b"]) == ["b", "a", "c"]


def test_causes_are_emptied_after_two_months_and_each_sensor_keeps_its_own(instance):
    first = keep_causes(instance, {"a": OLDER}, sensor_name="s", now_s=0)
    others = keep_causes(instance, {"c": OLDER}, sensor_name="t", now_s=0)
    second = keep_causes(instance, {"b": NEWER}, sensor_name="s", now_s=KEPT_FOR_S)
    assert compat.kept_text(instance, f"versioned/causes/{first}")
    third = keep_causes(instance, {"d": NEWER}, sensor_name="s", now_s=KEPT_FOR_S + 1)
    left = {
        name: bool(compat.kept_text(instance, f"versioned/causes/{name}")) for name in (first, others, second, third)
    }
    assert left == {first: False, others: True, second: True, third: True}
    assert cause_of(instance, {tags.CAUSES: first}, ["a"]) is None
    assert not carries(instance, {tags.CAUSES: first}, [LINEAGE])


def test_causes_that_are_kept_again_are_young_again(instance):
    name = keep_causes(instance, {"a": OLDER}, sensor_name="s", now_s=0)
    assert keep_causes(instance, {"a": OLDER}, sensor_name="s", now_s=KEPT_FOR_S + 1) == name
    assert cause_of(instance, {tags.CAUSES: name}, ["a"]) == OLDER
