"""A cache on a local disk in front of a remote object store, for the parts of packs that were read."""

import os
import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import xxhash

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.objects.port import Buffer, ObjectInfo, ObjectStore

DEFAULT_CACHE_BYTES: Final = 4 * 1024**3
_CHECK_BYTES: Final = 8
_SWEEP_SHARE: Final = 16  # a sweep after each sixteenth of the limit that was written
_KEPT_SHARE: Final = 0.8


class CachedObjects:
    """Passes everything on to *inner*, and keeps the ranges that were read, up to a number of bytes.

    Objects never change, so what is kept is never stale. Every kept range has a check of its own: one that a crash or
    the disk has spoiled is dropped and read again. Several processes may share a directory; only its owner can read it.

    Args:
        directory: Made if it is missing.
        limit_bytes: How much to keep; what was used longest ago goes first.
    """

    def __init__(self, inner: ObjectStore, directory: Path, *, limit_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        if limit_bytes < 0:
            msg = f"a cache of {limit_bytes} bytes makes no sense: its size must be 0 or more"
            raise InvalidInputError(msg)
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            msg = f"can't make the cache {quoted(str(directory))}: {error.strerror}; choose another directory"
            raise InvalidInputError(msg) from error
        self._inner = inner
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._written = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """That of the store behind it."""
        return self._inner.url

    @property
    def is_remote(self) -> bool:
        """Whether the store behind it is."""
        return self._inner.is_remote

    def put(self, key: str, data: Sequence[Buffer]) -> None:
        """See `ObjectStore.put`."""
        self._inner.put(key, data)

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`; a whole object is not kept."""
        return self._inner.get(key)

    def get_range(self, key: str, offset: int, length: int) -> memoryview:
        """See `ObjectStore.get_range`."""
        return self.get_ranges(key, [(offset, length)])[0]

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """See `ObjectStore.get_ranges`. Cost: 1 GET for the ranges that are not kept, 1 local file for each."""
        found = [self._find(key, offset, length) for offset, length in ranges]
        missing = [number for number, data in enumerate(found) if data is None]
        if missing:
            fetched = self._inner.get_ranges(key, [ranges[number] for number in missing])
            for number, data in zip(missing, fetched, strict=True):
                found[number] = data
                self._keep(key, ranges[number][0], data)
        return [data for data in found if data is not None]

    def size(self, key: str) -> int:
        """See `ObjectStore.size`."""
        return self._inner.size(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`."""
        return self._inner.list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        """See `ObjectStore.delete`; what is kept of them goes with time."""
        self._inner.delete(keys)

    def _place(self, key: str, offset: int, length: int) -> Path:
        name = xxhash.xxh3_128_hexdigest(f"{self.url}\0{key}\0{offset}\0{length}".encode())
        return self._directory / name[:2] / name

    def _find(self, key: str, offset: int, length: int) -> memoryview | None:
        place = self._place(key, offset, length)
        try:
            stored = memoryview(place.read_bytes())
        except OSError:
            # A cache that can't be read is as good as an empty one: the store has the data.
            return None
        data = stored[_CHECK_BYTES:]
        if len(data) != length or bytes(stored[:_CHECK_BYTES]) != _check(place.name, data):
            place.unlink(missing_ok=True)
            return None
        with suppress(OSError):
            os.utime(place)
        return data

    def _keep(self, key: str, offset: int, data: memoryview) -> None:
        if not len(data) or len(data) > self._limit_bytes:
            return
        place = self._place(key, offset, len(data))
        temporary = place.with_name(f".{secrets.token_hex(8)}")
        try:
            place.parent.mkdir(exist_ok=True, mode=0o700)
            temporary.write_bytes(_check(place.name, data) + data)
            temporary.replace(place)
        except OSError:
            # The disk is full, or somebody cleans up: the data was read all the same, and nothing depends on the cache.
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            return
        with self._lock:
            self._written += len(data)
            if self._written * _SWEEP_SHARE <= self._limit_bytes:
                return
            self._written = 0
        self._sweep()

    def _sweep(self) -> None:
        """Remove what was used longest ago, until the cache is well below its limit."""
        files: list[tuple[float, int, Path]] = []
        for path in self._directory.glob("*/*"):
            with suppress(FileNotFoundError):
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        if total <= self._limit_bytes:
            return
        for _, size, path in sorted(files):
            if total <= self._limit_bytes * _KEPT_SHARE:
                return
            path.unlink(missing_ok=True)
            total -= size


def _check(name: str, data: Buffer) -> bytes:
    check = xxhash.xxh3_64(name.encode())
    check.update(data)
    return check.digest()
