"""Purging: removing files from a repo's whole history, and their bytes from the store, with proof."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection

from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.moving import commits_of_repo, live_trees
from versioned_io.catalog.repo_rows import find_repo_id, find_system_repo
from versioned_io.errors import PackLostError, PathNotFoundError
from versioned_io.maintenance.collection.garbage import is_collected, mark_store
from versioned_io.maintenance.collection.guard import Guard
from versioned_io.maintenance.collection.marking import Marks, mark_trees
from versioned_io.maintenance.compaction.moving import Edit, move_packs, rewrite_healed_trees
from versioned_io.maintenance.compaction.pack_series import PackSeries
from versioned_io.maintenance.erasure.doomed import Doomed, DoomedInRepo, DoomedResults, PurgeTarget
from versioned_io.maintenance.erasure.removing import read_footers, remove_packs, still_there
from versioned_io.model.columns import number_column
from versioned_io.model.identifiers import CommitId, Digest, PackName
from versioned_io.model.journal import Action, JournalEntry
from versioned_io.model.path_ranges import PathRange
from versioned_io.model.places import FrameRef, PageRef, pack_key
from versioned_io.model.repo_kinds import RepoKind
from versioned_io.storage.chunks.chunk_columns import may_be_elsewhere
from versioned_io.storage.elsewhere.parts import decode_part
from versioned_io.storage.packs.footer import Footer
from versioned_io.storage.packs.frames import CONTENT_KINDS, FrameKind
from versioned_io.storage.packs.reader import fetch_frames, fetch_one_of
from versioned_io.storage.pages.edit import edit_tree
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.read import leaves
from versioned_io.storage.pages.schema import Page, decode_page, leaf_digest
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.backend.journaling import append_entry
from versioned_io.versioning.transactions.lease import Lease

_MOST_ROUNDS: Final = 8
"""The most rounds of moving trees. Beside writers it may not converge; the report then says that not all is gone."""


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """The result of a purge: the removed files and contents, and the remaining ones.

    Attributes:
        paths: The purged paths, sorted: those of which a kept commit had a version.
        commits: The number of commits that had one of them, or a result of a pipeline that has one.
        chunks: The digests of contents that only purged files had. Their bytes are deleted.
        shared: Contents that other files have too, each with one place as ``repo@commit:path``. Their bytes stay.
        packs: The number of packs that were rewritten or deleted.
        gone: Whether a scan of all remaining packs found nothing of the purged files. It looks for their contents
            (*shared* ones included), and for pages that name a purged path.
        unclear: Items that no catalog knows and no journal entry disowns, by the ID that `gc --disown` takes. If they
            keep purged contents, *gone* is false until they are disowned.
        left_over: Further paths, which only dead pages named: pages of expired or refused commits, or of a purge that
            died. Such pages don't show their repo.
        elsewhere: The URLs of the objects elsewhere that purged files referred to. Their bytes were never in the store,
            so they are unchanged, and their owners can delete them.
    """

    paths: tuple[str, ...]
    commits: int
    chunks: tuple[Digest, ...]
    shared: dict[Digest, str]
    packs: int
    gone: bool
    dry_run: bool
    elsewhere: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _FoundFiles:
    """The files to purge: the trees of the commits that have them with their targets, paths, and all chunks."""

    trees: dict[CommitId, tuple[PageRef, DoomedInRepo]]
    paths: set[str]
    chunks: set[bytes]
    doubtful: set[FrameRef] = field(default_factory=set)  # frames that may refer to objects elsewhere
    left_over: set[str] = field(default_factory=set)  # paths of versions that only dead pages name

    def add_rows(self, rows: pa.RecordBatch) -> None:
        """Add the paths and the chunks of *rows*."""
        chunks = pc.list_flatten(rows.column("chunks"))
        self.chunks.update(pc.struct_field(chunks, "digest").to_pylist())
        some = chunks.filter(may_be_elsewhere(chunks))
        places = (pc.struct_field(some, name).to_pylist() for name in ("pack", "offset", "stored"))
        self.doubtful.update(map(FrameRef, *places))


def purge_files(
    backend: Backend,
    repo: str,
    doomed: Doomed,
    *,
    reason: str = "",
    author: str = "",
    dry_run: bool = False,
    progress: Callable[[str, int], None] | None = None,
) -> PurgeReport:
    """Remove files from every commit of a repo, and their bytes from the store, without a grace period.

    Commits keep their IDs, numbers, messages and lineage (which may still name the paths); only their trees lose the
    files. The journal records the purged files, the time and the reason. Safe beside writers: contents that they
    refer to stay, and the report then says that not all is gone. Call again in that case.

    If the repo is a pipeline's output, the kept results that have one of the files go as a whole, with their logs. The
    pipeline does not recompute the file until an input, its code or an invalidation asks for it.

    Args:
        doomed: The files. A version in any kept commit is enough; the newest commit need not have them.
        dry_run: Change nothing, and report what would be removed.

    Returns:
        The removed files, and the proof: the result of a scan of all remaining packs.

    Raises:
        RepoNotFoundError: The repo does not exist.
        PathNotFoundError: No kept commit of the repo has such a file, and no garbage names one. Nothing was changed.
        CatalogOlderError: The catalog is older than the packs. Nothing was removed. Run `versioned recover`.
        IntegrityError: A page, a frame, or the footer of a pack is damaged or missing, so a scan would prove nothing.
            Nothing was removed. Run fsck, and restore that pack from a backup.
        StorageError: The objects or the catalog failed. Call again.

    Cost: that of a compaction of every pack with purged files. Footers and pages of all packs are read twice, and again
        for each round of moving trees. For a pattern, the pages of each different tree with paths that start like it
        are read twice too.

    Source: docs/design/0005-garbage-collection.md, "Purging".
    """
    target = _everywhere(backend, repo, doomed)
    entry = JournalEntry(repo, "", Action.PURGE, details={**doomed.details, "reason": reason}, author=author)
    return purge_target(backend, target, [entry], dry_run=dry_run, progress=progress)


def purge_target(
    backend: Backend,
    target: PurgeTarget,
    entries: Sequence[JournalEntry],
    *,
    dry_run: bool = False,
    progress: Callable[[str, int], None] | None = None,
    alongside: Callable[[Connection], None] | None = None,
) -> PurgeReport:
    """Remove the files of several repos, as `purge_files` does those of one.

    Args:
        entries: The entries of the journal; the first one names the repo of the files.
        alongside: Called in the SQL transaction in which the trees move. If it raises, nothing was changed.
    """
    report = progress or (lambda _stage, _done: None)

    def enter(connection: Connection) -> None:
        if alongside is not None:
            alongside(connection)
        for entry in entries:
            append_entry(connection, backend.objects, entry, backend.clock())

    if not dry_run:
        rewrite_healed_trees(backend, progress=progress)
    while True:
        try:
            return _purge_once(backend, target, entries[0].repo, report, enter, dry_run=dry_run)
        except PackLostError as error:
            if not is_collected(backend, error.pack):
                raise
            # If trees have moved during the scan, and their old packs were collected, begin again. If none has moved,
            # this mark finds the pack missing too, and raises.
            mark_store(backend)


def _everywhere(backend: Backend, repo: str, doomed: Doomed) -> PurgeTarget:
    """Return the target in its own repo, and in the repo of results if a pipeline's output is in the repo."""
    with backend.catalog.read() as connection:
        results = find_system_repo(connection, repo, RepoKind.RESULTS)
    of_results = {} if results is None else {results: DoomedResults(doomed)}
    return PurgeTarget(doomed, {repo: doomed, **of_results})


def _purge_once(
    backend: Backend,
    doomed: PurgeTarget,
    repo: str,
    report: Callable[[str, int], None],
    enter: Callable[[Connection], None],
    *,
    dry_run: bool,
) -> PurgeReport:
    guard = Guard.survey(backend)
    source = PageSource(backend.objects, damages=backend.damages)
    found = _find(backend, doomed, source)
    lease = Lease(backend)
    packs = PackSeries(backend, lease)
    edits = _without(found, source, packs)
    packs.close()
    drafts = [info.name for info in packs.infos]
    try:
        with backend.catalog.read() as connection:
            kept = {
                commit: edits[commit].new if commit in edits and edits[commit].old == root else root
                for commit, root in live_trees(connection)
            }
        marks = mark_trees(source, list(kept.values()), progress=lambda pages: report("mark", pages))
        own = set(found.chunks)
        _add_dead_versions(backend, doomed, marks, found, report)
        if not found.paths and not found.left_over:
            raise PathNotFoundError(str(doomed.files), f"the history of {repo}", "no commit that is kept has it")
        shared = _shared(backend, source, kept, found.chunks)
        chunks = found.chunks - set(shared)
        # A path that only dead pages name may be another repo's, which still has the file.
        shared = {digest: place for digest, place in shared.items() if digest in own}
        elsewhere = _urls_of(backend, found.doubtful)
        victims = _packs_with(backend, doomed, chunks, marks, report) - set(drafts)
        if dry_run:
            return _report(found, chunks, shared, elsewhere, len(victims), gone=False, dry_run=True)
        move_packs(
            backend,
            sorted(still_there(backend, victims) | set(drafts)),
            marks,
            edits=edits,
            blank=chunks,
            enter=enter,
            progress=report,
        )
        removed = set(remove_packs(guard, victims, report))
    finally:
        lease.abandon()
        # Drafts of pages without the path, from before their contents moved; nothing refers to them.
        backend.objects.delete([pack_key(name) for name in drafts])
    is_left = _is_left(guard, doomed, chunks, removed, report)
    report_made = _report(
        found, chunks, shared, elsewhere, len(removed), gone=not is_left and not shared, dry_run=False
    )
    return replace(report_made, unclear=tuple(sorted(guard.unclear)))


def _is_left(
    guard: Guard,
    doomed: PurgeTarget,
    chunks: set[bytes],
    removed: set[PackName],
    report: Callable[[str, int], None],
) -> bool:
    """Scan all packs, and return whether one of them still holds something of the purged files.

    Moving trees leaves dead pages, which may name purged paths too, in any repo. The live contents of their packs are
    moved, and the packs deleted, until there are no such pages. Each round leaves fewer. The deleted packs are added to
    *removed*.
    """
    backend = guard.backend
    for _ in range(_MOST_ROUNDS):
        left = _packs_with(backend, doomed, chunks, mark_store(backend), report)
        stale = (
            still_there(backend, _packs_with(backend, doomed, set(), mark_store(backend), report)) if left else set()
        )
        stale -= guard.protected
        if not stale:
            return bool(left)
        move_packs(backend, sorted(stale), mark_store(backend), progress=report)
        removed.update(remove_packs(guard, stale, report))
    return True


def _find(backend: Backend, doomed: PurgeTarget, source: PageSource) -> _FoundFiles:
    with backend.catalog.read() as connection:
        ids = [(find_repo_id(connection, repo), target) for repo, target in doomed.repos.items()]
        own = {commit: target for repo_id, target in ids for commit in commits_of_repo(connection, repo_id)}
        own |= doomed.commits
        roots = {commit: root for commit, root in live_trees(connection) if root is not None and commit in own}
    found = _FoundFiles({}, set(), set())
    for commit, root in roots.items():
        for rows in own[commit].rows(root, source):
            found.trees[commit] = (root, own[commit])
            found.paths.update(own[commit].named(rows.column("path")))
            found.add_rows(rows)
    return found


def _add_dead_versions(
    backend: Backend, doomed: PurgeTarget, marks: Marks, found: _FoundFiles, report: Callable[[str, int], None]
) -> None:
    """Add the versions in dead pages, which no kept commit references.

    They are of expired commits, of commits that no branch took, or of a purge that died.
    """
    for number, (name, footer) in enumerate(read_footers(backend)):
        for page in _dead_pages(backend, name, footer, marks):
            if page.level or not (rows := doomed.chosen(page.paths)):
                continue
            found.left_over.update(doomed.named(page.paths))
            found.add_rows(page.batch.take(number_column(rows, pa.int64())))
        report("look", number + 1)


def _without(found: _FoundFiles, source: PageSource, packs: PackSeries) -> dict[CommitId, Edit]:
    """Write each tree without the doomed files, once, and return the new trees by commit."""
    new: dict[tuple[PageRef, int], PageRef | None] = {}
    edits: dict[CommitId, Edit] = {}
    for commit, (root, target) in found.trees.items():
        tree = (root, id(target))
        if tree not in new:
            deletes = target.deletes(root, source)
            new[tree] = edit_tree(root, None, deletes, source=source.overlaid(packs.read_open), sink=packs)
        edits[commit] = Edit(root, new[tree])
    return edits


def _shared(
    backend: Backend, source: PageSource, kept: Mapping[CommitId, PageRef | None], chunks: set[bytes]
) -> dict[bytes, str]:
    """Return the *chunks* that remaining files have too, each with one place as ``repo@commit:path``."""
    shared: dict[bytes, tuple[CommitId, str]] = {}
    seen: set[FrameRef] = set()
    for commit, root in kept.items():
        if root is None or root.frame in seen:
            continue
        seen.add(root.frame)
        for page in leaves(root, PathRange("", None), source=source):
            if _is_known(page, seen):
                continue
            for row in page.batch.select(["path", "chunks"]).to_pylist():
                shared |= {one["digest"]: (commit, row["path"]) for one in row["chunks"] if one["digest"] in chunks}
    with backend.catalog.read() as connection:
        commits = get_commits(connection, sorted({commit for commit, _ in shared.values()}))
    return {digest: f"{commits[commit].repo}@{commit}:{path}" for digest, (commit, path) in shared.items()}


def _is_known(page: Page, seen: set[FrameRef]) -> bool:
    """Return whether this page was visited before, since trees share most of their pages."""
    key = FrameRef(leaf_digest(page.batch), 0, 0)
    known = key in seen
    seen.add(key)
    return known


def _urls_of(backend: Backend, frames: set[FrameRef]) -> set[str]:
    """Return the URLs of the objects elsewhere that some of *frames* refer to, except for frames in missing packs."""
    by_pack: dict[bytes, list[FrameRef]] = {}
    for frame in frames:
        by_pack.setdefault(frame.pack, []).append(frame)
    urls: set[str] = set()
    for some in by_pack.values():
        try:
            found = fetch_one_of(backend.objects, some, CONTENT_KINDS)
        except PackLostError:
            continue  # only expired versions were in the pack, and it was collected
        urls |= {decode_part(payload).pin.url for kind, payload in found if kind is FrameKind.SOURCE}
    return urls


def _packs_with(
    backend: Backend, doomed: PurgeTarget, chunks: set[bytes], marks: Marks, report: Callable[[str, int], None]
) -> set[PackName]:
    """Return the packs that list one of *chunks*, or hold a dead page that names a doomed file."""
    found: set[PackName] = set()
    for number, (name, footer) in enumerate(read_footers(backend)):
        if any(chunk.digest in chunks for chunk in footer.chunks) or any(
            doomed.chosen(page.paths) for page in _dead_pages(backend, name, footer, marks)
        ):
            found.add(name)
        report("look", number + 1)
    return found


def _dead_pages(backend: Backend, name: PackName, footer: Footer, marks: Marks) -> list[Page]:
    """Return the pages of a pack that no kept commit references; none if the pack is collected meanwhile."""
    pack = bytes.fromhex(name)
    frames = [FrameRef(pack, one.offset, one.stored_size) for one in footer.frames if one.kind is FrameKind.PAGE]
    dead = [frame for frame in frames if frame not in marks]
    try:
        return [decode_page(payload) for payload in fetch_frames(backend.objects, dead, FrameKind.PAGE)]
    except PackLostError:
        return []


def _report(
    found: _FoundFiles,
    chunks: set[bytes],
    shared: dict[bytes, str],
    elsewhere: set[str],
    packs: int,
    *,
    gone: bool,
    dry_run: bool,
) -> PurgeReport:
    return PurgeReport(
        paths=tuple(sorted(found.paths)),
        commits=len(found.trees),
        chunks=tuple(sorted(Digest(digest.hex()) for digest in chunks)),
        shared={Digest(digest.hex()): path for digest, path in sorted(shared.items())},
        packs=packs,
        gone=gone,
        dry_run=dry_run,
        elsewhere=tuple(sorted(elsewhere)),
        left_over=tuple(sorted(found.left_over - found.paths)),
    )
