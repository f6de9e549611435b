"""Applying changes of one history to another: merge, cherry-pick and revert are one three-way operation.

Source: docs/design/0006-merge.md.
"""

import io
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple, Self, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.catalog.commits import ancestor_at, get_commit
from versioned_io.catalog.repo_rows import BranchRow
from versioned_io.errors import (
    ConflictError,
    HeadMovedError,
    InvalidInputError,
    MergeConflict,
    MergeConflictError,
    PackLostError,
)
from versioned_io.model.columns import number_column, text_column, text_scalar, whole_column
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import CommitId, Digest
from versioned_io.model.places import PageRef
from versioned_io.model.refs import BranchRef
from versioned_io.storage.pages.collisions import find_collisions
from versioned_io.storage.pages.diff import diff
from versioned_io.storage.pages.read import FileRow, file_rows, lookup_many, scan
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.history.log import DIFFERENCES, diff_trees
from versioned_io.versioning.history.merge_bases import (
    BaseTree,
    Version,
    base_tree,
    changed_paths,
    merge_bases,
    same,
    versions_at,
)
from versioned_io.versioning.naming.naming import head_of, move_branch
from versioned_io.versioning.snapshots.file_info import FileInfo, FileKind, decode_attributes
from versioned_io.versioning.snapshots.glob import parse_glob
from versioned_io.versioning.transactions.foreseen import digest_and_size
from versioned_io.versioning.transactions.transaction import Transaction, draft_of

_DELETED: Final = "deleted"

ATTEMPTS: Final = 10
"""How often a merge is computed again after the branch has moved in a way that affects it."""


class Side(StrEnum):
    """The side whose version of a file is used."""

    OURS = "ours"
    """The branch that receives the changes."""
    THEIRS = "theirs"
    """The changes."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A path that both sides changed in different ways. A version is None if that side has no such file."""

    path: str
    base: FileInfo | None
    ours: FileInfo | None
    theirs: FileInfo | None


Decide: TypeAlias = Callable[[Conflict], str | bytes]
"""Returns ``"ours"``, ``"theirs"``, or the bytes of the merged file."""

Strategy: TypeAlias = str | Decide | Mapping[str, str | Decide]
"""``"fail"``, ``"ours"``, ``"theirs"``, a function, or one of these for each of several globs, tried in order."""

BeginTransaction: TypeAlias = Callable[[], Transaction]


@dataclass(frozen=True, slots=True)
class ThreeWay:
    """The changes to apply: the differences between *base* and *theirs*.

    Attributes:
        base: The base, or the newest of several best common ancestors.
        older_bases: The others, oldest first.
        keeps_authors: Whether files keep the commits that wrote them, as in a merge of a history with those commits.
    """

    base: Commit | None
    theirs: Commit | None
    keeps_authors: bool
    older_bases: tuple[Commit, ...] = ()

    @classmethod
    def between(cls, bases: Sequence[Commit], theirs: Commit) -> Self:
        """Return the changes of a merge of *theirs*, whose best common ancestors with the branch are *bases*."""
        return cls(bases[-1] if bases else None, theirs, keeps_authors=True, older_bases=tuple(bases[:-1]))

    @property
    def bases(self) -> tuple[Commit, ...]:
        """All best common ancestors, oldest first."""
        return self.older_bases if self.base is None else (*self.older_bases, self.base)


@dataclass(frozen=True, slots=True)
class _MergePlan:
    """The plan of a merge: rows to write, paths to delete, and conflicts to resolve."""

    rows: dict[str, FileRow]
    deletes: frozenset[str]
    conflicts: tuple[Conflict, ...]
    depends_on: frozenset[str]
    """The paths whose state in the branch this plan depends on."""


def taking_back(backend: Backend, undone: Commit, since: Commit | None) -> ThreeWay:
    """Return the changes that revert *undone*, or, with *since*, all commits after *since* up to *undone*.

    Raises:
        InvalidInputError: *since* is not an ancestor of *undone*. Name an older commit.

    Cost: 4 SELECTs, and 1 for each fork between them.
    """
    with backend.catalog.read() as connection:
        if since is None:
            before = None if undone.parent is None else get_commit(connection, undone.parent)
            return ThreeWay(undone, before, keeps_authors=False)
        if since.number >= undone.number or ancestor_at(connection, undone.id, since.number) != since.id:
            msg = (
                f"can't revert from {since.id} to {undone.id}: the first is not in the history of the "
                "second; use an older commit that `log` shows as since"
            )
            raise InvalidInputError(msg)
    return ThreeWay(undone, since, keeps_authors=False)


def find_or_move_head(backend: Backend, branch: BranchRef, theirs: Commit, *, fast_forward: bool) -> Commit | None:
    """Return the head of *branch* if *theirs* is merged without a commit; None if a commit has to be made.

    The head stays when it holds *theirs* already. It moves to *theirs* when it has no commit of its own and
    *fast_forward* allows that. A branch that moves meanwhile is looked at again.

    Cost: 1 SELECT and those of `merge_bases`; a move is 1 PUT and 1 SQL transaction more.
    """
    while True:
        _, ours = head_of(backend, branch)
        bases = {one.id for one in bases_of(backend, ours, theirs)}
        if ours is not None and theirs.id in bases:
            return ours
        if not (fast_forward and (ours is None or ours.id in bases)):
            return None
        expected = None if ours is None else ours.id

        def check(_connection: object, row: BranchRow, expected: CommitId | None = expected) -> None:
            if row.head != expected:
                raise HeadMovedError(str(branch), expected, row.head)

        try:
            move_branch(backend, branch, theirs, reason="fast-forward", check=check)
        except HeadMovedError:
            continue
        return theirs


def bases_of(backend: Backend, ours: Commit | None, theirs: Commit) -> list[Commit]:
    """Return the best common ancestors of two heads, oldest first; a branch without a commit has none."""
    return [] if ours is None else merge_bases(backend, [ours], [theirs])


def bring_in(
    backend: Backend,
    branch: BranchRef,
    change: Callable[[Commit | None], ThreeWay],
    begin: BeginTransaction,
    strategy: Strategy,
) -> Commit:
    """Commit the changes that *change* returns for the head of *branch*, and return the commit.

    All or nothing. No bytes are copied: files are copied by reference. If the branch moves meanwhile, disjoint changes
    are kept, and overlapping ones are merged again.

    Args:
        change: Called with the branch's head; returns the changes.
        begin: Begins the transaction that commits; called for each attempt.
        strategy: How to resolve a conflict, where both sides changed a file in different ways.

    Raises:
        MergeConflictError: Both sides changed the same paths, and *strategy* does not resolve them. Nothing was
            changed. Its ``conflicts`` list them. Call again with a strategy, or change one of the sides.
        ConflictError: The branch moved in each attempt. Call again.
        InvalidInputError: *strategy* is not valid, or returned neither a side nor bytes. Fix it.

    Cost: reads the pages in which the sides differ from the base, and makes a commit.
    """

    def attempt() -> Commit:
        transaction = begin()
        try:
            _stage(backend, transaction, _found_again(backend, change(transaction.base)), branch, strategy)
            transaction.finish()
        finally:
            transaction.abandon()
        return transaction.commit

    for _ in range(ATTEMPTS - 1):
        try:
            return attempt()
        except MergeConflictError:
            raise
        except (ConflictError, PackLostError):
            continue  # if a tree has moved to other packs meanwhile, the next attempt reads it there
    return attempt()


@dataclass(frozen=True, slots=True)
class ForeseenMerge:
    """The result that a merge would have.

    Attributes:
        kind: ``nothing`` if the branch holds the source already, ``fast-forward``, or ``commit``.
        changes: The differences between the branch and the result, as of `diff_trees`; without the conflicts.
        conflicts: The paths that both sides changed and the strategy does not decide: the merge would be refused.
    """

    kind: str
    changes: pa.Table
    conflicts: tuple[MergeConflict, ...]


def foresee_merge(
    backend: Backend, branch: BranchRef, theirs: Commit, strategy: Strategy, *, fast_forward: bool
) -> ForeseenMerge:
    """Return the result that a merge of *theirs* into *branch* would have now; nothing is written.

    Cost: as the merge, without its PUT and its SQL transaction.
    """
    _, ours = head_of(backend, branch)
    bases = bases_of(backend, ours, theirs)
    known = {one.id for one in bases}
    if ours is not None and theirs.id in known:  # whose data may have expired
        return ForeseenMerge("nothing", DIFFERENCES.empty_table(), ())
    everything = diff_trees(backend, ours, theirs)
    if fast_forward and (ours is None or ours.id in known):
        return ForeseenMerge("fast-forward", everything, ())
    plan = _plan(backend, ThreeWay.between(bases, theirs), ours)
    decided = {one.path: _decide(strategy, one) for one in plan.conflicts}
    undecided = tuple(_digests_of(one) for one in plan.conflicts if decided[one.path] is None)
    taken = {*plan.rows, *plan.deletes, *(path for path, side in decided.items() if side is Side.THEIRS)}
    chosen = pc.is_in(everything.column("path"), value_set=text_column(sorted(taken)))
    written = _foreseen_writes(everything, plan.conflicts, decided)
    changes = pa.concat_tables([everything.filter(chosen), written]).sort_by("path")
    return ForeseenMerge("commit", changes, undecided)


class _ForeseenFile(NamedTuple):
    """A file whose bytes the strategy returned."""

    change: str
    digest: str
    size: int


def _foreseen_writes(
    everything: pa.Table, conflicts: Sequence[Conflict], decided: Mapping[str, Side | bytes | None]
) -> pa.Table:
    """Return the changes of the files whose bytes the strategy returned; *everything* has a row for each conflict."""
    found: dict[str, _ForeseenFile] = {}
    for conflict in conflicts:
        content = decided[conflict.path]
        if isinstance(content, bytes):
            digest, size = digest_and_size(io.BytesIO(content))
            if conflict.ours is None or conflict.ours.digest != digest:
                change = "added" if conflict.ours is None else "modified"
                found[conflict.path] = _ForeseenFile(change, digest, size)
    rows = everything.filter(pc.is_in(everything.column("path"), value_set=text_column(sorted(found))))
    facts = [found[path] for path in rows.column("path").to_pylist()]
    columns = {
        **{name: rows.column(name) for name in DIFFERENCES.names},
        "change": text_column([one.change for one in facts]),
        "new_size": number_column([one.size for one in facts], pa.int64()),
        "new_digest": text_column([one.digest for one in facts]),
    }
    return pa.Table.from_arrays(list(columns.values()), schema=DIFFERENCES)


def _found_again(backend: Backend, three: ThreeWay) -> ThreeWay:
    """Return the same changes, with the present places of the commits' trees. Cost: 2 SELECTs for each commit."""
    with backend.catalog.read() as connection:
        older = tuple(get_commit(connection, one.id) for one in three.older_bases)
        base = None if three.base is None else get_commit(connection, three.base.id)
        theirs = None if three.theirs is None else get_commit(connection, three.theirs.id)
    return replace(three, base=base, theirs=theirs, older_bases=older)


def _stage(backend: Backend, transaction: Transaction, three: ThreeWay, branch: BranchRef, strategy: Strategy) -> None:
    plan = _plan(backend, three, transaction.base)
    draft = draft_of(transaction)
    draft.staging.watch(plan.depends_on)
    rows, deletes = dict(plan.rows), set(plan.deletes)
    undecided: list[Conflict] = []
    for conflict in plan.conflicts:
        decision = _decide(strategy, conflict)
        if decision is None:
            undecided.append(conflict)
        elif isinstance(decision, bytes):
            transaction.write(conflict.path, decision)
        elif decision is Side.THEIRS:
            _take(backend, three, conflict, rows, deletes)
    if undecided:
        theirs = "" if three.theirs is None else three.theirs.id
        raise MergeConflictError(str(branch), tuple(map(_digests_of, undecided)), theirs)
    for path in sorted(deletes):
        draft.delete_exactly(path)
    for path, row in rows.items():
        if three.theirs is not None:
            draft.take_over(path, row, origin=three.theirs, keeps_author=three.keeps_authors)


def _plan(backend: Backend, three: ThreeWay, ours: Commit | None) -> _MergePlan:
    base = base_tree(backend, three.bases)
    own, other = (None if commit is None else commit.readable_root for commit in (ours, three.theirs))
    theirs_changed = _changes(backend, base, other)
    ours_changed = _changes(backend, base, own)
    touched = theirs_changed.column("path")
    both = set(touched.filter(pc.is_in(touched, value_set=whole_column(ours_changed.column("path")))).to_pylist())
    mine, theirs = (_rows(root, sorted(both), backend) for root in (own, other))
    differing = {path for path in both if not same(mine.get(path), theirs.get(path))}
    only = theirs_changed.filter(pc.invert(pc.is_in(touched, value_set=text_column(sorted(both)))))
    is_gone = pc.equal(only.column("change"), text_scalar(_DELETED))
    deletes = set(only.filter(is_gone).column("path").to_pylist())
    rows = _rows(other, only.filter(pc.invert(is_gone)).column("path").to_pylist(), backend)
    colliding = _colliding(own, {*rows, *(path for path in differing if path in theirs)}, deletes, backend)
    for path in colliding & set(rows):
        del rows[path]
    paths = sorted(differing | colliding)
    sides = [versions_at(backend, tree, paths) for tree in (base, BaseTree(own), BaseTree(other))]
    conflicts = tuple(Conflict(path, *(_info(side[path]) for side in sides)) for path in paths)
    return _MergePlan(rows, frozenset(deletes), conflicts, frozenset(touched.to_pylist()) | colliding)


def _changes(backend: Backend, base: BaseTree, root: PageRef | None) -> pa.Table:
    """Return the paths that a side changed, with the columns path and change, sorted by path."""
    if not base.versions:
        return diff(base.root, root, source=backend.pages).select(["path", "change"])
    side = BaseTree(root)
    paths = sorted(changed_paths(backend, base, side))
    before, after = versions_at(backend, base, paths), versions_at(backend, side, paths)
    changed = [path for path in paths if not same(before[path], after[path])]
    change = [_DELETED if after[path] is None else "changed" for path in changed]
    return pa.table({"path": text_column(changed), "change": text_column(change)})


def _colliding(own: PageRef | None, added: set[str], deletes: set[str], backend: Backend) -> set[str]:
    """Return the paths of both sides that would be both a file and a directory."""
    ordered = sorted(added)
    found: set[str] = set()
    for collision in find_collisions(own, ordered, sorted(deletes), source=backend.pages):
        below = f"{collision.file_path}/"
        found |= {collision.file_path, collision.below}
        # A path that begins with "dir/" sorts before "dir0": "0" comes after "/".
        found.update(ordered[bisect_left(ordered, below) : bisect_left(ordered, f"{collision.file_path}0")])
        for batch in scan(own, below, source=backend.pages):
            found.update(path for path in batch.column(0).to_pylist() if path not in deletes)
    return found


def _take(backend: Backend, three: ThreeWay, conflict: Conflict, rows: dict[str, FileRow], deletes: set[str]) -> None:
    root = None if three.theirs is None else three.theirs.readable_root
    row = _rows(root, [conflict.path], backend).get(conflict.path)
    if row is None:
        deletes.add(conflict.path)
    else:
        rows[conflict.path] = row


def _decide(strategy: Strategy, conflict: Conflict) -> Side | bytes | None:
    """Return the side whose version to use, the bytes to write, or None if the strategy does not decide."""
    if isinstance(strategy, Mapping):
        chosen = next((one for glob, one in strategy.items() if parse_glob(glob).matches(conflict.path)), "fail")
        return _decide(chosen, conflict)
    decision = strategy(conflict) if callable(strategy) else strategy
    if isinstance(decision, bytes) and callable(strategy):
        return decision
    if decision == "fail":
        return None
    try:
        return Side(str(decision))
    except ValueError:
        msg = f"the strategy for {conflict.path!r} is {decision!r}: use 'fail', 'ours', 'theirs', or a function"
        raise InvalidInputError(msg) from None


def check_strategy(strategy: Strategy) -> None:
    """Raise if *strategy* is not valid, so that a wrong one is found even without a conflict.

    Raises:
        InvalidInputError: *strategy* is not one of the allowed values. Fix it.
    """
    for one in strategy.values() if isinstance(strategy, Mapping) else [strategy]:
        if not callable(one) and not (isinstance(one, str) and one in {"fail", *Side}):
            msg = f"the strategy {one!r} is not valid: use 'fail', 'ours', 'theirs', or a function"
            raise InvalidInputError(msg)
    for glob in strategy if isinstance(strategy, Mapping) else []:
        parse_glob(glob)


def _rows(root: PageRef | None, paths: list[str], backend: Backend) -> dict[str, FileRow]:
    return {row.path: row for row in file_rows(lookup_many(root, paths, source=backend.pages))}


def _info(row: Version) -> FileInfo | None:
    if not isinstance(row, FileRow):
        return None
    writer = CommitId(row.commit.hex())
    digest = Digest(row.digest.hex())
    return FileInfo(row.path, FileKind.FILE, row.size, digest, decode_attributes(row.attributes), written_by=writer)


def _digests_of(conflict: Conflict) -> MergeConflict:
    return MergeConflict(conflict.path, *map(_digest, (conflict.base, conflict.ours, conflict.theirs)))


def _digest(file: FileInfo | None) -> str | None:
    return None if file is None else file.digest
