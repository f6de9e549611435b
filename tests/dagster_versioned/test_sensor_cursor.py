"""The text in which Dagster keeps a commit sensor's cursor."""

from types import SimpleNamespace
from typing import Any

import pytest

from dagster_versioned import compat
from dagster_versioned.sensor_cursor import CausedBy, SensorCursor, parse_sensor_cursor
from versioned_io.errors import InvalidInputError
from versioned_io.model.identifiers import CommitId, LineageId

COMMIT = CommitId("0" * 31 + "1")
OTHER = CommitId("0" * 31 + "2")
LINEAGE = LineageId("0" * 31 + "3")


def test_the_cursor_is_the_bare_commit_id_when_no_key_waits() -> None:
    assert str(SensorCursor(COMMIT)) == COMMIT


@pytest.mark.parametrize(
    "cursor",
    [
        SensorCursor(),
        SensorCursor(COMMIT),
        SensorCursor(COMMIT, is_replay=True),
        SensorCursor(is_replay=True),
        SensorCursor(COMMIT, removing=("a", "b")),
        SensorCursor(COMMIT, {"a": CausedBy(OTHER, LINEAGE)}, epoch="tick-3"),
        SensorCursor(COMMIT, {"2016-01": CausedBy(OTHER, LINEAGE), "é": CausedBy(OTHER, LINEAGE)}),
    ],
)
def test_a_cursor_is_read_back_as_it_was_written(cursor: SensorCursor) -> None:
    assert parse_sensor_cursor(str(cursor)) == cursor


def test_a_cursor_of_before_is_read() -> None:
    text = f'{{"commit": "{COMMIT}", "waiting": {{"a": ["{OTHER}", "{LINEAGE}"]}}}}'
    assert parse_sensor_cursor(text) == SensorCursor(COMMIT, {"a": CausedBy(OTHER, LINEAGE)})


def test_the_commit_that_many_keys_wait_for_is_written_once() -> None:
    waiting = {f"key {number}": CausedBy(OTHER, LINEAGE) for number in range(3_000)}
    assert len(str(SensorCursor(COMMIT, waiting))) < 50_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "main",
        "{}",
        "{",
        '{"commit": 1, "waiting": {}}',
        "replay:",
        '{"commit": "beginning", "waiting": {}, "epoch": 1}',
        '{"commit": "beginning", "waiting": {}, "removing": [1]}',
        '{"commit": "beginning", "waiting": {}, "removing": "a"}',
        '{"commit": "beginning", "waiting": {"a": 1}}',
        '{"commit": "beginning", "waiting": [1]}',
        f'{{"commit": "beginning", "waiting": [["{OTHER}", "{LINEAGE}", "a"]]}}',
    ],
)
def test_what_is_no_cursor_is_refused_with_what_to_write_instead(text: str) -> None:
    with pytest.raises(InvalidInputError, match="use the ID of the last handled commit"):
        parse_sensor_cursor(text)


def context_at(location: str, instance: object, cursor: str = "edited") -> Any:
    origin = SimpleNamespace(location_name=location)
    return SimpleNamespace(
        instance=instance, code_location_origin=origin, repository_name="__repository__", cursor=cursor
    )


def test_sensors_of_one_name_in_two_code_locations_hold_their_commits_under_two_names():
    """The repositories of both are called ``__repository__``, so each replaced the hold of the other."""
    instance = SimpleNamespace(run_storage=SimpleNamespace(get_run_storage_id=lambda: "0" * 36))
    names = {compat.full_name_of(context_at(location, instance), "x" * 300) for location in ("a", "b")}
    assert len(names) == 2
    assert max(map(len, names)) <= 200


def test_a_cursor_that_was_set_by_hand_is_noticed_beside_a_sensor_of_the_same_name_elsewhere():
    def state(location: str) -> Any:
        origin = SimpleNamespace(location_name=location)
        place = SimpleNamespace(code_location_origin=origin, repository_name="__repository__")
        return SimpleNamespace(
            instigator_name="sensor",
            origin=SimpleNamespace(repository_origin=place),
            instigator_origin_id=location,
            selector_id=location,
        )

    ticks = {"a": SimpleNamespace(tick_id="7", cursor="before"), "b": SimpleNamespace(tick_id="8", cursor="edited")}
    instance = SimpleNamespace(
        schedule_storage="a storage",
        all_instigator_state=lambda **_: [state("a"), state("b")],
        get_ticks=lambda location, *_, **__: [ticks[location]],
    )
    found = [compat.tick_before_edit(context_at(location, instance), "sensor") for location in ("a", "b", "c")]
    assert found == [7, None, None]
