"""Which paths a commit may have touched: a Bloom filter, so that the log of a path compares few commits.

Its entries are the touched paths, the directories that they are in, and marks: the mark of a directory, which is its
path with a ``/`` behind, says that anything below it may have been touched. A directory that was deleted is such a
mark, and so is what a commit of very many paths touched, since one by one they would need a large filter.

Source: B. H. Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors", 1970; sized as git sizes the filters
of changed paths in its commit-graph: 10 bits an entry and 7 hashes, so that about one answer in 120 is a false yes.
"""

from collections.abc import Iterable
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from versioned_io.columns import text_column
from versioned_io.paths import parent_directories

MOST_ENTRIES: Final = 2048
"""Some 2.5 KiB in the commit's row and record; the log of a branch reads 200 rows at once."""

_BITS_AN_ENTRY: Final = 10
_HASHES: Final = 7
_SECOND_SEED: Final = 1
_ROOT_MARK: Final = "/"
_HAS_MARKS: Final = "//"
"""An entry that no path is: without it there is no need to ask for the mark of every directory above a path."""


def touched_filter(paths: pa.Array | pa.ChunkedArray, whole: Iterable[str] = ()) -> bytes:
    """Return the filter of *paths*, all directories that they are in, and everything below the directories *whole*.

    Where that are more than `MOST_ENTRIES`, whole directories stand for the paths in them, the deepest first.

    Args:
        paths: The files, as strings, each once.
        whole: Directories without a slash at the end; ``""`` is the root.

    Cost: 2 us an entry; where they are too many, 0.3 us a path and level.
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


def may_have_touched(touched: bytes | None, path: str) -> bool:
    """Say whether a commit with this filter may have changed the file *path* or something below that directory.

    False is certain; without a filter, and for the root, it may.

    Cost: 2 us; where directories were touched as a whole, as much for each directory above *path*.
    """
    if touched is None or not path or _holds(touched, path):
        return True
    if not _holds(touched, _HAS_MARKS):
        return False
    return _holds(touched, _ROOT_MARK) or any(_holds(touched, f"{above}/") for above in parent_directories(path))


def _entries(paths: Iterable[str], marks: Iterable[str]) -> set[str]:
    entries: set[str] = set()
    for path in paths:
        entries.update(parent_directories(path), (path,))
    for directory in marks:
        # What is below the root is below no directory that could be asked for by name.
        above = (*parent_directories(directory), directory) if directory else ()
        entries.update(above, (f"{directory}/", _HAS_MARKS))
    return entries


def _filter_of(entries: set[str]) -> bytes:
    size_bytes = max(1, -(-len(entries) * _BITS_AN_ENTRY // 8))
    bits = bytearray(size_bytes)
    for entry in entries:
        for bit in _bits_of(entry, size_bytes * 8):
            bits[bit // 8] |= 1 << bit % 8
    return bytes(bits)


def _holds(touched: bytes, entry: str) -> bool:
    return all(touched[bit // 8] >> bit % 8 & 1 for bit in _bits_of(entry, len(touched) * 8))


def _bits_of(entry: str, bits: int) -> list[int]:
    data = entry.encode()
    first, second = xxhash.xxh3_64_intdigest(data), xxhash.xxh3_64_intdigest(data, _SECOND_SEED)
    return [(first + number * second) % bits for number in range(_HASHES)]


def _directories(paths: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return the directory that each of *paths* is in; ``""`` for those in the root."""
    return pc.replace_substring_regex(paths, "/?[^/]*$", "")


def _unique(*columns: pa.Array | pa.ChunkedArray) -> pa.Array:
    chunks = [chunk for one in columns for chunk in (one.chunks if isinstance(one, pa.ChunkedArray) else [one])]
    return pc.unique(pa.chunked_array(chunks, pa.string()))
