"""Reading a tree: one path, many paths, a directory, a range."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

import pyarrow as pa

from versioned_io.model.columns import bool_column, number_column, text_column
from versioned_io.model.path_ranges import PathRange, successor
from versioned_io.model.places import ChunkRef, PageRef
from versioned_io.storage.chunks.chunk_columns import DIGEST_TYPE, chunk_refs
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.schema import COMMIT_TYPE, ROWS, Below, Page

LISTING: Final = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("is_directory", pa.bool_(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("digest", DIGEST_TYPE),
        pa.field("attributes", pa.string()),
        pa.field("commit", COMMIT_TYPE),
    ]
)
"""The columns of a directory's listing. For a subdirectory the columns from the size on are null."""

_LISTED: Final = pa.schema([ROWS.field(name) for name in ("path", "size", "digest", "attributes", "commit")])
_SHORT_GROUPS: Final = (1, 2, 4, 8)
_LONG_GROUP: Final = 16
"""How many leaves are read together: the first number at the start of a scan, and the second later."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file of a tree.

    Args:
        digest: The content's name, 32 bytes.
        attributes: A canonical JSON object, or ``None``.
        commit: The ID, 16 bytes, of the commit that wrote this version of the file.
    """

    path: str
    size: int
    digest: bytes
    chunks: tuple[ChunkRef, ...]
    attributes: str | None
    commit: bytes


@dataclass(frozen=True, slots=True)
class DirectoryStat:
    """The files below a directory, at any depth. With 0 files there is no such directory."""

    files: int
    size_bytes: int


def file_rows(rows: pa.RecordBatch | pa.Table) -> Iterator[FileRow]:
    """Yield the rows of `ROWS` as values. Cost: some microseconds a row, so don't use it for whole trees."""
    columns = (column.to_pylist() for column in rows.columns)
    for path, size, digest, chunks, attributes, commit in zip(*columns, strict=True):
        yield FileRow(path, size, digest, chunk_refs(chunks), attributes, commit)


def lookup(root: PageRef | None, path: str, *, source: PageSource) -> FileRow | None:
    """Return the file *path*, or ``None`` if the tree has no such file (it may be a directory).

    Raises:
        IntegrityError: A page is damaged.

    Cost: reads 1 page of each level.
    """
    table = lookup_many(root, [path], source=source)
    return next(file_rows(table), None)


def lookup_many(root: PageRef | None, paths: Sequence[str], *, source: PageSource) -> pa.Table:
    """Return the rows of the *paths* that are files of the tree, sorted by path.

    Args:
        paths: In any order; duplicates are ignored.

    Raises:
        IntegrityError: A page is damaged.

    Cost: reads the pages that hold the paths, each once.
    """
    wanted = sorted(set(paths))
    found: list[pa.RecordBatch] = []
    for page, first, stop in pages_of_keys(root, wanted, source=source):
        rows = []
        for path in wanted[first:stop]:
            row = bisect_left(page.paths, path)
            if page.paths[row] == path:
                rows.append(row)
        if len(rows) == 1:
            found.append(page.batch.slice(rows[0], 1))
        elif rows:
            found.append(page.batch.take(number_column(rows, pa.int64())))
    return pa.Table.from_batches(found, schema=ROWS)


def scan(
    root: PageRef | None, prefix: str = "", *, source: PageSource, start: str | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows whose path starts with *prefix*, sorted by path, in batches of at most one page.

    Args:
        prefix: Any text: ``logs/`` for a directory, ``logs/2012-`` for the literal start of a glob.
        start: Leave out paths that sort before this one.

    Raises:
        IntegrityError: A page is damaged.

    Cost: reads the pages that hold the rows, up to 16 ahead; about 0.1 s for 1,000,000 rows in a local store.
    """
    paths = PathRange.of_prefix(prefix)
    if start is not None and start > prefix:
        paths = PathRange(start, paths.end)
    for page in leaves(root, paths, source=source):
        rows = rows_in(page, paths)
        if rows.num_rows:
            yield rows


def list_directory(root: PageRef | None, directory: str = "", *, source: PageSource) -> pa.Table:
    """Return the immediate children of *directory* as rows of `LISTING`, sorted by path.

    Args:
        directory: Without a slash at its end; ``""`` is the root.

    Raises:
        IntegrityError: A page is damaged.

    Cost: reads the pages with the children's first rows. The other pages below a subdirectory are skipped.
    """
    paths = PathRange.of_directory(directory)
    skip = len(paths.start)
    files: list[pa.RecordBatch] = []
    directories: list[str] = []
    while True:
        page = next(leaves(root, paths, source=source), None)
        if page is None:
            break
        rows, next_start = _children_of(page, paths, skip, directories)
        files.append(page.batch.select(_LISTED.names).take(number_column(rows, pa.int64())))
        if next_start is None:
            break
        paths = PathRange(next_start, paths.end)
    return _listing(files, directories)


def stat_directory(root: PageRef | None, directory: str = "", *, source: PageSource) -> DirectoryStat:
    """Return the number of files below *directory*, and their total size.

    Raises:
        IntegrityError: A page is damaged.

    Cost: reads at most 2 pages of each level, independent of the number of files.
    """
    if root is None:
        return DirectoryStat(0, 0)
    files, size_bytes = _sum(Below.of_root(root), root.level, PathRange.of_directory(directory), source)
    return DirectoryStat(files, size_bytes)


def leaves(root: PageRef | None, paths: PathRange, *, source: PageSource) -> Iterator[Page]:
    """Yield the leaf pages that may hold *paths*, from left to right; the read-ahead grows with the scan."""
    if root is None:
        return
    page = source.load_root(root)
    if not page.level:
        if page.paths[-1] >= paths.start:
            yield page
        return
    found = _leaves_below(page, "", paths, source)
    for ahead in _SHORT_GROUPS:
        yield from source.load_below(list(islice(found, ahead)), 0)
    following = list(islice(found, _LONG_GROUP))
    if following:
        yield from _read_ahead(following, found, source)


def _leaves_below(page: Page, after: str, paths: PathRange, source: PageSource) -> Iterator[Below]:
    """Yield references to the leaves that may hold *paths*; index pages are read on the way."""
    for below in pages_in(page, paths, after):
        if page.level == 1:
            yield below
        else:
            (next_page,) = source.load_below([below], page.level - 1)
            yield from _leaves_below(next_page, below.after, paths, source)


def _read_ahead(group: list[Below], found: Iterator[Below], source: PageSource) -> Iterator[Page]:
    """Yield the leaves of *group*, then those of *found*; while the caller uses one group, a thread reads the next."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(source.load_below, group, 0, is_long_scan=True)
        while following := list(islice(found, _LONG_GROUP)):
            pages = coming.result()
            coming = pool.submit(source.load_below, following, 0, is_long_scan=True)
            yield from pages
        yield from coming.result()


def pages_in(page: Page, paths: PathRange, after: str) -> Iterator[Below]:
    """Return the pages below an index page that may hold some of *paths*.

    Args:
        after: The last path before the index page in the whole tree.
    """
    lasts = page.paths
    first = bisect_left(lasts, paths.start)
    stop = len(lasts) if paths.end is None else bisect_left(lasts, paths.end, lo=first) + 1
    before = [lasts[first - 1] if first else after, *lasts[first : stop - 1]]
    return map(Below, page.entries[first:stop], before)


def rows_in(page: Page, paths: PathRange) -> pa.RecordBatch:
    """Return the rows of a leaf that are in *paths*, without a copy."""
    column = page.batch.column(0)
    if column[0].as_py() >= paths.start and (paths.end is None or column[-1].as_py() < paths.end):
        return page.batch
    first, stop = paths.rows_of(page.paths)
    return page.batch.slice(first, stop - first)


class KeyedPage(NamedTuple):
    """A leaf page, and which of the keys that were asked for are or would be on it: *first* to *stop* (exclusive)."""

    page: Page
    first: int
    stop: int


def pages_of_keys(root: PageRef | None, keys: Sequence[str], *, source: PageSource) -> Iterator[KeyedPage]:
    """Yield the leaf pages where *keys* are or would be.

    Args:
        keys: Sorted. Keys after the last path of the tree are left out.

    Cost: reads the pages that hold the keys, each once; the pages of one level together.
    """
    if root is None or not keys:
        return
    frontier = [(Below.of_root(root), 0, len(keys))]
    for level in range(root.level, -1, -1):
        pages = source.load_below([below for below, _, _ in frontier], level)
        if level == 0:
            for page, (_, first, stop) in zip(pages, frontier, strict=True):
                end = bisect_right(keys, page.paths[-1], first, stop)
                if end > first:
                    yield KeyedPage(page, first, end)
            return
        following = []
        for page, (below, first, stop) in zip(pages, frontier, strict=True):
            at = first
            while at < stop:
                number = bisect_left(page.paths, keys[at])
                if number == len(page.paths):
                    break
                entry = page.entries[number]
                end = bisect_right(keys, entry.last, at, stop)
                after = page.paths[number - 1] if number else below.after
                following.append((Below(entry, after), at, end))
                at = end
        frontier = following


def _children_of(page: Page, paths: PathRange, skip: int, directories: list[str]) -> tuple[list[int], str | None]:
    """Return the rows of a leaf that are files of the directory, and the path at which the listing continues.

    Appends the subdirectories. One bisection skips each subdirectory, so the loop runs once a child, not once a row.
    """
    names = page.paths
    row, stop = paths.rows_of(names)
    at_end = stop < len(names)
    rows: list[int] = []
    while row < stop:
        path = names[row]
        slash = path.find("/", skip)
        if slash < 0:
            rows.append(row)
            row += 1
            continue
        subdirectory = path[:slash]
        directories.append(subdirectory)
        beyond = PathRange.of_directory(subdirectory).end
        if beyond is None:
            return rows, None
        row = bisect_left(names, beyond, row)
        if row == len(names):
            return rows, beyond
    return rows, None if at_end else successor(names[-1])


def _listing(files: Iterable[pa.RecordBatch], directories: list[str]) -> pa.Table:
    table = pa.Table.from_batches(files, schema=_LISTED)
    count = len(directories)
    listed = pa.Table.from_arrays(
        [table["path"], bool_column([False] * table.num_rows), *table.columns[1:]], schema=LISTING
    )
    if not count:
        return listed
    nulls = [pa.nulls(count, field.type) for field in list(LISTING)[2:]]
    below = pa.Table.from_arrays([text_column(directories), bool_column([True] * count), *nulls], schema=LISTING)
    return pa.concat_tables([listed, below]).sort_by("path")


def _sum(of: Below, level: int, paths: PathRange, source: PageSource) -> tuple[int, int]:
    (page,) = source.load_below([of], level)
    if level == 0:
        sizes = rows_in(page, paths).column(1)
        return len(sizes), sum(sizes.to_pylist())
    files = size_bytes = 0
    for below in pages_in(page, paths, of.after):
        entry = below.entry
        if successor(below.after) >= paths.start and (paths.end is None or entry.last < paths.end):
            files, size_bytes = files + entry.files, size_bytes + entry.size_bytes
        else:
            more = _sum(below, level - 1, paths, source)
            files, size_bytes = files + more[0], size_bytes + more[1]
    return files, size_bytes
