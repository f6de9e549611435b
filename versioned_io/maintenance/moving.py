"""Moving what is alive into new packs, and writing the trees again that lead to it; nothing else changes."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection

from versioned_io.backend import Backend
from versioned_io.catalog import moving as catalog
from versioned_io.catalog.chunk_index import insert_packs
from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.journal import decode_entry
from versioned_io.catalog.moving import MovedBlock, MovedRecord, NewTree
from versioned_io.catalog.values import Commit
from versioned_io.chunks.refs import CHUNK_FIELDS, CHUNKS_TYPE
from versioned_io.columns import column_of, number_column
from versioned_io.errors import IntegrityError
from versioned_io.identifiers import CommitId, PackName
from versioned_io.maintenance.marking import Marks
from versioned_io.objects.port import Buffer
from versioned_io.packs.footer import Footer, FooterFrame
from versioned_io.packs.frames import CONTENT_KINDS, FrameKind, FrameRef, decode_frame, pack_name
from versioned_io.packs.reader import read_footer, read_frames_of, read_part
from versioned_io.packs.writer import PackInfo, PackWriter
from versioned_io.pages.schema import (
    ROWS,
    Entry,
    Page,
    PageRef,
    encode_entries,
    encode_page,
    index_digest,
    leaf_digest,
)
from versioned_io.pages.source import PageSource
from versioned_io.transactions.lease import Lease
from versioned_io.transactions.record import CommitRecord, decode_record, encode_record

_ROLL_BYTES: Final = 48 * 1024 * 1024
_RUN_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move did: how many bytes and frames went to new packs, and how many trees were written again."""

    packs: tuple[PackInfo, ...]
    frames: int
    bytes: int
    trees: int


@dataclass(frozen=True, slots=True)
class Edit:
    """The tree that a commit is to have instead of the one that it had when that was made."""

    old: PageRef
    new: PageRef | None


@dataclass(frozen=True, slots=True)
class _Rewritten:
    """A tree that was written again, and the generation of the one that it replaces."""

    generation: int
    root: PageRef | None


@dataclass(slots=True)
class PackSeries:
    """New packs that are filled one after the other; a `PageSink`. Until the switch a lease keeps them."""

    backend: Backend
    lease: Lease
    infos: list[PackInfo] = field(default_factory=list)
    open: PackWriter | None = None

    def current(self) -> PackWriter:
        """Return the pack to append to."""
        if self.open is not None and self.open.size_bytes >= _ROLL_BYTES:
            self.close()
        if self.open is None:
            self.open = PackWriter(self.backend.objects)
        return self.open

    def read_open(self, ref: FrameRef, kind: FrameKind) -> memoryview | None:
        """Return the payload of a frame that is still in memory; for `PageSource.overlaid`."""
        return self.open.read(ref, kind) if self.open is not None and self.open.pack == ref.pack else None

    def close(self) -> None:
        """Store the open pack."""
        if self.open is not None and not self.open.is_empty:
            self.lease.hold()
            self.infos.append(self.open.close())
        self.open = None

    def put_page(self, payload: Buffer) -> FrameRef:
        """Add a page."""
        return self.current().append(FrameKind.PAGE, payload)


def move_packs(
    backend: Backend,
    victims: Sequence[PackName],
    marks: Marks,
    *,
    edits: Mapping[CommitId, Edit] | None = None,
    blank: Collection[bytes] = (),
    enter: Callable[[Connection], None] | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Moved:
    """Copy everything that is alive in *victims* to new packs, and make the catalog and all trees refer to the copies.

    The victims themselves are left alone: whoever reads them goes on, and garbage collection removes them when nothing
    leads to them any more. All or nothing: until the one catalog transaction at the end nothing refers to the copies.

    Args:
        marks: What is alive, of a mark that began after the victims were listed.
        edits: Trees that commits are to have instead of their own; by default their own. One whose tree somebody else
            has written again meanwhile keeps it.
        blank: Names of chunks whose bytes are not copied: zeros stand in their place, and no footer lists them.
        enter: Called at the end of the catalog transaction, to note in it what this was for.

    Raises:
        IntegrityError: A frame that is alive is damaged; nothing changed. Run fsck.
        PackLostError, PackCondemnedError: Others moved and collected the same packs meanwhile; nothing changed.
            Mark and call again.
        StorageError: The objects or the catalog failed; nothing changed. Call again.

    Cost: reads and writes what is alive in the victims, and each page that leads to it; 1 SQL transaction.

    Source: docs/design/0005-garbage-collection.md, "Compaction".
    """
    report = progress or (lambda _stage, _done: None)
    lease = Lease(backend)
    move = _Move(backend, frozenset(victims), marks, PackSeries(backend, lease), frozenset(blank), report)
    try:
        for number, victim in enumerate(victims):
            move.copy_blocks(victim)
            report("copy", number + 1)
        move.packs.close()
        move.rewrite_trees(edits or {})
        move.copy_records()
        move.packs.close()
        _switch(backend, move, lease, enter)
    except BaseException:
        lease.abandon()
        raise
    moved_bytes = sum(info.size_bytes for info in move.packs.infos)
    return Moved(tuple(move.packs.infos), len(move.places), moved_bytes, len(move.new_trees))


def _switch(backend: Backend, move: "_Move", lease: Lease, enter: Callable[[Connection], None] | None) -> None:
    """Make the catalog refer to the copies, all or nothing."""
    with backend.catalog.write() as connection:
        catalog.hold_commits(connection, {*(tree.commit for tree in move.new_trees), *move.records})
        insert_packs(connection, move.packs.infos, backend.clock())
        catalog.forget_chunks(connection, sorted(move.blank))  # first: nobody may find what is zeros now
        catalog.move_chunks(connection, move.blocks)
        catalog.move_trees(connection, move.new_trees)
        catalog.move_records(connection, move.records)
        catalog.move_journal(connection, move.journal)
        lease.end(connection)
        if enter is not None:
            enter(connection)


@dataclass(slots=True)
class _Move:
    backend: Backend
    victims: frozenset[PackName]
    marks: Marks
    packs: PackSeries
    blank: frozenset[bytes]
    report: Callable[[str, int], None]
    places: dict[FrameRef, FrameRef] = field(default_factory=dict)  # blocks: where they were, where they are now
    pages: dict[FrameRef, FrameRef] = field(default_factory=dict)
    blocks: list[MovedBlock] = field(default_factory=list)
    new_trees: list[NewTree] = field(default_factory=list)
    records: dict[CommitId, MovedRecord] = field(default_factory=dict)
    journal: dict[int, PackName] = field(default_factory=dict)
    source: PageSource = field(init=False)

    def __post_init__(self) -> None:
        self.source = PageSource(self.backend.objects)

    def copy_blocks(self, victim: PackName) -> None:
        """Copy the blocks of one pack that are alive, and the references to parts elsewhere."""
        footer = read_footer(self.backend.objects, victim)
        alive = self.marks.frames_of(victim)
        pack = bytes.fromhex(victim)
        chunks = _chunks_by_frame(footer)
        wanted = [
            (number, frame)
            for number, frame in enumerate(footer.frames)
            if frame.kind in CONTENT_KINDS and frame.offset in alive
        ]
        for run in _runs(wanted):
            first, last = run[0][1], run[-1][1]
            data = read_part(self.backend.objects, victim, first.offset, last.offset + last.stored_size - first.offset)
            for number, frame in run:
                named = chunks.get(number, [])
                if frame.kind is FrameKind.SOURCE and any(digest in self.blank for digest, _, _ in named):
                    continue  # nothing is to lead to it any more
                at = frame.offset - first.offset
                origin = FrameRef(pack, frame.offset, frame.stored_size)
                stored = data[at : at + frame.stored_size]
                place = self._copy(frame, stored, origin, named)
                self.places[origin] = place
                self.blocks.append(MovedBlock(origin, place))

    def _copy(
        self, frame: FooterFrame, stored: memoryview, origin: FrameRef, chunks: list[tuple[bytes, int, int]]
    ) -> FrameRef:
        kept = [chunk for chunk in chunks if chunk[0] not in self.blank]
        if len(kept) == len(chunks):
            return self.packs.current().append_moved(frame, stored, origin, chunks)
        raw = bytearray(decode_frame(origin.pack, origin.offset, stored, FrameKind.BLOCK))
        for digest, inner, size in chunks:
            if digest in self.blank:
                raw[inner : inner + size] = bytes(size)
        return self.packs.current().append_block(raw, kept)

    def rewrite_trees(self, edits: Mapping[CommitId, Edit]) -> None:
        """Write every kept tree again that leads to something that moved."""
        with self.backend.catalog.read() as connection:
            found = list(catalog.live_generations(connection))
        changed: dict[CommitId, _Rewritten] = {}
        for number, (commit_id, generation, old) in enumerate(found):
            edit = edits.get(commit_id)
            wanted = edit.new if edit is not None and edit.old == old else old
            new = None if wanted is None else self._rewritten(wanted)
            if new != old:
                changed[commit_id] = _Rewritten(generation, new)
            self.report("trees", number + 1)
        self._write_records(changed)

    def copy_records(self) -> None:
        """Copy the records and journal entries that lie in victims and were not written again already."""
        with self.backend.catalog.read() as connection:
            own = catalog.records_in(connection, self.victims)
            entries = catalog.entries_in(connection, self.victims)
        rewritten = {tree.commit for tree in self.new_trees}
        for victim, commit_ids in own.items():
            left = set(commit_ids) - rewritten
            if not left:
                continue
            for payload in read_frames_of(self.backend.objects, victim, FrameKind.COMMIT):
                record = decode_record(bytes(payload))
                # Of several records of one commit only the one that the catalog means: it lies in this pack once.
                if record.commit.id in left:
                    pack = self.packs.current()
                    pack.append(FrameKind.COMMIT, payload)
                    self.records[record.commit.id] = MovedRecord(victim, pack.name)
        for victim, sequences in entries.items():
            for payload in read_frames_of(self.backend.objects, victim, FrameKind.JOURNAL):
                sequence = decode_entry(bytes(payload)).sequence
                if sequence in sequences:
                    pack = self.packs.current()
                    pack.append(FrameKind.JOURNAL, payload)
                    self.journal[sequence] = pack.name

    def _rewritten(self, ref: PageRef) -> PageRef:
        place = self._page(ref.frame, ref.level, ref.digest)
        return replace(ref, pack=place.pack, offset=place.offset, stored_size=place.stored_size)

    def _page(self, frame: FrameRef, level: int, digest: bytes) -> FrameRef:
        """Return where the page at *frame* is from now on: a new one when it moved, or leads to what moved."""
        known = self.pages.get(frame)
        if known is not None:
            return known
        page = self.source.load(frame, level)
        batch = self._index_batch(page) if level else self._leaf_batch(page)
        is_victim = pack_name(frame.pack) in self.victims
        if batch is None and not is_victim:
            place = frame
        else:
            written = page.batch if batch is None else batch
            self._check_name(written, level, digest)
            place = self.packs.put_page(encode_page(level, written))
        self.pages[frame] = place
        return place

    def _index_batch(self, page: Page) -> pa.RecordBatch | None:
        entries: list[Entry] = []
        for entry in page.entries:
            place = self._page(entry.frame, page.level - 1, entry.digest)
            entries.append(entry._replace(pack=place.pack, offset=place.offset, stored=place.stored_size))
        return None if entries == page.entries else encode_entries(entries)

    def _leaf_batch(self, page: Page) -> pa.RecordBatch | None:
        column = page.batch.column("chunks")
        chunks = pc.list_flatten(column)
        packs, offsets, stored = (pc.struct_field(chunks, name).to_pylist() for name in ("pack", "offset", "stored"))
        places = [self.places.get(FrameRef(*place)) for place in zip(packs, offsets, stored, strict=True)]
        if self.blank:
            # Who has brought such a content again since the mark keeps it where it is: in the copy are zeros.
            digests = pc.struct_field(chunks, "digest").to_pylist()
            places = [None if digest in self.blank else place for digest, place in zip(digests, places, strict=True)]
        if not any(places):
            return None
        moved = {
            "pack": [old if new is None else new.pack for old, new in zip(packs, places, strict=True)],
            "offset": [old if new is None else new.offset for old, new in zip(offsets, places, strict=True)],
            "stored": [old if new is None else new.stored_size for old, new in zip(stored, places, strict=True)],
        }
        fields = [
            column_of(moved[one.name], one.type) if one.name in moved else pc.struct_field(chunks, one.name)
            for one in CHUNK_FIELDS
        ]
        lengths = pc.list_value_length(column).to_pylist()
        starts = [0]
        for length in lengths:
            starts.append(starts[-1] + length)
        structs = pa.StructArray.from_arrays(fields, fields=CHUNK_FIELDS)
        lists = pa.ListArray.from_arrays(number_column(starts, pa.int32()), structs, type=CHUNKS_TYPE)
        columns = [lists if name == "chunks" else page.batch.column(name) for name in ROWS.names]
        return pa.RecordBatch.from_arrays(columns, schema=ROWS)

    def _check_name(self, batch: pa.RecordBatch, level: int, digest: bytes) -> None:
        found = index_digest(Page(level, batch).entries) if level else leaf_digest(batch)
        if found != digest:
            msg = (
                f"a page that was written again holds {found.hex()}, not {digest.hex()}: run fsck, nothing was changed"
            )
            raise IntegrityError(msg)

    def _write_records(self, changed: Mapping[CommitId, _Rewritten]) -> None:
        with self.backend.catalog.read() as connection:
            commits = get_commits(connection, list(changed))
            packs = catalog.packs_of(connection, list(changed))
        for commit_id, tree in changed.items():
            old = commits[commit_id]
            if old.generation != tree.generation:
                continue  # somebody else has written it again since it was read, and theirs counts
            record = self._record_of(old, packs[commit_id])
            new = replace(record, commit=replace(old, root=tree.root, generation=old.generation + 1))
            pack = self.packs.current()
            pack.append(FrameKind.COMMIT, encode_record(new))
            self.new_trees.append(NewTree(commit_id, old.generation, tree.root, pack.name))

    def _record_of(self, commit: Commit, pack: PackName) -> CommitRecord:
        for payload in read_frames_of(self.backend.objects, pack, FrameKind.COMMIT):
            record = decode_record(bytes(payload))
            if record.commit.id == commit.id and record.commit.generation == commit.generation:
                return record
        msg = f"pack {pack} holds no record of commit {commit.id}: run fsck, nothing was changed"
        raise IntegrityError(msg)


def _chunks_by_frame(footer: Footer) -> dict[int, list[tuple[bytes, int, int]]]:
    found: dict[int, list[tuple[bytes, int, int]]] = {}
    for chunk in footer.chunks:
        found.setdefault(chunk.frame, []).append((chunk.digest, chunk.inner, chunk.size))
    return found


def _runs(frames: Iterable[tuple[int, FooterFrame]]) -> list[list[tuple[int, FooterFrame]]]:
    """Return the frames in groups that are read together: neighbours, up to 16 MiB."""
    runs: list[list[tuple[int, FooterFrame]]] = []
    for number, frame in frames:
        if runs:
            first, last = runs[-1][0][1], runs[-1][-1][1]
            end = frame.offset + frame.stored_size
            if frame.offset == last.offset + last.stored_size and end - first.offset <= _RUN_BYTES:
                runs[-1].append((number, frame))
                continue
        runs.append([(number, frame)])
    return runs
