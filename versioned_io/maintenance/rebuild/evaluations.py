"""Entering the index of results again from the trees of the repos of results, which are the truth."""

from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import Connection

from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.evaluated import (
    Evaluated,
    commits_of_results,
    enter_disagreements,
    enter_evaluated,
    find_results,
)
from versioned_io.errors import IntegrityError
from versioned_io.model.commits import parse_root
from versioned_io.model.identifiers import CommitId
from versioned_io.model.places import PageRef
from versioned_io.model.repo_kinds import FAILURES, INVALIDATED, MANIFESTS, fingerprint_in
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.read import file_rows, lookup_many, scan
from versioned_io.versioning.snapshots.file_info import decode_attributes


def index_results(connection: Connection, objects: ObjectStore) -> None:
    """Enter what the live commits of all repos of results say; entries that exist stay.

    A commit with a damaged tree is left out, and its datums are evaluated again.

    Cost: 1 SELECT; for each commit of a repo of results the pages of its manifests, and at most 4 statements.
    """
    pages = PageSource(objects)
    before: set[CommitId] = set()
    for commit_id, text, is_indexed in commits_of_results(connection):
        root = parse_root(text)
        try:
            found = Evaluated(*(_fingerprints(root, one, pages) for one in (MANIFESTS, FAILURES, INVALIDATED)))
        except IntegrityError:
            continue  # fsck names its damage
        known = find_results(connection, found.succeeded) if is_indexed else {}
        enter_evaluated(connection, commit_id, found if is_indexed else replace(found, succeeded=()))
        # A first result that is later than this commit followed an invalidation, and may differ.
        first = {one: commit for one, commit in known.items() if commit in before}
        _enter_disagreements(connection, pages, commit_id, first)
        before.add(commit_id)


def _enter_disagreements(
    connection: Connection, pages: PageSource, commit_id: CommitId, first: Mapping[bytes, CommitId]
) -> None:
    """Enter the fingerprints of which a commit holds other bytes than their first results."""
    if not first:
        return
    commits = get_commits(connection, sorted({commit_id, *first.values()}))
    names = {one: f"{MANIFESTS}{one.hex()}" for one in first}
    own = _digests(commits[commit_id].root, list(names.values()), pages)
    by_commit: dict[CommitId, list[bytes]] = {}
    for one, commit in first.items():
        by_commit.setdefault(commit, []).append(one)
    differing = []
    for commit, fingerprints in by_commit.items():
        theirs = _digests(commits[commit].root, [names[one] for one in fingerprints], pages)
        differing += [one for one in fingerprints if theirs.get(names[one]) not in {None, own.get(names[one])}]
    own_commit = commits[commit_id]
    pipeline = str(own_commit.metadata.get("pipeline", ""))
    enter_disagreements(connection, commit_id, differing, pipeline, own_commit.created_at)


def _digests(root: PageRef | None, paths: list[str], pages: PageSource) -> dict[str, str]:
    """Return the digests of the outputs that manifests tell, by path."""
    rows = file_rows(lookup_many(root, paths, source=pages))
    return {row.path: decode_attributes(row.attributes)["outputs"] for row in rows}


def _fingerprints(root: PageRef | None, prefix: str, pages: PageSource) -> list[bytes]:
    batches = scan(root, prefix, source=pages)
    return [fingerprint_in(path) for batch in batches for path in batch.column("path").to_pylist()]
