"""The port to an object store: immutable objects under string keys."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from versioned_io.errors import InvalidInputError

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Contiguous bytes. Whoever is given one only reads it, and not after the call returns."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing says about one object; *modified_at* is in UTC, from the store's clock."""

    key: str
    size_bytes: int
    modified_at: datetime


class ObjectStore(Protocol):
    """A flat map from keys to immutable bytes.

    Every adapter gives the same guarantees: `put` is atomic, durable and never overwrites; a read
    returns exactly the bytes that were asked for, or raises. All methods may be called from any
    number of threads. Failures of the store itself are raised as `StorageError`.
    """

    @property
    def url(self) -> str:
        """Where the objects are; `open_objects` of it opens the same store."""
        ...

    @property
    def is_remote(self) -> bool:
        """Whether a request costs a round trip, so that it pays to send several at once."""
        ...

    def put(self, key: str, data: Sequence[Buffer]) -> None:
        """Make *key* hold the concatenation of *data*, durably, or leave no trace.

        Of several writers of one key exactly one succeeds. A crash leaves the whole object or none.

        Raises:
            ExistsError: The key is taken; its object is untouched. Choose another key.
            StorageError: The store failed; the object may or may not be there.

        Cost: 1 PUT. The local store also syncs the file and its directory.
        """
        ...

    def get(self, key: str) -> bytes:
        """Return the whole object.

        Raises:
            ObjectNotFoundError: There is no such key.

        Cost: 1 GET.
        """
        ...

    def get_range(self, key: str, offset: int, length: int) -> memoryview:
        """Return *length* bytes from *offset*.

        Raises:
            ObjectNotFoundError: There is no such key.
            IntegrityError: The object ends before ``offset + length``.

        Cost: 1 GET.
        """
        ...

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Return several (offset, length) ranges, in the order asked for.

        Raises:
            ObjectNotFoundError: There is no such key.
            IntegrityError: The object ends before one of the ranges does.

        Cost: at most 1 GET a range, sent together; neighbouring ranges share one.
        """
        ...

    def size(self, key: str) -> int:
        """Return the object's size in bytes.

        Raises:
            ObjectNotFoundError: There is no such key.

        Cost: 1 HEAD.
        """
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with *prefix*, which ends in ``/`` or is empty, in no order.

        Objects that are put or deleted meanwhile may or may not be seen.

        Cost: 1 LIST for every 1,000 objects.
        """
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Remove the objects of *keys*; a key without an object is no error.

        Cost: 1 DELETE for every key (for every 1,000 keys where the store has bulk deletion).
        """
        ...


def check_key(key: str) -> str:
    """Return *key* when it is a relative path of plain parts, which no store can misread.

    Raises:
        InvalidInputError: It is empty or absolute, has a part that is empty or begins with a dot, a backslash or a NUL.
    """
    # Parts that begin with a dot are the stores' own: ".", ".." and the local store's temporary files.
    if "\\" in key or "\0" in key or any(part[:1] in {"", "."} for part in key.split("/")):
        msg = f"{key!r} is no object key: it must be a relative path whose parts are not empty and begin with no dot"
        raise InvalidInputError(msg)
    return key


def check_prefix(prefix: str) -> str:
    """Return *prefix* when it is empty, or a key followed by ``/``.

    Raises:
        InvalidInputError: It is anything else.
    """
    if prefix:
        if not prefix.endswith("/"):
            msg = f"{prefix!r} is no prefix of object keys: it must be empty or end with '/'"
            raise InvalidInputError(msg)
        check_key(prefix[:-1])
    return prefix
