"""The clock that the library is given, so that it reads none by itself."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

Clock = Callable[[], datetime]
"""Returns the time now, aware, in UTC."""


CLOCK_SKEW: Final = timedelta(minutes=5)
"""The allowed difference between the clocks of two machines; Kerberos allows the same."""

_logger = logging.getLogger(__name__)


class ClockWatch:
    """Warns, once, when this process's clock and a time that another one gave can't both be right."""

    def __init__(self) -> None:
        self._has_warned = False

    def compare(self, now: datetime, other: datetime, what: str, *, is_past: bool = True) -> None:
        """Log a warning with both times when *now* is far before *other*, or far from it unless that *is_past*.

        Args:
            what: The words before the other time in the message, such as ``the newest commit is dated``.
        """
        difference = other - now if is_past else abs(other - now)
        if difference <= CLOCK_SKEW or self._has_warned:
            return
        self._has_warned = True
        _logger.warning(
            "%s %s, but this machine's clock says %s: one of the two is wrong. Commits keep their dates. "
            "Set the clock: the order of commits does not depend on it, but retention and @{time} do",
            what,
            other.isoformat(),
            now.isoformat(),
        )


def system_clock() -> datetime:
    """Return the host's time now, in UTC."""
    return datetime.now(UTC)
