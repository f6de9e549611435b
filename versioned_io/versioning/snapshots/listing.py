"""Listing and finding files."""

import heapq
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import blake3
import pyarrow as pa

from versioned_io.errors import InvalidInputError
from versioned_io.model.arguments import parse_text
from versioned_io.model.identifiers import Digest
from versioned_io.model.paths import parse_directory
from versioned_io.storage.pages.read import stat_directory
from versioned_io.versioning.snapshots.commit_tree import CommitTree, prefix_of
from versioned_io.versioning.snapshots.file_info import FileInfo, directory_info, info_of, infos_of, listed_infos

if TYPE_CHECKING:
    from versioned_io.versioning.snapshots.glob import Glob

_DIRECTORY_DIGEST = "versioned-io 2026 directory digest v1"


class Listing:
    """Lists and finds the files and directories of a snapshot; none of it counts as reading."""

    def __init__(self, tree: CommitTree) -> None:
        self._tree = tree

    def stat(self, path: str) -> FileInfo:
        """Return size, digest and attributes of the file or directory at *path*; ``""`` or ``/`` is the whole tree.

        >>> store.snapshot("weather@main").stat("2012/01.csv").size
        25

        Raises:
            PathNotFoundError: There is neither.

        Cost: at most 1 GET a page level; for a directory, whose digest is computed, 1 for each page of its files.
        """
        return self._tree.settled(lambda: self._stat(parse_directory(path)))

    def exists(self, path: str) -> bool:
        """Return whether a file or a directory exists at *path*.

        >>> store.snapshot("weather@main").exists("2013")
        False

        Cost: at most 2 GETs a page level.
        """
        directory = parse_directory(path)
        return self._tree.settled(lambda: self._tree.is_directory(directory) or self._tree.find(directory) is not None)

    def is_directory(self, path: str) -> bool:
        """Return whether *path* is a directory; the root always is one.

        >>> store.snapshot("weather@main").is_directory("2012")
        True

        Cost: at most 2 GETs a page level.
        """
        return self._tree.settled(lambda: self._tree.is_directory(parse_directory(path)))

    def list(self, directory: str = "") -> Iterator[FileInfo]:
        """Yield the files and directories right below *directory*, in the order of their paths' UTF-8 bytes.

        >>> [entry.path for entry in store.snapshot("weather@main").list()]
        ['2012']

        A directory comes without size, digest and number of files (0, empty, 0): `stat` counts them.

        Raises:
            PathNotFoundError: There is no such directory; the empty tree has only its root.
            InvalidInputError: It is a file.

        Cost: the pages that hold the entries' first rows; pages below a directory are skipped.
        """
        directory = parse_directory(directory)
        self._tree.settled(lambda: self._tree.check_directory(directory))
        found = self._tree.settled(lambda: self._tree.children(directory))
        for batch in found.to_batches():
            yield from listed_infos(batch)

    def walk(self, directory: str = "") -> Iterator[FileInfo]:
        """Yield every file below *directory*, in the order of their paths' UTF-8 bytes.

        >>> [file.path for file in store.snapshot("weather@main").walk()]
        ['2012/01.csv', '2012/02.csv']

        Raises:
            PathNotFoundError, InvalidInputError: As for `list`.

        Cost: 1 GET a page; memory for one page.
        """
        directory = parse_directory(directory)
        self._tree.settled(lambda: self._tree.check_directory(directory))
        for batch in self.batches(directory):
            yield from infos_of(batch)

    def batches(self, directory: str = "", *, prefix: str = "") -> Iterator[pa.RecordBatch]:
        """Yield the rows of every file below *directory* as Arrow record batches, a page at a time.

        >>> sum(batch.num_rows for batch in store.snapshot("weather@main").batches())
        2

        Args:
            prefix: Only files whose paths below *directory* begin with this text.

        Yields:
            Batches with these columns:

            - path: string
            - size: int64
            - digest: binary of 32 bytes
            - attributes: string, JSON or null
            - commit: binary of 16 bytes, the ID of the commit that wrote this version
            - chunks: the physical references

        Cost: 1 GET a page; memory for one page.
        """
        yield from self._tree.scan(prefix_of(parse_directory(directory)) + parse_text(prefix, "prefix"))

    def glob(self, pattern: str, *, directories: bool = False) -> Iterator[FileInfo]:
        """Yield the files whose paths match *pattern*, in order; `parse_glob` documents patterns.

        >>> [file.path for file in store.snapshot("weather@main").glob("*/02.csv")]
        ['2012/02.csv']

        Args:
            directories: Also yield each directory that matches, without size and digest, as `list` does. ``/`` is the
                root, and a pattern that ends with a slash matches directories alone.

        Raises:
            InvalidInputError: The pattern is malformed.

        Cost: 1 GET for each page of paths that begin with the pattern's literal prefix. With *directories*, memory for
            the paths of the directories that match.
        """
        from versioned_io.versioning.snapshots.glob import parse_glob

        glob = parse_glob(pattern)
        if glob.is_root and not directories:
            msg = (
                f"the pattern {pattern!r} is empty: '**' matches every file, and with directories=True '/' is the root"
            )
            raise InvalidInputError(msg)
        files = (info for batch in self._files_matching(glob) for info in infos_of(batch))
        if not directories:
            return files
        found = map(directory_info, self._directories_matching(glob))
        return heapq.merge(found, files, key=lambda info: info.path)

    def _stat(self, directory: str) -> FileInfo:
        row = self._tree.find(directory) if directory else None
        if row is not None:
            return info_of(row)
        if not self._tree.is_directory(directory):
            raise self._tree.missing(directory)
        below = stat_directory(self._tree.root, directory, source=self._tree.backend.pages)
        digest = self._directory_digest(directory)
        return directory_info(directory, below.size_bytes, digest, below.files)

    def _directory_digest(self, directory: str) -> Digest:
        digest = blake3.blake3(derive_key_context=_DIRECTORY_DIGEST)
        skipped = len(prefix_of(directory))
        for batch in self.batches(directory):
            columns = (batch.column(name).to_pylist() for name in ("path", "digest", "attributes"))
            for path, content, attributes in zip(*columns, strict=True):
                digest.update(path[skipped:].encode() + b"\0" + content + (attributes or "").encode() + b"\0")
        return Digest(digest.hexdigest())

    def _files_matching(self, glob: "Glob") -> Iterator[pa.RecordBatch]:
        if glob.is_directory:
            return
        for batch in self._candidates(glob):
            mask = glob.mask(batch.column("path"))
            if mask.true_count:
                yield batch.filter(mask)

    def _directories_matching(self, glob: "Glob") -> Sequence[str]:
        from versioned_io.versioning.snapshots.glob import directories_of

        if glob.is_root:
            return [""]
        found: set[str] = set()
        for batch in self._candidates(glob):
            parents = directories_of(batch.column("path"))
            if len(parents):
                found.update(parents.filter(glob.mask(parents)).to_pylist())
        return sorted(found)

    def _candidates(self, glob: "Glob") -> Iterator[pa.RecordBatch]:
        """Yield the rows whose paths have one of *glob*'s prefixes, in order: the prefixes are sorted and disjoint."""
        for prefix in glob.prefixes:
            yield from self._tree.scan(prefix)
