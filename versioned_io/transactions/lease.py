"""The lease of a transaction under way: garbage collection leaves alone what it has stored and nobody refers to yet."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from versioned_io.backend import Backend
from versioned_io.catalog.collection import hold_lease, release_lease
from versioned_io.errors import PackCondemnedError, StorageError
from versioned_io.identifiers import new_uuid7

_RENEWAL_S: Final = 60.0


@dataclass(slots=True)
class Lease:
    """Taken when a transaction stores its first pack before its commit; a small commit never takes one."""

    backend: Backend
    id: str = field(default_factory=new_uuid7)
    seconds: Callable[[], float] = time.monotonic
    _renewed: float | None = None
    _is_paused: bool = False

    def hold(self) -> None:
        """Take the lease, or renew it when that is due; not within `pause`.

        Raises:
            StorageError: The catalog is out of reach.

        Cost: 1 SQL transaction the first time, and then at most every minute.
        """
        now = self.seconds()
        if self._is_paused:
            return
        if self._renewed is not None and now - self._renewed < _RENEWAL_S:
            return
        with self.backend.catalog.write() as connection:
            hold_lease(connection, self.id, self.backend.clock(), is_new=self._renewed is None)
        self._renewed = now

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Neither take nor renew it in here, where the branches are held: to write a lease would wait for the holder.

        What is stored in here is young, and a collector takes only what is older than its grace; one that takes it all
        the same makes the commit fail (`PackCondemnedError`), and nothing is lost.
        """
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    def end(self, connection: Connection) -> None:
        """End the lease together with the commit, if there is one.

        Raises:
            PackCondemnedError: The collector took the transaction for dead, and its packs for garbage; begin again.

        Cost: 1 DELETE if there is a lease.
        """
        if self._renewed is not None and not release_lease(connection, self.id):
            raise PackCondemnedError(self.id)

    def abandon(self) -> None:
        """End the lease of a transaction that does not commit."""
        if self._renewed is None:
            return
        self._renewed = None
        # A lease that can't be ended now ends by itself; what made the transaction fail is what the caller must hear.
        with suppress(StorageError), self.backend.catalog.write() as connection:
            release_lease(connection, self.id)
