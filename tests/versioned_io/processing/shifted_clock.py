"""A clock for tests of what happens after a time, without waiting for it."""

from datetime import UTC, datetime, timedelta


class ShiftedClock:
    """A clock that goes, and can be put forward."""

    ahead = timedelta(0)

    def __call__(self):
        return datetime.now(UTC) + self.ahead
