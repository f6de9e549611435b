"""The files of a snapshot as lineage knows them, and the notes of those that are read."""

from collections.abc import Iterator

import pyarrow as pa

from versioned_io.model.commits import InputFile
from versioned_io.model.identifiers import CommitId
from versioned_io.model.paths import parse_directory
from versioned_io.storage.pages.read import FileRow, file_rows
from versioned_io.versioning.runs.kin import RunHandle
from versioned_io.versioning.runs.run import Run, current_run
from versioned_io.versioning.snapshots.commit_tree import CommitTree


class FileVersions:
    """Returns the versions of files, and notes them as read.

    Args:
        run: The run that notes reads while no other is active.
        is_noted: Whether reads are noted.
    """

    def __init__(self, tree: CommitTree, run: Run | None, *, is_noted: bool) -> None:
        self._tree = tree
        self._run = run
        self.is_noted = is_noted

    def writer_of(self, path: str) -> CommitId:
        """Return the commit that wrote this version of the file at *path*; this does not count as reading it.

        >>> writer = store.snapshot("weather@main").writer_of("2012/01.csv")
        >>> store.commit(writer).message
        'first load'

        Raises:
            PathNotFoundError, NotAFileError: As for `read`.

        Cost: as `stat` of a file.
        """
        return CommitId(self._tree.row(path).commit.hex())

    def versions(self, path: str = "") -> Iterator[InputFile]:
        """Yield the file at *path*, or the files below that directory, as versions that lineage knows; none is read.

        >>> [version.path for version in store.snapshot("weather@main").versions("2012")]
        ['2012/01.csv', '2012/02.csv']

        Raises:
            PathNotFoundError: There is neither.

        Cost: as `stat` of a file; of a directory 1 GET a page.
        """
        directory = parse_directory(path)
        if not self._tree.settled(lambda: self._tree.is_directory(directory)):
            row = self._tree.settled(lambda: self._tree.row(directory))
            yield self._tree.version(row.path, row.digest, row.commit)
            return
        for batch in self._tree.batches(directory):
            columns = (batch.column(name).to_pylist() for name in ("path", "digest", "commit"))
            yield from map(self._tree.version, *columns)

    def note(self, row: FileRow) -> None:
        """Note that a file is read."""
        run = self._noting_run()
        if run is not None:
            run.note(self._tree.commit, self._tree.version(row.path, row.digest, row.commit))

    def note_all(self, batch: pa.RecordBatch) -> None:
        """Note that the files of *batch* are read."""
        if self._noting_run() is not None:
            for row in file_rows(batch):
                self.note(row)

    def hand_over(self) -> RunHandle | None:
        """Return what another process needs to note its reads in the run; None if there is none."""
        run = self._noting_run()
        return None if run is None else run.hand_over()

    def _noting_run(self) -> Run | None:
        return (current_run() or self._run) if self.is_noted else None
