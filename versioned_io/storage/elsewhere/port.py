"""The port to a bucket or directory elsewhere: objects that others may change, read only in their pinned state."""

from collections.abc import Iterator
from typing import Protocol

from versioned_io.storage.elsewhere.location import Location
from versioned_io.storage.elsewhere.parts import Part, Pin


class ForeignObjects(Protocol):
    """Reads objects outside of the store, and writes none. All methods may be called from any number of threads."""

    @property
    def is_remote(self) -> bool:
        """Whether a request costs a round trip, so that several should be sent at once."""
        ...

    def list(self, location: Location) -> Iterator[Pin]:
        """Yield every present object below *location*, in no order, without directory markers.

        An object may be yielded twice. Listings contain no versions: get them from `look_up`.

        Raises:
            InvalidInputError: The client can't represent a key, or a local entry is not a file. Rename or exclude it.
            StorageError: The server or disk failed, or sends no ETags.

        Cost: 1 LIST for every 1,000 objects.
        """
        ...

    def look_up(self, location: Location) -> Pin | None:
        """Return the present object at *location*, with its version if the bucket keeps versions, or None.

        Raises:
            StorageError: The server or disk failed.

        Cost: 1 HEAD.
        """
        ...

    def read(self, location: Location, part: Part) -> memoryview:
        """Return the bytes of *part* if the object at *location* is still as it was pinned.

        Raises:
            ReferenceBrokenError: The object is missing or has changed. Import it again.
            StorageError: The server or disk failed. Try again.

        Cost: 1 GET.
        """
        ...

    def check(self, location: Location, pin: Pin) -> None:
        """Raise unless the object at *location* is still as it was pinned.

        Raises:
            ReferenceBrokenError, StorageError: As for `read`.

        Cost: 1 HEAD.
        """
        ...
