"""How large a store is: what people see in it, what lies in the packs, and how much of that is dead."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import starmap

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from versioned_io.backend import Backend
from versioned_io.catalog import collection as catalog
from versioned_io.catalog.moving import commits_of_repo
from versioned_io.catalog.repos import find_repo_id
from versioned_io.chunks.refs import may_be_elsewhere
from versioned_io.maintenance.distinct import HASH_BYTES, DistinctSizes
from versioned_io.maintenance.marking import Marks, mark_trees, places_of, walk_where_they_lie
from versioned_io.objects.port import ObjectStore
from versioned_io.packs.frames import FrameKind, FrameRef, pack_name
from versioned_io.packs.reader import read_footer
from versioned_io.pages.schema import PageRef
from versioned_io.pages.source import PageSource


@dataclass(frozen=True, slots=True)
class StoreStats:
    """The sizes of a store, or of what one of its repos leads to.

    Attributes:
        repo: None for the whole store.
        commits: Those whose data is kept.
        versions: Files, each version of each path counted once.
        chunks: Different contents that lie in the store.
        packs: All that are not deleted; of one repo, those that hold something of it.
        logical_bytes: What the commits would take if each were a copy of all its files.
        version_bytes: The size of the versions.
        content_bytes: The size of the chunks, each counted once.
        elsewhere_bytes: The size of the parts of files that lie elsewhere, each counted once: nothing of it is in the
            store.
        stored_bytes: What the blocks with those chunks take, compressed.
        page_bytes: What the pages of the trees take, with the references to what lies elsewhere.
        physical_bytes: The size of the packs.
        dead_bytes: What of that no kept tree leads to; footers and records, some hundred bytes a commit, are in it. Of
            one repo that includes what other repos have in the same packs.
    """

    repo: str | None
    commits: int
    versions: int
    chunks: int
    packs: int
    logical_bytes: int
    version_bytes: int
    content_bytes: int
    elsewhere_bytes: int
    stored_bytes: int
    page_bytes: int
    physical_bytes: int
    dead_bytes: int

    @property
    def deduplication(self) -> float:
        """How many times the bytes of all versions are those of their different parts; 1 for an empty store."""
        parts_bytes = self.content_bytes + self.elsewhere_bytes
        return self.version_bytes / parts_bytes if parts_bytes else 1.0

    @property
    def compression(self) -> float:
        """How many times the bytes of the chunks are those of the blocks that hold them; 1 for an empty store."""
        return self.content_bytes / self.stored_bytes if self.stored_bytes else 1.0


@dataclass(slots=True)
class _Count:
    """What the leaf pages hold, each page looked at once."""

    versions: DistinctSizes = field(default_factory=DistinctSizes)
    chunks: DistinctSizes = field(default_factory=DistinctSizes)
    frames: Marks = field(default_factory=Marks)
    doubtful: dict[bytes, tuple[FrameRef, int]] = field(default_factory=dict)
    """Where the chunks are that may lie elsewhere, and their sizes."""

    def add_leaf(self, leaf: pa.RecordBatch) -> None:
        paths, digests, sizes = (leaf.column(name).to_pylist() for name in ("path", "digest", "size"))
        named = (digest + path.encode() for path, digest in zip(paths, digests, strict=True))
        self.versions.add(b"".join(map(xxhash.xxh3_128_digest, named)), sizes)
        chunks = pc.list_flatten(leaf.column("chunks"))
        names, sizes = (pc.struct_field(chunks, name).to_pylist() for name in ("digest", "size"))
        self.chunks.add(b"".join(name[:HASH_BYTES] for name in names), sizes)
        self.frames.add_places(places_of(leaf))
        self._add_doubtful(chunks.filter(may_be_elsewhere(chunks)))

    def _add_doubtful(self, chunks: pa.StructArray) -> None:
        names, sizes = (pc.struct_field(chunks, name).to_pylist() for name in ("digest", "size"))
        places = zip(*(pc.struct_field(chunks, name).to_pylist() for name in ("pack", "offset", "stored")), strict=True)
        self.doubtful.update(zip(names, zip(starmap(FrameRef, places), sizes, strict=True), strict=True))

    def set_apart(self, objects: ObjectStore) -> list[int]:
        """Leave the frames of those chunks that lie elsewhere out of the count; return the sizes of the chunks.

        Cost: 1 HEAD and 2 GETs for each pack that may hold references.
        """
        sources: set[FrameRef] = set()
        for pack in {frame.pack for frame, _ in self.doubtful.values()}:
            footer = read_footer(objects, pack_name(pack))
            sources |= {
                FrameRef(pack, frame.offset, frame.stored_size)
                for frame in footer.frames
                if frame.kind is FrameKind.SOURCE
            }
        for frame in sources:
            self.frames.discard(frame)
        return [size for frame, size in self.doubtful.values() if frame in sources]


def measure_store(
    backend: Backend, repo: str | None = None, *, progress: Callable[[int], None] | None = None
) -> StoreStats:
    """Return the sizes of the store, or of what the kept commits of one repo lead to.

    Args:
        progress: Called with the number of pages read so far.

    Raises:
        RepoNotFoundError: There is no such repo.
        IntegrityError: A page is damaged or gone, or the end of a pack that may hold references; run fsck.

    Cost: 1 GET for each page of the kept commits, 1 HEAD and 2 GETs for each pack that may hold references to parts
        elsewhere; memory of 24 bytes, at times of 72, for each version and each chunk.
    """

    def measure(roots: Sequence[PageRef | None]) -> StoreStats:
        return _measure(backend, repo, roots, progress)

    return walk_where_they_lie(lambda: _roots(backend, repo), measure)


def _roots(backend: Backend, repo: str | None) -> list[PageRef | None]:
    with backend.catalog.read() as connection:
        own = None if repo is None else set(commits_of_repo(connection, find_repo_id(connection, repo)))
        return [root for commit, root in catalog.live_roots(connection) if own is None or commit in own]


def _measure(
    backend: Backend, repo: str | None, roots: Sequence[PageRef | None], progress: Callable[[int], None] | None
) -> StoreStats:
    with backend.catalog.read() as connection:
        rows = catalog.list_packs(connection)
    count = _Count()
    marks = mark_trees(PageSource(backend.objects), roots, progress=progress, leaf=count.add_leaf)
    elsewhere = count.set_apart(backend.objects)
    alive = marks.packs
    packs = [row for row in rows if repo is None or row.name in alive]
    live_bytes = sum(marks.live_bytes(name) for name in alive)
    stored_bytes = sum(count.frames.live_bytes(name) for name in count.frames.packs)
    physical_bytes = sum(row.size_bytes for row in packs)
    return StoreStats(
        repo=repo,
        commits=len(roots),
        versions=len(count.versions),
        chunks=len(count.chunks) - len(elsewhere),
        packs=len(packs),
        logical_bytes=sum(root.size_bytes for root in roots if root is not None),
        version_bytes=count.versions.total(),
        content_bytes=count.chunks.total() - sum(elsewhere),
        elsewhere_bytes=sum(elsewhere),
        stored_bytes=stored_bytes,
        page_bytes=live_bytes - stored_bytes,
        physical_bytes=physical_bytes,
        dead_bytes=physical_bytes - live_bytes,
    )
