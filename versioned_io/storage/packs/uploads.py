"""Storing full packs in the background while the next one is filled."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from versioned_io.model.identifiers import PackName
from versioned_io.model.places import PackInfo
from versioned_io.storage.packs.writer import PackWriter


class PackUploads:
    """Stores packs in its own threads, at most *waiting* at once. For one thread.

    Args:
        waiting: How many full packs may be in memory. With more, `add` waits until the first is stored.
        on_stored: Called, in the caller's thread, with each pack that is durable and no longer read from memory.
    """

    def __init__(self, *, waiting: int = 1, on_stored: Callable[[PackWriter], None] | None = None) -> None:
        self._waiting = waiting
        self._on_stored = on_stored
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: list[tuple[PackWriter, Future[PackInfo]]] = []
        self._stored: list[PackInfo] = []
        self._begun: list[tuple[PackName, int]] = []

    @property
    def stored(self) -> list[PackInfo]:
        """The packs that are durable."""
        return list(self._stored)

    @property
    def begun(self) -> list[tuple[PackName, int]]:
        """The packs that were added, with their sizes without footers, whether or not they are stored yet."""
        return list(self._begun)

    @property
    def size_bytes(self) -> int:
        """The bytes of all packs that were added, stored or not."""
        return sum(info.size_bytes for info in self._stored) + sum(pack.size_bytes for pack, _ in self._under_way)

    def find(self, pack: bytes) -> PackWriter | None:
        """Return the pack *pack* if it is still in memory, or None."""
        return next((writer for writer, _ in self._under_way if writer.pack == pack), None)

    def add(self, pack: PackWriter) -> None:
        """Start to store *pack*, to which nothing more is appended.

        Raises:
            StorageError: An earlier pack could not be stored. Abort the transaction.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._waiting, thread_name_prefix="versioned-io-upload")
        while len(self._under_way) >= self._waiting:
            self._take_first()
        self._begun.append((pack.name, pack.size_bytes))
        self._under_way.append((pack, self._pool.submit(pack.close)))

    def drain(self) -> None:
        """Wait until every pack is durable.

        Raises:
            StorageError: A pack could not be stored. Abort the transaction.
        """
        while self._under_way:
            self._take_first()
        self._shut_down()

    def store_now(self, pack: PackWriter) -> None:
        """Make *pack* durable, after all packs that were added before.

        Raises:
            StorageError: A pack could not be stored. Abort the transaction.
        """
        self.drain()
        self._begun.append((pack.name, pack.size_bytes))
        self._stored.append(pack.close())
        if self._on_stored is not None:
            self._on_stored(pack)

    def abandon(self) -> None:
        """Wait until each pack under way is stored or has failed, and drop all."""
        for _, future in self._under_way:
            future.cancel()
        self._shut_down()
        self._under_way.clear()

    def _take_first(self) -> None:
        pack, future = self._under_way[0]
        info = future.result()
        # Deleted only now, since the pack is read from memory until it is durable.
        del self._under_way[0]
        self._stored.append(info)
        if self._on_stored is not None:
            self._on_stored(pack)

    def _shut_down(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
