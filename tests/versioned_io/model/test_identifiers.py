"""Identifiers: made, parsed, told apart."""

import time
import uuid

import pytest

from versioned_io.errors import InvalidInputError
from versioned_io.model.identifiers import (
    is_id,
    new_uuid7,
    parse_commit_id,
    parse_digest,
    parse_lineage_id,
)


def test_an_id_is_a_uuid_of_version_7_of_this_moment():
    before = time.time_ns() // 1_000_000
    made = new_uuid7()
    after = time.time_ns() // 1_000_000
    parsed = uuid.UUID(made)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert before <= int(made[:12], 16) <= after
    assert is_id(made)
    assert parse_commit_id(made) == parse_lineage_id(made) == made


def test_no_two_ids_are_the_same():
    made = {new_uuid7() for _ in range(20_000)}
    assert len(made) == 20_000
    # 74 random bits: none of them stands still.
    ones = zeros = 0
    for value in made:
        ones |= int(value, 16)
        zeros |= ~int(value, 16)
    free = ((1 << 12) - 1) << 64 | (1 << 62) - 1
    assert ones & free == free
    assert zeros & free == free


@pytest.mark.parametrize("text", ["", "0" * 31, "0" * 33, "A" * 32, "g" * 32, "0" * 32 + "\n", " " + "0" * 31])
def test_what_is_no_id_is_refused(text):
    assert not is_id(text)
    for parse, kind in ((parse_commit_id, "commit ID"), (parse_lineage_id, "lineage ID")):
        with pytest.raises(InvalidInputError, match=f"is not a {kind}: it must be 32 lower-case hex digits"):
            parse(text)


def test_a_digest_has_64_digits():
    assert parse_digest("ab" * 32) == "ab" * 32
    for text in ("ab" * 31, "AB" * 32, "ab" * 32 + "\n"):
        with pytest.raises(InvalidInputError, match="64 lower-case hex digits"):
            parse_digest(text)
