"""Cron schedules: known instants, daylight saving time, refusals, and agreement with another implementation."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from versioned_io.errors import InvalidInputError
from versioned_io.model.schedules import CronSchedule


def instants(text, after, count, zone="UTC"):
    schedule, moment = CronSchedule.parse(text, zone), datetime.fromisoformat(after).replace(tzinfo=UTC)
    found = []
    for _ in range(count):
        moment = schedule.next_after(moment)
        found.append(f"{moment:%Y-%m-%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("* * * * *", "2026-01-01 00:00:30", ["2026-01-01 00:01", "2026-01-01 00:02"]),
        ("0 6 * * 1-5", "2026-07-03 06:00", ["2026-07-06 06:00", "2026-07-07 06:00"]),
        ("*/20 22-23 * * *", "2026-12-31 23:30", ["2026-12-31 23:40", "2027-01-01 22:00"]),
        ("0 0 29 2 *", "2026-01-01", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 0 13 * fri", "2026-02-01", ["2026-02-06 00:00", "2026-02-13 00:00"]),  # either day
        ("0 0 */2 * mon", "2026-02-01", ["2026-02-09 00:00", "2026-02-23 00:00"]),  # both days
        ("0 0 1 jan,JUL *", "2026-02-01", ["2026-07-01 00:00", "2027-01-01 00:00"]),
        ("0 12 * * 7", "2026-02-01 12:00", ["2026-02-08 12:00"]),
        ("5/20 0 1 1 *", "2026-12-01", ["2027-01-01 00:05", "2027-01-01 00:25", "2027-01-01 00:45"]),
        ("@weekly", "2026-02-01", ["2026-02-08 00:00"]),
        ("@monthly", "2026-12-01", ["2027-01-01 00:00"]),
        ("0 0 31 4,6,12 *", "2026-01-01", ["2026-12-31 00:00"]),
    ],
)
def test_the_next_instants_of_a_schedule_are_known(text, after, expected):
    assert instants(text, after, len(expected)) == expected


def test_a_fixed_hour_is_neither_skipped_nor_repeated_by_daylight_saving_time():
    spring = instants("30 2 * * *", "2026-03-28 12:00", 2, "Europe/Berlin")
    assert spring == ["2026-03-29 01:30", "2026-03-30 00:30"]  # 3:30 in summer time, as long after midnight
    autumn = instants("30 2 * * *", "2026-10-24 12:00", 2, "Europe/Berlin")
    assert autumn == ["2026-10-25 00:30", "2026-10-26 01:30"]


def test_a_schedule_for_every_hour_goes_by_the_clock():
    assert instants("30 * * * *", "2026-03-29 00:00", 2, "Europe/Berlin") == ["2026-03-29 00:30", "2026-03-29 01:30"]
    autumn = instants("30 * * * *", "2026-10-25 00:00", 3, "Europe/Berlin")
    assert autumn == ["2026-10-25 00:30", "2026-10-25 01:30", "2026-10-25 02:30"]


@pytest.mark.parametrize(
    "text",
    [
        *("", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *"),
        *("5-1 * * * *", "*/0 * * * *", "1,,2 * * * *", "x * * * *", "* * L * *", "0 0 30 2 *", "0 0 31 4,6 *"),
        *("@reboot", "-1 * * * *", "1.5 * * * *", "* * * foo *", "\u0663 * * * *", "99999999999999999999 * * * *"),
        "* * * * 8",
    ],
)
def test_a_schedule_that_is_malformed_or_never_comes_is_refused(text):
    with pytest.raises(InvalidInputError):
        CronSchedule.parse(text)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "UTC\0", "Europe"])
def test_a_time_zone_that_does_not_exist_is_refused(zone):
    with pytest.raises(InvalidInputError, match="time zone"):
        CronSchedule.parse("@daily", zone)


def field(source, least, most, stars):
    """A field that both implementations read alike: croniter takes a range of one number for a star."""
    if source.random() < stars:
        return "*"
    first = source.randint(least, most - 1)
    last = source.randint(first + 1, most)
    return source.choice([f"{first}", f"{first}-{last}", f"{first},{last}", f"{first}-{last}/{source.randint(1, 5)}"])


def test_random_schedules_have_the_instants_that_croniter_finds():
    croniter = pytest.importorskip("croniter").croniter
    source = random.Random(12)
    for _ in range(400):
        ranges = [(0, 59, 0.2), (0, 23, 0.4), (1, 28, 0.5), (1, 12, 0.5), (0, 6, 0.5)]
        text = " ".join(field(source, *one) for one in ranges)
        after = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=source.randint(0, 63_000_000))
        assert CronSchedule.parse(text).next_after(after) == croniter(text, after).get_next(datetime), (text, after)
