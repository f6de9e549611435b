"""Writing: changes are staged, on one branch or several, and become commits all at once or not at all."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from versioned_io.arguments import check_callable, parse_local_path
from versioned_io.backend import Backend
from versioned_io.catalog.chunk_index import CatalogChunkIndex
from versioned_io.catalog.commits import find_head
from versioned_io.catalog.due_keys import DueKey
from versioned_io.catalog.repos import BranchRow
from versioned_io.catalog.values import Commit, InputFile
from versioned_io.chunks.local_files import take_local_files
from versioned_io.chunks.refs import StoredFile
from versioned_io.chunks.sources import Source
from versioned_io.chunks.writer import DataWriter
from versioned_io.errors import InvalidInputError, NotAFileError, PathNotFoundError
from versioned_io.identifiers import CommitId, Digest
from versioned_io.pages.read import FileRow
from versioned_io.paths import parse_directory, parse_path
from versioned_io.refs import BranchRef, parse_branch_ref
from versioned_io.runs import Run, current_run
from versioned_io.snapshots.glob import parse_glob
from versioned_io.snapshots.snapshot import Snapshot
from versioned_io.snapshots.values import FileInfo, FileKind, TransferProgress, decode_attributes, encode_attributes
from versioned_io.transactions.facts import CommitFacts, Empty
from versioned_io.transactions.in_place import InPlace
from versioned_io.transactions.lease import Lease
from versioned_io.transactions.local_tree import scan_local_tree
from versioned_io.transactions.publish import CommitPlan, publish_plan
from versioned_io.transactions.staged_runs import StagedRun
from versioned_io.transactions.staging import StagedFile

SnapshotResolver = Callable[[str], tuple[Snapshot, str]]
"""Returns the snapshot, and the path in it, that ``repo@ref:path`` names."""


class StagedBranch(InPlace):
    """The changes that a transaction makes to one branch.

    Nothing is seen by others before the transaction commits; `read` and `exists` see what is staged.
    """

    def __init__(
        self,
        backend: Backend,
        writer: DataWriter,
        branch: BranchRow,
        base: Commit | None,
        *,
        run: Run,
        resolve: SnapshotResolver,
    ) -> None:
        super().__init__(writer, backend.elsewhere)
        self._chunks = backend.chunks
        self._run = run
        self._resolve = resolve
        self.target = branch
        self.base = base
        # What the branch itself held is no input of the change to it: the parent says so already.
        self._snapshot = Snapshot(backend, branch.ref.repo, branch.ref.branch, base, is_noted=False)
        self._commit: Commit | None = None
        self._why_no_commit = "the transaction is not committed yet"
        self._changed = False

    @property
    def commit(self) -> Commit:
        """The commit that came of it, or, when nothing changed and none was made, the head as it is.

        Raises:
            InvalidInputError: The transaction is still open or was abandoned, or the branch never had a commit.
        """
        if self._commit is None:
            msg = f"there is no commit: {self._why_no_commit}"
            raise InvalidInputError(msg)
        return self._commit

    @property
    def changed(self) -> bool:
        """Whether a commit was made."""
        return self._changed

    def write(
        self, path: str, source: Source | str, *, append: bool = False, attributes: Mapping[str, str] | None = None
    ) -> FileInfo:
        """Stage a file: whatever *path* held is replaced, or, with *append*, continued.

        Args:
            source: The bytes, a `Path` of a local file, a binary file (read from its position), or an iterator of
                bytes. Not a `str`: text is encoded, and a local file is a `Path`.
            attributes: Text to keep with the file, such as its format; None for none, or, with *append*, for those
                that the file has.

        Returns:
            What the file will be; its digest is final, its ``written_by`` is not known yet.

        Raises:
            IllegalPathError: *path* breaks the path rules.
            InvalidInputError: *source* is none of the kinds that can be read, or an attribute is not text.
            NotAFileError: *append* was asked for, and *path* is a directory.
            TransactionClosedError: The transaction has ended.
            OSError: The local file can't be read.

        Cost: as `DataWriter.write`; an append reads the last chunk, at most 1 MiB, of the file that it continues, and
            stores that again with what is added, however large the file is.
        """
        self._check_open("write")
        path = parse_path(path)
        text = encode_attributes(attributes)
        continues = append and self.exists(path)
        if isinstance(source, str):
            msg = (
                f"can't write the text {source[:40]!r}: encode it to bytes, or pass a pathlib.Path to read a local file"
            )
            raise InvalidInputError(msg)
        if continues and attributes is None:
            text = self._attributes_of(path)
        stored = self._append(path, source) if continues else self._writer.write(source)
        self.staging.write(path, StagedFile(stored, text))
        return FileInfo(path, FileKind.FILE, stored.size, Digest(stored.digest.hex()), decode_attributes(text))

    def write_tree(
        self, directory: str | Path, to: str = "", *, progress: Callable[[TransferProgress], None] | None = None
    ) -> int:
        """Stage every file below a local directory, under the directory *to*, and return how many.

        What *to* held and the local directory does not is left as it is. The files should not change meanwhile.

        Args:
            progress: Called at the beginning, at the end, and in between for about every 4 MiB or 4,096 files.

        Raises:
            InvalidInputError: *directory* is no directory, or holds a symbolic link or a special file.
            IllegalPathError: A file's name breaks the path rules.
            SourceChangedError: A file vanished, or changed while it was read; import again.
            OSError: A file or directory can't be read.
            StorageError: The object store failed; give up this transaction.

            Nothing is staged then.

        Cost: 1 index look-up for every 4 MiB or 4,096 files, 1 PUT for every 48 MiB of new compressed data. Some 20 us
            of CPU a small file, a part of it on other cores; about 200 bytes of memory a file.
        """
        self._check_open("write a tree")
        check_callable(progress, "progress")
        tree = scan_local_tree(Path(parse_local_path(directory, "directory")), parse_directory(to))
        done_files = done_bytes = 0

        def on_read(files: int, size_bytes: int) -> None:
            nonlocal done_files, done_bytes
            done_files, done_bytes = done_files + files, done_bytes + size_bytes
            if progress is not None:
                progress(TransferProgress(done_files, tree.files, done_bytes, tree.size_bytes))

        on_read(0, 0)
        files = take_local_files(self._writer, tree.sources(), on_read=on_read)
        self.staging.write_run(StagedRun.of(list(tree.paths()), files))
        return tree.files

    def copy(self, source: str, to: str) -> int:
        """Stage a file or a directory of any snapshot at *to*, by reference, and return how many files: no bytes move.

        Args:
            source: ``repo@ref:path`` for any commit of the store; ``:path`` for this branch with what is staged.

        Raises:
            PathNotFoundError: There is nothing at *source*.
            InvalidInputError: *source* is a file, and *to* ends with ``/``.

        Cost: the pages of the source's files.
        """
        self._check_open("copy")
        target = parse_directory(to)
        if isinstance(source, str) and source.startswith(":"):
            copies = list(self._staged_below(parse_path(source[1:])))
        else:
            with self._run.active():
                copies = list(_rows_below(*self._resolve(source)))
        if to.endswith("/") and not all(below for below, _ in copies):
            msg = f"can't copy the file {source!r} to the directory {to!r}: name the file there, such as '{to}name'"
            raise InvalidInputError(msg)
        for below, file in copies:
            self.staging.write(parse_path(f"{target}/{below}" if below else to), file)
        return len(copies)

    def move(self, source: str, to: str) -> int:
        """Stage the renaming of a file or a directory of this branch, and return how many files moved.

        Raises:
            PathNotFoundError: There is nothing at *source*.
            InvalidInputError: *to* is below *source*.

        Cost: the pages of the source's files; no bytes move.
        """
        self._check_open("move")
        origin, target = parse_path(parse_directory(source)), parse_path(parse_directory(to))
        if target == origin or target.startswith(f"{origin}/"):
            msg = f"can't move {origin!r} to {target!r}: that is the same place, or below it"
            raise InvalidInputError(msg)
        moves = list(self._staged_below(origin))
        # First away with the old place: it may hold the new one, as when a/b/b moves with a/b to a.
        self._delete(origin)
        for below, file in moves:
            self.staging.write(parse_path(f"{target}/{below}" if below else target), file)
        return len(moves)

    def delete(self, path: str) -> None:
        """Stage the end of a file, or of everything below a directory when *path* ends with ``/`` or names one.

        Deleting what is not there changes nothing.

        Raises:
            IllegalPathError: *path* breaks the path rules.

        Cost: at most 1 GET a page level.
        """
        self._check_open("delete")
        if isinstance(path, str) and path.endswith("/"):
            self.staging.delete_directory(parse_directory(path))
        else:
            self._delete(parse_path(path))

    def delete_glob(self, pattern: str) -> int:
        """Stage the end of the files whose paths match *pattern*, those staged here too, and return how many there are.

        Raises:
            InvalidInputError: The pattern is malformed.

        Cost: as `Snapshot.glob`.
        """
        self._check_open("delete")
        glob = parse_glob(pattern)
        doomed = {file.path for file in self._snapshot.glob(pattern) if not self.staging.hides(file.path)}
        doomed.update(path for path, _ in self.staging.below("") if not glob.is_directory and glob.matches(path))
        for path in sorted(doomed):
            self.staging.delete_file(path)
        return len(doomed)

    def read(self, path: str) -> bytes:
        """Return the bytes of a file as it is staged, or else as the branch had it when the transaction began.

        A transaction that reads a file and changes it counts on what it read: when another writer has changed the file
        meanwhile, it ends with `ConflictError`, even if both happened to write the same.

        Raises:
            PathNotFoundError: There is no such file, or it is staged to go.
            NotAFileError: It is a directory.

        Cost: as `Snapshot.read`; none for what is still in memory.
        """
        self._check_open("read")
        path = parse_path(path)
        file = self.staging.find(path)
        if file is None:
            self.staging.note_read(path)
            self._check_own_file(path)
            return self._snapshot.read(path)
        if isinstance(file.content, StoredFile):
            return self._writer.read(file.content)
        return self._chunks.read_file(file.content.chunks)

    def exists(self, path: str) -> bool:
        """Say whether there is a file or directory at *path*, as it is staged.

        Cost: at most 1 GET a page level.
        """
        self._check_open("read")
        path = parse_path(path)
        if self.staging.find(path) is not None or self.staging.has_below(path):
            return True
        if self._snapshot.is_directory(path):
            return self._survives(path)
        return not self.staging.hides(path) and self._snapshot.exists(path)

    def list(self, directory: str = "") -> Iterator[FileInfo]:
        """Yield the files and directories right below *directory*, in order, as they are staged; none if it is none.

        Cost: as `Snapshot.list`.
        """
        self._check_open("list")
        directory = parse_directory(directory)
        entries: dict[str, FileInfo] = {}
        if self._snapshot.is_directory(directory):
            entries = {
                entry.path: entry
                for entry in self._snapshot.list(directory)
                if (self._survives(entry.path) if entry.is_directory else not self.staging.hides(entry.path))
            }
        for path, file in self.staging.below(directory):
            name, slash, _ = path[len(directory) + 1 if directory else 0 :].partition("/")
            child = f"{directory}/{name}" if directory else name
            entries[child] = (
                FileInfo(child, FileKind.DIRECTORY, 0, Digest(""), files=0)
                if slash
                else FileInfo(
                    child, FileKind.FILE, file.size, Digest(file.digest.hex()), decode_attributes(file.attributes)
                )
            )
        yield from (entries[path] for path in sorted(entries))

    def take_over(self, path: str, row: FileRow, *, origin: Commit, keeps_author: bool) -> None:
        """Stage a file of another commit by reference; who keeps its author keeps where it came from, too.

        Cost: none.
        """
        self._check_open("take a file over")
        if not keeps_author:
            writer, digest = CommitId(row.commit.hex()), Digest(row.digest.hex())
            with self._run.making(path):
                self._run.note(origin, InputFile(origin.repo, origin.id, row.path, digest, writer))
        self.staging.write(path, StagedFile(row, row.attributes, author=row.commit if keeps_author else None))

    def delete_exactly(self, path: str) -> None:
        """Stage the end of the file *path*, and of nothing below it. Cost: none."""
        self._check_open("delete")
        self.staging.delete_file(parse_path(path))

    def close(self, commit: Commit | None, *, changed: bool, why_no_commit: str) -> None:
        """End the staging; only the transaction calls this."""
        self._open = False
        self._commit = commit
        self._why_no_commit = why_no_commit
        self._changed = changed

    def _delete(self, path: str) -> None:
        if self._snapshot.is_directory(path) or self.staging.has_below(path):
            self.staging.delete_directory(path)
        self.staging.delete_file(path)

    def _append(self, path: str, source: Source) -> StoredFile:
        file = self.staging.find(path)
        if file is not None:
            return self._writer.append(
                file.content if isinstance(file.content, StoredFile) else file.content.chunks, source
            )
        self.staging.note_read(path)
        self._check_own_file(path)
        return self._writer.append(self._snapshot.row(path).chunks, source)

    def _attributes_of(self, path: str) -> str | None:
        file = self.staging.find(path)
        if file is not None:
            return file.attributes
        self._check_own_file(path)
        return self._snapshot.row(path).attributes

    def _survives(self, directory: str) -> bool:
        """Say whether the branch has a file below *directory* that is not staged to go."""
        if self.staging.hides(f"{directory}/"):
            return False
        paths = (path for rows in self._snapshot.batches(directory) for path in rows.column("path").to_pylist())
        return any(not self.staging.hides(path) for path in paths)

    def _staged_below(self, origin: str) -> Iterator[tuple[str, StagedFile]]:
        found: dict[str, StagedFile] = {}
        if not self._snapshot.is_empty and self._snapshot.exists(origin):
            rows = _rows_below(self._snapshot, origin)
            found = {
                below: replace(row, is_own=True)
                for below, row in rows
                if not self.staging.hides(f"{origin}/{below}" if below else origin)
            }
        file = self.staging.find(origin)
        # Where a file and what is below it are both there, the commit refuses that: neither is lost before.
        found |= {} if file is None else {"": file}
        found |= {path[len(origin) + 1 :]: file for path, file in self.staging.below(origin)}
        if not found:
            raise PathNotFoundError(origin, self._snapshot.name)
        yield from found.items()

    def _check_own_file(self, path: str) -> None:
        """Refuse a path whose file in the branch is staged to go, or that is a directory by now."""
        is_hidden = self.staging.hides(path)
        if self.staging.has_below(path):
            # What is staged below a file that still stands is a collision, which the commit refuses; the file is there.
            stands = not is_hidden and not self._snapshot.is_directory(path) and self._snapshot.exists(path)
            if not stands:
                raise NotAFileError(path, self._snapshot.name)
        if is_hidden:
            raise PathNotFoundError(path, self._snapshot.name, "this transaction deletes it")


class Transaction(StagedBranch):
    """Staged changes to one branch, and through `branch` to others; the end of the ``with`` block commits them all.

    An exception in the block abandons all of it: nothing was ever visible. When another writer has moved a branch
    meanwhile, the changes are replayed on its new head, unless both changed the same path: then `ConflictError` says
    which, and who won.
    """

    def __init__(
        self,
        backend: Backend,
        ref: BranchRef,
        *,
        facts: CommitFacts,
        empty: Empty,
        completes: tuple[DueKey, ...],
        resolve: SnapshotResolver,
        idempotency_key: str | None = None,
    ) -> None:
        self._backend = backend
        self._lease = Lease(backend)
        index = CatalogChunkIndex(backend.catalog)
        self._data = DataWriter(backend.objects, index, elsewhere=backend.elsewhere, before_early_pack=self._lease.hold)
        self._facts = facts
        self._empty = empty
        self._completes = completes
        self._idempotency_key = idempotency_key
        row, base = self._find(ref)
        super().__init__(backend, self._data, row, base, run=current_run() or Run(None), resolve=resolve)
        self._branches: dict[BranchRef, StagedBranch] = {ref: self}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
        elif self._open:
            self.finish()

    def branch(self, ref: str) -> StagedBranch:
        """Return the staging of another branch of this transaction, begun the first time."""
        self._check_open("write to another branch")
        target = parse_branch_ref(ref)
        if target not in self._branches:
            row, base = self._find(target)
            self._branches[target] = StagedBranch(
                self._backend, self._data, row, base, run=self._run, resolve=self._resolve
            )
        return self._branches[target]

    def abort(self) -> None:
        """Abandon every staged change; what was uploaded stays as garbage for the collector."""
        self._data.abort()
        self._lease.abandon()
        for branch in self._branches.values():
            branch.close(None, changed=False, why_no_commit="the transaction was abandoned")

    def abandon(self) -> None:
        """Abandon the transaction if it has not ended yet."""
        if self._open:
            self.abort()

    def finish(self) -> None:
        """Commit every staged change, on all branches or on none. The end of the ``with`` block calls this.

        Raises:
            ConflictError: Another writer changed one of the same paths first; read its commit and begin again.
            PathCollisionError: A path would be a file and a directory; delete one of them.
            EmptyCommitError: Nothing changed, and the transaction was begun with ``empty="refuse"``.
            ClaimLostError: A key of *completes* is somebody else's by now; throw the work away.
            StorageError: The object store or the catalog failed; nothing is visible, begin again.

        Cost: 1 PUT and 1 SQL transaction for a small commit; 1 PUT for every 48 MiB of new data more. When others
            are faster: 1 PUT more, for the pages, never for the data; a large one at most 3.
        """
        self._check_open("commit")
        plan = CommitPlan(
            branches=tuple(self._branches.values()),
            facts=self._facts,
            run=self._run,
            empty=self._empty,
            completes=self._completes,
            lease=self._lease,
            idempotency_key=self._idempotency_key,
        )
        try:
            outcomes = publish_plan(self._backend, self._data, plan)
        except BaseException:
            self.abort()
            raise
        for branch, outcome in zip(self._branches.values(), outcomes, strict=True):
            why_no_commit = f"nothing was ever committed to {branch.target.ref}"
            branch.close(outcome.commit, changed=outcome.changed, why_no_commit=why_no_commit)

    def _find(self, ref: BranchRef) -> tuple[BranchRow, Commit | None]:
        with self._backend.catalog.look_up() as connection:
            return find_head(connection, ref)


def _rows_below(snapshot: Snapshot, path: str) -> Iterator[tuple[str, StagedFile]]:
    """Yield (path below *path*, row as a staged file) of a file or of all files of a directory, noted as read."""
    if not snapshot.is_directory(path):
        row = snapshot.row(path)
        yield "", StagedFile(row, row.attributes)
        return
    skipped = len(path) + 1 if path else 0
    for row in snapshot.rows(path):
        yield row.path[skipped:], StagedFile(row, row.attributes)
