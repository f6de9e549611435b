"""The lease of an open transaction, which protects its stored but unreferenced packs from garbage collection."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from versioned_io.errors import PackCondemnedError, StorageError
from versioned_io.model.identifiers import new_uuid7
from versioned_io.versioning.backend.backend import Backend

_RENEWAL_S: Final = 60.0


@dataclass(slots=True)
class Lease:
    """A lease, taken when a transaction stores a pack before its commit. A small commit never takes one."""

    backend: Backend
    id: str = field(default_factory=new_uuid7)
    seconds: Callable[[], float] = time.monotonic
    _renewed: float | None = None
    _is_paused: bool = False

    def hold(self) -> None:
        """Take the lease, or renew it if that is due; do nothing within `pause`.

        Raises:
            StorageError: The catalog is unreachable. Try again.

        Cost: 1 SQL transaction the first time, and then at most every minute.
        """
        now = self.seconds()
        if self._is_paused:
            return
        if self._renewed is not None and now - self._renewed < _RENEWAL_S:
            return
        from versioned_io.catalog.collection import hold_lease

        with self.backend.catalog.write() as connection:
            hold_lease(connection, self.id, self.backend.clock(), is_new=self._renewed is None)
        self._renewed = now

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Neither take nor renew the lease in the block, where the branches are locked: the write would deadlock.

        Packs that are stored in the block are younger than any grace period, so no collector deletes them. If one does
        anyway, the commit fails with `PackCondemnedError`, and nothing is lost.
        """
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    def end(self, connection: Connection) -> None:
        """Delete the lease, if there is one, in the transaction of the commit.

        Raises:
            PackCondemnedError: A collector considered the transaction dead, and its packs garbage. Begin again.

        Cost: 1 DELETE if there is a lease.
        """
        if self._renewed is None:
            return
        from versioned_io.catalog.collection import release_lease

        if not release_lease(connection, self.id):
            raise PackCondemnedError(self.id)

    def abandon(self) -> None:
        """Delete the lease of a transaction that does not commit."""
        if self._renewed is None:
            return
        from versioned_io.catalog.collection import release_lease

        self._renewed = None
        # A lease that can't be deleted now expires. Its error is dropped, since the caller raises another one.
        with suppress(StorageError), self.backend.catalog.write() as connection:
            release_lease(connection, self.id)
