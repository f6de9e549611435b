"""What an object store turns out to be able to do, by trying it."""

from versioned_io.errors import ExistsError
from versioned_io.identifiers import new_uuid7
from versioned_io.objects.port import ObjectStore
from versioned_io.objects.time import PROBE_PREFIX


def refuses_taken_keys(objects: ObjectStore) -> bool:
    """Say whether a put to a key that is taken is refused, as it must be; some servers overwrite without a word.

    Nothing depends on it, since the names of packs are unique; it is a second line of defence.

    Raises:
        StorageError: The store failed, or can't be written to.

    Cost: 2 PUTs, 1 DELETE.
    """
    key = f"{PROBE_PREFIX}{new_uuid7()}"
    try:
        objects.put(key, [b"first"])
    except ExistsError:
        # Nobody else knows the key: the first try arrived, its reply was lost, and the second try was refused.
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
