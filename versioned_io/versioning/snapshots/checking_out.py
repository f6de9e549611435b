"""Writing files of a snapshot into a local directory."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from versioned_io.model.arguments import parse_choice, parse_local_path
from versioned_io.model.paths import parse_directory
from versioned_io.versioning.snapshots.commit_tree import CommitTree
from versioned_io.versioning.snapshots.file_info import TransferProgress
from versioned_io.versioning.snapshots.file_versions import FileVersions


class CheckingOut:
    """Writes files of a snapshot into a local directory, and notes that they are read."""

    def __init__(self, tree: CommitTree, versions: FileVersions) -> None:
        self._tree = tree
        self._versions = versions

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

        Files are written into a temporary directory ``.versioned-*.part`` in *dest* first, and then moved to their
        places. A failure before the move leaves *dest* unchanged. A crash leaves only whole files, and that directory.

        >>> store.snapshot("weather@main").checkout("local")
        2
        >>> from pathlib import Path
        >>> Path("local/2012/01.csv").exists()
        True

        Args:
            path: A directory of the snapshot, which becomes *dest* itself; ``""`` for all of it.
            glob: Only the files below *path* whose whole paths match.
            overwrite: Replace local files of the same names, or, incrementally, modified ones. Other files in *dest*
                stay.
            mode: ``full`` writes every file. ``incremental`` writes only files that are missing or differ. It deletes
                unmodified files of an earlier incremental checkout that this snapshot lacks. Its notes are in
                ``.versioned-checkout.arrow`` in *dest*. A local file is unmodified if it has the noted size and time,
                or else the same content.
            fsync: Whether everything is durable when this returns.
            progress: Called at the beginning and then for about every 4 MiB.

        Raises:
            PathNotFoundError: The snapshot has no such directory.
            InvalidInputError: Nothing was written. *path* is a file. Or a file that would be replaced exists, or was
                modified, and *overwrite* is false. Or a local file and a directory are in each other's place. Or a
                symbolic link in *dest* could lead out of it. Or two paths differ only in case, which the file system
                of *dest* ignores.
            StorageError: The disk is full or failed, or the store.
            FormatError: The notes of an earlier checkout can't be read.

        Cost: 1 GET for each page, and 1 for each run of neighbouring blocks, up to 16 MiB, each block once. The files
            of a block are written together, on all cores. Memory for the paths, about 200 bytes a file, and some 8 MiB
            a thread. On disk both versions of a replaced file exist until the end.
        """
        from versioned_io.versioning.snapshots.checkout import Checkout, CheckoutMode, rows_below

        chosen = parse_choice(mode, CheckoutMode, "mode")
        directory = parse_directory(path)
        self._tree.check_directory(directory)
        is_remote = self._tree.backend.objects.is_remote or self._tree.backend.elsewhere.is_remote

        def check_out() -> int:
            rows = rows_below(directory, noted_rows(self._tree, self._versions, directory, glob))
            checkout = Checkout(rows, Path(parse_local_path(dest, "dest")), overwrite=overwrite, syncs=fsync)
            return checkout.run(self._tree.backend.chunks, chosen, is_remote=is_remote, progress=progress)

        return self._tree.settled(check_out)


def noted_rows(tree: CommitTree, versions: FileVersions, directory: str, glob: str | None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the files below *directory* that match; they count as read."""
    from versioned_io.versioning.snapshots.glob import parse_glob

    matcher = parse_glob(glob) if glob is not None else None
    for batch in tree.batches(directory) if matcher is None or not matcher.is_directory else ():
        chosen = batch if matcher is None else batch.filter(matcher.mask(batch.column("path")))
        versions.note_all(chosen)
        yield chosen
