"""A Bloom filter of the paths that a commit may have touched, so that the log of a path compares few commits.

Its entries are the touched paths, the directories above them, and marks. The mark of a directory is its path with a
final ``/``, and means that anything below it may have been touched. A deleted directory gets a mark. A commit with very
many paths gets marks in their place, since the single paths would need a large filter.

The size is that of git's changed-path filters in its commit-graph: 10 bits an entry and 7 hashes. So about one answer
in 120 is a false positive.

Source: B. H. Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors", 1970.
"""

from collections.abc import Iterable
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from versioned_io.model.columns import text_column
from versioned_io.model.paths import parent_directories

MOST_ENTRIES: Final = 2048
"""The filter then takes about 2.5 KiB in the commit's row and record; the log of a branch reads 200 rows at once."""

_BITS_AN_ENTRY: Final = 10
_HASHES: Final = 7
_SECOND_SEED: Final = 1
_ROOT_MARK: Final = "/"
_HAS_MARKS: Final = "//"
"""An entry that is not a path. Filters without it have no marks, so the directories above a path need no look-up."""


def touched_filter(paths: pa.Array | pa.ChunkedArray, whole: Iterable[str] = ()) -> bytes:
    """Return the filter of *paths*, all directories above them, and everything below the directories *whole*.

    With more than `MOST_ENTRIES` entries, marks of directories replace the paths in them, the deepest first.

    Args:
        paths: The files, as strings, each once.
        whole: Directories without a slash at the end; ``""`` is the root.

    Cost: 2 us an entry; above `MOST_ENTRIES`, 0.3 us for each path and level.
    """
    marks: pa.Array = pc.unique(text_column(list(whole)))
    while True:
        if len(paths) + len(marks) <= MOST_ENTRIES:
            entries = _entries(paths.to_pylist(), marks.to_pylist())
            if len(entries) <= MOST_ENTRIES:
                return _filter_of(entries)
        if len(paths):
            marks = _unique(marks, _directories(paths))
            paths = text_column([])
        else:
            depth = pc.count_substring(marks, "/")
            is_deepest = pc.equal(depth, pc.max(depth))
            marks = _unique(marks.filter(pc.invert(is_deepest)), _directories(marks.filter(is_deepest)))


class PathProbe:
    """Looks up one path, which is hashed once, in the filters of many commits."""

    def __init__(self, path: str) -> None:
        """Hash the file or directory *path*; ``""`` is the root."""
        self._path = _FilterEntry(path) if path else None
        self._has_marks = _FilterEntry(_HAS_MARKS)
        self._marks = [_FilterEntry(_ROOT_MARK), *(_FilterEntry(f"{above}/") for above in parent_directories(path))]

    def may_be_in(self, touched: bytes | None) -> bool:
        """Return whether a commit with this filter may have changed the path.

        False is certain. Without a filter, and for the root, the answer is True.

        Cost: 0.5 us; if the filter has marks, 0.5 us more for each directory above the path.
        """
        if touched is None or self._path is None or self._path.is_in(touched):
            return True
        return self._has_marks.is_in(touched) and any(mark.is_in(touched) for mark in self._marks)


class _FilterEntry:
    """An entry of filters, with its bit positions in filters of each size."""

    __slots__ = ("_hashes", "_places")

    def __init__(self, entry: str) -> None:
        self._hashes = _hashes_of(entry)
        self._places: dict[int, list[tuple[int, int]]] = {}

    def is_in(self, touched: bytes) -> bool:
        """Return whether a filter has every bit of the entry."""
        places = self._places.get(len(touched))
        if places is None:
            bits = _bits_of(self._hashes, len(touched) * 8)
            places = self._places[len(touched)] = [(bit // 8, 1 << bit % 8) for bit in bits]
        for byte, bit in places:  # noqa: SIM110 (a generator takes three times as long, and this runs for each commit of a history)
            if not touched[byte] & bit:
                return False
        return True


def _entries(paths: Iterable[str], marks: Iterable[str]) -> set[str]:
    entries: set[str] = set()
    for path in paths:
        entries.update(parent_directories(path), (path,))
    for directory in marks:
        # Files in the root have no named directory above them.
        above = (*parent_directories(directory), directory) if directory else ()
        entries.update(above, (f"{directory}/", _HAS_MARKS))
    return entries


def _filter_of(entries: set[str]) -> bytes:
    size_bytes = max(1, -(-len(entries) * _BITS_AN_ENTRY // 8))
    bits = bytearray(size_bytes)
    for entry in entries:
        for bit in _bits_of(_hashes_of(entry), size_bytes * 8):
            bits[bit // 8] |= 1 << bit % 8
    return bytes(bits)


def _hashes_of(entry: str) -> tuple[int, int]:
    data = entry.encode()
    return xxhash.xxh3_64_intdigest(data), xxhash.xxh3_64_intdigest(data, _SECOND_SEED)


def _bits_of(hashes: tuple[int, int], bits: int) -> list[int]:
    first, second = hashes
    return [(first + number * second) % bits for number in range(_HASHES)]


def _directories(paths: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return the parent directory of each of *paths*; ``""`` for files in the root."""
    return pc.replace_substring_regex(paths, "/?[^/]*$", "")


def _unique(*columns: pa.Array | pa.ChunkedArray) -> pa.Array:
    chunks = [chunk for one in columns for chunk in (one.chunks if isinstance(one, pa.ChunkedArray) else [one])]
    return pc.unique(pa.chunked_array(chunks, pa.string()))
