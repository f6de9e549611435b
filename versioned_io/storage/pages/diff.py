"""The difference between two trees, in time proportional to the change."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.model.columns import EMPTY_TEXT, text_column, whole_column
from versioned_io.model.path_ranges import PathRange
from versioned_io.model.places import PageRef
from versioned_io.storage.chunks.chunk_columns import DIGEST_TYPE
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.read import pages_in, rows_in
from versioned_io.storage.pages.schema import ROWS, Below

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
"""The columns of a diff. The old values of an added file are null, and so are the new values of a deleted one."""

_COMPARED: Final = ["path", "size", "digest", "attributes"]
_COMPARED_SCHEMA: Final = pa.schema([ROWS.field(name) for name in _COMPARED])
_PAGES_AT_ONCE: Final = 64


def diff(old: PageRef | None, new: PageRef | None, *, source: PageSource, prefix: str = "") -> pa.Table:
    """Return the files that differ between two trees, as rows of `DIFF` sorted by path.

    ``change`` is ``added``, ``modified`` (the content or the attributes differ) or ``deleted``. A file whose bytes
    only moved to another pack is unchanged.

    Args:
        prefix: Leave out paths that do not start with this text.

    Raises:
        IntegrityError: A page is damaged.

    Cost: reads the pages in which the trees differ, and those above them; the pages of one level together.
    """
    olds, news = _leaves_that_differ(old, new, PathRange.of_prefix(prefix), source)
    return _compare(olds.rows().combine_chunks(), news.rows().combine_chunks())


def differ_at(old: PageRef | None, new: PageRef | None, path: str, *, source: PageSource) -> bool:
    """Return whether two trees differ in the file *path*, or below the directory of that name.

    It is true if `diff` would return a row for one of these paths.

    Args:
        path: Without a slash at its end; ``""`` is the root.

    Raises:
        IntegrityError: A page is damaged.

    Cost: that of `diff`; 0.1 ms for a page of 1,000 files in memory.
    """
    below = PathRange.of_directory(path)
    olds, news = _leaves_that_differ(old, new, PathRange(path, below.end), source)
    ranges = [PathRange.of_path(path), below] if path else [below]
    return not _are_equal(olds.rows(ranges), news.rows(ranges))


def _leaves_that_differ(
    old: PageRef | None, new: PageRef | None, paths: PathRange, source: PageSource
) -> tuple["_Frontier", "_Frontier"]:
    """Return the leaf pages of each tree that the other tree does not have."""
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
            return olds, news
        olds.descend()
        news.descend()


class _Frontier:
    """The pages of one level of one tree that may differ from the other tree."""

    def __init__(self, root: PageRef | None, paths: PathRange, source: PageSource) -> None:
        self.level = root.level if root is not None else 0
        self._paths = paths
        self._source = source
        self._below = [] if root is None else [Below.of_root(root)]

    def digests(self) -> set[bytes]:
        return {below.entry.digest for below in self._below}

    def drop(self, digests: set[bytes]) -> None:
        """Drop the pages with these digests: a page in both trees has no difference, since each path is in one page."""
        self._below = [below for below in self._below if below.entry.digest not in digests]

    def descend(self) -> None:
        pages = self._source.load_below(self._below, self.level)
        each = zip(self._below, pages, strict=True)
        self._below = [one for below, page in each for one in pages_in(page, self._paths, below.after)]
        self.level -= 1

    def rows(self, ranges: Sequence[PathRange] | None = None) -> pa.Table:
        """Return the compared columns of the rows in *ranges*, by default in all paths of the diff."""
        batches: list[pa.RecordBatch] = []
        for first in range(0, len(self._below), _PAGES_AT_ONCE):
            pages = self._source.load_below(self._below[first : first + _PAGES_AT_ONCE], 0)
            found = (rows_in(page, one) for page in pages for one in ranges or [self._paths])
            batches += [rows.select(_COMPARED) for rows in found if rows.num_rows]
        return pa.Table.from_batches(batches, schema=_COMPARED_SCHEMA)


def _are_equal(olds: pa.Table, news: pa.Table) -> bool:
    if not (olds["path"].equals(news["path"]) and olds["digest"].equals(news["digest"])):
        return False
    if olds["attributes"].equals(news["attributes"]):
        return True
    before, after = (pc.fill_null(rows["attributes"], EMPTY_TEXT) for rows in (olds, news))
    return bool(before.equals(after))


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
