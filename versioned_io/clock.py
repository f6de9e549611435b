"""The clock that the library is given, so that it reads none by itself."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the time now, aware, in UTC."""


def system_clock() -> datetime:
    """Return the host's time now, in UTC."""
    return datetime.now(UTC)
