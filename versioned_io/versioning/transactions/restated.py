"""Rebuilding commit records and journal entries from the catalog, if their packs are lost or damaged.

Source: docs/design/0011-healing.md, "Records".
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from sqlalchemy import Connection, select

from versioned_io.catalog.chunk_index import insert_packs
from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.damages import all_healed
from versioned_io.catalog.idempotency import parse_first_try
from versioned_io.catalog.journal import entries_of
from versioned_io.catalog.lineage import inputs_of
from versioned_io.catalog.moving import MovedRecord, move_journal, move_records, packs_of
from versioned_io.catalog.row_locks import hold_commits
from versioned_io.catalog.tables import confirmations, idempotency_keys, journal
from versioned_io.model.commits import Commit, Confirmation
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.journal import RecordedEntry, encode_entry
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.writer import PackWriter
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.backend.leftovers import note_stored
from versioned_io.versioning.transactions.record import CommitRecord, decode_record, encode_record


def restate_records(connection: Connection, commits: Iterable[Commit]) -> list[CommitRecord]:
    """Return the records of commits from the catalog, without the replaced attempts, which the catalog does not keep.

    The first record lists all repaired contents of the store, so that a rebuild finds them. The catalog does not keep
    which commit repaired which content.

    Cost: 3 SELECTs for each, and 1.
    """
    records = [_restated(connection, commit) for commit in commits]
    return [replace(one, healed=tuple(all_healed(connection))) for one in records[:1]] + records[1:]


def _restated(connection: Connection, commit: Commit) -> CommitRecord:
    own = confirmations.c.commit_id == commit.id
    query = select(confirmations.c.path, confirmations.c.written_by).where(own).order_by(confirmations.c.path)
    return CommitRecord(
        commit,
        tuple(dict.fromkeys(use.file for use in inputs_of(connection, [commit.id]))),
        _key_of(connection, commit.id),
        confirmed=tuple(Confirmation(row.path, CommitId(row.written_by)) for row in connection.execute(query)),
    )


def restate(backend: Backend, lost: Mapping[CommitId, PackName], entries: Collection[int]) -> list[str]:
    """Store records and entries whose packs can't be read again, and return one sentence about each.

    All or nothing. Records and entries that have moved to another pack meanwhile stay unchanged.

    Args:
        lost: The commits, with the pack of their record in the catalog.
        entries: The numbers of the journal entries.

    Cost: 1 PUT, 1 SQL transaction with 5 SELECTs and 1 UPDATE for each commit.
    """
    if not lost and not entries:
        return []
    with backend.catalog.write() as connection:
        hold_commits(connection, lost)
        packs = packs_of(connection, sorted(lost))
        commits = get_commits(connection, [one for one, pack in lost.items() if packs.get(one) == pack])
        stated = _entries(connection, entries)
        pack = PackWriter(backend.objects)
        for record in restate_records(connection, commits.values()):
            payload = encode_record(record)
            decode_record(payload)  # raises for a row that no valid record can represent
            pack.append(FrameKind.COMMIT, payload)
        for entry in stated:
            pack.append(FrameKind.JOURNAL, encode_entry(entry))
        if pack.is_empty:
            return []
        note_stored(connection, backend.objects, pack)
        insert_packs(connection, [pack.close()], backend.clock())
        move_records(connection, {one: MovedRecord(lost[one], pack.name) for one in commits})
        move_journal(connection, {entry.sequence: pack.name for entry in stated})
    done = [f"the record of commit {one}, which could not be read, was stored again" for one in commits]
    return done + [f"entry {one.sequence} of the journal of {one.entry.repo} was stored again" for one in stated]


def _entries(connection: Connection, numbers: Collection[int]) -> list[RecordedEntry]:
    query = select(journal.c.repo).where(journal.c.sequence.in_(numbers)).distinct()
    repos = sorted(connection.execute(query).scalars()) if numbers else []
    return [one for repo in repos for one, _ in entries_of(connection, repo) if one.sequence in numbers]


def _key_of(connection: Connection, commit_id: CommitId) -> str | None:
    query = select(idempotency_keys.c.key, idempotency_keys.c.commits)
    for key, text in connection.execute(query.where(idempotency_keys.c.commits.contains(commit_id))):
        if any(one.commit == commit_id and one.changed for one in parse_first_try(key, text).values()):
            return str(key)
    return None
