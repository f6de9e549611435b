"""Collecting orphans: packs without a row in the catalog, or with a row in the state deleted.

Source: docs/design/0005-garbage-collection.md, "Collection".
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, TypeVar

from versioned_io.catalog import collection as catalog
from versioned_io.catalog.idempotency import expire_keys
from versioned_io.maintenance.collection.guard import Guard
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import pack_key, parse_pack_key
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.objects.probing import PROBE_PREFIX, store_time
from versioned_io.versioning.backend.backend import Backend

LEASE_TIMEOUT: Final = timedelta(hours=1)
"""A transaction counts as dead if it has not renewed its lease for this long, or for the grace period if longer."""

_TICK: Final = timedelta(milliseconds=20)
"""The most by which a file's timestamp may precede the time of the write."""

_BATCH: Final = 500
_T = TypeVar("_T")


@dataclass(slots=True)
class Orphans:
    """Orphans that were deleted, or, with ``dry_run``, would be.

    Attributes:
        strangers: Packs without a row in the catalog.
        left_over: Packs that the catalog had marked as deleted, but whose objects still existed.
        sizes: The sizes in bytes of these and of the other old packs.
        older_than: Packs that were stored before this time don't belong to a transaction in progress.
    """

    older_than: datetime

    strangers: list[PackName] = field(default_factory=list)
    left_over: list[PackName] = field(default_factory=list)
    sizes: dict[PackName, int] = field(default_factory=dict)


def collect_orphans(
    backend: Backend,
    guard: Guard,
    alive: Collection[PackName],
    *,
    grace: timedelta,
    dry_run: bool,
    progress: Callable[[int], None],
) -> Orphans:
    """Delete packs that the catalog has no row of, if no transaction in progress can have stored them.

    Args:
        guard: A survey of them that began before the mark. Packs that it protects stay.
        alive: The packs that commits or the journal reference, whatever the state in their rows.
        progress: Called with the number of packs that were listed.

    Raises:
        CatalogOlderError: The catalog is older than the packs. Nothing more was deleted. Run `versioned recover`.
    """
    # A new listing, without the packs that the sweep deleted. Packs that are newer than the survey are skipped.
    found = [info for info in backend.objects.list("packs/") if parse_pack_key(info.key) in guard.listed]
    progress(len(found))
    guard.protect_newer(alive)
    now = store_time(backend.objects)
    orphans = Orphans(now - grace)
    with backend.catalog.write() as connection:
        if not dry_run:
            catalog.end_stale_leases(connection, backend.clock(), max(grace, LEASE_TIMEOUT))
            expire_keys(connection, backend.clock())
        # Only a duration is used, since the clocks of catalog and object store may differ.
        under_way = catalog.longest_lease(connection, backend.clock())
    if under_way is None:
        return orphans  # a clock is wrong, so the age of transactions in progress is unknown
    if under_way:
        under_way += _TICK
    orphans.older_than = now - grace - under_way
    old = [info for info in found if info.modified_at < orphans.older_than]
    for batch in batches(old):
        sizes = {name: info.size_bytes for info in batch if (name := parse_pack_key(info.key)) is not None}
        orphans.sizes |= sizes
        with backend.catalog.read() as connection:
            states = catalog.states_of(connection, list(sizes))
        # A pack that commits reference has lost its row, and is not garbage. fsck reports and repairs it.
        strangers = [name for name in sizes if name not in states and name not in alive]
        # The row of a left-over pack says deleted: its collector died before it deleted the object. If a commit still
        # references the pack, the row is wrong, and the object may be the only copy.
        left_over = [name for name, state in states.items() if state == catalog.DELETED and name not in alive]
        strangers, left_over = guard.spared(strangers), guard.spared(left_over)
        if not dry_run:
            with backend.catalog.write() as connection:
                strangers = catalog.bury_orphans(connection, [(name, sizes[name]) for name in strangers], now)
            backend.objects.delete([pack_key(name) for name in (*strangers, *left_over)])
        orphans.strangers += strangers
        orphans.left_over += left_over
    if not dry_run:
        _remove_leftovers(backend, now - max(grace, timedelta(hours=1)))
    return orphans


def _remove_leftovers(backend: Backend, older_than: datetime) -> None:
    """Delete the temporary objects of processes that died while they stored an object or measured the time."""
    probes = [info.key for info in backend.objects.list(PROBE_PREFIX) if info.modified_at < older_than]
    backend.objects.delete(probes)
    if isinstance(backend.objects, LocalObjects):
        backend.objects.remove_leftovers("packs/", older_than=older_than)


def batches(items: Sequence[_T]) -> Iterator[list[_T]]:
    """Yield *items* in lists of at most 500."""
    rest = iter(items)
    while batch := list(islice(rest, _BATCH)):
        yield batch
