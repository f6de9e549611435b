"""The tree of a commit: where its rows are found, again if a compaction has moved it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import pyarrow as pa

from versioned_io.catalog.commits import get_commit
from versioned_io.errors import (
    IntegrityError,
    InvalidInputError,
    NotAFileError,
    PackLostError,
    PathNotFoundError,
    RefNotFoundError,
)
from versioned_io.model.commits import Commit, InputFile
from versioned_io.model.identifiers import CommitId, Digest
from versioned_io.model.path_ranges import successor
from versioned_io.model.paths import parent_directories, parse_path
from versioned_io.model.places import PageRef
from versioned_io.storage.pages.read import FileRow, list_directory, lookup, lookup_many, scan
from versioned_io.versioning.backend.backend import Backend

_NEAR_NAMES = 5
_T = TypeVar("_T")


class CommitTree:
    """The tree of one commit: rows by path. It finds its pages again if they have moved. Thread-safe."""

    def __init__(self, backend: Backend, repo: str, ref: str, commit: Commit | None) -> None:
        self.backend = backend
        self.repo = repo
        self.ref = ref
        self._commit = commit
        self._has_twin = False  # whether the equal tree of another commit is read instead

    @property
    def name(self) -> str:
        """The ref that was given, and the commit that it resolved to."""
        return f"{self.repo}@{self.ref}" + (f" ({self._commit.id})" if self._commit is not None else " (no commit yet)")

    @property
    def commit(self) -> Commit:
        """The commit.

        Raises:
            RefNotFoundError: The branch has no commit yet; write to it first.
        """
        if self._commit is None:
            raise RefNotFoundError(self.repo, self.ref, reason="the branch has no commit yet; write to it first")
        return self._commit

    @property
    def commit_id(self) -> CommitId | None:
        """The commit's ID; None if there is no commit."""
        return None if self._commit is None else self._commit.id

    @property
    def is_empty(self) -> bool:
        """Whether there is no file at all."""
        return self.root is None

    @property
    def root(self) -> PageRef | None:
        """Where its root page lies; None for the empty tree."""
        return None if self._commit is None else self._commit.readable_root

    def row(self, path: str) -> FileRow:
        """Return the row of the file at *path*.

        Raises:
            PathNotFoundError: There is no such file; the message names nearby paths.
            NotAFileError: It is a directory.
        """
        path = parse_path(path)
        row = self.find(path)
        if row is None:
            raise NotAFileError(path, self.name) if self.is_directory(path) else self.missing(path)
        return row

    def find(self, path: str) -> FileRow | None:
        """Return the row of the file at *path*; None if there is no such file."""
        return lookup(self.root, path, source=self.backend.pages)

    def look_up(self, paths: Sequence[str]) -> pa.Table:
        """Return the rows of those of *paths* that are files."""
        return lookup_many(self.root, paths, source=self.backend.pages)

    def is_directory(self, directory: str) -> bool:
        """Return whether *directory* holds a file; the root always is a directory."""
        if not directory:
            return True
        return next(scan(self.root, prefix_of(directory), source=self.backend.pages), None) is not None

    def check_directory(self, directory: str) -> None:
        """Pass if *directory* is one.

        Raises:
            PathNotFoundError: The directory does not exist.
            InvalidInputError: It is a file.
        """
        if self.is_directory(directory):
            return
        if self.find(directory) is not None:
            msg = (
                f"{directory!r} in {self.name} is a file, not a directory: read it, or list the directory that it is in"
            )
            raise InvalidInputError(msg)
        raise self.missing(directory)

    def children(self, directory: str) -> pa.Table:
        """Return the files and directories right below *directory*."""
        return list_directory(self.root, directory, source=self.backend.pages)

    def batches(self, directory: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of every file below *directory*, a page at a time."""
        return self.scan(prefix_of(directory))

    def scan(self, prefix: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the files whose paths begin with *prefix*, a page at a time."""
        start: str | None = None
        while True:
            before = self.root
            try:
                for batch in scan(before, prefix, source=self.backend.pages, start=start):
                    yield batch
                    start = successor(batch.column(0)[-1].as_py())
            except IntegrityError as error:
                if not self._lies_elsewhere(before, error):
                    raise
            else:
                return

    def settled(self, call: Callable[[], _T]) -> _T:
        """Return the result of *call*, retried once if the tree has moved to other packs meanwhile.

        It is also retried if the tree is damaged, and another commit has an equal one.
        """
        before = self.root
        try:
            return call()
        except IntegrityError as error:
            if not self._lies_elsewhere(before, error):
                raise
            return call()

    def find_again(self) -> None:
        """Look up where the tree lies now: a compaction may have moved it."""
        with self.backend.catalog.ask() as connection:
            self._commit = get_commit(connection, self.commit.id)

    def missing(self, path: str) -> PathNotFoundError:
        """Return the error for a path where nothing is, with the names of files and directories nearby."""
        if self.is_empty:
            return PathNotFoundError(path, self.name, "it has no files")
        parent = path.rpartition("/")[0]
        for directory in parent_directories(path):
            if self.find(directory) is not None:
                return PathNotFoundError(path, self.name, f"{directory!r} is a file, so nothing is below it")
        if not self.is_directory(parent):
            return PathNotFoundError(path, self.name, f"there is no directory {parent!r} either")
        near = self.children(parent).column("path").slice(0, _NEAR_NAMES).to_pylist()
        return PathNotFoundError(path, self.name, f"beside it are {', '.join(map(repr, near))}")

    def version(self, path: str, digest: bytes, author: bytes) -> InputFile:
        """Return the file at *path* as the version that lineage knows."""
        return InputFile(self.repo, self.commit.id, path, Digest(digest.hex()), CommitId(author.hex()))

    def _lies_elsewhere(self, before: PageRef | None, error: IntegrityError) -> bool:
        """Find the tree again, unless another thread has, and return whether its place differs from *before*."""
        if isinstance(error, PackLostError):
            self.find_again()
        if self.root == before and before is not None and not self._has_twin:
            from versioned_io.catalog.damages import find_twin_tree

            with self.backend.catalog.read() as connection:
                twin = find_twin_tree(connection, before)
            if twin is not None:
                self._has_twin = True
                self._commit = replace(self.commit, root=twin)
        return self.root != before


def prefix_of(directory: str) -> str:
    """Return how the paths of all files below *directory* begin."""
    return f"{directory}/" if directory else ""
