"""Incremental marking: each commit is walked once, and its round records the packs that it references.

Source: docs/design/0010-maintenance.md, "Rounds".
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Final, NamedTuple, TypeVar

from sqlalchemy import Connection

from versioned_io.catalog import rounds as catalog
from versioned_io.catalog.collection import PackRow
from versioned_io.catalog.rounds import FoundPack, RoundedCommit
from versioned_io.catalog.row_locks import hold_commits, hold_packs
from versioned_io.maintenance.collection.marking import Marks, TreeWalk
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.places import PageRef
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.versioning.backend.backend import Backend

_COMMITS_A_ROUND: Final = 500
"""With fewer commits in a round, fewer trees can reference a given pack."""

_PORTION: Final = 5_000
_T = TypeVar("_T")
_BATCH: Final = 200
"""How many rows are written in one transaction, while other writers wait."""

_FEW_CHANGES: Final = 2


@dataclass(frozen=True, slots=True)
class NewMarks:
    """The result of walking the commits without a round.

    Attributes:
        seen: The last round when the commits were listed.
        packs: The packs without a round that are candidates for collection; empty if none was asked for.
        revived: Packs that are condemned although a round has found them.
        kept: Packs without a round that are kept although no tree may reference them.
        walked: The commits, each with its new round.
        found: The packs that get a round: those that the commits reference, those with their records, and *kept* ones.
        last: The last of the new rounds.
        walk: The walk over the commits, which can be continued; it has their pages in memory.
    """

    seen: int
    packs: tuple[PackRow, ...]
    revived: tuple[PackName, ...]
    kept: frozenset[PackName]
    walked: tuple[tuple[RoundedCommit, int], ...]
    found: Mapping[PackName, FoundPack]
    last: int
    walk: TreeWalk

    @property
    def broken(self) -> frozenset[PageRef]:
        """The roots of trees with unreadable pages. Because of them *found* has all packs without a round."""
        return frozenset(self.walk.broken.values())

    def is_alive(self, pack: PackRow) -> bool:
        """Whether a pack may be referenced: it has a round, was found, or is kept in any case."""
        return pack.round is not None or pack.name in self.found or pack.name in self.kept


@dataclass(frozen=True, slots=True)
class _Listing:
    """The commits and packs without a round, from one state of the catalog."""

    seen: int
    until: datetime | None
    packs: tuple[PackRow, ...]
    revived: tuple[PackName, ...]
    kept: frozenset[PackName]
    commits: tuple[RoundedCommit, ...]
    parents: Mapping[CommitId, RoundedCommit]


def enter_most(backend: Backend, *, progress: Callable[[int], None] | None = None) -> int:
    """Mark commits in portions of 5,000, as long as there are that many, and return how many were marked.

    A process that dies loses at most one portion. Memory is needed for one portion, independent of the number of new
    commits. No pack is condemned.

    Raises:
        StorageError: The objects or the catalog failed. Finished portions stay. Call again.

    Cost: 1 SELECT if there are fewer; otherwise that of `mark_new`.
    """
    entered = 0
    while True:
        with backend.catalog.read() as connection:
            if catalog.count_without_round(connection) < _PORTION:
                return entered
        listing = _list_new(backend, _PORTION)
        marks = _mark(backend, listing, progress or (lambda _: None), _PORTION)
        entered += len(marks.walked) if enter_marks(backend, marks) else 0


def mark_new(
    backend: Backend, *, until: datetime | None = None, progress: Callable[[int], None] | None = None
) -> NewMarks:
    """Walk the commits without a round, and return the packs that they reference. The catalog is not changed.

    Pages that a tree shares with its parent's are skipped if a round or this walk has visited the parent's. Their packs
    already count as alive. The first time, and after a rebuild, every tree is walked. The packs below an unreadable
    page are unknown, so every pack without a round is kept.

    Args:
        until: List candidates for collection: live packs, and packs that were condemned at this time or before.

    Cost: 8 SELECTs, and 1 if a page is unreadable. Also 1 GET for each new page, and 0.3 ms for a commit with a small
        tree.
    """
    return _mark(backend, _list_new(backend, until=until), progress or (lambda _: None))


def _mark(backend: Backend, listing: "_Listing", progress: Callable[[int], None], most: int | None = None) -> NewMarks:
    while True:
        marks = _walk_new(backend, listing, progress)
        if not marks.broken:
            return marks
        before, listing = listing, _list_new(backend, most, until=listing.until)
        if listing.commits == before.commits:
            return marks


class PackChange(NamedTuple):
    """A change of the rows of some packs, for `enter_marks`."""

    names: Sequence[PackName]
    run: Callable[[Connection], object]


def enter_marks(backend: Backend, marks: NewMarks, changes: Sequence[PackChange] = ()) -> bool:
    """Write the rounds of the packs and commits of *marks*; return whether that has begun.

    If another process has entered a round since the commits were listed, nothing is written: mark again. A process that
    dies in here leaves packs with a round that no commit has; these stay until the next full mark. It also leaves
    commits without a round, which are walked again.

    Args:
        changes: More changes of a collector, done first. Those that are left when another process enters a round are
            left out.

    Cost: 1 transaction. With more than 200 new packs and commits, or more than 2 changes: 1 for each change, and for
        each 200 packs or commits. So writers wait less.
    """
    names = sorted(marks.found)
    walked = sorted(marks.walked, key=lambda one: one[0].id)
    # Packs before commits, since every pack that a commit with a round references must have a round.
    steps: list[Callable[[Connection], object]] = [
        *(change.run for change in changes),
        *(partial(_enter_packs, names=some, found=marks.found) for some in _batches(names, _BATCH)),
        *(partial(catalog.enter_commits, walked=some) for some in _batches(walked, _BATCH)),
    ]
    are_few = len(names) + len(walked) <= _BATCH and len(changes) <= _FEW_CHANGES
    with backend.catalog.write() as connection:
        if not catalog.hold_rounds(connection, marks.seen):
            return False
        # Written first, so that the next process after a crash uses higher numbers than any pack has.
        catalog.set_last_round(connection, marks.last)
        if are_few:
            hold_commits(connection, [one.id for one, _ in walked])
            hold_packs(connection, {*names, *(name for change in changes for name in change.names)})
        for step in steps if are_few else steps[:1]:
            step(connection)
    for step in [] if are_few else steps[1:]:
        with backend.catalog.write() as connection:
            if not catalog.hold_rounds(connection, marks.last):
                break  # another process has entered a round, and may have used the rows that were written so far
            step(connection)
    return True


def _enter_packs(connection: Connection, names: Sequence[PackName], found: Mapping[PackName, FoundPack]) -> None:
    catalog.enter_packs(connection, {name: found[name] for name in names})


@dataclass(frozen=True, slots=True)
class Scope:
    """The only trees that can reference some packs, and the live frames of those packs.

    Attributes:
        seen: The last round when the commits were listed.
        first: The lowest round of the packs; None if they have none.
        are_rounded: Whether all of them have one, so that *first* stays the lowest as long as no round is entered.
        commits: The commits whose trees can reference the packs.
        walk: The walk over them, with the marks and the most recently read pages.
    """

    seen: int
    first: int | None
    are_rounded: bool
    commits: tuple[RoundedCommit, ...]
    walk: TreeWalk

    @property
    def marks(self) -> Marks:
        """A superset of the pages of these trees and of the live frames of the packs."""
        return self.walk.marks

    @property
    def broken(self) -> frozenset[PageRef]:
        """The roots of trees among them with unreadable pages, which may reference the packs too."""
        return frozenset(self.walk.broken.values())

    @property
    def last_broken(self) -> int | None:
        """The last round of a commit with an unreadable page, or None if one of them has no round.

        The packs that those commits reference have at most this round.
        """
        numbers = [one.round for one in self.commits if one.root in self.broken]
        return None if None in numbers else max((one for one in numbers if one is not None), default=0)


def find_scope(
    backend: Backend,
    names: Collection[PackName],
    *,
    marks: NewMarks | None = None,
    progress: Callable[[int], None] | None = None,
) -> Scope:
    """Return the trees that can reference the packs *names*: of commits without a round, or of at least their lowest.

    Args:
        marks: The result of `mark_new`. Its trees are not walked again if no earlier round had found the packs.

    Cost: 3 SELECTs, and 1 GET for each page of those trees that is not shared with an older one.
    """
    while True:
        with backend.catalog.read() as connection:
            seen = catalog.last_round(connection)
            numbers = catalog.rounds_of(connection, names).values()
            first = min((one for one in numbers if one is not None), default=None)
            commits = catalog.commits_since_round(connection, first)
            parents = catalog.get_rounded(connection, _parents_of(commits))
        # A parent of an earlier round can't reference these packs.
        known = {one.id: one for one in parents.values() if _is_before(one, first)}
        walk, left = _new_walk(backend), commits
        if marks is not None and not marks.walk.broken and first is not None and first > marks.seen:
            # That walk skipped pages that an earlier round had visited; those can't reference these packs either.
            walk, walked = marks.walk, {(one.id, one.generation) for one, _ in marks.walked if one.is_live}
            left = [one for one in commits if (one.id, one.generation) not in walked]
            known |= {one.id: one for one in commits if (one.id, one.generation) in walked}
        for _ in _walk(walk, left, known):
            if progress is not None:
                progress(walk.pages)
        if walk.broken:
            with backend.catalog.read() as connection:
                again = catalog.commits_since_round(connection, first)
            if again != commits:
                continue
        return Scope(seen, first, None not in numbers, tuple(commits), walk)


def _list_new(backend: Backend, most: int | None = None, *, until: datetime | None = None) -> _Listing:
    with backend.catalog.read() as connection:
        commits = catalog.commits_without_round(connection, most)
        parents = catalog.get_rounded(connection, _parents_of(commits))
        kept = catalog.get_packs(connection, catalog.kept_without_a_tree(connection))
        return _Listing(
            seen=catalog.last_round(connection),
            until=until,
            packs=() if until is None else tuple(catalog.packs_without_round(connection, until)),
            revived=tuple(catalog.condemned_with_round(connection)),
            kept=frozenset(row.name for row in kept if row.round is None),
            commits=tuple(commits),
            parents={one.id: one for one in parents.values() if _is_before(one, None)},
        )


def _walk_new(backend: Backend, listing: _Listing, progress: Callable[[int], None]) -> NewMarks:
    walk = _new_walk(backend)
    rounds: dict[PackName, int] = {}
    walked: list[tuple[RoundedCommit, int]] = []
    counted = broken = 0
    for number, some in enumerate(_walk(walk, listing.commits, listing.parents), listing.seen + 1):
        for name in (*walk.marks.packs_after(counted), *(commit.pack for commit in some)):
            rounds.setdefault(name, number)
        if len(walk.broken) > broken:
            # Unreadable pages may reference any pack, even one that was condemned meanwhile.
            with backend.catalog.read() as connection:
                rounds |= {name: number for name in catalog.names_without_round(connection) if name not in rounds}
        counted, broken = walk.marks.pack_count, len(walk.broken)
        walked += [(commit, number) for commit in some]
        progress(walk.pages)
    last = walked[-1][1] if walked else listing.seen
    kept = listing.kept - rounds.keys()
    if kept:
        last += 1
        rounds |= dict.fromkeys(kept, last)
    found = {name: FoundPack(one, walk.marks.live_bytes(name)) for name, one in rounds.items()}
    return NewMarks(listing.seen, listing.packs, listing.revived, listing.kept, tuple(walked), found, last, walk)


def _new_walk(backend: Backend) -> TreeWalk:
    # Its own page source: a walk would evict the readers' pages from the shared cache.
    return TreeWalk(PageSource(backend.objects, damages=backend.damages))


def _walk(
    walk: TreeWalk, commits: Sequence[RoundedCommit], known: Mapping[CommitId, RoundedCommit]
) -> Iterator[Sequence[RoundedCommit]]:
    """Walk the trees of *commits* without the pages of parents that are known or walked; yield each round."""
    trees = {one.id: one.root for one in known.values()}
    for some in _batches(commits, _COMMITS_A_ROUND):
        for commit in some:
            if commit.is_live:
                walk.add(commit.root, None if commit.parent is None else trees.get(commit.parent))
                trees[commit.id] = commit.root
        yield some


def _parents_of(commits: Iterable[RoundedCommit]) -> set[CommitId]:
    """Return the parents that are not among *commits*."""
    own = {commit.id for commit in commits}
    return {commit.parent for commit in commits if commit.parent is not None} - own


def _is_before(commit: RoundedCommit, first: int | None) -> bool:
    """Return whether a commit is kept, and its tree was walked by a round before *first*, or by any if that is None."""
    return commit.is_live and commit.round is not None and (first is None or commit.round < first)


def _batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
