"""Answers about history: the commits of a branch or of one path, and what differs between two of them."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import pyarrow as pa

from versioned_io.backend import Backend
from versioned_io.catalog.commits import get_commit, history_batch
from versioned_io.catalog.values import Commit
from versioned_io.columns import optional_text_column
from versioned_io.errors import PathNotFoundError
from versioned_io.identifiers import CommitId
from versioned_io.pages.diff import diff
from versioned_io.pages.read import lookup
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
    lies between is not looked at.

    Raises:
        PathNotFoundError: No commit of this history ever had it.

    Cost: 1 look-up and 2 SELECTs for each change of a file; where the path is a directory, or is not there, the pages
        that differ below it, for each commit.
    """
    path = parse_directory(path)
    found = False
    current = head
    while current is not None and (limit is None or limit > 0):
        current = _newest_change(backend, current, path)
        if current is None:
            break
        found = True
        limit = None if limit is None else limit - 1
        yield current
        current = _get(backend, current.parent)
    if not found and limit != 0:
        raise PathNotFoundError(
            path, "the empty history" if head is None else f"the history of {head}", "no commit ever had it"
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


def _newest_change(backend: Backend, commit: Commit, path: str) -> Commit | None:
    """Return the newest commit of the history up to *commit* that changed *path*."""
    row = lookup(commit.readable_root, path, source=backend.pages) if path else None
    if row is not None:
        writer = _get(backend, CommitId(row.commit.hex()))
        if writer is not None and writer.repo == commit.repo:
            return writer
    # Each commit is compared with the next older one, its parent.
    older = walk_history(backend, commit)
    current = next(older)
    for parent in chain(older, [None]):
        if _differ(backend, current, parent, path):
            return current
        if parent is not None:
            current = parent
    return None


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
