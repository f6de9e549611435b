"""Reading the bytes of files."""

import io
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import BinaryIO, cast

from versioned_io.errors import PackLostError
from versioned_io.model.arguments import parse_count, parse_iterable, parse_optional_count
from versioned_io.model.paths import parse_directory, parse_path
from versioned_io.model.places import ChunkRef, FrameRef
from versioned_io.storage.chunks.reader import MOST_FRAMES
from versioned_io.storage.pages.read import FileRow, file_rows
from versioned_io.versioning.snapshots.commit_tree import CommitTree
from versioned_io.versioning.snapshots.file_versions import FileVersions

_BUFFER_BYTES = 256 * 1024
_PATHS_AT_ONCE = 1000
_BYTES_AT_ONCE = 8 * 1024 * 1024


class Reading:
    """Reads files of a snapshot, and notes that."""

    def __init__(self, tree: CommitTree, versions: FileVersions) -> None:
        self._tree = tree
        self._versions = versions

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        r"""Return the bytes of a file from *offset*, at most *length*, or to its end.

        >>> store.snapshot("weather@main").read("2012/02.csv", offset=10)
        b'2012-02-01,12.5\n'

        Raises:
            PathNotFoundError: There is no such file; the message names nearby paths.
            NotAFileError: It is a directory.
            IntegrityError: The stored bytes are damaged; run fsck.
            ReferenceBrokenError, InvalidInputError: It lies elsewhere; as for `ChunkReader.load_frames`.

        Cost: at most 1 GET for each page level, run of neighbouring chunks, and part elsewhere; none for cached ones.
        """
        parse_count(offset, "offset")
        parse_optional_count(length, "length")
        return self._tree.settled(lambda: self._tree.backend.chunks.read_file(self.row(path).chunks, offset, length))

    def open(self, path: str) -> BinaryIO:
        r"""Return the file opened for reading: seekable, buffered, read in ranges on demand.

        It stays readable when a compaction moves its chunks into other packs.

        >>> with store.snapshot("weather@main").open("2012/01.csv") as file:
        ...     file.readline()
        b'date,rain\n'

        Raises:
            PathNotFoundError, NotAFileError: As for `read`.

        Cost: as for `stat` of a file; then 1 GET for each chunk that is not cached, as it is reached.
        """

        def find_again() -> Sequence[ChunkRef]:
            self._tree.find_again()
            return self._tree.settled(lambda: self._tree.row(path)).chunks

        raw = self._tree.backend.chunks.open_file(self.row(path).chunks, find_again)
        return cast("BinaryIO", io.BufferedReader(raw, _BUFFER_BYTES))

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield each of *paths* with the file's bytes, in the order of *paths*.

        >>> [path for path, content in store.snapshot("weather@main").read_many(["2012/02.csv", "2012/01.csv"])]
        ['2012/02.csv', '2012/01.csv']

        Raises:
            PathNotFoundError, NotAFileError: As for `read`, when the path's turn comes.
            IntegrityError: The stored bytes are damaged; run fsck.

        Cost: for every 1,000 paths, 1 GET for each page that holds some of them. Then 1 GET for each run of
            neighbouring blocks, for about 8 MiB of files at a time. A remote store gets those of several packs at once.
            Memory for those 8 MiB, or for one larger file.
        """
        remaining = iter(parse_iterable(paths, "paths"))
        while group := [parse_path(path) for path in islice(remaining, _PATHS_AT_ONCE)]:
            rows = {row.path: row for row in file_rows(self._tree.settled(partial(self._tree.look_up, group)))}
            waiting: list[FileRow] = []
            waiting_bytes = 0
            frames: set[FrameRef] = set()
            for path in group:
                row = rows.get(path) or self._tree.row(path)
                more = {chunk.frame for chunk in row.chunks}
                is_enough = waiting_bytes + row.size > _BYTES_AT_ONCE or len(frames | more) > MOST_FRAMES
                if waiting and is_enough:
                    yield from self._read_rows(waiting)
                    waiting, waiting_bytes, frames = [], 0, set()
                waiting.append(row)
                waiting_bytes += row.size
                frames |= more
            yield from self._read_rows(waiting)

    def row(self, path: str) -> FileRow:
        """Return the row of the file at *path* as the tree holds it, with its chunk references; it counts as read.

        >>> len(store.snapshot("weather@main").row("2012/01.csv").chunks)
        1

        Raises:
            PathNotFoundError, NotAFileError: As for `read`.

        Cost: as `stat` of a file.
        """
        row = self._tree.settled(lambda: self._tree.row(path))
        self._versions.note(row)
        return row

    def rows(self, directory: str = "") -> Iterator[FileRow]:
        """Yield the rows of all files below *directory* as the tree holds them; each counts as read.

        >>> [row.path for row in store.snapshot("weather@main").rows("2012")]
        ['2012/01.csv', '2012/02.csv']

        Cost: 1 GET a page.
        """
        for batch in self._tree.batches(parse_directory(directory)):
            for row in file_rows(batch):
                self._versions.note(row)
                yield row

    def _read_rows(self, rows: Sequence[FileRow]) -> Iterator[tuple[str, bytes]]:
        if len(rows) == 1:
            self._versions.note(rows[0])
            data = self._tree.settled(lambda: self._tree.backend.chunks.read_file(self._tree.row(rows[0].path).chunks))
            yield rows[0].path, data
            return
        try:
            found = self._tree.backend.chunks.read_chunks([chunk for row in rows for chunk in row.chunks])
        except PackLostError:
            self._tree.find_again()
            again = [self._tree.row(row.path) for row in rows]
            if again == rows:
                raise
            rows = again
            found = self._tree.backend.chunks.read_chunks([chunk for row in rows for chunk in row.chunks])
        parts = iter(found)
        for row in rows:
            self._versions.note(row)
            yield row.path, b"".join(islice(parts, len(row.chunks)))
