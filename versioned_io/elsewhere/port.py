"""The port to a bucket or directory elsewhere: objects that others may change, read as they were pinned or not."""

from collections.abc import Iterator
from typing import Protocol

from versioned_io.elsewhere.location import Location
from versioned_io.elsewhere.parts import Part, Pin


class ForeignObjects(Protocol):
    """Reads objects that are not ours; writes nothing. All methods may be called from any number of threads."""

    @property
    def is_remote(self) -> bool:
        """Whether a request costs a round trip, so that it pays to send several at once."""
        ...

    def list(self, location: Location) -> Iterator[Pin]:
        """Yield every object below *location*, as it is now, in no order; directory markers are left out.

        Some may come twice. No listing tells versions: `look_up` does.

        Raises:
            InvalidInputError: A key can't be read through this library's client, or a local entry is no file.
            StorageError: The server or disk failed, or gives no ETags.

        Cost: 1 LIST for every 1,000 objects.
        """
        ...

    def look_up(self, location: Location) -> Pin | None:
        """Return the object at *location* as it is now, with its version if the bucket keeps them; None if none is.

        Raises:
            StorageError: The server or disk failed.

        Cost: 1 HEAD.
        """
        ...

    def read(self, location: Location, part: Part) -> memoryview:
        """Return the bytes of *part*, of the object at *location* as it was pinned.

        Raises:
            ReferenceBrokenError: The object is gone or another one.
            StorageError: The server or disk failed.

        Cost: 1 GET.
        """
        ...

    def check(self, location: Location, pin: Pin) -> None:
        """Return if the object at *location* is still as it was pinned.

        Raises:
            ReferenceBrokenError, StorageError: As for `read`.

        Cost: 1 HEAD.
        """
        ...
