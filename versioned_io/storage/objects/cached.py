"""A cache on the local disk for ranges that were read from a remote object store."""

import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import xxhash

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.platform.file_modes import (
    file_mode,
    give_mode,
    make_directory_like,
    make_own_directory,
    mode_like,
)
from versioned_io.platform.process import new_lock
from versioned_io.storage.objects.port import Buffer, ObjectInfo, ObjectStore

DEFAULT_CACHE_BYTES: Final = 4 * 1024**3
_CHECK_BYTES: Final = 8
_SWEEP_SHARE: Final = 16  # a sweep after writing each sixteenth of the limit
_KEPT_SHARE: Final = 0.8
_OWN_FILE: Final = re.compile(r"([0-9a-f]{2})/(?:\1[0-9a-f]{30}|\.[0-9a-f]{16})")
"""The names of cached ranges, and of those that are being written, below the directory."""


class CachedObjects:
    """Forwards all calls to *inner*, and caches the ranges that were read, up to a number of bytes.

    Objects never change, so a cached range is never stale. Every cached range has its own checksum: a range that a
    crash or the disk has damaged is dropped and read again. Several processes may share the directory. A new directory
    is accessible only to its owner; an existing one keeps its mode, and everything else that is in it.

    Args:
        directory: Created if it is missing.
        limit_bytes: The most bytes to keep. The least recently used ranges are deleted first.
    """

    def __init__(self, inner: ObjectStore, directory: Path, *, limit_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        if limit_bytes < 0:
            msg = f"a cache can't have {limit_bytes} bytes: its size must be 0 or more"
            raise InvalidInputError(msg)
        try:
            make_own_directory(directory)
        except OSError as error:
            msg = f"can't create the cache {quoted(str(directory))}: {error.strerror}; choose another directory"
            raise InvalidInputError(msg) from error
        self._inner = inner
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._written = 0
        self._lock = new_lock()

    @property
    def url(self) -> str:
        """The URL of the store behind the cache."""
        return self._inner.url

    @property
    def origin(self) -> ObjectStore:
        """The store behind the cache."""
        return self._inner

    @property
    def is_remote(self) -> bool:
        """Whether the store behind the cache is remote."""
        return self._inner.is_remote

    def put(self, key: str, data: Sequence[Buffer]) -> None:
        """See `ObjectStore.put`."""
        self._inner.put(key, data)

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`; whole objects are not cached."""
        return self._inner.get(key)

    def get_range(self, key: str, offset: int, length: int) -> memoryview:
        """See `ObjectStore.get_range`."""
        return self.get_ranges(key, [(offset, length)])[0]

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """See `ObjectStore.get_ranges`. Cost: 1 GET for the ranges that are not cached, 1 local file for each range."""
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
        """See `ObjectStore.delete`; cached ranges of the objects stay until a sweep deletes them."""
        self._inner.delete(keys)

    def _place(self, key: str, offset: int, length: int) -> Path:
        name = xxhash.xxh3_128_hexdigest(f"{self.url}\0{key}\0{offset}\0{length}".encode())
        return self._directory / name[:2] / name

    def _find(self, key: str, offset: int, length: int) -> memoryview | None:
        place = self._place(key, offset, length)
        try:
            stored = memoryview(place.read_bytes())
        except OSError:
            # An unreadable cache counts as empty: the store has the data.
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
            mode = mode_like(self._directory)
            if not place.parent.is_dir():
                with suppress(FileExistsError):
                    make_directory_like(place.parent, self._directory)
            with temporary.open("xb") as file:
                give_mode(file.fileno(), file_mode(mode))
                file.write(_check(place.name, data) + data)
            temporary.replace(place)
        except OSError:
            # The disk may be full, or the directory deleted. The data was read, and nothing depends on the cache.
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
        """Delete the least recently used ranges, until the cache is well below its limit."""
        files: list[tuple[float, int, Path]] = []
        for path in self._directory.glob("[0-9a-f][0-9a-f]/*"):
            # The directory may be any that a setting names, with files of its user in it.
            if _OWN_FILE.fullmatch(f"{path.parent.name}/{path.name}") is None:
                continue
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


def past_cache(objects: ObjectStore) -> ObjectStore:
    """Return the store behind the cache, if there is one, so that reads see the objects as they are now."""
    return objects.origin if isinstance(objects, CachedObjects) else objects


def _check(name: str, data: Buffer) -> bytes:
    check = xxhash.xxh3_64(name.encode())
    check.update(data)
    return check.digest()
