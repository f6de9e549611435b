"""Values as the catalog stores them: times are microseconds, bytes are bytes."""

from datetime import UTC, datetime
from typing import Final

from versioned_io.errors import IntegrityError
from versioned_io.errors.root import quoted

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def as_microseconds(value: datetime) -> int:
    """Return a time as the catalog keeps it: microseconds since 1970, in UTC."""
    delta = value.astimezone(UTC) - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def as_time(value: int) -> datetime:
    """Return the time that *value* microseconds since 1970 are.

    Raises:
        IntegrityError: It is not a whole number, which SQLite does not see to, or too large for a date.
    """
    try:
        return datetime.fromtimestamp(value // 1_000_000, UTC).replace(microsecond=value % 1_000_000)
    except (TypeError, ValueError, OverflowError, OSError) as error:
        msg = f"the catalog has {quoted(value)} where a time must be ({error}); run fsck"
        raise IntegrityError(msg) from error


def as_bytes(value: object) -> bytes | None:
    """Return bytes as bytes, and NULL as None.

    Raises:
        IntegrityError: It is something else: SQLite keeps any type in any column.
    """
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, memoryview):
        return bytes(value)
    msg = f"the catalog has {quoted(value)} where bytes must be; run fsck"
    raise IntegrityError(msg)
