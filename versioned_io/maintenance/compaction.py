"""Compaction: small packs become large ones, and packs that are mostly dead give their dead bytes back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from versioned_io.backend import Backend
from versioned_io.catalog import collection as catalog
from versioned_io.catalog.chunk_index import LIVE
from versioned_io.catalog.collection import PackRow
from versioned_io.errors import InvalidInputError, PackCondemnedError, PackLostError
from versioned_io.identifiers import PackName
from versioned_io.maintenance.garbage import is_collected, mark_store
from versioned_io.maintenance.marking import Marks
from versioned_io.maintenance.moving import move_packs
from versioned_io.packs.frames import FrameKind
from versioned_io.packs.reader import read_footer

DEFAULT_MIN_LIVE: Final = 0.6
"""A pack with a smaller part alive is rewritten."""

DEFAULT_SMALL_BYTES: Final = 4 * 1024 * 1024
"""A pack smaller than this is merged with others."""

_ATTEMPTS: Final = 5
_FEW_SMALL_PACKS: Final = 8
"""So few small packs are left alone: merging them again after each commit would write more than it saves."""


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What a compaction did, or with ``dry_run`` would do.

    Attributes:
        packs: How many packs were rewritten; garbage collection deletes them once nobody reads them any more.
        packs_bytes: Their size, which comes free then.
        new_packs, new_bytes: What they became.
        trees: How many commits have their pages somewhere else now.
    """

    packs: int
    packs_bytes: int
    new_packs: int
    new_bytes: int
    trees: int
    dry_run: bool


def compact_store(
    backend: Backend,
    *,
    min_live: float = DEFAULT_MIN_LIVE,
    small_bytes: int = DEFAULT_SMALL_BYTES,
    max_bytes: int | None = None,
    dry_run: bool = False,
    progress: Callable[[str, int], None] | None = None,
) -> CompactReport:
    """Rewrite packs that are small or mostly dead, so that fewer and fuller ones are left.

    Safe beside writers, readers and collectors: what is alive is copied first, then the catalog refers to the copies in
    one transaction, and the old packs stay until garbage collection finds that nothing leads to them.

    Args:
        min_live: Rewrite packs with a smaller part alive, from 0 to 1.
        small_bytes: Merge packs smaller than this, if there are more than a few.
        max_bytes: Stop choosing packs at so many bytes to be read; None for all.

    Raises:
        IntegrityError: Something that is alive is damaged or gone, or the end of a pack that is to be rewritten is;
            nothing changed. Run fsck.
        InvalidInputError: An argument is out of its range.
        StorageError: The objects or the catalog failed; nothing changed. Call again.

    Cost: as a mark of the whole store, and what is alive in the chosen packs is read and written.
    """
    if not 0 <= min_live <= 1 or small_bytes < 0 or (max_bytes is not None and max_bytes < 0):
        msg = (
            f"min_live={min_live}, small_bytes={small_bytes}, max_bytes={max_bytes}: a share is 0 to 1, sizes 0 or more"
        )
        raise InvalidInputError(msg)
    report = progress or (lambda _stage, _done: None)
    choice = _Choice(min_live, small_bytes, max_bytes)
    for _ in range(_ATTEMPTS - 1):
        try:
            return _compact_once(backend, choice, dry_run=dry_run, report=report)
        except (PackCondemnedError, PackLostError) as error:
            if isinstance(error, PackLostError) and not is_collected(backend, error.pack):
                raise
            # Somebody else rewrote the same packs, and they are collected already: choose among those that are left.
    return _compact_once(backend, choice, dry_run=dry_run, report=report)


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which packs are to be rewritten; see `compact_store`."""

    min_live: float
    small_bytes: int
    max_bytes: int | None


def _compact_once(
    backend: Backend, choice: _Choice, *, dry_run: bool, report: Callable[[str, int], None]
) -> CompactReport:
    with backend.catalog.read() as connection:
        rows = [row for row in catalog.list_packs(connection) if row.state == LIVE]
        records = catalog.record_packs(connection)
    marks = mark_store(backend, progress=lambda pages: report("mark", pages))
    rows = [row for row in rows if row.name in records or marks.live_bytes(row.name)]
    chosen = _choose(backend, rows, marks, choice)
    packs_bytes = sum(row.size_bytes for row in chosen)
    if dry_run or not chosen:
        return CompactReport(len(chosen), packs_bytes, 0, 0, 0, dry_run)
    moved = move_packs(backend, [row.name for row in chosen], marks, progress=report)
    return CompactReport(len(chosen), packs_bytes, len(moved.packs), moved.bytes, moved.trees, dry_run=False)


def _choose(backend: Backend, rows: Sequence[PackRow], marks: Marks, choice: _Choice) -> list[PackRow]:
    """Return the packs to rewrite: the emptiest first, then the small ones, oldest first."""
    small = [row for row in rows if row.size_bytes < choice.small_bytes]
    if len(small) <= _FEW_SMALL_PACKS:
        small = []
    large = [row for row in rows if row.size_bytes >= choice.small_bytes]
    shares = {
        row.name: _live_share(backend, row.name, marks)
        for row in large
        if marks.live_bytes(row.name) < choice.min_live * row.size_bytes
    }
    sparse = [row for row in large if shares.get(row.name, 1.0) < choice.min_live]
    sparse.sort(key=lambda row: shares[row.name])
    chosen: list[PackRow] = []
    total = 0
    for row in [*sparse, *sorted(small, key=lambda row: row.name)]:
        if choice.max_bytes is not None and total + row.size_bytes > choice.max_bytes:
            break
        chosen.append(row)
        total += row.size_bytes
    return chosen


def _live_share(backend: Backend, name: PackName, marks: Marks) -> float:
    """Return which part of a pack's frames is alive; records and journal entries always are. Cost: 1 HEAD, 2 GETs."""
    alive = marks.frames_of(name)
    total = kept = 0
    for frame in read_footer(backend.objects, name).frames:
        total += frame.stored_size
        if frame.offset in alive or frame.kind in {FrameKind.COMMIT, FrameKind.JOURNAL}:
            kept += frame.stored_size
    return kept / total if total else 1.0
