"""What the file system writes: grouped, so that one operation or one transaction is one commit."""

import threading
from collections.abc import Callable
from typing import Any, cast

from fsspec.transaction import Transaction as FsspecTransaction

from versioned_io.errors import InvalidInputError
from versioned_io.store import Store
from versioned_io.transactions.transaction import StagedBranch, Transaction


class Changes:
    """Staged changes to any branches of a store that become visible together; begun by the first. Thread-safe.

    Args:
        directories: Where to note *new_directories* once they are visible.
    """

    def __init__(self, store: Store, message: str, directories: set[str]) -> None:
        self._store = store
        self._message = message
        self._directories = directories
        self.new_directories: set[str] = set()
        self._transaction: Transaction | None = None
        self._lock = threading.RLock()

    def stage(self, branch: str, change: Callable[[StagedBranch], object]) -> None:
        """Make *change* to what is staged on ``repo@branch``.

        Raises:
            NotFoundError: There is no such branch.
            VersionedError: What *change* raises; what was staged before stays staged.
        """
        with self._lock:
            if self._transaction is None:
                self._transaction = self._store.transaction(branch, message=self._message)
            change(self._transaction.branch(branch))

    def commit(self) -> None:
        """Make what is staged visible, all of it or nothing.

        Raises:
            ConflictError, PathCollisionError, StorageError: As `Transaction.finish` says.
        """
        if self._transaction is not None:
            self._transaction.finish()
        self._directories.update(self.new_directories)

    def abort(self) -> None:
        """Forget what is staged."""
        if self._transaction is not None:
            self._transaction.abort()


class VersionedTransaction(FsspecTransaction):  # type: ignore[misc]  # fsspec is not annotated
    """``with fs.transaction:`` all that the block writes, copies, moves and deletes is one commit, or none of it is.

    Nothing is visible before the end, to the file system itself neither; an exception abandons everything.
    """

    def __init__(self, fs: Any, **options: object) -> None:  # noqa: ANN401 (fsspec's protocol)
        super().__init__(fs, **options)
        self.changes = cast("Changes", fs.begin_changes("transaction of the file system"))

    def complete(self, commit: bool = True) -> None:  # noqa: FBT001, FBT002 (fsspec's protocol)
        """Commit everything, or forget it; either way the transaction is over.

        Raises:
            InvalidInputError: A file is still open; close it first. Nothing is committed then.
            ConflictError, PathCollisionError, StorageError: As `Transaction.finish` says.
        """
        try:
            open_paths = [file.path for file in self.files if not file.closed]
            if not commit or open_paths:
                for file in self.files:
                    file.discard()
                self.changes.abort()
            if commit and open_paths:
                msg = f"{open_paths[0]!r} is still open at the end of the transaction: close it in the block"
                raise InvalidInputError(msg)
            if commit:
                self.changes.commit()
        finally:
            self.files.clear()
            if self.fs is not None:
                self.fs._intrans = False  # noqa: SLF001 (fsspec's protocol)
                self.fs._transaction = None  # noqa: SLF001 (fsspec's protocol)
