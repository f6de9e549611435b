"""Purging: files leave all of a repo's history, and their bytes leave the store, with proof."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection

from versioned_io.backend import Backend
from versioned_io.catalog import collection as catalog
from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.journal import Action, JournalEntry, append_entry
from versioned_io.catalog.moving import commits_of_repo, live_trees
from versioned_io.catalog.repos import find_repo_id
from versioned_io.chunks.refs import may_be_elsewhere
from versioned_io.columns import number_column
from versioned_io.elsewhere.parts import decode_part
from versioned_io.errors import PackLostError, PathNotFoundError
from versioned_io.identifiers import CommitId, Digest, PackName
from versioned_io.maintenance.doomed import Doomed, chosen_paths
from versioned_io.maintenance.garbage import is_collected, mark_store
from versioned_io.maintenance.marking import Marks, mark_trees
from versioned_io.maintenance.moving import Edit, PackSeries, move_packs
from versioned_io.objects.time import store_time
from versioned_io.packs.footer import Footer
from versioned_io.packs.frames import CONTENT_KINDS, FrameKind, FrameRef, pack_key, parse_pack_key
from versioned_io.packs.reader import fetch_frames, fetch_one_of, read_footer
from versioned_io.pages.edit import edit_tree
from versioned_io.pages.ranges import PathRange
from versioned_io.pages.read import leaves
from versioned_io.pages.schema import Page, PageRef, decode_page, leaf_digest
from versioned_io.pages.source import PageSource
from versioned_io.transactions.lease import Lease

_MOST_ROUNDS: Final = 8
"""How often trees are moved on at most; beside writers there may be no end to it, which the report then says."""


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """What a purge removed, and what of it is still there.

    Attributes:
        paths: The files that left history: each path of which some kept commit held a version, sorted.
        commits: How many commits held one of them.
        chunks: The contents that only they had, by name: their bytes are gone.
        shared: Contents that other files have too, which nobody asked to remove: their bytes are still there. Each with
            one place where it is, as ``repo@commit:path``.
        packs: How many packs were rewritten or deleted.
        gone: Whether all packs that are left were looked through, and none holds anything of what was purged: no
            content, *shared* ones included, and no page that names a purged path.
        left_over: The paths beside those whose versions only pages named that no kept commit leads to: of commits that
            were forgotten or refused, or of a purge that died. Such pages don't say of which repo they were.
        elsewhere: The objects elsewhere, by URL, that purged files were a reference to. Their bytes were never in the
            store, so nothing is proved of them: they are as they were, and whoever they belong to can delete them.
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


@dataclass(frozen=True, slots=True)
class _Found:
    """What is to go: the trees of the commits that hold it, its paths, and the chunks of its versions."""

    trees: dict[CommitId, PageRef]
    paths: set[str]
    chunks: set[bytes]
    doubtful: set[FrameRef] = field(default_factory=set)  # frames that may be references to objects elsewhere
    left_over: set[str] = field(default_factory=set)  # paths of versions that only dead pages name

    def add_rows(self, rows: pa.RecordBatch) -> None:
        """Note what the versions of *rows* are made of."""
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
    """Remove files from every commit of a repo, and their bytes from the store, now.

    Commits keep their IDs, numbers, messages and lineage (which may still name the paths); their trees no longer hold
    them. What was purged, when and why stands in the journal. Safe beside writers: what they refer to stays, and the
    report then says that not all is gone; call again.

    Args:
        doomed: Which files; they need not be there in the newest commit, a version in any kept one is enough.
        dry_run: Change nothing, and report what would be removed.

    Returns:
        What was removed, and the proof: all packs that are left were looked through.

    Raises:
        RepoNotFoundError: There is no such repo.
        PathNotFoundError: No kept commit of it holds such a file, and no garbage names one; nothing changed.
        IntegrityError: Something is damaged or gone, or the end of any pack is, and nobody could prove what is left;
            nothing was removed. Run fsck, and bring that pack back from a backup.
        StorageError: The objects or the catalog failed; call again.

    Cost: as a compaction of every pack that holds some of them; footer and pages of all packs are read twice, and
        again for each round in which trees had to move on. For a pattern, the pages of each different tree that begin
        as it does are read twice, too.

    Source: docs/design/0005-garbage-collection.md, "Purging".
    """
    report = progress or (lambda _stage, _done: None)
    entry = JournalEntry(repo, "", Action.PURGE, details={**doomed.details, "reason": reason}, author=author)
    while True:
        try:
            return _purge_once(backend, doomed, entry, report, dry_run=dry_run)
        except PackLostError as error:
            if not is_collected(backend, error.pack):
                raise
            # Trees moved while they were looked at, and the old packs were collected: begin again. Where none did, the
            # mark finds the pack missing, too, and that is the end.
            mark_store(backend)


def _purge_once(
    backend: Backend, doomed: Doomed, entry: JournalEntry, report: Callable[[str, int], None], *, dry_run: bool
) -> PurgeReport:
    repo = entry.repo
    source = PageSource(backend.objects)
    found = _find(backend, repo, doomed, source)
    lease = Lease(backend)
    packs = PackSeries(backend, lease)
    edits = _without(found, doomed, source, packs)
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
            raise PathNotFoundError(str(doomed), f"the history of {repo}", "no commit that is kept holds it")
        shared = _shared(backend, source, kept, found.chunks)
        chunks = found.chunks - set(shared)
        # What only dead pages name may be the same path of another repo, whose file that is.
        shared = {digest: place for digest, place in shared.items() if digest in own}
        elsewhere = _urls_of(backend, found.doubtful)
        victims = _packs_with(backend, doomed, chunks, marks, report) - set(drafts)
        if dry_run:
            return _report(found, chunks, shared, elsewhere, len(victims), gone=False, dry_run=True)
        move_packs(
            backend,
            sorted(_still_there(backend, victims) | set(drafts)),
            marks,
            edits=edits,
            blank=chunks,
            enter=lambda connection: _note(connection, backend, entry),
            progress=report,
        )
        removed = set(_remove(backend, victims, report))
    finally:
        lease.abandon()
        # Pages without the path, as they were before what they lead to moved: nothing refers to them.
        backend.objects.delete([pack_key(name) for name in drafts])
    is_left = _is_left(backend, doomed, chunks, removed, report)
    return _report(found, chunks, shared, elsewhere, len(removed), gone=not is_left and not shared, dry_run=False)


def _is_left(
    backend: Backend, doomed: Doomed, chunks: set[bytes], removed: set[PackName], report: Callable[[str, int], None]
) -> bool:
    """Look through all packs, and say whether one of them still has something of what was purged.

    Moving trees leaves dead pages, which may name what is doomed as well, of any repo. What is alive in their packs
    moves on as it is, until there are none; that may leave more of them, but each time fewer. Added to *removed* are
    the packs that this deletes.
    """
    for _ in range(_MOST_ROUNDS):
        left = _packs_with(backend, doomed, chunks, mark_store(backend), report)
        stale = (
            _still_there(backend, _packs_with(backend, doomed, set(), mark_store(backend), report)) if left else set()
        )
        if not stale:
            return bool(left)
        move_packs(backend, sorted(stale), mark_store(backend), progress=report)
        removed.update(_remove(backend, stale, report))
    return True


def _find(backend: Backend, repo: str, doomed: Doomed, source: PageSource) -> _Found:
    with backend.catalog.read() as connection:
        own = set(commits_of_repo(connection, find_repo_id(connection, repo)))
        roots = {commit: root for commit, root in live_trees(connection) if root is not None and commit in own}
    found = _Found({}, set(), set())
    for commit, root in roots.items():
        for rows in doomed.rows(root, source):
            found.trees[commit] = root
            found.paths.update(rows.column("path").to_pylist())
            found.add_rows(rows)
    return found


def _add_dead_versions(
    backend: Backend, doomed: Doomed, marks: Marks, found: _Found, report: Callable[[str, int], None]
) -> None:
    """Add the versions that only pages name to which no kept commit leads.

    Those are of commits that were forgotten, or that no branch took, or of a purge that died before it was done.
    """
    for number, (name, footer) in enumerate(_footers(backend)):
        for page in _dead_pages(backend, name, footer, marks):
            if page.level or not (rows := chosen_paths(doomed, page.paths)):
                continue
            found.left_over.update(page.paths[row] for row in rows)
            found.add_rows(page.batch.take(number_column(rows, pa.int64())))
        report("look", number + 1)


def _without(found: _Found, doomed: Doomed, source: PageSource, packs: PackSeries) -> dict[CommitId, Edit]:
    """Write the trees without what is doomed, each once, and return them by commit."""
    by_root: dict[PageRef, PageRef | None] = {}
    for root in found.trees.values():
        if root not in by_root:
            deletes = doomed.deletes(root, source)
            by_root[root] = edit_tree(root, None, deletes, source=source.overlaid(packs.read_open), sink=packs)
    return {commit: Edit(root, by_root[root]) for commit, root in found.trees.items()}


def _shared(
    backend: Backend, source: PageSource, kept: Mapping[CommitId, PageRef | None], chunks: set[bytes]
) -> dict[bytes, str]:
    """Return those of *chunks* that files which stay have too, each with one place as ``repo@commit:path``."""
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
    """Say whether this very page was looked at before; trees share most of their pages."""
    key = FrameRef(leaf_digest(page.batch), 0, 0)
    known = key in seen
    seen.add(key)
    return known


def _urls_of(backend: Backend, frames: set[FrameRef]) -> set[str]:
    """Return the URLs of the objects elsewhere that some of *frames* stand for; packs that are gone tell of none."""
    by_pack: dict[bytes, list[FrameRef]] = {}
    for frame in frames:
        by_pack.setdefault(frame.pack, []).append(frame)
    urls: set[str] = set()
    for some in by_pack.values():
        try:
            found = fetch_one_of(backend.objects, some, CONTENT_KINDS)
        except PackLostError:
            continue  # of a version that nothing kept leads to, and that was collected
        urls |= {decode_part(payload).pin.url for kind, payload in found if kind is FrameKind.SOURCE}
    return urls


def _packs_with(
    backend: Backend, doomed: Doomed, chunks: set[bytes], marks: Marks, report: Callable[[str, int], None]
) -> set[PackName]:
    """Return the packs that list one of *chunks*, or hold a page that is dead and names something doomed."""
    found: set[PackName] = set()
    for number, (name, footer) in enumerate(_footers(backend)):
        if any(chunk.digest in chunks for chunk in footer.chunks) or any(
            chosen_paths(doomed, page.paths) for page in _dead_pages(backend, name, footer, marks)
        ):
            found.add(name)
        report("look", number + 1)
    return found


def _footers(backend: Backend) -> Iterator[tuple[PackName, Footer]]:
    """Yield every pack that is there, with what its footer says."""
    for info in backend.objects.list("packs/"):
        name = parse_pack_key(info.key)
        if name is None:
            continue
        try:
            footer = read_footer(backend.objects, name)
        except PackLostError:
            continue  # collected since it was listed, so nothing is in it any more
        yield name, footer


def _dead_pages(backend: Backend, name: PackName, footer: Footer, marks: Marks) -> list[Page]:
    """Return the pages of a pack to which no kept commit leads; none if the pack is collected meanwhile."""
    pack = bytes.fromhex(name)
    frames = [FrameRef(pack, one.offset, one.stored_size) for one in footer.frames if one.kind is FrameKind.PAGE]
    dead = [frame for frame in frames if frame not in marks]
    try:
        return [decode_page(payload) for payload in fetch_frames(backend.objects, dead, FrameKind.PAGE)]
    except PackLostError:
        return []


def _still_there(backend: Backend, names: set[PackName]) -> set[PackName]:
    """Return those of the packs that nobody has deleted. Cost: 1 LIST for each 1,000 packs."""
    return names & {parse_pack_key(info.key) for info in backend.objects.list("packs/")}


def _note(connection: Connection, backend: Backend, entry: JournalEntry) -> None:
    append_entry(connection, backend.objects, entry, backend.clock())


def _remove(backend: Backend, victims: set[PackName], report: Callable[[str, int], None]) -> list[PackName]:
    """Delete the packs that nothing leads to any more, without waiting; return them."""
    now = store_time(backend.objects)
    with backend.catalog.write() as connection:
        catalog.condemn_packs(connection, victims, now)
    with backend.catalog.read() as connection:
        seen = [row for row in catalog.list_packs(connection) if row.name in victims]
        records = catalog.record_packs(connection)
        states = catalog.states_of(connection, sorted(victims))
    # A mark that begins after the condemnation: who refers to one of them has done so by now.
    alive = records | mark_store(backend, progress=lambda pages: report("mark", pages)).packs
    with backend.catalog.write() as connection:
        catalog.revive_packs(connection, victims & alive)
        buried = catalog.bury_packs(connection, [row for row in seen if row.name not in alive])
        orphans = catalog.bury_orphans(connection, [(name, 0) for name in sorted(victims - alive)], now)
    # Of a purge or a collection that died between the row and the object; nothing can lead to them.
    left_over = [name for name, state in states.items() if state == catalog.DELETED and name not in alive]
    removed = [*buried, *orphans, *left_over]
    backend.objects.delete([pack_key(name) for name in removed])
    return removed


def _report(
    found: _Found,
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
