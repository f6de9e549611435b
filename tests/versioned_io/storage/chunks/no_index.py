"""The index of an empty store, for writers that are tried without a catalog."""

from versioned_io.model.damages import FoundChunks


class NoIndex:
    def find(self, digests):
        return FoundChunks({}, [])
