"""Look-ups of commits and journal entries that packs hold: those with a row, and those that were disowned."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, select

from versioned_io.catalog.tables import (
    branches,
    commits,
    confirmations,
    due_keys,
    input_files,
    journal,
    provenance,
    subscriptions,
    tags,
)
from versioned_io.model.fields import Fields
from versioned_io.model.identifiers import CommitId, LineageId, PackName
from versioned_io.model.journal import Action

_BATCH = 500
_T = TypeVar("_T")


class KnownCommit(NamedTuple):
    """The generation of a commit's tree, and the pack with its current record."""

    generation: int
    pack: PackName


class KnownEntry(NamedTuple):
    """The fields of a journal row that distinguish entries of the same number, and the pack that holds the entry."""

    name: str
    action: str
    old: CommitId | None
    new: CommitId | None
    at: datetime
    pack: PackName


class Disowned(NamedTuple):
    """The commits, and the packs with journal entries, that a disown entry declares as not part of the store."""

    commits: frozenset[CommitId]
    packs: frozenset[PackName]


def known_commits(connection: Connection, commit_ids: Collection[CommitId]) -> dict[CommitId, KnownCommit]:
    """Return the commits that have a row. Cost: 1 SELECT for each 500."""
    found: dict[CommitId, KnownCommit] = {}
    for batch in _batches(sorted(commit_ids)):
        query = select(commits.c.id, commits.c.generation, commits.c.pack).where(commits.c.id.in_(batch))
        found |= {row.id: KnownCommit(row.generation, PackName(row.pack)) for row in connection.execute(query)}
    return found


def known_entries(connection: Connection, sequences: Collection[int]) -> dict[int, KnownEntry]:
    """Return the journal rows with these numbers. Cost: 1 SELECT for each 500."""
    found: dict[int, KnownEntry] = {}
    columns = (journal.c.name, journal.c.action, journal.c.old_id, journal.c.new_id, journal.c.at, journal.c.pack)
    for batch in _batches(sorted(sequences)):
        query = select(journal.c.sequence, *columns).where(journal.c.sequence.in_(batch))
        found |= {row[0]: KnownEntry(*row[1:]) for row in connection.execute(query)}
    return found


def entry_after(connection: Connection, repo: str, sequence: int) -> PackName | None:
    """Return the pack of the next journal entry of a repo after *sequence*. Cost: 1 SELECT."""
    later = select(journal.c.pack).where(journal.c.repo == repo, journal.c.sequence > sequence, journal.c.pack != "")
    return connection.execute(later.order_by(journal.c.sequence).limit(1)).scalar_one_or_none()


def named_by_rows(connection: Connection, commit_ids: Collection[CommitId]) -> set[CommitId]:
    """Return the commits that a row of some table points at. Cost: 13 SELECTs for each 500."""
    columns = (
        commits.c.parent_id,
        commits.c.merged_id,
        provenance.c.input_id,
        input_files.c.input_id,
        input_files.c.written_by,
        input_files.c.confirmed_by,
        confirmations.c.written_by,
        branches.c.head_id,
        tags.c.commit_id,
        journal.c.old_id,
        journal.c.new_id,
        subscriptions.c.cursor_id,
        due_keys.c.commit_id,
    )
    found: set[CommitId] = set()
    for batch in _batches(sorted(commit_ids)):
        for column in columns:
            found |= set(connection.execute(select(column).where(column.in_(batch)).distinct()).scalars())
    return found


def epochs_of_rows(connection: Connection, sequences: Collection[int]) -> set[int]:
    """Return the numbers that are the epoch of a commit or a branch. Cost: 2 SELECTs for each 500."""
    found: set[int] = set()
    for batch in _batches(sorted(sequences)):
        for column in (branches.c.epoch, commits.c.epoch):
            found |= set(connection.execute(select(column).where(column.in_(batch)).distinct()).scalars())
    return found


def packs_of_lineages(connection: Connection, lineage_ids: Collection[LineageId]) -> dict[LineageId, set[PackName]]:
    """Return the packs with the records of the commits of each lineage ID. Cost: 1 SELECT for each 500."""
    found: dict[LineageId, set[PackName]] = {}
    for batch in _batches(sorted(lineage_ids)):
        query = select(commits.c.lineage_id, commits.c.pack).where(commits.c.lineage_id.in_(batch))
        for row in connection.execute(query.distinct()):
            found.setdefault(row.lineage_id, set()).add(PackName(row.pack))
    return found


def disowned(connection: Connection) -> Disowned:
    """Return everything that disown entries of the journal name. Cost: 1 SELECT that scans every entry."""
    rows = connection.execute(select(journal.c.details).where(journal.c.action == Action.DISOWN.value)).scalars()
    found = [Fields.parse(row.encode(), "an entry disown of the journal") for row in rows]
    commit_ids = frozenset(one for fields in found for one in fields.ids("commits"))
    return Disowned(commit_ids, frozenset(PackName(one) for fields in found for one in fields.ids("packs")))


def _batches(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]
