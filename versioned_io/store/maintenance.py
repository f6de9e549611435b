"""Keeping a store sound and small."""

from collections.abc import Callable
from datetime import timedelta

from versioned_io.catalog.values import parse_text
from versioned_io.fsck.check import check_store
from versioned_io.fsck.findings import FsckReport
from versioned_io.maintenance.compaction import (
    DEFAULT_MIN_LIVE,
    DEFAULT_SMALL_BYTES,
    CompactReport,
    compact_store,
)
from versioned_io.maintenance.garbage import DEFAULT_EXPIRE, DEFAULT_GRACE, GcProgress, GcReport, collect_garbage
from versioned_io.maintenance.purge import PurgeReport, purge_path
from versioned_io.maintenance.stats import StoreStats, measure_store
from versioned_io.refs import parse_repo_name
from versioned_io.store.resolving import Resolving


class Maintenance(Resolving):
    """What keeps a store sound and small."""

    def fsck(
        self,
        *,
        repair: bool = False,
        sources: bool = False,
        progress: Callable[[str, int], None] | None = None,
    ) -> FsckReport:
        """Check every byte of every pack, and the catalog against the packs, and name every damage; see `check_store`.

        Args:
            repair: Put right what can be without loss: rows and sizes of packs, the index of contents. No name moves.
            sources: Look at the objects elsewhere, too, that files are a reference to.

        Cost: reads every pack once, and every page and commit record that a name leads to once more; with *sources*
            1 HEAD for each object.
        """
        return check_store(self._backend, repair=repair, sources=sources, progress=progress or (lambda *_: None))

    def stats(self, repo: str | None = None, *, progress: Callable[[int], None] | None = None) -> StoreStats:
        """Return how large the store is, or what one repo leads to: what people see, what is stored, what is dead.

        Raises:
            RepoNotFoundError: There is no such repo.

        Cost: 1 GET for each page of the kept commits.
        """
        return measure_store(self._backend, None if repo is None else parse_repo_name(repo), progress=progress)

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

    def compact(
        self,
        *,
        min_live: float = DEFAULT_MIN_LIVE,
        small_bytes: int = DEFAULT_SMALL_BYTES,
        max_bytes: int | None = None,
        dry_run: bool = False,
        progress: Callable[[str, int], None] | None = None,
    ) -> CompactReport:
        """Rewrite packs that are small or mostly dead; see `compact_store`. The next `gc` takes the old ones away.

        Cost: 1 GET for each page of all kept commits, and what is alive in the chosen packs is read and written.
        """
        return compact_store(
            self._backend,
            min_live=min_live,
            small_bytes=small_bytes,
            max_bytes=max_bytes,
            dry_run=dry_run,
            progress=progress,
        )

    def purge(
        self,
        repo: str,
        path: str,
        *,
        reason: str = "",
        author: str = "",
        dry_run: bool = False,
        progress: Callable[[str, int], None] | None = None,
    ) -> PurgeReport:
        """Remove a file or a directory from every commit of a repo, and its bytes from the store; see `purge_path`.

        Raises:
            RepoNotFoundError, PathNotFoundError: There is no such repo, or no kept commit of it holds the path.

        Cost: as a compaction of every pack that holds some of it; all packs are looked through twice.
        """
        name = parse_repo_name(repo)
        options = {"reason": parse_text(reason, "reason"), "author": parse_text(author, "author")}
        return purge_path(self._backend, name, path, **options, dry_run=dry_run, progress=progress)
