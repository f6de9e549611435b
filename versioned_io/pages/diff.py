"""What changed between two trees, in time proportional to the change."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.chunks.refs import DIGEST_TYPE
from versioned_io.columns import EMPTY_TEXT, text_column, whole_column
from versioned_io.pages.ranges import PathRange
from versioned_io.pages.read import entries_in, rows_in
from versioned_io.pages.schema import ROWS, Entry, PageRef
from versioned_io.pages.source import PageSource

DIFF: Final = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("change", pa.string(), nullable=False),
        pa.field("old_size", pa.int64()),
        pa.field("new_size", pa.int64()),
        pa.field("old_digest", DIGEST_TYPE),
        pa.field("new_digest", DIGEST_TYPE),
    ]
)
"""The columns of a diff; what a file was not, or is no longer, is null."""

_COMPARED: Final = ["path", "size", "digest", "attributes"]
_COMPARED_SCHEMA: Final = pa.schema([ROWS.field(name) for name in _COMPARED])
_PAGES_AT_ONCE: Final = 64


def diff(old: PageRef | None, new: PageRef | None, *, source: PageSource, prefix: str = "") -> pa.Table:
    """Return the files that differ between two trees, as rows of `DIFF` sorted by path.

    ``change`` is ``added``, ``modified`` (the content or the attributes differ) or ``deleted``. That the same bytes
    lie somewhere else is no change.

    Args:
        prefix: Leave out paths that do not start with this text.

    Raises:
        IntegrityError: A page is damaged.

    Cost: the pages in which the trees differ, and those above them; the pages of one level are asked for together.
    """
    paths = PathRange.of_prefix(prefix)
    olds, news = _Frontier(old, paths, source), _Frontier(new, paths, source)
    while True:
        while olds.level > news.level:
            olds.descend()
        while news.level > olds.level:
            news.descend()
        common = olds.digests() & news.digests()
        olds.drop(common)
        news.drop(common)
        if olds.level == 0:
            return _compare(olds.rows(), news.rows())
        olds.descend()
        news.descend()


class _Frontier:
    """The pages of one level of one tree that may differ from the other tree."""

    def __init__(self, root: PageRef | None, paths: PathRange, source: PageSource) -> None:
        self.level = root.level if root is not None else 0
        self._paths = paths
        self._source = source
        self._entries: list[Entry] = []
        if root is not None:
            place = (root.pack, root.offset, root.stored_size)
            self._entries.append(Entry("", root.digest, *place, root.files, root.size_bytes))

    def digests(self) -> set[bytes]:
        return {entry.digest for entry in self._entries}

    def drop(self, digests: set[bytes]) -> None:
        """Drop the pages with these digests: a path is in one page only, so what is in both trees is equal."""
        self._entries = [entry for entry in self._entries if entry.digest not in digests]

    def descend(self) -> None:
        pages = self._source.load_many([entry.frame for entry in self._entries], self.level)
        self._entries = [entry for page in pages for entry in entries_in(page, self._paths)]
        self.level -= 1

    def rows(self) -> pa.Table:
        batches: list[pa.RecordBatch] = []
        for first in range(0, len(self._entries), _PAGES_AT_ONCE):
            group = self._entries[first : first + _PAGES_AT_ONCE]
            pages = self._source.load_many([entry.frame for entry in group], 0)
            batches += [rows_in(page, self._paths).select(_COMPARED) for page in pages]
        return pa.Table.from_batches(batches, schema=_COMPARED_SCHEMA).combine_chunks()


def _compare(olds: pa.Table, news: pa.Table) -> pa.Table:
    old_paths, new_paths = whole_column(olds["path"]), whole_column(news["path"])
    partner = pc.index_in(old_paths, value_set=new_paths)
    stays = pc.is_valid(partner)
    before = olds.filter(stays)
    after = news.take(partner.drop_null())
    differs = pc.or_(
        pc.not_equal(before["digest"], after["digest"]),
        pc.not_equal(pc.fill_null(before["attributes"], EMPTY_TEXT), pc.fill_null(after["attributes"], EMPTY_TEXT)),
    )
    before, after = before.filter(differs), after.filter(differs)
    deleted = olds.filter(pc.invert(stays))
    added = news.filter(pc.invert(pc.is_in(new_paths, value_set=old_paths)))
    changes = [
        _changes("added", None, added),
        _changes("modified", before, after),
        _changes("deleted", deleted, None),
    ]
    return pa.concat_tables(changes).sort_by("path")


def _changes(change: str, old: pa.Table | None, new: pa.Table | None) -> pa.Table:
    known = new if new is not None else old
    assert known is not None  # noqa: S101 - for the type checker: one of the two is given
    count = known.num_rows
    columns: Sequence[pa.ChunkedArray | pa.Array] = [
        known["path"],
        text_column([change] * count),
        old["size"] if old is not None else pa.nulls(count, pa.int64()),
        new["size"] if new is not None else pa.nulls(count, pa.int64()),
        old["digest"] if old is not None else pa.nulls(count, DIGEST_TYPE),
        new["digest"] if new is not None else pa.nulls(count, DIGEST_TYPE),
    ]
    return pa.Table.from_arrays(columns, schema=DIFF)
