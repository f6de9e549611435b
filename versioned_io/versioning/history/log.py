"""Queries about history: the commits of a branch or of one path, and the differences between two commits."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice, repeat, zip_longest
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.catalog.commits import (
    HistoryStep,
    ancestor_at,
    get_commit,
    get_commits,
    history_steps,
    squashes_of,
)
from versioned_io.catalog.plain import AnyConnection
from versioned_io.errors import CommitForgottenError, IntegrityError, PathNotFoundError
from versioned_io.model.columns import (
    fixed_column,
    number_scalar,
    optional_text_column,
    text_column,
    text_scalar,
)
from versioned_io.model.commits import Commit, CommitState
from versioned_io.model.identifiers import CommitId
from versioned_io.model.paths import parse_directory
from versioned_io.model.places import FrameRef
from versioned_io.storage.pages.diff import diff, differ_at
from versioned_io.storage.pages.read import lookup, scan
from versioned_io.storage.pages.schema import COMMIT_TYPE
from versioned_io.storage.pages.touched import PathProbe
from versioned_io.versioning.backend.backend import Backend

DIFFERENCES = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("change", pa.string(), nullable=False),
        pa.field("old_size", pa.int64()),
        pa.field("new_size", pa.int64()),
        pa.field("old_digest", pa.string()),
        pa.field("new_digest", pa.string()),
    ]
)
"""The columns of `diff_trees`: digests as 64 hex digits, null if there is none."""

_STEPS: Final = (20, 200)
"""How many commits the first two steps read, so that the last change need not wait for 1,000 of them."""

_LATER_STEPS: Final = 1_000
"""How many commits each later step reads; their filters take at most 2.5 MiB."""

_MOST_AHEAD: Final = 16
"""How many root pages are read together at most; one that is not needed, since the caller stops, costs 0.2 ms."""

RENAMES = DIFFERENCES.append(pa.field("old_path", pa.string()))
"""The columns of `find_renames`."""


def walk_path_history(backend: Backend, head: Commit | None, path: str, limit: int | None = None) -> Iterator[Commit]:
    """Yield the commits that changed the file or directory *path*, newest first, at most *limit*.

    While the path is a file, each step jumps from the commit that wrote it to the previous writer, and skips the
    commits in between. A squashed commit is replaced by the commit that it is part of now. The history ends at commits
    whose data expired by retention, since their changes are unknown.

    Raises:
        PathNotFoundError: No commit of this history has the path.
        CommitForgottenError: No commit with kept data changed the path, so its last change is unknown.

    Cost: 1 look-up and 2 SELECTs for each change of a file. For a directory or a missing path, 3 SELECTs for each 1,000
        commits. If a commit's filter says that it may have touched the path, the pages that differ below the path are
        read once. A commit with more than about 2,000 paths and directories has a filter of whole directories.
    """
    path = parse_directory(path)
    found = False
    for commit in islice(_changes_of(backend, head, path), limit):
        found = True
        yield commit
    if not found and limit != 0:
        raise PathNotFoundError(
            path, "the empty history" if head is None else f"the history of {head}", "no commit has it"
        )


def _changes_of(backend: Backend, head: Commit | None, path: str) -> Iterator[Commit]:
    """Yield the commits that changed *path*, newest first, until one whose data has expired."""
    found = False
    current = head
    squashes = _squashes_before(backend, head)
    try:
        while current is not None:
            writer = _writer_of(backend, current, path, squashes)
            older: CommitId | None = None
            if writer is not None:
                _require_not_after(writer, current)
                found, older = True, writer.parent
                yield writer
            else:
                for commit in _changes_of_directory(backend, current, path):
                    found, older = True, commit.parent
                    yield commit
            before = _get(backend, older)
            if before is not None:
                _require_not_after(before, current, is_same=False)
            current = before
    except CommitForgottenError:
        if not found:
            raise


def _require_not_after(earlier: Commit, later: Commit, *, is_same: bool = True) -> None:
    """Raise unless *earlier* is a commit from before *later*; it may be the same if *is_same*.

    Raises:
        IntegrityError: It is not, so a walk from one to the other might never end.
    """
    if earlier.order > later.order or (earlier.order == later.order and not is_same):
        msg = f"the history of commit {later.id} names {earlier.id} as an earlier commit, which it is not: run fsck"
        raise IntegrityError(msg)


def diff_trees(backend: Backend, old: Commit | None, new: Commit | None) -> pa.Table:
    """Return the differences between two commits, with the columns of `DIFFERENCES`, sorted by path.

    Cost: reads the pages that differ.
    """
    found = diff(
        None if old is None else old.readable_root, None if new is None else new.readable_root, source=backend.pages
    )
    columns: list[Any] = [found.column(name) for name in ("path", "change", "old_size", "new_size")]
    columns += [_as_hex(found.column(name)) for name in ("old_digest", "new_digest")]
    return pa.Table.from_arrays(columns, schema=DIFFERENCES)


def find_renames(differences: pa.Table) -> pa.Table:
    """Return the differences, with each pair of a deleted and an added file of equal content merged to one rename.

    Files match only by equal digests, and empty files never match. Among several files of one content, those with the
    same file name are paired first, then the rest in the order of their paths.

    Args:
        differences: The result of `diff_trees`.

    Returns:
        The columns of `RENAMES`, sorted by path. ``change`` is ``renamed`` if ``old_path`` is not null.

    Cost: memory for the paths that were added or deleted.
    """
    pairs = _pair(_by_digest(differences, "deleted"), _by_digest(differences, "added"))
    moved_from = {new: old for old, new in pairs}
    paths = differences.column("path")
    is_source = pc.is_in(paths, value_set=text_column(sorted(moved_from.values())))
    is_old = pc.and_(is_source, pc.equal(differences.column("change"), text_scalar("deleted")))
    kept = differences.filter(pc.invert(is_old))
    old_paths = [moved_from.get(path) for path in kept.column("path").to_pylist()]
    renamed = pc.is_valid(pa.chunked_array([optional_text_column(old_paths)]))
    facts = {name: kept.column(name) for name in DIFFERENCES.names}
    facts["change"] = pc.if_else(renamed, text_scalar("renamed"), facts["change"])
    facts["old_size"] = pc.if_else(renamed, facts["new_size"], facts["old_size"])
    facts["old_digest"] = pc.if_else(renamed, facts["new_digest"], facts["old_digest"])
    return pa.Table.from_arrays([*facts.values(), optional_text_column(old_paths)], schema=RENAMES)


def _by_digest(differences: pa.Table, change: str) -> dict[str, list[str]]:
    """Return the paths with this *change*, by digest, in order."""
    side = "old" if change == "deleted" else "new"
    own = pc.equal(differences.column("change"), text_scalar(change))
    filled = pc.greater(differences.column(f"{side}_size"), number_scalar(0, pa.int64()))
    chosen = differences.filter(pc.and_(own, filled))
    found: dict[str, list[str]] = {}
    for path, digest in zip(
        chosen.column("path").to_pylist(), chosen.column(f"{side}_digest").to_pylist(), strict=True
    ):
        found.setdefault(digest, []).append(path)
    return found


def _pair(deleted: Mapping[str, list[str]], added: Mapping[str, list[str]]) -> Iterator[tuple[str, str]]:
    for digest in deleted.keys() & added.keys():
        olds, news = deleted[digest], added[digest]
        by_name: dict[str, list[str]] = {}
        for path in reversed(olds):
            by_name.setdefault(path.rpartition("/")[2], []).append(path)
        same_name = {new: names.pop() for new in news if (names := by_name.get(new.rpartition("/")[2]))}
        yield from ((old, new) for new, old in same_name.items())
        taken = set(same_name.values())
        yield from zip(
            (old for old in olds if old not in taken), (new for new in news if new not in same_name), strict=False
        )


def _writer_of(
    backend: Backend, commit: Commit, path: str, squashes: Sequence[tuple[CommitId, CommitId]]
) -> Commit | None:
    """Return the commit that wrote the file *path* of *commit*, or None if it can't be looked up."""
    row = lookup(commit.readable_root, path, source=backend.pages) if path else None
    writer = None if row is None else _get(backend, CommitId(row.commit.hex()))
    if writer is None or writer.repo != commit.repo:
        return None
    if not squashes:
        return writer
    with backend.catalog.ask() as connection:
        standing = _standing_for(connection, writer, commit, squashes)
    # A merged commit is not among the parents. Its data is kept as long as the merge refers to it.
    return standing or (writer if writer.state is CommitState.LIVE else None)


def _changes_of_directory(backend: Backend, newest: Commit, path: str) -> Iterator[Commit]:
    """Yield the commits up to *newest* that changed *path*, in one walk, which ends where the path is a file."""
    start: CommitId | None = newest.id
    probe, sizes = PathProbe(path), chain(_STEPS, repeat(_LATER_STEPS))
    after: HistoryStep | None = None
    while start is not None:
        with backend.catalog.ask() as connection:
            steps = history_steps(connection, start, next(sizes), after=after)
            hits = [step for step in steps if probe.may_be_in(step.touched)]
            needed = [step.id for step in hits] + [step.parent for step in hits[-1:] if step.parent is not None]
            whole = get_commits(connection, list(dict.fromkeys(needed)))
        ahead = _ReadAhead(backend, [whole[step.id] for step in hits])
        for number, (step, older) in enumerate(zip_longest(hits, hits[1:])):
            ahead.reach(number + 1)
            before = _as_before(backend, step, None if older is None else whole[older.id], whole)
            if not _did_change(backend, whole[step.id], before, path):
                continue
            yield whole[step.id]
            if before is not None and path and _is_file(backend, before, path):
                return
        after = steps[-1]
        start = after.parent


@dataclass(slots=True)
class _ReadAhead:
    """Reads the root pages of commits in groups that double, since a group costs less than its pages one by one."""

    backend: Backend
    commits: Sequence[Commit]
    _read: int = 0
    _size: int = 2

    def reach(self, number: int) -> None:
        """Load the page of the commit *number*, if it isn't loaded; an unreadable page raises when it is needed."""
        if number < self._read or self._read >= len(self.commits):
            return
        levels: dict[int, list[FrameRef]] = {}
        for commit in self.commits[self._read : self._read + self._size]:
            if commit.state is CommitState.LIVE and commit.root is not None:
                levels.setdefault(commit.root.level, []).append(commit.root.frame)
        self._read += self._size
        self._size = min(2 * self._size, _MOST_AHEAD)
        for level, frames in levels.items():
            with suppress(IntegrityError):
                self.backend.pages.load_many(frames, level)


def _as_before(
    backend: Backend, step: HistoryStep, older: Commit | None, known: Mapping[CommitId, Commit]
) -> Commit | None:
    """Return a commit with the same contents at the path as the parent of *step*; None if there is no parent.

    Args:
        older: The next commit that may have touched the path, while the commits in between have not. Its pages are
            needed for the next comparison in any case. The parent's pages would be read only for this one.
    """
    if older is not None and older.state is CommitState.LIVE:
        return older
    return known.get(step.parent) or _get(backend, step.parent) if step.parent is not None else None


def _is_file(backend: Backend, commit: Commit, path: str) -> bool:
    return lookup(commit.readable_root, path, source=backend.pages) is not None


def _squashes_before(backend: Backend, head: Commit | None) -> list[tuple[CommitId, CommitId]]:
    if head is None:
        return []
    with backend.catalog.ask() as connection:
        return squashes_of(connection, head.repo)


def _standing_for(
    connection: AnyConnection, writer: Commit, commit: Commit, squashes: Sequence[tuple[CommitId, CommitId]]
) -> Commit | None:
    """Return *writer*, or the commit it was squashed into, if it is in the history of *commit*, or None."""
    if ancestor_at(connection, commit.id, writer.number) == writer.id:
        return writer
    for old, new in squashes:
        became = get_commit(connection, new)
        if became.number <= writer.number and ancestor_at(connection, old, writer.number) == writer.id:
            found = _standing_for(connection, became, commit, squashes)
            if found is not None:
                return found
    return None


def _did_change(backend: Backend, commit: Commit, parent: Commit | None, path: str) -> bool:
    """Return whether a commit changed the file *path*, or something below that directory.

    Raises:
        CommitForgottenError: The parent's data has expired, and no file at the path names this commit as its writer.
    """
    if parent is None or parent.state is CommitState.LIVE:
        return _differ(backend, commit, parent, path)
    below = scan(commit.readable_root, f"{path}/" if path else "", source=backend.pages)
    own = fixed_column([bytes.fromhex(commit.id)], COMMIT_TYPE.byte_width)[0]
    if any(pc.any(pc.equal(rows.column("commit"), own)).as_py() for rows in below):
        return True
    raise CommitForgottenError(parent.id)


def _differ(backend: Backend, new: Commit, old: Commit | None, path: str) -> bool:
    """Return whether two commits differ in the file *path*, or below the directory *path*."""
    root = None if old is None else old.readable_root
    return differ_at(root, new.readable_root, path, source=backend.pages)


def _get(backend: Backend, commit_id: CommitId | None) -> Commit | None:
    if commit_id is None:
        return None
    with backend.catalog.ask() as connection:
        return get_commit(connection, commit_id)


def _as_hex(digests: pa.ChunkedArray) -> pa.Array:
    return optional_text_column([None if digest is None else digest.hex() for digest in digests.to_pylist()])
