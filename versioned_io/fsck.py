"""Checking a store: everything that its names lead to is read, and every byte is compared with its name."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

from versioned_io.backend import Backend
from versioned_io.catalog.commits import get_commit, heads, pack_of
from versioned_io.catalog.journal import decode_entry, entries_of
from versioned_io.catalog.lineage import inputs_of
from versioned_io.catalog.repos import list_repos
from versioned_io.catalog.values import Commit, CommitState
from versioned_io.chunks.cutting import digest_of, file_digest
from versioned_io.chunks.reader import ChunkReader
from versioned_io.chunks.refs import ChunkRef
from versioned_io.errors import IntegrityError, VersionedError
from versioned_io.history import walk_history
from versioned_io.identifiers import CommitId
from versioned_io.packs.frames import FrameKind, FrameRef, pack_name
from versioned_io.packs.reader import iterate_frames
from versioned_io.pages.read import FileRow, file_rows
from versioned_io.pages.schema import Page, PageRef, index_digest, leaf_digest
from versioned_io.pages.source import PageSource
from versioned_io.transactions.record import decode_record

_Bounds: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Problem:
    """One damage: a stable *kind* (``commit``, ``page``, ``file`` or ``journal``), where it is, and what was found."""

    kind: str
    where: str
    found: str


@dataclass(frozen=True, slots=True)
class FsckReport:
    """What was checked, and every damage; none means that every byte that the names lead to is as it was written."""

    problems: tuple[Problem, ...]
    commits: int
    files: int
    chunks: int
    bytes_checked: int

    @property
    def is_clean(self) -> bool:
        """Whether no damage was found."""
        return not self.problems


@dataclass(slots=True)
class _Check:
    """A check under way; what was seen under one commit is not read again for the next."""

    backend: Backend
    source: PageSource
    reader: ChunkReader
    problems: list[Problem] = field(default_factory=list)
    commits: set[CommitId] = field(default_factory=set)
    pages: dict[FrameRef, _Bounds | None] = field(default_factory=dict)
    files: set[tuple[str, bytes]] = field(default_factory=set)
    chunks: set[ChunkRef] = field(default_factory=set)
    bytes_checked: int = 0

    def report(self) -> FsckReport:
        return FsckReport(
            tuple(self.problems), len(self.commits), len(self.files), len(self.chunks), self.bytes_checked
        )


def check_store(backend: Backend) -> FsckReport:
    """Check every commit that a branch or a tag leads to: its record, its pages, its files and their chunks.

    A damage is reported and the check goes on. Nothing is repaired. What this process holds in its caches is not
    trusted: all is read again.

    Cost: every page, chunk and record that is reachable is read once; memory for the names of what was seen.
    """
    check = _Check(backend, PageSource(backend.objects), ChunkReader(backend.objects))
    with backend.catalog.read() as connection:
        starts = [get_commit(connection, head) for head in dict.fromkeys(heads(connection))]
    for start in starts:
        _check_history(check, start)
    _check_journal(check)
    return check.report()


def _check_history(check: _Check, head: Commit) -> None:
    """Check *head* and the commits before it that were not checked yet."""
    number = head.number
    for commit in walk_history(check.backend, head):
        if commit.number != number or (commit.parent is None) != (number == 1):
            found = f"it has the number {commit.number} where {number} must be"
            check.problems.append(Problem("commit", str(commit), found))
        number = commit.number - 1
        if commit.id in check.commits:
            return
        check.commits.add(commit.id)
        _check_record(check, commit)
        if commit.root is not None and commit.state is CommitState.LIVE:
            _check_page(check, commit, commit.root)


def _check_page(check: _Check, commit: Commit, ref: PageRef) -> _Bounds | None:
    """Check a page and all below it, unless that was done; return its first and last path, or None if it is damaged."""
    if ref.frame in check.pages:
        return check.pages[ref.frame]
    check.pages[ref.frame] = None
    try:
        page = check.source.load(ref.frame, ref.level)
        if ref.level:
            bounds = _check_index(check, commit, ref, page)
        else:
            bounds = _check_leaf(check, commit, ref, page)
    except VersionedError as error:
        check.problems.append(Problem("page", str(commit), str(error)))
        return None
    check.pages[ref.frame] = bounds
    return bounds


def _check_leaf(check: _Check, commit: Commit, ref: PageRef, page: Page) -> _Bounds:
    sizes = page.batch.column("size").to_pylist()
    _compare_page(ref, leaf_digest(page.batch), page.batch.num_rows, sum(sizes))
    _check_order(ref, page.paths)
    for row in file_rows(page.batch):
        check.files.add((row.path, row.digest))
        try:
            _check_file(check, row)
        except VersionedError as error:
            check.problems.append(Problem("file", f"{commit}:{row.path}", str(error)))
    return page.paths[0], page.paths[-1]


def _check_index(check: _Check, commit: Commit, ref: PageRef, page: Page) -> _Bounds:
    entries = page.entries
    files, size_bytes = sum(entry.files for entry in entries), sum(entry.size_bytes for entry in entries)
    _compare_page(ref, index_digest(entries), files, size_bytes)
    first = before = ""
    for entry in entries:
        bounds = _check_page(check, commit, entry.ref(ref.level - 1))
        if bounds is not None and (bounds[1] != entry.last or bounds[0] <= before):
            raise _wrong_page(
                ref, f"it lists {entry.last!r} after {before!r} for a page of {bounds[0]!r} to {bounds[1]!r}"
            )
        first = first or (bounds[0] if bounds is not None else entry.last)
        before = entry.last
    return first, before


def _compare_page(ref: PageRef, digest: bytes, files: int, size_bytes: int) -> None:
    if digest != ref.digest:
        raise _wrong_page(ref, f"its content makes the digest {digest.hex()}, not {ref.digest.hex()}")
    if (files, size_bytes) != (ref.files, ref.size_bytes):
        raise _wrong_page(ref, f"it holds {files} files of {size_bytes} bytes, not {ref.files} of {ref.size_bytes}")


def _check_order(ref: PageRef, paths: list[str]) -> None:
    if any(left >= right for left, right in pairwise(paths)):
        raise _wrong_page(ref, "its paths are not in order")


def _wrong_page(ref: PageRef, reason: str) -> IntegrityError:
    return IntegrityError(f"page at byte {ref.offset} of pack {pack_name(ref.pack)} is wrong: {reason}")


def _check_record(check: _Check, commit: Commit) -> None:
    """The catalog and the commit's record in its pack must say the same."""
    with check.backend.catalog.read() as connection:
        pack = pack_of(connection, commit.id)
        inputs = {use.file for use in inputs_of(connection, [commit.id])}
    try:
        records = [
            decode_record(bytes(payload))
            for kind, _, payload in iterate_frames(check.backend.objects, pack)
            if kind is FrameKind.COMMIT
        ]
    except VersionedError as error:
        check.problems.append(Problem("commit", str(commit), str(error)))
        return
    if not any(record.commit == commit and set(record.inputs) == inputs for record in records):
        check.problems.append(
            Problem("commit", str(commit), f"pack {pack} holds no record that says what the catalog says")
        )


def _check_journal(check: _Check) -> None:
    """The catalog and the entries in the packs must say the same of every name."""
    with check.backend.catalog.read() as connection:
        entries = [found for repo in list_repos(connection) for found in entries_of(connection, repo.name)]
    for recorded, pack in entries:
        where = f"{recorded.entry.action} of {recorded.entry.repo}@{recorded.entry.name}"
        try:
            frames = iterate_frames(check.backend.objects, pack)
            stored = [decode_entry(bytes(payload)) for kind, _, payload in frames if kind is FrameKind.JOURNAL]
        except VersionedError as error:
            check.problems.append(Problem("journal", where, str(error)))
            continue
        if recorded not in stored:
            check.problems.append(
                Problem("journal", where, f"pack {pack} holds no entry that says what the catalog says")
            )


def _check_file(check: _Check, row: FileRow) -> None:
    if file_digest([chunk.digest for chunk in row.chunks], [chunk.size for chunk in row.chunks]) != row.digest:
        msg = f"its chunks do not make up its digest {row.digest.hex()}"
        raise IntegrityError(msg)
    if sum(chunk.size for chunk in row.chunks) != row.size:
        msg = f"its chunks do not make up its size {row.size}"
        raise IntegrityError(msg)
    unseen = [chunk for chunk in dict.fromkeys(row.chunks) if chunk not in check.chunks]
    for chunk, data in zip(unseen, check.reader.read_chunks(unseen), strict=True):
        check.bytes_checked += chunk.size
        if digest_of(data) != chunk.digest:
            msg = f"chunk {chunk.digest.hex()} in pack {pack_name(chunk.pack)} holds other bytes than its name says"
            raise IntegrityError(msg)
        check.chunks.add(chunk)
