"""What decodes commit records and journal entries returns a whole value, or says what is wrong with it."""

import json
from datetime import UTC, datetime

import pytest

from versioned_io.errors import FormatError, IntegrityError
from versioned_io.model.commits import Commit, CommitStats, InputFile, RunInfo
from versioned_io.model.identifiers import new_uuid7
from versioned_io.model.journal import (
    Action,
    JournalEntry,
    RecordedEntry,
    decode_entry,
    encode_entry,
)
from versioned_io.model.places import PageRef
from versioned_io.versioning.transactions.record import CommitRecord, decode_record, encode_record

AT = datetime(2026, 1, 1, tzinfo=UTC)
WRONG = [
    None,
    True,
    -1,
    7,
    1.5,
    1 << 70,
    "",
    "x",
    "\ud800",
    "a\0b",
    "2026-01-01T00:00:00",
    [],
    ["x"],
    [None],
    {},
    {"x": 1},
]
"""What no field may make a decoder fall over."""


def whole_record():
    ids = [new_uuid7() for _ in range(6)]
    commit = Commit(
        id=ids[0],
        lineage_id=ids[1],
        repo="r",
        branch="main",
        number=3,
        parent=ids[2],
        provenance=(ids[3],),
        message="m",
        author="a",
        metadata={"k": [1, None]},
        created_at=AT,
        run=RunInfo("dagster", "job", "1", "p", "http://x", "2", "abc", {"depth": 3}),
        stats=CommitStats(1, 2, 3, 4, 5, 6, 7),
        root=PageRef(bytes(32), bytes(16), 32, 40, 0, 1, 2),
        merged=ids[4],
        epoch=2,
        generation=1,
        touched=b"12345678",
    )
    return CommitRecord(commit, (InputFile("r", ids[3], "a", "0" * 64, ids[3], "out"),), "key", (ids[5],))


def entries():
    one, two = new_uuid7(), new_uuid7()
    yield JournalEntry("r", "main", Action.CREATE_REPO, details={"description": "d"})
    yield JournalEntry("r", "main", Action.CREATE_TAG, new=one)
    yield JournalEntry("r", "main", Action.RENAME_BRANCH, one, one, {"to": "other"})
    yield JournalEntry("r", "main", Action.PROTECT_BRANCH, one, one, {"is_protected": True})
    yield JournalEntry("r", "main", Action.SET_RETENTION, one, one, {"rule": '{"keep_last": 3, "keep_for_s": null}'})
    yield JournalEntry("r", "main", Action.MOVE_BRANCH, one, two, {"reason": "reset"}, "me")
    yield JournalEntry("r", "", Action.EXPIRE, details={"commits": [one, two]})


def variants(value):
    """Yield (where, document) for the document with each part replaced by everything wrong, or left out."""
    for place in places(value):
        for wrong in WRONG:
            yield place, changed(value, place, wrong)
        yield place, changed(value, place)


def places(value, at=()):
    yield at
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*at, key))


def changed(value, place, *wrong):
    if not place:
        return wrong[0] if wrong else {}
    key, rest = place[0], place[1:]
    copy = value.copy()
    if rest or wrong:
        copy[key] = changed(value[key], rest, *wrong)
    else:
        del copy[key]
    return copy


def test_a_record_and_every_kind_of_entry_are_read_back():
    record = whole_record()
    assert decode_record(encode_record(record)) == record
    assert decode_record(encode_record(record)).commit.touched == record.commit.touched
    for number, entry in enumerate(entries()):
        recorded = RecordedEntry(entry, number + 2, number, AT)
        assert decode_entry(encode_entry(recorded)) == recorded


@pytest.mark.parametrize("kind", ["record", "entry"])
def test_a_document_with_any_one_field_wrong_is_a_whole_value_or_is_refused_with_the_reason(kind):
    documents = [encode_record(whole_record())] if kind == "record" else [
        encode_entry(RecordedEntry(entry, 5, 4, AT)) for entry in entries()
    ]  # fmt: skip
    decode, encode = (decode_record, encode_record) if kind == "record" else (decode_entry, encode_entry)
    refused = read = 0
    for document in documents:
        for place, variant in variants(json.loads(document)):
            try:
                found = decode(json.dumps(variant).encode())
            except (IntegrityError, FormatError):
                refused += 1
            else:
                # What was read can be written, and says the same again.
                assert decode(encode(found)) == found, place
                hash(json.dumps(str(found)).encode())
                read += 1
    assert refused > 3 * read


@pytest.mark.parametrize("payload", [b"", b"\xff", b"{", b"[]", b"nul", b"NaN", b"[" * 100_000, b'{"format":NaN}'])
def test_bytes_that_are_not_a_document_are_refused(payload):
    for decode in (decode_record, decode_entry):
        with pytest.raises(IntegrityError, match="malformed"):
            decode(payload)


def test_fields_and_actions_of_newer_versions_are_passed_over_or_ask_for_an_upgrade():
    document = json.loads(encode_record(whole_record()))
    newer = {**document, "new": 1, "run": {**document["run"], "new": 1}, "stats": {**document["stats"], "new": 1}}
    assert decode_record(json.dumps(newer).encode()) == decode_record(json.dumps(document).encode())
    entry = json.loads(encode_entry(RecordedEntry(next(entries()), 5, 4, AT)))
    assert decode_entry(json.dumps({**entry, "newer": 1}).encode()).sequence == 5
    with pytest.raises(FormatError, match="upgrade"):
        decode_entry(json.dumps({**entry, "action": "frobnicate"}).encode())
    with pytest.raises(FormatError, match="upgrade"):
        decode_record(json.dumps({**document, "format": 2}).encode())
