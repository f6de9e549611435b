"""Staging changes that copy no bytes: copies by reference, renamed files, deletions."""

from collections.abc import Callable

from versioned_io.errors import IntegrityError, InvalidInputError
from versioned_io.model.paths import parse_directory, parse_path
from versioned_io.versioning.snapshots.snapshot import Snapshot
from versioned_io.versioning.transactions.branch_draft import BranchDraft
from versioned_io.versioning.transactions.viewing import StagedView, rows_below

SnapshotResolver = Callable[[str], tuple[Snapshot, str]]
"""Returns the snapshot, and the path in it, that ``repo@ref:path`` names."""


class Rearranging:
    """Copies, moves and deletes files of a branch."""

    def __init__(self, draft: BranchDraft, view: StagedView, resolve: SnapshotResolver) -> None:
        self._draft = draft
        self._staging = draft.staging
        self._snapshot = draft.snapshot
        self._view = view
        self._resolve = resolve

    def copy(self, source: str, to: str) -> int:
        """Stage a file or a directory of any snapshot at *to*, by reference, and return how many files: no bytes move.

        >>> with store.transaction("weather@main") as tx:
        ...     tx.copy("weather@main~1:2012/02.csv", to="uncorrected.csv")
        1

        Args:
            source: ``repo@ref:path`` for any commit of the store; ``:path`` for this branch as it is staged.

        Raises:
            PathNotFoundError: There is nothing at *source*.
            InvalidInputError: *source* is a file, and *to* ends with ``/``.

        Cost: as `Store.commit`, and the pages of the source's files.
        """
        self._draft.check_open("copy")
        target = parse_directory(to)
        if isinstance(source, str) and source.startswith(":"):
            copies = list(self._view.below(parse_path(source[1:])))
        else:
            with self._draft.run.active():
                copies = list(rows_below(*self._resolve(source)))
        if to.endswith("/") and not all(below for below, _ in copies):
            msg = f"can't copy the file {source!r} to the directory {to!r}: name the file there, such as '{to}name'"
            raise InvalidInputError(msg)
        for below, file in copies:
            self._staging.write(parse_path(f"{target}/{below}" if below else to), file)
        return len(copies)

    def move(self, source: str, to: str) -> int:
        """Stage the renaming of a file or a directory of this branch, and return how many files moved.

        >>> with store.transaction("weather@main") as tx:
        ...     tx.move("2012", to="archive/2012")
        2

        Raises:
            PathNotFoundError: There is nothing at *source*.
            InvalidInputError: *to* is below *source*.

        Cost: the pages of the source's files; no bytes move.
        """
        self._draft.check_open("move")
        origin, target = parse_path(parse_directory(source)), parse_path(parse_directory(to))
        if target == origin or target.startswith(f"{origin}/"):
            msg = f"can't move {origin!r} to {target!r}: that is the same place, or below it"
            raise InvalidInputError(msg)
        moves = list(self._view.below(origin))
        # The old place is deleted first, since it may contain the new one: a/b/b is in both if a/b moves to a.
        self._delete(origin)
        for below, file in moves:
            self._staging.write(parse_path(f"{target}/{below}" if below else target), file)
        return len(moves)

    def delete(self, path: str) -> None:
        """Stage the deletion of a file, or of everything below a directory when *path* ends with ``/`` or names one.

        Deleting a path that does not exist changes nothing.

        >>> with store.transaction("weather@main") as tx:
        ...     tx.delete("2012/01.csv")
        >>> [file.path for file in store.snapshot("weather@main").walk()]
        ['2012/02.csv']

        Raises:
            IllegalPathError: *path* breaks the path rules.

        Cost: at most 1 GET a page level.
        """
        self._draft.check_open("delete")
        if isinstance(path, str) and path.endswith("/"):
            self._staging.delete_directory(parse_directory(path))
        else:
            self._delete(parse_path(path))

    def delete_glob(self, pattern: str) -> int:
        """Stage the deletion of the files whose paths match *pattern*, also of staged ones, and return how many.

        >>> with store.transaction("weather@main") as tx:
        ...     tx.delete_glob("2012/*.csv")
        2

        Raises:
            InvalidInputError: The pattern is malformed.

        Cost: as `Snapshot.glob`.
        """
        from versioned_io.versioning.snapshots.glob import parse_glob

        self._draft.check_open("delete")
        glob = parse_glob(pattern)
        doomed = {file.path for file in self._snapshot.glob(pattern) if not self._staging.hides(file.path)}
        doomed.update(path for path, _ in self._staging.below("") if not glob.is_directory and glob.matches(path))
        for path in sorted(doomed):
            self._staging.delete_file(path)
        return len(doomed)

    def _delete(self, path: str) -> None:
        try:
            is_directory = self._snapshot.is_directory(path) or self._staging.has_below(path)
        except IntegrityError:
            is_directory = True  # an unreadable page is deleted as a directory; the commit repairs it, or fails
        if is_directory:
            self._staging.delete_directory(path)
        self._staging.delete_file(path)
