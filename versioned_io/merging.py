"""Bringing changes from one history into another: merge, cherry-pick and revert are one three-way machine.

Source: docs/design/0006-merge.md.
"""

import heapq
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias

import pyarrow.compute as pc

from versioned_io.backend import Backend
from versioned_io.catalog.commits import ancestor_at, get_commit, history_batch
from versioned_io.catalog.values import Commit
from versioned_io.columns import text_column, text_scalar, whole_column
from versioned_io.errors import ConflictError, InvalidInputError, MergeConflictError, PackLostError
from versioned_io.identifiers import CommitId, Digest
from versioned_io.pages.collisions import find_collisions
from versioned_io.pages.diff import diff
from versioned_io.pages.read import FileRow, file_rows, lookup_many, scan
from versioned_io.pages.schema import PageRef
from versioned_io.refs import BranchRef
from versioned_io.snapshots.glob import parse_glob
from versioned_io.snapshots.values import FileInfo, FileKind, decode_attributes
from versioned_io.transactions.transaction import Transaction

ATTEMPTS: Final = 10
"""How often a merge is worked out again because the branch moved on in a way that matters to it."""


class Side(StrEnum):
    """Whose version of a file is taken."""

    OURS = "ours"
    """That of the branch that takes the changes."""
    THEIRS = "theirs"
    """That of the changes."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A path that both sides changed, differently. None where a side has no such file."""

    path: str
    base: FileInfo | None
    ours: FileInfo | None
    theirs: FileInfo | None


Decide: TypeAlias = Callable[[Conflict], str | bytes]
"""Returns ``"ours"``, ``"theirs"``, or the bytes that the file is to have."""

Strategy: TypeAlias = str | Decide | Mapping[str, str | Decide]
"""``"fail"``, ``"ours"``, ``"theirs"``, a function, or one of these for each of several globs, tried in order."""

BeginTransaction: TypeAlias = Callable[[], Transaction]


@dataclass(frozen=True, slots=True)
class ThreeWay:
    """What is to be brought in: how *theirs* differs from *base*.

    Attributes:
        keeps_authors: Whether files keep the commits that wrote them, as when a history is merged that holds those.
    """

    base: Commit | None
    theirs: Commit | None
    keeps_authors: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the branch takes: rows to write, paths to delete, and what has to be decided."""

    rows: dict[str, FileRow]
    deletes: frozenset[str]
    conflicts: tuple[Conflict, ...]
    depends_on: frozenset[str]
    """The paths whose state in the branch decided what is here."""


def merge_base(backend: Backend, one: Commit | None, other: Commit | None) -> Commit | None:
    """Return the newest commit that both histories hold, following merges too; None when they share none.

    Cost: 3 SELECTs for each 200 commits that are newer than it; memory for those.
    """
    if one is None or other is None:
        return None
    loaded: dict[CommitId, Commit] = {}
    sides: dict[CommitId, int] = {}
    waiting: list[tuple[float, CommitId]] = []

    def reach(commit_id: CommitId, side: int) -> None:
        if commit_id not in loaded:
            with backend.catalog.read() as connection:
                loaded.update({commit.id: commit for commit in history_batch(connection, commit_id)})
        if commit_id not in sides:
            # A commit is newer than its parents, so when it is taken off the heap, all its children have been.
            heapq.heappush(waiting, (-loaded[commit_id].created_at.timestamp(), commit_id))
        sides[commit_id] = sides.get(commit_id, 0) | side

    reach(one.id, 1)
    reach(other.id, 2)
    while waiting:
        _, commit_id = heapq.heappop(waiting)
        commit = loaded[commit_id]
        if sides[commit_id] == 3:
            return commit
        for parent in (commit.parent, commit.merged):
            if parent is not None:
                reach(parent, sides[commit_id])
    return None


def taking_back(backend: Backend, undone: Commit, since: Commit | None) -> ThreeWay:
    """Return what takes back the changes of *undone*, or those of all commits after *since* up to it, as one.

    Raises:
        InvalidInputError: *since* is not in the history of *undone*, or is it.

    Cost: 4 SELECTs, and 1 for each branching between them.
    """
    with backend.catalog.read() as connection:
        if since is None:
            before = None if undone.parent is None else get_commit(connection, undone.parent)
            return ThreeWay(undone, before, keeps_authors=False)
        if since.number >= undone.number or ancestor_at(connection, undone.id, since.number) != since.id:
            msg = (
                f"can't take back what came after {since.id} up to {undone.id}: the first is not in the history of the "
                "second; name the older one as since, as `log` shows it"
            )
            raise InvalidInputError(msg)
    return ThreeWay(undone, since, keeps_authors=False)


def bring_in(
    backend: Backend,
    branch: BranchRef,
    change: Callable[[Commit | None], ThreeWay],
    begin: BeginTransaction,
    strategy: Strategy,
) -> Commit:
    """Commit to *branch* what *change* says of its head, and return the commit.

    All or nothing. No bytes move: files are taken over by reference. When the branch moves on meanwhile, disjoint
    changes are kept, and what overlaps is worked out again.

    Args:
        change: Called with the branch's head.
        begin: Begins the transaction that commits; called again for each attempt.
        strategy: What to do where both sides changed a file, differently.

    Raises:
        MergeConflictError: Both sides changed the same paths, and *strategy* does not decide; nothing changed. Its
            ``conflicts`` list them. Call again with a strategy, or change one of the sides.
        ConflictError: The branch moved on each time; call again.
        InvalidInputError: *strategy* means nothing, or decided for something else than a side or bytes.

    Cost: the pages in which the sides differ from the base, and a commit.
    """
    for attempt in range(ATTEMPTS):
        transaction = begin()
        try:
            three = _found_again(backend, change(transaction.base))
            _stage(backend, transaction, three, branch, strategy)
            transaction.finish()
        except MergeConflictError:
            raise
        except (ConflictError, PackLostError):
            # Where a tree moved to other packs meanwhile, the next attempt finds it there.
            if attempt == ATTEMPTS - 1:
                raise
            continue
        finally:
            transaction.abandon()
        return transaction.commit
    raise ConflictError(str(branch))


def _found_again(backend: Backend, three: ThreeWay) -> ThreeWay:
    """Return the same commits, with their trees where they lie now. Cost: 2 SELECTs each."""
    with backend.catalog.read() as connection:
        base = None if three.base is None else get_commit(connection, three.base.id)
        theirs = None if three.theirs is None else get_commit(connection, three.theirs.id)
    return replace(three, base=base, theirs=theirs)


def _stage(backend: Backend, transaction: Transaction, three: ThreeWay, branch: BranchRef, strategy: Strategy) -> None:
    plan = _plan(backend, three, transaction.base)
    transaction.staging.watch(plan.depends_on)
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
        raise MergeConflictError(str(branch), tuple(map(_facts, undecided)), theirs)
    for path in sorted(deletes):
        transaction.delete_exactly(path)
    for path, row in rows.items():
        if three.theirs is not None:
            transaction.take_over(path, row, origin=three.theirs, keeps_author=three.keeps_authors)


def _plan(backend: Backend, three: ThreeWay, ours: Commit | None) -> _Plan:
    roots = [None if commit is None else commit.readable_root for commit in (three.base, ours, three.theirs)]
    base, own, other = roots
    source = backend.pages
    theirs_changed = diff(base, other, source=source)
    ours_changed = diff(base, own, source=source)
    touched = theirs_changed.column("path")
    both = set(touched.filter(pc.is_in(touched, value_set=whole_column(ours_changed.column("path")))).to_pylist())
    found = [_rows(root, sorted(both), backend) for root in roots]
    differing = {path for path in both if _state(found[1].get(path)) != _state(found[2].get(path))}
    only = theirs_changed.filter(pc.invert(pc.is_in(touched, value_set=text_column(sorted(both)))))
    is_gone = pc.equal(only.column("change"), text_scalar("deleted"))
    deletes = set(only.filter(is_gone).column("path").to_pylist())
    rows = _rows(other, only.filter(pc.invert(is_gone)).column("path").to_pylist(), backend)
    colliding = _colliding(own, {*rows, *(path for path in differing if path in found[2])}, deletes, backend)
    for path in colliding & set(rows):
        del rows[path]
    paths = sorted(differing | colliding)
    sides = [_rows(root, paths, backend) for root in roots]
    conflicts = tuple(Conflict(path, *(_info(side.get(path)) for side in sides)) for path in paths)
    return _Plan(rows, frozenset(deletes), conflicts, frozenset(touched.to_pylist()) | colliding)


def _colliding(own: PageRef | None, added: set[str], deletes: set[str], backend: Backend) -> set[str]:
    """Return the paths that would be a file and a directory at once, of both sides."""
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
    """Return whose version to take, the bytes to write, or None when nobody decides."""
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
    """Return if *strategy* can decide; so that a wrong one is found without a conflict too.

    Raises:
        InvalidInputError: It means nothing.
    """
    for one in strategy.values() if isinstance(strategy, Mapping) else [strategy]:
        if not callable(one) and not (isinstance(one, str) and one in {"fail", *Side}):
            msg = f"the strategy {one!r} means nothing: use 'fail', 'ours', 'theirs', or a function"
            raise InvalidInputError(msg)
    for glob in strategy if isinstance(strategy, Mapping) else []:
        parse_glob(glob)


def _rows(root: PageRef | None, paths: list[str], backend: Backend) -> dict[str, FileRow]:
    return {row.path: row for row in file_rows(lookup_many(root, paths, source=backend.pages))}


def _state(row: FileRow | None) -> tuple[bytes, str | None] | None:
    return None if row is None else (row.digest, row.attributes)


def _info(row: FileRow | None) -> FileInfo | None:
    if row is None:
        return None
    writer = CommitId(row.commit.hex())
    digest = Digest(row.digest.hex())
    return FileInfo(row.path, FileKind.FILE, row.size, digest, decode_attributes(row.attributes), written_by=writer)


def _facts(conflict: Conflict) -> tuple[str, str | None, str | None, str | None]:
    return conflict.path, _digest(conflict.base), _digest(conflict.ours), _digest(conflict.theirs)


def _digest(file: FileInfo | None) -> str | None:
    return None if file is None else file.digest
