"""The text in which Dagster keeps a commit sensor's cursor."""

import pytest

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
