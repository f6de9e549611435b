"""The differences between a branch and a commit whose data was expired or dropped, as far as they can be told."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.errors import IntegrityError
from versioned_io.model.columns import bool_column, text_scalar, whole_column
from versioned_io.model.commits import Commit, CommitState
from versioned_io.model.identifiers import CommitId
from versioned_io.processing.seen_histories import walk
from versioned_io.storage.pages.diff import diff
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.read import lookup_many, scan
from versioned_io.storage.pages.schema import ROWS
from versioned_io.storage.pages.touched import PathProbe
from versioned_io.versioning.backend.backend import Backend

_WRITERS = pa.schema([ROWS.field("path"), ROWS.field("commit")])


@dataclass(frozen=True, slots=True)
class Differences:
    """The files in which a branch's head differs from a commit that a consumer has seen.

    Attributes:
        written: path and commit of the files that the head has, and that were added or changed.
        gone: The paths that the head no longer has.
        unknown: The gaps in the difference, as a sentence; empty if it is exact.
    """

    written: pa.Table
    gone: pa.Array | pa.ChunkedArray
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Paths:
    """The records of the commits between a seen commit and a head; they are kept when the data expires.

    Attributes:
        left: The history of *seen* that the head does not have, oldest first; *seen* is the last, or this is empty.
        taken: The history of the head that *seen* does not have, oldest first.
        fork: The newest commit that both have; None if they have none in common.
    """

    seen: Commit
    head: Commit
    left: Sequence[Commit]
    taken: Sequence[Commit]
    fork: Commit | None


def differences_to_expired(backend: Backend, paths: Paths) -> Differences:
    """Return in which files the head differs from a commit whose data has expired.

    Its pages are compared as long as they are stored: only their data may not be read. If they are deleted, the records
    of the commits between tell most of it. A file of the head names the commit that wrote it, and the filters of the
    others say which paths they did not touch. So no changed file of the head is left out; a file may be included that
    was changed and changed back. Files that the head no longer has are known only where an older tree is kept.

    Cost: that of a diff if the pages are stored; otherwise that of reading all pages of the head.
    """
    seen, head = paths.seen, paths.head
    # A lost page is what is expected here, so nothing is recorded as damaged.
    source = PageSource(backend.objects, damages=replace(backend.damages, takes_notes=False))
    try:
        changed = diff(seen.root, head.readable_root, source=source)
    except IntegrityError:
        return _estimate(backend, paths)
    return differences_of(backend, head, changed)


def differences_of(backend: Backend, head: Commit, changed: pa.Table) -> Differences:
    """Return the differences that a diff with *head* has found. Cost: reads the pages that hold the written files."""
    is_gone = pc.equal(changed.column("change"), text_scalar("deleted"))
    written = changed.filter(pc.invert(is_gone)).column("path")
    writers = lookup_many(head.readable_root, written.to_pylist(), source=backend.pages).select(_WRITERS.names)
    return Differences(writers, changed.filter(is_gone).column("path"))


def _estimate(backend: Backend, paths: Paths) -> Differences:
    base = _kept_base(paths)
    before = [] if base is None or base is paths.fork else list(_up_to(paths.taken, base.id))
    changed = diff(None if base is None else base.readable_root, paths.head.readable_root, source=backend.pages)
    is_gone = pc.equal(changed.column("change"), text_scalar("deleted"))
    rows = _rows(backend, paths.head)
    differs = pc.is_in(rows.column("path"), value_set=whole_column(changed.filter(pc.invert(is_gone)).column("path")))
    judge = _SeenFiles(paths, before, {commit.id for commit in walk(backend, paths.seen)})
    flags = bool_column(
        judge.may_differ(path, CommitId(writer.hex()), differs_from_base=known)
        for path, writer, known in zip(
            rows.column("path").to_pylist(), rows.column("commit").to_pylist(), differs.to_pylist(), strict=True
        )
    )
    written = rows.filter(pa.chunked_array([flags]))
    unknown = _unknown(paths, before, unchanged=len(rows) - len(written))
    return Differences(written, changed.filter(is_gone).column("path"), unknown)


def _kept_base(paths: Paths) -> Commit | None:
    """Return the oldest kept commit that the head took, or the fork; None for the empty tree before the first."""
    if paths.fork is None and paths.taken:
        return None
    return next((one for one in (paths.fork, *paths.taken) if one is not None and _is_kept(one)), paths.head)


class _SeenFiles:
    """Says of each file of the head whether it may differ from the seen commit's."""

    def __init__(self, paths: Paths, before: Sequence[Commit], had: Collection[CommitId]) -> None:
        """Judge by a kept tree and the records of commits.

        Args:
            before: The commits that the head took up to the kept tree, its own included.
            had: The history of the seen commit.
        """
        self._left = {commit.id: number for number, commit in enumerate(paths.left)}
        self._left_filters = [commit.touched for commit in paths.left]
        self._before = {commit.id for commit in before}
        self._before_filters = [commit.touched for commit in before]
        self._had = had

    def may_differ(self, path: str, writer: CommitId, *, differs_from_base: bool) -> bool:
        """Return False only if the seen commit had the same version of the file."""
        at = self._left.get(writer)
        if at is None and (differs_from_base or writer in self._before):
            return True
        filters = self._left_filters if at is None else self._left_filters[at + 1 :]
        if at is None and writer not in self._had:
            # A merge or a squash took the file in; it names a commit of another branch, or one that was squashed.
            filters = [*filters, *self._before_filters]
        if not filters:
            return False
        probe = PathProbe(path)
        return any(probe.may_be_in(touched) for touched in filters)


def _unknown(paths: Paths, before: Sequence[Commit], *, unchanged: int) -> str:
    """Return what the estimate can't tell."""
    what = [f"the data of commit {paths.seen.id}, which was seen last, has expired"]
    what.append("files that were changed since and changed back count as changed")
    is_complete = unchanged == paths.seen.stats.files  # every file of the seen commit is still there, unchanged
    may_lack = any(commit.stats.added for commit in paths.left) or any(commit.stats.deleted for commit in before)
    if may_lack and not is_complete:
        what.append("files that were deleted since may be missing from the changes")
    return "; ".join(what)


def _rows(backend: Backend, head: Commit) -> pa.Table:
    batches = [rows.select(_WRITERS.names) for rows in scan(head.readable_root, source=backend.pages)]
    return pa.Table.from_batches(batches, schema=_WRITERS)


def _up_to(commits: Sequence[Commit], last: CommitId) -> Iterator[Commit]:
    for commit in commits:
        yield commit
        if commit.id == last:
            return


def _is_kept(commit: Commit) -> bool:
    return commit.state is not CommitState.FORGOTTEN
