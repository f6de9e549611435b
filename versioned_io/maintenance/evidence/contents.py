"""The contents of packs: commit records, journal entries, and the places of contents."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from versioned_io.catalog.ordering import OrderFacts
from versioned_io.errors import FormatError, IntegrityError, NotFoundError, ObjectNotFoundError
from versioned_io.model.columns import column_of
from versioned_io.model.commits import Commit
from versioned_io.model.damages import Healed
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.journal import Action, RecordedEntry, decode_entry, disowned_commits
from versioned_io.model.places import PackInfo, pack_key, parse_pack_key
from versioned_io.storage.chunks.chunk_columns import NEW_CHUNKS
from versioned_io.storage.objects.port import Buffer, ObjectStore
from versioned_io.storage.packs.footer import Footer, FooterFrame, decode_footer
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.tail import read_tail
from versioned_io.storage.packs.walking import walk_frames
from versioned_io.versioning.transactions.record import CommitRecord, decode_record

DAMAGES: Final = (IntegrityError, NotFoundError, FormatError)
"""The errors of reading a damaged store. An unreachable store is not damaged, so StorageError is not among them."""

NOTED_KINDS: Final = frozenset({FrameKind.COMMIT, FrameKind.JOURNAL})
"""The kinds of frames with information on commits and names."""


@dataclass(frozen=True, slots=True)
class PackNotes:
    """The commit records and journal entries in one pack.

    Attributes:
        footer: The index of its readable frames.
        records: Commit records of any generation.
        entries: Journal entries, whether they took effect or not.
        damages: Descriptions of the parts that can't be read; empty for an intact pack.
    """

    name: PackName
    footer: Footer
    records: tuple[CommitRecord, ...] = ()
    entries: tuple[RecordedEntry, ...] = ()
    damages: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it holds only contents and pages, and is intact."""
        return not (self.records or self.entries or self.damages)


@dataclass(slots=True)
class Contents:
    """The contents of all packs.

    Attributes:
        records: The newest record of each commit, with the pack that holds it.
        entries: The journal entries of each repo by number, whether they took effect or not.
        others: Entries whose number another entry has.
        replaced: Commits that were attempts, according to later commits or journal entries.
        damaged: Damaged packs, each with the reason.
        healed: Damaged contents of which commits stored a repaired copy.
    """

    records: dict[CommitId, tuple[CommitRecord, PackName]] = field(default_factory=dict)
    entries: dict[str, dict[int, tuple[RecordedEntry, PackName]]] = field(default_factory=dict)
    others: list[tuple[RecordedEntry, PackName]] = field(default_factory=list)
    replaced: set[CommitId] = field(default_factory=set)
    infos: list[PackInfo] = field(default_factory=list)
    chunks: int = 0
    damaged: list[str] = field(default_factory=list)
    healed: list[Healed] = field(default_factory=list)

    def add(self, notes: PackNotes) -> None:
        """Add the notes of one pack."""
        self.damaged += [f"pack {notes.name}: {damage}" for damage in notes.damages]
        for record in notes.records:
            known = self.records.get(record.commit.id)
            if known is None or known[0].commit.generation < record.commit.generation:
                self.records[record.commit.id] = (record, notes.name)
            self.replaced.update(record.replaces)
            self.healed += record.healed
        for recorded in notes.entries:
            self._add_entry(recorded, notes.name)

    def discard_contradictions(self) -> list[Commit]:
        """Discard the records whose number does not follow that of their parent, and return their commits.

        A writer never makes one. A replay that followed them might not end, or would leave out the commits after them.
        As with a lost record, the branch continues at a later commit.

        Cost: O(n) time; O(n²) for a chain of forged records.
        """
        commits = [record.commit for record, _ in self.records.values()]
        discarded = [one for one in commits if (one.parent is None) != (one.number == 1)]
        for one in discarded:
            del self.records[one.id]
        while wrong := {one: parent for one in self.records if (parent := self._contradicted(one)) is not None}:
            # A number that contradicts its parent's may be right, if the parent's own number is wrong.
            first = [one for one, parent in wrong.items() if parent not in wrong]
            discarded += [self.records.pop(one)[0].commit for one in first or list(wrong)]
        return discarded

    def _contradicted(self, commit_id: CommitId) -> CommitId | None:
        """Return the parent of a commit if their numbers do not follow on each other."""
        commit = self.records[commit_id][0].commit
        known = None if commit.parent is None else self.records.get(commit.parent)
        return None if known is None or known[0].commit.number + 1 == commit.number else commit.parent

    def prefer(self, packs: Mapping[int, PackName]) -> None:
        """Choose, among several entries of one number, the one in the pack that a catalog names."""
        for other in list(self.others):
            recorded, pack = other
            chosen = self.entries[recorded.entry.repo][recorded.sequence]
            if packs.get(recorded.sequence) == pack != chosen[1]:
                self.entries[recorded.entry.repo][recorded.sequence] = other
                self.others.remove(other)
                self.others.append(chosen)

    def pass_over(self, repo: str, sequence: int) -> None:
        """Discard an entry, because it belongs to another line of history than the catalog's."""
        self.others.append(self.entries[repo].pop(sequence))

    def _add_entry(self, recorded: RecordedEntry, pack: PackName) -> None:
        if recorded.entry.action is Action.DISOWN:
            self.replaced.update(disowned_commits(recorded.entry))
        of_repo = self.entries.setdefault(recorded.entry.repo, {})
        known = of_repo.get(recorded.sequence)
        if known is None:
            of_repo[recorded.sequence] = (recorded, pack)
        elif known[0] == recorded:
            of_repo[recorded.sequence] = max(known, (recorded, pack), key=lambda pair: pair[1])  # a copy of it
        else:
            # Of two entries with one number, the earlier one's writer died before its transaction committed.
            first, last = sorted([known, (recorded, pack)], key=lambda pair: pair[1])
            of_repo[recorded.sequence] = last
            self.others.append(first)


def order_facts(record: CommitRecord) -> OrderFacts:
    """Return the facts in a record that determine the order of its commit."""
    commit = record.commit
    written_by = (file.written_by for file in record.inputs)
    sources = {one for one in (commit.parent, commit.merged, *commit.provenance, *written_by) if one is not None}
    return OrderFacts(commit.id, tuple(sources), commit.order, commit.created_at)


def read_packs(
    objects: ObjectStore, enter: Callable[[PackInfo, pa.Table], None], progress: Callable[[int], None]
) -> Contents:
    """Return the records and entries of all packs.

    Args:
        enter: Called with each pack and the places of its contents, with the columns of `NEW_CHUNKS`.
        progress: Called with the number of packs that were read.

    Cost: 1 LIST for each 1,000 packs. 1 GET for nearly each pack, 2 or 3 if its footer is large. A damaged pack is read
        whole.
    """
    found = Contents()
    for info in objects.list("packs/"):
        name = parse_pack_key(info.key)
        if name is None:
            continue
        # A damaged pack gets a row too, since its unknown contents may not be garbage.
        notes = read_notes(objects, name, info.size_bytes)
        found.add(notes)
        pack = PackInfo(name, info.size_bytes, len(notes.footer.frames), len(notes.footer.chunks))
        found.infos.append(pack)
        enter(pack, _chunks_of(notes.footer))
        found.chunks += len(notes.footer.chunks)
        progress(len(found.infos))
    for commit in found.discard_contradictions():
        what = f"number {commit.number} and parent {commit.parent}, which contradict each other"
        found.damaged.append(f"the record of commit {commit.id} has {what}")
    return found


def read_notes(objects: ObjectStore, name: PackName, size_bytes: int) -> PackNotes:
    """Return the records and entries of a pack; for a damaged pack, those in its intact frames.

    Args:
        size_bytes: The size of the pack in the listing.

    Raises:
        StorageError: The object store failed, so nothing is known about the pack. Try again.

    Cost: that of `read_tail`; for a damaged pack 1 GET of the whole pack.
    """
    damages: list[str] = []
    try:
        footer, payloads = read_tail(objects, name, size_bytes, NOTED_KINDS)
    except DAMAGES as error:
        damages.append(str(error))
        footer, payloads = _read_whole_frames(objects, name, damages)
        damages[0] = f"{error} ({len(footer.frames)} of its frames could still be read)"
    return decode_notes(footer, payloads, damages)


def decode_notes(
    footer: Footer, payloads: Iterable[tuple[FrameKind, Buffer]], damages: Iterable[str] = ()
) -> PackNotes:
    """Return the records and entries in these frames of a pack; a malformed one is listed in the damages instead."""
    records: list[CommitRecord] = []
    entries: list[RecordedEntry] = []
    wrong = list(damages)
    for kind, payload in payloads:
        try:
            if kind is FrameKind.COMMIT:
                records.append(decode_record(bytes(payload)))
            else:
                entries.append(decode_entry(bytes(payload)))
        except DAMAGES as error:
            wrong.append(str(error))
    return PackNotes(footer.name, footer, tuple(records), tuple(entries), tuple(wrong))


def _read_whole_frames(
    objects: ObjectStore, name: PackName, damages: list[str]
) -> tuple[Footer, list[tuple[FrameKind, memoryview]]]:
    """Return the index of a damaged pack's intact frames, and the payloads of their records and entries.

    Args:
        damages: Further damages of the pack are added to it.
    """
    try:
        data = objects.get(pack_key(name))
    except ObjectNotFoundError:
        return Footer(name, (), ()), []
    found: list[FooterFrame] = []
    payloads: list[tuple[FrameKind, memoryview]] = []
    index: memoryview | None = None
    try:
        for frame, payload in walk_frames(name, data):
            # Other payloads are dropped, since decompressed they may be far larger than the pack.
            if frame.kind is FrameKind.FOOTER:
                index = payload
                continue
            found.append(frame)
            if frame.kind in NOTED_KINDS:
                payloads.append((frame.kind, payload))
    except IntegrityError as error:
        damages.append(str(error))
    frames = tuple(found)
    if index is None:
        return Footer(name, frames, ()), payloads
    try:
        footer = decode_footer(name, index)
    except DAMAGES:
        return Footer(name, frames, ()), payloads  # the caller has already reported the damage
    number_of = {frame.offset: number for number, frame in enumerate(frames)}
    chunks = [
        chunk._replace(frame=number_of[footer.frames[chunk.frame].offset])
        for chunk in footer.chunks
        if footer.frames[chunk.frame].offset in number_of
    ]
    return Footer(name, frames, tuple(chunks)), payloads


def _chunks_of(footer: Footer) -> pa.Table:
    pack = bytes.fromhex(footer.name)
    rows = [
        (
            chunk.digest,
            pack,
            footer.frames[chunk.frame].offset,
            footer.frames[chunk.frame].stored_size,
            chunk.inner,
            chunk.size,
        )
        for chunk in footer.chunks
    ]
    columns = zip(*rows, strict=True) if rows else ([] for _ in NEW_CHUNKS)
    arrays = [column_of(values, column.type) for values, column in zip(columns, NEW_CHUNKS, strict=True)]
    return pa.Table.from_arrays(arrays, schema=NEW_CHUNKS)
