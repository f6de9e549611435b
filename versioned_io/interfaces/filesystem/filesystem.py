"""The fsspec file system over a store: reads of any ref, writes to branches.

This is also the one place that reads the environment for it.
"""

import os
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any, ClassVar, Self, cast

from fsspec import AbstractFileSystem
from fsspec.compression import compr
from fsspec.core import get_compression
from fsspec.implementations.local import make_path_posix

from versioned_io.errors import InvalidInputError, PathExistsError
from versioned_io.errors.root import counted
from versioned_io.interfaces.filesystem.edits import Edits
from versioned_io.interfaces.filesystem.expanding import Expansion, Pairs, pair_local
from versioned_io.interfaces.filesystem.fsspec_info import Info
from versioned_io.interfaces.filesystem.lazy_store import LazyStore
from versioned_io.interfaces.filesystem.open_files import CompressedFile, Place, WrittenText
from versioned_io.interfaces.filesystem.pending import ChangeGroups, VersionedTransaction
from versioned_io.interfaces.filesystem.trees import Trees
from versioned_io.interfaces.filesystem.urls import Name, parse_name
from versioned_io.interfaces.settings import STORE, VARIABLES, StoreSettings
from versioned_io.platform.ambient import process_settings
from versioned_io.storage.objects.cached import DEFAULT_CACHE_BYTES
from versioned_io.store import Store
from versioned_io.store.locating import Sources
from versioned_io.versioning.backend.address import Address
from versioned_io.versioning.snapshots.file_info import EXECUTABLE


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
    ``rm``). All that ``with fs.transaction:`` changes is one commit. Within a store copying moves no bytes. A file
    whose writer fails is not written; `WrittenFile` says what counts as failure.

    A name is a name, whatever characters are in it: one that exists is that file alone. Calls that change or delete
    files take no patterns. Where nothing of the name exists, ``get``, ``cat``, ``cp`` and ``put`` take it for a
    pattern.

    Directories exist through their files. `mkdir` notes an empty one in this object alone, until it is removed.

    Args:
        store: Where the store is; see `open_store`.
        catalog: The SQLAlchemy URL of its catalog, when that is not in the store's directory.
        storage_options, cache, cache_bytes, sources: As for `open_store`.
    """

    protocol = "versioned"
    root_marker = ""
    transaction_type = VersionedTransaction
    working_directory: ClassVar[_WorkingDirectory] = _WorkingDirectory()
    _extra_tokenize_attributes: tuple[str, ...] = ("working_directory",)

    def __init__(
        self,
        store: str | Path | None = None,
        catalog: str | None = None,
        *,
        storage_options: Mapping[str, str] | None = None,
        cache: str | Path | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        sources: Sources | None = None,
        **options: object,
    ) -> None:
        if store is None:
            msg = "which store? pass store='./data' (fsspec's storage_options), or set VERSIONED_STORE"
            raise InvalidInputError(msg)
        super().__init__(**options)
        given = {"storage_options": storage_options, "cache": cache, "cache_bytes": cache_bytes, "sources": sources}
        self._store = LazyStore(store, catalog, given)
        self._trees = Trees(self._store)
        self._groups = ChangeGroups(self._store, self._trees.noted)
        self._edits = Edits(self._trees, self._groups)
        self._expansion = Expansion(self._trees, self._groups, self._parse)

    @classmethod
    def of(cls, store: Store, *, catalog: str | None = None) -> Self:
        """Return a file system over a store that is open already and stays its owner's to close.

        Args:
            catalog: No longer needed: a pickled copy uses the catalog of *store*.
        """
        fs = cls(store.url, catalog, skip_instance_cache=True)
        fs._store.use(store)
        return fs

    @classmethod
    def of_address(cls, address: Address) -> Self:
        """Return a file system that opens the store at *address* when it is needed; unpickling calls this."""
        fs = cls(address.url, address.catalog, skip_instance_cache=True)
        fs._store.use(address)
        return fs

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._store.url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        if self._store.opened is not None:
            return type(self).of, (self._store.opened,)
        return type(self).of_address, (self._store.address,)

    @property
    def fsid(self) -> str:
        """A key that tells this store from others."""
        return f"versioned_{self._store.url}"

    @property
    def store(self) -> Store:
        """The store, opened when it is first needed.

        Raises:
            StoreNotFoundError, FormatError, StorageError: As `open_store` says.
        """
        return self._store.open()

    def when_opened(self, prepare: Callable[[Store], object]) -> None:
        """Call *prepare* with the store when this opens it, such as to register an `after_commit` hook.

        A second call does nothing, since fsspec gives one file system to many callers. A call after the opening does
        nothing, either.
        """
        self._store.when_opened(prepare)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:  # noqa: ANN401 (fsspec's protocol: a path or a list of them)
        stripped = super()._strip_protocol(path)
        return stripped if isinstance(stripped, list) else stripped.lstrip("/")

    @classmethod
    def _parse(cls, path: Any) -> Name:  # noqa: ANN401 (fsspec's protocol)
        return parse_name(cls._strip_protocol(path))

    # Reading

    def ls(self, path: str, detail: bool = True, **_: object) -> list[Any]:  # noqa: FBT001, FBT002 (fsspec's protocol)
        """Return the entries of a directory, or the file itself; the root holds every ``repo@branch``.

        Raises:
            PathNotFoundError: There is neither; also when there is no such repo or ref.

        Cost: as `Snapshot.list`.
        """
        entries = self._trees.entries(self._parse(path))
        return entries if detail else [entry["name"] for entry in entries]

    def info(self, path: str, **_: object) -> Info:
        """Return ``name``, ``size`` and ``type`` of a path; of a file also ``digest``, ``attributes``, ``written_by``.

        Raises:
            PathNotFoundError: There is nothing; also when there is no such repo or ref.

        Cost: as `Snapshot.stat` of a file.
        """
        return self._trees.info(self._parse(path))

    def exists(self, path: str, **_: object) -> bool:
        """Return whether a file or directory exists. Any other failure is raised."""
        return self._trees.exists(self._parse(path))

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,  # noqa: FBT001, FBT002 (fsspec's protocol)
        detail: bool = False,  # noqa: FBT001, FBT002 (fsspec's protocol)
        **options: object,
    ) -> Any:  # noqa: ANN401 (fsspec's protocol: a list or a dict)
        """Return all files below a path, sorted, and with *withdirs* the directories: one scan of the tree's pages."""
        name = self._parse(path)
        if not name.head:
            return super().find(path, maxdepth, withdirs, detail, **options)
        found = self._trees.find(name, maxdepth, withdirs=withdirs)
        return found if detail else list(found)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: object) -> bytes:
        """Return the bytes of a file from *start* to *end*, both counted from its end when negative.

        Cost: as `Snapshot.read`.
        """
        return self._trees.read(self._parse(path), start, end)

    def checksum(self, path: str) -> str:
        """Return the content digest: equal digests, equal content."""
        return self._trees.digest(self._parse(path))

    def ukey(self, path: str) -> str:
        """Return the content digest."""
        return self.checksum(path)

    def modified(self, path: str) -> datetime:
        """Return when the commit that wrote this version of a file was made; of a directory, the ref's commit."""
        return self._trees.written_at(self._parse(path))

    def created(self, path: str) -> datetime:
        """Return the same as `modified`: a version of a file is made once and never changes."""
        return self.modified(path)

    # Writing

    def start_transaction(self) -> Any:  # noqa: ANN401 (fsspec's protocol)
        """Begin a transaction that `end_transaction` commits; better use ``with fs.transaction:``."""
        self.transaction.start()
        return self.transaction

    def open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: Any = None,  # noqa: ANN401 (fsspec's protocol)
        compression: str | None = None,
        **options: Any,  # noqa: ANN401 (fsspec's protocol)
    ) -> Any:  # noqa: ANN401 (fsspec's protocol)
        """Return a file, opened; see `_open` for the modes. Text is encoded on the way, and compressed if asked for."""
        if not set(mode) & set("wax"):
            return super().open(path, mode, block_size, cache_options, compression, **options)
        text = {key: options.pop(key) for key in ("encoding", "errors", "newline") if key in options}
        # The open file is noted in the transaction by _open, for this instance or for another of the same store.
        options["autocommit"] = True
        if compression is None and "b" in mode and self._groups.transaction() is None:
            options["opener"] = Place.of(sys._getframe().f_back)  # noqa: SLF001 (there is no other way to the caller)
        file = super().open(path, mode.replace("t", "").replace("b", "") + "b", block_size, cache_options, **options)
        if compression is not None:
            codec = compr[get_compression(path, compression)](file, mode=mode[0])
            file = CompressedFile(codec, file)
        return file if "b" in mode else WrittenText(file, **text)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        opener: Place | None = None,
        **_: object,
    ) -> IO[bytes]:
        name = self._parse(path)
        if mode == "rb":
            return cast("IO[bytes]", self._trees.open(name, block_size))
        return cast("IO[bytes]", self._edits.begin_file(name, path, mode, opener))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: object) -> None:
        """Write a file whole; with *mode* ``create``, only if there is none."""
        with self.open(path, "xb" if mode == "create" else "wb") as file:
            file.write(value)

    def pipe(self, path: Any, value: bytes | None = None, **options: object) -> None:  # noqa: ANN401 (fsspec's protocol)
        """Write one file or, from a dict, many, in one commit."""
        if not isinstance(path, dict):
            super().pipe(path, value, **options)
            return
        with self._groups.changes(f"write {_said(path)}"):
            super().pipe(path, **options)

    def put(
        self,
        lpath: Any,  # noqa: ANN401 (fsspec's protocol)
        rpath: Any,  # noqa: ANN401 (fsspec's protocol)
        recursive: bool = False,  # noqa: FBT001, FBT002 (fsspec's protocol)
        *args: object,
        maxdepth: int | None = None,
        **options: object,
    ) -> None:
        """Write local files, in one commit."""
        into = isinstance(rpath, str) and (rpath.endswith("/") or self.isdir(rpath))
        plain = self._strip_protocol(rpath)
        pairs = pair_local(lpath, plain, into=into, recursive=recursive, maxdepth=maxdepth)
        source, target = (lpath, rpath) if pairs is None else pairs
        with self._groups.changes(f"put {_said(rpath)}"):
            super().put(source, target, recursive, *args, maxdepth=maxdepth, **options)

    def get(
        self,
        rpath: Any,  # noqa: ANN401 (fsspec's protocol)
        lpath: Any,  # noqa: ANN401 (fsspec's protocol)
        recursive: bool = False,  # noqa: FBT001, FBT002 (fsspec's protocol)
        *args: object,
        maxdepth: int | None = None,
        **options: object,
    ) -> None:
        """Write files and directories to this machine."""
        source, target = rpath, lpath
        if self._expansion.hides_pattern(rpath) and not isinstance(lpath, list):
            target = make_path_posix(os.fspath(lpath))
            into = target.endswith("/") or Path(target).is_dir()
            source, target = self._pairs(rpath, target, into=into, recursive=recursive, maxdepth=maxdepth)
        super().get(source, target, recursive, *args, maxdepth=maxdepth, **options)

    def get_file(self, rpath: Any, lpath: Any, *args: Any, **options: Any) -> None:  # noqa: ANN401 (fsspec's protocol)
        """Write one file to this machine; one that is recorded as executable may be run there."""
        super().get_file(rpath, lpath, *args, **options)
        is_file = isinstance(lpath, str | os.PathLike) and Path(lpath).is_file()
        if is_file and self.info(rpath).get("attributes", {}).get(EXECUTABLE) == "true":
            mode = Path(lpath).stat().st_mode
            Path(lpath).chmod(mode | (mode & 0o444) >> 2)

    def put_file(self, lpath: Any, rpath: str, callback: Any = None, mode: str = "overwrite", **_: object) -> None:  # noqa: ANN401 (fsspec's protocol)
        """Write one local file; a directory is noted as by `mkdir`, once the files that are put with it are visible.

        Raises:
            PathExistsError: *mode* is ``create``, and something of this name exists.
            InvalidInputError: *lpath* is a special file. Reading a named pipe may never end.
        """
        local = Path(lpath)
        self._edits.put(local, self._parse(rpath), creates=mode == "create")
        if callback is not None and not local.is_dir():
            size_bytes = local.stat().st_size
            callback.set_size(size_bytes)
            callback.relative_update(size_bytes)

    def copy(
        self,
        path1: Any,  # noqa: ANN401 (fsspec's protocol)
        path2: Any,  # noqa: ANN401 (fsspec's protocol)
        recursive: bool = False,  # noqa: FBT001, FBT002 (fsspec's protocol)
        maxdepth: int | None = None,
        *args: object,
        **options: object,
    ) -> None:
        """Copy files and directories of any ref to a branch, in one commit and by reference: no bytes move."""
        source, target = path1, path2
        if self._expansion.hides_pattern(path1) and isinstance(path2, str):
            into = path2.endswith("/") or self.isdir(path2)
            source, target = self._pairs(path1, path2, into=into, recursive=recursive, maxdepth=maxdepth)
        with self._groups.changes(f"copy {_said(path1)} to {_said(path2)}"):
            super().copy(source, target, recursive, maxdepth, *args, **options)

    def cp_file(self, path1: str, path2: str, **_: object) -> None:
        """Copy one file by reference; of a directory, make it."""
        self._edits.copy(self._parse(path1), self._parse(path2))

    def mv(self, path1: Any, path2: Any, *args: object, **options: object) -> None:  # noqa: ANN401 (fsspec's protocol)
        """Move files and directories, in one commit and by reference: no bytes move.

        Raises:
            PathNotFoundError: There is nothing of this name; a pattern is not taken for one. Nothing is moved then.
        """
        self._expansion.refuse_patterns(path1)
        with self._groups.changes(f"move {_said(path1)} to {_said(path2)}"):
            super().mv(path1, path2, *args, **options)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:  # noqa: ANN401, FBT001, FBT002
        """Delete files, and with *recursive* directories, in one commit.

        Raises:
            PathNotFoundError: There is nothing of this name; a pattern is not taken for one. Nothing is deleted then.
            NotAFileError: It is a directory, and *recursive* is false; nothing is deleted then.
        """
        self._expansion.refuse_patterns(path)
        with self._groups.changes(f"delete {_said(path)}"):
            found = self.expand_path(path, recursive=recursive, maxdepth=maxdepth)
            self._edits.delete_all([parse_name(one) for one in found], recursive=recursive)

    def rm_file(self, path: str) -> None:
        """Delete one file.

        Raises:
            PathNotFoundError: There is none, neither committed nor written in this transaction.
        """
        self._edits.delete(self._parse(path))

    def _rm(self, path: str) -> None:
        self.rm_file(path)

    def mkdir(self, path: str, create_parents: bool = True, **_: object) -> None:  # noqa: FBT001, FBT002 (fsspec's protocol)
        """Note an empty directory, in this object alone: a repo has only the directories that its files are in.

        Raises:
            PathExistsError: There is a file or a directory of this name.
            PathNotFoundError: Its parent does not exist, and *create_parents* is false.
        """
        self._edits.make_directory(self._parse(path), create_parents=create_parents)

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
        self._edits.remove_directory(self._parse(path), path)

    # Inside

    def expand_path(
        self,
        path: Any,  # noqa: ANN401 (fsspec's protocol: a path or a list of them)
        recursive: bool = False,  # noqa: FBT001, FBT002 (fsspec's protocol)
        maxdepth: int | None = None,
        **options: object,
    ) -> list[str]:
        """Return the names for *path*, sorted: *path* itself if it exists, or else its matches as a pattern."""
        paths = [self._strip_protocol(one) for one in ([path] if isinstance(path, str | os.PathLike) else path)]
        names = [one for one in paths if self._expansion.hides_pattern(one)]
        if not names:
            return cast("list[str]", super().expand_path(paths, recursive, maxdepth, **options))
        found = self._expansion.expand(names, recursive=recursive, maxdepth=maxdepth)
        others = [one for one in paths if one not in names]
        if others:
            found.update(super().expand_path(others, recursive, maxdepth, **options))
        return sorted(found)

    def _pairs(self, source: str, target: str, *, into: bool, recursive: bool, maxdepth: int | None) -> Pairs:
        names = self.expand_path(source, recursive, maxdepth)
        takes_directories = recursive and maxdepth is None
        return self._expansion.pair(source, target, names, into=into, takes_directories=takes_directories)


class _Environment:
    """The settings around the process, as a part of fsspec's cache key: another store is another instance."""

    def __get__(self, instance: object, owner: type) -> tuple[object, ...]:
        return process_settings.number, *(os.environ.get(name) for name in VARIABLES)


class RegisteredFileSystem(VersionedFileSystem):
    """`VersionedFileSystem` that, if it is given no store, takes its settings from ``VERSIONED_STORE`` and siblings."""

    environment = _Environment()
    _extra_tokenize_attributes = ("environment", "working_directory")

    def __init__(self, store: str | Path | None = None, catalog: str | None = None, **options: Any) -> None:  # noqa: ANN401 (as the class above)
        settings: StoreSettings | None = None
        prepare: Callable[[Store], object] | None = None
        if store is None and os.environ.get(STORE):
            settings = StoreSettings.from_environment(catalog=catalog)
        elif store is None:
            settings = process_settings.find()  # an orchestrator's
            prepare = process_settings.prepare
        if settings is not None:
            store, options = settings.store, settings.options | options
            catalog = options.pop("catalog", None)
        super().__init__(store, catalog, **options)
        if prepare is not None:
            self.when_opened(prepare)


def _said(path: Any) -> str:  # noqa: ANN401 (fsspec's protocol: a path, or a list or dict of them)
    return counted(len(path), "path") if isinstance(path, list | tuple | dict) else str(path)
