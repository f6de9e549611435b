"""Correction of dates from wrong clocks: which dates count, and the latest possible time of each other event.

Source: docs/design/0012-lineage-answers.md, "Dates are facts".
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from versioned_io.platform.clock import CLOCK_SKEW

_EARLIEST: Final = datetime(2020, 1, 1, tzinfo=UTC)
"""No store is older. A machine whose clock was never set reports 1970."""

_LATEST: Final = datetime.max.replace(tzinfo=UTC) - CLOCK_SKEW


def settle_dates(dates: Sequence[datetime], now: datetime) -> list[datetime]:
    """Return the latest possible time of each event; the times never decrease.

    A date counts if it is not after *now* and belongs to the longest non-decreasing subsequence of dates. So one wrong
    clock, far ahead or far behind, doesn't change the other times. An event whose date does not count happened before
    the next event whose date does, and before *now*.

    Args:
        dates: In the order in which the events happened.

    Cost: O(n log n) time.
    """
    now = min(now, _LATEST)
    counted = _counted(dates, _EARLIEST, now + CLOCK_SKEW) or _counted(dates, datetime.min.replace(tzinfo=UTC), now)
    settled = [now] * len(dates)
    later = max([now, *(dates[number] for number in counted)])
    for number in reversed(range(len(dates))):
        if number in counted:
            later = dates[number]
        settled[number] = later
    return settled


def _counted(dates: Sequence[datetime], earliest: datetime, latest: datetime) -> set[int]:
    """Return the positions of the longest non-decreasing subsequence among the dates from *earliest* to *latest*."""
    ends: list[datetime] = []
    end_numbers: list[int] = []
    before: dict[int, int] = {}
    for number, date in enumerate(dates):
        if not earliest <= date <= latest:
            continue
        place = bisect_right(ends, date)
        ends[place : place + 1] = [date]
        end_numbers[place : place + 1] = [number]
        if place:
            before[number] = end_numbers[place - 1]
    found: set[int] = set()
    number = end_numbers[-1] if end_numbers else -1
    while number >= 0:
        found.add(number)
        number = before.get(number, -1)
    return found
