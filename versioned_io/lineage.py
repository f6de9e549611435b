"""Answers about lineage: what a commit was made from, what was made from it, and which exact files."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from versioned_io.backend import Backend
from versioned_io.catalog import lineage as catalog
from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.lineage import Use
from versioned_io.catalog.values import Commit
from versioned_io.identifiers import CommitId
from versioned_io.paths import parent_directories


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


def find_upstream(backend: Backend, roots: Mapping[CommitId, Iterable[str] | None]) -> LineageGraph:
    """Return what files of *roots* were made from, all the way up.

    Where the exact files are known, the way goes on from the commits that *wrote* those versions, not from the
    snapshots that they were read from, and only from what those commits read for these files: a model that
    read 48 files written by 2 commits came from those 48, and not from the one that the second commit replaced.

    Args:
        roots: Which files of which commits; None for all that the commit wrote.

    Cost: 2 SELECTs a generation for each 500 commits in it, and 2 at the end for each 500 commits.
    """
    return _grow(backend, roots, _inputs)


def find_downstream(backend: Backend, roots: Mapping[CommitId, Iterable[str] | None]) -> LineageGraph:
    """Return what was made from the versions of files that *roots* wrote, all the way down.

    Args:
        roots: Which files of which commits; None for all that the commit wrote, and for its whole snapshot.

    Cost: 2 SELECTs a generation for each 500 commits in it, and 2 at the end for each 500 commits.
    """
    return _grow(backend, roots, _consumers)


class _Places:
    """Files and directories of commits: everything of a commit, or some of it."""

    def __init__(self) -> None:
        self._paths: dict[CommitId, set[str] | None] = {}

    def commits(self) -> list[CommitId]:
        return sorted(self._paths)

    def add(self, commit_id: CommitId, path: str | None) -> bool:
        """Add a path of a commit, or all of it, and say whether that was new."""
        paths = self._paths.setdefault(commit_id, set())
        if paths is None or (path is not None and path in paths):
            return False
        if path is None:
            self._paths[commit_id] = None
        else:
            paths.add(path)
        return True

    def touch(self, commit_id: CommitId, path: str) -> bool:
        """Say whether *path*, a file or directory, is in one of these places, or one of them is in it; empty is all."""
        paths = self._paths.get(commit_id, set())
        if paths is None or not path:
            return True
        around = {path, *parent_directories(path)}
        return not around.isdisjoint(paths) or any(place.startswith(f"{path}/") for place in paths)


@dataclass(frozen=True, slots=True)
class _Step:
    edges: set[tuple[CommitId, CommitId]]
    uses: list[Use]
    reached: set[tuple[CommitId, str | None]]


_Stepper = Callable[[Backend, _Places], _Step]


def _grow(backend: Backend, roots: Mapping[CommitId, Iterable[str] | None], step: _Stepper) -> LineageGraph:
    seen, generation = _Places(), _Places()
    for commit_id, paths in roots.items():
        for path in [None] if paths is None else paths:
            seen.add(commit_id, path)
            generation.add(commit_id, path)
    edges: set[tuple[CommitId, CommitId]] = set()
    files: dict[Use, None] = {}
    while generation.commits():
        found = step(backend, generation)
        edges |= found.edges
        files.update(dict.fromkeys(found.uses))
        generation = _Places()
        for commit_id, path in sorted(found.reached, key=str):
            if seen.add(commit_id, path):
                generation.add(commit_id, path)
    return LineageGraph(tuple(roots), _by_age(backend, seen.commits()), tuple(sorted(edges)), tuple(files))


def _inputs(backend: Backend, places: _Places) -> _Step:
    with backend.catalog.read() as connection:
        every_use = catalog.inputs_of(connection, places.commits())
        pairs = catalog.provenance_of(connection, places.commits())
    uses = [use for use in every_use if places.touch(use.consumer, use.file.output)]
    bare = _without_files(pairs, every_use)
    edges = {(use.consumer, use.file.written_by) for use in uses} | bare
    reached: set[tuple[CommitId, str | None]] = {(use.file.written_by, use.file.path) for use in uses}
    reached |= {(source, None) for _, source in bare}
    return _Step(edges, uses, reached)


def _consumers(backend: Backend, places: _Places) -> _Step:
    with backend.catalog.read() as connection:
        every_use = catalog.uses_of_commits(connection, places.commits())
        pairs = catalog.consumers_of(connection, places.commits())
        inputs = catalog.inputs_of(connection, sorted({commit for commit, _ in pairs}))
    uses = [use for use in every_use if places.touch(use.file.written_by, use.file.path)]
    bare = _without_files(pairs, inputs)
    edges = {(use.consumer, use.file.written_by) for use in uses} | bare
    reached = {(use.consumer, use.file.output or None) for use in uses} | {(commit, None) for commit, _ in bare}
    return _Step(edges, uses, reached)


def _without_files(pairs: Iterable[tuple[CommitId, CommitId]], uses: Iterable[Use]) -> set[tuple[CommitId, CommitId]]:
    """Return the pairs (commit, snapshot it was made from) for which no file is known."""
    known = {(use.consumer, use.file.commit) for use in uses}
    return {pair for pair in pairs if pair not in known}


def _by_age(backend: Backend, commit_ids: Iterable[CommitId]) -> tuple[Commit, ...]:
    with backend.catalog.read() as connection:
        found = get_commits(connection, sorted(commit_ids))
    return tuple(sorted(found.values(), key=lambda commit: (commit.created_at, commit.id)))
