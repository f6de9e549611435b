"""Staging new bytes: files and local directories."""

from collections.abc import Callable, Mapping
from pathlib import Path

from versioned_io.errors import InvalidInputError
from versioned_io.model.arguments import check_callable, parse_local_path
from versioned_io.model.identifiers import Digest
from versioned_io.model.paths import parse_directory, parse_path
from versioned_io.storage.chunks.chunk_columns import TakenFile
from versioned_io.storage.chunks.local_intake import take_local_files
from versioned_io.storage.chunks.sources import Source
from versioned_io.versioning.snapshots.file_info import (
    FileInfo,
    FileKind,
    TransferProgress,
    decode_attributes,
    encode_attributes,
    recorded_bit,
    with_bit,
)
from versioned_io.versioning.transactions.branch_draft import BranchDraft
from versioned_io.versioning.transactions.local_tree import NotKept, is_executable, scan_local_tree
from versioned_io.versioning.transactions.staged_runs import StagedRun
from versioned_io.versioning.transactions.staging import StagedFile
from versioned_io.versioning.transactions.viewing import StagedView


class Writing:
    """Stages new bytes on a branch."""

    def __init__(self, draft: BranchDraft, view: StagedView) -> None:
        self._draft = draft
        self._view = view
        self._not_kept = NotKept()

    @property
    def not_kept(self) -> NotKept:
        """The modes and empty directories of imported local directories that are not kept: see `write_tree`."""
        return self._not_kept

    def write(
        self, path: str, source: Source | str, *, append: bool = False, attributes: Mapping[str, str] | None = None
    ) -> FileInfo:
        r"""Stage a file at *path*, replacing an earlier one or, with *append*, adding to its end.

        >>> with store.transaction("weather@main") as tx:
        ...     _ = tx.write("2012/03.csv", b"date,rain\n")
        ...     info = tx.write("2012/03.csv", b"2012-03-01,1.0\n", append=True)
        >>> info.size
        25

        Args:
            source: The bytes, a `Path` of a local file, a binary file (read from its position), or an iterator of
                bytes. Not a `str`: text is encoded, and a local file is a `Path`.
            attributes: Text to keep with the file, such as its format; None for none, or, with *append*, for those
                that the file has. ``executable``, ``true`` or ``false``, is whether it may be run; unless it is given,
                a local file's own bit is kept, as by `write_tree`.

        Returns:
            The staged file. Its digest is final; its ``written_by`` is not known yet.

        Raises:
            IllegalPathError: *path* breaks the path rules.
            InvalidInputError: *source* is of another kind, or an attribute is not text.
            NotAFileError: *append* was asked for, and *path* is a directory.
            TransactionClosedError: The transaction has ended.
            OSError: The local file can't be read.

        Cost: as `FileIntake.write`. An append reads the last chunk of the file, at most 1 MiB, and stores it again
            with the added bytes. The size of the file does not matter.
        """
        self._draft.check_open("write")
        path = parse_path(path)
        text = encode_attributes(attributes)
        has_local_bit = isinstance(source, Path) and recorded_bit(text) is None
        continues = append and self._view.exists(path)
        if isinstance(source, str):
            msg = (
                f"can't write the text {source[:40]!r}: encode it to bytes, or pass a pathlib.Path to read a local file"
            )
            raise InvalidInputError(msg)
        if continues and attributes is None:
            text = self._view.attributes_of(path)
        stored = self._append(path, source) if continues else self._draft.intake.write(source)
        has_local_bit = has_local_bit and not continues
        if has_local_bit and isinstance(source, Path) and is_executable(source):
            text = with_bit(text, bit=True)
        self._draft.staging.write(path, StagedFile(stored, text, is_local=has_local_bit))
        return FileInfo(path, FileKind.FILE, stored.size, Digest(stored.digest.hex()), decode_attributes(text))

    def write_tree(
        self, directory: str | Path, to: str = "", *, progress: Callable[[TransferProgress], None] | None = None
    ) -> int:
        """Stage every file below a local directory, under the directory *to*, and return how many.

        Other files below *to* stay. The local files should not change meanwhile.

        The execute bit of a file's owner is kept as the attribute ``executable``. That holds for new files, for files
        with new bytes, and for files that have the attribute. A file without it and with the same bytes stays
        unmodified. `not_kept` lists the losses.

        >>> from pathlib import Path
        >>> Path("incoming").mkdir()
        >>> _ = Path("incoming/03.csv").write_text("date,rain")
        >>> with store.transaction("weather@main") as tx:
        ...     tx.write_tree("incoming", to="2012")
        1

        Args:
            progress: Called at the beginning, at the end, and in between for about every 4 MiB or 4,096 files.

        Raises:
            InvalidInputError: *directory* is not a directory, or holds a symbolic link or a special file.
            IllegalPathError: A file's name breaks the path rules.
            SourceChangedError: A file vanished, or changed while it was read; import again.
            OSError: A file or directory can't be read.
            StorageError: The object store failed; give up this transaction. As of the others, nothing is staged.

        Cost: 1 index look-up for every 4 MiB or 4,096 files, 1 PUT for every 48 MiB of new compressed data. Some 20 us
            of CPU a small file, a part of it on other cores; about 200 bytes of memory a file.
        """
        self._draft.check_open("write a tree")
        check_callable(progress, "progress")
        tree = scan_local_tree(Path(parse_local_path(directory, "directory")), parse_directory(to))
        done_files = done_bytes = 0

        def on_read(files: int, size_bytes: int) -> None:
            nonlocal done_files, done_bytes
            done_files, done_bytes = done_files + files, done_bytes + size_bytes
            if progress is not None:
                progress(TransferProgress(done_files, tree.files, done_bytes, tree.size_bytes))

        on_read(0, 0)
        files = take_local_files(self._draft.intake, tree.sources(), on_read=on_read)
        self._draft.staging.write_run(StagedRun.of(list(tree.paths()), files, tree.executables))
        lost, more = self._not_kept, tree.not_kept
        self._not_kept = NotKept(lost.empty_directories + more.empty_directories, lost.modes + more.modes)
        return tree.files

    def _append(self, path: str, source: Source) -> TakenFile:
        file = self._draft.staging.find(path)
        if file is not None:
            return self._draft.intake.append(
                file.content if isinstance(file.content, TakenFile) else file.content.chunks, source
            )
        self._draft.staging.note_read(path)
        self._view.check_own_file(path)
        return self._draft.intake.append(self._draft.snapshot.row(path).chunks, source)
