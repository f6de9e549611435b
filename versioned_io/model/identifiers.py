"""The identifiers of commits, lineages, packs and content, and how they are made and parsed."""

import re
import secrets
import time
from typing import NewType

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted

CommitId = NewType("CommitId", str)
"""32 lower-case hex digits of a UUIDv7: unique to the writer that chose it, ordered by time of choice."""

LineageId = NewType("LineageId", str)
"""32 lower-case hex digits of a UUIDv7: the ID of one commit set."""

PackName = NewType("PackName", str)
"""32 lower-case hex digits of a UUIDv7: the name of one pack, never derived from its content."""

Digest = NewType("Digest", str)
"""64 lower-case hex digits of a BLAKE3-256: the name of one content."""

_ID = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def new_uuid7(after: str | None = None) -> str:
    """Return a fresh UUIDv7 as 32 lower-case hex digits.

    The first 48 bits are the Unix time in milliseconds, and the other 74 free bits are random. So two writers never
    choose the same one, and IDs sort by their time of creation to the millisecond.

    Args:
        after: Another ID that the new one sorts after, whatever the clock says.

    Cost: one read of the clock and of the system's random source.

    Source: RFC 9562, section 5.7.
    """
    milliseconds = time.time_ns() // 1_000_000
    if after is not None:
        milliseconds = min(max(milliseconds, (int(after, 16) >> 80) + 1), (1 << 48) - 1)
    random_bits = secrets.randbits(74)
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76
    value |= (random_bits >> 62) << 64
    value |= 0b10 << 62
    value |= random_bits & ((1 << 62) - 1)
    return f"{value:032x}"


def new_commit_id() -> CommitId:
    """Return a new, unique commit ID."""
    return CommitId(new_uuid7())


def new_lineage_id() -> LineageId:
    """Return a new, unique lineage ID."""
    return LineageId(new_uuid7())


def new_pack_name() -> PackName:
    """Return a new, unique pack name."""
    return PackName(new_uuid7())


def is_id(text: str) -> bool:
    """Return whether *text* has the form of a commit ID, a lineage ID or a pack name."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Return whether *text* has the form of a content digest."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def parse_commit_id(text: str) -> CommitId:
    """Return *text* as a commit ID.

    Raises:
        InvalidInputError: It is not 32 lower-case hex digits; give the whole ID.
    """
    return CommitId(_parse_id(text, "commit ID"))


def parse_lineage_id(text: str) -> LineageId:
    """Return *text* as a lineage ID.

    Raises:
        InvalidInputError: It is not 32 lower-case hex digits; give the whole ID.
    """
    return LineageId(_parse_id(text, "lineage ID"))


def parse_digest(text: str) -> Digest:
    """Return *text* as a content digest.

    Raises:
        InvalidInputError: It is not 64 lower-case hex digits; give the whole digest.
    """
    if not is_digest(text):
        msg = f"{quoted(text)} is not a content digest: it must be 64 lower-case hex digits"
        raise InvalidInputError(msg)
    return Digest(text)


def _parse_id(text: str, kind: str) -> str:
    if not is_id(text):
        msg = f"{quoted(text)} is not a {kind}: it must be 32 lower-case hex digits"
        raise InvalidInputError(msg)
    return text
