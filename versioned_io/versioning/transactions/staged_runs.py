"""Runs of staged files in columns, sorted by path, from importing a directory."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.model.columns import (
    bool_column,
    fixed_column_of,
    number_column,
    optional_text_column,
    text_column,
)
from versioned_io.model.path_ranges import PathRange
from versioned_io.storage.chunks.chunk_columns import FileColumns, TakenFile
from versioned_io.storage.chunks.placing import ChunkPlacer
from versioned_io.versioning.snapshots.file_info import with_bit

STATES = pa.schema([("path", pa.string()), ("digest", pa.binary(32)), ("attributes", pa.string())])
"""The columns that decide whether two versions of a file are equal."""

_TO_BE_RUN: Final = with_bit(None, bit=True)


@dataclass(frozen=True, slots=True)
class StagedRun:
    """Files of new content, without attributes except for execute bits, in columns, sorted by path.

    Attributes:
        rows: path, size, digest.
        several: The concatenated chunk digests of each file that is not exactly one chunk.
        executables: The paths of executable files; a path that is no longer in the run is ignored.
        is_local: Whether the execute bits are those of local files; otherwise they are unknown.
    """

    rows: pa.RecordBatch
    several: dict[str, bytes] = field(default_factory=dict)
    executables: frozenset[str] = frozenset()
    is_local: bool = False

    @classmethod
    def of(cls, paths: Sequence[str], files: FileColumns, executables: Collection[str] | None = None) -> "StagedRun":
        """Return the run of *files* at *paths*, each path once; for local files with their *executables*."""
        rows = pa.RecordBatch.from_arrays(
            [text_column(paths), number_column(files.sizes, pa.int64()), fixed_column_of(bytes(files.digests), 32)],
            names=["path", "size", "digest"],
        )
        several = {paths[row]: digests for row, digests in files.several.items()}
        return cls(rows.sort_by("path"), several, frozenset(executables or ()), executables is not None)

    def __len__(self) -> int:
        return len(self.rows.column(0))

    @property
    def paths(self) -> pa.StringArray:
        """The paths, ascending."""
        return self.rows.column(0)

    def find(self, path: str) -> TakenFile | None:
        """Return the file at *path*, or None. Cost: some microseconds."""
        row = self._first_at_least(path)
        if row == len(self) or self.paths[row].as_py() != path:
            return None
        return self._file(row, path)

    def has_below(self, directory: str) -> bool:
        """Return whether there is a file below *directory*."""
        first, stop = self._rows_below(directory)
        return stop > first

    def below(self, directory: str) -> Iterator[tuple[str, TakenFile]]:
        """Yield the files below *directory*, sorted by path."""
        for row in range(*self._rows_below(directory)):
            path = self.paths[row].as_py()
            yield path, self._file(row, path)

    def without(self, paths: pa.StringArray) -> "StagedRun":
        """Return the run without the files at *paths*."""
        return self._filtered(pc.invert(pc.is_in(self.paths, value_set=paths)))

    def without_below(self, directory: str) -> "StagedRun":
        """Return the run without the files below *directory*."""
        first, stop = self._rows_below(directory)
        return self._filtered(bool_column(not first <= row < stop for row in range(len(self))))

    def chunk_column(self, placer: ChunkPlacer) -> pa.Array:
        """Return the files' chunk references, one list each."""
        digests = self.rows.column(2).to_pylist()
        if not self.several:
            return placer.chunk_lists_of_one(digests)
        files = (
            TakenFile(0, digest, self.several.get(path, digest))
            for path, digest in zip(self.paths.to_pylist(), digests, strict=True)
        )
        return placer.chunk_lists(list(files))

    def states(self) -> pa.RecordBatch:
        """Return the columns of `STATES`."""
        attributes = pa.nulls(len(self), pa.string())
        if self.executables:
            is_executable = pc.is_in(self.paths, value_set=text_column(sorted(self.executables)))
            attributes = pc.if_else(is_executable, optional_text_column([_TO_BE_RUN])[0], attributes)
        return pa.RecordBatch.from_arrays([self.paths, self.rows.column(2), attributes], schema=STATES)

    def attributes_of(self, path: str) -> str | None:
        """Return the attributes of the file at *path*."""
        return _TO_BE_RUN if path in self.executables else None

    def _file(self, row: int, path: str) -> TakenFile:
        digest = self.rows.column(2)[row].as_py()
        return TakenFile(self.rows.column(1)[row].as_py(), digest, self.several.get(path, digest))

    def _rows_below(self, directory: str) -> tuple[int, int]:
        paths = PathRange.of_directory(directory)
        stop = len(self) if paths.end is None else self._first_at_least(paths.end)
        return self._first_at_least(paths.start), stop

    def _first_at_least(self, path: str) -> int:
        low, high = 0, len(self)
        column = self.paths
        while low < high:
            middle = (low + high) // 2
            if column[middle].as_py() < path:
                low = middle + 1
            else:
                high = middle
        return low

    def _filtered(self, kept: pa.BooleanArray) -> "StagedRun":
        rows = self.rows.filter(kept)
        if not self.several:
            return replace(self, rows=rows)
        left = set(rows.column(0).to_pylist())
        several = {path: digests for path, digests in self.several.items() if path in left}
        return replace(self, rows=rows, several=several)


def merge_runs(runs: Sequence[StagedRun]) -> list[StagedRun]:
    """Return the files of *runs*, which have no path in common, in at most two runs: local files and others."""
    groups = ([run for run in runs if run.is_local == is_local] for is_local in (True, False))
    return [_merged(group) for group in groups if group]


def _merged(runs: Sequence[StagedRun]) -> StagedRun:
    several: dict[str, bytes] = {}
    executables: set[str] = set()
    for run in runs:
        several |= run.several
        executables |= run.executables.intersection(run.paths.to_pylist()) if run.executables else frozenset()
    rows = pa.concat_batches([run.rows for run in runs]).sort_by("path")
    return StagedRun(rows, several, frozenset(executables), runs[0].is_local)
