"""Garbage collection: unreferenced packs are condemned, and deleted after a grace period.

Source: docs/design/0005-garbage-collection.md.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from versioned_io.catalog import collection as catalog
from versioned_io.catalog import rounds
from versioned_io.catalog.chunk_index import LIVE
from versioned_io.catalog.collection import CONDEMNED, PackRow
from versioned_io.catalog.damages import all_healed
from versioned_io.catalog.row_locks import hold_packs
from versioned_io.errors import InvalidInputError
from versioned_io.maintenance.collection.expiry import forget_unreachable
from versioned_io.maintenance.collection.guard import Guard
from versioned_io.maintenance.collection.marking import (
    Marks,
    mark_healed,
    mark_trees,
    walk_around,
    walk_where_they_lie,
)
from versioned_io.maintenance.collection.orphans import Orphans, batches, collect_orphans
from versioned_io.maintenance.fsck.remaking import remake_pages
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.places import PageRef, pack_key
from versioned_io.model.upkeep_defaults import DEFAULT_EXPIRE, DEFAULT_GRACE
from versioned_io.storage.objects.probing import store_time
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.versioning.backend.backend import Backend


@dataclass(frozen=True, slots=True)
class GcProgress:
    """The progress of a collection: its stage, and the number of pages or objects that it has processed."""

    stage: str
    done: int


@dataclass(frozen=True, slots=True)
class GcReport:
    """The result of a collection, or, with ``dry_run``, of the one that would run.

    Attributes:
        forgotten: The number of commits whose data has expired.
        condemned, revived, deleted, kept: Numbers of packs.
        orphans: The number of deleted packs that no commit ever referred to.
        unclear: Commits, journal entries and unreadable parts in packs without a row in the catalog, which may still
            count. Each is the ID of a commit or the name of a pack. Such packs, and all packs that they reference, are
            kept until `gc --disown` names them.
        condemned_bytes, deleted_bytes, kept_bytes: The sizes of the packs.
        unreadable: IDs of commits with an unreadable page. The packs below it are unknown, so every pack that it may
            reference is kept.
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
    unclear: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


@dataclass(slots=True)
class _Tally:
    condemned: list[PackName] = field(default_factory=list)
    revived: list[PackName] = field(default_factory=list)
    deleted: list[PackName] = field(default_factory=list)
    sizes: dict[PackName, int] = field(default_factory=dict)
    alive: set[PackName] = field(default_factory=set)
    unreadable: set[CommitId] = field(default_factory=set)
    orphans: int = 0

    def add(self, orphans: Orphans) -> None:
        self.deleted += [*orphans.strangers, *orphans.left_over]
        self.sizes |= orphans.sizes
        self.orphans += len(orphans.strangers)

    def bytes_of(self, names: Sequence[PackName]) -> int:
        return sum(self.sizes.get(name, 0) for name in names)


def collect_garbage(
    backend: Backend,
    *,
    grace: timedelta = DEFAULT_GRACE,
    expire: timedelta = DEFAULT_EXPIRE,
    dry_run: bool = False,
    disown: Collection[str] = (),
    progress: Callable[[GcProgress], None] | None = None,
) -> GcReport:
    """Expire unreachable commits, condemn packs that no kept commit needs, and delete packs whose grace is over.

    Safe beside writers, readers and other collectors. A pack is deleted only *grace* after it was condemned, if a mark
    that began after the condemnation finds it unreferenced too. A commit refuses to reference a condemned pack. A crash
    at any point leaves an intact store, and the next call resumes.

    Args:
        grace: How long unreferenced packs stay. It must be longer than any reader keeps a snapshot open, and than any
            writer takes for a commit. It may be shorter only without readers and writers.
        expire: How long unreachable commits stay.
        dry_run: Change nothing, and report what would be done.
        disown: Unclear items of earlier reports that somebody has found not to count. Journal entries record this
            before anything is deleted.

    Raises:
        CatalogOlderError: The packs show that the catalog is older than they are. Nothing was deleted. Run
            `versioned recover`.
        InvalidInputError: A time is negative, or an item of *disown* is not unclear.
        StorageError: The objects or the catalog failed. Call again.

    Cost: 1 GET for each page of all kept commits, 1 LIST for each 1,000 objects, 1 GET and 1 DELETE for each dead pack.
    """
    if grace < timedelta(0) or expire < timedelta(0):
        msg = f"a grace of {grace} and an expiry of {expire} are not valid: both must be 0 or more"
        raise InvalidInputError(msg)
    report = progress or (lambda _: None)
    guard = Guard.survey(backend, disown=() if dry_run else disown)
    forgotten = forget_unreachable(backend, expire=expire, dry_run=dry_run)
    ignored: set[CommitId] = set(forgotten) if dry_run else set()
    tally = _Tally()
    _sweep(backend, guard, tally, grace=grace, dry_run=dry_run, ignored=ignored, progress=report)
    if not dry_run and grace == timedelta(0) and tally.condemned:
        # Without a grace period, packs can be deleted at once, but only after another mark.
        _sweep(backend, guard, tally, grace=grace, dry_run=dry_run, ignored=ignored, progress=report)
    orphans = collect_orphans(
        backend,
        guard,
        tally.alive,
        grace=grace,
        dry_run=dry_run,
        progress=lambda objects: report(GcProgress("list", objects)),
    )
    tally.add(orphans)
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
        unclear=guard.unclear_before(orphans.older_than),
        unreadable=tuple(sorted(tally.unreadable)),
    )


def mark_store(
    backend: Backend, *, ignored: set[CommitId] | None = None, progress: Callable[[int], None] | None = None
) -> Marks:
    """Return the frames that the kept commits, except *ignored*, reference, with the repaired copies of these frames.

    Raises:
        IntegrityError, PackLostError: A page is damaged or missing. Run fsck.

    Cost: that of `mark_trees`, and 1 SELECT.
    """
    # Its own page source: a walk over all pages would evict the readers' pages from the shared cache.
    source = PageSource(backend.objects, damages=backend.damages)
    marks = walk_where_they_lie(
        lambda: _roots(backend, ignored or set()), lambda roots: mark_trees(source, roots, progress=progress)
    )
    return _with_healed(backend, marks)


def _with_healed(backend: Backend, marks: Marks) -> Marks:
    # Read after the walk, to include damage that was repaired, and copies of pages that were found, during the walk.
    with backend.catalog.read() as connection:
        mark_healed(marks, all_healed(connection))
    return marks


class _Marked(NamedTuple):
    """The marks, the packs that are kept because of unreadable pages, and the commits with such pages."""

    marks: Marks
    kept: set[PackName]
    unreadable: set[CommitId]


def _mark_around(
    backend: Backend, ignored: set[CommitId], progress: Callable[[int], None], *, dry_run: bool
) -> _Marked:
    """Mark from all roots, around pages that can't be read; without *dry_run* those are repaired where possible."""
    source = PageSource(backend.objects, damages=backend.damages)
    marks, broken = walk_around(
        lambda: _roots(backend, ignored),
        lambda roots, found: mark_trees(source, roots, progress=progress, broken=found),
        lambda roots: 0 if dry_run else remake_pages(backend, roots),
    )
    kept: set[PackName] = set()
    unreadable: dict[CommitId, int | None] = {}
    if broken:
        # Commits are read before packs. Once a commit has a round, every pack that it references has one no later.
        with backend.catalog.read() as connection:
            unreadable = rounds.rounds_of_trees(connection, set(broken.values()))
        numbers = set(unreadable.values())
        with backend.catalog.read() as connection:
            kept = (
                {row.name for row in catalog.list_packs(connection)}
                if None in numbers
                else rounds.names_up_to_round(connection, max((one for one in numbers if one is not None), default=0))
            )
    return _Marked(_with_healed(backend, marks), kept, set(unreadable) - ignored)


def is_collected(backend: Backend, name: str) -> bool:
    """Return whether a missing pack was collected; if it was not, it is lost. Cost: 1 SELECT."""
    with backend.catalog.read() as connection:
        return catalog.states_of(connection, [PackName(name)]).get(PackName(name)) == catalog.DELETED


def _roots(backend: Backend, ignored: set[CommitId]) -> list[PageRef | None]:
    with backend.catalog.read() as connection:
        return [root for commit, root in catalog.live_roots(connection) if commit not in ignored]


def _sweep(
    backend: Backend,
    guard: Guard,
    tally: _Tally,
    *,
    grace: timedelta,
    dry_run: bool,
    ignored: set[CommitId],
    progress: Callable[[GcProgress], None],
) -> None:
    began = store_time(backend.objects)
    # Packs are listed before commits, so that a pack that is stored later is not judged by a mark that missed it.
    with backend.catalog.read() as connection:
        rows = catalog.list_packs(connection)
        records = catalog.record_packs(connection)
        seen = rounds.last_round(connection)
    marks, kept, unreadable = _mark_around(
        backend, ignored, lambda pages: progress(GcProgress("mark", pages)), dry_run=dry_run
    )
    tally.unreadable |= unreadable
    alive = marks.packs | records | kept
    tally.alive |= alive
    tally.sizes |= {row.name: row.size_bytes for row in rows}
    # Only packs in the survey's listing are judged. A later pack is not in the mark either.
    dead_names = {row.name for row in rows if row.name not in alive}
    spared = set(guard.spared(sorted(dead_names)))
    alive |= guard.protected
    dead = [row for row in rows if row.name in spared]
    to_revive = [row.name for row in rows if row.state == CONDEMNED and row.name in alive]
    until = began - grace
    to_delete = [row for row in dead if is_due(row, until)]
    if dry_run:
        tally.condemned += [row.name for row in dead if row.state == LIVE]
        tally.revived += to_revive
        tally.deleted += [row.name for row in to_delete]
        return
    for batch in batches(to_revive):
        with backend.catalog.write() as connection:
            tally.revived += catalog.revive_packs(connection, batch)
    _condemn(backend, tally, [row for row in dead if row.state == LIVE or row.round is not None], began, seen)
    for buried in delete_condemned(backend, to_delete):
        tally.deleted += buried
        progress(GcProgress("delete", len(tally.deleted)))
    _note_live_bytes(backend, [row for row in rows if row.name not in kept], marks)


def _condemn(backend: Backend, tally: _Tally, dead: Sequence[PackRow], at: datetime, seen: int) -> None:
    """Condemn the live packs among *dead*, and reset the rounds of all, in batches, since writers wait for each.

    Args:
        seen: The last round when the packs were listed. Once another process has entered one, packs keep their rounds.
    """
    for batch in batches(dead):
        with backend.catalog.write() as connection:
            is_held = rounds.hold_rounds(connection, seen)
            hold_packs(connection, [row.name for row in batch])
            if is_held:
                # Every tree with a round was walked, and none has changed since, so none references these packs.
                rounds.drop_from_rounds(connection, [row.name for row in batch if row.round is not None])
                seen += 1
                rounds.set_last_round(connection, seen)
            names = [row.name for row in batch if row.state == LIVE]
            tally.condemned += catalog.condemn_packs(connection, names, at)


def delete_condemned(backend: Backend, dead: Sequence[PackRow]) -> Iterator[list[PackName]]:
    """Delete the packs whose condemnation is unchanged since a mark found them dead; yield each batch.

    The row is changed first. A process that dies before it deletes the object leaves an orphan.

    Cost: 1 SQL transaction and 1 DELETE for each 500.
    """
    for batch in batches(dead):
        # Checked again for each batch, since another process may have revived a pack while this one was suspended.
        with backend.catalog.write() as connection:
            buried = catalog.bury_packs(connection, batch)
        backend.objects.delete([pack_key(name) for name in buried])
        yield buried


def is_due(row: PackRow, until: datetime) -> bool:
    """Return whether a pack was condemned at *until* or before."""
    return row.state == CONDEMNED and row.condemned_at is not None and row.condemned_at <= until


def _note_live_bytes(backend: Backend, rows: Sequence[PackRow], marks: Marks) -> None:
    """Record the live bytes that the mark found in each pack, if another number is recorded."""
    found = {row.name: marks.live_bytes(row.name) for row in rows}
    changed = [row.name for row in rows if row.live_bytes != found[row.name]]
    for batch in batches(changed):
        with backend.catalog.write() as connection:
            rounds.note_live_bytes(connection, {name: found[name] for name in batch})
