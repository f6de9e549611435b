"""Answers about lineage: what a commit was made from, what was made from it, and which exact files."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from versioned_io.backend import Backend
from versioned_io.catalog import lineage as catalog
from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.lineage import Use
from versioned_io.catalog.values import Commit
from versioned_io.identifiers import CommitId


@dataclass(frozen=True, slots=True)
class LineageGraph:
    """Commits and what each was made from.

    Attributes:
        roots: Where the question began.
        commits: Every commit in the answer, the roots too, oldest first.
        edges: (commit, a commit that wrote something that it was made from), sorted.
        files: Every version of a file that one of the commits was made from, with that commit.
    """

    roots: tuple[CommitId, ...]
    commits: tuple[Commit, ...]
    edges: tuple[tuple[CommitId, CommitId], ...]
    files: tuple[Use, ...]

    def commit(self, commit_id: CommitId) -> Commit:
        """Return the commit of the graph with this ID."""
        return next(commit for commit in self.commits if commit.id == commit_id)


def find_upstream(backend: Backend, roots: Sequence[CommitId]) -> LineageGraph:
    """Return what *roots* were made from, all the way up.

    Where the exact files are known, the way goes on from the commits that *wrote* those versions,
    not from the snapshots that they were read from: a model that read 48 files written by 2 commits came from those 2.

    Cost: 2 SELECTs a generation for each 500 commits in it, and 2 at the end for each 500 commits.
    """
    return _grow(backend, roots, _inputs)


def find_downstream(backend: Backend, roots: Sequence[CommitId], *, path: str | None = None) -> LineageGraph:
    """Return what was made from the commits *roots*, or from the version of *path* that they wrote, all the way down.

    Cost: 2 SELECTs a generation for each 500 commits in it, and 2 at the end for each 500 commits.
    """
    if path is None:
        return _grow(backend, roots, _consumers)
    with backend.catalog.read() as connection:
        uses = [use for root in roots for use in catalog.uses_of_file(connection, root, path)]
    rest = _grow(backend, sorted({use.consumer for use in uses}), _consumers)
    edges = sorted({*rest.edges, *((use.consumer, use.file.written_by) for use in uses)})
    files = tuple(dict.fromkeys((*uses, *rest.files)))
    return LineageGraph(
        tuple(roots), _by_age(backend, {*roots, *(commit.id for commit in rest.commits)}), tuple(edges), files
    )


@dataclass(frozen=True, slots=True)
class _Step:
    edges: set[tuple[CommitId, CommitId]]
    uses: list[Use]
    reached: set[CommitId]


_Stepper = Callable[[Backend, Sequence[CommitId]], _Step]


def _grow(backend: Backend, roots: Sequence[CommitId], step: _Stepper) -> LineageGraph:
    seen: set[CommitId] = set(roots)
    edges: set[tuple[CommitId, CommitId]] = set()
    files: dict[Use, None] = {}
    generation = sorted(seen)
    while generation:
        found = step(backend, generation)
        edges |= found.edges
        files.update(dict.fromkeys(found.uses))
        generation = sorted(found.reached - seen)
        seen |= found.reached
    return LineageGraph(tuple(roots), _by_age(backend, seen), tuple(sorted(edges)), tuple(files))


def _inputs(backend: Backend, generation: Sequence[CommitId]) -> _Step:
    with backend.catalog.read() as connection:
        uses = catalog.inputs_of(connection, generation)
        pairs = catalog.provenance_of(connection, generation)
    edges = {(use.consumer, use.file.written_by) for use in uses} | _without_files(pairs, uses)
    return _Step(edges, uses, {source for _, source in edges})


def _consumers(backend: Backend, generation: Sequence[CommitId]) -> _Step:
    with backend.catalog.read() as connection:
        uses = catalog.uses_of_commits(connection, generation)
        pairs = catalog.consumers_of(connection, generation)
        all_uses = catalog.inputs_of(connection, sorted({commit for commit, _ in pairs}))
    edges = {(use.consumer, use.file.written_by) for use in uses} | _without_files(pairs, all_uses)
    return _Step(edges, uses, {commit for commit, _ in edges})


def _without_files(pairs: Iterable[tuple[CommitId, CommitId]], uses: Iterable[Use]) -> set[tuple[CommitId, CommitId]]:
    """Return the pairs (commit, snapshot it was made from) for which no file is known."""
    known = {(use.consumer, use.file.commit) for use in uses}
    return {pair for pair in pairs if pair not in known}


def _by_age(backend: Backend, commit_ids: Iterable[CommitId]) -> tuple[Commit, ...]:
    with backend.catalog.read() as connection:
        found = get_commits(connection, sorted(commit_ids))
    return tuple(sorted(found.values(), key=lambda commit: (commit.created_at, commit.id)))
