"""Keeping a store sound and small."""

from collections.abc import Callable
from datetime import timedelta

from versioned_io.arguments import (
    check_callable,
    parse_count,
    parse_duration,
    parse_flag,
    parse_number,
    parse_optional_count,
    parse_text,
)
from versioned_io.fsck.check import check_store
from versioned_io.fsck.findings import FsckReport
from versioned_io.maintenance.compaction import (
    DEFAULT_MIN_LIVE,
    DEFAULT_SMALL_BYTES,
    CompactReport,
    compact_store,
)
from versioned_io.maintenance.doomed import Doomed, parse_doomed_glob, parse_doomed_path
from versioned_io.maintenance.garbage import DEFAULT_EXPIRE, DEFAULT_GRACE, GcProgress, GcReport, collect_garbage
from versioned_io.maintenance.purge import PurgeReport, purge_files
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
        parse_flag(repair, "repair")
        parse_flag(sources, "sources")
        check_callable(progress, "progress")
        return check_store(self._backend, repair=repair, sources=sources, progress=progress or (lambda *_: None))

    def stats(self, repo: str | None = None, *, progress: Callable[[int], None] | None = None) -> StoreStats:
        """Return how large the store is, or what one repo leads to: what people see, what is stored, what is dead.

        Raises:
            RepoNotFoundError: There is no such repo.

        Cost: 1 GET for each page of the kept commits.
        """
        check_callable(progress, "progress")
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
        parse_duration(grace, "grace")
        parse_duration(expire, "expire")
        parse_flag(dry_run, "dry_run")
        check_callable(progress, "progress")
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
        parse_number(min_live, "min_live", most=1)
        parse_count(small_bytes, "small_bytes")
        parse_optional_count(max_bytes, "max_bytes")
        parse_flag(dry_run, "dry_run")
        check_callable(progress, "progress")
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
        """Remove a file or a directory from every commit of a repo, and its bytes from the store; see `purge_files`.

        Raises:
            RepoNotFoundError, PathNotFoundError: There is no such repo, or no kept commit of it holds the path.
            InvalidInputError: *path* is empty, which would be everything, or an argument is of a wrong type.

        Cost: as a compaction of every pack that holds some of it; all packs are looked through twice.
        """
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
    ) -> PurgeReport:
        """Remove the files that match *pattern* in any commit of a repo from all of them, as `purge` removes one.

        A file that was deleted long ago is matched, too; ``paths`` of the report names every one. The syntax is that of
        `Snapshot.glob` and of `StagedBranch.delete_glob`: ``a/**`` is everything below ``a``.

        Raises:
            RepoNotFoundError, PathNotFoundError: There is no such repo, or nothing in its history matches.
            InvalidInputError: The pattern is malformed, or means directories alone.

        Cost: as `purge`; the pages of every different tree that begin as the pattern does are read twice.
        """
        doomed = parse_doomed_glob(pattern)
        return self._purge(repo, doomed, reason, author, dry_run=dry_run, progress=progress)

    def _purge(
        self,
        repo: str,
        doomed: Doomed,
        reason: str,
        author: str,
        *,
        dry_run: bool,
        progress: Callable[[str, int], None] | None,
    ) -> PurgeReport:
        name = parse_repo_name(repo)
        parse_flag(dry_run, "dry_run")
        check_callable(progress, "progress")
        options = {"reason": parse_text(reason, "reason"), "author": parse_text(author, "author")}
        return purge_files(self._backend, name, doomed, **options, dry_run=dry_run, progress=progress)
