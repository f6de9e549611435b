"""The changes that a transaction has staged on one branch, and what they make of a tree."""

from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.catalog.values import Commit, InputFile
from versioned_io.chunks.refs import CHUNKS_TYPE, ChunkRef, StoredFile
from versioned_io.chunks.writer import DataWriter
from versioned_io.identifiers import CommitId, Digest
from versioned_io.pages.read import FileRow, lookup_many
from versioned_io.pages.schema import ROWS, PageRef
from versioned_io.pages.source import PageSource
from versioned_io.paths import parent_directories


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that waits for its commit: new content, or a reference to content that the store holds.

    Attributes:
        content: What the data writer took in, or the row that the file is a copy of.
        attributes: Canonical JSON, or None.
        is_own: Whether that row is of the branch itself, as it was when the transaction began.
        author: The commit that stays the file's author, as 16 bytes; None for the one that is being made.
    """

    content: StoredFile | FileRow
    attributes: str | None
    is_own: bool = False
    author: bytes | None = None

    @property
    def size(self) -> int:
        """In bytes."""
        return self.content.size

    @property
    def digest(self) -> bytes:
        """The content digest, 32 bytes."""
        return self.content.digest


class Staging:
    """What is to be written to and deleted from one branch, in the end effect of all calls so far."""

    def __init__(self) -> None:
        self._files: dict[str, StagedFile] = {}
        self._files_below: Counter[str] = Counter()
        self._deleted: set[str] = set()
        self._read: set[str] = set()

    @property
    def deletes(self) -> list[str]:
        """The paths to delete before the writes, sorted; a directory ends with ``/``, the root is ``""``."""
        return sorted(self._deleted)

    def write(self, path: str, file: StagedFile) -> None:
        """Stage *file* as the new content of *path*."""
        if path not in self._files:
            self._files_below.update(parent_directories(path))
        self._files[path] = file

    def delete_file(self, path: str) -> None:
        """Stage the end of the file *path*; deleting what is not there changes nothing."""
        self._drop(path)
        self._deleted.add(path)

    def delete_directory(self, directory: str) -> None:
        """Stage the end of all files below *directory*; the root is ``""``."""
        if self.has_below(directory):
            for path, _ in list(self.below(directory)):
                self._drop(path)
        self._deleted.add(f"{directory}/" if directory else "")

    def note_read(self, path: str) -> None:
        """Note that what is staged may depend on what the branch has at *path*."""
        self._read.add(path)

    def find(self, path: str) -> StagedFile | None:
        """Return the file that is staged at *path*, if there is one."""
        return self._files.get(path)

    def hides(self, path: str) -> bool:
        """Say whether what the branch has at *path* is staged to go; a directory ends with ``/``."""
        return (
            path in self._deleted
            or "" in self._deleted
            or any(f"{directory}/" in self._deleted for directory in parent_directories(path))
        )

    def has_below(self, directory: str) -> bool:
        """Say whether a file is staged below *directory*."""
        return bool(self._files_below[directory] if directory else self._files)

    def below(self, directory: str) -> Iterator[tuple[str, StagedFile]]:
        """Yield the staged files below *directory*, sorted by path."""
        prefix = f"{directory}/" if directory else ""
        yield from sorted((path, file) for path, file in self._files.items() if path.startswith(prefix))

    def rows(self, writer: DataWriter, commit_id: CommitId) -> pa.Table:
        """Return the rows of the staged files, with the columns of `ROWS`, sorted by path.

        Cost: as `DataWriter.flush`.
        """
        paths = sorted(self._files)
        files = [self._files[path] for path in paths]
        own = bytes.fromhex(commit_id)
        columns = {
            "path": pa.array(paths, pa.string()),
            "size": pa.array([file.size for file in files], pa.int64()),
            "digest": pa.array([file.digest for file in files], pa.binary(32)),
            "chunks": _chunk_column(files, writer),
            "attributes": pa.array([file.attributes for file in files], pa.string()),
            "commit": pa.array([file.author or own for file in files], pa.binary(16)),
        }
        return pa.Table.from_arrays([columns[name] for name in ROWS.names], schema=ROWS)

    def origins(self, base: Commit | None, paths: Container[str]) -> tuple[InputFile, ...]:
        """Return what those of *paths* were that are copies of other files of the branch, sorted by path.

        So a file that is renamed keeps where it comes from.
        """
        if base is None:
            return ()
        copies = [(path, file.content) for path, file in sorted(self._files.items()) if file.is_own and path in paths]
        return tuple(
            InputFile(base.repo, base.id, row.path, Digest(row.digest.hex()), CommitId(row.commit.hex()), output=path)
            for path, row in copies
            if isinstance(row, FileRow)
        )

    def overlaps(self, theirs: pa.Table, root: PageRef | None, *, source: PageSource) -> list[str]:
        """Return the paths that both this and another writer changed, sorted.

        Not those that both brought to the same content and attributes, unless this one had read the path first: what
        it made of the old content is then not what it would make of the new one, even if it looks the same (two that
        count one on from 5 both write 6).

        Args:
            theirs: What the other changed, as `diff` returns it.
            root: The tree that the other left.

        Cost: the pages of the paths that both changed.
        """
        paths = theirs.column("path")
        touched = pc.is_in(paths, pa.array(sorted({*self._files, *self._deleted}), pa.string()))
        for prefix in (path for path in self._deleted if not path or path.endswith("/")):
            touched = pc.or_(touched, pc.starts_with(paths, prefix))
        both = paths.filter(touched).to_pylist()
        found = lookup_many(root, both, source=source).select(["path", "digest", "attributes"]).to_pylist()
        stored = {row["path"]: (row["digest"], row["attributes"]) for row in found}
        return [path for path in both if path in self._read or stored.get(path) != self._state_at(path)]

    def _state_at(self, path: str) -> tuple[bytes, str | None] | None:
        file = self._files.get(path)
        return None if file is None else (file.digest, file.attributes)

    def _drop(self, path: str) -> None:
        if self._files.pop(path, None) is not None:
            self._files_below.subtract(parent_directories(path))


@dataclass(frozen=True, slots=True)
class EffectiveRows:
    """The rows that an edit really changes.

    Attributes:
        changed: The paths of those that have another content or other attributes now.
        table: With the columns of `ROWS`, sorted by path.
        added, modified: How many of them are new paths, and how many replace other content or attributes.
        bytes_written: The size of those files.
    """

    changed: frozenset[str]
    table: pa.Table
    added: int
    modified: int
    bytes_written: int

    def packs(self) -> list[bytes]:
        """Return the packs that the rows refer to, 16 bytes each."""
        chunks = pc.list_flatten(self.table.column("chunks"))
        return list(pc.unique(pc.struct_field(chunks, "pack")).to_pylist())


def effective_rows(rows: pa.Table, root: PageRef | None, *, deletes: bool, source: PageSource) -> EffectiveRows:
    """Return the rows that make the tree *root* say what *rows* say, with the authorship of what stays the same.

    A row that the tree has already, with equal content and attributes, is left out; where something is deleted first,
    the tree's own row stands in for it, since the deletion may take it away.

    Cost: the pages that the paths are on.
    """
    found = lookup_many(root, rows.column("path").to_pylist(), source=source)
    compared = ["path", "digest", "attributes"]
    known = {row["path"]: (row["digest"], row["attributes"]) for row in found.select(compared).to_pylist()}
    stated = zip(*(rows.column(name).to_pylist() for name in compared), strict=True)
    differs = [known.get(path) != (digest, attributes) for path, digest, attributes in stated]
    changed = rows.filter(pa.array(differs, pa.bool_()))
    paths = changed.column("path")
    modified = pc.sum(pc.is_in(paths, pa.array(list(known), pa.string()))).as_py() or 0
    bytes_written = pc.sum(changed.column("size")).as_py() or 0
    table = changed
    if deletes and found.num_rows:
        unchanged = pc.invert(pc.is_in(found.column("path"), paths.combine_chunks()))
        table = pa.concat_tables([changed, found.filter(unchanged)]).sort_by("path")
    return EffectiveRows(frozenset(paths.to_pylist()), table, changed.num_rows - modified, modified, bytes_written)


def _chunk_column(files: list[StagedFile], writer: DataWriter) -> pa.Array:
    lists = writer.chunk_lists([file.content for file in files if isinstance(file.content, StoredFile)])
    if len(lists) == len(files):
        return lists
    taken = iter(lists.to_pylist())
    values = [
        [_chunk_value(chunk) for chunk in file.content.chunks] if isinstance(file.content, FileRow) else next(taken)
        for file in files
    ]
    return pa.array(values, CHUNKS_TYPE)


def _chunk_value(chunk: ChunkRef) -> dict[str, bytes | int]:
    return {
        "digest": chunk.digest,
        "pack": chunk.pack,
        "offset": chunk.offset,
        "stored": chunk.stored,
        "inner": chunk.inner,
        "size": chunk.size,
    }
