"""Objects in S3, Google Cloud Storage, Azure Blob Storage or memory, through obstore."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import MemoryStore

from versioned_io.errors import ExistsError, IntegrityError, ObjectNotFoundError, StorageError
from versioned_io.objects.clients import first_line, open_client
from versioned_io.objects.port import Buffer, ObjectInfo, check_key, check_prefix

if TYPE_CHECKING:
    from obstore.store import ObjectStore as ClientStore

_BULK = 1000
_T = TypeVar("_T")


class RemoteObjects:
    """The object store behind one obstore client.

    `put` uses the store's own conditional write (``If-None-Match: *`` on S3), so it needs a store
    that has one; every large provider does.
    """

    def __init__(self, url: str, client: "ClientStore") -> None:
        self._url = url
        self._client = client

    @property
    def url(self) -> str:
        """The URL that the store was opened with."""
        return self._url

    @property
    def is_remote(self) -> bool:
        """Whether a request leaves this process."""
        return not isinstance(self._client, MemoryStore)

    def put(self, key: str, data: Sequence[Buffer]) -> None:
        """See `ObjectStore.put`."""
        check_key(key)
        body = data[0] if len(data) == 1 else b"".join(data)
        try:
            # A conditional write can't be a multipart upload everywhere; a pack is small enough for one request.
            obstore.put(self._client, key, body, mode="create", use_multipart=False)
        except AlreadyExistsError as error:
            raise ExistsError("object", key) from error
        except (BaseError, OSError) as error:
            raise self._storage_error("put", key, error) from error

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        check_key(key)
        return self._read(key, lambda: obstore.get(self._client, key).bytes().to_bytes())

    def get_range(self, key: str, offset: int, length: int) -> memoryview:
        """See `ObjectStore.get_range`."""
        return self.get_ranges(key, [(offset, length)])[0]

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """See `ObjectStore.get_ranges`."""
        check_key(key)
        asked = [(offset, length) for offset, length in ranges if length]
        if not asked:
            return [memoryview(b"") for _ in ranges]

        end = max(offset + length for offset, length in asked)
        if not self.is_remote and end > self.size(key):
            # The client's memory store crashes on a range that begins past the end, where others answer 416.
            raise self._too_short(key, end)

        def read() -> list[memoryview]:
            if len(asked) == 1:
                offset, length = asked[0]
                return [memoryview(obstore.get_range(self._client, key, start=offset, length=length))]
            starts = [offset for offset, _ in asked]
            lengths = [length for _, length in asked]
            return [memoryview(part) for part in obstore.get_ranges(self._client, key, starts=starts, lengths=lengths)]

        parts = self._read(key, read, end)
        for (offset, length), part in zip(asked, parts, strict=True):
            if len(part) != length:
                raise self._too_short(key, offset + length)
        found = iter(parts)
        return [next(found) if length else memoryview(b"") for _, length in ranges]

    def size(self, key: str) -> int:
        """See `ObjectStore.size`."""
        check_key(key)
        return self._read(key, lambda: obstore.head(self._client, key)["size"])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`."""
        check_prefix(prefix)
        try:
            for batch in obstore.list(self._client, prefix or None, chunk_size=1000):
                for meta in batch:
                    yield ObjectInfo(meta["path"], meta["size"], meta["last_modified"])
        except (BaseError, OSError) as error:
            raise self._storage_error("list", prefix, error) from error

    def delete(self, keys: Iterable[str]) -> None:
        """See `ObjectStore.delete`."""
        checked = [check_key(key) for key in keys]
        if self.is_remote and len(checked) > 1:
            self._delete_all(checked)
            return
        for key in checked:
            try:
                obstore.delete(self._client, key)
            except FileNotFoundError:
                continue
            except (BaseError, OSError) as error:
                raise self._storage_error("delete", key, error) from error

    def _delete_all(self, keys: Sequence[str]) -> None:
        """Delete many: 1 request for each 1,000 where the store can do that."""
        for start in range(0, len(keys), _BULK):
            batch = list(keys[start : start + _BULK])
            try:
                obstore.delete(self._client, batch)
            except FileNotFoundError:
                self._delete_each(batch)
            except (BaseError, OSError) as error:
                raise self._storage_error("delete", batch[0], error) from error

    def _delete_each(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.delete([key])

    def _read(self, key: str, call: Callable[[], _T], end: int = 0) -> _T:
        """Return what *call* returns; it reads up to byte *end*, or no ranges."""
        try:
            return call()
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                msg = f"there is no bucket for {self._url}: make it, or check the URL"
                raise StorageError(msg) from None
            raise ObjectNotFoundError(key, self._url) from error
        except (BaseError, OSError) as error:
            # The word may as well be part of a URL: only the size says that the object ends too soon.
            if end and "range" in str(error).lower() and self.size(key) < end:
                raise self._too_short(key, end) from error
            raise self._storage_error("get", key, error) from error
        except BaseException as error:
            # What a server answers that knows no "416 Range Not Satisfiable" makes the client panic, not fail.
            if type(error).__name__ != "PanicException":
                raise
            if end and self.size(key) < end:
                raise self._too_short(key, end) from error
            msg = f"can't get {key!r} in {self._url}: its server's answer makes no sense"
            raise StorageError(msg) from error

    def _too_short(self, key: str, end: int) -> IntegrityError:
        return IntegrityError(f"object {key!r} in {self._url} ends too soon: a reader was sent past byte {end}")

    def _storage_error(self, action: str, key: str, error: Exception) -> StorageError:
        if isinstance(error, UnauthenticatedError | PermissionDeniedError):
            return StorageError(f"can't {action} {key!r} in {self._url}: its server refuses the credentials")
        return StorageError(f"can't {action} {key!r} in {self._url}: {first_line(error)}")


def open_remote(url: str, options: Mapping[str, str] | None = None) -> RemoteObjects:
    """Return the object store at *url*, such as ``s3://bucket/prefix``; see `open_client` for credentials.

    Raises:
        InvalidInputError: The URL or the options make no sense; fix them.
        StorageError: There are no credentials.
    """
    return RemoteObjects(url, open_client(url, options or {}))


def open_memory(url: str) -> RemoteObjects:
    """Return a new, empty object store in this process's memory."""
    return RemoteObjects(url, MemoryStore())
