"""The port to an object store: immutable objects under string keys."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from versioned_io.errors import InvalidInputError

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Contiguous bytes. A called function only reads the buffer, and does not use it after it returns."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object in a listing; *modified_at* is in UTC, from the store's clock."""

    key: str
    size_bytes: int
    modified_at: datetime


class ObjectStore(Protocol):
    """A flat map from keys to immutable bytes.

    Every adapter gives the same guarantees. `put` is atomic and durable, and never overwrites. A read returns exactly
    the requested bytes, or raises. Failures of the store itself raise `StorageError`. All methods may be called from
    any number of threads.
    """

    @property
    def url(self) -> str:
        """The URL of the objects; `open_objects` opens the same store from it."""
        ...

    @property
    def is_remote(self) -> bool:
        """Whether a request costs a round trip, so that several should be sent at once."""
        ...

    def put(self, key: str, data: Sequence[Buffer]) -> None:
        """Store the concatenation of *data* durably under *key*, or nothing at all.

        Of several writers of one key exactly one succeeds. A crash leaves the whole object or none.

        Raises:
            ExistsError: The key is taken; its object is untouched. Choose another key.
            StorageError: The store failed. The object may or may not exist.

        Cost: 1 PUT. The local store also syncs the file and its directory.
        """
        ...

    def get(self, key: str) -> bytes:
        """Return the whole object.

        Raises:
            ObjectNotFoundError: The key does not exist.

        Cost: 1 GET.
        """
        ...

    def get_range(self, key: str, offset: int, length: int) -> memoryview:
        """Return *length* bytes from *offset*.

        Raises:
            ObjectNotFoundError: The key does not exist.
            IntegrityError: The object ends before ``offset + length``.

        Cost: 1 GET.
        """
        ...

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Return several (offset, length) ranges, in the order of *ranges*.

        Raises:
            ObjectNotFoundError: The key does not exist.
            IntegrityError: The object ends before one of the ranges does.

        Cost: at most 1 GET for each range, sent together; adjacent ranges share one.
        """
        ...

    def size(self, key: str) -> int:
        """Return the object's size in bytes.

        Raises:
            ObjectNotFoundError: The key does not exist.

        Cost: 1 HEAD.
        """
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with *prefix*, which ends in ``/`` or is empty, in no order.

        Objects that are put or deleted meanwhile may or may not be yielded.

        Cost: 1 LIST for every 1,000 objects.
        """
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete the objects of *keys*. A key without an object is ignored.

        Cost: 1 DELETE for every key, or for every 1,000 keys if the store has bulk deletion.
        """
        ...


def check_key(key: str) -> str:
    """Return *key* if it is a relative path of plain parts, which every store interprets in the same way.

    Raises:
        InvalidInputError: It is empty or absolute, has a part that is empty or begins with a dot, or holds a backslash
            or a NUL. Fix the key.
    """
    # Parts that begin with a dot are reserved: ".", ".." and the temporary files of the local store.
    if "\\" in key or "\0" in key or any(part[:1] in {"", "."} for part in key.split("/")):
        msg = f"{key!r} is not a valid object key: it must be a relative path without empty parts or leading dots"
        raise InvalidInputError(msg)
    return key


def check_prefix(prefix: str) -> str:
    """Return *prefix* if it is empty, or a key followed by ``/``.

    Raises:
        InvalidInputError: It is neither. Fix the prefix.
    """
    if prefix:
        if not prefix.endswith("/"):
            msg = f"{prefix!r} is not a valid prefix of object keys: it must be empty or end with '/'"
            raise InvalidInputError(msg)
        check_key(prefix[:-1])
    return prefix
