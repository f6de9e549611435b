"""Cron schedules: five fields and a time zone, and the instants that they name."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.model.arguments import parse_text

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_MONTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SHORTHANDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_PART: Final = re.compile(r"(?:(?P<all>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?", re.ASCII)
_RARELY_DAYS: Final = 366 * 40
"""29 February falls on each weekday once in 28 years, and in 40 years around a century without a leap day."""
_MORE_SLOTS: Final = 3
"""How many more hours of the schedule are looked at after a hit: a clock that is set back repeats up to two hours."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a schedule: its name, its range, and the names that stand for its numbers."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """A schedule in the five fields of cron, read in one time zone.

    Where both fields of days are restricted, a day that fits one of them counts; that is cron's own rule. A clock that
    is set forward skips no fixed hour: its instant comes as much later as the clock was moved. A clock that is set back
    repeats no fixed hour. A schedule for every hour, or every n-th, goes by the clock. It has no instant in a skipped
    hour, and twice as many in a repeated one.

    Attributes:
        text: The fields as they were written.
        zone: The time zone.
    """

    text: str
    zone: ZoneInfo
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    by_clock: bool
    either_day: bool

    @classmethod
    def parse(cls, text: str, time_zone: str = "UTC") -> "CronSchedule":
        """Return the schedule of five fields, or of ``@hourly``, ``@daily``, ``@weekly``, ``@monthly``, ``@yearly``.

        Raises:
            InvalidInputError: A field is malformed, no day fits, or the time zone does not exist.
        """
        zone = _parse_zone(time_zone)
        written = parse_text(text, "cron schedule")
        fields = _SHORTHANDS.get(written.strip().lower(), written).split()
        if len(fields) != len(_FIELDS):
            msg = f"the cron schedule {quoted(text)} must have five fields: minute, hour, day, month, day of the week"
            raise InvalidInputError(msg)
        minutes, hours, days, months, weekdays = (
            _parse_field(value, field, text) for value, field in zip(fields, _FIELDS, strict=True)
        )
        # A field of days that begins with a star restricts nothing, also with a step: so cron has it.
        either = not fields[2].startswith("*") and not fields[4].startswith("*")
        if not either and all(min(days) > _LONGEST_MONTHS[month - 1] for month in months):
            msg = f"the cron schedule {quoted(text)} never comes: none of its months has {min(days)} days"
            raise InvalidInputError(msg)
        return cls(
            text=written,
            zone=zone,
            minutes=tuple(sorted(minutes)),
            hours=tuple(sorted(hours)),
            days=frozenset(days),
            months=frozenset(months),
            weekdays=frozenset(one % 7 for one in weekdays),
            by_clock=fields[1].startswith("*"),
            either_day=either,
        )

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first instant after *moment*, in UTC; None if there is none in the next 40 years."""
        found: list[datetime] = []
        more = _MORE_SLOTS
        for slot in self._slots(moment.astimezone(self.zone).date() - timedelta(days=1)):
            if found and not (more := more - 1):
                break
            found += [one for one in self._instants(slot) if one > moment]
        return min(found, default=None)

    def _slots(self, first: date) -> Iterator[datetime]:
        """Yield the hours of the schedule from a day on, as local times without a zone."""
        for number in range(min(_RARELY_DAYS, (date.max - first).days)):
            day = first + timedelta(days=number)
            if day.month in self.months and self._fits(day):
                yield from (datetime.combine(day, time(hour)) for hour in self.hours)

    def _fits(self, day: date) -> bool:
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_month or by_week if self.either_day else by_month and by_week

    def _instants(self, slot: datetime) -> Iterator[datetime]:
        for minute in self.minutes:
            local = slot.replace(minute=minute)
            if not self.by_clock:
                yield local.replace(tzinfo=self.zone).astimezone(UTC)
                continue
            both = {local.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
            yield from (one for one in both if one.astimezone(self.zone).replace(tzinfo=None, fold=0) == local)


def _parse_zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(parse_text(name, "time zone"))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        msg = f"the time zone {quoted(name)} does not exist: use a name such as 'UTC' or 'Europe/Berlin'"
        raise InvalidInputError(msg) from error


def _parse_field(text: str, field: _Field, schedule: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        values = None if match is None else _values(match, field)
        if not values:
            msg = (
                f"the {field.name} {quoted(text)} of the cron schedule {quoted(schedule)} is malformed: "
                f"use * or {field.least} to {field.most}, also as 1-5, */2 or 1,3"
            )
            raise InvalidInputError(msg)
        found.update(values)
    return found


def _values(match: re.Match[str], field: _Field) -> range | None:
    """Return the values of one part of a field; None for a part that is out of range."""
    step = int((match["step"] or "1")[:4])
    if match["all"]:
        least, most = field.least, field.most - (field.most == len(_WEEKDAYS))
    else:
        least = _number(match["first"], field)
        # One number with a step stands for the range that begins there.
        most = _number(match["last"], field) if match["last"] else field.most if match["step"] else least
    if step < 1 or not field.least <= least <= most <= field.most:
        return None
    return range(least, most + 1, step)


def _number(text: str, field: _Field) -> int:
    """Return the number that *text* writes, also as a name; -1 for another text."""
    if text.isdigit():
        return int(text[:4])
    return field.names.index(text.lower()) + field.least if text.lower() in field.names else -1
