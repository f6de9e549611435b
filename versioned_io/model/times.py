"""Times as people write them, in refs and on the command line."""

from datetime import UTC, date, datetime, time


def parse_earliest(text: str) -> datetime:
    """Return the earliest moment that *text* means: a date means the begin of that day, a full time means itself.

    Without a zone, the time is in UTC.

    Raises:
        ValueError: It is neither a date nor a time in ISO 8601.
    """
    try:
        return datetime.combine(date.fromisoformat(text), time.min, UTC)
    except ValueError:
        return parse_latest(text)


def parse_latest(text: str) -> datetime:
    """Return the latest moment that *text* means: a date means the end of that day, a full time means itself.

    So the newest commit or backup "of 2026-01-31" is the last one of that day. Without a zone, the time is in UTC.

    Raises:
        ValueError: It is neither a date nor a time in ISO 8601.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        found = datetime.fromisoformat(text)
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    return datetime.combine(day, time.max, UTC)
