"""Checking a store: everything that its names lead to is read, and every byte is compared with its name."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from versioned_io.backend import Backend
from versioned_io.catalog.commits import get_commit, heads, pack_of
from versioned_io.catalog.values import Commit
from versioned_io.chunks.cutting import digest_of, file_digest
from versioned_io.errors import IntegrityError, VersionedError
from versioned_io.history import walk_history
from versioned_io.identifiers import CommitId
from versioned_io.packs.frames import FrameKind, pack_name
from versioned_io.packs.reader import iterate_frames
from versioned_io.pages.read import FileRow, file_rows, scan
from versioned_io.transactions.record import decode_record


@dataclass(frozen=True, slots=True)
class Problem:
    """One damage: a stable *kind* (``commit``, ``page`` or ``file``), where it is, and what was found."""

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
    """A check under way; versions of files and chunks that were seen in one commit are not read again for the next."""

    backend: Backend
    problems: list[Problem] = field(default_factory=list)
    commits: set[CommitId] = field(default_factory=set)
    trees: set[bytes] = field(default_factory=set)
    files: set[tuple[bytes, bytes]] = field(default_factory=set)
    chunks: set[bytes] = field(default_factory=set)
    bytes_checked: int = 0

    def report(self) -> FsckReport:
        return FsckReport(
            tuple(self.problems), len(self.commits), len(self.files), len(self.chunks), self.bytes_checked
        )


def check_store(backend: Backend) -> FsckReport:
    """Check every commit that a branch or a tag leads to: its record, its pages, its files and their chunks.

    A damage is reported and the check goes on. Nothing is repaired.

    Cost: every page, chunk and record that is reachable is read once; memory for the digests seen.
    """
    check = _Check(backend)
    for commit in _reachable(backend):
        if commit.id not in check.commits:
            check.commits.add(commit.id)
            _check_commit(check, commit)
    return check.report()


def _reachable(backend: Backend) -> Iterator[Commit]:
    with backend.catalog.read() as connection:
        starts = [get_commit(connection, head) for head in dict.fromkeys(heads(connection))]
    for start in starts:
        yield from walk_history(backend, start)


def _check_commit(check: _Check, commit: Commit) -> None:
    _check_record(check, commit)
    if commit.root is None or commit.root.digest in check.trees:
        return
    check.trees.add(commit.root.digest)
    count = size = 0
    try:
        for batch in scan(commit.root, source=check.backend.pages):
            count += batch.num_rows
            size += sum(batch.column("size").to_pylist())
            _check_files(check, commit, batch)
    except VersionedError as error:
        check.problems.append(Problem("page", str(commit), str(error)))
        return
    if (count, size) != (commit.root.files, commit.root.size_bytes):
        found = f"its tree holds {count} files of {size} bytes, not {commit.root.files} of {commit.root.size_bytes}"
        check.problems.append(Problem("page", str(commit), found))


def _check_record(check: _Check, commit: Commit) -> None:
    """The catalog and the commit's record in its pack must say the same."""
    with check.backend.catalog.read() as connection:
        pack = pack_of(connection, commit.id)
    try:
        records = [
            decode_record(bytes(payload)).commit
            for kind, _, payload in iterate_frames(check.backend.objects, pack)
            if kind is FrameKind.COMMIT
        ]
    except VersionedError as error:
        check.problems.append(Problem("commit", str(commit), str(error)))
        return
    if commit not in records:
        check.problems.append(
            Problem("commit", str(commit), f"pack {pack} holds no record that says what the catalog says")
        )


def _check_files(check: _Check, commit: Commit, batch: pa.RecordBatch) -> None:
    for row in file_rows(batch):
        version = (row.path.encode(), row.digest)
        if version not in check.files:
            check.files.add(version)
            try:
                _check_file(check, row)
            except VersionedError as error:
                check.problems.append(Problem("file", f"{commit}:{row.path}", str(error)))


def _check_file(check: _Check, row: FileRow) -> None:
    if file_digest([chunk.digest for chunk in row.chunks], [chunk.size for chunk in row.chunks]) != row.digest:
        msg = f"its chunks do not make up its digest {row.digest.hex()}"
        raise IntegrityError(msg)
    if sum(chunk.size for chunk in row.chunks) != row.size:
        msg = f"its chunks do not make up its size {row.size}"
        raise IntegrityError(msg)
    unseen = [chunk for chunk in row.chunks if chunk.digest not in check.chunks]
    for chunk, data in zip(unseen, check.backend.chunks.read_chunks(unseen), strict=True):
        check.chunks.add(chunk.digest)
        check.bytes_checked += chunk.size
        if digest_of(data) != chunk.digest:
            msg = f"chunk {chunk.digest.hex()} in pack {pack_name(chunk.pack)} holds other bytes than its name says"
            raise IntegrityError(msg)
