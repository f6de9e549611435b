"""The watch of an open store: it checks that its catalog owns the store and has every acknowledged row.

Source: docs/design/0009-one-owner-and-beacons.md.
"""

import atexit
import logging
import threading
import time
import weakref
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Final

from versioned_io.catalog.connect import Catalog
from versioned_io.catalog.noting import known_beacons
from versioned_io.catalog.plain import AnyConnection
from versioned_io.errors import CatalogOlderError, StorageError
from versioned_io.model.beacons import Beacon, BeaconKind
from versioned_io.platform.process import follow_forks, new_lock
from versioned_io.storage.beacons import (
    BeaconListing,
    delete_beacons,
    list_allowed_beacons,
    put_beacon,
)
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.versioning.backend.ownership import OwnerCheck

RENEWAL_S: Final = 1.0
"""A process writes a beacon to a remote store at most this often; transactions in between get no beacon."""

LISTING_S: Final = 10.0
"""The maximum age of a listing of a remote store at a write."""

_SHOWN: Final = 3
_REMEMBERED: Final = 1_000

_log = logging.getLogger(__name__)


class CatalogWatch:
    """Follows the writing transactions of one open store; for any number of threads.

    Before a transaction writes, the catalog must have the row of every beacon, and every row whose commit this process
    was told of. Afterwards a new beacon names one of the transaction's rows. The beacons whose rows the transaction saw
    are deleted, because every state of the catalog with the transaction has those rows too. In a directory the new
    beacon is written before the commit is acknowledged. In a remote store it is written in the background, at most
    once a second.

    Args:
        listing: The listing from when the store was opened.

    Cost: 1 SELECT by keys for a writing transaction. In a directory also 1 listing of a small directory, 1 open(2) and
        about 1 unlink(2), without a sync. In a remote store 1 LIST if the last one is older than `LISTING_S`. In the
        background at most 1 PUT and a few DELETEs a second.

    Source: docs/design/0009-one-owner-and-beacons.md.
    """

    def __init__(self, objects: ObjectStore, catalog: Catalog, listing: BeaconListing) -> None:
        self._objects = objects
        self._catalog = catalog
        self._owner = OwnerCheck(objects, catalog)
        self._listing = listing
        self._listed_at = time.monotonic()
        self._is_suspicious = False
        self._lock = new_lock()
        self._own: frozenset[Beacon] = frozenset()  # for this process's rows that no later beacon implies
        self._seen: dict[str, str] = {}  # the commit that each name pointed at when this process last read it
        self._renewal = _Renewal(objects)

    @property
    def has_beacons(self) -> bool:
        """Whether there are beacons whose rows the catalog must have."""
        return bool(self._listing.beacons)

    @property
    def is_suspicious(self) -> bool:
        """See `Watch.is_suspicious`."""
        return self._is_suspicious

    def may_refuse(self) -> bool:
        """See `Watch.may_refuse`.

        Raises:
            StorageError: The beacons can't be listed.
        """
        if self._is_suspicious:
            return True
        if not self._objects.is_remote:
            self._listing = list_allowed_beacons(self._objects)
        return self._listing.is_told and self._listing.owner != self._owner.checked

    def begin(self, *, afresh: bool = False) -> "_Visit":
        """See `Watch.begin`.

        Raises:
            StorageError: The beacons can't be listed. Nothing was written. Try again.
        """
        if afresh or not self._objects.is_remote or time.monotonic() - self._listed_at > LISTING_S:
            self._listing = list_allowed_beacons(self._objects)
            self._listed_at = time.monotonic()
        return _Visit(self)

    def check(self, connection: AnyConnection, *, is_writing: bool) -> frozenset[Beacon]:
        """Return all beacons; the catalog has their rows.

        Raises:
            CatalogOlderError: The catalog lacks one of the rows. Run `versioned recover`.
            NotOwnerError: Another catalog owns the store. Use that one, or run `versioned adopt`.
        """
        self._is_suspicious = True
        listing = self._listing
        known = self.refuse_older(connection)
        if listing.is_told:
            self._owner.require(connection, listing, may_claim=is_writing)
        self._is_suspicious = False
        return known

    def refuse_older(self, connection: AnyConnection) -> frozenset[Beacon]:
        """Return all beacons; the catalog has their rows.

        Raises:
            CatalogOlderError: The catalog lacks one of the rows. Run `versioned recover`.
        """
        asked = self._listing.beacons | self._own
        self._refuse_unknown(connection, asked)
        return asked

    def _refuse_unknown(self, connection: AnyConnection, asked: Collection[Beacon]) -> None:
        unknown = set(asked) - known_beacons(connection, asked)
        if unknown:
            # The connection may see a state from before the rows were acknowledged. A new connection does not.
            with self._catalog.ask(is_one_state=False) as afresh:
                unknown -= known_beacons(afresh, unknown)
        if unknown:
            self._is_suspicious = True
            raise CatalogOlderError(self._catalog.url, self._objects.url, _shown(unknown))

    def acknowledge(self, made: list[Beacon], implied: frozenset[Beacon]) -> None:
        """Register the beacons of a durable transaction.

        Args:
            implied: The beacons whose rows the transaction saw.
        """
        if not made:
            return
        # One beacon is enough, since a transaction is atomic. A commit or an entry tells people more than a pack.
        telling = next((one for one in reversed(made) if one.kind is not BeaconKind.PACK), made[-1])
        with self._lock:
            self._own = (self._own - implied) | {telling}
        if self._objects.is_remote:
            self._renewal.add(telling, implied)
        else:
            renew(self._objects, [telling], implied)

    def note_seen(self, connection: AnyConnection, name: str, commit: str) -> None:
        """See `Watch.note_seen`.

        Raises:
            CatalogOlderError: The catalog lacks the commit that *name* pointed at before. Run `versioned recover`.

        Cost: 1 SELECT if the name has moved.
        """
        before = self._seen.get(name)
        if before == commit:
            return
        if before is not None:
            # A state with this process's own new commit also has everything before it.
            if Beacon(BeaconKind.COMMIT, commit) not in self._own:
                self._refuse_unknown(connection, {Beacon(BeaconKind.COMMIT, before)})
        elif len(self._seen) >= _REMEMBERED:
            with suppress(KeyError, RuntimeError):  # another thread may change the dictionary
                del self._seen[next(iter(self._seen))]
        self._seen[name] = commit

    def look_again(self, connection: AnyConnection) -> None:
        """See `Watch.look_again`.

        Raises:
            CatalogOlderError: The catalog lacks the row of a beacon. Run `versioned recover`.
            StorageError: The beacons can't be listed. Try again.

        Cost: 1 LIST, 1 SELECT.
        """
        listing = list_allowed_beacons(self._objects)
        seen = {Beacon(BeaconKind.COMMIT, commit) for commit in tuple(self._seen.values())}
        self._refuse_unknown(connection, listing.beacons | self._own | seen)

    def close(self) -> None:
        """See `Watch.close`."""
        self._renewal.flush()


class _Visit:
    """One writing transaction; see `Visit`."""

    def __init__(self, watch: CatalogWatch) -> None:
        self._watch = watch
        self._implied: frozenset[Beacon] = frozenset()

    def check(self, connection: AnyConnection, *, is_writing: bool) -> None:
        self._implied = self._watch.check(connection, is_writing=is_writing)

    def end(self, made: list[Beacon]) -> None:
        self._watch.acknowledge(made, self._implied)


class _Renewal:
    """Puts and deletes beacons in the background, at most once every `RENEWAL_S`, and the rest at exit."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._lock = new_lock()
        self._flushing = new_lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._new: set[Beacon] = set()
        self._done: set[Beacon] = set()
        follow_forks(self)

    def before_fork(self) -> None:
        """See `FollowsForks`."""

    def after_fork_in_parent(self) -> None:
        """See `FollowsForks`."""

    def after_fork_in_child(self) -> None:
        """Drop the parent's pending beacons, and start a thread of this process when one is needed."""
        self._thread, self._new, self._done = None, set(), set()
        self._closing = threading.Event()

    def add(self, beacon: Beacon, implied: Iterable[Beacon]) -> None:
        with self._lock:
            implied = set(implied)
            # A beacon that is already implied, and was not put yet, need not be put.
            self._done |= implied - self._new
            self._new -= implied
            self._new.add(beacon)
            if self._thread is None or not self._thread.is_alive():
                _at_exit(self)
                self._closing.clear()
                self._thread = threading.Thread(target=self._run, name="versioned-io-beacons", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Put and delete all pending beacons now."""
        self._closing.set()
        self._renew()

    def _run(self) -> None:
        while self._renew():
            self._closing.wait(RENEWAL_S)

    def _renew(self) -> bool:
        """Put and delete all pending beacons; return whether there were any."""
        with self._flushing:
            with self._lock:
                new, done, self._new, self._done = self._new, self._done, set(), set()
                if not new and not done:
                    self._thread = None
                    return False
            renew(self._objects, new, done)
            return True


def renew(objects: ObjectStore, new: Iterable[Beacon], implied: Iterable[Beacon]) -> None:
    """Put *new* beacons, then delete those that they imply. A failure is only logged: it weakens the detection.

    Cost: 1 PUT for each new beacon, and 1 DELETE for each implied one.
    """
    try:
        for beacon in new:
            put_beacon(objects, beacon)
        # After the put: until a new beacon exists, the old ones are needed to detect an older catalog.
        delete_beacons(objects, implied)
    except StorageError as error:
        # The commit is durable, so it must not be reported as failed.
        _log.warning("the beacons of %s were not renewed, so an older catalog may go unnoticed: %s", objects.url, error)


_renewals: "weakref.WeakSet[_Renewal]" = weakref.WeakSet()


def _at_exit(renewal: _Renewal) -> None:
    if not _renewals:
        with suppress(ValueError):
            atexit.unregister(_flush_all)
        atexit.register(_flush_all)
    _renewals.add(renewal)


def _flush_all() -> None:
    for renewal in list(_renewals):
        renewal.flush()


def _shown(beacons: Iterable[Beacon]) -> tuple[str, ...]:
    names = sorted(map(str, beacons))
    return tuple(names[:_SHOWN])
