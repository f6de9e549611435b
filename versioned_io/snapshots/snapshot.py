"""Reading the files of one commit."""

import heapq
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import blake3
import pyarrow as pa

from versioned_io.arguments import parse_count, parse_iterable, parse_local_path, parse_optional_count
from versioned_io.backend import Backend
from versioned_io.catalog.commits import get_commit
from versioned_io.catalog.values import Commit, InputFile
from versioned_io.chunks.refs import ChunkRef
from versioned_io.columns import groups_of
from versioned_io.errors import (
    InvalidInputError,
    NotAFileError,
    PackLostError,
    PathNotFoundError,
    RefNotFoundError,
)
from versioned_io.identifiers import CommitId, Digest
from versioned_io.pages.ranges import successor
from versioned_io.pages.read import FileRow, file_rows, list_directory, lookup, lookup_many, scan, stat_directory
from versioned_io.pages.schema import PageRef
from versioned_io.paths import parent_directories, parse_directory, parse_path
from versioned_io.runs import current_run
from versioned_io.snapshots.checkout import Checkout, parse_checkout_mode, rows_below
from versioned_io.snapshots.glob import Glob, directories_of, parse_glob
from versioned_io.snapshots.values import FileInfo, TransferProgress, directory_info, info_of, infos_of, listed_infos

_DIRECTORY_DIGEST = "versioned-io 2026 directory digest v1"
_BUFFER_BYTES = 256 * 1024
_NEAR_NAMES = 5
_PATHS_AT_ONCE = 1000
_BYTES_AT_ONCE = 8 * 1024 * 1024
_T = TypeVar("_T")


class Snapshot:
    """The files of one commit, for ever the same; every byte that it returns was checked.

    Reads are noted in the run that is active, or that was active when the snapshot was taken. Thread-safe.
    """

    def __init__(self, backend: Backend, repo: str, ref: str, commit: Commit | None, *, is_noted: bool = True) -> None:
        self._backend = backend
        self._repo = repo
        self._ref = ref
        self._commit = commit
        self._is_noted = is_noted
        self._run = current_run()

    def __repr__(self) -> str:
        return f"Snapshot({self.name!r})"

    @property
    def repo(self) -> str:
        """The repo's name."""
        return self._repo

    @property
    def name(self) -> str:
        """What was asked for, and which commit that was."""
        return f"{self._repo}@{self._ref}" + (
            f" ({self._commit.id})" if self._commit is not None else " (no commit yet)"
        )

    @property
    def commit(self) -> Commit:
        """The commit.

        Raises:
            RefNotFoundError: The branch has no commit yet; write to it first.
        """
        if self._commit is None:
            raise RefNotFoundError(self._repo, self._ref, reason="the branch has no commit yet; write to it first")
        return self._commit

    @property
    def is_empty(self) -> bool:
        """Whether there is no file at all."""
        return self._root is None

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of a file from *offset*, at most *length*, or to its end.

        Raises:
            PathNotFoundError: There is no such file; the message names what is near.
            NotAFileError: It is a directory.
            IntegrityError: The stored bytes are damaged; run fsck.
            ReferenceBrokenError, InvalidInputError: It lies elsewhere; as for `ChunkReader.load_frames`.

        Cost: at most 1 GET a page level, a run of neighbouring chunks, and a part elsewhere; none for what is cached.
        """
        parse_count(offset, "offset")
        parse_optional_count(length, "length")
        return self._settled(lambda: self._backend.chunks.read_file(self.row(path).chunks, offset, length))

    def open(self, path: str) -> BinaryIO:
        """Return the file opened for reading: seekable, buffered, read in ranges as asked for.

        Raises:
            PathNotFoundError, NotAFileError: As for `read`.

        When its chunks are compacted into other packs while it is open, it finds them again.

        Cost: as for `stat` of a file; then 1 GET for each chunk that is not cached, as it is reached.
        """

        def find_again() -> Sequence[ChunkRef]:
            self._find_again()
            return self._settled(lambda: self._row(path)).chunks

        raw = self._backend.chunks.open_file(self.row(path).chunks, find_again)
        return cast("BinaryIO", io.BufferedReader(raw, _BUFFER_BYTES))

    def stat(self, path: str) -> FileInfo:
        """Return what is known of the file or directory at *path*; ``""`` or ``/`` is the whole tree.

        Raises:
            PathNotFoundError: There is neither.

        Cost: at most 1 GET a page level; for a directory, whose digest is computed, 1 for each page of its files.
        """
        return self._settled(lambda: self._stat(parse_directory(path)))

    def exists(self, path: str) -> bool:
        """Say whether there is a file or a directory at *path*.

        Cost: at most 2 GETs a page level.
        """
        directory = parse_directory(path)
        return self._settled(lambda: self._is_directory(directory) or self._find(directory) is not None)

    def is_directory(self, path: str) -> bool:
        """Say whether there is a directory at *path*; the root always is one.

        Cost: at most 2 GETs a page level.
        """
        return self._settled(lambda: self._is_directory(parse_directory(path)))

    def list(self, directory: str = "") -> Iterator[FileInfo]:
        """Yield the files and directories right below *directory*, in the order of their paths' UTF-8 bytes.

        A directory comes without size, digest and number of files (0, empty, 0): `stat` counts them.

        Raises:
            PathNotFoundError: There is no such directory; the empty tree has only its root.
            InvalidInputError: It is a file.

        Cost: the pages that hold the entries' first rows; what is below a directory is jumped over.
        """
        directory = parse_directory(directory)
        self._settled(lambda: self._check_directory(directory))
        found = self._settled(lambda: list_directory(self._root, directory, source=self._backend.pages))
        for batch in found.to_batches():
            yield from listed_infos(batch)

    def walk(self, directory: str = "") -> Iterator[FileInfo]:
        """Yield every file below *directory*, in the order of their paths' UTF-8 bytes.

        Raises:
            PathNotFoundError, InvalidInputError: As for `list`.

        Cost: 1 GET a page; memory for one page.
        """
        directory = parse_directory(directory)
        self._settled(lambda: self._check_directory(directory))
        for batch in self.batches(directory):
            yield from infos_of(batch)

    def batches(self, directory: str = "") -> Iterator[pa.RecordBatch]:
        """Yield the rows of every file below *directory* as Arrow record batches, a page at a time.

        Returns:
            path: string; size: int64; digest: binary of 32 bytes; attributes: string (JSON, or null); commit: binary of
            16 bytes (the ID of the commit that wrote this version); and the physical column ``chunks``.

        Cost: 1 GET a page; memory for one page.
        """
        yield from self._scan(_prefix(parse_directory(directory)))

    def glob(self, pattern: str, *, directories: bool = False) -> Iterator[FileInfo]:
        """Yield the files whose paths match *pattern*, in order; see `parse_glob` for what patterns mean.

        Args:
            directories: Yield the directories that match, too, each once and, as `list` does, without size and digest;
                ``/`` is the root, and a pattern that ends with a slash matches directories alone.

        Raises:
            InvalidInputError: The pattern is malformed.

        Cost: 1 GET a page of paths that begin as the pattern does up to its first special character; with
            *directories*, memory for the paths of the directories that match.
        """
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

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield each of *paths* with the file's bytes, in the order of *paths*.

        Raises:
            PathNotFoundError, NotAFileError: As for `read`, when the path's turn comes.
            IntegrityError: The stored bytes are damaged; run fsck.

        Cost: for every 1,000 paths, 1 GET a page that holds some of them; then 1 GET for each run of neighbouring
            blocks, for some 8 MiB of files at a time; those of several packs are sent together to a remote store.
            Memory for those 8 MiB, or for one file that is larger.
        """
        remaining = iter(parse_iterable(paths, "paths"))
        while group := [parse_path(path) for path in islice(remaining, _PATHS_AT_ONCE)]:
            rows = {row.path: row for row in file_rows(self._settled(partial(self._look_up, group)))}
            waiting: list[FileRow] = []
            waiting_bytes = 0
            for path in group:
                row = rows.get(path) or self._row(path)
                if waiting and waiting_bytes + row.size > _BYTES_AT_ONCE:
                    yield from self._read_rows(waiting)
                    waiting, waiting_bytes = [], 0
                waiting.append(row)
                waiting_bytes += row.size
            yield from self._read_rows(waiting)

    def checkout(
        self,
        dest: str | Path,
        path: str = "",
        *,
        glob: str | None = None,
        overwrite: bool = False,
        mode: str = "full",
        fsync: bool = False,
        progress: Callable[[TransferProgress], None] | None = None,
    ) -> int:
        """Write the files below the directory *path* into the local directory *dest*, and return how many.

        Everything is written into a directory of its own in *dest*, whose name begins with ``.versioned-`` and ends in
        ``.part``, and then moved to where it belongs: a failure before leaves *dest* as it was, and a crash leaves only
        whole files, and that directory.

        Args:
            path: A directory of the snapshot, which becomes *dest* itself; ``""`` for all of it.
            glob: Only the files below *path* whose whole paths match.
            overwrite: Replace local files of the same names, or, incrementally, those that were modified; what else
                *dest* holds stays.
            mode: ``full`` writes every file. ``incremental`` writes only what is not there yet with the same content,
                and deletes what an earlier incremental checkout wrote, nobody modified, and this one does not have;
                for that it keeps notes in *dest*, in ``.versioned-checkout.arrow``. Whether a local file is unmodified
                is told by its size and time as they were noted, else by its content.
            fsync: Whether everything is durable when this returns.
            progress: Called at the beginning and then for about every 4 MiB.

        Raises:
            PathNotFoundError: The snapshot has no such directory.
            InvalidInputError: *path* is a file; or something that would be replaced exists, or was modified, and
                *overwrite* is false; or a local file is where a directory must be, or the other way round; or a
                symbolic link in *dest* could lead out of it; or two paths differ only in case and *dest* is on a file
                system that ignores it. Nothing is written then.
            StorageError: The disk is full or failed, or the store.
            FormatError: The notes of an earlier checkout can't be read.

        Cost: 1 GET a page, and 1 for each run of neighbouring blocks, up to 16 MiB, each block once; the files of a
            block are written together, on all cores. Memory for the paths, about 200 bytes a file, and some 8 MiB a
            thread. On disk, what is replaced is there twice until the end.
        """
        chosen = parse_checkout_mode(mode)
        directory = parse_directory(path)
        self._check_directory(directory)
        is_remote = self._backend.objects.is_remote or self._backend.elsewhere.is_remote

        def check_out() -> int:
            rows = rows_below(directory, self._chosen(directory, glob))
            checkout = Checkout(rows, Path(parse_local_path(dest, "dest")), overwrite=overwrite, syncs=fsync)
            return checkout.run(self._backend.chunks, chosen, is_remote=is_remote, progress=progress)

        return self._settled(check_out)

    def _chosen(self, directory: str, glob: str | None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the files below *directory* that match; they count as read."""
        matcher = parse_glob(glob) if glob is not None else None
        for batch in self.batches(directory) if matcher is None or not matcher.is_directory else ():
            chosen = batch if matcher is None else batch.filter(matcher.mask(batch.column("path")))
            self._note_all(chosen)
            yield chosen

    def row(self, path: str) -> FileRow:
        """Return the row of the file at *path* as the tree holds it, with its chunk references; it counts as read.

        Raises:
            PathNotFoundError, NotAFileError: As for `read`.

        Cost: as `stat` of a file.
        """
        row = self._settled(lambda: self._row(path))
        self._note(row)
        return row

    def rows(self, directory: str = "") -> Iterator[FileRow]:
        """Yield the rows of all files below *directory* as the tree holds them; each counts as read.

        Cost: 1 GET a page.
        """
        for batch in self.batches(directory):
            for row in file_rows(batch):
                self._note(row)
                yield row

    def writer_of(self, path: str) -> CommitId:
        """Return the commit that wrote this version of the file at *path*; this does not count as reading it.

        Raises:
            PathNotFoundError, NotAFileError: As for `read`.

        Cost: as `stat` of a file.
        """
        return CommitId(self._row(path).commit.hex())

    def writers(self, directory: str = "") -> dict[CommitId, set[str]]:
        """Return the commits that wrote the files below *directory* as they are, each with the paths of its files.

        Cost: 1 GET a page; memory for the paths.
        """
        found: dict[CommitId, set[str]] = {}
        for batch in self.batches(directory):
            written = pa.Table.from_batches([batch.select(["commit", "path"])])
            by_commit = groups_of(written, ["commit"], ["path"])
            for commit, paths in zip(
                *(by_commit.column(name).to_pylist() for name in ("commit", "path_list")), strict=True
            ):
                found.setdefault(CommitId(commit.hex()), set()).update(paths)
        return found

    def _stat(self, directory: str) -> FileInfo:
        row = self._find(directory) if directory else None
        if row is not None:
            return info_of(row)
        if not self._is_directory(directory):
            raise self._missing(directory)
        below = stat_directory(self._root, directory, source=self._backend.pages)
        digest = self._directory_digest(directory)
        return directory_info(directory, below.size_bytes, digest, below.files)

    def _scan(self, prefix: str) -> Iterator[pa.RecordBatch]:
        start: str | None = None
        while True:
            before = self._root
            try:
                for batch in scan(before, prefix, source=self._backend.pages, start=start):
                    yield batch
                    start = successor(batch.column(0)[-1].as_py())
            except PackLostError:
                if not self._has_moved(before):
                    raise
            else:
                return

    def _settled(self, call: Callable[[], _T]) -> _T:
        """Return what *call* returns, tried once more when the tree was compacted into other packs meanwhile."""
        before = self._root
        try:
            return call()
        except PackLostError:
            if not self._has_moved(before):
                raise
            return call()

    def _has_moved(self, before: PageRef | None) -> bool:
        """Find the tree again, unless another thread has, and say whether it lies elsewhere than *before*."""
        self._find_again()
        return self._root != before

    def _find_again(self) -> None:
        with self._backend.catalog.read() as connection:
            self._commit = get_commit(connection, self.commit.id)

    @property
    def _root(self) -> PageRef | None:
        return None if self._commit is None else self._commit.readable_root

    def _files_matching(self, glob: Glob) -> Iterator[pa.RecordBatch]:
        if glob.is_directory:
            return
        for batch in self._candidates(glob):
            mask = glob.mask(batch.column("path"))
            if mask.true_count:
                yield batch.filter(mask)

    def _directories_matching(self, glob: Glob) -> Sequence[str]:
        if glob.is_root:
            return [""]
        found: set[str] = set()
        for batch in self._candidates(glob):
            parents = directories_of(batch.column("path"))
            if len(parents):
                found.update(parents.filter(glob.mask(parents)).to_pylist())
        return sorted(found)

    def _candidates(self, glob: Glob) -> Iterator[pa.RecordBatch]:
        """Yield the rows that begin as *glob* does; its prefixes are sorted and disjoint, so in order."""
        for prefix in glob.prefixes:
            yield from self._scan(prefix)

    def _note(self, row: FileRow) -> None:
        run = current_run() or self._run
        if run is not None and self._is_noted:
            file = InputFile(self._repo, self.commit.id, row.path, Digest(row.digest.hex()), CommitId(row.commit.hex()))
            run.note(self.commit, file)

    def _note_all(self, batch: pa.RecordBatch) -> None:
        if self._is_noted and (current_run() or self._run) is not None:
            for row in file_rows(batch):
                self._note(row)

    def _look_up(self, paths: Sequence[str]) -> pa.Table:
        return lookup_many(self._root, paths, source=self._backend.pages)

    def _read_rows(self, rows: Sequence[FileRow]) -> Iterator[tuple[str, bytes]]:
        try:
            found = self._backend.chunks.read_chunks([chunk for row in rows for chunk in row.chunks])
        except PackLostError:
            self._find_again()
            again = [self._row(row.path) for row in rows]
            if again == rows:
                raise
            rows = again
            found = self._backend.chunks.read_chunks([chunk for row in rows for chunk in row.chunks])
        parts = iter(found)
        for row in rows:
            self._note(row)
            yield row.path, b"".join(islice(parts, len(row.chunks)))

    def _row(self, path: str) -> FileRow:
        path = parse_path(path)
        row = self._find(path)
        if row is None:
            raise NotAFileError(path, self.name) if self._is_directory(path) else self._missing(path)
        return row

    def _find(self, path: str) -> FileRow | None:
        return lookup(self._root, path, source=self._backend.pages)

    def _is_directory(self, directory: str) -> bool:
        if not directory:
            return True
        return next(scan(self._root, _prefix(directory), source=self._backend.pages), None) is not None

    def _check_directory(self, directory: str) -> None:
        if self._is_directory(directory):
            return
        if self._find(directory) is not None:
            msg = (
                f"{directory!r} in {self.name} is a file, not a directory: read it, or list the directory that it is in"
            )
            raise InvalidInputError(msg)
        raise self._missing(directory)

    def _directory_digest(self, directory: str) -> Digest:
        digest = blake3.blake3(derive_key_context=_DIRECTORY_DIGEST)
        skipped = len(_prefix(directory))
        for batch in self.batches(directory):
            columns = (batch.column(name).to_pylist() for name in ("path", "digest", "attributes"))
            for path, content, attributes in zip(*columns, strict=True):
                digest.update(path[skipped:].encode() + b"\0" + content + (attributes or "").encode() + b"\0")
        return Digest(digest.hexdigest())

    def _missing(self, path: str) -> PathNotFoundError:
        if self.is_empty:
            return PathNotFoundError(path, self.name, "it holds no file at all")
        parent = path.rpartition("/")[0]
        for directory in parent_directories(path):
            if self._find(directory) is not None:
                return PathNotFoundError(path, self.name, f"{directory!r} is a file, so nothing is below it")
        if not self._is_directory(parent):
            return PathNotFoundError(path, self.name, f"there is no directory {parent!r} either")
        near = [entry.path for entry, _ in zip(self.list(parent), range(_NEAR_NAMES), strict=False)]
        return PathNotFoundError(path, self.name, f"beside it are {', '.join(map(repr, near))}")


def _prefix(directory: str) -> str:
    return f"{directory}/" if directory else ""
