"""The rows that follow from what the packs say: repos, commits, branches, tags, the journal, idempotency keys."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, insert, text

from versioned_io.catalog.publishing import insert_commit_row, insert_sources
from versioned_io.catalog.tables import branches, idempotency_keys, journal, repos, segments, tags
from versioned_io.catalog.values import CommitState
from versioned_io.identifiers import CommitId
from versioned_io.rebuild.names import Names, Repo


def enter_names(connection: Connection, found: Names, now: datetime) -> None:
    """Enter all names and kept commits into an empty catalog. Cost: 2 or 3 INSERTs for each commit."""
    repo_ids = {name: _insert_repo(connection, name, repo) for name, repo in sorted(found.repos.items())}
    _insert_commits(connection, found, repo_ids)
    for name, repo in sorted(found.repos.items()):
        for branch_name, branch in sorted(repo.branches.items()):
            if branch.head is not None and branch.head not in found.kept:
                found.uncertain.append(
                    f"{name}@{branch_name} pointed at {branch.head}, whose record is missing: the branch is empty now"
                )
                branch.head = None
            values = {"repo_id": repo_ids[name], "name": branch_name, "head_id": branch.head, "epoch": branch.epoch}
            more = {"is_protected": branch.is_protected, "retention": branch.retention}
            connection.execute(insert(branches).values(**values, **more))
        for tag, (commit_id, at) in sorted(repo.tags.items()):
            if commit_id in found.kept:
                values = {"repo_id": repo_ids[name], "name": tag, "commit_id": commit_id, "created_at": at}
                connection.execute(insert(tags).values(**values))
    _insert_journal(connection, found)
    _insert_keys(connection, found, now)


def _insert_repo(connection: Connection, name: str, repo: Repo) -> int:
    made = insert(repos).values(name=name, description=repo.description, created_at=repo.created_at)
    return int(connection.execute(made.returning(repos.c.id)).scalar_one())


def _insert_commits(connection: Connection, found: Names, repo_ids: Mapping[str, int]) -> None:
    ordered = sorted(found.kept.values(), key=lambda pair: (pair[0].commit.number, pair[0].commit.created_at))
    segment_of: dict[CommitId, int] = {}
    ends: dict[int, int] = {}
    for record, pack in ordered:
        commit = record.commit
        parent = commit.parent if commit.parent in found.kept else None
        segment = segment_of[parent] if parent is not None else None
        if segment is None or ends[segment] != commit.number - 1:
            begun = insert(segments).values(parent_id=segment, first_number=commit.number).returning(segments.c.id)
            segment = int(connection.execute(begun).scalar_one())
        segment_of[commit.id], ends[segment] = segment, commit.number
        state = CommitState.FORGOTTEN if commit.id in found.forgotten else CommitState.LIVE
        # The filter is of what changed against the parent that it had.
        touched = commit.touched if parent == commit.parent else None
        row = replace(commit, parent=parent, state=state, touched=touched)
        insert_commit_row(connection, row, pack, repo_id=repo_ids[commit.repo], segment_id=segment)
    for record, _ in ordered:
        made_from = [one for one in record.commit.provenance if one in found.kept]
        files = [file for file in record.inputs if file.commit in found.kept and file.written_by in found.kept]
        insert_sources(connection, record.commit.id, made_from, files)


def _insert_journal(connection: Connection, found: Names) -> None:
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
        for recorded, pack in found.entries
    ]
    if not rows:
        return
    connection.execute(insert(journal), sorted(rows, key=lambda row: str(row["sequence"]).zfill(20)))
    if connection.dialect.name == "postgresql":
        # The numbers were given; the next one must come after them.
        query = "SELECT setval(pg_get_serial_sequence('journal', 'sequence'), (SELECT max(sequence) FROM journal))"
        connection.execute(text(query))


def _insert_keys(connection: Connection, found: Names, now: datetime) -> None:
    left: dict[str, dict[str, dict[str, object]]] = {}
    for record, _ in found.kept.values():
        if record.idempotency_key is not None:
            ref = f"{record.commit.repo}@{record.commit.branch}"
            left.setdefault(record.idempotency_key, {})[ref] = {"commit": record.commit.id, "changed": True}
    for key, by_branch in sorted(left.items()):
        connection.execute(insert(idempotency_keys).values(key=key, commits=json.dumps(by_branch), created_at=now))
