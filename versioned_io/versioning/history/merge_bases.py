"""The base of a merge: the best common ancestors of two histories, and a virtual base if there are several.

Source: git's merge strategies "recursive" and "ort"; docs/design/0006-merge.md, "Several bases".
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from versioned_io.catalog.commits import history_batch
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import CommitId
from versioned_io.model.places import PageRef
from versioned_io.storage.pages.diff import diff
from versioned_io.storage.pages.read import FileRow, file_rows, lookup_many
from versioned_io.versioning.backend.backend import Backend

_ONE: Final = 1
_OTHER: Final = 2
_STALE: Final = 4


class Undecided:
    """The version of a path on which the parents of a virtual base conflict; it equals no version of either side."""


Version: TypeAlias = FileRow | Undecided | None


@dataclass(frozen=True, slots=True)
class BaseTree:
    """The tree that two sides are compared with.

    Attributes:
        versions: Versions that replace those of *root*, by path; empty for the tree of a commit.
    """

    root: PageRef | None
    versions: dict[str, Version] = field(default_factory=dict)


def merge_bases(backend: Backend, ones: Iterable[Commit], others: Iterable[Commit]) -> list[Commit]:
    """Return the common ancestors of both that are not ancestors of each other, oldest first; merges are followed.

    Ancestry alone decides, and not dates.

    Cost: 3 SELECTs for each 200 commits that are newer than the oldest base; memory for those commits.
    """
    loaded: dict[CommitId, Commit] = {}
    flags: dict[CommitId, int] = {}
    waiting: list[tuple[int, CommitId]] = []

    def reach(commit_id: CommitId, flag: int) -> None:
        if commit_id not in loaded:
            with backend.catalog.read() as connection:
                loaded.update({commit.id: commit for commit in history_batch(connection, commit_id)})
        if commit_id not in flags:
            # A commit has a higher order than its parents, so all its children are popped from the heap before it.
            heapq.heappush(waiting, (-loaded[commit_id].order, commit_id))
        flags[commit_id] = flags.get(commit_id, 0) | flag

    for flag, side in ((_ONE, ones), (_OTHER, others)):
        for commit in side:
            reach(commit.id, flag)
    found: list[Commit] = []
    while any(not flags[commit_id] & _STALE for _, commit_id in waiting):
        _, commit_id = heapq.heappop(waiting)
        commit = loaded[commit_id]
        if flags[commit_id] == _ONE | _OTHER:
            found.append(commit)
            flags[commit_id] |= _STALE
        for parent in (commit.parent, commit.merged):
            if parent is not None:
                reach(parent, flags[commit_id])
    return found[::-1]


def base_tree(backend: Backend, bases: Sequence[Commit]) -> BaseTree:
    """Return the base tree for two sides whose best common ancestors are *bases*, oldest first.

    For several ancestors it is the tree of a virtual merge of them, whose own base is found in the same way. A path on
    which they conflict is undecided. There the two sides conflict too, unless they are equal.

    Cost: none for one ancestor; for several it reads the pages in which they differ.
    """
    if not bases:
        return BaseTree(None)
    merged, tree = [bases[0]], BaseTree(bases[0].readable_root)
    for commit in bases[1:]:
        below = base_tree(backend, merge_bases(backend, merged, [commit]))
        tree = _merged(backend, below, tree, BaseTree(commit.readable_root))
        merged.append(commit)
    return tree


def changed_paths(backend: Backend, base: BaseTree, side: BaseTree) -> set[str]:
    """Return the paths at which the trees may differ."""
    differing = diff(base.root, side.root, source=backend.pages).column("path").to_pylist()
    return {*differing, *base.versions, *side.versions}


def versions_at(backend: Backend, tree: BaseTree, paths: Iterable[str]) -> dict[str, Version]:
    """Return the version of each of the paths in a tree."""
    stored = {row.path: row for row in file_rows(lookup_many(tree.root, sorted(paths), source=backend.pages))}
    return {path: tree.versions.get(path, stored.get(path)) for path in paths}


def same(one: Version, other: Version) -> bool:
    """Return whether two versions have the same content and attributes, or are both None."""
    if isinstance(one, FileRow) and isinstance(other, FileRow):
        return (one.digest, one.attributes) == (other.digest, other.attributes)
    return one is other


def _merged(backend: Backend, base: BaseTree, one: BaseTree, other: BaseTree) -> BaseTree:
    paths = sorted(changed_paths(backend, base, other) | set(one.versions))
    sides = [versions_at(backend, tree, paths) for tree in (base, one, other)]
    versions: dict[str, Version] = {}
    for path in paths:
        before, own, theirs = (side[path] for side in sides)
        versions[path] = _version(before, own, theirs)
    return BaseTree(one.root, versions)


def _version(before: Version, own: Version, theirs: Version) -> Version:
    if same(own, theirs) or same(before, theirs):
        return own
    if same(before, own):
        return theirs
    # As in git, a file that one side deleted and the other changed keeps its old version.
    return before if own is None or theirs is None else Undecided()
