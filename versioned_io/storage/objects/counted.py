"""An object store that counts the requests and bytes that go through it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from versioned_io.platform.process import new_lock
from versioned_io.storage.objects.port import Buffer, ObjectInfo, ObjectStore

_LISTED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """The requests to an object store, successful or not.

    Attributes:
        gets: Calls of `get`, `get_range` and `get_ranges`.
        ranges: Ranges in calls of `get_ranges`. A call sends at most one request for each.
        lists: Requests for up to 1,000 objects each.
        deletes: Deleted keys.
        bytes_put: Bytes of the objects, without headers.
        bytes_got: Bytes of the objects, without headers.
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
    """Forwards all calls to *inner* and counts them. Any number of threads may use it."""

    def __init__(self, inner: ObjectStore) -> None:
        self._inner = inner
        self._counts = RequestCounts()
        self._lock = new_lock()

    @property
    def url(self) -> str:
        """The URL of *inner*."""
        return self._inner.url

    @property
    def is_remote(self) -> bool:
        """Whether *inner* is remote."""
        return self._inner.is_remote

    @property
    def counts(self) -> RequestCounts:
        """The counts since the start or the last `reset`."""
        return self._counts

    def reset(self) -> RequestCounts:
        """Return the counts so far and reset them to zero, atomically: no request is counted twice or missed."""
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
