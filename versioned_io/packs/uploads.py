"""Storing full packs while the next one is being filled."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from versioned_io.packs.writer import PackInfo, PackWriter


class PackUploads:
    """Stores packs in threads of its own, at most *waiting* at once. For one thread.

    Args:
        waiting: How many full packs may wait in memory; the next `add` waits for the first of them.
        on_stored: Called, in the caller's thread, with a pack that is durable and is not read from memory any more.
    """

    def __init__(self, *, waiting: int = 1, on_stored: Callable[[PackWriter], None] | None = None) -> None:
        self._waiting = waiting
        self._on_stored = on_stored
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: list[tuple[PackWriter, Future[PackInfo]]] = []
        self._stored: list[PackInfo] = []

    @property
    def stored(self) -> list[PackInfo]:
        """The packs that are durable."""
        return list(self._stored)

    @property
    def size_bytes(self) -> int:
        """The bytes of all packs that were added, stored or not."""
        return sum(info.size_bytes for info in self._stored) + sum(pack.size_bytes for pack, _ in self._under_way)

    def find(self, pack: bytes) -> PackWriter | None:
        """Return the pack *pack* when it is still in memory."""
        return next((writer for writer, _ in self._under_way if writer.pack == pack), None)

    def add(self, pack: PackWriter) -> None:
        """Begin to store *pack*, to which nothing more is appended.

        Raises:
            StorageError: An earlier pack could not be stored.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._waiting, thread_name_prefix="versioned-io-upload")
        while len(self._under_way) >= self._waiting:
            self._take_first()
        self._under_way.append((pack, self._pool.submit(pack.close)))

    def drain(self) -> None:
        """Wait until every pack is durable.

        Raises:
            StorageError: One could not be stored.
        """
        while self._under_way:
            self._take_first()
        self._shut_down()

    def store_now(self, pack: PackWriter) -> None:
        """Make *pack* durable, after all that were added before.

        Raises:
            StorageError: One could not be stored.
        """
        self.drain()
        self._stored.append(pack.close())
        if self._on_stored is not None:
            self._on_stored(pack)

    def abandon(self) -> None:
        """Wait for the packs under way, stored or failed, and keep nothing."""
        for _, future in self._under_way:
            future.cancel()
        self._shut_down()
        self._under_way.clear()

    def _take_first(self) -> None:
        pack, future = self._under_way[0]
        info = future.result()
        # Only now: until it is durable, the pack is read from memory.
        del self._under_way[0]
        self._stored.append(info)
        if self._on_stored is not None:
            self._on_stored(pack)

    def _shut_down(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
