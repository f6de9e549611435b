"""The changes that a transaction has staged on one branch, and what they make of a tree."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.catalog.values import Commit, InputFile
from versioned_io.chunks.refs import StoredFile, chunk_lists
from versioned_io.chunks.writer import DataWriter
from versioned_io.columns import (
    EMPTY_TEXT,
    bool_column,
    fixed_column,
    fixed_column_of,
    number_column,
    optional_text_column,
    text_column,
    whole_column,
)
from versioned_io.identifiers import CommitId, Digest
from versioned_io.pages.read import FileRow, lookup_many
from versioned_io.pages.schema import ROWS, PageRef
from versioned_io.pages.source import PageSource
from versioned_io.paths import parent_directories
from versioned_io.transactions.staged_runs import STATES, StagedRun, merge_runs

_FALSE = bool_column([False])[0]


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
    """What is to be written to and deleted from one branch, in the end effect of all calls so far.

    Files that were written one by one are Python values; those of an imported directory stay in columns.

    Args:
        few_files: An import of so many, or fewer, is kept like files that were written one by one.
        most_runs: When there are more imports, they are merged: a path is looked for in each.
    """

    def __init__(self, *, few_files: int = 256, most_runs: int = 8) -> None:
        self._few_files = few_files
        self._most_runs = most_runs
        self._files: dict[str, StagedFile] = {}
        self._files_below: Counter[str] = Counter()
        self._runs: list[StagedRun] = []
        self._dropped: set[str] = set()  # paths in runs that do not count any more
        self._deleted: set[str] = set()
        self._read: set[str] = set()
        self._watched: set[str] = set()

    @property
    def deletes(self) -> list[str]:
        """The paths to delete before the writes, sorted; a directory ends with ``/``, the root is ``""``."""
        return sorted(self._deleted)

    @property
    def changes(self) -> int:
        """How many files and deletions are staged; a deleted directory is one."""
        return len(self._files) + sum(map(len, self._runs)) + len(self._deleted)

    def write(self, path: str, file: StagedFile) -> None:
        """Stage *file* as the new content of *path*."""
        self._drop_from_runs(path)
        if path not in self._files:
            self._files_below.update(parent_directories(path))
        self._files[path] = file

    def write_run(self, run: StagedRun) -> None:
        """Stage all files of *run*."""
        if len(run) <= self._few_files:
            for path, file in run.below(""):
                self.write(path, StagedFile(file, None))
            return
        for path in [path for path in self._files if run.find(path) is not None]:
            self._drop(path)
        self._forget_dropped()
        self._runs = [left for left in (old.without(run.paths) for old in self._runs) if len(left)]
        self._runs.append(run)
        if len(self._runs) > self._most_runs:
            self._runs = [merge_runs(self._runs)]

    def delete_file(self, path: str) -> None:
        """Stage the end of the file *path*; deleting what is not there changes nothing."""
        self._drop(path)
        self._drop_from_runs(path)
        self._deleted.add(path)

    def delete_directory(self, directory: str) -> None:
        """Stage the end of all files below *directory*; the root is ``""``."""
        if self._files_below[directory] if directory else self._files:
            prefix = f"{directory}/" if directory else ""
            for path in [path for path in self._files if path.startswith(prefix)]:
                self._drop(path)
        self._runs = [
            left
            for left in (run.without_below(directory) if run.has_below(directory) else run for run in self._runs)
            if len(left)
        ]
        self._deleted.add(f"{directory}/" if directory else "")

    def note_read(self, path: str) -> None:
        """Note that what is staged may depend on what the branch has at *path*."""
        self._read.add(path)

    def watch(self, paths: Iterable[str]) -> None:
        """Note that what is staged, or that nothing is, was decided by what the branch has at *paths*."""
        self._watched.update(paths)

    def find(self, path: str) -> StagedFile | None:
        """Return the file that is staged at *path*, if there is one."""
        file = self._files.get(path)
        if file is not None or not self._runs or path in self._dropped:
            return file
        stored = self._find_in_runs(path)
        return None if stored is None else StagedFile(stored, None)

    def hides(self, path: str) -> bool:
        """Say whether what the branch has at *path* is staged to go; a directory ends with ``/``."""
        return (
            path in self._deleted
            or "" in self._deleted
            or any(f"{directory}/" in self._deleted for directory in parent_directories(path))
        )

    def has_below(self, directory: str) -> bool:
        """Say whether a file is staged below *directory*."""
        if self._files_below[directory] if directory else self._files:
            return True
        return any(path not in self._dropped for run in self._runs for path, _ in run.below(directory))

    def below(self, directory: str) -> Iterator[tuple[str, StagedFile]]:
        """Yield the staged files below *directory*, sorted by path."""
        prefix = f"{directory}/" if directory else ""
        found = [(path, file) for path, file in self._files.items() if path.startswith(prefix)]
        for run in self._runs:
            found += [
                (path, StagedFile(file, None)) for path, file in run.below(directory) if path not in self._dropped
            ]
        yield from sorted(found, key=lambda item: item[0])

    def rows(self, writer: DataWriter, commit_id: CommitId) -> pa.Table:
        """Return the rows of the staged files, with the columns of `ROWS`, sorted by path.

        Cost: as `DataWriter.flush`.
        """
        self._forget_dropped()
        paths = sorted(self._files)
        files = [self._files[path] for path in paths]
        own = bytes.fromhex(commit_id)
        tables = []
        if files:
            sizes = number_column([file.size for file in files], pa.int64())
            authors = fixed_column((file.author or own for file in files), 16)
            tables = [_row_table(_states_of(paths, files), sizes, _chunk_column(files, writer), authors)]
        for run in self._runs:
            authors = fixed_column_of(own * len(run), 16)
            tables.append(_row_table(run.states(), run.rows.column(1), run.chunk_column(writer), authors))
        if not tables:
            return pa.Table.from_batches([], schema=ROWS)
        return tables[0] if len(tables) == 1 else pa.concat_tables(tables).sort_by("path")

    def origins(self, base: Commit | None, changed: pa.ChunkedArray) -> tuple[InputFile, ...]:
        """Return what those of the *changed* paths were that are copies of other files of the branch, sorted by path.

        So a file that is renamed keeps where it comes from.
        """
        own = [(path, file.content) for path, file in sorted(self._files.items()) if file.is_own]
        if base is None or not own:
            return ()
        paths = set(changed.to_pylist())
        return tuple(
            InputFile(base.repo, base.id, row.path, Digest(row.digest.hex()), CommitId(row.commit.hex()), output=path)
            for path, row in own
            if isinstance(row, FileRow) and path in paths
        )

    def overlaps(self, theirs: pa.Table, root: PageRef | None, *, source: PageSource) -> list[str]:
        """Return the paths that both this and another writer changed, sorted.

        Not those that both brought to the same content and attributes, unless this one had read the path first: what
        it made of the old content is then not what it would make of the new one, even if it looks the same (two that
        count one on from 5 both write 6). And those that were watched, whether anything is staged there or not.

        Args:
            theirs: What the other changed, as `diff` returns it.
            root: The tree that the other left.

        Cost: the pages of the paths that both changed.
        """
        paths = theirs.column("path")
        mine = self._states()
        touched = pc.or_(
            pc.is_in(paths, value_set=whole_column(mine.column("path"))),
            pc.is_in(paths, value_set=text_column(sorted(self._deleted))),
        )
        for prefix in (path for path in self._deleted if not path or path.endswith("/")):
            touched = pc.or_(touched, pc.starts_with(paths, prefix))
        watched = self._watched.intersection(paths.to_pylist()) if self._watched else set()
        both = whole_column(paths.filter(touched))
        if not len(both):
            return sorted(watched)
        stored = lookup_many(root, both.to_pylist(), source=source).select(STATES.names)
        mine = mine.filter(pc.is_in(mine.column("path"), value_set=both))
        differs = mine.column("path").filter(_differs(mine, stored))
        left = stored.column("path").filter(pc.invert(_is_in(stored.column("path"), mine.column("path"))))
        read = self._read.intersection(both.to_pylist())
        return sorted({*differs.to_pylist(), *left.to_pylist(), *read, *watched})

    def _states(self) -> pa.Table:
        """Return the columns of `STATES` of every staged file."""
        self._forget_dropped()
        paths = sorted(self._files)
        own = _states_of(paths, [self._files[path] for path in paths])
        return pa.Table.from_batches([own, *(run.states() for run in self._runs)], schema=STATES)

    def _find_in_runs(self, path: str) -> StoredFile | None:
        return next((file for run in self._runs if (file := run.find(path)) is not None), None)

    def _drop(self, path: str) -> None:
        if self._files.pop(path, None) is not None:
            self._files_below.subtract(parent_directories(path))

    def _drop_from_runs(self, path: str) -> None:
        if self._runs and self._find_in_runs(path) is not None:
            self._dropped.add(path)

    def _forget_dropped(self) -> None:
        if self._dropped:
            paths = text_column(sorted(self._dropped))
            self._runs = [left for left in (run.without(paths) for run in self._runs) if len(left)]
            self._dropped.clear()


@dataclass(frozen=True, slots=True)
class EffectiveRows:
    """The rows that an edit really changes.

    Attributes:
        changed: The paths of those that have another content or other attributes now, sorted.
        table: With the columns of `ROWS`, sorted by path.
        added, modified: How many of them are new paths, and how many replace other content or attributes.
        bytes_written: The size of those files.
    """

    changed: pa.ChunkedArray
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
    if root is None:
        return EffectiveRows(rows.column("path"), rows, rows.num_rows, 0, pc.sum(rows.column("size")).as_py() or 0)
    found = lookup_many(root, rows.column("path").to_pylist(), source=source)
    changed = rows.filter(_differs(rows, found))
    paths = changed.column("path")
    modified = pc.sum(_is_in(paths, found.column("path"))).as_py() or 0
    bytes_written = pc.sum(changed.column("size")).as_py() or 0
    table = changed
    if deletes and found.num_rows:
        unchanged = pc.invert(_is_in(found.column("path"), paths))
        table = pa.concat_tables([changed, found.filter(unchanged)]).sort_by("path")
    return EffectiveRows(paths, table, changed.num_rows - modified, modified, bytes_written)


def _differs(rows: pa.Table, others: pa.Table) -> pa.ChunkedArray:
    """Say for each of *rows* whether *others* has another content or other attributes at its path, or nothing."""
    partner = pc.index_in(rows.column("path"), value_set=whole_column(others.column("path")))
    theirs = others.select(["digest", "attributes"]).take(partner)
    same_digest = pc.equal(rows.column("digest"), theirs.column("digest"))
    same_attributes = pc.equal(
        pc.fill_null(rows.column("attributes"), EMPTY_TEXT), pc.fill_null(theirs.column("attributes"), EMPTY_TEXT)
    )
    return pc.invert(pc.and_(pc.fill_null(same_digest, _FALSE), same_attributes))


def _is_in(paths: pa.ChunkedArray, others: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_in(paths, value_set=whole_column(others))


def _states_of(paths: list[str], files: list[StagedFile]) -> pa.RecordBatch:
    digests = fixed_column((file.digest for file in files), 32)
    attributes = optional_text_column([file.attributes for file in files])
    return pa.RecordBatch.from_arrays([text_column(paths), digests, attributes], schema=STATES)


def _row_table(states: pa.RecordBatch, sizes: pa.Array, chunks: pa.Array, authors: pa.Array) -> pa.Table:
    columns = {
        "path": states.column(0),
        "size": sizes,
        "digest": states.column(1),
        "chunks": chunks,
        "attributes": states.column(2),
        "commit": authors,
    }
    return pa.Table.from_arrays([columns[name] for name in ROWS.names], schema=ROWS)


def _chunk_column(files: list[StagedFile], writer: DataWriter) -> pa.Array:
    lists = writer.chunk_lists([file.content for file in files if isinstance(file.content, StoredFile)])
    copies = [file.content.chunks for file in files if isinstance(file.content, FileRow)]
    if not copies:
        return lists
    # Both kinds one after the other, then in the order of the files.
    stored_rows, copied_rows = iter(range(len(lists))), iter(range(len(lists), len(files)))
    order = [next(stored_rows if isinstance(file.content, StoredFile) else copied_rows) for file in files]
    return pa.concat_arrays([lists, chunk_lists(copies)]).take(number_column(order, pa.int64()))
