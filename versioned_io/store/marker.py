"""The marker: the one object that is not a pack. It says that this is a store, which one, and of which format."""

import json
from dataclasses import dataclass

from versioned_io.errors import (
    ExistsError,
    FormatError,
    ObjectNotFoundError,
)
from versioned_io.model.identifiers import new_uuid7
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.objects.port import ObjectStore

STORE_FORMAT = 1
"""The format that this version writes, and the newest that it reads."""


MARKER_KEY = "versioned.json"
"""The one object that is not a pack: it says that this is a store, which one, and of which format."""


@dataclass(frozen=True, slots=True)
class Marker:
    """The marker as it was read: the store's format and ID."""

    format: int
    store_id: str


def read_marker(objects: ObjectStore) -> Marker | None:
    """Return the store's marker; None where there is no store.

    From then on a local directory is used only while it still holds this marker.

    Raises:
        FormatError: There is an object of this name that is not a store's marker.
        StorageError: The objects can't be reached.

    Cost: 1 GET.
    """
    try:
        payload = objects.get(MARKER_KEY)
    except ObjectNotFoundError:
        return None
    try:
        stated = json.loads(payload)
        marker = Marker(int(stated["format"]), str(stated["store_id"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        msg = f"{MARKER_KEY} at {objects.url} is not a store's marker ({error}): is this another program's directory?"
        raise FormatError(msg) from error
    _hold_place(objects, payload)
    return marker


def _hold_place(objects: ObjectStore, payload: bytes) -> None:
    """Only work from now on while the directory is the one whose marker says *payload*."""
    if isinstance(objects, LocalObjects):
        objects.hold(MARKER_KEY, payload)


def put_marker(objects: ObjectStore, store_id: str) -> None:
    """Make this a store, and record whether its server refuses to overwrite objects.

    Raises:
        ExistsError: Another call has just done so.
    """
    from versioned_io.storage.objects.probing import refuses_taken_keys

    marker: dict[str, object] = {"format": STORE_FORMAT, "store_id": store_id, "made_by": new_uuid7()}
    if objects.is_remote:
        marker["refuses_taken_keys"] = refuses_taken_keys(objects)
    written = json.dumps(marker, sort_keys=True).encode()
    try:
        objects.put(MARKER_KEY, [written])
    except ExistsError:
        # Our own: an earlier try of the store's client arrived and its reply was lost.
        if objects.get(MARKER_KEY) != written:
            raise
    # Where the server overwrites: of two calls that met, the one whose marker did not stay is told.
    if not marker.get("refuses_taken_keys", True) and objects.get(MARKER_KEY) != written:
        raise ExistsError("store", objects.url)
    _hold_place(objects, written)
