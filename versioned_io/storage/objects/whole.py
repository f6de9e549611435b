"""Small objects that are read whole, once, and then served from memory."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from versioned_io.errors import IntegrityError
from versioned_io.storage.objects.cached import past_cache
from versioned_io.storage.objects.port import Buffer, ObjectInfo, ObjectStore

_SMALL_BYTES: Final = 1024 * 1024
"""A larger object is read in ranges, since a caller may need little of it."""

_HELD_BYTES: Final = 64 * 1024 * 1024


class WholeObjects:
    """Forwards all calls to *origin*, and reads each small object of *keys* once, whole, past any cache.

    Objects never change, so a copy in memory is never stale. For one thread.

    Args:
        keys: The objects of which a caller will read several ranges, one after the other.
    """

    def __init__(self, objects: ObjectStore, keys: Collection[str]) -> None:
        self.origin: Final = past_cache(objects)
        self._objects = objects
        self._keys = keys
        self._large: dict[str, int] = {}
        self._held: OrderedDict[str, memoryview] = OrderedDict()
        self._held_bytes = 0

    @property
    def url(self) -> str:
        """The URL of the store behind it."""
        return self._objects.url

    @property
    def is_remote(self) -> bool:
        """Whether the store behind it is remote."""
        return self._objects.is_remote

    def put(self, key: str, data: Sequence[Buffer]) -> None:
        """Store an object; see `ObjectStore.put`."""
        self._objects.put(key, data)

    def get(self, key: str) -> bytes:
        """Return the whole object; see `ObjectStore.get`."""
        whole = self._whole(key)
        return self._objects.get(key) if whole is None else bytes(whole)

    def get_range(self, key: str, offset: int, length: int) -> memoryview:
        """Return a part of an object; see `ObjectStore.get_range`."""
        return self.get_ranges(key, [(offset, length)])[0]

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Return parts of an object; see `ObjectStore.get_ranges`. Cost: none if the object is in memory."""
        whole = self._whole(key)
        if whole is None:
            return self._objects.get_ranges(key, ranges)
        for offset, length in ranges:
            if offset + length > len(whole):
                msg = f"{key!r} in {self.url} ends at byte {len(whole)}, before {offset + length}"
                raise IntegrityError(msg)
        return [whole[offset : offset + length] for offset, length in ranges]

    def size(self, key: str) -> int:
        """Return the object's size; see `ObjectStore.size`. Cost: 1 HEAD, and 1 GET for a small object of *keys*."""
        whole = self._whole(key)
        if whole is not None:
            return len(whole)
        return self._large[key] if key in self._large else self._objects.size(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield objects; see `ObjectStore.list`."""
        return self._objects.list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; see `ObjectStore.delete`."""
        self._objects.delete(keys)

    def _whole(self, key: str) -> memoryview | None:
        """Return a small object of *keys*, or None for any other. Cost: 1 HEAD and 1 GET, the first time."""
        if key not in self._keys or key in self._large:
            return None
        held = self._held.get(key)
        if held is not None:
            return held
        size = self.origin.size(key)
        if size > _SMALL_BYTES:
            self._large[key] = size
            return None
        data = memoryview(self.origin.get(key))
        self._held[key] = data
        self._held_bytes += len(data)
        while self._held_bytes > _HELD_BYTES:
            self._held_bytes -= len(self._held.popitem(last=False)[1])
        return data
