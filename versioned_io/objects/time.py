"""The time as an object store tells it: the only clock that the ages of its objects may be compared with."""

from datetime import datetime

from versioned_io.errors import StorageError
from versioned_io.identifiers import new_uuid7
from versioned_io.objects.port import ObjectStore

PROBE_PREFIX = "probes/"


def store_time(objects: ObjectStore) -> datetime:
    """Return what time it is for the store that dates the objects, whatever the clock of this machine says.

    Raises:
        StorageError: The store failed, or can't be written to.

    Cost: 1 PUT, 1 LIST, 1 DELETE.
    """
    key = f"{PROBE_PREFIX}{new_uuid7()}"
    objects.put(key, [b"what time is it?"])
    try:
        found = [info.modified_at for info in objects.list(PROBE_PREFIX) if info.key == key]
    finally:
        objects.delete([key])
    if not found:
        msg = f"the object store {objects.url} does not list an object that it has just stored: try again"
        raise StorageError(msg)
    return found[0]
