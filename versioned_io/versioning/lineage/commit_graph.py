"""Graphs of whole commits: the commits of one lineage ID, and the full ancestry or descent of one commit."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from versioned_io.catalog.commit_edges import (
    Edge,
    Way,
    edges_between,
    every_edge,
    highest_order,
    walk_commits,
)
from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.plain import AnyConnection
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import CommitId
from versioned_io.versioning.backend.backend import Backend

_SCANNED = 40
"""A walk that reaches more than this part of the store is given up: one pass over all edges is faster."""
_FEW = 1_000


@dataclass(frozen=True, slots=True)
class CommitGraph:
    """Commits, with edges from each to the commits that it was made from.

    The edges are between whole commits: every file of a commit counts as made from everything that its run read.
    `Store.upstream` and `Store.downstream` follow single files, so they may reach fewer commits.

    Attributes:
        roots: The commits at which the question began, sorted.
        ids: Every commit in the answer, roots included, sorted by ID.
        edges: (commit, source commit) pairs between them, sorted. The source made or confirmed a file that the commit
            was made from.
        is_whole: False if *depth* or *limit* left a commit out.
        commits: The commits of *ids* in the order of commits, if they were asked for.
    """

    roots: tuple[CommitId, ...]
    ids: tuple[CommitId, ...]
    edges: tuple[Edge, ...]
    is_whole: bool = True
    commits: tuple[Commit, ...] = ()


def graph_of_set(backend: Backend, commits: Iterable[CommitId]) -> CommitGraph:
    """Return some commits with the commits that they were made from, one edge away.

    Cost: 2 SELECTs for each 500 commits.
    """
    roots = tuple(sorted(commits))
    with backend.catalog.ask() as connection:
        edges = edges_between(connection, roots, from_only=True)
    return CommitGraph(roots, tuple(sorted({*roots, *(source for _, source in edges)})), tuple(edges))


def walk_graph(backend: Backend, root: CommitId, way: Way, *, depth: int | None, limit: int | None) -> CommitGraph:
    """Return the ancestry or the descent of a commit, as `Store.lineage_graph` does."""
    with backend.catalog.ask() as connection:
        if depth is None and limit is None:
            return _whole_graph(connection, root, way)
        found = walk_commits(
            connection,
            [root],
            way,
            depth=None if depth is None else depth + 1,
            limit=None if limit is None else limit + 1,
        )
        near = [commit for commit, at in found.items() if depth is None or at <= depth]
        kept = near if limit is None else near[:limit]
        edges = edges_between(connection, kept)
        return CommitGraph((root,), tuple(sorted(kept)), tuple(edges), is_whole=len(kept) == len(found))


def with_commits(backend: Backend, graph: CommitGraph) -> CommitGraph:
    """Return *graph* with its commits in full.

    Cost: 1 SELECT for each 500 commits.
    """
    with backend.catalog.ask() as connection:
        found = get_commits(connection, graph.ids)
    return replace(graph, commits=tuple(sorted(found.values(), key=lambda commit: (commit.order, commit.id))))


def _whole_graph(connection: AnyConnection, root: CommitId, way: Way) -> CommitGraph:
    most = max(_FEW, highest_order(connection) // _SCANNED)
    found = walk_commits(connection, [root], way, depth=None, limit=most + 1)
    if len(found) <= most:
        return CommitGraph((root,), tuple(sorted(found)), tuple(edges_between(connection, found)))
    reached, edges = _reach(every_edge(connection), root, way)
    return CommitGraph((root,), tuple(sorted(reached)), tuple(sorted(dict.fromkeys(edges))))


def _reach(edges: Sequence[Edge], root: CommitId, way: Way) -> tuple[Iterable[CommitId], list[Edge]]:
    """Return the commits that *root* leads to along *edges*, and the edges on the way, both nearly sorted.

    Cost: one pass over the edges if they are in the order of commits, as they nearly always are, and one over those
        that lead elsewhere. Each edge that is out of order may take one pass more.
    """
    near, far = (0, 1) if way is Way.UP else (1, 0)
    reached, taken = {root: None}, list[Edge]()
    left: Iterable[Edge] = reversed(edges) if way is Way.UP else edges
    while True:
        others: list[Edge] = []
        found = len(taken)
        for edge in left:
            if edge[near] in reached:
                reached[edge[far]] = None
                taken.append(edge)
            else:
                others.append(edge)
        if len(taken) == found:
            break
        left = others
    if way is Way.UP:
        return reversed(reached), taken[::-1]
    return reached, taken
