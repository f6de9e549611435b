"""The journal: everything that happens to names other than a commit on a branch, in the catalog and in the packs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, insert, select

from versioned_io.catalog.chunk_index import insert_packs
from versioned_io.catalog.tables import journal
from versioned_io.catalog.values import JSONValue
from versioned_io.errors import FormatError
from versioned_io.identifiers import CommitId, PackName
from versioned_io.objects.port import ObjectStore
from versioned_io.packs.frames import FrameKind
from versioned_io.packs.writer import PackWriter

ENTRY_FORMAT = 1


class Action(StrEnum):
    """What happened to a name."""

    CREATE_REPO = "create_repo"
    CREATE_BRANCH = "create_branch"
    CREATE_TAG = "create_tag"
    DELETE_BRANCH = "delete_branch"
    DELETE_TAG = "delete_tag"
    RENAME_BRANCH = "rename_branch"
    PROTECT_BRANCH = "protect_branch"
    SET_RETENTION = "set_retention"
    MOVE_BRANCH = "move_branch"
    """A branch was reset or fast-forwarded."""
    SQUASH = "squash"
    """Several commits of a branch became one with the same files."""
    DROP = "drop"
    PURGE = "purge"
    EXPIRE = "expire"
    """Commits were forgotten because nothing led to them any more, or because retention let go of them."""
    LOST = "lost"
    """A rebuild found that there was an entry which is in no pack any more; its time is the latest that it can have."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One thing that happened to a name.

    Attributes:
        name: The branch or tag; empty where the whole repo is meant.
        old, new: What the name pointed at before and afterwards.
        details: What the action needs beside that, such as a new name.
    """

    repo: str
    name: str
    action: Action
    old: CommitId | None = None
    new: CommitId | None = None
    details: Mapping[str, JSONValue] = field(default_factory=dict)
    author: str = ""


@dataclass(frozen=True, slots=True)
class RecordedEntry:
    """An entry with its place in the journal.

    Attributes:
        sequence: Ascending in the order of what happened to one repo; not without gaps.
        previous: The sequence of the repo's entry before this one; 0 for the first. An entry that is nobody's previous
            one, and not the newest, was written by somebody who died before it counted.
    """

    entry: JournalEntry
    sequence: int
    previous: int
    at: datetime


def append_entry(connection: Connection, objects: ObjectStore, entry: JournalEntry, now: datetime) -> int:
    """Record *entry*, and return its sequence number; it counts when the catalog transaction around this call ends.

    The packs get it first, so a catalog that is rebuilt from them knows it. Call this last, when nothing can be
    refused any more, with the repo or the branch held, so that the entries of a repo have an order.

    Raises:
        StorageError: The object store failed; nothing happened.

    Cost: 1 PUT, 1 SELECT, 2 INSERTs.

    Source: docs/design/0004-journal-and-rebuild.md.
    """
    previous = connection.execute(
        select(func.coalesce(func.max(journal.c.sequence), 0)).where(journal.c.repo == entry.repo)
    ).scalar_one()
    pack = PackWriter(objects)
    row = insert(journal).values(
        repo=entry.repo,
        name=entry.name,
        action=entry.action.value,
        old_id=entry.old,
        new_id=entry.new,
        details=json.dumps(dict(entry.details), sort_keys=True),
        author=entry.author,
        at=now,
        pack=pack.name,
    )
    sequence = int(connection.execute(row.returning(journal.c.sequence)).scalar_one())
    pack.append(FrameKind.JOURNAL, encode_entry(RecordedEntry(entry, sequence, int(previous), now)))
    insert_packs(connection, [pack.close()], now)
    return sequence


def squashes_of(connection: Connection, repo: str) -> list[tuple[CommitId, CommitId]]:
    """Return (head before, head afterwards) of every time that a branch of the repo was squashed, oldest first.

    Cost: 1 SELECT.
    """
    query = select(journal.c.old_id, journal.c.new_id).where(
        journal.c.repo == repo, journal.c.action == Action.SQUASH.value
    )
    found = connection.execute(query.order_by(journal.c.sequence))
    return [(CommitId(row.old_id), CommitId(row.new_id)) for row in found]


def encode_entry(recorded: RecordedEntry) -> bytes:
    """Return the entry as canonical JSON: keys sorted, no spaces, UTF-8.

    Source: docs/spec/format-v1.md, "Journal entry".
    """
    entry = recorded.entry
    fields: dict[str, JSONValue] = {
        "format": ENTRY_FORMAT,
        "sequence": recorded.sequence,
        "previous": recorded.previous,
        "at": recorded.at.isoformat(),
        "repo": entry.repo,
        "name": entry.name,
        "action": entry.action.value,
        "old": entry.old,
        "new": entry.new,
        "details": dict(entry.details),
        "author": entry.author,
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decode_entry(payload: bytes) -> RecordedEntry:
    """Return the entry that `encode_entry` wrote.

    Raises:
        FormatError: It was written by a newer version; upgrade.
    """
    fields: dict[str, Any] = json.loads(payload)
    if fields["format"] != ENTRY_FORMAT:
        msg = f"a journal entry has format {fields['format']}, this version reads {ENTRY_FORMAT}: upgrade versioned-io"
        raise FormatError(msg)
    entry = JournalEntry(
        fields["repo"],
        fields["name"],
        Action(fields["action"]),
        fields["old"],
        fields["new"],
        fields["details"],
        fields["author"],
    )
    return RecordedEntry(entry, fields["sequence"], fields["previous"], datetime.fromisoformat(fields["at"]))


def entries_of(connection: Connection, repo: str, name: str | None = None) -> list[tuple[RecordedEntry, PackName]]:
    """Return the entries of a repo, or of one of its names, oldest first, each with the pack that holds it.

    Cost: 1 SELECT.
    """
    query = select(journal).where(journal.c.repo == repo).order_by(journal.c.sequence)
    found: list[tuple[RecordedEntry, PackName]] = []
    previous = 0
    for row in connection.execute(query):
        details = json.loads(row.details)
        entry = JournalEntry(row.repo, row.name, Action(row.action), row.old_id, row.new_id, details, row.author)
        if name is None or row.name == name:
            found.append((RecordedEntry(entry, row.sequence, previous, row.at), PackName(row.pack)))
        previous = row.sequence
    return found
