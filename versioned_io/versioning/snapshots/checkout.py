"""Writing the files of a snapshot into a local directory."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.errors import IllegalPathError, IntegrityError, InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.model.arguments import check_callable, parse_flag
from versioned_io.model.columns import bool_column
from versioned_io.model.paths import parse_path
from versioned_io.storage.chunks.local_intake import digest_of_local_file
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.storage.pages.collisions import directories_of
from versioned_io.storage.pages.schema import ROWS
from versioned_io.versioning.snapshots.dating import date_back_references
from versioned_io.versioning.snapshots.file_info import EXECUTABLE, FileInfo, TransferProgress, recorded_bit
from versioned_io.versioning.snapshots.local_state import (
    LocalState,
    entries_below,
    find_case_clash,
    ignores_case,
    open_directory,
    open_target,
    read_local_state,
    set_executable,
)
from versioned_io.versioning.snapshots.local_writer import (
    NEW_FILE,
    LocalFilesWriter,
    cant_write,
    new_mode,
    threads_for,
)
from versioned_io.versioning.snapshots.manifest import (
    MANIFEST_NAME,
    Manifest,
    manifest_files,
    read_manifest,
    write_manifest,
)

_BUFFER_BYTES = 1 << 20
_NAMED_PATHS = 5
_COLUMNS = pa.schema([ROWS.field(name) for name in ("path", "size", "digest", "chunks", "attributes")])


class CheckoutMode(StrEnum):
    """How a checkout treats existing local files."""

    FULL = "full"
    """Write every file."""
    INCREMENTAL = "incremental"
    """Write only files that differ, and delete files of an earlier incremental checkout that the snapshot lacks."""


def rows_below(directory: str, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Return rows of a tree for a `Checkout`, with paths relative to *directory*, which all of them are below."""
    rows = pa.Table.from_batches([batch.select(_COLUMNS.names) for batch in batches], schema=_COLUMNS).combine_chunks()
    if not directory:
        return rows
    below = pc.utf8_slice_codeunits(rows.column("path"), len(directory) + 1)
    return rows.set_column(0, _COLUMNS.field("path"), below)


@dataclass(slots=True)
class _CheckoutPlan:
    """The plan of a checkout.

    Attributes:
        writes: For each file, whether it will be written.
        removes: Local files to delete, sorted.
        bits: Execute bits to set, of files that are not written.
        changes_nothing: Whether not even the manifest of the last checkout would change.
    """

    writes: list[bool]
    removes: list[str] = field(default_factory=list)
    bits: dict[str, bool] = field(default_factory=dict)
    changes_nothing: bool = False


@dataclass(frozen=True, slots=True)
class Checkout:
    """A checkout of some files into a local directory.

    Attributes:
        rows: The files: path below *dest*, size, digest, chunks, attributes; sorted by path.
        dest: The target directory.
        overwrite: Whether existing or modified local files may be replaced.
        syncs: Whether everything is durable at the end.
    """

    rows: pa.Table
    dest: Path
    overwrite: bool
    syncs: bool

    def run(
        self,
        reader: ChunkReader,
        mode: CheckoutMode,
        *,
        is_remote: bool,
        progress: Callable[[TransferProgress], None] | None,
    ) -> int:
        """Write the files; see `Snapshot.checkout`."""
        parse_flag(self.overwrite, "overwrite")
        parse_flag(self.syncs, "fsync")
        check_callable(progress, "progress")
        paths: list[str] = self.rows.column("path").to_pylist()
        directories = directories_of(paths)
        _refuse_forged_paths(paths, directories)
        self._refuse_long_names([*self.dest.parts, *sorted(directories), *paths])
        with ExitStack() as stack:
            # Opened once, so that a later change of the name doesn't redirect reads and writes.
            dest = stack.enter_context(open_target(self.dest)) if self.dest.exists() else None
            manifest = self._read_manifest(dest) if mode is CheckoutMode.INCREMENTAL else None
            if not paths and not (manifest and manifest.files.num_rows):
                return 0
            known = paths if manifest is None else [*paths, *manifest.files.column("path").to_pylist()]
            state = read_local_state(self.dest, dest, ["", *sorted({*directories, *directories_of(known)})])
            plan = self._plan_full(paths, state) if manifest is None else self._plan_incremental(paths, state, manifest)
            if plan.changes_nothing:
                return 0
            self._refuse_misfits(paths, directories, state, {*plan.removes, *directories_of(plan.removes)})
            chosen = self.rows.filter(bool_column(plan.writes))
            with self._target(dest) as target:
                self._write(target, chosen, plan, _Reporter(chosen, progress), reader, is_remote=is_remote)
                if manifest is not None:
                    state = read_local_state(self.dest, target, ["", *sorted(directories_of(paths))])
                    date_back_references(target, chosen, state, reader)
                    write_manifest(target, self._describe(paths, state))
        return len(chosen.column("path"))

    @contextmanager
    def _target(self, dest: int | None) -> Iterator[int]:
        """Yield the open directory; if this call created it, delete it again after a failure."""
        if dest is not None:
            yield dest
            return
        _make_directory(self.dest)
        try:
            with open_target(self.dest, follows=False) as made:
                yield made
        except BaseException:
            if self.dest.is_dir() and not self.dest.is_symlink() and not any(self.dest.iterdir()):
                self.dest.rmdir()
            raise

    def _write(
        self,
        dest: int,
        rows: pa.Table,
        plan: _CheckoutPlan,
        report: "_Reporter",
        reader: ChunkReader,
        *,
        is_remote: bool,
    ) -> None:
        """Write the files into a temporary directory, then move them to their places."""
        paths = rows.column("path").to_pylist()
        directories = sorted(directories_of(paths))
        with _workshop(dest) as (workshop, name):
            if ignores_case(dest, name) and (clash := find_case_clash(self.rows.column("path").to_pylist())):
                msg = f"{clash[0]!r} and {clash[1]!r} would be one file in {str(self.dest)!r}, which ignores case"
                raise InvalidInputError(msg)
            threads = threads_for(is_remote=is_remote)
            executables = frozenset(path for path, bit in _bits_of(rows) if bit)
            with LocalFilesWriter(
                reader, workshop, executables=executables, threads=threads, syncs=self.syncs, on_written=report
            ) as writer:
                writer.make_directories(directories)
                for batch in rows.to_batches():
                    writer.write(batch.column("path"), batch.column("chunks"))
            _remove_files(dest, plan.removes)
            for path, bit in plan.bits.items():
                set_executable(dest, path, is_executable=bit)
            try:
                _move_in(workshop, dest)
            except OSError as error:
                raise cant_write(str(self.dest), error) from error
            if self.syncs:
                for directory in ["", *directories]:
                    with open_directory(directory or ".", below=dest) as descriptor:
                        os.fsync(descriptor)

    def _read_manifest(self, dest: int | None) -> Manifest:
        if MANIFEST_NAME in self.rows.column("path").to_pylist():
            msg = f"the snapshot has a file {MANIFEST_NAME!r}, a name that an incremental checkout needs for its notes"
            raise InvalidInputError(msg)
        return Manifest.none() if dest is None else read_manifest(dest)

    def _plan_full(self, paths: Sequence[str], state: LocalState) -> _CheckoutPlan:
        if not self.overwrite and (state.files or state.others):
            for path in paths:
                if path in state.files or path in state.others:
                    msg = f"{str(self.dest / path)!r} exists already: choose another place, or pass --overwrite"
                    raise InvalidInputError(msg)
        return _CheckoutPlan([True] * len(paths))

    def _plan_incremental(self, paths: Sequence[str], state: LocalState, manifest: Manifest) -> _CheckoutPlan:
        judge = _Judge(self.dest, state, manifest)
        digests: list[bytes] = self.rows.column("digest").to_pylist()
        modified: list[str] = []
        writes: list[bool] = []
        for path, digest in zip(paths, digests, strict=True):
            found = judge.content_of(path)
            writes.append(found != digest)
            if found is not None and found not in {digest, judge.noted(path)}:
                modified.append(path)
        planned = set(paths)
        removes: list[str] = []
        for path in judge.known - planned:
            noted = judge.noted(path)
            found = judge.content_of(path)
            if found is not None:
                (removes if found == noted else modified).append(path)
        if modified and not self.overwrite:
            named = ", ".join(repr(str(self.dest / path)) for path in sorted(modified)[:_NAMED_PATHS])
            more = f" and {len(modified) - _NAMED_PATHS} more" if len(modified) > _NAMED_PATHS else ""
            msg = f"modified since they were checked out, or not from a checkout: {named}{more}; save them elsewhere"
            raise InvalidInputError(f"{msg}, or pass --overwrite")
        bits = self._drifted_bits(writes, state)
        changes_nothing = not any(writes) and not bits and judge.known == planned and not judge.files_read
        return _CheckoutPlan(writes, sorted(removes), bits, changes_nothing=changes_nothing)

    def _drifted_bits(self, writes: Sequence[bool], state: LocalState) -> dict[str, bool]:
        """Return the recorded execute bits of unwritten files whose local bit differs."""
        stays = {
            path
            for path, is_written in zip(self.rows.column("path").to_pylist(), writes, strict=True)
            if not is_written
        }
        return {
            path: bit
            for path, bit in _bits_of(self.rows)
            if path in stays and path in state.files and bit != (path in state.executables)
        }

    def _refuse_long_names(self, paths: Iterable[str]) -> None:
        """Raise, before anything is written, for names that are too long for the file system."""
        most = os.pathconf(_existing_parent(self.dest), "PC_NAME_MAX")
        for path in paths:
            # A quick test first: a character takes at most 4 bytes, and most whole paths are shorter than the limit.
            if len(path) * 4 > most and len(os.fsencode(path.rpartition("/")[2])) > most:
                msg = f"{path!r} can't be a local file: its name is longer than {most} bytes; leave it out with a glob"
                raise InvalidInputError(msg)

    def _refuse_misfits(
        self, paths: Iterable[str], directories: Iterable[str], state: LocalState, goes: set[str]
    ) -> None:
        """Raise for a local directory in the place of a file, or vice versa, unless it will be deleted anyway."""
        if not (state.files or state.others or state.directories):
            return
        for directory in sorted(directories):
            if (directory in state.files or directory in state.others) and directory not in goes:
                local = str(self.dest / directory)
                msg = f"can't write below {local!r}: {local!r} is a file, not a directory; remove it"
                raise InvalidInputError(msg)
        for path in paths:
            if path in state.directories and not goes.issuperset([path, *entries_below(self.dest, path)]):
                msg = f"can't write the file {str(self.dest / path)!r}: that is a directory"
                raise InvalidInputError(msg)

    def _describe(self, paths: list[str], state: LocalState) -> pa.Table:
        """Return the manifest of the local files in their present state."""
        digests = dict(zip(paths, self.rows.column("digest").to_pylist(), strict=True))
        # A file that somebody has already deleted is left out, so the next checkout writes it again.
        there = [path for path in paths if path in state.files]
        found = [state.files[path] for path in there]
        sizes, mtimes_ns = [size for size, _ in found], [mtime_ns for _, mtime_ns in found]
        return manifest_files(there, sizes, mtimes_ns, [digests[path] for path in there])


def _bits_of(rows: pa.Table) -> Iterator[tuple[str, bool]]:
    """Yield the recorded execute bits of rows. Cost: a Python loop over the rows with attributes."""
    said = rows.filter(pc.is_valid(rows.column("attributes")))
    for path, text in zip(*(said.column(name).to_pylist() for name in ("path", "attributes")), strict=True):
        bit = recorded_bit(text)
        if bit is not None:
            yield path, bit


class _Judge:
    """Finds the digests of local files, and reads only files whose status does not prove them unmodified.

    Attributes:
        files_read: The number of files that were read.
    """

    def __init__(self, dest: Path, state: LocalState, manifest: Manifest) -> None:
        columns = (manifest.files.column(name).to_pylist() for name in manifest.files.column_names)
        self._dest = dest
        self._state = state
        self.files_read = 0
        self._noted: dict[str, tuple[bytes, tuple[int, int] | None]] = {
            path: (digest, (size, mtime_ns) if trusted else None)
            for path, size, mtime_ns, digest, trusted in zip(*columns, manifest.trusted(), strict=True)
        }

    @property
    def known(self) -> set[str]:
        """The paths of the manifest."""
        return set(self._noted)

    def noted(self, path: str) -> bytes | None:
        """Return the digest of the file that was checked out to *path*, or None."""
        return self._noted[path][0] if path in self._noted else None

    def content_of(self, path: str) -> bytes | None:
        """Return the digest of the local file at *path*: None if it is missing, empty for a link or special file."""
        status = self._state.files.get(path)
        if status is None:
            return b"" if path in self._state.others else None
        if path in self._noted and status == self._noted[path][1]:
            return self._noted[path][0]
        self.files_read += 1
        return digest_of_local_file(self._dest / path)


class _Reporter:
    """Accumulates the progress of a checkout, and reports it."""

    def __init__(self, rows: pa.Table, progress: Callable[[TransferProgress], None] | None) -> None:
        self._progress = progress
        self._total_files = rows.num_rows
        self._total_bytes = pc.sum(rows.column("size")).as_py() or 0
        self._files = self._bytes = 0
        self(0, 0)

    def __call__(self, files: int, size_bytes: int) -> None:
        self._files += files
        self._bytes += size_bytes
        if self._progress is not None:
            self._progress(TransferProgress(self._files, self._total_files, self._bytes, self._total_bytes))


class Openable(Protocol):
    """A source of files, such as a snapshot."""

    def stat(self, path: str) -> FileInfo:
        """Return the facts of the file."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Return the file opened for reading."""
        ...


def write_local_file(snapshot: Openable, path: str, target: Path, *, overwrite: bool = True) -> None:
    """Write one file of the snapshot to the local file *target*, and create its directories.

    Raises:
        PathNotFoundError, NotAFileError: As for `Snapshot.open`.
        InvalidInputError: *target* is a directory, or below a file, or exists and *overwrite* is false. Nothing was
            written.

    Cost: that of `Snapshot.open`, and reading the whole file.
    """
    if not overwrite and (target.exists() or target.is_symlink()):
        msg = f"{str(target)!r} exists already: choose another place, or pass --overwrite"
        raise InvalidInputError(msg)
    _check_fits(target)
    mode = new_mode(is_executable=snapshot.stat(path).attributes.get(EXECUTABLE) == "true")
    with snapshot.open(path) as source:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_target(target.parent) as parent:
            # The name is unguessable, so nobody can have placed a symbolic link there. O_EXCL refuses one anyway.
            partial = _part_name()
            try:
                with os.fdopen(os.open(partial, NEW_FILE, mode, dir_fd=parent), "wb") as sink:
                    shutil.copyfileobj(source, sink, _BUFFER_BYTES)
                os.rename(partial, target.name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(partial, dir_fd=parent)
                raise


def _refuse_forged_paths(paths: Iterable[str], directories: set[str]) -> None:
    """Raise for paths that no writer stores. They were checked when their pages were read, but here they are dangerous.

    Raises:
        IntegrityError: A path leads out of the directory, or a file is in the place of a directory. Run fsck.
    """
    for path in paths:
        try:
            is_right = parse_path(path) == path and path not in directories
        except IllegalPathError:
            is_right = False
        if not is_right:
            msg = f"the tree has a path {quoted(path)} that no writer stores: nothing is written; run fsck"
            raise IntegrityError(msg)


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cant_write(str(path), error) from error


def _existing_parent(path: Path) -> Path:
    return next(one for one in (path, *path.absolute().parents) if os.path.exists(one))  # noqa: PTH110 (a name that is too long does not)


def _check_fits(target: Path) -> None:
    """Raise if a target is a directory, or would be below a file."""
    if target.is_dir() and not target.is_symlink():
        msg = f"can't write the file {str(target)!r}: that is a directory"
        raise InvalidInputError(msg)
    for parent in target.parents:
        if parent.is_dir():
            return
        if parent.exists():
            msg = f"can't write the file {str(target)!r}: {str(parent)!r} is a file, not a directory"
            raise InvalidInputError(msg)


@contextmanager
def _workshop(dest: int) -> Iterator[tuple[int, str]]:
    """Create a private temporary directory in *dest*, and delete it with its contents at the end."""
    name = _part_name()
    os.mkdir(name, 0o700, dir_fd=dest)
    try:
        with open_directory(name, below=dest) as workshop:
            yield workshop, name
    finally:
        shutil.rmtree(name, dir_fd=dest)


def _move_in(source: int, target: int) -> None:
    """Move everything from one open directory into another; a directory moves whole if its name is free there."""
    with os.scandir(source) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if is_directory:
            with suppress(FileNotFoundError):
                with open_directory(name, below=target) as inner_target, open_directory(name, below=source) as inner:
                    _move_in(inner, inner_target)
                continue
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)


def _remove_files(dest: int, paths: Sequence[str]) -> None:
    """Delete local files, and the directories that this leaves empty."""
    for path in paths:
        directory, _, name = path.rpartition("/")
        with open_directory(directory or ".", below=dest) as parent:
            os.unlink(name, dir_fd=parent)
    for directory in sorted(directories_of(paths), reverse=True):
        parent_path, _, name = directory.rpartition("/")
        with open_directory(directory, below=dest) as descriptor:
            is_empty = not os.listdir(descriptor)  # noqa: PTH208 (a Path can't be a descriptor)
        if is_empty:
            with open_directory(parent_path or ".", below=dest) as parent:
                os.rmdir(name, dir_fd=parent)


def _part_name() -> str:
    return f".versioned-{secrets.token_hex(8)}.part"
