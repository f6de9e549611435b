"""Evicting kept results of evaluations that nothing has used for some time, so that they don't grow without bound."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.datum_uses import list_states
from versioned_io.catalog.evaluated import forget_results_at
from versioned_io.catalog.plain import AnyConnection
from versioned_io.catalog.repo_rows import branch_heads, repos_of_kind
from versioned_io.model.commits import Commit, CommitState
from versioned_io.model.identifiers import CommitId
from versioned_io.model.refs import BranchRef
from versioned_io.model.repo_kinds import FAILURES, INVALIDATED, MANIFESTS, RepoKind, fingerprint_in
from versioned_io.processing.datums.datum_tree import read_fingerprints
from versioned_io.storage.pages.read import scan
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.naming.naming import delete_branch


@dataclass(frozen=True, slots=True)
class EvictReport:
    """The results that were evicted, or would be.

    Attributes:
        runs: How many runs lost all their results.
        results: How many results and failures these had.
        kept_runs: How many runs keep theirs.
    """

    runs: int
    results: int
    kept_runs: int
    dry_run: bool


def evict_results(backend: Backend, unused_for: timedelta, *, dry_run: bool = False) -> EvictReport:
    """Evict the results of runs of which nothing has been used for a time. Outputs stay; `gc` frees the bytes.

    A result is used by a datum tree that describes the head of an output, and by one that did so within that time. A
    run keeps all its results if one of them is used, or is younger. So do runs that invalidated results.

    Raises:
        StorageError: Some runs are evicted, perhaps. Call again.

    Cost: the pages of the datum trees of that time, and of all manifests. For each evicted run 1 PUT and 2 SQL
        transactions.
    """
    since = backend.clock() - unused_for
    used = _used_since(backend, since)
    runs = results = kept = 0
    for ref, commits in _runs(backend):
        found = [one for commit in commits for one in _fingerprints(backend, commit)]
        is_young = any(commit.created_at >= since for commit in commits)
        if is_young or used.intersection(found) or any(_invalidates(backend, commit) for commit in commits):
            kept += 1
            continue
        runs, results = runs + 1, results + len(found)
        if not dry_run:
            with backend.catalog.write() as connection:
                forget_results_at(connection, [commit.id for commit in commits])
            delete_branch(backend, ref, force=True)
    return EvictReport(runs, results, kept, dry_run)


def _used_since(backend: Backend, since: datetime) -> set[bytes]:
    """Return the fingerprints in the datum trees of heads, and of all commits that were heads since a time."""
    with backend.catalog.ask() as connection:
        states = list_states(connection)
        newest = {one.output: one.datums for one in states}
        # An output may have been reset, or be on a new branch, and no run has moved a branch of datums since.
        heads = {newest[one] for one in _heads(connection, RepoKind.USER) if one in newest}
        heads |= _heads(connection, RepoKind.DATUMS)
        commits = get_commits(connection, sorted({*heads, *(one.datums for one in states)}))
    chosen = {one.id for one in commits.values() if one.id in heads or one.created_at >= since}
    # The parent of a commit of that time was the head until then.
    chosen |= {one.parent for one in commits.values() if one.created_at >= since and one.parent in commits}
    live = [commits[one] for one in sorted(chosen) if commits[one].state is CommitState.LIVE]
    return {found for one in live for found in read_fingerprints(backend, one.root).values()}


def _heads(connection: AnyConnection, kind: RepoKind) -> set[CommitId]:
    """Return the heads of all branches of the repos of a kind."""
    repos = repos_of_kind(connection, kind)
    return {head for repo in repos for head in branch_heads(connection, repo).values() if head is not None}


def _runs(backend: Backend) -> Iterator[tuple[BranchRef, list[Commit]]]:
    """Yield the branch of each run that stored batches, with its live commits."""
    with backend.catalog.ask() as connection:
        repos = repos_of_kind(connection, RepoKind.RESULTS)
        heads = [
            (BranchRef(repo, name), head) for repo in repos for name, head in branch_heads(connection, repo).items()
        ]
    for ref, head in heads:
        if head is not None:
            yield ref, _history(backend, head)


def _history(backend: Backend, head: CommitId) -> list[Commit]:
    found: list[Commit] = []
    at: CommitId | None = head
    while at is not None:
        with backend.catalog.ask() as connection:
            commit = get_commits(connection, [at])[at]
        if commit.state is not CommitState.LIVE:
            break
        found.append(commit)
        at = commit.parent
    return found


def _fingerprints(backend: Backend, commit: Commit) -> list[bytes]:
    batches = (scan(commit.root, prefix, source=backend.pages) for prefix in (MANIFESTS, FAILURES))
    return [fingerprint_in(path) for some in batches for rows in some for path in rows.column("path").to_pylist()]


def _invalidates(backend: Backend, commit: Commit) -> bool:
    return any(rows.num_rows for rows in scan(commit.root, INVALIDATED, source=backend.pages))
