"""The rows of the journal: every change to a name other than a commit on a branch, in order."""

import json
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, String, func, insert, literal, select

from versioned_io.catalog.renamed import recorded_name_of
from versioned_io.catalog.replies import Evidence, note_evidence
from versioned_io.catalog.tables import journal
from versioned_io.errors import IntegrityError
from versioned_io.model.identifiers import PackName
from versioned_io.model.journal import Action, JournalEntry, RecordedEntry, check_details


def insert_entry(
    connection: Connection, entry: JournalEntry, pack: PackName, now: datetime, *, is_recorded_name: bool = False
) -> RecordedEntry:
    """Insert *entry* as the newest of its repo, and return it with its number. It takes effect with this transaction.

    Args:
        pack: The pack that the entry is about to be written to.
        is_recorded_name: Whether the entry's repo is the name in the packs. The catalog then needn't have the repo.

    Cost: 1 SELECT, 1 INSERT.
    """
    given = literal(entry.repo, String)
    name = given if is_recorded_name else func.coalesce(recorded_name_of(entry.repo), given)
    newest = select(func.coalesce(func.max(journal.c.sequence), 0)).where(journal.c.repo == name).scalar_subquery()
    repo, previous = connection.execute(select(name, newest)).one()
    entry = replace(entry, repo=repo)
    row = insert(journal).values(
        repo=entry.repo,
        name=entry.name,
        action=entry.action.value,
        old_id=entry.old,
        new_id=entry.new,
        details=json.dumps(dict(entry.details), sort_keys=True),
        author=entry.author,
        at=now,
        pack=pack,
    )
    sequence = int(connection.execute(row.returning(journal.c.sequence)).scalar_one())
    recorded = RecordedEntry(entry, sequence, int(previous), now)
    note_evidence(connection, Evidence(partial(_is_recorded, recorded)))
    return recorded


def _is_recorded(recorded: RecordedEntry, connection: Connection) -> bool:
    """Return whether this entry exists. The number alone is not enough, since SQLite reuses numbers."""
    query = select(journal.c.repo, journal.c.name, journal.c.action, journal.c.at)
    found = connection.execute(query.where(journal.c.sequence == recorded.sequence)).one_or_none()
    entry = recorded.entry
    return found is not None and tuple(found) == (entry.repo, entry.name, entry.action.value, recorded.at)


def entries_of(connection: Connection, repo: str, name: str | None = None) -> list[tuple[RecordedEntry, PackName]]:
    """Return the entries of a repo, or of one of its names, oldest first, each with the pack that holds it.

    The entries carry the present name of the repo.

    Cost: 1 SELECT.
    """
    query = select(journal).where(journal.c.repo == recorded_name_of(repo)).order_by(journal.c.sequence)
    found: list[tuple[RecordedEntry, PackName]] = []
    previous = 0
    for row in connection.execute(query):
        if name is None or row.name == name:
            found.append(
                (RecordedEntry(replace(_entry_of(row), repo=repo), row.sequence, previous, row.at), PackName(row.pack))
            )
        previous = row.sequence
    return found


def entries_of_present(connection: Connection, repo: str, name: str) -> list[RecordedEntry]:
    """Return the entries of a name, oldest first, without those of deleted repos that had the repo's name before.

    A restored repo keeps its earlier entries.

    Raises:
        IntegrityError: A row is malformed. Run fsck.

    Cost: 1 SELECT.
    """
    ended: dict[int, list[RecordedEntry]] = {}
    found: list[RecordedEntry] = []
    for one, _ in entries_of(connection, repo):
        if one.entry.action is Action.CREATE_REPO:
            restored = one.entry.details.get("restores")
            found = list(ended.get(restored, [])) if isinstance(restored, int) else []
        found.append(one)
        if one.entry.action is Action.DELETE_REPO:
            ended[one.sequence] = found
    return [one for one in found if one.entry.name == name]


def _entry_of(row: Row[tuple[object, ...]]) -> JournalEntry:
    """Return the entry in a row of the journal.

    Raises:
        IntegrityError: The row is malformed. Run fsck.
    """
    try:
        action, details = Action(row.action), dict(json.loads(row.details).items())
    except (AttributeError, TypeError, ValueError) as error:
        msg = f"entry {row.sequence} of the catalog's journal is malformed ({error}); run fsck"
        raise IntegrityError(msg) from error
    entry = JournalEntry(row.repo, row.name, action, row.old_id, row.new_id, details, row.author)
    check_details(entry)
    return entry


def read_entry(row: Row[Any]) -> RecordedEntry:
    """Return the recorded entry in a row of the journal, without the number of the entry before it.

    Raises:
        IntegrityError: The row is malformed. Run fsck.
    """
    return RecordedEntry(_entry_of(row), row.sequence, 0, row.at)
