"""Keeping a store sound."""

from versioned_io.fsck import FsckReport, check_store
from versioned_io.store.resolving import Resolving


class Maintenance(Resolving):
    """What keeps a store sound."""

    def fsck(self) -> FsckReport:
        """Check everything that the branches and tags lead to, byte by byte, and name every damage found.

        Cost: reads every pack that is referred to, once.
        """
        return check_store(self._backend)
