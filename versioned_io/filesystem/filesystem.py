"""The fsspec file system over a store: reads of any ref, writes to branches."""

import errno
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, ClassVar, Self, cast

from fsspec import AbstractFileSystem

from versioned_io.errors import (
    InvalidInputError,
    NotAFileError,
    NotFoundError,
    PathExistsError,
    PathNotFoundError,
    ReadOnlyRefError,
    RefNotFoundError,
    RepoNotFoundError,
)
from versioned_io.filesystem.changes import Changes, VersionedTransaction
from versioned_io.filesystem.files import ReadFile, WrittenFile, WrittenText
from versioned_io.filesystem.names import Name, head_of_branch, parse_name
from versioned_io.identifiers import is_id
from versioned_io.opening import open_store
from versioned_io.paths import parent_directories
from versioned_io.snapshots.snapshot import Snapshot
from versioned_io.snapshots.values import FileInfo
from versioned_io.store import Store
from versioned_io.transactions.transaction import StagedBranch

_BUFFER_BYTES = 256 * 1024

Info = dict[str, Any]
"""What fsspec knows of a path: ``name``, ``size``, ``type``; of a file also ``digest`` and ``attributes``."""


class _WorkingDirectory:
    """Where relative paths of stores begin, as fsspec's cache of instances must see it."""

    def __get__(self, instance: object, owner: type) -> str:
        return str(Path.cwd())


class VersionedFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec is not annotated
    """The repos of one store as directories ``repo@ref``, for everything that reads and writes through fsspec.

    ``repo@branch/path`` is read and written; with a tag, a commit, a lineage ID or ``~2`` after the ``@`` it is
    read-only. ``repo`` alone means its branch `main`, and a slash in the name of a branch is written ``%2F``. Reads are
    noted in the active run, like those through a snapshot.

    Every file that is closed is a commit, and so is every call that changes many paths (``put``, ``cp``, ``mv``,
    ``rm``). All that ``with fs.transaction:`` changes is one commit. Within a store copying moves no bytes.

    Directories exist through their files. `mkdir` notes an empty one in this object alone, until it is removed.

    Args:
        store: Where the store is; see `open_store`.
        catalog: The SQLAlchemy URL of its catalog, when that is not in the store's directory.
    """

    protocol = "versioned"
    root_marker = ""
    transaction_type = VersionedTransaction
    working_directory: ClassVar[_WorkingDirectory] = _WorkingDirectory()
    _extra_tokenize_attributes: tuple[str, ...] = ("working_directory",)

    def __init__(self, store: str | Path | None = None, catalog: str | None = None, **options: object) -> None:
        if store is None:
            msg = "which store? pass store='./data' (fsspec's storage_options), or set VERSIONED_STORE"
            raise InvalidInputError(msg)
        super().__init__(**options)
        url = str(store)
        self._url = url if "://" in url else str(Path(url).absolute())
        self._catalog = catalog
        self._opened: Store | None = None
        self._lock = threading.Lock()
        self._directories: set[str] = set()
        self._ambient = threading.local()

    @classmethod
    def of(cls, store: Store, *, catalog: str | None = None) -> Self:
        """Return a file system over a store that is open already and stays its owner's to close.

        Args:
            catalog: What a pickled copy opens the catalog with, when that is not in the store's directory.
        """
        fs = cls(store.url, catalog, skip_instance_cache=True)
        fs._opened = store
        return fs

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._url, self._catalog)

    @property
    def fsid(self) -> str:
        """What tells this store from others."""
        return f"versioned_{self._url}"

    @property
    def store(self) -> Store:
        """The store, opened when it is first needed.

        Raises:
            StoreNotFoundError, FormatError, StorageError: As `open_store` says.
        """
        with self._lock:
            if self._opened is None:
                self._opened = open_store(self._url, catalog=self._catalog)
            return self._opened

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:  # noqa: ANN401 (fsspec's protocol: a path or a list of them)
        stripped = super()._strip_protocol(path)
        return stripped if isinstance(stripped, list) else stripped.lstrip("/")

    # Reading

    def ls(self, path: str, detail: bool = True, **_: object) -> list[Any]:  # noqa: FBT001, FBT002 (fsspec's protocol)
        """Return what is right below a directory, or the file itself; the root holds every ``repo@branch``.

        Raises:
            PathNotFoundError: There is neither; also when there is no such repo or ref.

        Cost: as `Snapshot.list`.
        """
        name = parse_name(self._strip_protocol(path))
        entries = self._entries(name) if name.head else self._heads()
        return entries if detail else [entry["name"] for entry in entries]

    def info(self, path: str, **_: object) -> Info:
        """Return ``name``, ``size`` and ``type`` of a path; of a file also ``digest``, ``attributes``, ``written_by``.

        Raises:
            PathNotFoundError: There is nothing; also when there is no such repo or ref.

        Cost: as `Snapshot.stat` of a file.
        """
        name = parse_name(self._strip_protocol(path))
        if not name.head:
            return _directory("")
        if name.path and str(name) in self._directories:
            return _directory(str(name))
        snapshot = self._snapshot(name)
        if snapshot.is_directory(name.path):
            return _directory(str(name))
        return _info(name, snapshot.stat(name.path))

    def exists(self, path: str, **_: object) -> bool:
        """Say whether there is a file or a directory; what fails otherwise is raised, not taken for a no."""
        try:
            self.info(path)
        except NotFoundError:
            return False
        return True

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,  # noqa: FBT001, FBT002 (fsspec's protocol)
        detail: bool = False,  # noqa: FBT001, FBT002 (fsspec's protocol)
        **options: object,
    ) -> Any:  # noqa: ANN401 (fsspec's protocol: a list or a dict)
        """Return all files below a path, sorted, and with *withdirs* the directories: one scan of the tree's pages."""
        name = parse_name(self._strip_protocol(path))
        if not name.head:
            return super().find(path, maxdepth, withdirs, detail, **options)
        if maxdepth is not None and maxdepth < 1:
            msg = f"maxdepth is {maxdepth}: use 1 or more"
            raise InvalidInputError(msg)
        found = {info["name"]: info for info in self._below(name, maxdepth, withdirs=withdirs)}
        return dict(sorted(found.items())) if detail else sorted(found)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: object) -> bytes:
        """Return the bytes of a file from *start* to *end*, both counted from its end when negative.

        Cost: as `Snapshot.read`.
        """
        name = parse_name(self._strip_protocol(path))
        snapshot = self._snapshot(name)
        if not start and end is None:
            return snapshot.read(name.path)
        size = sum(chunk.size for chunk in snapshot.row(name.path).chunks)
        first, stop, _step = slice(start, end).indices(size)
        return snapshot.read(name.path, first, max(0, stop - first))

    def checksum(self, path: str) -> str:
        """Return the content digest: equal digests, equal content."""
        name = parse_name(self._strip_protocol(path))
        return str(self._snapshot(name).stat(name.path).digest)

    def ukey(self, path: str) -> str:
        """Return the content digest."""
        return self.checksum(path)

    def modified(self, path: str) -> datetime:
        """Return when the commit that wrote this version of a file was made; of a directory, the ref's commit."""
        name = parse_name(self._strip_protocol(path))
        snapshot = self._snapshot(name)
        if snapshot.is_directory(name.path):
            return snapshot.commit.created_at
        return self.store.commit(snapshot.writer_of(name.path)).created_at

    def created(self, path: str) -> datetime:
        """Return the same as `modified`: a version of a file is made once and never changes."""
        return self.modified(path)

    # Writing

    def begin_changes(self, message: str) -> Changes:
        """Return a new group of changes; only this package calls this."""
        return Changes(self.store, message, self._directories)

    def open(self, path: str, mode: str = "rb", *args: object, **options: Any) -> Any:  # noqa: ANN401 (fsspec's protocol)
        """Return a file, opened; see `_open` for the modes. Text is encoded on the way, and compressed if asked for."""
        if "b" in mode or not set(mode) & set("wax"):
            return super().open(path, mode, *args, **options)
        text = {key: options.pop(key) for key in ("encoding", "errors", "newline") if key in options}
        file = self.open(path, f"{mode.replace('t', '')}b", *args, **options)
        return WrittenText(file, **text) if isinstance(file, WrittenFile) else io.TextIOWrapper(file, **text)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **_: object) -> IO[bytes]:
        name = parse_name(self._strip_protocol(path))
        if mode == "rb":
            row = (snapshot := self._snapshot(name)).row(name.path)
            raw = cast("Any", snapshot.open(name.path)).detach()
            return cast("IO[bytes]", ReadFile(raw, str(name), row.size, block_size or _BUFFER_BYTES))
        if mode not in {"wb", "ab", "xb"}:
            msg = f"can't open {path!r} in mode {mode!r}: use rb, wb, ab or xb; files of a commit never change"
            raise InvalidInputError(msg)
        branch = self._branch_of(name)
        if mode == "xb" and self.exists(str(name)):
            raise PathExistsError(name.path, branch)
        if self.isdir(str(name)):
            raise NotAFileError(name.path, branch)

        def take(source: IO[bytes]) -> None:
            def write(staged: StagedBranch) -> None:
                if mode == "xb" and staged.exists(name.path):
                    raise PathExistsError(name.path, branch)
                staged.write(name.path, cast("Any", source), append=mode == "ab")

            with self._changes(f"write {name.path}") as changes:
                changes.stage(branch, write)

        return cast("IO[bytes]", WrittenFile(str(name), take))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: object) -> None:
        """Write a file whole; with *mode* ``create``, only if there is none."""
        with self.open(path, "xb" if mode == "create" else "wb") as file:
            file.write(value)

    def pipe(self, path: Any, value: bytes | None = None, **options: object) -> None:  # noqa: ANN401 (fsspec's protocol)
        """Write one file or, from a dict, many, in one commit."""
        if not isinstance(path, dict):
            super().pipe(path, value, **options)
            return
        with self._changes(f"write {_said(path)}"):
            super().pipe(path, **options)

    def put(self, lpath: Any, rpath: Any, *args: object, **options: object) -> None:  # noqa: ANN401 (fsspec's protocol)
        """Write local files, in one commit."""
        with self._changes(f"put {_said(rpath)}"):
            super().put(lpath, rpath, *args, **options)

    def put_file(self, lpath: Any, rpath: str, callback: Any = None, mode: str = "overwrite", **_: object) -> None:  # noqa: ANN401 (fsspec's protocol)
        """Write one local file; a directory is noted as by `mkdir`, once what is put with it is visible.

        Raises:
            PathExistsError: *mode* is ``create``, and there is something of this name.
        """
        name, local = parse_name(self._strip_protocol(rpath)), Path(lpath)
        branch = self._branch_of(name, needs_file=not local.is_dir())
        if mode == "create" and self.exists(str(name)):
            raise PathExistsError(name.path, branch)
        with self._changes(f"write {name.path}") as changes:
            if local.is_dir():
                changes.new_directories.add(str(name))
                return
            changes.stage(branch, lambda staged: staged.write(name.path, local))
        if callback is not None:
            size_bytes = local.stat().st_size
            callback.set_size(size_bytes)
            callback.relative_update(size_bytes)

    def copy(self, path1: Any, path2: Any, *args: object, **options: object) -> None:  # noqa: ANN401 (fsspec's protocol)
        """Copy files and directories of any ref to a branch, in one commit and by reference: no bytes move."""
        with self._changes(f"copy {_said(path1)} to {_said(path2)}"):
            super().copy(path1, path2, *args, **options)

    def cp_file(self, path1: str, path2: str, **_: object) -> None:
        """Copy one file by reference; of a directory, make it."""
        source, target = (parse_name(self._strip_protocol(path)) for path in (path1, path2))
        branch = self._branch_of(target)
        if self.isdir(str(source)):
            with self._changes(f"copy {source} to {target}") as changes:
                changes.new_directories.add(str(target))
            return
        ref = source.ref
        at = "" if str(ref) == branch else str(ref)
        with self._changes(f"copy {source} to {target}") as changes:
            changes.stage(branch, lambda staged: staged.copy(f"{at}:{source.path}", target.path))

    def mv(self, path1: Any, path2: Any, *args: object, **options: object) -> None:  # noqa: ANN401 (fsspec's protocol)
        """Move files and directories, in one commit and by reference: no bytes move."""
        with self._changes(f"move {_said(path1)} to {_said(path2)}"):
            super().mv(path1, path2, *args, **options)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:  # noqa: ANN401, FBT001, FBT002
        """Delete files, and with *recursive* directories, in one commit.

        Raises:
            PathNotFoundError: There is nothing of this name; nothing is deleted then.
            NotAFileError: It is a directory, and *recursive* is false; nothing is deleted then.
        """
        with self._changes(f"delete {_said(path)}"):
            for found in reversed(self.expand_path(path, recursive=recursive, maxdepth=maxdepth)):
                name = parse_name(found)
                if self.isdir(found):
                    if not recursive:
                        raise NotAFileError(name.path, name.head)
                    self._directories.discard(str(name))
                else:
                    self.rm_file(found)

    def rm_file(self, path: str) -> None:
        """Delete one file.

        Raises:
            PathNotFoundError: There is none, neither committed nor written in this transaction.
        """
        name = parse_name(self._strip_protocol(path))
        branch = self._branch_of(name)

        def delete(staged: StagedBranch) -> None:
            if not staged.exists(name.path):
                raise PathNotFoundError(name.path, branch)
            staged.delete(name.path)

        with self._changes(f"delete {name.path}") as changes:
            changes.stage(branch, delete)

    def _rm(self, path: str) -> None:
        self.rm_file(path)

    def mkdir(self, path: str, create_parents: bool = True, **_: object) -> None:  # noqa: FBT001, FBT002 (fsspec's protocol)
        """Note an empty directory, in this object alone: a repo has only the directories that its files are in.

        Raises:
            PathExistsError: There is a file or a directory of this name.
            PathNotFoundError: Its parent does not exist, and *create_parents* is false.
        """
        name = parse_name(self._strip_protocol(path))
        branch = self._branch_of(name, needs_file=False)
        if self.exists(str(name)):
            raise PathExistsError(name.path, branch)
        for parent in parent_directories(name.path):
            if not create_parents and not self.isdir(name.child(parent)):
                raise PathNotFoundError(parent, branch)
            if self.isfile(name.child(parent)):
                raise PathExistsError(parent, branch)
            self._directories.add(name.child(parent))
        self._directories.add(str(name))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002 (fsspec's protocol)
        """Note a directory and those above it, as `mkdir` does."""
        try:
            self.mkdir(path, create_parents=True)
        except PathExistsError:
            if not exist_ok or self.isfile(path):
                raise

    def rmdir(self, path: str) -> None:
        """Forget an empty directory.

        Raises:
            OSError: It holds something; delete that first, or ``rm(recursive=True)``.
            PathNotFoundError: There is none.
        """
        if self.ls(path):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        self._directories.discard(self._strip_protocol(path))

    # Inside

    @contextmanager
    def _changes(self, message: str) -> Iterator[Changes]:
        """Yield where to stage: the transaction if there is one, or the call around this, or else a commit's worth."""
        if self._intrans:
            yield cast("Changes", self.transaction.changes)
            return
        around: Changes | None = getattr(self._ambient, "changes", None)
        if around is not None:
            yield around
            return
        self._ambient.changes = changes = self.begin_changes(message)
        try:
            yield changes
            changes.commit()
        except BaseException:
            changes.abort()
            raise
        finally:
            self._ambient.changes = None

    def _snapshot(self, name: Name) -> Snapshot:
        ref = name.ref
        try:
            return self.store.snapshot(str(ref))
        except (RepoNotFoundError, RefNotFoundError) as error:
            raise PathNotFoundError(str(name), self._url, str(error)) from error

    def _branch_of(self, name: Name, *, needs_file: bool = True) -> str:
        """Return ``repo@branch`` of a name that is to be written to."""
        if not name.head or (needs_file and not name.path):
            raise ReadOnlyRefError(name.head, "it is no file")
        ref = name.ref
        if ref.place != ref.name or is_id(ref.name):
            raise ReadOnlyRefError(name.head, "commits never change")
        branches = {branch.name for branch in self.store.branches(ref.repo)}
        if ref.name not in branches:
            self._snapshot(name)  # raises when there is no such ref at all
            raise ReadOnlyRefError(name.head, "tags never change")
        return f"{ref.repo}@{ref.name}"

    def _heads(self) -> list[Info]:
        branches = (branch for repo in self.store.repos() for branch in repo.branches)
        return [_directory(head_of_branch(branch.repo, branch.name)) for branch in branches]

    def _entries(self, name: Name) -> list[Info]:
        snapshot = self._snapshot(name)
        found: dict[str, Info] = {}
        if snapshot.is_directory(name.path):
            found = {name.child(entry.path): _info(name, entry) for entry in snapshot.list(name.path)}
        elif str(name) not in self._directories:
            return [_info(name, snapshot.stat(name.path))]
        prefix = f"{name}/"
        for directory in tuple(self._directories):
            if directory.startswith(prefix):
                child = prefix + directory.removeprefix(prefix).partition("/")[0]
                found.setdefault(child, _directory(child))
        return [found[child] for child in sorted(found)]

    def _below(self, name: Name, maxdepth: int | None, *, withdirs: bool) -> Iterator[Info]:
        try:
            snapshot = self._snapshot(name)
        except PathNotFoundError:
            return
        skipped = len(name.path) + 1 if name.path else 0
        directories = {path.partition("/")[2] for path in tuple(self._directories) if path.startswith(f"{name}/")}
        if snapshot.is_directory(name.path):
            for file in snapshot.walk(name.path):
                if maxdepth is None or file.path.count("/", skipped) < maxdepth:
                    yield _info(name, file)
                directories.update(parent_directories(file.path))
        elif str(name) not in self._directories:
            if snapshot.exists(name.path):
                yield _info(name, snapshot.stat(name.path))
            return
        if not withdirs:
            return
        if name.path:
            yield _directory(str(name))
        for directory in directories:
            is_below = len(directory) > skipped and (not name.path or directory.startswith(f"{name.path}/"))
            if is_below and (maxdepth is None or directory.count("/", skipped) < maxdepth):
                yield _directory(name.child(directory))


def _said(path: Any) -> str:  # noqa: ANN401 (fsspec's protocol: a path, or a list or dict of them)
    return f"{len(path)} paths" if isinstance(path, list | tuple | dict) else str(path)


def _directory(name: str) -> Info:
    return {"name": name, "size": 0, "type": "directory"}


def _info(name: Name, entry: FileInfo) -> Info:
    if entry.is_directory:
        return _directory(name.child(entry.path))
    return {
        "name": name.child(entry.path),
        "size": entry.size,
        "type": "file",
        "digest": str(entry.digest),
        "attributes": dict(entry.attributes),
        "written_by": entry.written_by,
    }
