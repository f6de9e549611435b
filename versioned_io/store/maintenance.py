"""Keeping a store sound and small."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from versioned_io.model.arguments import (
    check_callable,
    parse_count,
    parse_duration,
    parse_flag,
    parse_items,
    parse_number,
    parse_optional_count,
    parse_text,
)
from versioned_io.model.refs import parse_repo_name
from versioned_io.model.upkeep_defaults import (
    DEFAULT_BUDGET,
    DEFAULT_EXPIRE,
    DEFAULT_GRACE,
    DEFAULT_MIN_LIVE,
    DEFAULT_SMALL_BYTES,
)
from versioned_io.storage.objects.schemes import open_objects
from versioned_io.versioning.backend.backend import Backend

if TYPE_CHECKING:
    from versioned_io.maintenance.backup.making import BackupReport
    from versioned_io.maintenance.collection.garbage import GcProgress, GcReport
    from versioned_io.maintenance.collection.result_eviction import EvictReport
    from versioned_io.maintenance.compaction.compaction import CompactReport
    from versioned_io.maintenance.erasure.doomed import Doomed
    from versioned_io.maintenance.erasure.purge import PurgeReport
    from versioned_io.maintenance.erasure.redacting import RedactReport
    from versioned_io.maintenance.fsck.findings import FsckReport
    from versioned_io.maintenance.size.stats import StoreStats
    from versioned_io.maintenance.upkeep.store_status import StoreStatus
    from versioned_io.maintenance.upkeep.upkeep import MaintainReport, MaintenanceStatus


class Maintenance:
    """Checking, collecting, compacting, backing up and purging."""

    def __init__(self, backend: Backend, warning: str | None = None) -> None:
        self._backend = backend
        self._warning = warning

    def status(self) -> "StoreStatus":
        """Return the state of the store at one moment: heads, waiting work, maintenance and noted problems.

        It reports what is noted already, and looks for nothing: `fsck` reads the bytes.

        >>> found = store.status()
        >>> [(repo.name, branch.number) for repo in found.repos for branch in repo.branches]
        [('weather', 2)]
        >>> found.overdue, found.problems
        (None, ())

        Raises:
            FormatError, IntegrityError: The object that names the store's owner is newer or damaged.

        Cost: 6 SELECTs and 1 listing of the beacons, with 1 GET of the owner. One of the SELECTs reads
            the rows of all keys of subscriptions.
        """
        from versioned_io.maintenance.upkeep.store_status import status_of_store

        return status_of_store(self._backend, self._warning)

    def fsck(
        self,
        *,
        repair: bool = False,
        sources: bool = False,
        progress: Callable[[str, int], None] | None = None,
    ) -> "FsckReport":
        """Check every byte of every pack, and the catalog against the packs, and report all damage; see `check_store`.

        >>> store.fsck().is_clean
        True

        Args:
            repair: Repair rows and sizes of packs and the index of contents, without loss. No name moves.
            sources: Also check the objects elsewhere that files refer to.

        Cost: reads every pack once, and every page and commit record that a name leads to once more; with *sources*
            1 HEAD for each object.
        """
        from versioned_io.maintenance.fsck.check import check_store

        parse_flag(repair, "repair")
        parse_flag(sources, "sources")
        check_callable(progress, "progress")
        if repair:
            self._backend.catalog.require_writable()
        return check_store(self._backend, repair=repair, sources=sources, progress=progress or (lambda *_: None))

    def backup(
        self,
        dest: str | Path,
        *,
        storage_options: Mapping[str, str] | None = None,
        init: bool = False,
        progress: Callable[[str, int], None] | None = None,
    ) -> "BackupReport":
        """Write a backup of the store's present state to *dest*; `restore_store` creates a store from it.

        Writers and collectors may run meanwhile. Only packs that no earlier backup there has are copied, each verified.

        >>> store.backup("backups").damaged
        ()

        Args:
            dest: A directory or bucket, as the *url* of `create_store`; empty, or with backups of this store.
            storage_options: As for `create_store`.
            init: Start over at a place that held backups of this store before.
            progress: Called with the stage, ``tables`` or ``packs``, and how many were copied.

        Raises:
            InvalidInputError: *dest* holds something else, or backups of a copy of this store with commits of its own,
                or lies inside the store. Choose another place.
            CatalogOlderError: The catalog lacks acknowledged commits; run `versioned recover` first.
            StorageError: The store or *dest* failed; call again. Or *dest* held backups of this store and holds none
                now: mount the disk, or pass *init*.

        Cost: as `make_backup`.
        """
        from versioned_io.maintenance.backup.making import make_backup

        parse_flag(init, "init")
        check_callable(progress, "progress")
        objects = open_objects(dest, storage_options)
        return make_backup(self._backend, objects, init=init, progress=progress or (lambda *_: None))

    def stats(
        self,
        repo: str | None = None,
        *,
        exact: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> "StoreStats":
        """Return the logical, stored and dead sizes of the store, or of one repo.

        >>> store.stats().is_exact
        False

        Args:
            exact: Walk the trees of all commits. Otherwise the sizes are those that the catalog counts, and others are
                None. A repo's trees are always walked.

        Raises:
            RepoNotFoundError: The repo does not exist.

        Cost: 3 SELECTs; with *exact* or a repo 1 GET for each page of the kept commits.
        """
        from versioned_io.maintenance.size.stats import count_store, measure_store

        parse_flag(exact, "exact")
        check_callable(progress, "progress")
        if repo is None and not exact:
            return count_store(self._backend)
        return measure_store(self._backend, None if repo is None else parse_repo_name(repo), progress=progress)

    def gc(
        self,
        *,
        grace: timedelta = DEFAULT_GRACE,
        expire: timedelta = DEFAULT_EXPIRE,
        dry_run: bool = False,
        disown: Iterable[str] = (),
        progress: "Callable[[GcProgress], None] | None" = None,
    ) -> "GcReport":
        """Expire commits that no name leads to, and delete packs that have been dead for *grace*.

        Safe beside writers, readers and other collectors. Compaction frees the dead bytes of packs that are alive in
        part. The details are in `collect_garbage`.

        >>> store.gc().deleted
        0

        Cost: 1 GET for each page of all kept commits, 1 LIST for each 1,000 objects, 1 DELETE for each dead pack.
        """
        from versioned_io.maintenance.collection.garbage import collect_garbage

        grace = parse_duration(grace, "grace")
        expire = parse_duration(expire, "expire")
        parse_flag(dry_run, "dry_run")
        chosen = parse_items(disown, str, "disown")
        check_callable(progress, "progress")
        self._backend.catalog.require_writable()
        return collect_garbage(
            self._backend, grace=grace, expire=expire, dry_run=dry_run, disown=chosen, progress=progress
        )

    def maintain(
        self,
        budget: timedelta = DEFAULT_BUDGET,
        *,
        full: bool = False,
        grace: timedelta = DEFAULT_GRACE,
        expire: timedelta = DEFAULT_EXPIRE,
        progress: Callable[[str, int], None] | None = None,
    ) -> "MaintainReport":
        """Run the maintenance that is due, for about as long as the budget; see `maintain_store`.

        It expires commits, marks new ones, deletes garbage and orphans, merges small packs, rewrites sparse ones, and
        verifies some packs. One process does so at a time, and may be killed at any moment.

        >>> store.maintain().problems
        ()

        Args:
            budget: No step is begun after this time; a running one is finished.
            full: Mark all commits and run the daily steps, whenever they ran last.
            grace, expire: As for `gc`.

        Raises:
            MaintenanceRunningError: Another process maintains the store; nothing was changed.

        Cost: proportional to the commits and packs since the last run; 1/30 of all packs is read each day.
        """
        from versioned_io.maintenance.upkeep.upkeep import maintain_store

        budget = parse_duration(budget, "budget")
        parse_flag(full, "full")
        grace = parse_duration(grace, "grace")
        expire = parse_duration(expire, "expire")
        check_callable(progress, "progress")
        self._backend.catalog.require_writable()
        return maintain_store(self._backend, budget=budget, full=full, grace=grace, expire=expire, progress=progress)

    def maintenance_status(self) -> "MaintenanceStatus":
        """Return the last and running maintenance, the due tasks and the backlog.

        >>> store.maintenance_status().is_overdue
        False

        Cost: 14 SELECTs.
        """
        from versioned_io.maintenance.upkeep.upkeep import maintenance_status

        return maintenance_status(self._backend)

    def compact(
        self,
        *,
        min_live: float = DEFAULT_MIN_LIVE,
        small_bytes: int = DEFAULT_SMALL_BYTES,
        max_bytes: int | None = None,
        dry_run: bool = False,
        progress: Callable[[str, int], None] | None = None,
    ) -> "CompactReport":
        """Rewrite packs that are small or mostly dead; see `compact_store`. The next `gc` deletes the old ones.

        >>> store.compact(dry_run=True).left
        ()

        Cost: 1 GET for each page of all kept commits. The live frames of the chosen packs are read and written.
        """
        from versioned_io.maintenance.compaction.compaction import compact_store

        parse_number(min_live, "min_live", most=1)
        parse_count(small_bytes, "small_bytes")
        parse_optional_count(max_bytes, "max_bytes")
        parse_flag(dry_run, "dry_run")
        check_callable(progress, "progress")
        self._backend.catalog.require_writable()
        return compact_store(
            self._backend,
            min_live=min_live,
            small_bytes=small_bytes,
            max_bytes=max_bytes,
            dry_run=dry_run,
            progress=progress,
        )

    def evict_results(self, unused_for: timedelta, *, dry_run: bool = False) -> "EvictReport":
        """Evict the kept results of runs of which nothing has been used for a time. Outputs stay; `gc` frees the bytes.

        A result is used while a datum of the head of an output has it. A run keeps all its results if one of them was
        used within that time, or is younger. After an eviction a datum that needs such a result is evaluated again.

        >>> from datetime import timedelta
        >>> store.evict_results(timedelta(days=90), dry_run=True).runs
        0

        Raises:
            InvalidInputError: *unused_for* is negative, or not a `timedelta`.
            StorageError: Some runs are evicted, perhaps. Call again.

        Cost: the pages of the datum trees of that time, and of all manifests. For each evicted run 1 PUT and 2 SQL
            transactions.
        """
        from versioned_io.maintenance.collection.result_eviction import evict_results

        span = parse_duration(unused_for, "unused_for")
        return evict_results(self._backend, span, dry_run=parse_flag(dry_run, "dry_run"))

    def purge(
        self,
        repo: str,
        path: str,
        *,
        reason: str = "",
        author: str = "",
        dry_run: bool = False,
        progress: Callable[[str, int], None] | None = None,
    ) -> "PurgeReport":
        """Remove a file or a directory from every commit of a repo, and its bytes from the store; see `purge_files`.

        >>> store.purge("weather", "2012/01.csv", reason="request 17").paths
        ('2012/01.csv',)
        >>> store.snapshot("weather@main~1").exists("2012/01.csv")
        False

        Raises:
            RepoNotFoundError, PathNotFoundError: The repo does not exist, or no kept commit of it holds the path.
            InvalidInputError: *path* is empty, which would be everything, or an argument is of a wrong type.

        Cost: as a compaction of every pack that holds some of it; all packs are scanned twice.
        """
        from versioned_io.maintenance.erasure.doomed import parse_doomed_path

        doomed = parse_doomed_path(path)
        return self._purge(repo, doomed, reason, author, dry_run=dry_run, progress=progress)

    def purge_glob(
        self,
        repo: str,
        pattern: str,
        *,
        reason: str = "",
        author: str = "",
        dry_run: bool = False,
        progress: Callable[[str, int], None] | None = None,
    ) -> "PurgeReport":
        """Remove the files that match *pattern* in any commit of a repo from all of them, as `purge` removes one.

        >>> store.purge_glob("weather", "**/01.csv", dry_run=True).paths
        ('2012/01.csv',)

        A file that was deleted long ago is matched, too; ``paths`` of the report names every one. The syntax is that of
        `Snapshot.glob` and of `StagedBranch.delete_glob`: ``a/**`` is everything below ``a``.

        Raises:
            RepoNotFoundError, PathNotFoundError: The repo does not exist, or nothing in its history matches.
            InvalidInputError: The pattern is malformed, or means directories alone.

        Cost: as `purge`; the pages of every different tree that begin as the pattern does are read twice.
        """
        from versioned_io.maintenance.erasure.doomed import parse_doomed_glob

        doomed = parse_doomed_glob(pattern)
        return self._purge(repo, doomed, reason, author, dry_run=dry_run, progress=progress)

    def redact(
        self,
        *,
        reason: str = "",
        author: str = "",
        dry_run: bool = False,
        progress: Callable[[str, int], None] | None = None,
    ) -> "RedactReport":
        """Withhold values that look like secrets from the recorded runs of all commits; see `redact_runs`.

        >>> store.redact().commits
        ()

        Cost: scans all packs twice, and as a compaction of the packs that hold such records.
        """
        from versioned_io.maintenance.erasure.redacting import redact_runs

        parse_flag(dry_run, "dry_run")
        check_callable(progress, "progress")
        options = {"reason": parse_text(reason, "reason"), "author": parse_text(author, "author")}
        self._backend.catalog.require_writable()
        return redact_runs(self._backend, **options, dry_run=dry_run, progress=progress)

    def _purge(
        self,
        repo: str,
        doomed: "Doomed",
        reason: str,
        author: str,
        *,
        dry_run: bool,
        progress: Callable[[str, int], None] | None,
    ) -> "PurgeReport":
        from versioned_io.maintenance.erasure.purge import purge_files

        name = parse_repo_name(repo)
        parse_flag(dry_run, "dry_run")
        check_callable(progress, "progress")
        options = {"reason": parse_text(reason, "reason"), "author": parse_text(author, "author")}
        self._backend.catalog.require_writable()
        return purge_files(self._backend, name, doomed, **options, dry_run=dry_run, progress=progress)
