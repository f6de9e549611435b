"""Collecting garbage: packs that nothing leads to are condemned, and deleted when they were dead for long enough.

Source: docs/design/0005-garbage-collection.md.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, TypeVar

from versioned_io.backend import Backend
from versioned_io.catalog import collection as catalog
from versioned_io.catalog.chunk_index import LIVE
from versioned_io.catalog.collection import CONDEMNED, PackRow
from versioned_io.errors import InvalidInputError
from versioned_io.identifiers import CommitId, PackName
from versioned_io.maintenance.expiry import forget_unreachable
from versioned_io.maintenance.marking import Marks, mark_trees, walk_where_they_lie
from versioned_io.objects.local import LocalObjects
from versioned_io.objects.time import PROBE_PREFIX, store_time
from versioned_io.packs.frames import pack_key, parse_pack_key
from versioned_io.pages.schema import PageRef
from versioned_io.pages.source import PageSource

DEFAULT_GRACE: Final = timedelta(hours=24)
"""How long a pack is kept that nothing leads to: readers may have a snapshot open, and writers a commit under way."""

DEFAULT_EXPIRE: Final = timedelta(days=14)
"""How long a commit is kept that no name leads to, and for how long a moved branch can be moved back."""

LEASE_TIMEOUT: Final = timedelta(hours=1)
"""After how long without a word a transaction under way counts as dead, or after the grace where that is longer."""

_BATCH: Final = 500
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class GcProgress:
    """How far a collection has come: what it does, and how many pages or objects it has looked at."""

    stage: str
    done: int


@dataclass(frozen=True, slots=True)
class GcReport:
    """What a collection did, or with ``dry_run`` would do.

    Attributes:
        forgotten: Commits whose data was let go of.
        condemned, revived, deleted, kept: Packs.
        orphans: Packs among the deleted that no commit ever referred to.
        condemned_bytes, deleted_bytes, kept_bytes: Their sizes.
    """

    forgotten: int
    condemned: int
    revived: int
    deleted: int
    orphans: int
    kept: int
    condemned_bytes: int
    deleted_bytes: int
    kept_bytes: int
    dry_run: bool


@dataclass(slots=True)
class _Tally:
    condemned: list[PackName] = field(default_factory=list)
    revived: list[PackName] = field(default_factory=list)
    deleted: list[PackName] = field(default_factory=list)
    sizes: dict[PackName, int] = field(default_factory=dict)
    alive: set[PackName] = field(default_factory=set)
    orphans: int = 0

    def bytes_of(self, names: Sequence[PackName]) -> int:
        return sum(self.sizes.get(name, 0) for name in names)


def collect_garbage(
    backend: Backend,
    *,
    grace: timedelta = DEFAULT_GRACE,
    expire: timedelta = DEFAULT_EXPIRE,
    dry_run: bool = False,
    progress: Callable[[GcProgress], None] | None = None,
) -> GcReport:
    """Let go of commits that nothing leads to, condemn packs that no kept commit needs, and delete what was long dead.

    Safe beside writers, readers and other collectors: a pack is deleted only when a mark that began after it was
    condemned found it dead again, *grace* after that; a commit refuses packs that are condemned. A crash at any
    point leaves a store that is whole; the next call goes on.

    Args:
        grace: How long packs stay that nothing leads to. Longer than any reader keeps a snapshot open, and any writer a
            commit under way; shorter only when there are none.
        expire: How long commits stay that no name leads to.
        dry_run: Change nothing, and report what would be done now.

    Raises:
        IntegrityError: A page is damaged: without it nobody knows what is alive. Run fsck. Nothing was deleted.
        InvalidInputError: A time is negative.
        StorageError: The objects or the catalog failed; call again.

    Cost: 1 GET for each page of all kept commits, 1 LIST for each 1,000 objects, 1 DELETE for each dead pack.
    """
    if grace < timedelta(0) or expire < timedelta(0):
        msg = f"a grace of {grace} and an expiry of {expire} make no sense: both must be 0 or more"
        raise InvalidInputError(msg)
    report = progress or (lambda _: None)
    forgotten = forget_unreachable(backend, expire=expire, dry_run=dry_run)
    ignored: set[CommitId] = set(forgotten) if dry_run else set()
    tally = _Tally()
    _sweep(backend, tally, grace=grace, dry_run=dry_run, ignored=ignored, progress=report)
    if not dry_run and grace == timedelta(0) and tally.condemned:
        # Without a grace nothing needs to wait for the next collection; but the mark must be a new one.
        _sweep(backend, tally, grace=grace, dry_run=dry_run, ignored=ignored, progress=report)
    _collect_orphans(backend, tally, grace=grace, dry_run=dry_run, progress=report)
    with backend.catalog.read() as connection:
        kept = [pack for pack in catalog.list_packs(connection) if pack.name not in tally.deleted]
    return GcReport(
        forgotten=len(forgotten),
        condemned=len(tally.condemned),
        revived=len(tally.revived),
        deleted=len(tally.deleted),
        orphans=tally.orphans,
        kept=len(kept),
        condemned_bytes=tally.bytes_of(tally.condemned),
        deleted_bytes=tally.bytes_of(tally.deleted),
        kept_bytes=sum(pack.size_bytes for pack in kept),
        dry_run=dry_run,
    )


def mark_store(
    backend: Backend, *, ignored: set[CommitId] | None = None, progress: Callable[[int], None] | None = None
) -> Marks:
    """Return what the kept commits lead to, apart from the commits *ignored*. Cost: as `mark_trees`."""
    # A source of its own: a walk over everything would push what readers need out of the shared cache.
    source = PageSource(backend.objects)
    return walk_where_they_lie(
        lambda: _roots(backend, ignored or set()), lambda roots: mark_trees(source, roots, progress=progress)
    )


def is_collected(backend: Backend, name: str) -> bool:
    """Say whether a pack is gone because it was collected; one that is gone and was not, is lost. Cost: 1 SELECT."""
    with backend.catalog.read() as connection:
        return catalog.states_of(connection, [PackName(name)]).get(PackName(name)) == catalog.DELETED


def _roots(backend: Backend, ignored: set[CommitId]) -> list[PageRef | None]:
    with backend.catalog.read() as connection:
        return [root for commit, root in catalog.live_roots(connection) if commit not in ignored]


def _sweep(
    backend: Backend,
    tally: _Tally,
    *,
    grace: timedelta,
    dry_run: bool,
    ignored: set[CommitId],
    progress: Callable[[GcProgress], None],
) -> None:
    began = store_time(backend.objects)
    # The packs are listed before the commits: a pack that comes later is not judged by a mark that can't know it.
    with backend.catalog.read() as connection:
        rows = catalog.list_packs(connection)
        records = catalog.record_packs(connection)
    marks = mark_store(backend, ignored=ignored, progress=lambda pages: progress(GcProgress("mark", pages)))
    alive = marks.packs | records
    tally.alive |= alive
    tally.sizes |= {row.name: row.size_bytes for row in rows}
    dead = [row for row in rows if row.name not in alive]
    to_condemn = [row.name for row in dead if row.state == LIVE]
    to_revive = [row.name for row in rows if row.state == CONDEMNED and row.name in alive]
    until = began - grace
    to_delete = [row for row in dead if _is_due(row, until)]
    if dry_run:
        tally.condemned += to_condemn
        tally.revived += to_revive
        tally.deleted += [row.name for row in to_delete]
        return
    with backend.catalog.write() as connection:
        tally.condemned += catalog.condemn_packs(connection, to_condemn, began)
        tally.revived += catalog.revive_packs(connection, to_revive)
    for batch in _batches(to_delete):
        # Asked again for each batch: somebody may have revived one while this process slept.
        with backend.catalog.write() as connection:
            buried = catalog.bury_packs(connection, batch)
        backend.objects.delete([pack_key(name) for name in buried])
        tally.deleted += buried
        progress(GcProgress("delete", len(tally.deleted)))


def _is_due(row: PackRow, until: datetime) -> bool:
    return row.state == CONDEMNED and row.condemned_at is not None and row.condemned_at <= until


def _collect_orphans(
    backend: Backend,
    tally: _Tally,
    *,
    grace: timedelta,
    dry_run: bool,
    progress: Callable[[GcProgress], None],
) -> None:
    """Delete packs that the catalog does not know, if no transaction under way can have stored them."""
    found = [info for info in backend.objects.list("packs/") if parse_pack_key(info.key) is not None]
    progress(GcProgress("list", len(found)))
    now = store_time(backend.objects)
    with backend.catalog.write() as connection:
        if not dry_run:
            catalog.end_stale_leases(connection, backend.clock(), max(grace, LEASE_TIMEOUT))
        # Only how long it has been at it: the clocks of catalog and object store need not agree.
        under_way = catalog.longest_lease(connection, backend.clock())
    if under_way is None:
        return  # a clock is wrong, and nobody knows how old what is under way may be
    old = [info for info in found if now - info.modified_at > grace + under_way]
    for batch in _batches(old):
        sizes = {name: info.size_bytes for info in batch if (name := parse_pack_key(info.key)) is not None}
        tally.sizes |= sizes
        with backend.catalog.read() as connection:
            states = catalog.states_of(connection, list(sizes))
        # What commits lead to has lost its row, and is no garbage: fsck says so, and can put it right.
        strangers = [name for name in sizes if name not in states and name not in tally.alive]
        # An object whose pack was noted as deleted before: the process died before it deleted the object itself. Where
        # something leads to it all the same, the row is wrong, and the object may be all that there is.
        left_over = [name for name, state in states.items() if state == catalog.DELETED and name not in tally.alive]
        if not dry_run:
            with backend.catalog.write() as connection:
                strangers = catalog.bury_orphans(connection, [(name, sizes[name]) for name in strangers], now)
            backend.objects.delete([pack_key(name) for name in (*strangers, *left_over)])
        tally.orphans += len(strangers)
        tally.deleted += [*strangers, *left_over]
    if not dry_run:
        _remove_leftovers(backend, now - max(grace, timedelta(hours=1)))


def _remove_leftovers(backend: Backend, older_than: datetime) -> None:
    """Delete what processes left behind that died while they stored an object or asked for the time."""
    probes = [info.key for info in backend.objects.list(PROBE_PREFIX) if info.modified_at < older_than]
    backend.objects.delete(probes)
    if isinstance(backend.objects, LocalObjects):
        backend.objects.remove_leftovers("packs/", older_than=older_than)


def _batches(items: Sequence[_T]) -> Iterator[list[_T]]:
    rest = iter(items)
    while batch := list(islice(rest, _BATCH)):
        yield batch
