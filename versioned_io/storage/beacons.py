"""Beacons: empty objects whose names list rows that the catalog must have, so that an older catalog is detected.

Source: docs/design/0009-one-owner-and-beacons.md.
"""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from versioned_io.errors import AccessDeniedError, ExistsError
from versioned_io.model.beacons import BEACON_PREFIX, Beacon, parse_beacon
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.objects.port import ObjectStore

_log = logging.getLogger(__name__)

_OWNER: Final = re.compile(r"owner-([0-9]{8}|[1-9][0-9]{8,17})")


@dataclass(frozen=True, slots=True)
class BeaconListing:
    """The objects under `BEACON_PREFIX`.

    Attributes:
        owner: The number of the newest owner object; 0 if there is none. See
            `versioned_io.versioning.backend.ownership`.
        is_told: False if this user may not list the objects, so that the other fields are unknown.
    """

    beacons: frozenset[Beacon] = frozenset()
    owner: int = 0
    is_told: bool = True


def owner_key(number: int) -> str:
    """Return the key of the owner object *number*."""
    return f"{BEACON_PREFIX}owner-{number:08d}"


def list_beacons(objects: ObjectStore) -> BeaconListing:
    """Return the beacons of a store and the number of its newest owner object. Other names are ignored.

    Raises:
        StorageError: The object store is unreachable. Try again.

    Cost: 1 LIST; each writing process leaves at most a few beacons, and the next commit deletes them.
    """
    names = (
        objects.names(BEACON_PREFIX)
        if isinstance(objects, LocalObjects)
        else [info.key.removeprefix(BEACON_PREFIX) for info in objects.list(BEACON_PREFIX)]
    )
    beacons = {beacon for name in names if (beacon := parse_beacon(name)) is not None}
    owners = (int(found[1]) for name in names if (found := _OWNER.fullmatch(name)) is not None)
    return BeaconListing(frozenset(beacons), max(owners, default=0))


def list_allowed_beacons(objects: ObjectStore) -> BeaconListing:
    """Return `list_beacons`, or, if this user may not list objects, log a warning and return ``is_told=False``.

    A user who may get and put single objects can still read and commit. An older catalog is then detected only by the
    commits that this process has seen itself, and a second owner not at all. Garbage collection fails, since it lists
    the packs.

    Raises:
        StorageError: The object store is unreachable. Try again.

    Cost: 1 LIST.
    """
    try:
        return list_beacons(objects)
    except AccessDeniedError as error:
        _log.warning("can't detect an older catalog or a second owner of %s: %s", objects.url, error)
        return BeaconListing(is_told=False)


def put_beacon(objects: ObjectStore, beacon: Beacon) -> None:
    """Write the object of *beacon*, unless it exists already.

    In a directory the object may be lost in a power failure. Then only the previous beacon reveals an older catalog.

    Raises:
        StorageError: The object store is unreachable, or this user may not write to it.

    Cost: 1 PUT; in a directory one open(2), nothing is synced.
    """
    if isinstance(objects, LocalObjects):
        objects.touch(beacon.key)
        return
    try:
        objects.put(beacon.key, [b""])
    except ExistsError:
        return  # an earlier try succeeded, and its reply was lost


def delete_beacons(objects: ObjectStore, beacons: Iterable[Beacon]) -> None:
    """Delete the objects of *beacons*. The caller knows that the catalog has their rows.

    Raises:
        StorageError: The object store is unreachable, or this user may not write to it.

    Cost: 1 DELETE for each (for each 1,000 where the store has bulk deletion).
    """
    objects.delete([beacon.key for beacon in beacons])
