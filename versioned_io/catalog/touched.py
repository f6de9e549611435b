"""Which paths a commit may have touched: a Bloom filter, so that the log of a path compares few commits.

Source: B. H. Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors", 1970; sized as git sizes the filters
of changed paths in its commit-graph: 10 bits an entry and 7 hashes, so that about one answer in 120 is a false yes.
"""

from collections.abc import Iterable
from typing import Final

import xxhash

from versioned_io.paths import parent_directories

MOST_ENTRIES: Final = 512
_BITS_AN_ENTRY: Final = 10
_HASHES: Final = 7
_SECOND_SEED: Final = 1


def touched_filter(paths: Iterable[str]) -> bytes | None:
    """Return the filter of *paths* and all directories that they are in; None when they are too many for one.

    Cost: 2 us an entry.
    """
    entries: set[str] = set()
    for path in paths:
        entries.update(parent_directories(path), (path,))
        if len(entries) > MOST_ENTRIES:
            return None
    size_bytes = max(1, -(-len(entries) * _BITS_AN_ENTRY // 8))
    bits = bytearray(size_bytes)
    for entry in entries:
        for bit in _bits_of(entry, size_bytes * 8):
            bits[bit // 8] |= 1 << bit % 8
    return bytes(bits)


def may_have_touched(touched: bytes | None, path: str) -> bool:
    """Say whether a commit with this filter may have changed the file *path* or something below that directory.

    False is certain; without a filter, and for the root, it may.

    Cost: 2 us.
    """
    if touched is None or not path:
        return True
    return all(touched[bit // 8] >> bit % 8 & 1 for bit in _bits_of(path, len(touched) * 8))


def _bits_of(entry: str, bits: int) -> list[int]:
    data = entry.encode()
    first, second = xxhash.xxh3_64_intdigest(data), xxhash.xxh3_64_intdigest(data, _SECOND_SEED)
    return [(first + number * second) % bits for number in range(_HASHES)]
