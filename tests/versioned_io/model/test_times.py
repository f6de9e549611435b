"""A date means the end of that day; a time means itself, in UTC unless it says otherwise."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from versioned_io.model.times import parse_latest


@pytest.mark.parametrize(
    ("text", "latest"),
    [
        ("2026-01-31", datetime(2026, 1, 31, 23, 59, 59, 999999, UTC)),
        ("9999-12-31", datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)),
        ("2026-01-31T00:00", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:30:05", datetime(2026, 1, 31, 12, 30, 5, tzinfo=UTC)),
        ("2026-01-31T12:30:05+02:00", datetime(2026, 1, 31, 12, 30, 5, tzinfo=timezone(timedelta(hours=2)))),
    ],
)
def test_the_latest_moment(text, latest):
    assert parse_latest(text) == latest


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-01-32", "12:30"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r"[Ii]nvalid|must be in|out of range"):
        parse_latest(text)
