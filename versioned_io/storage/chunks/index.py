"""The port through which a writer finds chunks that the store already has."""

from collections.abc import Sequence
from typing import Protocol

from versioned_io.model.damages import FoundChunks


class ChunkIndex(Protocol):
    """Finds the chunks that the store already holds."""

    def find(self, digests: Sequence[bytes]) -> FoundChunks:
        """Return the places of those *digests* that are stored in packs that new commits may refer to.

        Cost: 1 SQL query for every few hundred digests.
        """
        ...
