"""The sizes of a store: the logical size of its commits, the size of its packs, and the dead part of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import starmap
from typing import Final

import numpy as np
import pyarrow as pa
import xxhash

from versioned_io.catalog import collection as catalog
from versioned_io.catalog.moving import commits_of_repo
from versioned_io.catalog.repo_rows import find_repo_id
from versioned_io.maintenance.collection.marking import Marks, mark_trees, walk_where_they_lie
from versioned_io.maintenance.size.distinct import HASH_BYTES, DistinctSizes
from versioned_io.model.columns import fixed_words, number_column
from versioned_io.model.places import FrameRef, PageRef, pack_name
from versioned_io.storage.chunks.chunk_columns import may_be_elsewhere
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.reader import read_footer
from versioned_io.storage.pages.boundaries import hash_rows
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.schema import Page
from versioned_io.versioning.backend.backend import Backend

_NAMED_WORDS: Final = 5


@dataclass(frozen=True, slots=True)
class StoreStats:
    """The sizes of a store, or of one of its repos; None for a value that only a walk of all trees can give.

    Attributes:
        repo: The repo, or None for the whole store.
        is_exact: Whether the trees were walked. Otherwise the values are sums from the catalog.
        commits: Commits whose data is kept.
        versions: Files, each version of each path counted once.
        chunks: Distinct contents in the store.
        packs: Packs that are not deleted; for one repo, the packs with any of its data.
        logical_bytes: The size of the commits if each were a full copy of its files.
        version_bytes: The size of the versions.
        content_bytes: The size of the chunks, each counted once.
        elsewhere_bytes: The size of the parts of files elsewhere, each counted once. They take no space in the store.
        stored_bytes: The compressed size of the blocks with those chunks.
        page_bytes: The size of the trees' pages, and of the references to parts elsewhere.
        physical_bytes: The size of the packs.
        dead_bytes: The size of everything in the packs that no kept tree references. Footers and records count too,
            some hundred bytes a commit. For one repo the data of other repos in the same packs counts too.
    """

    repo: str | None
    is_exact: bool
    commits: int
    chunks: int
    packs: int
    physical_bytes: int
    versions: int | None = None
    logical_bytes: int | None = None
    version_bytes: int | None = None
    content_bytes: int | None = None
    elsewhere_bytes: int | None = None
    stored_bytes: int | None = None
    page_bytes: int | None = None
    dead_bytes: int | None = None

    @property
    def deduplication(self) -> float | None:
        """The size of all versions divided by the size of their distinct chunks; 1 for an empty store."""
        if self.version_bytes is None or self.content_bytes is None or self.elsewhere_bytes is None:
            return None
        parts_bytes = self.content_bytes + self.elsewhere_bytes
        return self.version_bytes / parts_bytes if parts_bytes else 1.0

    @property
    def compression(self) -> float | None:
        """The size of the chunks divided by the size of the blocks that hold them; 1 for an empty store."""
        if self.content_bytes is None or self.stored_bytes is None:
            return None
        return self.content_bytes / self.stored_bytes if self.stored_bytes else 1.0


@dataclass(slots=True)
class _Count:
    """The contents of the leaf pages, each page counted once."""

    versions: DistinctSizes = field(default_factory=DistinctSizes)
    chunks: DistinctSizes = field(default_factory=DistinctSizes)
    frames: Marks = field(default_factory=Marks)
    doubtful: dict[bytes, tuple[FrameRef, int]] = field(default_factory=dict)
    """The places and sizes of the chunks that may be parts elsewhere."""

    def add_leaf(self, leaf: Page, before: Page | None) -> None:
        """Count the rows of a leaf page that are not in its previous version, which was already counted."""
        rows = leaf.batch
        new = rows if before is None else rows.take(number_column(_new_rows(rows, before.batch), pa.int64()))
        paths, digests, sizes = (new.column(name).to_pylist() for name in ("path", "digest", "size"))
        named = (digest + path.encode() for path, digest in zip(paths, digests, strict=True))
        self.versions.add(b"".join(map(xxhash.xxh3_128_digest, named)), sizes)
        chunks = new.column("chunks").flatten()
        names, sizes = (chunks.field(name).to_pylist() for name in ("digest", "size"))
        self.chunks.add(b"".join(name[:HASH_BYTES] for name in names), sizes)
        places = leaf.places
        self.frames.add_places(places if before is None else places.take(places.changed_since(before.places)))
        self._add_doubtful(chunks.filter(may_be_elsewhere(chunks)))

    def _add_doubtful(self, chunks: pa.StructArray) -> None:
        if not len(chunks):
            return
        names, sizes = (chunks.field(name).to_pylist() for name in ("digest", "size"))
        places = zip(*(chunks.field(name).to_pylist() for name in ("pack", "offset", "stored")), strict=True)
        self.doubtful.update(zip(names, zip(starmap(FrameRef, places), sizes, strict=True), strict=True))

    def set_apart(self, objects: ObjectStore) -> list[int]:
        """Remove the frames of chunks that are parts elsewhere from the count, and return the sizes of these chunks.

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


def _new_rows(leaf: pa.RecordBatch, before: pa.RecordBatch) -> np.ndarray:
    """Return the numbers of the rows of *leaf* whose path and content are not in the previous version.

    A row is compared only at the same position, counted from the beginning or the end. Elsewhere it counts as new.
    """
    rows = np.column_stack([_path_and_content(leaf), np.arange(leaf.num_rows, dtype=np.uint64)])
    return _rows_that_differ(rows, _path_and_content(before))[:, -1].astype(np.int64)


def _rows_that_differ(rows: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return those of *rows* of which *before* does not hold the first words in the same place."""
    new = rows[:, :_NAMED_WORDS]
    if len(new) == len(before):
        changed: np.ndarray = rows[(new != before).any(axis=1)]
        return changed
    common = min(len(new), len(before))
    first = _equal_at_first(new[:common], before[:common])
    last = _equal_at_first(new[::-1][: common - first], before[::-1][: common - first])
    return rows[first : len(rows) - last]


def _equal_at_first(rows: np.ndarray, before: np.ndarray) -> int:
    """Return how many rows are equal before the first that is not."""
    unequal = np.flatnonzero((rows != before).any(axis=1))
    return int(unequal[0]) if len(unequal) else len(rows)


def _path_and_content(leaf: pa.RecordBatch) -> np.ndarray:
    """Return, for each row, a hash of its path and its digest, as `_NAMED_WORDS` uint64."""
    hashes = np.array(hash_rows(leaf.column("path")), np.uint64)
    return np.column_stack([hashes, fixed_words(leaf.column("digest"))])


def count_store(backend: Backend) -> StoreStats:
    """Return the sizes that the catalog alone gives. Cost: 3 SELECTs, which count rows."""
    with backend.catalog.read() as connection:
        found = catalog.count_rows(connection)
    return StoreStats(
        repo=None,
        is_exact=False,
        commits=found.commits,
        chunks=found.chunks,
        packs=found.packs,
        physical_bytes=found.pack_bytes,
    )


def measure_store(
    backend: Backend, repo: str | None = None, *, progress: Callable[[int], None] | None = None
) -> StoreStats:
    """Return the sizes of the store, or of the kept commits of one repo.

    Args:
        progress: Called with the number of pages read so far.

    Raises:
        RepoNotFoundError: The repo does not exist.
        IntegrityError: A page, or the footer of a pack that may hold references, is damaged or missing. Run fsck.

    Cost: 1 GET for each page of the kept commits. 1 HEAD and 2 GETs for each pack that may hold references to parts
        elsewhere. Memory of 24 bytes, at times 72, for each version and each chunk.
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
    marks = mark_trees(
        PageSource(backend.objects, damages=backend.damages), roots, progress=progress, leaf=count.add_leaf
    )
    elsewhere = count.set_apart(backend.objects)
    alive = marks.packs
    packs = [row for row in rows if repo is None or row.name in alive]
    live_bytes = sum(marks.live_bytes(name) for name in alive)
    stored_bytes = sum(count.frames.live_bytes(name) for name in count.frames.packs)
    physical_bytes = sum(row.size_bytes for row in packs)
    return StoreStats(
        repo=repo,
        is_exact=True,
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
