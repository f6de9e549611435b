"""Probes: objects that are put to learn something about an object store, and deleted again."""

from datetime import datetime

from versioned_io.errors import ExistsError, StorageError
from versioned_io.model.identifiers import new_uuid7
from versioned_io.storage.objects.port import ObjectStore

PROBE_PREFIX = "probes/"


def refuses_taken_keys(objects: ObjectStore) -> bool:
    """Return whether a put to a taken key fails, as it must. Some servers overwrite the object without an error.

    No data depends on it, since the names of packs are unique. It is a second line of defence.

    Raises:
        StorageError: The store failed, or this user may not write to it.

    Cost: 2 PUTs, 1 DELETE.
    """
    key = f"{PROBE_PREFIX}{new_uuid7()}"
    try:
        objects.put(key, [b"first"])
    except ExistsError:
        # No other process knows the key. So the first try succeeded, its reply was lost, and a retry was refused.
        objects.delete([key])
        return True
    try:
        objects.put(key, [b"second"])
    except ExistsError:
        return True
    else:
        return False
    finally:
        objects.delete([key])


def store_time(objects: ObjectStore) -> datetime:
    """Return the time by the clock that dates the store's objects. Only this clock can be compared with their ages.

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
