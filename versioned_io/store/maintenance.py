"""Keeping a store sound and small."""

from collections.abc import Callable
from datetime import timedelta

from versioned_io.fsck import FsckReport, check_store
from versioned_io.maintenance.garbage import DEFAULT_EXPIRE, DEFAULT_GRACE, GcProgress, GcReport, collect_garbage
from versioned_io.store.resolving import Resolving


class Maintenance(Resolving):
    """What keeps a store sound and small."""

    def fsck(self) -> FsckReport:
        """Check everything that the branches and tags lead to, byte by byte, and name every damage found.

        Cost: reads every pack that is referred to, once.
        """
        return check_store(self._backend)

    def gc(
        self,
        *,
        grace: timedelta = DEFAULT_GRACE,
        expire: timedelta = DEFAULT_EXPIRE,
        dry_run: bool = False,
        progress: Callable[[GcProgress], None] | None = None,
    ) -> GcReport:
        """Let go of what no name leads to, and delete what has been dead for *grace*; see `collect_garbage`.

        Safe beside writers, readers and other collectors. The bytes of small packs that are dead in part come free with
        compaction.

        Cost: 1 GET for each page of all kept commits, 1 LIST for each 1,000 objects, 1 DELETE for each dead pack.
        """
        return collect_garbage(self._backend, grace=grace, expire=expire, dry_run=dry_run, progress=progress)
