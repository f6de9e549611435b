"""Counting distinct items that are too many to keep in memory: each takes 24 bytes, whatever its size."""

from collections.abc import Sequence
from typing import Final

import numpy as np

HASH_BYTES: Final = 16
"""Among 10,000,000,000 distinct items, the chance that two have the same hash is about 1 in 10^19."""

_FEWEST_NEW: Final = 65_536


class DistinctSizes:
    """The number of distinct items that were added, and their total size; an item is identified by a hash.

    Memory: 24 bytes for each distinct item, and up to three times that while new items are merged with the old.
    """

    def __init__(self) -> None:
        self._known = np.empty((3, 0), np.uint64)
        self._new: list[np.ndarray] = []
        self._count_of_new = 0

    def add(self, hashes: bytes, sizes: Sequence[int]) -> None:
        """Add items by their concatenated *hashes* of `HASH_BYTES`, with the size of each. Cost: about 0.3 us each."""
        words = np.frombuffer(hashes, np.uint64).reshape(-1, 2)
        self._new.append(np.stack([words[:, 0], words[:, 1], np.asarray(sizes, np.uint64)]))
        self._count_of_new += len(sizes)
        # Merged when there are as many new items as old, so that each is sorted a logarithmic number of times.
        if self._count_of_new >= max(_FEWEST_NEW, self._known.shape[1]):
            self._settle()

    def total(self) -> int:
        """Return the total size of all distinct items."""
        self._settle()
        return int(self._known[2].sum())

    def __len__(self) -> int:
        self._settle()
        return int(self._known.shape[1])

    def _settle(self) -> None:
        if not self._new:
            return
        everything = np.concatenate([self._known, *self._new], axis=1)
        self._new, self._count_of_new = [], 0
        order = np.lexsort(everything[:2])
        everything = everything[:, order]
        is_first = np.ones(len(order), np.bool_)
        is_first[1:] = (everything[:2, 1:] != everything[:2, :-1]).any(axis=0)
        self._known = everything[:, is_first]
