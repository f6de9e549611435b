"""What other writers did to a branch meanwhile: whether a transaction can be replayed on it, and who was faster."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from versioned_io.backend import Backend
from versioned_io.catalog.commits import get_commit
from versioned_io.catalog.repos import BranchRow
from versioned_io.catalog.values import Commit
from versioned_io.errors import ConflictError, PackLostError, PathCollisionError
from versioned_io.pages.collisions import find_collisions
from versioned_io.pages.diff import diff
from versioned_io.pages.read import lookup
from versioned_io.pages.schema import PageRef
from versioned_io.transactions.staging import EffectiveRows, Staging

_T = TypeVar("_T")


class BranchChanges(Protocol):
    """The changes staged on one branch, and the head that they were staged on."""

    target: BranchRow
    base: Commit | None
    staging: Staging


def refuse_overlap(backend: Backend, branch: BranchChanges, head: Commit | None) -> None:
    """Pass when what others committed since the transaction began leaves its own paths alone.

    Raises:
        ConflictError: It does not; the error says which paths, and who won.
        PackLostError: The tree of *head* lies elsewhere by now, or is lost; ask for the head again.

    Cost: the pages that differ between the base and *head*.
    """
    new = None if head is None else head.root
    changed = _with_base(backend, branch, lambda base: diff(base, new, source=backend.pages))
    both = branch.staging.overlaps(changed, new, source=backend.pages)
    if both:
        raise ConflictError(str(branch.target.ref), tuple(both), _winner(backend, branch, head, both[0]))


def _with_base(backend: Backend, branch: BranchChanges, look: Callable[[PageRef | None], _T]) -> _T:
    """Return what *look* makes of the tree that *branch* was staged on, wherever it lies by now."""
    before: PageRef | None = None
    while True:
        base = None
        if branch.base is not None:
            with backend.catalog.look_up() as connection:
                base = get_commit(connection, branch.base.id).readable_root
        try:
            return look(base)
        except PackLostError:
            # It may have moved once more since it was asked for; where it has not, its pages are lost, or the head's.
            if base == before:
                raise
            before = base


def refuse_other_history(backend: Backend, branch: BranchChanges, head: Commit | None) -> None:
    """Pass when the branch only grew since a merge was worked out: what it brings depends on what was there.

    Raises:
        ConflictError: It was moved; work the merge out again.

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
    """Pass when no path would be a file and a directory at once.

    Raises:
        PathCollisionError: The transaction's own paths, or one of them and one that it began with, collide.
        ConflictError: The other path came from a writer who was faster.
        PackLostError: As `refuse_overlap`.

    Cost: the pages of the changed paths and of those around them.
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
            # This half came from another writer, who was faster.
            raise ConflictError(str(branch.target.ref), both, _winner(backend, branch, head, path))
    raise PathCollisionError(*both)


def _winner(backend: Backend, branch: BranchChanges, head: Commit | None, path: str) -> str:
    """Return the commit after the base of *branch* that brought *path* to what it is in *head*."""
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
