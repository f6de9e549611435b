"""The repos of a store as fsspec shows them: the tree of each ref is a directory ``repo@ref``."""

from datetime import datetime
from typing import Any, Final, cast

from versioned_io.errors import (
    InvalidInputError,
    NotFoundError,
    PathNotFoundError,
    ReadOnlyRefError,
    RefNotFoundError,
    RepoNotFoundError,
)
from versioned_io.interfaces.filesystem.fsspec_info import Info, directory_info, entries_of, file_info, infos_below
from versioned_io.interfaces.filesystem.lazy_store import LazyStore
from versioned_io.interfaces.filesystem.open_files import ReadFile
from versioned_io.interfaces.filesystem.urls import Name, head_of_branch
from versioned_io.model.identifiers import is_id
from versioned_io.versioning.snapshots.snapshot import Snapshot

_BUFFER_BYTES: Final = 256 * 1024


class Trees:
    """Reads what names refer to, as it is committed.

    Attributes:
        noted: The names of empty directories, which exist in this object alone.
    """

    def __init__(self, store: LazyStore) -> None:
        self._store = store
        self.noted: set[str] = set()

    def snapshot(self, name: Name) -> Snapshot:
        """Return the snapshot of the ref of *name*.

        Raises:
            PathNotFoundError: The repo or the ref does not exist.
        """
        ref = name.ref
        try:
            return self._store.open().snapshot(str(ref))
        except (RepoNotFoundError, RefNotFoundError) as error:
            raise PathNotFoundError(str(name), self._store.url, str(error)) from error

    def branch_of(self, name: Name, *, needs_file: bool = True) -> str:
        """Return ``repo@branch`` of a name that is to be written to.

        Raises:
            PathNotFoundError: The repo or the ref does not exist.
            ReadOnlyRefError: It names no branch, or with *needs_file* no file of one.
        """
        if not name.head or (needs_file and not name.path):
            raise ReadOnlyRefError(name.head, "it is not a file")
        ref = name.ref
        if ref.place != ref.name or is_id(ref.name):
            raise ReadOnlyRefError(name.head, "commits never change")
        branches = {branch.name for branch in self._store.open().branches(ref.repo)}
        if ref.name not in branches:
            self.snapshot(name)  # raises if there is no such ref
            raise ReadOnlyRefError(name.head, "tags never change")
        return f"{ref.repo}@{ref.name}"

    def entries(self, name: Name) -> list[Info]:
        """Return the infos of everything right below a directory, or of the file itself; of the root, all branches.

        Raises:
            PathNotFoundError: There is neither.
        """
        if name.head:
            return entries_of(self.snapshot(name), name, self.noted)
        branches = (branch for repo in self._store.open().repos() for branch in repo.branches)
        return [directory_info(head_of_branch(branch.repo, branch.name)) for branch in branches]

    def find(self, name: Name, maxdepth: int | None, *, withdirs: bool) -> dict[str, Info]:
        """Return the infos of all files below *name*, and with *withdirs* of the directories, sorted by name.

        Raises:
            InvalidInputError: *maxdepth* is less than 1.
        """
        if maxdepth is not None and maxdepth < 1:
            msg = f"maxdepth is {maxdepth}: use 1 or more"
            raise InvalidInputError(msg)
        try:
            snapshot = self.snapshot(name)
        except PathNotFoundError:
            return {}
        below = infos_below(snapshot, name, self.noted, maxdepth, withdirs=withdirs)
        found = {info["name"]: info for info in below}  # a crafted tree may have one name twice
        return {name: found[name] for name in sorted(found)}

    def info(self, name: Name) -> Info:
        """Return what fsspec shows of a file or directory.

        Raises:
            PathNotFoundError: There is neither.
        """
        if not name.head:
            return directory_info("")
        if name.path and str(name) in self.noted:
            return directory_info(str(name))
        snapshot = self.snapshot(name)
        if snapshot.is_directory(name.path):
            return directory_info(str(name))
        return file_info(name, snapshot.stat(name.path))

    def exists(self, name: Name) -> bool:
        """Return whether *name* is a file or directory."""
        return self._type_of(name) is not None

    def is_directory(self, name: Name) -> bool:
        """Return whether *name* is a directory."""
        return self._type_of(name) == "directory"

    def is_file(self, name: Name) -> bool:
        """Return whether *name* is a file."""
        return self._type_of(name) == "file"

    def read(self, name: Name, start: int | None, end: int | None) -> bytes:
        """Return the bytes of a file from *start* to *end*, both counted from its end when negative.

        Cost: as `Snapshot.read`.
        """
        snapshot = self.snapshot(name)
        if not start and end is None:
            return snapshot.read(name.path)
        size = sum(chunk.size for chunk in snapshot.row(name.path).chunks)
        first, stop, _step = slice(start, end).indices(size)
        return snapshot.read(name.path, first, max(0, stop - first))

    def open(self, name: Name, buffer_bytes: int | None) -> ReadFile:
        """Return a file, opened to read."""
        row = (snapshot := self.snapshot(name)).row(name.path)
        raw = cast("Any", snapshot.open(name.path)).detach()
        return ReadFile(raw, str(name), row.size, buffer_bytes or _BUFFER_BYTES)

    def digest(self, name: Name) -> str:
        """Return the content digest of a file."""
        return str(self.snapshot(name).stat(name.path).digest)

    def written_at(self, name: Name) -> datetime:
        """Return when the commit that wrote this version of a file was made; of a directory, the ref's commit."""
        snapshot = self.snapshot(name)
        if snapshot.is_directory(name.path):
            return snapshot.commit.created_at
        return self._store.open().commit(snapshot.writer_of(name.path)).created_at

    def _type_of(self, name: Name) -> str | None:
        try:
            return cast("str", self.info(name)["type"])
        except NotFoundError:
            return None
