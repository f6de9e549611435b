"""Many staged files in columns, sorted by path: what importing a directory stages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.chunks.local_files import FileColumns
from versioned_io.chunks.refs import StoredFile
from versioned_io.chunks.writer import DataWriter
from versioned_io.columns import bool_column, fixed_column_of, number_column, text_column
from versioned_io.pages.ranges import PathRange

STATES = pa.schema([("path", pa.string()), ("digest", pa.binary(32)), ("attributes", pa.string())])
"""The columns that say whether two versions of a file are the same."""


@dataclass(frozen=True, slots=True)
class StagedRun:
    """Files of new content without attributes, in columns, sorted by path.

    Attributes:
        rows: path, size, digest.
        several: The concatenated chunk digests of each file that is not exactly one chunk.
    """

    rows: pa.RecordBatch
    several: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, paths: Sequence[str], files: FileColumns) -> "StagedRun":
        """Return the run of *files*, which go to *paths*, each path once."""
        rows = pa.RecordBatch.from_arrays(
            [text_column(paths), number_column(files.sizes, pa.int64()), fixed_column_of(bytes(files.digests), 32)],
            names=["path", "size", "digest"],
        )
        return cls(rows.sort_by("path"), {paths[row]: digests for row, digests in files.several.items()})

    def __len__(self) -> int:
        return len(self.rows.column(0))

    @property
    def paths(self) -> pa.StringArray:
        """The paths, ascending."""
        return self.rows.column(0)

    def find(self, path: str) -> StoredFile | None:
        """Return the file at *path*, if there is one. Cost: some microseconds."""
        row = self._first_at_least(path)
        if row == len(self) or self.paths[row].as_py() != path:
            return None
        return self._file(row, path)

    def has_below(self, directory: str) -> bool:
        """Say whether there is a file below *directory*."""
        first, stop = self._rows_below(directory)
        return stop > first

    def below(self, directory: str) -> Iterator[tuple[str, StoredFile]]:
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

    def chunk_column(self, writer: DataWriter) -> pa.Array:
        """Return the files' chunk references, one list each."""
        digests = self.rows.column(2).to_pylist()
        if not self.several:
            return writer.chunk_lists_of_one(digests)
        files = (
            StoredFile(0, digest, self.several.get(path, digest))
            for path, digest in zip(self.paths.to_pylist(), digests, strict=True)
        )
        return writer.chunk_lists(list(files))

    def states(self) -> pa.RecordBatch:
        """Return the columns of `STATES`."""
        return pa.RecordBatch.from_arrays(
            [self.paths, self.rows.column(2), pa.nulls(len(self), pa.string())], schema=STATES
        )

    def _file(self, row: int, path: str) -> StoredFile:
        digest = self.rows.column(2)[row].as_py()
        return StoredFile(self.rows.column(1)[row].as_py(), digest, self.several.get(path, digest))

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
            return StagedRun(rows)
        left = set(rows.column(0).to_pylist())
        return StagedRun(rows, {path: digests for path, digests in self.several.items() if path in left})


def merge_runs(runs: Sequence[StagedRun]) -> StagedRun:
    """Return all files of *runs*, which have no path in common, in one."""
    several: dict[str, bytes] = {}
    for run in runs:
        several |= run.several
    return StagedRun(pa.concat_batches([run.rows for run in runs]).sort_by("path"), several)
