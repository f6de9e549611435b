"""Forgetting files: they are purged with everything that pipelines derived from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sqlalchemy import Connection

from versioned_io.catalog.datum_uses import forget_uses, last_of_pipelines
from versioned_io.catalog.evaluated import forget_fingerprints
from versioned_io.catalog.moving import commits_of_repo, live_trees
from versioned_io.catalog.repo_rows import find_repo_id
from versioned_io.errors import PathNotFoundError
from versioned_io.maintenance.erasure.derived import Derived, DerivedSearch, sorted_keys
from versioned_io.maintenance.erasure.doomed import DoomedPath, PurgeTarget
from versioned_io.maintenance.erasure.purge import PurgeReport, purge_target
from versioned_io.model.identifiers import CommitId, Digest
from versioned_io.model.journal import Action, JournalEntry
from versioned_io.processing.datums.datum_edges import DatumEdges
from versioned_io.processing.datums.datum_tree import DATUMS
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.lineage.tracing import find_uses_of_content

_MOST_ROUNDS: Final = 8
"""The most searches. Beside runs that store results without a pause, the report then says that not all is gone."""
_NOWHERE: Final = "no commit that is kept has it; `versioned gc` frees what an interrupted forget has left"


@dataclass(frozen=True, slots=True)
class ForgetReport:
    """The files that were forgotten, or would be, with everything that was derived from them.

    Attributes:
        paths: The paths of the files, sorted.
        outputs: The paths that pipelines made from them, by repo, sorted.
        datums: The keys of the datums that read them, by the repo of the output, sorted.
        results: How many results of evaluations there are, also of those that were never committed.
        failures: How many of the kept evaluations failed.
        others: Files that other runs made from them, as ``repo@commit:path``. They stay: forget or purge them as well.
        shared: Contents that other files have too, each with one place as ``repo@commit:path``. Their bytes stay.
        packs: The number of packs that were rewritten or deleted.
        gone: Whether a scan of all remaining packs found nothing of the forgotten files.
        recomputed: The states of the pipelines that ran again, by name.
    """

    paths: tuple[str, ...]
    outputs: Mapping[str, Sequence[str]]
    datums: Mapping[str, Sequence[str]]
    results: int
    failures: int
    others: tuple[str, ...]
    shared: Mapping[Digest, str]
    packs: int
    gone: bool
    dry_run: bool
    recomputed: Mapping[str, str] = field(default_factory=dict)


def forget_files(
    backend: Backend,
    repo: str,
    doomed: DoomedPath,
    *,
    reason: str = "",
    author: str = "",
    dry_run: bool = False,
    progress: Callable[[str, int], None] | None = None,
) -> ForgetReport:
    """Remove files from every commit of a repo, with everything that pipelines derived from them, and their bytes.

    These are datums, keys of tables, outputs on all branches, results and logs, also of failed evaluations, and what
    other pipelines made of those outputs. The next run of a pipeline computes what depended on them without them.

    Raises:
        RepoNotFoundError: The repo does not exist.
        PathNotFoundError: No kept commit of the repo has such a file.
        IntegrityError, StorageError: As for `purge_files`.

    Cost: that of `purge_files`, that of `DerivedSearch.run`, and the pages of the files in every commit of the repo.
    """
    reasons = {"path": doomed.path, "reason": reason}
    entry = JournalEntry(repo, "", Action.PURGE, details=reasons, author=author)
    rounds = 0
    while True:
        rounds += 1
        try:
            return _forget_once(backend, doomed, entry, progress, is_dry=dry_run, is_last=rounds == _MOST_ROUNDS)
        except _PipelinesRanError:
            continue


class _PipelinesRanError(Exception):
    """Runs have committed or stored results since the search, perhaps of the files. Search again."""


def _forget_once(
    backend: Backend,
    doomed: DoomedPath,
    entry: JournalEntry,
    progress: Callable[[str, int], None] | None,
    *,
    is_dry: bool,
    is_last: bool,
) -> ForgetReport:
    repo = entry.repo
    with backend.catalog.ask() as connection:
        seen = last_of_pipelines(connection)
    own, digests = _versions(backend, repo, doomed)
    search = DerivedSearch(backend, repo, doomed, digests)
    derived = search.run()
    everything = _joined(own, derived.outputs, derived.datums, derived.results)
    if not any(everything.values()):
        raise PathNotFoundError(doomed.path, f"the history of {repo}", _NOWHERE)
    target = PurgeTarget(doomed, commits=search.targets(everything))
    is_late = False

    def forget(connection: Connection) -> None:
        nonlocal is_late
        is_late = last_of_pipelines(connection) != seen
        if is_late and not is_last:
            raise _PipelinesRanError
        forget_fingerprints(connection, derived.fingerprints)
        for commit, places in derived.datums.items():
            names = {place.removeprefix(DATUMS) for place in places if place.startswith(DATUMS)}
            forget_uses(connection, commit, names)

    others = _others(backend, digests)
    purged = purge_target(backend, target, [entry], dry_run=is_dry, progress=progress, alongside=forget)
    purged = replace(purged, gone=purged.gone and not is_late)
    paths = tuple(sorted({path for paths in own.values() for path in paths}))
    return _report(paths, derived, search, purged, others)


def _versions(backend: Backend, repo: str, doomed: DoomedPath) -> tuple[dict[CommitId, set[str]], set[bytes]]:
    """Return the paths of the files in each commit of their repo, and the digests of all versions."""
    with backend.catalog.read() as connection:
        own = set(commits_of_repo(connection, find_repo_id(connection, repo)))
        roots = {commit: root for commit, root in live_trees(connection) if commit in own}
    found: dict[CommitId, set[str]] = {}
    digests: set[bytes] = set()
    for commit, root in roots.items():
        for rows in doomed.rows(root, backend.pages):
            found.setdefault(commit, set()).update(rows.column("path").to_pylist())
            digests.update(rows.column("digest").to_pylist())
    return found, digests


def _joined(*parts: Mapping[CommitId, set[str]]) -> dict[CommitId, set[str]]:
    joined: dict[CommitId, set[str]] = {}
    for part in parts:
        for commit, paths in part.items():
            joined.setdefault(commit, set()).update(paths)
    return joined


def _others(backend: Backend, digests: set[bytes]) -> tuple[str, ...]:
    """Return the files that runs without datums made from the contents, as far as their lineage names them."""
    found: set[str] = set()
    for digest in sorted(digests):
        graph = find_uses_of_content(backend, Digest(digest.hex()), DatumEdges(backend))
        of_datums = {(one.commit, one.path) for one in graph.datums}
        repos = {commit.id: commit.repo for commit in graph.commits}
        for use in graph.files:
            if (use.consumer, use.file.output) not in of_datums:
                found.add(f"{repos[use.consumer]}@{use.consumer}:{use.file.output}")
    return tuple(sorted(found))


def _report(
    paths: tuple[str, ...],
    derived: Derived,
    search: DerivedSearch,
    purged: PurgeReport,
    others: tuple[str, ...],
) -> ForgetReport:
    outputs: dict[str, set[str]] = {}
    for commit, own in derived.outputs.items():
        outputs.setdefault(search.repo_of(commit), set()).update(own)
    return ForgetReport(
        paths,
        sorted_keys(outputs),
        sorted_keys(derived.keys),
        len(derived.fingerprints),
        derived.failures,
        others,
        purged.shared,
        purged.packs,
        purged.gone,
        purged.dry_run,
    )


def with_recomputed(report: ForgetReport, recomputed: Mapping[str, str]) -> ForgetReport:
    """Return *report* with the states of the pipelines that ran again."""
    return replace(report, recomputed=dict(sorted(recomputed.items())))
