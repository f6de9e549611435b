"""Editing a tree: only the pages that a change touches are read and written."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from versioned_io.model.columns import column_of, number_column
from versioned_io.model.path_ranges import PathRange, merge_ranges, successor
from versioned_io.model.places import PageRef
from versioned_io.storage.pages.boundaries import FORMAT_RULES, CutRules
from versioned_io.storage.pages.build import TreeBuilder, build_tree, check_rows
from versioned_io.storage.pages.page_source import PageSink, PageSource
from versioned_io.storage.pages.schema import ROWS, Below, Entry, Page


def edit_tree(
    root: PageRef | None,
    upserts: pa.Table | None,
    deletes: Sequence[str],
    *,
    source: PageSource,
    sink: PageSink,
    rules: CutRules = FORMAT_RULES,
) -> PageRef | None:
    """Apply *deletes* and then *upserts* to the tree *root*, write the new pages, and return the new root.

    The result equals that of `build_tree` for the same rows. Deleting a missing path changes nothing.

    Args:
        root: The tree to start from; ``None`` is the empty tree.
        upserts: Rows to add or replace, with the columns of `ROWS`, strictly ascending by path.
        deletes: Paths of files. A path that ends with ``/`` deletes everything below it; ``""`` deletes everything.
        rules: The rules that *root* was cut by.

    Raises:
        InvalidInputError: The rows are not sorted, or have another schema. Fix them.

    Cost: reads and writes about 1 page for every touched page and every page above it. For k scattered files in a tree
        of n, that is about k · log(n) pages.
    """
    if root is None:
        return build_tree(upserts, sink=sink, rules=rules) if upserts is not None else None
    rows = _one_batch(upserts)
    ranges = deleted_ranges(deletes)
    if not rows.num_rows and not ranges:
        return root
    edit = _Edit(source, sink, rules, rows, ranges)
    return edit.run(root)


def deleted_ranges(deletes: Sequence[str]) -> list[PathRange]:
    """Return the paths that *deletes* covers, as merged ranges; a path with a final ``/`` covers all paths below it."""
    return merge_ranges(
        PathRange.of_prefix(path) if path.endswith("/") or not path else PathRange.of_path(path) for path in deletes
    )


def _one_batch(upserts: pa.Table | None) -> pa.RecordBatch:
    if upserts is None or not upserts.num_rows:
        return pa.RecordBatch.from_arrays([column_of([], field.type) for field in ROWS], schema=ROWS)
    return check_rows(pa.concat_batches(upserts.to_batches()))


class _Edit:
    """One pass over a tree, from left to right, that pushes unchanged pages whole and changed pages as rows."""

    def __init__(
        self, source: PageSource, sink: PageSink, rules: CutRules, rows: pa.RecordBatch, ranges: list[PathRange]
    ) -> None:
        self._source = source
        self._rows = rows
        self._paths: list[str] = rows.column(0).to_pylist()
        self._starts = [piece.start for piece in ranges]
        self._ends = [piece.end for piece in ranges if piece.end is not None]
        self._known: dict[tuple[int, bytes], Entry] = {}
        self._builder = TreeBuilder(sink, rules=rules, known=self._known)

    def run(self, root: PageRef) -> PageRef | None:
        self._visit(Below.of_root(root), root.level, 0, len(self._paths), at_end=True)
        return self._shrink(self._builder.finish())

    def _visit(self, below: Below, level: int, first: int, stop: int, *, at_end: bool) -> None:
        """Push the edited form of the page *below* of *level*.

        Args:
            first: The number of the first upsert that belongs to the page.
            stop: The number of the first upsert after it that does not.
            at_end: Whether the page is the last of its level, which takes all remaining upserts.
        """
        entry = below.entry
        (page,) = self._source.load_below([below], level)
        if level == 0:
            self._known[0, entry.digest] = entry._replace(last=page.paths[-1])
            replaced = self._replaced(page, first, stop) if self._builder.begins_page(0) else None
            if replaced is None:
                self._builder.push_rows(self._merge(page, first, stop))
            else:
                self._builder.push_leaf(replaced)
            return
        entries = page.entries
        self._known[level, entry.digest] = entry._replace(last=entries[-1].last)
        number = 0
        after = below.after
        while number < len(entries):
            child = entries[number]
            floor = successor(after) if after else ""
            is_last = at_end and number == len(entries) - 1
            child_stop = stop if is_last else bisect_right(self._paths, child.last, first, stop)
            touched, gone = self._deletes(floor, None if is_last else child.last)
            if child_stop > first or touched or not self._builder.begins_page(level - 1):
                if not gone or child_stop > first:
                    self._visit(Below(child, after), level - 1, first, child_stop, at_end=is_last)
                number += 1
            else:
                run_end = self._untouched_until(entries, number, first, at_end=at_end)
                self._builder.push_pages(level - 1, entries[number:run_end])
                number = run_end
            first = child_stop
            after = entries[number - 1].last

    def _untouched_until(self, entries: list[Entry], number: int, first: int, *, at_end: bool) -> int:
        """Return the number of the first page after *number* that an edit touches."""
        limits = []
        if first < len(self._paths):
            limits.append(self._paths[first])
        following = bisect_right(self._starts, entries[number].last)
        if following < len(self._starts):
            limits.append(self._starts[following])
        if not limits:
            return len(entries)
        limit = min(limits)
        end = bisect_left(entries, limit, lo=number + 1, key=lambda entry: entry.last)
        # The last page of a level also takes upserts that sort after it, so it is visited separately.
        return min(end, len(entries) - 1) if at_end and number < len(entries) - 1 else end

    def _deletes(self, floor: str, last: str | None) -> tuple[bool, bool]:
        """Return whether a deletion touches the paths from *floor* to *last*, and whether one covers them all."""
        number = bisect_right(self._ends, floor)
        if number == len(self._starts) or (last is not None and self._starts[number] > last):
            return False, False
        end = self._ends[number] if number < len(self._ends) else None
        covered = self._starts[number] <= floor and (end is None or (last is not None and end > last))
        return True, covered

    def _replaced(self, page: Page, first: int, stop: int) -> pa.RecordBatch | None:
        """Return the edited rows of a leaf if the edits only replace rows, so that its end stays, or else None."""
        paths = page.paths
        number = bisect_right(self._ends, paths[0])
        if number < len(self._starts) and self._starts[number] <= paths[-1]:
            return None
        order = np.arange(len(paths))
        for upsert, path in enumerate(self._paths[first:stop], len(paths)):
            row = bisect_left(paths, path)
            if row == len(paths) or paths[row] != path:
                return None
            order[row] = upsert
        rows = pa.concat_batches([page.batch, self._rows.slice(first, stop - first)])
        return rows.take(number_column(order, pa.int64()))

    def _merge(self, page: Page, first: int, stop: int) -> pa.RecordBatch:
        """Return the rows of a leaf after the edits."""
        paths = page.paths
        dropped: set[int] = set()
        number = bisect_right(self._ends, paths[0])
        while number < len(self._starts) and self._starts[number] <= paths[-1]:
            end = self._ends[number] if number < len(self._ends) else None
            dropped.update(range(*PathRange(self._starts[number], end).rows_of(paths)))
            number += 1
        for path in self._paths[first:stop]:
            row = bisect_left(paths, path)
            if row < len(paths) and paths[row] == path:
                dropped.add(row)
        if not dropped and first == stop:
            return page.batch
        order = [row for row in range(len(paths)) if row not in dropped]
        if first == stop:
            return page.batch.take(number_column(order, pa.int64()))
        count = len(paths)
        merged_paths = paths + self._paths[first:stop]
        order += range(count, len(merged_paths))
        order.sort(key=merged_paths.__getitem__)  # two sorted runs: timsort merges them in one pass
        rows = pa.concat_batches([page.batch, self._rows.slice(first, stop - first)])
        return rows.take(number_column(order, pa.int64()))

    def _shrink(self, root: PageRef | None) -> PageRef | None:
        """Return the root without upper levels of a single page, which remain if only one old page is left."""
        while root is not None and root.level > 0:
            if root.frame in self._builder.written:
                return root  # a root page that the builder wrote has several rows
            page = self._source.load_root(root)
            if page.batch.num_rows > 1:
                return root
            root = page.entries[0].ref(root.level - 1)
        return root
