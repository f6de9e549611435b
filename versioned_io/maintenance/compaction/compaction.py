"""Compaction: merging small packs into large ones, and rewriting packs that are mostly dead."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from versioned_io.catalog import rounds
from versioned_io.catalog.chunk_index import LIVE
from versioned_io.catalog.collection import PackRow
from versioned_io.catalog.damages import packs_to_leave
from versioned_io.catalog.rounds import rounds_of
from versioned_io.errors import (
    CatalogOlderError,
    IntegrityError,
    InvalidInputError,
    ObjectNotFoundError,
    PackCondemnedError,
    PackLostError,
)
from versioned_io.maintenance.collection.garbage import is_collected
from versioned_io.maintenance.collection.new_marks import NewMarks, enter_marks, enter_most, find_scope, mark_new
from versioned_io.maintenance.compaction.moving import Moved, move_packs, rewrite_healed_trees
from versioned_io.maintenance.fsck.pack_checks import check_pack
from versioned_io.maintenance.fsck.remaking import remake_pages
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import pack_key
from versioned_io.model.upkeep_defaults import DEFAULT_MIN_LIVE, DEFAULT_SMALL_BYTES
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.pack_session import ROLL_BYTES
from versioned_io.storage.packs.reader import read_footer
from versioned_io.versioning.backend.backend import Backend

_ATTEMPTS: Final = 5
_FEW_SMALL_PACKS: Final = 8
"""Up to this many small packs are left alone: merging them after each commit would write more than it saves."""

_FULL_TIER: Final = 10
"""This many merged packs are merged again if the result is a large pack."""

_MANY_MERGED: Final = 64
"""This many merged packs are merged again in any case; they stand for at least 4,096 commits."""

LARGE_BYTES: Final = ROLL_BYTES // 2
"""A pack of this size is never merged again: new packs are at most twice as large, so little would be gained."""


@dataclass(frozen=True, slots=True)
class CompactReport:
    """The result of a compaction, or, with ``dry_run``, of the one that would run.

    Attributes:
        packs: The number of rewritten packs; garbage collection deletes them after the grace period.
        packs_bytes: Their size, which is freed then.
        new_packs: The number of new packs.
        new_bytes: Their size.
        trees: The number of commits whose pages were rewritten.
        left: The names of skipped packs: they are damaged or missing, or a commit with an unreadable page may reference
            them.
    """

    packs: int
    packs_bytes: int
    new_packs: int
    new_bytes: int
    trees: int
    dry_run: bool
    left: tuple[str, ...] = ()


def compact_store(
    backend: Backend,
    *,
    min_live: float = DEFAULT_MIN_LIVE,
    small_bytes: int = DEFAULT_SMALL_BYTES,
    max_bytes: int | None = None,
    dry_run: bool = False,
    progress: Callable[[str, int], None] | None = None,
) -> CompactReport:
    """Rewrite the newest run of small packs, full tiers, and packs that are mostly dead or whose damages are repaired.

    Safe beside writers, readers and collectors. Live frames are copied first, then one transaction makes the catalog
    refer to the copies. The old packs stay until garbage collection finds that nothing refers to them.

    Args:
        min_live: Rewrite packs with a smaller part alive, from 0 to 1.
        small_bytes: Merge new packs smaller than this, if there are more than a few. Packs made by a compaction are not
            new: they are left alone until there are enough of them. So a byte is moved two or three times at most.
        max_bytes: Stop choosing packs when their size reaches this many bytes; None for no limit.

    Raises:
        IntegrityError: The record of a commit can't be found. Nothing was changed, except that walked commits count as
            marked. Run fsck.
        InvalidInputError: An argument is out of its range. Fix it.
        CatalogOlderError: A beacon names a commit that the catalog lacks. Nothing was changed. Run
            `versioned recover`.
        StorageError: The objects or the catalog failed. Nothing was changed. Call again.

    Cost: marks the commits that no earlier call has marked. 1 GET for each page of the trees that can refer to the
        chosen packs. Each small pack is read whole, once, and its live frames are written. The cost does not grow with
        the packs that earlier compactions have merged.
    """
    if not 0 <= min_live <= 1 or small_bytes < 0 or (max_bytes is not None and max_bytes < 0):
        msg = (
            f"min_live={min_live}, small_bytes={small_bytes}, max_bytes={max_bytes}: a share is 0 to 1, sizes 0 or more"
        )
        raise InvalidInputError(msg)
    report = progress or (lambda _stage, _done: None)
    choice = _Choice(min_live, small_bytes, max_bytes)
    if not dry_run:
        # Afterwards trees reference the repaired copies, so damaged frames are dead and are not copied.
        rewrite_healed_trees(backend, progress=progress)
    for _ in range(_ATTEMPTS - 1):
        try:
            return _compact_once(backend, choice, dry_run=dry_run, report=report)
        except (PackCondemnedError, PackLostError) as error:
            if isinstance(error, PackLostError) and not is_collected(backend, error.pack):
                raise
            # Another process has rewritten the same packs, and they were collected: choose among the remaining ones.
    return _compact_once(backend, choice, dry_run=dry_run, report=report)


@dataclass(frozen=True, slots=True)
class _Choice:
    """The criteria for packs to rewrite; see `compact_store`."""

    min_live: float
    small_bytes: int
    max_bytes: int | None


def _compact_once(
    backend: Backend, choice: _Choice, *, dry_run: bool, report: Callable[[str, int], None]
) -> CompactReport:
    if not dry_run:
        enter_most(backend, progress=lambda pages: report("mark", pages))
    marks = mark_new(backend, progress=lambda pages: report("mark", pages))
    if not dry_run and marks.broken and remake_pages(backend, marks.broken):
        marks = mark_new(backend, progress=lambda pages: report("mark", pages))
    if not dry_run:
        enter_marks(backend, marks)
    with backend.catalog.read() as connection:
        # Not all packs, since most have been rewritten by earlier compactions.
        known = [*rounds.live_with_round(connection), *rounds.get_packs(connection, marks.found.keys())]
    rows = list({row.name: row for row in known if row.state == LIVE}.values())
    groups = _choose(backend, rows, marks, choice)
    packs = sum(len(one.packs) for one in groups)
    packs_bytes = sum(one.size_bytes for one in groups)
    if dry_run:
        return CompactReport(packs, packs_bytes, 0, 0, 0, dry_run=True)
    moved = [merge_packs(backend, one, marks=marks, report=report) for one in groups]
    new_packs = sum(len(one.packs) for one in moved)
    new_bytes = sum(one.bytes for one in moved)
    trees = sum(one.trees for one in moved)
    left = {name for one in moved for name in one.left}
    sizes = {row.name: row.size_bytes for row in rows if row.name in left}
    return CompactReport(
        packs - len(left),
        packs_bytes - sum(sizes.values()),
        new_packs,
        new_bytes,
        trees,
        dry_run=False,
        left=tuple(sorted(left)),
    )


def merge_packs(
    backend: Backend, group: "PackGroup", *, report: Callable[[str, int], None], marks: NewMarks | None = None
) -> Moved:
    """Rewrite the packs of a group into new ones, which get its tier.

    A damaged or missing pack is skipped. So is a pack that a commit with an unreadable page may reference, since the
    commit would still reference the old pack.

    Args:
        marks: As for `find_scope`.

    Raises:
        PackLostError, PackCondemnedError, StorageError: As `move_packs`.

    Cost: 1 GET for each page of the trees that can reference the packs. Their live frames are read and written. If one
        is damaged, each of the packs is read once more.
    """
    every = [row.name for row in group.packs]
    names = every
    while names:
        scope = find_scope(backend, names, marks=marks, progress=lambda pages: report("scope", pages))
        if scope.broken and remake_pages(backend, scope.broken):
            continue
        if scope.broken:
            names = _later_than(backend, names, scope.last_broken)
            continue
        try:
            moved = move_packs(backend, names, scope.marks, scope=scope, tier=group.tier, progress=report)
        except IntegrityError as error:
            if isinstance(error, PackLostError) and is_collected(backend, error.pack):
                raise
            whole = [name for name in names if not check_pack(backend.objects, name).damages]
            if isinstance(error, CatalogOlderError) or whole == names:
                raise
            names = whole
        else:
            return replace(moved, left=tuple(set(every) - set(names)))
    return Moved(left=tuple(every))


def _later_than(backend: Backend, names: Sequence[PackName], number: int | None) -> list[PackName]:
    """Return the packs of a round after *number*; none if *number* is None."""
    with backend.catalog.read() as connection:
        found = rounds_of(connection, names)
    return [name for name in names if number is not None and (found[name] or 0) > number]


@dataclass(frozen=True, slots=True)
class PackGroup:
    """Packs that are rewritten together, and the tier of the new packs."""

    packs: tuple[PackRow, ...]
    tier: int

    @property
    def size_bytes(self) -> int:
        """The total size of the packs."""
        return sum(row.size_bytes for row in self.packs)


def _choose(backend: Backend, rows: Sequence[PackRow], marks: NewMarks, choice: _Choice) -> list[PackGroup]:
    """Return the packs to rewrite: those with repaired damages, the emptiest, the newest small ones, full tiers."""
    chosen = [*healed_packs(backend, rows), *sparse_packs(backend, rows, marks, choice.min_live)]
    groups = [PackGroup((row,), row.tier) for row in dict.fromkeys(chosen)]
    small = newest_run([row for row in rows if row not in chosen], 0, choice.small_bytes)
    if len(small) > _FEW_SMALL_PACKS:
        groups.append(PackGroup(tuple(small), 1))
    groups += full_tiers(rows)
    return _up_to(groups, choice.max_bytes)


def healed_packs(backend: Backend, rows: Sequence[PackRow]) -> list[PackRow]:
    """Return the existing damaged packs whose damages all have a repaired copy.

    No tree references the damage any more, but fsck reports it as long as the pack exists.

    Cost: 1 SELECT, and 1 HEAD for each of these packs.
    """
    with backend.catalog.read() as connection:
        names = packs_to_leave(connection)
    return [row for row in rows if row.name in names and _is_there(backend, row.name)]


def _is_there(backend: Backend, name: PackName) -> bool:
    try:
        backend.objects.size(pack_key(name))
    except ObjectNotFoundError:
        return False
    return True


def newest_run(rows: Sequence[PackRow], tier: int, small_bytes: int) -> list[PackRow]:
    """Return the newest unbroken run of small packs of a tier that is worth merging, oldest first.

    A pack of a higher tier ends a run: older packs already existed when it was merged, and later trees reference other
    packs. Runs that are too short to be worth it are skipped. If all are, the longest is returned.

    Args:
        small_bytes: A pack smaller than this is small.
    """
    runs: list[list[PackRow]] = [[]]
    # Sorted by name, which begins with the time. A wrong clock affects only the cost.
    for row in sorted(rows, key=lambda row: row.name, reverse=True):
        if row.tier > tier:
            if len(runs[-1]) > _FEW_SMALL_PACKS:
                break
            runs.append([])
        elif row.tier == tier and row.size_bytes < small_bytes:
            runs[-1].append(row)
    longest = max((len(run), -number) for number, run in enumerate(runs))
    return runs[-longest[1]][::-1]


def full_tiers(rows: Sequence[PackRow]) -> list[PackGroup]:
    """Return the tiers with enough merged packs to be merged again."""
    found: list[PackGroup] = []
    for tier in sorted({row.tier for row in rows if row.tier}):
        run = newest_run(rows, tier, LARGE_BYTES)
        size_bytes = sum(row.size_bytes for row in run)
        if len(run) >= _FULL_TIER and (size_bytes >= ROLL_BYTES or len(run) >= _MANY_MERGED):
            found.append(PackGroup(tuple(run), tier + 1))
    return found


def sparse_packs(backend: Backend, rows: Sequence[PackRow], marks: NewMarks, min_live: float) -> list[PackRow]:
    """Return the large packs of which less than *min_live* is alive, the emptiest first.

    Cost: 1 HEAD and 2 GETs for each candidate.
    """
    alive = {row.name: _live_bytes(row, marks) for row in rows}
    large = [row for row in rows if row.size_bytes >= DEFAULT_SMALL_BYTES]
    shares = {
        row.name: _live_share(backend, row.name, alive[row.name])
        for row in large
        if alive[row.name] < min_live * row.size_bytes
    }
    sparse = [row for row in large if shares.get(row.name, 1.0) < min_live]
    return sorted(sparse, key=lambda row: shares[row.name])


def _up_to(groups: Sequence[PackGroup], max_bytes: int | None) -> list[PackGroup]:
    """Return the first groups, up to *max_bytes* in total; the last one may be cut."""
    if max_bytes is None:
        return list(groups)
    found: list[PackGroup] = []
    left = max_bytes
    for group in groups:
        fitting: list[PackRow] = []
        for row in group.packs:
            left -= row.size_bytes
            if left < 0:
                break
            fitting.append(row)
        if fitting:
            found.append(PackGroup(tuple(fitting), group.tier))
        if left < 0:
            break
    return found


def _live_bytes(row: PackRow, marks: NewMarks) -> int:
    """Return the live bytes of a pack by its last mark, or its size without a mark."""
    if row.live_bytes is not None:
        return row.live_bytes
    found = marks.found.get(row.name)
    return row.size_bytes if found is None else found.live_bytes


def _live_share(backend: Backend, name: PackName, live_bytes: int) -> float:
    """Return the live share of a pack's frames; records and journal entries are always live. Cost: 1 HEAD, 2 GETs."""
    frames = read_footer(backend.objects, name).frames
    total = sum(frame.stored_size for frame in frames)
    records = sum(frame.stored_size for frame in frames if frame.kind in {FrameKind.COMMIT, FrameKind.JOURNAL})
    return min(1.0, (live_bytes + records) / total) if total else 1.0
