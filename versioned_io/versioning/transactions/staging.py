"""The changes that a transaction has staged on one branch, and their effective rows on a tree."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.model.columns import (
    EMPTY_TEXT,
    bool_column,
    fixed_column,
    fixed_column_of,
    number_column,
    optional_text_column,
    text_column,
    whole_column,
)
from versioned_io.model.commits import Commit, InputFile
from versioned_io.model.identifiers import CommitId, Digest
from versioned_io.model.paths import parent_directories
from versioned_io.model.places import PageRef
from versioned_io.storage.chunks.chunk_columns import TakenFile, chunk_lists
from versioned_io.storage.chunks.placing import ChunkPlacer
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.read import FileRow, lookup_many
from versioned_io.storage.pages.schema import ROWS
from versioned_io.versioning.snapshots.file_info import recorded_bit, with_bit
from versioned_io.versioning.transactions.staged_runs import STATES, StagedRun, merge_runs

_FALSE = bool_column([False])[0]


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A staged file: new content, or a reference to content in the store.

    Attributes:
        content: The content that the data writer took in, or the row that the file is a copy of.
        attributes: Canonical JSON, or None.
        is_own: Whether that row is from the branch itself, in its state when the transaction began.
        author: The commit that stays the file's author, as 16 bytes; None for the new commit.
        is_local: Whether its execute bit is that of a local file: see `settle_bits`.
    """

    content: TakenFile | FileRow
    attributes: str | None
    is_own: bool = False
    author: bytes | None = None
    is_local: bool = False

    @property
    def size(self) -> int:
        """In bytes."""
        return self.content.size

    @property
    def digest(self) -> bytes:
        """The content digest, 32 bytes."""
        return self.content.digest


class Staging:
    """The writes and deletions that are staged on one branch: the net effect of all calls so far.

    Files that were written one by one are Python values; files of an imported directory stay in columns.

    Args:
        few_files: An import of at most this many files is stored like files that were written one by one.
        most_runs: More imports than this are merged, since each look-up of a path searches every import.
    """

    def __init__(self, *, few_files: int = 256, most_runs: int = 8) -> None:
        self._few_files = few_files
        self._most_runs = most_runs
        self._files: dict[str, StagedFile] = {}
        self._files_below: Counter[str] = Counter()
        self._runs: list[StagedRun] = []
        self._dropped: set[str] = set()  # paths in runs that are no longer staged
        self._deleted: set[str] = set()
        self._read: set[str] = set()
        self._watched: set[str] = set()

    @property
    def deletes(self) -> list[str]:
        """The paths to delete before the writes, sorted; a directory ends with ``/``, the root is ``""``."""
        return sorted(self._deleted)

    @property
    def changes(self) -> int:
        """The number of staged files and deletions; a deleted directory counts as one."""
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
                self.write(path, StagedFile(file, run.attributes_of(path), is_local=run.is_local))
            return
        for path in [path for path in self._files if run.find(path) is not None]:
            self._drop(path)
        self._forget_dropped()
        self._runs = [left for left in (old.without(run.paths) for old in self._runs) if len(left)]
        self._runs.append(run)
        if len(self._runs) > self._most_runs:
            self._runs = merge_runs(self._runs)

    def delete_file(self, path: str) -> None:
        """Stage the deletion of the file *path*; deleting a missing file changes nothing."""
        self._drop(path)
        self._drop_from_runs(path)
        self._deleted.add(path)

    def delete_directory(self, directory: str) -> None:
        """Stage the deletion of all files below *directory*; the root is ``""``."""
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
        """Record that the staged changes may depend on the branch's file at *path*."""
        self._read.add(path)

    def watch(self, paths: Iterable[str]) -> None:
        """Record that the state of the branch at *paths* decided the staged changes, even if they leave *paths* out."""
        self._watched.update(paths)

    def find(self, path: str) -> StagedFile | None:
        """Return the file that is staged at *path*, or None."""
        file = self._files.get(path)
        if file is not None or not self._runs or path in self._dropped:
            return file
        return self._find_in_runs(path)

    def hides(self, path: str) -> bool:
        """Return whether the branch's entry at *path* is staged for deletion; a directory's path ends with ``/``."""
        return (
            path in self._deleted
            or "" in self._deleted
            or any(f"{directory}/" in self._deleted for directory in parent_directories(path))
        )

    def has_below(self, directory: str) -> bool:
        """Return whether a file is staged below *directory*."""
        if self._files_below[directory] if directory else self._files:
            return True
        return any(path not in self._dropped for run in self._runs for path, _ in run.below(directory))

    def below(self, directory: str) -> Iterator[tuple[str, StagedFile]]:
        """Yield the staged files below *directory*, sorted by path."""
        prefix = f"{directory}/" if directory else ""
        found = [(path, file) for path, file in self._files.items() if path.startswith(prefix)]
        for run in self._runs:
            found += [
                (path, StagedFile(file, run.attributes_of(path), is_local=run.is_local))
                for path, file in run.below(directory)
                if path not in self._dropped
            ]
        yield from sorted(found, key=lambda item: item[0])

    def rows(self, placer: ChunkPlacer, commit_id: CommitId) -> pa.Table:
        """Return the rows of the staged files, with the columns of `ROWS`, sorted by path.

        Cost: as `ChunkPlacer.flush`.
        """
        self._forget_dropped()
        paths = sorted(self._files)
        files = [self._files[path] for path in paths]
        own = bytes.fromhex(commit_id)
        tables = []
        if files:
            sizes = number_column([file.size for file in files], pa.int64())
            authors = fixed_column((file.author or own for file in files), 16)
            tables = [_row_table(_states_of(paths, files), sizes, _chunk_column(files, placer), authors)]
        for run in self._runs:
            authors = fixed_column_of(own * len(run), 16)
            tables.append(_row_table(run.states(), run.rows.column(1), run.chunk_column(placer), authors))
        if not tables:
            return pa.Table.from_batches([], schema=ROWS)
        return tables[0] if len(tables) == 1 else pa.concat_tables(tables).sort_by("path")

    def has_local_bit(self, path: str) -> bool:
        """Return whether the execute bit of the file that is staged at *path* is that of a local file."""
        file = self.find(path)
        return file is not None and file.is_local

    def digest(self) -> bytes:
        """Return a digest of 32 bytes, equal for stagings with the same effect. Cost: a Python loop over all files."""
        states = self._states().sort_by("path").to_pydict()
        found = hashlib.blake2b(json.dumps(self.deletes).encode(), digest_size=32)
        for path, content, attributes in zip(states["path"], states["digest"], states["attributes"], strict=True):
            found.update(json.dumps([path, content.hex(), attributes]).encode())
        return found.digest()

    def copies(self) -> set[str]:
        """Return the paths that are staged as copies of other files of the branch, or as renamed files."""
        return {path for path, file in self._files.items() if file.is_own}

    def origins(self, base: Commit | None, stated: Collection[str]) -> tuple[InputFile, ...]:
        """Return the origins of the *stated* paths that are copies of other files of the branch, sorted by path.

        So a renamed file keeps its provenance.
        """
        own = [(path, file.content) for path, file in sorted(self._files.items()) if file.is_own]
        if base is None or not own:
            return ()
        return tuple(
            InputFile(base.repo, base.id, row.path, Digest(row.digest.hex()), CommitId(row.commit.hex()), output=path)
            for path, row in own
            if isinstance(row, FileRow) and path in stated
        )

    def overlaps(self, theirs: pa.Table, root: PageRef | None, *, source: PageSource) -> list[str]:
        """Return the paths that both this and another writer changed, and changed paths that were watched, sorted.

        A path to which both wrote the same content and attributes is left out, unless this writer had read it before.
        Then equal content proves nothing: two writers that both increment a counter from 5 both write 6. A watched path
        is included even if nothing is staged there.

        Args:
            theirs: The other writer's changes, as `diff` returns them.
            root: The other writer's tree.

        Cost: reads the pages of the paths that both changed.
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
        differs = mine.column("path").filter(_differs(settle_bits(mine, stored, self.has_local_bit), stored))
        left = stored.column("path").filter(pc.invert(_is_in(stored.column("path"), mine.column("path"))))
        read = self._read.intersection(both.to_pylist())
        return sorted({*differs.to_pylist(), *left.to_pylist(), *read, *watched})

    def _states(self) -> pa.Table:
        """Return the columns of `STATES` of every staged file."""
        self._forget_dropped()
        paths = sorted(self._files)
        own = _states_of(paths, [self._files[path] for path in paths])
        return pa.Table.from_batches([own, *(run.states() for run in self._runs)], schema=STATES)

    def _find_in_runs(self, path: str) -> StagedFile | None:
        for run in self._runs:
            if (file := run.find(path)) is not None:
                return StagedFile(file, run.attributes_of(path), is_local=run.is_local)
        return None

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
    """The rows that an edit changes in effect.

    Attributes:
        changed: The paths with another content or other attributes than before, sorted.
        confirmed: The tree's rows for staged files that are unchanged.
        table: The changed rows, with the columns of `ROWS`, sorted by path.
        added: The number of new paths.
        modified: The number of paths with replaced content or attributes.
        bytes_written: The total size of these files.
    """

    changed: pa.ChunkedArray
    confirmed: pa.Table
    table: pa.Table
    added: int
    modified: int
    bytes_written: int

    def packs(self) -> list[bytes]:
        """Return the packs that the rows refer to, 16 bytes each."""
        chunks = pc.list_flatten(self.table.column("chunks"))
        return list(pc.unique(pc.struct_field(chunks, "pack")).to_pylist())


def settle_bits(rows: pa.Table, others: pa.Table, has_local_bit: Callable[[str], bool]) -> pa.Table:
    """Return *rows* with their final execute bits, given the present rows *others* of the same paths.

    A local file always has a bit, but a row often has none. If the bytes are unchanged, such a row stays without a bit,
    so that a first import with bits modifies nothing. Once a bit is recorded, it is kept up to date.

    Cost: a Python loop over the rows where either side has attributes.
    """
    if rows.num_rows == 0:
        return rows  # before Arrow 26, indices_nonzero ends the process for a column without chunks
    partner = pc.index_in(rows.column("path"), value_set=whole_column(others.column("path")))
    theirs = others.select(["digest", "attributes"]).take(partner)
    said = pc.or_(pc.is_valid(theirs.column("attributes")), pc.is_valid(rows.column("attributes")))
    chosen = pc.indices_nonzero(pc.and_(said, pc.is_valid(partner))).to_pylist()
    if not chosen:
        return rows
    texts: list[str | None] = rows.column("attributes").to_pylist()
    for row in chosen:
        if not has_local_bit(rows.column("path")[row].as_py()):
            continue
        recorded = recorded_bit(theirs.column("attributes")[row].as_py())
        if recorded is not None:
            texts[row] = with_bit(texts[row], bit=recorded_bit(texts[row]) is True)
        elif rows.column("digest")[row].as_py() == theirs.column("digest")[row].as_py():
            texts[row] = with_bit(texts[row], bit=None)
    place = rows.schema.get_field_index("attributes")
    return rows.set_column(place, rows.schema.field(place), optional_text_column(texts))


def effective_rows(
    rows: pa.Table,
    root: PageRef | None,
    *,
    deletes: bool,
    source: PageSource,
    has_local_bit: Callable[[str], bool] = lambda _path: False,
) -> EffectiveRows:
    """Return the rows to write so that the tree *root* contains *rows*; unchanged files keep their authors.

    A row that the tree already has, with equal content and attributes, is left out. With *deletes*, the tree's own row
    is written instead, since a deletion may have removed it.

    Args:
        has_local_bit: Returns whether the execute bit at a path is that of a local file, for `settle_bits`.

    Cost: reads the pages of the paths.
    """
    if root is None:
        return EffectiveRows(
            rows.column("path"), rows.slice(0, 0), rows, rows.num_rows, 0, pc.sum(rows.column("size")).as_py() or 0
        )
    found = lookup_many(root, rows.column("path").to_pylist(), source=source)
    rows = settle_bits(rows, found, has_local_bit)
    changed = rows.filter(_differs(rows, found))
    paths = changed.column("path")
    modified = pc.sum(_is_in(paths, found.column("path"))).as_py() or 0
    bytes_written = pc.sum(changed.column("size")).as_py() or 0
    confirmed = found.filter(pc.invert(_is_in(found.column("path"), paths))) if found.num_rows else found
    table = pa.concat_tables([changed, confirmed]).sort_by("path") if deletes and confirmed.num_rows else changed
    return EffectiveRows(paths, confirmed, table, changed.num_rows - modified, modified, bytes_written)


def _differs(rows: pa.Table, others: pa.Table) -> pa.ChunkedArray:
    """Return, for each of *rows*, whether *others* has another content, other attributes, or no row at its path."""
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


def _chunk_column(files: list[StagedFile], placer: ChunkPlacer) -> pa.Array:
    lists = placer.chunk_lists([file.content for file in files if isinstance(file.content, TakenFile)])
    copies = placer.readable([file.content.chunks for file in files if isinstance(file.content, FileRow)])
    if not copies:
        return lists
    # First both kinds one after the other, then rearranged to the order of the files.
    stored_rows, copied_rows = iter(range(len(lists))), iter(range(len(lists), len(files)))
    order = [next(stored_rows if isinstance(file.content, TakenFile) else copied_rows) for file in files]
    return pa.concat_arrays([lists, chunk_lists(copies)]).take(number_column(order, pa.int64()))
