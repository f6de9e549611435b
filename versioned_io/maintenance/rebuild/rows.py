"""Inserting the rows that follow from the packs: repos, commits, branches, tags, the journal, idempotency keys."""

import json
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, text, update

from versioned_io.catalog.ordering import settle_orders
from versioned_io.catalog.publishing import insert_commit_row, insert_confirmations, insert_sources
from versioned_io.catalog.renamed import RECORDED_NAME, is_recorded_as
from versioned_io.catalog.tables import branches, commits, idempotency_keys, journal, repos, segments, tags
from versioned_io.catalog.trigger_rows import note_fired, put_trigger, remove_trigger
from versioned_io.catalog.upserts import upsert
from versioned_io.maintenance.evidence.contents import order_facts
from versioned_io.maintenance.evidence.replayed_names import ReplayedNames, Repo
from versioned_io.model.commits import Commit, CommitState, InputFile
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.journal import Action, RecordedEntry
from versioned_io.model.repo_kinds import RepoKind
from versioned_io.versioning.transactions.record import CommitRecord


def enter_names(connection: Connection, found: ReplayedNames, now: datetime) -> None:
    """Insert all names and kept commits into an empty catalog. Cost: 2 or 3 INSERTs for each commit."""
    repo_ids = {name: add_repo(connection, name, repo) for name, repo in sorted(found.repos.items())}
    set_owners(connection, found.repos)
    records = add_commits(connection, found)
    for name, repo in sorted(found.repos.items()):
        for branch_name, branch in sorted(repo.branches.items()):
            if branch.head is not None and branch.head not in found.kept:
                found.uncertain.append(
                    f"{repo.name}@{branch_name} pointed at {branch.head}, whose record is missing: "
                    "the branch is empty now"
                )
                branch.head = None
            values = {"repo_id": repo_ids[name], "name": branch_name, "head_id": branch.head, "epoch": branch.epoch}
            more = {"is_protected": branch.is_protected, "retention": branch.retention}
            connection.execute(insert(branches).values(**values, **more))
        for tag, (commit_id, at) in sorted(repo.tags.items()):
            if commit_id in found.kept:
                values = {"repo_id": repo_ids[name], "name": tag, "commit_id": commit_id, "created_at": at}
                connection.execute(insert(tags).values(**values))
    enter_triggers(connection, found)
    add_entries(connection, found.entries)
    add_keys(connection, records, found, now)


def enter_triggers(connection: Connection, found: ReplayedNames) -> None:
    """Set the triggers of the replayed branches, and delete those that they no longer have.

    Cost: 1 SELECT, 1 DELETE, and 1 INSERT for each trigger.
    """
    query = select(RECORDED_NAME.label("repo"), branches.c.name, branches.c.id)
    ids = {
        (row.repo, row.name): row.id for row in connection.execute(query.join(repos, repos.c.id == branches.c.repo_id))
    }
    for name, repo in sorted(found.repos.items()):
        for branch_name, branch in sorted(repo.branches.items()):
            branch_id = ids.get((name, branch_name))
            if branch_id is None:
                continue
            remove_trigger(connection, branch_id)
            trigger = branch.trigger
            source_id = None if trigger is None else ids.get((trigger.repo, trigger.source))
            if trigger is not None and source_id is not None:
                put_trigger(connection, branch_id, source_id, trigger.rule, trigger.set_at)
                note_fired(connection, branch_id, trigger.fired_at)


def add_repo(connection: Connection, recorded: str, repo: Repo) -> int:
    """Insert a repo with the recorded name *recorded*, without its branches and tags, and return its key."""
    values = {"description": repo.description, "created_at": repo.created_at, "deleted_at": repo.deleted_at}
    called = {"name": repo.name, "recorded_name": None if recorded == repo.name else recorded, "kind": repo.kind.value}
    made = insert(repos).values(**called, **values)
    return int(connection.execute(made.returning(repos.c.id)).scalar_one())


def set_owners(connection: Connection, found: Mapping[str, Repo]) -> None:
    """Record which repo each system repo goes with. Cost: 2 statements for each system repo."""
    for recorded, repo in sorted(found.items()):
        if repo.kind is RepoKind.USER:
            continue
        owner_id = connection.execute(select(repos.c.id).where(is_recorded_as(repo.owner))).scalar_one_or_none()
        values = {"kind": repo.kind.value, "owner_id": owner_id}
        connection.execute(update(repos).where(is_recorded_as(recorded)).values(**values))


def add_commits(
    connection: Connection, found: ReplayedNames, taken: AbstractSet[CommitId] = frozenset()
) -> list[CommitRecord]:
    """Insert the kept commits except *taken*, which the catalog already has, and return their records.

    Cost: 2 or 3 INSERTs and at most 2 SELECTs for each.
    """
    orders = settle_orders(order_facts(record) for record, _ in found.kept.values())
    new = [pair for pair in found.kept.values() if pair[0].commit.id not in taken]
    new.sort(key=lambda pair: (pair[0].commit.number, orders[pair[0].commit.id]))
    there = {*taken, *found.kept}
    repo_ids = {row[0]: row.id for row in connection.execute(select(RECORDED_NAME, repos.c.id))}
    segment_of = _Segments(connection)
    for record, pack in new:
        commit = record.commit
        parent = commit.parent if commit.parent in there else None
        segment = segment_of.continued(commit.id, parent, commit.number)
        state = CommitState.FORGOTTEN if commit.id in found.forgotten else CommitState.LIVE
        # The filter lists the changes against the original parent.
        touched = commit.touched if parent == commit.parent else None
        row = replace(commit, parent=parent, state=state, touched=touched, order=orders[commit.id])
        insert_commit_row(connection, row, pack, repo_id=repo_ids[commit.repo], segment_id=segment)
    for record, _ in new:
        made_from = [one for one in record.commit.provenance if one in there]
        files = [_as_there(file, there) for file in record.inputs if file.commit in there and file.written_by in there]
        insert_sources(connection, record.commit.id, made_from, files)
        confirmed = [one for one in record.confirmed if one.written_by in there]
        insert_confirmations(connection, replace(record.commit, order=orders[record.commit.id]), confirmed)
    return [record for record, _ in new]


class _Segments:
    """The segments of history that commits continue or begin, in the order of commit numbers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._of: dict[CommitId, int] = {}
        self._ends: dict[int, int] = {}

    def continued(self, commit_id: CommitId, parent: CommitId | None, number: int) -> int:
        """Return the segment of a commit: its parent's, or a new one if another child already continues that one."""
        segment = None if parent is None else self._segment(parent)
        if segment is None or self._end(segment) != number - 1:
            begun = insert(segments).values(parent_id=segment, first_number=number).returning(segments.c.id)
            segment = int(self._connection.execute(begun).scalar_one())
        self._of[commit_id], self._ends[segment] = segment, number
        return segment

    def _segment(self, commit_id: CommitId) -> int:
        if commit_id not in self._of:
            query = select(commits.c.segment_id).where(commits.c.id == commit_id)
            self._of[commit_id] = int(self._connection.execute(query).scalar_one())
        return self._of[commit_id]

    def _end(self, segment: int) -> int:
        if segment not in self._ends:
            query = select(func.max(commits.c.number)).where(commits.c.segment_id == segment)
            self._ends[segment] = int(self._connection.execute(query).scalar_one())
        return self._ends[segment]


def _as_there(file: InputFile, there: AbstractSet[CommitId]) -> InputFile:
    return file if file.confirmed_by in there else replace(file, confirmed_by=None)


def add_entries(connection: Connection, entries: Sequence[tuple[RecordedEntry, PackName]]) -> None:
    """Insert journal entries with their original numbers."""
    rows = [
        {
            "sequence": recorded.sequence,
            "repo": recorded.entry.repo,
            "name": recorded.entry.name,
            "action": recorded.entry.action.value,
            "old_id": recorded.entry.old,
            "new_id": recorded.entry.new,
            "details": json.dumps(dict(recorded.entry.details), sort_keys=True),
            "author": recorded.entry.author,
            "at": recorded.at,
            "pack": pack,
        }
        for recorded, pack in entries
    ]
    if not rows:
        return
    connection.execute(insert(journal), sorted(rows, key=lambda row: str(row["sequence"]).zfill(20)))
    if connection.dialect.name == "postgresql":
        # The sequence must continue after the inserted numbers.
        query = "SELECT setval(pg_get_serial_sequence('journal', 'sequence'), (SELECT max(sequence) FROM journal))"
        connection.execute(text(query))


def add_keys(connection: Connection, records: Iterable[CommitRecord], found: ReplayedNames, now: datetime) -> None:
    """Insert the idempotency keys of commits; existing keys stay unchanged."""
    left: dict[str, dict[str, dict[str, object]]] = {}
    changes = [one for one, _ in found.entries if one.entry.action in {Action.RENAME_BRANCH, Action.DELETE_BRANCH}]
    changes.sort(key=lambda one: one.sequence)
    for record in records:
        if record.idempotency_key is not None:
            ref = f"{found.name_of(record.commit.repo)}@{_present_branch(record.commit, changes)}"
            left.setdefault(record.idempotency_key, {})[ref] = {"commit": record.commit.id, "changed": True}
    for key, by_branch in sorted(left.items()):
        row = upsert(connection, idempotency_keys).values(key=key, commits=json.dumps(by_branch), created_at=now)
        connection.execute(row.on_conflict_do_nothing())


def _present_branch(commit: Commit, changes: Iterable[RecordedEntry]) -> str:
    """Return what the branch of a commit is called after these renamings and deletions, in their order."""
    name = commit.branch
    for one in changes:
        if one.sequence <= commit.epoch or (one.entry.repo, one.entry.name) != (commit.repo, name):
            continue
        if one.entry.action is Action.DELETE_BRANCH:
            break
        name = str(one.entry.details["to"])
    return name
