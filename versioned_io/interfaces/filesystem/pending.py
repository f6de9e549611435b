"""The file system's changes: grouped, so that one operation or one transaction is one commit."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import Any, Final, Protocol, Self, TypeAlias

from fsspec.transaction import Transaction as FsspecTransaction

from versioned_io.errors import InvalidInputError
from versioned_io.interfaces.filesystem.lazy_store import LazyStore
from versioned_io.platform.process import new_reentrant_lock
from versioned_io.store import Store
from versioned_io.versioning.transactions.staged_branch import StagedBranch
from versioned_io.versioning.transactions.transaction import Transaction

StoreKey: TypeAlias = tuple[str, str]
"""The identity of a store: the places of its objects and of its catalog."""


class PendingChanges:
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
        self._lock = new_reentrant_lock()

    def stage(self, branch: str, change: Callable[[StagedBranch], object]) -> None:
        """Apply *change* to the staged changes on ``repo@branch``.

        Raises:
            NotFoundError: The branch does not exist.
            VersionedError: *change* raised it; earlier changes stay staged.
        """
        with self._lock:
            if self._transaction is None:
                self._transaction = self._store.transaction(branch, message=self._message)
            change(self._transaction.branch(branch))

    def has(self, branch: str, path: str) -> bool:
        """Return whether *path* is a file or a directory of ``repo@branch``, including the changes staged here."""
        with self._lock:
            return self._transaction is not None and self._transaction.branch(branch).exists(path)

    def commit(self) -> None:
        """Make the staged changes visible, all or nothing.

        Raises:
            ConflictError, PathCollisionError, StorageError: As `Transaction.finish` says.
        """
        if self._transaction is not None:
            self._transaction.finish()
        self._directories.update(self.new_directories)

    def abort(self) -> None:
        """Discard the staged changes."""
        if self._transaction is not None:
            self._transaction.abandon()


class OpenFile(Protocol):
    """A file that is being written in a transaction."""

    path: str

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        ...

    def discard(self) -> None:
        """End it without a trace."""
        ...


_NONE: Final[Mapping[StoreKey, "VersionedTransaction"]] = MappingProxyType({})
_active: Final[ContextVar[Mapping[StoreKey, "VersionedTransaction"]]] = ContextVar(
    "versioned_io_transactions", default=_NONE
)


def active_transaction(key: StoreKey) -> "VersionedTransaction | None":
    """Return the transaction that writes to a store belong to in this context, whichever instance they come through.

    A context is a thread or a task, with everything that inherits it. That includes tasks and threads of asyncio that
    were started in the block. It also includes coroutines that the block passed to another thread's event loop
    (``run_coroutine_threadsafe``).
    """
    found = _active.get().get(key)
    return found if found is not None and found.is_open else None


class ChangeGroups:
    """Decides which changes become one commit: those of a transaction, or else those of one call.

    Args:
        noted: Where a group notes its new empty directories once it is committed.

    Attributes:
        own: The transaction that the file system is in; one of another instance of the same store may be open, too.
    """

    def __init__(self, store: LazyStore, noted: set[str]) -> None:
        self._store = store
        self._noted = noted
        self._call = threading.local()
        self.own: VersionedTransaction | None = None

    @property
    def store_key(self) -> StoreKey:
        """The key that is equal for all file systems over one store."""
        return self._store.open().url, self._store.catalog or ""

    def begin(self, message: str) -> PendingChanges:
        """Return a new group of changes."""
        return PendingChanges(self._store.open(), message, self._noted)

    def transaction(self) -> "VersionedTransaction | None":
        """Return the transaction that this file system is in, or the one of its store in this context."""
        return self.own if self.own is not None else active_transaction(self.store_key)

    @contextmanager
    def changes(self, message: str) -> Iterator[PendingChanges]:
        """Yield the group to stage in: the transaction's, or that of the call around this one, or a new one.

        A new group is committed at the end of the block, with *message*, or abandoned when an exception leaves it.
        """
        transaction = self.transaction()
        if transaction is not None:
            yield transaction.changes
            return
        around: PendingChanges | None = getattr(self._call, "changes", None)
        if around is not None:
            yield around
            return
        self._call.changes = changes = self.begin(message)
        try:
            yield changes
            changes.commit()
        except BaseException:
            changes.abort()
            raise
        finally:
            self._call.changes = None


class VersionedTransaction(FsspecTransaction):  # type: ignore[misc]  # fsspec is not annotated
    """``with fs.transaction:`` everything that the block writes, copies, moves and deletes is one commit, or none.

    It covers this instance. In the block's thread and its descendants it covers all instances of the same store.
    Nothing is visible before the end, not even to the file system itself. An exception abandons everything. An inner
    block joins the outer one. If the inner block fails, the outer one can't commit any more.
    """

    def __init__(self, fs: Any, **options: object) -> None:  # noqa: ANN401 (fsspec's protocol)
        super().__init__(fs, **options)
        self._groups: ChangeGroups = fs._groups  # noqa: SLF001 (fsspec calls this with the file system alone)
        self.is_open = False
        self._depth = 0
        self._failed_inside = False
        self._around: VersionedTransaction | None = None
        self._changes: PendingChanges | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.complete(commit=kind is None)

    @property
    def changes(self) -> PendingChanges:
        """Where to stage.

        Raises:
            InvalidInputError: The transaction is over.
        """
        if self._around is not None:
            return self._around.changes
        if self._changes is None:
            msg = "the transaction of the file system is over: begin another with fs.transaction"
            raise InvalidInputError(msg)
        return self._changes

    def start(self) -> None:
        """Begin, or join the open outer transaction of this store."""
        self._depth += 1
        if self._depth > 1:
            return
        self.files: deque[OpenFile] = deque()
        self._failed_inside = False
        key = self._groups.store_key
        self._around = active_transaction(key)
        if self._around is None:
            self._changes = self._groups.begin("transaction of the file system")
            _active.set({**_active.get(), key: self})
        self.is_open = True
        self._groups.own = self
        self.fs._intrans = True  # noqa: SLF001 (fsspec's protocol)

    def add(self, file: OpenFile) -> None:
        """Note a file that is being written in the block."""
        owner = self if self._around is None else self._around
        owner.files.append(file)

    def complete(self, commit: bool = True) -> None:  # noqa: FBT001, FBT002 (fsspec's protocol)
        """Commit or discard everything; either way the transaction is over. An inner block only reports its outcome.

        Raises:
            InvalidInputError: A file is still open, or an inner block has failed. Nothing is committed then.
            ConflictError, PathCollisionError, StorageError: As `Transaction.finish` says.
        """
        self._depth -= 1
        if self._depth > 0 or self._around is not None:
            if not commit:
                (self._around or self).fail_inside()
            if self._depth <= 0:
                self._leave()
            return
        try:
            self._end(commit=commit)
        finally:
            self._leave()

    def fail_inside(self) -> None:
        """Record that an inner block failed: this one can't commit any more."""
        self._failed_inside = True

    def _end(self, *, commit: bool) -> None:
        changes = self.changes
        open_paths = [file.path for file in self.files if not file.closed]
        if commit and not open_paths and not self._failed_inside:
            changes.commit()
            return
        for file in self.files:
            file.discard()
        changes.abort()
        if commit:
            reason = (
                f"{open_paths[0]!r} is still open at the end of the transaction: close it in the block"
                if open_paths
                else "a transaction inside of this one failed, so this one commits nothing: begin again"
            )
            raise InvalidInputError(reason)

    def _leave(self) -> None:
        self.files.clear()
        self.is_open = False
        self._depth = 0
        self._changes = self._around = None
        _active.set({key: found for key, found in _active.get().items() if found is not self})
        self._groups.own = None
        if self.fs is not None:
            self.fs._intrans = False  # noqa: SLF001 (fsspec's protocol)
            self.fs._transaction = None  # noqa: SLF001 (fsspec's protocol)
