"""Rebuilding unreadable pages from the trees of the commits before and after theirs.

A page's digest covers its contents, so a rebuilt page is used only if its digest is the lost page's.

Source: docs/design/0011-healing.md, "Pages".
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from versioned_io.catalog.chunk_index import insert_packs
from versioned_io.catalog.damages import enter_healed
from versioned_io.catalog.moving import KeptTree, kept_trees
from versioned_io.errors import IntegrityError
from versioned_io.model.columns import number_column
from versioned_io.model.damages import Content, Damaged, Healed
from versioned_io.model.identifiers import CommitId
from versioned_io.model.path_ranges import PathRange, successor
from versioned_io.model.places import FrameRef, PageRef
from versioned_io.storage.objects.port import Buffer
from versioned_io.storage.packs.damages import Damages
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.reader import read_frame
from versioned_io.storage.packs.writer import PackWriter
from versioned_io.storage.pages.boundaries import FORMAT_RULES
from versioned_io.storage.pages.build import TreeBuilder
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.read import leaves, rows_in
from versioned_io.storage.pages.schema import Below, Entry, encode_page, leaf_digest
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.backend.leftovers import note_stored

_NEWEST: Final = 8
"""The number of newest commits that are searched for lost files that were written again."""


def remake_pages(backend: Backend, roots: Collection[PageRef] | None = None, *, dry_run: bool = False) -> int:
    """Rebuild the unreadable pages of the trees at *roots* from neighbouring commits, and return how many.

    The candidate rows of a lost page come from the child's tree, without the files that the child wrote. In their place
    come the parent's rows, or those of the newest commits. A candidate is used only if it has the page's digest. The
    rebuilt pages are recorded as repaired copies, so that readers find them.

    Args:
        roots: None for all kept trees.
        dry_run: Store nothing, and return how many pages could be rebuilt.

    Raises:
        StorageError: The objects or the catalog failed. Nothing was recorded. Call again.

    Cost: 1 SELECT over all commits. Then 1 GET for each page of those trees, and for each page that their neighbours
        have in place of a lost one. If a page was rebuilt, 1 PUT and 1 SQL transaction.
    """
    with backend.catalog.read() as connection:
        remake = _Remake(backend, list(kept_trees(connection)))
    frames = {tree.root.frame for tree in remake.trees if tree.root is not None}
    if roots is not None:
        frames &= {root.frame for root in roots}
    # The newest first, since a page that was rebuilt for a child may help its parent.
    wanted = [tree for tree in remake.trees if tree.root is not None and tree.root.frame in frames][::-1]
    made: list[Healed] = []
    while found := [one for tree in wanted for one in remake.run(tree)]:
        made += found
    if dry_run or not made:
        return len(made)
    with backend.catalog.write() as connection:
        note_stored(connection, backend.objects, remake.pack)
        insert_packs(connection, [remake.pack.close()], backend.clock())
        enter_healed(connection, made, backend.clock())
    return len(made)


@dataclass(frozen=True, slots=True)
class _Lost:
    """An unreadable page, its level, and the range of its paths."""

    entry: Entry
    level: int
    paths: PathRange
    is_intact: bool
    """Whether its bytes are the written ones. Then they break the rules of pages, and no reader looks for a copy."""


@dataclass(slots=True)
class _Known:
    """The damages of a store, together with rebuilt pages that are not stored yet."""

    stored: Damages
    made: dict[FrameRef, FrameRef] = field(default_factory=dict)

    def find(self, frame: FrameRef) -> Sequence[Healed]:
        return self.stored.find(frame)

    def find_page(self, frame: FrameRef) -> FrameRef | None:
        return self.made.get(frame) or self.stored.find_page(frame)

    def note(self, frame: FrameRef, contents: Sequence[Content] = (), *, is_lost: bool = False) -> None:
        self.stored.note(frame, contents, is_lost=is_lost)


@dataclass(slots=True)
class _Remake:
    """One attempt; a `PageSink`. Trees are in the order of history."""

    backend: Backend
    trees: list[KeptTree]
    pack: PackWriter = field(init=False)
    _known: _Known = field(init=False)
    _source: PageSource = field(init=False)
    _whole: set[FrameRef] = field(default_factory=set)
    _by_id: dict[CommitId, KeptTree] = field(init=False)
    _children: dict[CommitId, list[KeptTree]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pack = PackWriter(self.backend.objects)
        self._known = _Known(self.backend.damages)
        self._source = PageSource(self.backend.objects, damages=self._known).overlaid(self._read_open)
        self._by_id = {tree.id: tree for tree in self.trees}
        for tree in self.trees:
            if tree.parent is not None:
                self._children.setdefault(tree.parent, []).append(tree)

    def put_page(self, payload: Buffer) -> FrameRef:
        return self.pack.append(FrameKind.PAGE, payload)

    def _read_open(self, ref: FrameRef, kind: FrameKind) -> memoryview | None:
        return self.pack.read(ref, kind) if ref.pack == self.pack.pack else None

    def run(self, tree: KeptTree) -> list[Healed]:
        """Rebuild the pages of one tree that can be rebuilt now."""
        if tree.root is None:
            return []
        made: list[Healed] = []
        lost_pages = list(self._lost_below(Below.of_root(tree.root).entry, tree.root.level, PathRange("", None), set()))
        for lost in lost_pages:
            # A crafted tree may lead to one frame as two pages, of which the copy can only be one.
            if lost.is_intact or lost.entry.frame in self._known.made:
                continue
            frame = next(filter(None, (self._put(lost, rows) for rows in self._candidates(tree, lost.paths))), None)
            if frame is not None:
                self._known.made[lost.entry.frame] = frame
                content = Content(lost.entry.digest, 0, 0)
                made.append(Healed(Damaged(content, lost.entry.pack, lost.entry.offset), frame))
        return made

    def _lost_below(self, entry: Entry, level: int, paths: PathRange, seen: set[FrameRef]) -> Iterator[_Lost]:
        # A valid tree has each page once. A page that a crafted tree references repeatedly is walked only once.
        if entry.frame in self._whole or entry.frame in seen:
            return
        seen.add(entry.frame)
        try:
            page = self._source.load(entry.frame, level)
        except IntegrityError:
            yield _Lost(entry, level, paths, is_intact=self._is_intact(entry.frame))
            return
        is_whole, start = True, paths.start
        for child in page.entries if level else ():
            end = successor(child.last)
            for lost in self._lost_below(child, level - 1, PathRange(start, end), seen):
                is_whole = False
                yield lost
            start = end
        if is_whole:
            self._whole.add(entry.frame)

    def _is_intact(self, frame: FrameRef) -> bool:
        try:
            read_frame(self.backend.objects, frame, FrameKind.PAGE)
        except IntegrityError:
            return False
        return True

    def _candidates(self, tree: KeptTree, paths: PathRange) -> Iterator[pa.RecordBatch]:
        """Yield candidate rows for the files of *paths* in a tree, from its neighbours."""
        parent = None if tree.parent is None else self._by_id.get(tree.parent)
        before = self._rows(parent, paths)
        for child in self._children.get(tree.id, []):
            after = self._rows(child, paths)
            if after is None:
                continue
            yield after
            author = bytes.fromhex(child.id)
            own = {path for path, one in _authors(after) if one == author}
            kept = _chosen(after, {path for path, _ in _authors(after)} - own)
            yield kept
            for newest in self._newest:
                # Somebody may have written the lost files again.
                now = self._rows(newest, paths)
                if now is not None:
                    yield _merged(kept, _chosen(now, own))
            if before is not None:
                yield _merged(kept, _chosen(before, own))
                yield _merged(kept, _chosen(before, {path for path, _ in _authors(before)} - set(_paths(kept))))
        if before is not None:
            yield before

    @property
    def _newest(self) -> list[KeptTree]:
        return sorted(self.trees, key=lambda tree: tree.id)[-_NEWEST:]

    def _rows(self, tree: KeptTree | None, paths: PathRange) -> pa.RecordBatch | None:
        if tree is None:
            return None
        try:
            found = [rows_in(page, paths) for page in leaves(tree.root, paths, source=self._source)]
        except IntegrityError:
            return None
        return pa.concat_batches(found) if found else None

    def _put(self, lost: _Lost, rows: pa.RecordBatch) -> FrameRef | None:
        frame = self._put_same(lost, rows)
        if frame is None:
            return None
        try:
            self._source.load(frame, lost.level)
        except IntegrityError:
            return None  # the lost page itself broke the rules of pages: a page that has its digest repairs nothing
        return frame

    def _put_same(self, lost: _Lost, rows: pa.RecordBatch) -> FrameRef | None:
        """Write the page that *rows* make, if it has the digest of the lost one."""
        entry = lost.entry
        if not rows.num_rows or (rows.num_rows, sum(rows.column("size").to_pylist())) != (
            entry.files,
            entry.size_bytes,
        ):
            return None
        if not lost.level:
            return self.put_page(encode_page(0, rows)) if leaf_digest(rows) == entry.digest else None
        builder = TreeBuilder(self, rules=FORMAT_RULES)
        builder.push_rows(rows)
        made = builder.finish_at(lost.level)
        return made.frame if made is not None and made.digest == entry.digest else None


def _paths(rows: pa.RecordBatch) -> list[str]:
    paths: list[str] = rows.column("path").to_pylist()
    return paths


def _authors(rows: pa.RecordBatch) -> Iterator[tuple[str, bytes]]:
    return zip(_paths(rows), rows.column("commit").to_pylist(), strict=True)


def _chosen(rows: pa.RecordBatch, paths: Collection[str]) -> pa.RecordBatch:
    numbers = [number for number, path in enumerate(_paths(rows)) if path in paths]
    return rows.take(number_column(numbers, pa.int64()))


def _merged(left: pa.RecordBatch, right: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows of both, which have no path in common, sorted by path."""
    both = pa.concat_batches([left, right])
    paths = _paths(both)
    return both.take(number_column(sorted(range(len(paths)), key=paths.__getitem__), pa.int64()))
