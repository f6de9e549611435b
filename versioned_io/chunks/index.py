"""What a writer asks whether the store has a chunk already."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from versioned_io.chunks.refs import ChunkRef


class ChunkIndex(Protocol):
    """Knows which chunks the store holds already."""

    def find(self, digests: Sequence[bytes]) -> Mapping[bytes, ChunkRef]:
        """Return the places of those *digests* that are stored in packs that new commits may refer to.

        Cost: 1 SQL query for every few hundred digests.
        """
        ...


class NoIndex:
    """The index of an empty store: it knows no chunk."""

    def find(self, digests: Sequence[bytes]) -> Mapping[bytes, ChunkRef]:  # noqa: ARG002 (the protocol's name)
        """Return nothing."""
        return {}
