"""Sets of contents with their places, as 64-bit keys, so that ten million of them fit into 80 MB."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Keys = npt.NDArray[np.uint64]

_PRIMES: Final = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F)  # two primes of XXH64
_COMPACTED_AT: Final = 1 << 16
NO_KEYS: Final[Keys] = np.empty(0, np.uint64)


class KeySet:
    """A set of keys that grows in batches. Memory: 8 bytes a key, and 16 while it is sorted."""

    def __init__(self) -> None:
        self._sorted = NO_KEYS
        self._added: list[Keys] = []
        self._added_count = 0

    def __len__(self) -> int:
        self._compact()
        return len(self._sorted)

    def add(self, keys: Keys) -> None:
        """Add *keys*, some of which may be in the set already."""
        self._added.append(keys)
        self._added_count += len(keys)
        if self._added_count > max(_COMPACTED_AT, len(self._sorted)):
            self._compact()

    def contains(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Return for each of *keys* whether the set contains it."""
        self._compact()
        if not len(self._sorted):
            return np.zeros(len(keys), np.bool_)
        at = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return np.asarray(self._sorted[at] == keys)

    def _compact(self) -> None:
        if self._added:
            self._sorted = np.unique(np.concatenate([self._sorted, *self._added]))
            self._added, self._added_count = [], 0


def mix(columns: Iterable[npt.NDArray[np.generic]]) -> Keys:
    """Return one key for each row of *columns* of unsigned numbers.

    The probability that a wrong key equals one of n keys by chance is n / 2**64: 5e-13 for ten million.
    """
    key = NO_KEYS
    for number, column in enumerate(columns):
        word = column.astype(np.uint64)
        if number == 0:
            key = np.full(len(word), _PRIMES[0], np.uint64)
        key = (key ^ word) * np.uint64(_PRIMES[1])
        key ^= key >> np.uint64(29)
        key *= np.uint64(_PRIMES[0])
        key ^= key >> np.uint64(32)
    return key


def words_of(data: bytes | bytearray | memoryview, width: int) -> list[npt.NDArray[np.uint64]]:
    """Return binary values of *width* bytes, a multiple of 8, as columns of 8 bytes each."""
    table = np.frombuffer(data, np.uint64).reshape(-1, width // 8)
    return [table[:, number] for number in range(width // 8)]


def words_of_column(column: pa.Array) -> list[npt.NDArray[np.uint64]]:
    """Return an Arrow column of binary values of a fixed width as columns of 8 bytes each."""
    width = column.type.byte_width
    if not len(column):
        return [NO_KEYS] * (width // 8)
    data = memoryview(column.buffers()[1])
    return words_of(data[column.offset * width : (column.offset + len(column)) * width], width)
