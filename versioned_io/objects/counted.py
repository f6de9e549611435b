"""An object store that counts the requests and bytes that go through it."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from versioned_io.objects.port import Buffer, ObjectInfo, ObjectStore

_LISTED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """What was asked of an object store, whether it succeeded or not.

    *gets* counts calls; a call for several ranges, which *ranges* counts, is sent as at most that many requests.
    *lists* counts requests of 1,000 objects, *deletes* keys. Bytes are those of objects, each way.
    """

    puts: int = 0
    gets: int = 0
    ranges: int = 0
    heads: int = 0
    lists: int = 0
    deletes: int = 0
    bytes_put: int = 0
    bytes_got: int = 0


class CountedObjects:
    """Passes everything on to *inner*, and counts it; any number of threads may use it."""

    def __init__(self, inner: ObjectStore) -> None:
        self._inner = inner
        self._counts = RequestCounts()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """That of the store behind it."""
        return self._inner.url

    @property
    def is_remote(self) -> bool:
        """Whether the store behind it is."""
        return self._inner.is_remote

    @property
    def counts(self) -> RequestCounts:
        """What was counted since the beginning or the last `reset`."""
        return self._counts

    def reset(self) -> RequestCounts:
        """Count from zero again; return what was counted until now. Nothing is counted twice or lost in between."""
        with self._lock:
            counted, self._counts = self._counts, RequestCounts()
        return counted

    def put(self, key: str, data: Sequence[Buffer]) -> None:
        """See `ObjectStore.put`."""
        self._add(RequestCounts(puts=1, bytes_put=sum(memoryview(part).nbytes for part in data)))
        self._inner.put(key, data)

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        self._add(RequestCounts(gets=1))
        found = self._inner.get(key)
        self._add(RequestCounts(bytes_got=len(found)))
        return found

    def get_range(self, key: str, offset: int, length: int) -> memoryview:
        """See `ObjectStore.get_range`."""
        return self.get_ranges(key, [(offset, length)])[0]

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """See `ObjectStore.get_ranges`."""
        self._add(RequestCounts(gets=1, ranges=len(ranges)))
        found = self._inner.get_ranges(key, ranges)
        self._add(RequestCounts(bytes_got=sum(part.nbytes for part in found)))
        return found

    def size(self, key: str) -> int:
        """See `ObjectStore.size`."""
        self._add(RequestCounts(heads=1))
        return self._inner.size(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`."""
        self._add(RequestCounts(lists=1))
        for number, info in enumerate(self._inner.list(prefix)):
            if number and number % _LISTED_AT_ONCE == 0:
                self._add(RequestCounts(lists=1))
            yield info

    def delete(self, keys: Iterable[str]) -> None:
        """See `ObjectStore.delete`."""
        asked = [*keys]
        self._add(RequestCounts(deletes=len(asked)))
        self._inner.delete(asked)

    def _add(self, more: RequestCounts) -> None:
        with self._lock:
            now = self._counts
            self._counts = replace(
                now,
                puts=now.puts + more.puts,
                gets=now.gets + more.gets,
                ranges=now.ranges + more.ranges,
                heads=now.heads + more.heads,
                lists=now.lists + more.lists,
                deletes=now.deletes + more.deletes,
                bytes_put=now.bytes_put + more.bytes_put,
                bytes_got=now.bytes_got + more.bytes_got,
            )
