"""Object stores that count what is asked of them, and that fail when told."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from versioned_io.errors import StorageError
from versioned_io.storage.objects import ObjectInfo, ObjectStore
from versioned_io.storage.objects.port import Buffer


class CountingObjects:
    """Passes everything on, and counts it by method; ``ranges`` counts the ranges that were read.

    Args:
        failing_put: Which put fails, from 1; the store is not asked then.
        lose_reply: Let the failing put arrive, and fail only its reply.
    """

    def __init__(self, objects: ObjectStore, *, failing_put: int = 0, lose_reply: bool = False) -> None:
        self.objects = objects
        self.calls: Counter[str] = Counter()
        self._failing_put = failing_put
        self._lose_reply = lose_reply

    @property
    def url(self) -> str:
        return self.objects.url

    @property
    def is_remote(self) -> bool:
        return self.objects.is_remote

    def put(self, key: str, data: Sequence[Buffer]) -> None:
        self.calls["put"] += 1
        fails = self.calls["put"] == self._failing_put
        if not fails or self._lose_reply:
            self.objects.put(key, data)
        if fails:
            raise StorageError(f"put {key!r} was told to fail")

    def get(self, key: str) -> bytes:
        self.calls["get"] += 1
        return self.objects.get(key)

    def get_range(self, key: str, offset: int, length: int) -> memoryview:
        return self.get_ranges(key, [(offset, length)])[0]

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        self.calls["get_ranges"] += 1
        self.calls["ranges"] += len(ranges)
        return self.objects.get_ranges(key, ranges)

    def size(self, key: str) -> int:
        self.calls["size"] += 1
        return self.objects.size(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self.calls["list"] += 1
        return self.objects.list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        self.calls["delete"] += 1
        self.objects.delete(keys)
