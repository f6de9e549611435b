"""Edges of lineage in the catalog: which commits and which versions of which files each commit was made from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, select

from versioned_io.catalog.tables import commits, input_files, provenance, repos
from versioned_io.catalog.values import InputFile
from versioned_io.identifiers import CommitId, Digest

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Use:
    """One version of one file, and the commit that was made from it."""

    consumer: CommitId
    file: InputFile


def inputs_of(connection: Connection, commit_ids: Sequence[CommitId]) -> list[Use]:
    """Return every file that the commits were made from, sorted by consumer, repo and path.

    Cost: 1 SELECT for each 500 commits.
    """
    return [use for batch in _batches(commit_ids) for use in _uses(connection, input_files.c.commit_id.in_(batch))]


def uses_of_commits(connection: Connection, commit_ids: Sequence[CommitId]) -> list[Use]:
    """Return every use of a file version that one of the commits wrote.

    Cost: 1 SELECT for each 500 commits.
    """
    return [use for batch in _batches(commit_ids) for use in _uses(connection, input_files.c.written_by.in_(batch))]


def provenance_of(connection: Connection, commit_ids: Sequence[CommitId]) -> list[tuple[CommitId, CommitId]]:
    """Return (commit, the commit it was made from as read) for each of the commits.

    Cost: 1 SELECT for each 500 commits.
    """
    return [pair for batch in _batches(commit_ids) for pair in _edges(connection, provenance.c.commit_id.in_(batch))]


def consumers_of(connection: Connection, commit_ids: Sequence[CommitId]) -> list[tuple[CommitId, CommitId]]:
    """Return (commit, the commit it was made from as read) for each commit made from one of these.

    Cost: 1 SELECT for each 500 commits.
    """
    return [pair for batch in _batches(commit_ids) for pair in _edges(connection, provenance.c.input_id.in_(batch))]


def _uses(connection: Connection, condition: ColumnElement[bool]) -> list[Use]:
    query = (
        select(input_files, repos.c.name.label("repo"))
        .join(commits, commits.c.id == input_files.c.input_id)
        .join(repos, repos.c.id == commits.c.repo_id)
        .where(condition)
        .order_by(input_files.c.commit_id, repos.c.name, input_files.c.path)
    )
    return [
        Use(
            row.commit_id,
            InputFile(row.repo, row.input_id, row.path, Digest(row.digest.hex()), row.written_by, row.output),
        )
        for row in connection.execute(query)
    ]


def _edges(connection: Connection, condition: ColumnElement[bool]) -> list[tuple[CommitId, CommitId]]:
    query = (
        select(provenance.c.commit_id, provenance.c.input_id).where(condition).order_by(*provenance.primary_key.columns)
    )
    return [(CommitId(row.commit_id), CommitId(row.input_id)) for row in connection.execute(query)]


def _batches(commit_ids: Sequence[CommitId]) -> Iterator[Sequence[CommitId]]:
    for start in range(0, len(commit_ids), _BATCH):
        yield commit_ids[start : start + _BATCH]
