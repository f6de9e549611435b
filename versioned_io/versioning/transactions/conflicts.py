"""Conflicts with other writers: whether a transaction can be replayed on a moved branch, and which commit won."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from versioned_io.catalog.commits import get_commit
from versioned_io.catalog.repo_rows import BranchRow
from versioned_io.errors import ConflictError, PackLostError, PathCollisionError
from versioned_io.model.commits import Commit
from versioned_io.model.places import PageRef
from versioned_io.storage.pages.collisions import find_collisions
from versioned_io.storage.pages.diff import diff
from versioned_io.storage.pages.read import lookup
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.transactions.staging import EffectiveRows, Staging

_T = TypeVar("_T")


class BranchChanges(Protocol):
    """The changes that are staged on one branch, and the head that they were staged on.

    Attributes:
        is_fresh: Whether the staged files replace the whole tree of the head.
        is_exact: Whether they can't be replayed on another head.
    """

    target: BranchRow
    base: Commit | None
    staging: Staging
    is_fresh: bool
    is_exact: bool


def refuse_overlap(backend: Backend, branch: BranchChanges, head: Commit | None) -> None:
    """Raise if a commit since the transaction began changed one of its paths.

    Raises:
        ConflictError: Another commit changed one of the paths. The error names the paths and the commit. Begin again.
        PackLostError: The tree of *head* has moved to other packs, or is lost. Read the head again.

    Cost: reads the pages that differ between the base and *head*.
    """
    new = None if head is None else head.root
    changed = _with_base(backend, branch, lambda base: diff(base, new, source=backend.pages))
    both = branch.staging.overlaps(changed, new, source=backend.pages)
    if both:
        raise ConflictError(str(branch.target.ref), tuple(both), _winner(backend, branch, head, both[0]))


def _with_base(backend: Backend, branch: BranchChanges, look: Callable[[PageRef | None], _T]) -> _T:
    """Call *look* with the tree that *branch* was staged on, at its present place, and return the result."""
    before: PageRef | None = None
    while True:
        base = None
        if branch.base is not None:
            with backend.catalog.look_up() as connection:
                base = get_commit(connection, branch.base.id).readable_root
        try:
            return look(base)
        except PackLostError:
            # The tree may have moved once more. If it has not, its pages or the head's are lost.
            if base == before:
                raise
            before = base


def refuse_other_history(backend: Backend, branch: BranchChanges, head: Commit | None) -> None:
    """Raise unless the branch only got new commits since a merge was computed, since its result depends on the history.

    Raises:
        ConflictError: The branch was moved. Compute the merge again.

    Cost: 2 SELECTs for each commit since then.
    """
    if branch.base is None:
        return
    newest = head
    with backend.catalog.read() as connection:
        while newest is not None and newest.number > branch.base.number:
            newest = None if newest.parent is None else get_commit(connection, newest.parent)
    if newest is None or newest.id != branch.base.id:
        raise ConflictError(str(branch.target.ref), (), "" if head is None else head.id)


def refuse_collisions(backend: Backend, branch: BranchChanges, head: Commit | None, rows: EffectiveRows) -> None:
    """Raise if a path would be both a file and a directory.

    Raises:
        PathCollisionError: Two of the transaction's paths collide, or one of them and a path of its base. Delete one.
        ConflictError: The other path is from a commit of another writer. Begin again.
        PackLostError: As for `refuse_overlap`.

    Cost: reads the pages of the changed paths and of the paths around them.
    """
    root = None if head is None else head.root
    collisions = find_collisions(
        root, rows.table.column("path").to_pylist(), branch.staging.deletes, source=backend.pages
    )
    if not collisions:
        return
    first = collisions[0]
    both = (first.file_path, first.below)

    def is_in_base(path: str) -> bool:
        return _with_base(backend, branch, lambda base: lookup(base, path, source=backend.pages)) is not None

    for path in both:
        if branch.staging.find(path) is None and not is_in_base(path):
            # The other path is from another writer's commit.
            raise ConflictError(str(branch.target.ref), both, _winner(backend, branch, head, path))
    raise PathCollisionError(*both)


def _winner(backend: Backend, branch: BranchChanges, head: Commit | None, path: str) -> str:
    """Return the commit after the base of *branch* that wrote the version of *path* in *head*."""
    if head is None:
        return ""
    row = lookup(head.root, path, source=backend.pages)
    if row is not None:
        return row.commit.hex()
    base = None if branch.base is None else branch.base.id
    deleted_by = head
    with backend.catalog.read() as connection:
        while deleted_by.parent not in {None, base}:
            before = get_commit(connection, str(deleted_by.parent))
            if lookup(before.root, path, source=backend.pages) is not None:
                break
            deleted_by = before
    return deleted_by.id
