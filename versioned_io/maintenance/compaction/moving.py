"""Moving live contents into new packs, and rewriting the trees that reference them; nothing else changes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sqlalchemy import Connection

from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.damages import all_healed
from versioned_io.catalog.moving import TreeGeneration, live_generations
from versioned_io.errors import IntegrityError
from versioned_io.maintenance.collection.marking import Marks
from versioned_io.maintenance.collection.new_marks import Scope
from versioned_io.maintenance.compaction.copied_blocks import CopiedBlocks
from versioned_io.maintenance.compaction.led_trees import LedTrees
from versioned_io.maintenance.compaction.moved_records import MovedRecords, RewrittenTree
from versioned_io.maintenance.compaction.pack_series import PackSeries
from versioned_io.maintenance.compaction.switching import Switch, switch, switch_in_batches
from versioned_io.maintenance.fsck.remaking import remake_pages
from versioned_io.model.damages import Healed
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.places import PackInfo, PageRef, pack_key
from versioned_io.storage.objects.whole import WholeObjects
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.transactions.lease import Lease
from versioned_io.versioning.transactions.record import CommitRecord

_SHARED_BYTES: Final = 4 * 1024 * 1024
"""From this size on, data gets its own packs, without pages."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The result of a move: the numbers of bytes and frames in new packs, and of rewritten trees.

    Attributes:
        left: Skipped packs and commits, by name, because they or a page that references them can't be read.
    """

    packs: tuple[PackInfo, ...] = ()
    frames: int = 0
    bytes: int = 0
    trees: int = 0
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Edit:
    """The new tree of a commit, and the tree that it was made from."""

    old: PageRef
    new: PageRef | None


def move_packs(
    backend: Backend,
    victims: Sequence[PackName],
    marks: Marks,
    *,
    edits: Mapping[CommitId, Edit] | None = None,
    blank: Collection[bytes] = (),
    enter: Callable[[Connection], None] | None = None,
    amend: Callable[[CommitRecord], CommitRecord] | None = None,
    scope: Scope | None = None,
    tier: int = 0,
    healed: Sequence[Healed] = (),
    progress: Callable[[str, int], None] | None = None,
) -> Moved:
    """Copy all live contents of *victims* to new packs, and make the catalog and all trees refer to the copies.

    The victims stay unchanged, so their readers are not disturbed. Garbage collection deletes them once they are
    unreferenced. Nothing refers to the copies before the catalog does. Without a *scope* the switch is one transaction,
    all or nothing. With a *scope* it is one for each 100 trees, so that writers wait less. Each is consistent in
    itself, since the victims stay.

    Args:
        marks: The live frames, from a mark that began after the victims were listed.
        edits: New trees of commits; the other commits keep theirs. A commit whose tree another process has rewritten
            meanwhile keeps that tree.
        blank: Digests of chunks whose bytes are replaced by zeros in the copy; no footer lists them.
        enter: Called at the end of the catalog transaction, to record the purpose of the move in it.
        amend: Returns the record to write for a commit record; a changed record gets the next generation.
        scope: The only trees that can reference the victims, with their marks as *marks*; None for all kept trees. It
            excludes *edits*, *blank*, *enter* and *amend*.
        tier: How often the contents of the new packs were merged.
        healed: Repaired contents in any pack; trees are rewritten to reference the repaired copies.

    Raises:
        IntegrityError: A live frame is damaged. Nothing was changed. Run fsck.
        PackLostError, PackCondemnedError: Another process has moved and collected the same packs meanwhile. Nothing
            was changed. Mark and call again.
        StorageError: The objects or the catalog failed. Nothing was changed. Call again.

    Cost: reads and writes the live contents of the victims, and each page that references them. Makes 1 SQL
        transaction, or with a *scope* 1 for each 100 trees and each 500 victims.

    Source: docs/design/0005-garbage-collection.md, "Compaction".
    """
    report = progress or (lambda _stage, _done: None)
    lease = Lease(backend)
    series = PackSeries(backend, lease)
    move = _Move(
        backend, frozenset(victims), marks, series, frozenset(blank), report, scope, healed, amend or _as_it_is
    )
    try:
        for number, victim in enumerate(victims):
            move.copy_blocks(victim)
            report("copy", number + 1)
        if scope is None or (move.packs.open is not None and move.packs.open.size_bytes >= _SHARED_BYTES):
            # Pages in packs of their own make listings of a tree cheap. A purge moves packs with dead pages until there
            # are none. Data in the packs of pages would create more such packs with each move.
            move.packs.close()
        move.rewrite_trees(edits or {})
        move.records.copy()
        move.packs.close()
        if scope is None:
            switch(backend, move.outcome, lease, enter)
        else:
            switch_in_batches(backend, move.outcome, lease, scope, tier)
    except BaseException:
        lease.abandon()
        raise
    moved_bytes = sum(info.size_bytes for info in move.packs.infos)
    left = tuple(sorted(move.skipped))
    return Moved(tuple(move.packs.infos), len(move.blocks.moved), moved_bytes, len(move.records.trees), left)


def rewrite_healed_trees(backend: Backend, *, progress: Callable[[str, int], None] | None = None) -> Moved:
    """Rewrite every kept tree to reference the repaired copies of its damaged contents and pages directly.

    Afterwards no tree references the damaged frames. The next compaction leaves them out, and `gc` deletes packs that
    hold nothing else. All or nothing. A commit that is made meanwhile, and a tree that another process has rewritten,
    stay unchanged. So does a tree with an unreadable page. Their readers find the copies by the table of damages.

    Cost: 1 SELECT if there are no repaired copies. Else 1 GET for each page of the kept trees. Pages that reference
        damaged frames are written again, and 1 SQL transaction is made.

    Source: docs/design/0011-healing.md, "Afterwards".
    """
    with backend.catalog.read() as connection:
        healed = all_healed(connection)
    if not healed:
        return Moved()
    moved = move_packs(backend, [], Marks(), healed=healed, progress=progress)
    if moved.left and remake_pages(backend, _roots_of(backend, moved.left)):
        with backend.catalog.read() as connection:
            healed = all_healed(connection)
        again = move_packs(backend, [], Marks(), healed=healed, progress=progress)
        return replace(again, bytes=moved.bytes + again.bytes, trees=moved.trees + again.trees)
    return moved


def _roots_of(backend: Backend, commit_ids: Collection[str]) -> set[PageRef]:
    with backend.catalog.read() as connection:
        found = get_commits(connection, [CommitId(one) for one in commit_ids])
    return {commit.root for commit in found.values() if commit.root is not None}


def _as_it_is(record: CommitRecord) -> CommitRecord:
    return record


@dataclass(slots=True)
class _Move:
    """One move: first the blocks, then the trees that reference them, then the records of those trees."""

    backend: Backend
    victims: frozenset[PackName]
    marks: Marks
    packs: PackSeries
    blank: frozenset[bytes]
    report: Callable[[str, int], None]
    scope: Scope | None
    healed: Sequence[Healed]
    """Repaired contents; every tree is rewritten to reference their copies."""
    amend: Callable[[CommitRecord], CommitRecord]
    blocks: CopiedBlocks = field(init=False)
    trees: LedTrees = field(init=False)
    records: MovedRecords = field(init=False)
    skipped: set[CommitId] = field(default_factory=set)

    def __post_init__(self) -> None:
        objects = WholeObjects(self.backend.objects, {pack_key(victim) for victim in self.victims})
        self.blocks = CopiedBlocks(objects, self.marks, self.packs, self.blank)
        # With a scope, its walk's page source has the most recently read pages in memory.
        own = PageSource(self.backend.objects, damages=self.backend.damages)
        source, within = (own, None) if self.scope is None else (self.scope.walk.source, self.marks)
        self.trees = LedTrees(source, self.packs, self.victims, self.blocks.places, self.healed, within)
        self.records = MovedRecords(
            self.backend, objects, self.packs, self.victims, self.blocks.records, self.scope is None, self.amend
        )

    @property
    def outcome(self) -> Switch:
        """The resulting changes to the catalog."""
        return Switch(
            self.packs.infos,
            self.victims,
            {**self.blocks.places.of, **self.trees.pages},
            self.blank,
            self.records.trees,
            self.records.records,
            self.blocks.moved,
            self.records.journal,
        )

    def copy_blocks(self, victim: PackName) -> None:
        """Copy the live blocks of one pack, and its live references to parts elsewhere."""
        self.blocks.copy(victim)

    def rewrite_trees(self, edits: Mapping[CommitId, Edit]) -> None:
        """Rewrite every kept tree that references something that moved."""
        changed: dict[CommitId, RewrittenTree] = {}
        for number, (commit_id, generation, old) in enumerate(self._trees()):
            edit = edits.get(commit_id)
            wanted = edit.new if edit is not None and edit.old == old else old
            try:
                new = None if wanted is None else self.trees.lead(wanted)
            except IntegrityError:
                if not self.healed:
                    raise
                self.skipped.add(commit_id)  # it stays unchanged, and its readers still use the table of damages
                continue
            if new != old:
                changed[commit_id] = RewrittenTree(generation, new)
            self.report("trees", number + 1)
        self.records.write(changed)

    def _trees(self) -> list[TreeGeneration]:
        if self.scope is not None:
            return [TreeGeneration(one.id, one.generation, one.root) for one in self.scope.commits]
        with self.backend.catalog.read() as connection:
            return list(live_generations(connection))
