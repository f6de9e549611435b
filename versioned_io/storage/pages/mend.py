"""Rebuilding the damaged pages of a tree from known rows, and moving references to repaired chunks.

A page's digest covers its contents, so a rebuilt page is used only if its digest is the lost page's.

Source: docs/design/0011-healing.md, "Pages".
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.errors import IntegrityError
from versioned_io.model.columns import column_of, fixed_column_of, number_column
from versioned_io.model.damages import Content, Damaged, Healed
from versioned_io.model.places import ChunkRef, FrameRef, PageRef
from versioned_io.storage.chunks.chunk_columns import CHUNK_FIELDS, CHUNKS_TYPE
from versioned_io.storage.pages.boundaries import FORMAT_RULES, CutRules
from versioned_io.storage.pages.build import TreeBuilder
from versioned_io.storage.pages.page_source import PageSink, PageSource
from versioned_io.storage.pages.read import file_rows
from versioned_io.storage.pages.schema import ROWS, Entry, Page, encode_entries, encode_page, leaf_digest


class ChunkPlace(NamedTuple):
    """The place of a chunk.

    Attributes:
        offset: Of the frame in the pack.
        inner: Of the chunk in the frame's block.
    """

    pack: bytes
    offset: int
    inner: int


Moves: TypeAlias = Mapping[ChunkPlace, tuple[FrameRef, int]]
"""New places of chunks, as (frame, offset in it), by old place."""

_PAGES_AT_ONCE: Final = 64


def moves_of(healed: Iterable[Healed]) -> Moves:
    """Return the new places of the chunks among *healed*."""
    return {
        ChunkPlace(one.damaged.pack, one.damaged.offset, one.damaged.content.inner): (one.frame, one.inner)
        for one in healed
        if one.damaged.content.size
    }


@dataclass(slots=True)
class TreeMend:
    """One walk over the pages of a tree that hold the rows of a commit.

    Args:
        rows: The commit's files, with the columns of `ROWS`, sorted by path; their authors are not used.
        author: The commit that becomes the author of rows whose page was lost, 16 bytes.
        moves: Returns the new places of the given chunks, of files of *rows*, that have moved.
        source: Reads pages past every cache.
        kept: Reads pages that may still be in memory although they are damaged in the store.

    Attributes:
        healed: The rebuilt pages; filled by the walk.
    """

    rows: pa.Table
    author: bytes
    moves: Callable[[Sequence[ChunkRef]], Moves]
    source: PageSource
    sink: PageSink
    kept: PageSource
    rules: CutRules = FORMAT_RULES
    healed: list[Healed] = field(default_factory=list)
    _batch: pa.RecordBatch = field(init=False)
    _paths: list[str] = field(init=False)

    def __post_init__(self) -> None:
        batches = self.rows.combine_chunks().to_batches()
        batch = (
            batches[0] if batches else pa.RecordBatch.from_arrays([pa.nulls(0, one.type) for one in ROWS], schema=ROWS)
        )
        authors = fixed_column_of(self.author * batch.num_rows, len(self.author))
        self._batch = batch.set_column(ROWS.get_field_index("commit"), ROWS.field("commit"), authors)
        self._paths = batch.column(0).to_pylist()

    def run(self, root: PageRef) -> PageRef:
        """Return a tree with the digest of *root*, with the damaged pages of the rows rebuilt, or *root* itself.

        Raises:
            IntegrityError: A damaged page held other rows too, so it can't be rebuilt. Restore it from a backup.

        Cost: reads the pages of the rows from the store.
        """
        entry = Entry("", root.digest, root.pack, root.offset, root.stored_size, root.files, root.size_bytes)
        new = self._page(entry, root.level, 0, len(self._paths), is_last=True)
        return replace(root, pack=new.pack, offset=new.offset, stored_size=new.stored)

    def _page(self, entry: Entry, level: int, first: int, stop: int, *, is_last: bool) -> Entry:
        """Return the new entry of a page that holds the rows from *first* to *stop* among others."""
        try:
            page = self.source.load(entry.frame, level)
        except IntegrityError:
            made = self._made_again(entry, level, first, stop)
            if made is None:
                raise
            return made
        batch = self._below(page, first, stop, is_last=is_last) if level else self._moved(page, first, stop)
        return entry if batch is None else self._put(entry, level, batch)

    def _moved(self, page: Page, first: int, stop: int) -> pa.RecordBatch | None:
        wanted = set(self._paths[first:stop])
        numbers = [number for number, path in enumerate(page.paths) if path in wanted]
        rows = page.batch.take(number_column(numbers, pa.int64()))
        refs = [ref for row in file_rows(rows) for ref in row.chunks]
        return moved_leaf(page, self.moves(refs))

    def _below(self, page: Page, first: int, stop: int, *, is_last: bool) -> pa.RecordBatch | None:
        entries: list[Entry] = []
        for number, child in enumerate(page.entries):
            if number % _PAGES_AT_ONCE == 0:
                self._fetch(page, number, first, stop)
            takes_rest = is_last and number == len(page.entries) - 1
            end = stop if takes_rest else bisect_right(self._paths, child.last, first, stop)
            is_ours = end > first
            entries.append(self._page(child, page.level - 1, first, end, is_last=takes_rest) if is_ours else child)
            first = end
        return None if entries == page.entries else encode_entries(entries)

    def _fetch(self, page: Page, number: int, first: int, stop: int) -> None:
        """Load the next pages below *page* that hold some of the rows into the source's cache, together."""
        floor = page.paths[number - 1] if number else ""
        wanted: list[FrameRef] = []
        for child in page.entries[number : number + _PAGES_AT_ONCE]:
            if bisect_right(self._paths, child.last, first, stop) > bisect_right(self._paths, floor, first, stop):
                wanted.append(child.frame)
            floor = child.last
        # A damaged page is loaded again by itself later, and is rebuilt then.
        with suppress(IntegrityError):
            self.source.load_many(wanted, page.level - 1)

    def _made_again(self, entry: Entry, level: int, first: int, stop: int) -> Entry | None:
        """Return the lost page, rebuilt from the rows alone if that gives its digest, or else from memory; or None."""
        frame: FrameRef | None = None
        if stop - first == entry.files:
            rows = self._batch.slice(first, stop - first)
            frame = self._put_leaf(rows, entry) if level == 0 else self._put_index(rows, entry, level)
        if frame is None:
            kept = self.kept.find_kept(entry.frame)
            is_right = kept is not None and kept.level == level  # a forged index page may lead to one of another level
            frame = self.sink.put_page(encode_page(level, kept.batch)) if kept is not None and is_right else None
        return None if frame is None else self._noted(entry, frame)

    def _put(self, entry: Entry, level: int, batch: pa.RecordBatch) -> Entry:
        return self._noted(entry, self.sink.put_page(encode_page(level, batch)))

    def _noted(self, entry: Entry, frame: FrameRef) -> Entry:
        """Return the page's entry at its new place, and record the repaired copy for readers of older trees."""
        self.healed.append(Healed(Damaged(Content(entry.digest, 0, 0), entry.pack, entry.offset), frame))
        return entry._replace(pack=frame.pack, offset=frame.offset, stored=frame.stored_size)

    def _put_leaf(self, rows: pa.RecordBatch, entry: Entry) -> FrameRef | None:
        return self.sink.put_page(encode_page(0, rows)) if leaf_digest(rows) == entry.digest else None

    def _put_index(self, rows: pa.RecordBatch, entry: Entry, level: int) -> FrameRef | None:
        builder = TreeBuilder(self.sink, rules=self.rules)
        builder.push_rows(rows)
        made = builder.finish_at(level)
        return made.frame if made is not None and made.digest == entry.digest else None


def moved_leaf(page: Page, moves: Moves) -> pa.RecordBatch | None:
    """Return the rows of a leaf with the chunks of *moves* at their new places, or None if it has none of them."""
    if not moves:
        return None
    column = page.batch.column("chunks")
    chunks = pc.list_flatten(column)
    values = {one.name: pc.struct_field(chunks, one.name).to_pylist() for one in CHUNK_FIELDS}
    is_moved = False
    for number, place in enumerate(map(ChunkPlace, values["pack"], values["offset"], values["inner"])):
        new = moves.get(place)
        if new is None:
            continue
        is_moved = True
        frame, inner = new
        moved = {"pack": frame.pack, "offset": frame.offset, "stored": frame.stored_size, "inner": inner}
        for name, value in moved.items():
            values[name][number] = value
    if not is_moved:
        return None
    fields = [column_of(values[one.name], one.type) for one in CHUNK_FIELDS]
    structs = pa.StructArray.from_arrays(fields, fields=CHUNK_FIELDS)
    offsets = column.offsets if not column.offset else pc.subtract(column.offsets, column.offsets[0])
    lists = pa.ListArray.from_arrays(offsets, structs, type=CHUNKS_TYPE)
    columns = [lists if name == "chunks" else page.batch.column(name) for name in ROWS.names]
    return pa.RecordBatch.from_arrays(columns, schema=ROWS)
