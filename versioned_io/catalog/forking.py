"""The connections of a catalog across ``fork()``: a child uses none of its parent's, and opens its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from versioned_io.catalog.plain import identity_of
from versioned_io.errors import ForkedError
from versioned_io.platform.process import HomeProcess, follow_forks

FORK_WAIT_S: Final = 5.0
"""How long a ``fork()`` waits for other threads to finish their use of the catalog."""

_INSTEAD: Final = (
    "fork while no thread uses the store, or start processes by spawn or forkserver, and open the store there"
)
_unusable: Final[dict[tuple[int, int], int]] = {}
"""SQLite files of which this process inherited a connection in use, with the process ID of the parent.

SQLite's own table has devices and inodes, too: a file may have several paths, by links and mounts.
"""


class Connections(Protocol):
    """The connections of a catalog, and the SQLite file that they lead to, if it is one."""

    file: Path | None

    def close_idle(self) -> None:
        """Close every idle connection, and have those in use come back to where they were taken from."""
        ...

    def abandon(self) -> None:
        """Forget every connection without closing it: they are the parent's of this process."""
        ...


class ConnectionGate:
    """A gate to the connections of a catalog: threads use them, and a ``fork()`` waits until none is in use.

    Every idle connection is closed before the fork. SQLite keeps its locks on a file per process. A child that
    inherits an open file takes its parent's locks for its own, and its commits are lost when the parent closes the
    file. With an inherited connection to PostgreSQL two processes would write to one socket.

    After `FORK_WAIT_S` the fork goes ahead without waiting for the threads that still use a connection. The child then
    refuses to use a SQLite file, and leaves the inherited connection to PostgreSQL untouched.

    Attributes:
        turns: The semaphore that a thread holds while it writes.
        writing: The threads that are writing.

    Args:
        home: The only process that can use the catalog, for a catalog in memory; None if every process can.
        writers: How many threads may hold a connection to write or to wait for the database's write lock.

    Source: docs/design/0013-processes.md; https://sqlite.org/howtocorrupt.html, section 2.6.
    """

    def __init__(self, connections: Connections, *, writers: int, home: HomeProcess | None = None) -> None:
        self._connections = connections
        self._writers = writers
        self._home = home
        self._process = HomeProcess()
        self._is_in_use = False
        self._begin()
        follow_forks(self)

    @contextmanager
    def use(self) -> Iterator[None]:
        """Use connections in the block.

        Raises:
            ForkedError: This process is a child that must not use them. Open the store again in the child.
        """
        self._check()
        thread = threading.get_ident()
        with self._condition:
            # The fork waits for a thread that is already inside, so that thread must not wait for the fork.
            self._condition.wait_for(lambda: not self._is_forking or thread in self._users, FORK_WAIT_S)
            self._users[thread] = self._users.get(thread, 0) + 1
        try:
            yield
        finally:
            with self._condition:
                left = self._users.pop(thread, 1) - 1
                if left:
                    self._users[thread] = left
                self._condition.notify_all()

    def before_fork(self) -> None:
        """Wait for the other threads, and close all idle connections."""
        own = {threading.get_ident()}
        with self._condition:
            self._is_forking = True
            self._condition.wait_for(lambda: self._users.keys() <= own, FORK_WAIT_S)
            self._is_in_use = bool(self._users)
        self._connections.close_idle()

    def after_fork_in_parent(self) -> None:
        """Resume the threads that wait for the fork."""
        with self._condition:
            self._is_forking = False
            self._condition.notify_all()

    def after_fork_in_child(self) -> None:
        """Start with an empty pool, and close no inherited connection."""
        if self._is_in_use and (identity := self._identity()) is not None:
            _unusable[identity] = self._process.pid
        self._process = HomeProcess()
        self._begin()
        self._connections.abandon()

    def _begin(self) -> None:
        self.turns = threading.Semaphore(self._writers)
        self._condition = threading.Condition(threading.Lock())
        self._users: dict[int, int] = {}
        self.writing: set[int] = set()
        self._is_forking = False

    def _check(self) -> None:
        if self._home is not None:
            self._home.check("a store in memory", "make the store in a directory to share it with other processes")
        identity = self._identity() if _unusable else None
        if identity is not None and (parent := _unusable.get(identity)) is not None:
            what = f"the catalog {str(self._connections.file)!r} was in use when it was forked, and"
            raise ForkedError(what, _INSTEAD, parent)

    def _identity(self) -> tuple[int, int] | None:
        return None if self._connections.file is None else identity_of(str(self._connections.file))
