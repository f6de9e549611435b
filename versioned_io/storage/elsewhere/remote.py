"""Objects of buckets as objects elsewhere, read with conditional requests for their pinned state."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

import obstore
from obstore.exceptions import BaseError, PreconditionError

from versioned_io.errors import InvalidInputError, ReferenceBrokenError, StorageError, VersionedError
from versioned_io.platform.process import follow_forks, keep_for_ever
from versioned_io.storage.elsewhere.location import Location
from versioned_io.storage.elsewhere.parts import Part, Pin
from versioned_io.storage.objects.answers import describe, is_about_credentials
from versioned_io.storage.objects.clients import open_client
from versioned_io.storage.objects.forked import require_obstore

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ObjectStore as ClientStore

_T = TypeVar("_T")
_UNREADABLE: Final = re.compile(r'invalid path: .*?[Pp]ath "(.*?)"(?: contained|: Encountered)', re.DOTALL)
"""The client's error for a key in a listing that its own path type can't represent. The listing ends there."""


class RemoteForeignObjects:
    """The objects of one bucket."""

    def __init__(self, client: "ClientStore") -> None:
        self._client = client
        follow_forks(self)

    def before_fork(self) -> None:
        """See `FollowsForks`."""

    def after_fork_in_parent(self) -> None:
        """See `FollowsForks`."""

    def after_fork_in_child(self) -> None:
        """Do nothing: the parent's connections stay untouched."""
        keep_for_ever(self._client)

    @property
    def is_remote(self) -> bool:
        """True."""
        return True

    def list(self, location: Location) -> Iterator[Pin]:
        """See `ForeignObjects.list`. Cost: also 1 HEAD for every empty object: it may be a directory marker."""
        batches = iter(obstore.list(self._client, location.key or None, chunk_size=1000))
        while True:
            batch = self._call("list", location, lambda: next(batches, None))
            if batch is None:
                return
            for meta in batch:
                found = Location(location.scheme, location.bucket, meta["path"])
                if meta["size"]:
                    yield self._pin(found, meta, None)
                    continue
                # The client lists a directory marker "a/" as "a", whether or not an object "a" exists too.
                real = self.look_up(found)
                if real is not None:
                    yield replace(real, version=None)

    def look_up(self, location: Location) -> Pin | None:
        """See `ForeignObjects.look_up`."""
        if not location.key:
            return None
        try:
            meta = self._call("look up", location, lambda: obstore.head(self._client, location.key))
        except FileNotFoundError:
            return None
        return self._pin(location, meta, meta["version"])

    def read(self, location: Location, part: Part) -> memoryview:
        """See `ForeignObjects.read`."""
        options = _condition(part.pin)
        options["range"] = (part.offset, part.offset + part.size)

        def get() -> tuple["ObjectMeta", memoryview]:
            result = obstore.get(self._client, location.key, options=options)
            return result.meta, memoryview(result.bytes())

        meta, data = self._conditionally(location, part.pin, get)
        _compare(part.pin, meta)
        if len(data) != part.size:
            found = f"{len(data)} of {part.size} bytes came from byte {part.offset} on"
            raise ReferenceBrokenError(part.pin.url, str(part.pin), found)
        return data

    def check(self, location: Location, pin: Pin) -> None:
        """See `ForeignObjects.check`."""
        options = _condition(pin)
        options["head"] = True
        meta = self._conditionally(location, pin, lambda: obstore.get(self._client, location.key, options=options).meta)
        _compare(pin, meta)

    def _conditionally(self, location: Location, pin: Pin, call: Callable[[], _T]) -> _T:
        """Return the result of *call* if the object is still the pinned one."""
        try:
            return self._call("read", location, call)
        except PreconditionError:
            now = self.look_up(location)
            found = "it is gone" if now is None else f"it has {now}"
        except FileNotFoundError:
            found = "it is gone" if pin.version is None else "that version of it is gone"
        raise ReferenceBrokenError(pin.url, str(pin), found) from None

    def _call(self, action: str, location: Location, call: Callable[[], _T]) -> _T:
        """Return the result of *call*, and translate its errors, except for FileNotFoundError and PreconditionError.

        Raises:
            ForkedError: This process is a forked child of one that has used obstore. Start it by spawn or forkserver.
        """
        require_obstore(f"the client of {location.url!r}")
        try:
            return call()
        except FileNotFoundError as error:
            if "NoSuchBucket" not in str(error):
                raise
            msg = f"there is no bucket for {location.url!r}: check the URL"
            raise StorageError(msg) from None
        except PreconditionError:
            raise
        except (BaseError, OSError) as error:
            raise self._error(action, location, error) from None
        except BaseException as error:
            # The client panics, instead of raising an error, at answers that break the protocol.
            if type(error).__name__ != "PanicException":
                raise
            msg = f"can't {action} {location.url!r}: the answer of its server is malformed"
            raise StorageError(msg) from None

    def _error(self, action: str, location: Location, error: Exception) -> VersionedError:
        unreadable = _UNREADABLE.search(str(error))
        if unreadable is not None:
            key = Location(location.scheme, location.bucket, unreadable[1])
            msg = (
                f"these can't be paths here: {key.url!r} (a part is empty, '.' or '..', or has a control character); "
                f"rename the object, or refer to another prefix"
            )
            return InvalidInputError(msg)
        hint = " (the credentials are those in sources)" if is_about_credentials(error) else ""
        return StorageError(f"can't {action} {location.url!r}: {describe(error)}{hint}")

    def _pin(self, location: Location, meta: "ObjectMeta", version: str | None) -> Pin:
        etag = meta["e_tag"]
        if etag is None:
            msg = f"the server of {location.url!r} sends no ETag, so a change would go unnoticed: copy the objects"
            raise InvalidInputError(msg)
        return Pin(location.url, etag, version, meta["size"])


def open_foreign(location: Location, options: Mapping[str, str]) -> RemoteForeignObjects:
    """Return the objects of the bucket of *location*, without sending a request.

    Raises:
        InvalidInputError: An option is not valid.
        StorageError: There are no credentials. Configure them, or pass them as storage options.
    """
    return RemoteForeignObjects(open_client(f"{location.scheme}://{location.bucket}", options))


def _condition(pin: Pin) -> "GetOptions":
    return {"if_match": pin.etag} if pin.version is None else {"if_match": pin.etag, "version": pin.version}


def _compare(pin: Pin, meta: "ObjectMeta") -> None:
    """Raise unless the answer's ETag, size and version are the pinned ones: some servers ignore conditions."""
    if (meta["e_tag"], meta["size"]) != (pin.etag, pin.size):
        found = f"it has ETag {meta['e_tag']!r}, {meta['size']} bytes"
        raise ReferenceBrokenError(pin.url, str(pin), found)
