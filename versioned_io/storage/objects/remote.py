"""Objects in S3, Google Cloud Storage, Azure Blob Storage or memory, through obstore."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError
from obstore.store import MemoryStore

from versioned_io.errors import AccessDeniedError, ExistsError, IntegrityError, ObjectNotFoundError, StorageError
from versioned_io.storage.objects.answers import UNDER_WAY, describe, parse_answer
from versioned_io.storage.objects.clients import count_retries, open_client
from versioned_io.storage.objects.port import Buffer, ObjectInfo, check_key, check_prefix

if TYPE_CHECKING:
    from obstore.store import ObjectStore as ClientStore

_BULK = 1000
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_T = TypeVar("_T")


class RemoteObjects:
    """The object store behind one obstore client.

    `put` uses the store's conditional write (``If-None-Match: *`` on S3), which every large provider has.

    Args:
        client: The client that reads, lists and deletes. It retries requests that failed in transit.
        once: A client without retries, for puts; by default *client*. If `put` itself retries, it knows when an
            existing object may be its own, from a try whose reply was lost.
        retries: How often `put` retries.
    """

    def __init__(self, url: str, client: "ClientStore", *, once: "ClientStore | None" = None, retries: int = 0) -> None:
        self._url = url
        self._client = client
        self._once = client if once is None else once
        self._retries = retries

    @property
    def url(self) -> str:
        """The URL that the store was opened with."""
        return self._url

    @property
    def is_remote(self) -> bool:
        """Whether a request leaves this process."""
        return not isinstance(self._client, MemoryStore)

    def put(self, key: str, data: Sequence[Buffer]) -> None:
        """See `ObjectStore.put`.

        Cost: after a lost reply 1 PUT more, and 1 HEAD and 1 GET if the first PUT succeeded.
        """
        check_key(key)
        body = data[0] if len(data) == 1 else b"".join(data)
        may_be_there = False
        for tries_left in range(self._retries, -1, -1):
            try:
                # Not every server has conditional multipart uploads. A pack is small enough for one request.
                obstore.put(self._once, key, body, mode="create", use_multipart=False)
            except AlreadyExistsError as error:
                if tries_left and parse_answer(error).code in UNDER_WAY:
                    self._pause(tries_left)
                    continue
                self._judge_taken(key, body, error, is_ours=may_be_there)
            except (BaseError, OSError) as error:
                if not tries_left or not parse_answer(error).passes:
                    raise self._storage_error("put", key, error) from None
                may_be_there = True
                self._pause(tries_left)
                continue
            return

    def _pause(self, tries_left: int) -> None:
        longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (self._retries - tries_left))
        time.sleep(random.uniform(longest / 2, longest))  # noqa: S311 (spreads writers out, guards nothing)

    def _judge_taken(self, key: str, body: Buffer, error: Exception, *, is_ours: bool) -> None:
        """Raise unless the object of a taken key was stored by an earlier try of this put.

        Raises:
            ExistsError: It is another object. Choose another key.
            StorageError: There is no object: the server refused for another reason.
        """
        try:
            size = self.size(key)
        except ObjectNotFoundError:
            raise self._storage_error("put", key, error) from None
        if not (is_ours and size == memoryview(body).nbytes and self.get(key) == bytes(body)):
            raise ExistsError("object", key) from None

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
            # The client's memory store crashes on a range that begins past the end; other stores answer 416.
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
        last: str | None = None
        tries_left = self._retries
        while True:
            try:
                for batch in obstore.list(self._client, prefix or None, offset=last, chunk_size=1000):
                    for meta in batch:
                        yield ObjectInfo(meta["path"], meta["size"], meta["last_modified"])
                    last, tries_left = batch[-1]["path"] if batch else last, self._retries
            except (BaseError, OSError) as error:
                if not tries_left or not parse_answer(error).passes:
                    raise self._storage_error("list", prefix, error) from None
                self._pause(tries_left)
                tries_left -= 1
                continue
            return

    def delete(self, keys: Iterable[str]) -> None:
        """See `ObjectStore.delete`."""
        checked = [check_key(key) for key in keys]
        if self.is_remote and len(checked) > 1:
            self._delete_all(checked)
            return
        for key in checked:
            with suppress(FileNotFoundError):
                self._delete(key)

    def _delete_all(self, keys: Sequence[str]) -> None:
        """Delete many objects: 1 request for each 1,000 if the store has bulk deletion."""
        for start in range(0, len(keys), _BULK):
            batch = list(keys[start : start + _BULK])
            try:
                self._delete(batch)
            except FileNotFoundError:
                for key in batch:
                    self.delete([key])

    def _delete(self, what: str | Sequence[str]) -> None:
        """Delete one object or a batch, and retry after a failure in transit: deletion is idempotent."""
        for tries_left in range(self._retries, -1, -1):
            try:
                obstore.delete(self._once, what)
            except FileNotFoundError:
                raise
            except (BaseError, OSError) as error:
                if not tries_left or not parse_answer(error).passes:
                    key = what if isinstance(what, str) else what[0]
                    raise self._storage_error("delete", key, error) from None
                self._pause(tries_left)
                continue
            return

    def _read(self, key: str, call: Callable[[], _T], end: int = 0) -> _T:
        """Return the result of *call*, and translate its errors; *call* reads up to byte *end*, or no range if 0."""
        try:
            return call()
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                msg = f"there is no bucket for {self._url}: create it, or check the URL"
                raise StorageError(msg) from None
            raise ObjectNotFoundError(key, self._url) from None
        except (BaseError, OSError) as error:
            # The word may be part of a URL, so the size decides whether the object is too short.
            if end and "range" in str(error).lower() and self.size(key) < end:
                raise self._too_short(key, end) from None
            raise self._storage_error("get", key, error) from None
        except BaseException as error:
            # The client panics, instead of raising an error, if a server doesn't answer "416 Range Not Satisfiable".
            if type(error).__name__ != "PanicException":
                raise
            if end and self.size(key) < end:
                raise self._too_short(key, end) from None
            msg = f"can't get {key!r} in {self._url}: the answer of its server is malformed"
            raise StorageError(msg) from None

    def _too_short(self, key: str, end: int) -> IntegrityError:
        return IntegrityError(f"object {key!r} in {self._url} is too short: it is referenced up to byte {end}")

    def _storage_error(self, action: str, key: str, error: Exception) -> StorageError:
        is_denied = action == "list" and isinstance(error, PermissionDeniedError)
        kind = AccessDeniedError if is_denied else StorageError
        return kind(f"can't {action} {key!r} in {self._url}: {describe(error)}")


def open_remote(url: str, options: Mapping[str, str] | None = None) -> RemoteObjects:
    """Return the object store at *url*, such as ``s3://bucket/prefix``; see `open_client` for credentials.

    Raises:
        InvalidInputError: The URL or an option is not valid. Fix it.
        StorageError: There are no credentials. Configure them, or pass them as storage options.
    """
    given = options or {}
    client = open_client(url, given)
    once = open_client(url, {**given, "max_retries": "0"})
    return RemoteObjects(url, client, once=once, retries=count_retries(given))


def open_memory(url: str) -> RemoteObjects:
    """Return a new, empty object store in this process's memory."""
    return RemoteObjects(url, MemoryStore())
