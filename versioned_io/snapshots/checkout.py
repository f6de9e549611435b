"""Writing the files of a snapshot into a local directory."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.arguments import check_callable, parse_flag
from versioned_io.chunks.local_files import digest_of_local_file
from versioned_io.chunks.reader import ChunkReader
from versioned_io.columns import bool_column
from versioned_io.errors import InvalidInputError
from versioned_io.pages.schema import ROWS
from versioned_io.snapshots.dating import date_back_references
from versioned_io.snapshots.local_files import LocalFilesWriter, cant_write, threads_for
from versioned_io.snapshots.local_state import (
    LocalState,
    directories_of,
    entries_below,
    find_case_clash,
    ignores_case,
    open_directory,
    read_local_state,
)
from versioned_io.snapshots.manifest import MANIFEST_NAME, Manifest, manifest_files, read_manifest, write_manifest
from versioned_io.snapshots.values import TransferProgress

_BUFFER_BYTES = 1 << 20
_NAMED_PATHS = 5
_COLUMNS = pa.schema([ROWS.field(name) for name in ("path", "size", "digest", "chunks")])


class CheckoutMode(StrEnum):
    """What a checkout does with what is there already."""

    FULL = "full"
    """Write every file."""
    INCREMENTAL = "incremental"
    """Write only what differs, and take away what an earlier incremental checkout wrote and the snapshot lacks."""


def parse_checkout_mode(text: str) -> CheckoutMode:
    """Return the mode that *text* names.

    Raises:
        InvalidInputError: It is neither ``full`` nor ``incremental``.
    """
    try:
        return CheckoutMode(text)
    except ValueError:
        msg = f"mode={text!r} means nothing: use {', '.join(repr(choice.value) for choice in CheckoutMode)}"
        raise InvalidInputError(msg) from None


def rows_below(directory: str, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Return the rows of a tree that a `Checkout` takes, with their paths below *directory*, which they all are in."""
    rows = pa.Table.from_batches([batch.select(_COLUMNS.names) for batch in batches], schema=_COLUMNS).combine_chunks()
    if not directory:
        return rows
    below = pc.utf8_slice_codeunits(rows.column("path"), len(directory) + 1)
    return rows.set_column(0, _COLUMNS.field("path"), below)


@dataclass(slots=True)
class _Plan:
    """What a checkout does.

    Attributes:
        writes: For each file, whether it is to be written.
        removes: Local files that go, sorted.
        changes_nothing: Whether even the notes of the last checkout would stay as they are.
    """

    writes: list[bool]
    removes: list[str] = field(default_factory=list)
    changes_nothing: bool = False


@dataclass(frozen=True, slots=True)
class Checkout:
    """A selection of files on its way into a local directory.

    Attributes:
        rows: The files: path below *dest*, size, digest, chunks; sorted by path.
        dest: Where they go.
        overwrite: Whether local files that are in the way, or were modified, may be replaced.
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
        self._refuse_long_names([*self.dest.parts, *sorted(directories), *paths])
        is_incremental = mode is CheckoutMode.INCREMENTAL
        manifest = self._read_manifest() if is_incremental else None
        if not paths and not (manifest and manifest.files.num_rows):
            return 0
        known = paths if manifest is None else [*paths, *manifest.files.column("path").to_pylist()]
        state = read_local_state(self.dest, ["", *sorted({*directories, *directories_of(known)})])
        plan = self._plan_full(paths, state) if manifest is None else self._plan_incremental(paths, state, manifest)
        if plan.changes_nothing:
            return 0
        self._refuse_misfits(paths, directories, state, {*plan.removes, *directories_of(plan.removes)})
        chosen = self.rows.filter(bool_column(plan.writes))
        is_new = not self.dest.exists()
        try:
            _make_directory(self.dest)
            with open_directory(self.dest) as dest:
                self._write(dest, chosen, plan, _Reporter(chosen, progress), reader, is_remote=is_remote)
                if manifest is not None:
                    state = read_local_state(self.dest, ["", *sorted(directories_of(paths))])
                    date_back_references(dest, chosen, state, reader)
                    write_manifest(dest, self._describe(paths, state))
        except BaseException:
            if is_new and self.dest.is_dir() and not any(self.dest.iterdir()):
                self.dest.rmdir()
            raise
        return len(chosen.column("path"))

    def _write(
        self,
        dest: int,
        rows: pa.Table,
        plan: _Plan,
        report: "_Reporter",
        reader: ChunkReader,
        *,
        is_remote: bool,
    ) -> None:
        """Write the files into a directory of their own, then move them where they belong."""
        paths = rows.column("path").to_pylist()
        directories = sorted(directories_of(paths))
        with _workshop(self.dest, dest) as (workshop, name):
            if ignores_case(dest, name) and (clash := find_case_clash(self.rows.column("path").to_pylist())):
                msg = f"{clash[0]!r} and {clash[1]!r} would be one file in {str(self.dest)!r}, which ignores case"
                raise InvalidInputError(msg)
            threads = threads_for(is_remote=is_remote)
            with LocalFilesWriter(reader, workshop, threads=threads, syncs=self.syncs, on_written=report) as writer:
                writer.make_directories(directories)
                for batch in rows.to_batches():
                    writer.write(batch.column("path"), batch.column("chunks"))
            _remove_files(dest, plan.removes)
            try:
                _move_in(workshop, dest)
            except OSError as error:
                raise cant_write(str(self.dest), error) from error
            if self.syncs:
                for directory in ["", *directories]:
                    with open_directory(directory or ".", below=dest) as descriptor:
                        os.fsync(descriptor)

    def _read_manifest(self) -> Manifest:
        if MANIFEST_NAME in self.rows.column("path").to_pylist():
            msg = f"the snapshot has a file {MANIFEST_NAME!r} itself, which an incremental checkout keeps its notes in"
            raise InvalidInputError(msg)
        if not self.dest.is_dir():
            return Manifest.none()
        with open_directory(self.dest) as dest:
            return read_manifest(dest)

    def _plan_full(self, paths: Sequence[str], state: LocalState) -> _Plan:
        if not self.overwrite and (state.files or state.others):
            for path in paths:
                if path in state.files or path in state.others:
                    msg = f"{str(self.dest / path)!r} exists already: choose another place, or allow overwriting"
                    raise InvalidInputError(msg)
        return _Plan([True] * len(paths))

    def _plan_incremental(self, paths: Sequence[str], state: LocalState, manifest: Manifest) -> _Plan:
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
            raise InvalidInputError(f"{msg}, or allow overwriting")
        changes_nothing = not any(writes) and judge.known == planned and not judge.files_read
        return _Plan(writes, sorted(removes), changes_nothing=changes_nothing)

    def _refuse_long_names(self, paths: Iterable[str]) -> None:
        """Refuse names that no file system of this kind can have, before anything is written."""
        most = os.pathconf(_existing_parent(self.dest), "PC_NAME_MAX")
        for path in paths:
            # Most paths are shorter as a whole: a character is at most 4 bytes.
            if len(path) * 4 > most and len(os.fsencode(path.rpartition("/")[2])) > most:
                msg = f"{path!r} can't be a local file: its name is longer than {most} bytes; leave it out with a glob"
                raise InvalidInputError(msg)

    def _refuse_misfits(
        self, paths: Iterable[str], directories: Iterable[str], state: LocalState, goes: set[str]
    ) -> None:
        """Refuse a directory where a file must be, and the other way round, unless what is there goes anyway."""
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
        """Return the manifest of the files as they lie there now."""
        digests = dict(zip(paths, self.rows.column("digest").to_pylist(), strict=True))
        # Whoever deleted one already will be given it again next time.
        there = [path for path in paths if path in state.files]
        found = [state.files[path] for path in there]
        sizes, mtimes_ns = [size for size, _ in found], [mtime_ns for _, mtime_ns in found]
        return manifest_files(there, sizes, mtimes_ns, [digests[path] for path in there])


class _Judge:
    """Tells what the local files contain, reading only those whose status proves nothing.

    Attributes:
        files_read: How many those were.
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
        """Return the digest of what was checked out to *path*."""
        return self._noted[path][0] if path in self._noted else None

    def content_of(self, path: str) -> bytes | None:
        """Return the digest of the local file at *path*; None when there is none, and empty for a link or the like."""
        status = self._state.files.get(path)
        if status is None:
            return b"" if path in self._state.others else None
        if path in self._noted and status == self._noted[path][1]:
            return self._noted[path][0]
        self.files_read += 1
        return digest_of_local_file(self._dest / path)


class _Reporter:
    """Adds up how far a checkout has come."""

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
    """What a file can be taken from: a snapshot."""

    def open(self, path: str) -> BinaryIO:
        """Return the file opened for reading."""
        ...


def write_local_file(snapshot: Openable, path: str, target: Path, *, overwrite: bool = True) -> None:
    """Write one file of the snapshot to the local file *target*, whose directories are made.

    Raises:
        PathNotFoundError, NotAFileError: As for `Snapshot.open`.
        InvalidInputError: *target* is a directory, or below a file, or exists and *overwrite* is false; nothing is
            written then.

    Cost: as `Snapshot.open` and reading all of it.
    """
    if not overwrite and (target.exists() or target.is_symlink()):
        msg = f"{str(target)!r} exists already: choose another place, or allow overwriting"
        raise InvalidInputError(msg)
    _check_fits(target)
    with snapshot.open(path) as source:
        target.parent.mkdir(parents=True, exist_ok=True)
        # A name that nobody can have put a symbolic link at; "x" refuses one all the same.
        partial = target.with_name(_part_name())
        try:
            with partial.open("xb") as sink:
                shutil.copyfileobj(source, sink, _BUFFER_BYTES)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cant_write(str(path), error) from error


def _existing_parent(path: Path) -> Path:
    return next(one for one in (path, *path.absolute().parents) if os.path.exists(one))  # noqa: PTH110 (a name that is too long does not)


def _check_fits(target: Path) -> None:
    """Refuse a target that is a directory, or that would be below a file."""
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
def _workshop(path: Path, dest: int) -> Iterator[tuple[int, str]]:
    """Make a directory in *dest* that nobody else knows, and take it away with what is in it at the end."""
    name = _part_name()
    os.mkdir(name, 0o700, dir_fd=dest)
    try:
        with open_directory(name, below=dest) as workshop:
            yield workshop, name
    finally:
        shutil.rmtree(path / name)


def _move_in(source: int, target: int) -> None:
    """Move everything from one open directory into another, whole directories where there is none of their name."""
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
            is_empty = not os.listdir(descriptor)  # noqa: PTH208 (a path can not be a descriptor)
        if is_empty:
            with open_directory(parent_path or ".", below=dest) as parent:
                os.rmdir(name, dir_fd=parent)


def _part_name() -> str:
    return f".versioned-{secrets.token_hex(8)}.part"
