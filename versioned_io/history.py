"""Answers about history: the commits of a branch or of one path, and what differs between two of them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection

from versioned_io.backend import Backend
from versioned_io.catalog.commits import ancestor_at, get_commit, history_batch
from versioned_io.catalog.journal import squashes_of
from versioned_io.catalog.touched import may_have_touched
from versioned_io.catalog.values import Commit, CommitState
from versioned_io.columns import fixed_column, number_scalar, optional_text_column, text_column, text_scalar
from versioned_io.errors import CommitForgottenError, PathNotFoundError
from versioned_io.identifiers import CommitId
from versioned_io.pages.diff import diff
from versioned_io.pages.read import lookup, scan
from versioned_io.pages.schema import COMMIT_TYPE
from versioned_io.paths import parse_directory

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
"""What `diff_trees` returns: digests as 64 hex digits, null where there is none."""

RENAMES = DIFFERENCES.append(pa.field("old_path", pa.string()))
"""What `find_renames` returns."""


def walk_history(backend: Backend, head: Commit | None, limit: int | None = None) -> Iterator[Commit]:
    """Yield *head* and the commits before it, newest first, at most *limit*.

    Cost: 3 SELECTs for each 200 commits, as they are asked for.
    """
    left = limit
    newest = None if head is None else head.id
    while newest is not None and (left is None or left > 0):
        with backend.catalog.read() as connection:
            batch = (
                history_batch(connection, newest) if left is None else history_batch(connection, newest, min(left, 200))
            )
        yield from batch
        left = None if left is None else left - len(batch)
        newest = batch[-1].parent


def walk_path_history(backend: Backend, head: Commit | None, path: str, limit: int | None = None) -> Iterator[Commit]:
    """Yield the commits that changed the file or directory *path*, newest first, at most *limit*.

    While the path is a file, each step jumps from the commit that wrote it to the one that wrote it before: what
    lies between is not looked at. For a commit that was squashed stands the one that it is part of now.

    It ends at the commits whose data was let go of by retention: what they changed can't be told any more.

    Raises:
        PathNotFoundError: No commit of this history has it.
        CommitForgottenError: No commit whose data is kept changed it, so when it was changed can't be told.

    Cost: 1 look-up and 2 SELECTs for each change of a file. Where the path is a directory, or is not there: 3 SELECTs
        for each 200 commits, and the pages that differ below it, for each commit whose filter says that it may have
        touched the path. Of a commit of more than some 2,000 paths and directories the filter knows whole directories.
    """
    path = parse_directory(path)
    found = False
    current = head
    squashes = _squashes_before(backend, head)
    while current is not None and (limit is None or limit > 0):
        try:
            current = _newest_change(backend, current, path, squashes)
        except CommitForgottenError:
            if not found:
                raise
            return
        if current is None:
            break
        found = True
        limit = None if limit is None else limit - 1
        yield current
        current = _get(backend, current.parent)
    if not found and limit != 0:
        raise PathNotFoundError(
            path, "the empty history" if head is None else f"the history of {head}", "no commit has it"
        )


def diff_trees(backend: Backend, old: Commit | None, new: Commit | None) -> pa.Table:
    """Return what differs between two commits, with the columns of `DIFFERENCES`, sorted by path.

    Cost: the pages that differ.
    """
    found = diff(
        None if old is None else old.readable_root, None if new is None else new.readable_root, source=backend.pages
    )
    columns: list[Any] = [found.column(name) for name in ("path", "change", "old_size", "new_size")]
    columns += [_as_hex(found.column(name)) for name in ("old_digest", "new_digest")]
    return pa.Table.from_arrays(columns, schema=DIFFERENCES)


def find_renames(differences: pa.Table) -> pa.Table:
    """Return the differences, with each file that was deleted and added elsewhere with the same content as one rename.

    Only equal digests count, and only of files that are not empty: those are alike without being the same. Of several
    files of one content, those that keep their file name go together first, then the rest in the order of their paths.

    Args:
        differences: As `diff_trees` returns them.

    Returns:
        The columns of `RENAMES`, sorted by path: change is ``renamed`` where old_path is not null.

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
    """Return the paths that *change* happened to, in order, by their digest."""
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


def _newest_change(
    backend: Backend, commit: Commit, path: str, squashes: Sequence[tuple[CommitId, CommitId]]
) -> Commit | None:
    """Return the newest commit of the history up to *commit* that changed *path*."""
    row = lookup(commit.readable_root, path, source=backend.pages) if path else None
    if row is not None:
        writer = _get(backend, CommitId(row.commit.hex()))
        if writer is not None and writer.repo == commit.repo:
            if not squashes:
                return writer
            with backend.catalog.read() as connection:
                standing = _standing_for(connection, writer, commit, squashes)
            # What a merge brought in is not among the parents; its data is kept as long as a merge leads to it.
            if standing is not None or writer.state is CommitState.LIVE:
                return standing or writer
    # Each commit is compared with the next older one, its parent.
    older = walk_history(backend, commit)
    current = next(older)
    for parent in chain(older, [None]):
        if may_have_touched(current.touched, path) and _did_change(backend, current, parent, path):
            return current
        if parent is not None:
            current = parent
    return None


def _squashes_before(backend: Backend, head: Commit | None) -> list[tuple[CommitId, CommitId]]:
    if head is None:
        return []
    with backend.catalog.read() as connection:
        return squashes_of(connection, head.repo)


def _standing_for(
    connection: Connection, writer: Commit, commit: Commit, squashes: Sequence[tuple[CommitId, CommitId]]
) -> Commit | None:
    """Return *writer*, or what it was squashed into, whichever *commit* stands on; None when it stands on neither."""
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
    """Say whether a commit changed the file *path*, or something below that directory.

    Raises:
        CommitForgottenError: The parent's data was let go of, and no file there says that this commit wrote it.
    """
    if parent is None or parent.state is CommitState.LIVE:
        return _differ(backend, commit, parent, path)
    below = scan(commit.readable_root, f"{path}/" if path else "", source=backend.pages)
    own = fixed_column([bytes.fromhex(commit.id)], COMMIT_TYPE.byte_width)[0]
    if any(pc.any(pc.equal(rows.column("commit"), own)).as_py() for rows in below):
        return True
    raise CommitForgottenError(parent.id)


def _differ(backend: Backend, new: Commit, old: Commit | None, path: str) -> bool:
    """Say whether two commits differ in the file *path* or in what is below the directory *path*."""
    changed = diff(
        None if old is None else old.readable_root, new.readable_root, source=backend.pages, prefix=path
    ).column("path")
    below = f"{path}/" if path else ""
    return any(name == path or name.startswith(below) for name in changed.to_pylist())


def _get(backend: Backend, commit_id: CommitId | None) -> Commit | None:
    if commit_id is None:
        return None
    with backend.catalog.read() as connection:
        return get_commit(connection, commit_id)


def _as_hex(digests: pa.ChunkedArray) -> pa.Array:
    return optional_text_column([None if digest is None else digest.hex() for digest in digests.to_pylist()])
