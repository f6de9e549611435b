"""Reading a branch together with its staged changes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from versioned_io.errors import NotAFileError, PathNotFoundError
from versioned_io.model.identifiers import Digest
from versioned_io.model.paths import parse_directory, parse_path
from versioned_io.storage.chunks.chunk_columns import TakenFile
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.versioning.snapshots.file_info import FileInfo, FileKind, decode_attributes
from versioned_io.versioning.snapshots.snapshot import Snapshot
from versioned_io.versioning.transactions.branch_draft import BranchDraft
from versioned_io.versioning.transactions.staging import StagedFile


class FileBelow(NamedTuple):
    """A file of a tree that is copied or moved as one."""

    below: str
    """The path below the tree's; empty for a tree that is one file."""
    file: StagedFile


class StagedView:
    """Reads a branch as the transaction leaves it: the staged changes on top of the head."""

    def __init__(self, draft: BranchDraft, chunks: ChunkReader) -> None:
        self._draft = draft
        self._staging = draft.staging
        self._snapshot = draft.snapshot
        self._chunks = chunks

    def read(self, path: str) -> bytes:
        """Return the bytes of a file as it is staged, or else as the branch had it when the transaction began.

        A transaction that reads and changes a file depends on that read. When another writer has changed the file
        meanwhile, it ends with `ConflictError`, even if both wrote the same bytes.

        >>> with store.transaction("weather@main") as tx:
        ...     _ = tx.write("copy.csv", tx.read("2012/01.csv"))

        Raises:
            PathNotFoundError: The file does not exist, or it is staged for deletion.
            NotAFileError: It is a directory.

        Cost: as `Snapshot.read`; none for bytes that are still in memory.
        """
        self._draft.check_open("read")
        path = parse_path(path)
        file = self._staging.find(path)
        if file is None:
            self._staging.note_read(path)
            self.check_own_file(path)
            return self._snapshot.read(path)
        if isinstance(file.content, TakenFile):
            return self._draft.intake.read(file.content)
        return self._chunks.read_file(file.content.chunks)

    def exists(self, path: str) -> bool:
        """Return whether a file or directory exists at *path*, as it is staged.

        >>> with store.transaction("weather@main") as tx:
        ...     tx.exists("2012/01.csv"), tx.exists("2013")
        (True, False)

        Cost: at most 1 GET a page level.
        """
        self._draft.check_open("read")
        path = parse_path(path)
        if self._staging.find(path) is not None or self._staging.has_below(path):
            return True
        if self._snapshot.is_directory(path):
            return self._survives(path)
        return not self._staging.hides(path) and self._snapshot.exists(path)

    def list(self, directory: str = "") -> Iterator[FileInfo]:
        """Yield the files and directories right below *directory*, in order, as they are staged.

        Yields nothing if there is no such directory.

        >>> with store.transaction("weather@main") as tx:
        ...     [entry.path for entry in tx.list("2012")]
        ['2012/01.csv', '2012/02.csv']

        Cost: as `Snapshot.list`.
        """
        self._draft.check_open("list")
        directory = parse_directory(directory)
        entries: dict[str, FileInfo] = {}
        if not self._staging.hides(f"{directory}/" if directory else "") and self._snapshot.is_directory(directory):
            entries = {
                entry.path: entry
                for entry in self._snapshot.list(directory)
                if (self._survives(entry.path) if entry.is_directory else not self._staging.hides(entry.path))
            }
        for path, file in self._staging.below(directory):
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

    def below(self, origin: str) -> Iterator[FileBelow]:
        """Yield the file at *origin*, or the files below that directory, as they are staged.

        Raises:
            PathNotFoundError: There is neither.
        """
        found: dict[str, StagedFile] = {}
        if not self._snapshot.is_empty and self._snapshot.exists(origin):
            rows = rows_below(self._snapshot, origin)
            found = {
                below: replace(row, is_own=True)
                for below, row in rows
                if not self._staging.hides(f"{origin}/{below}" if below else origin)
            }
        file = self._staging.find(origin)
        # A file and a path below it may both be staged: the commit refuses that, so neither is lost before.
        found |= {} if file is None else {"": file}
        found |= {path[len(origin) + 1 :]: file for path, file in self._staging.below(origin)}
        if not found:
            raise PathNotFoundError(origin, self._snapshot.name)
        yield from map(FileBelow, found, found.values())

    def attributes_of(self, path: str) -> str | None:
        """Return the encoded attributes of the file at *path*, as it is staged."""
        file = self._staging.find(path)
        if file is not None:
            return file.attributes
        self.check_own_file(path)
        return self._snapshot.row(path).attributes

    def check_own_file(self, path: str) -> None:
        """Refuse a path whose file in the branch is staged for deletion, or that is now a directory."""
        is_hidden = self._staging.hides(path)
        if self._staging.has_below(path):
            # A path staged below a file is a collision, which the commit refuses; until then the file exists.
            stands = not is_hidden and not self._snapshot.is_directory(path) and self._snapshot.exists(path)
            if not stands:
                raise NotAFileError(path, self._snapshot.name)
        if is_hidden:
            raise PathNotFoundError(path, self._snapshot.name, "this transaction deletes it")

    def _survives(self, directory: str) -> bool:
        """Return whether the branch has a file below *directory* that is not staged for deletion."""
        if self._staging.hides(f"{directory}/"):
            return False
        paths = (path for rows in self._snapshot.batches(directory) for path in rows.column("path").to_pylist())
        return any(not self._staging.hides(path) for path in paths)


def rows_below(snapshot: Snapshot, path: str) -> Iterator[FileBelow]:
    """Yield the file at *path* of a snapshot, or all files below that directory; they count as read."""
    if not snapshot.is_directory(path):
        row = snapshot.row(path)
        yield FileBelow("", StagedFile(row, row.attributes))
        return
    skipped = len(path) + 1 if path else 0
    for row in snapshot.rows(path):
        yield FileBelow(row.path[skipped:], StagedFile(row, row.attributes))
