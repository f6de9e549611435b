"""Classification of records and entries without a row: deletable, unclear, or proof that the catalog is older.

Source: docs/design/0005-garbage-collection.md, "What proves that it may be deleted".
"""

from collections.abc import Container, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from versioned_io.catalog.knowing import (
    Disowned,
    KnownCommit,
    KnownEntry,
    disowned,
    entry_after,
    epochs_of_rows,
    known_commits,
    known_entries,
    named_by_rows,
    packs_of_lineages,
)
from versioned_io.maintenance.evidence.contents import DAMAGES, PackNotes, read_notes
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.journal import Action, RecordedEntry, decode_entry
from versioned_io.model.places import PageRef, parse_pack_key
from versioned_io.storage.objects.port import ObjectInfo, ObjectStore
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.reader import read_frames_of
from versioned_io.versioning.transactions.record import CommitRecord, decode_record

_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Unclear:
    """A record or an entry that no catalog knows and no entry disowns, or the unreadable part of a pack.

    Attributes:
        id: The argument for `gc --disown`: the ID of the commit, or else the name of the pack.
        what: A description for people.
    """

    id: str
    what: str
    pack: PackName
    root: PageRef | None = None


@dataclass(slots=True)
class Standing:
    """The classified contents of packs that the catalog does not reference.

    Attributes:
        unclear: Items that must stay, with the trees that they reference.
        newer: Records of moved trees that the catalog has in their form before the move. They may be deleted as long as
            all packs of that form exist.
        proof: Acknowledged items that the catalog lacks, each with its evidence in parentheses.
    """

    unclear: list[Unclear] = field(default_factory=list)
    newer: list[Unclear] = field(default_factory=list)
    proof: list[str] = field(default_factory=list)


def read_all_notes(objects: ObjectStore, infos: Iterable[ObjectInfo]) -> list[PackNotes]:
    """Return the notes of these packs, except for packs that were deleted since they were listed.

    Several packs of a remote store are read at once. Cost: that of `read_notes` for each.
    """
    named = [(name, info.size_bytes) for info in infos if (name := parse_pack_key(info.key)) is not None]
    if not objects.is_remote:
        return [read_notes(objects, name, size) for name, size in named]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda one: read_notes(objects, *one), named))


def judge(
    connection: Connection, objects: ObjectStore, notes: Sequence[PackNotes], whole: Container[PackName] | None = None
) -> Standing:
    """Classify the records and entries of these packs by comparing them with the catalog.

    A missing row alone never permits deletion, because the catalog may be an older one. A record or an entry is
    deletable in three cases:

    - The catalog references another copy of it, or a newer record of the same commit, in an existing pack.
    - A later record of the same transaction replaces it.
    - A journal entry disowns it.

    Everything else is unclear. Writers only build on acknowledged commits. So an unclear item that refers to items
    without a row, or that rows refer to, proves that the catalog is older.

    Args:
        notes: The notes, read before the transaction of *connection* began, so that it sees all earlier commits.
        whole: The existing packs; None if nothing is deleted, so that they don't matter.

    Cost: 1 SELECT for each 500 records and each 500 entries, and 11 for each 500 unknown commits. Also 3 GETs for each
        commit with the lineage ID of an unknown one, and for each unknown entry.
    """
    return _Judging(connection, objects, notes, whole).judge()


class _Judging:
    def __init__(
        self,
        connection: Connection,
        objects: ObjectStore,
        notes: Sequence[PackNotes],
        whole: Container[PackName] | None,
    ) -> None:
        self._connection = connection
        self._objects = objects
        self._notes = notes
        self._whole = whole
        self._found = Standing()
        records = [record for note in notes for record in note.records]
        entries = [entry for note in notes for entry in note.entries]
        self._named = {one for record in records for one in named_commits(record)}
        self._named |= {one for entry in entries for one in _commits_named_in(entry)}
        self._commits: dict[CommitId, KnownCommit] = known_commits(
            connection, self._named | {record.commit.id for record in records}
        )
        self._entries: dict[int, KnownEntry] = known_entries(
            connection,
            {record.commit.epoch for record in records}
            | {number for entry in entries for number in (entry.sequence, entry.previous)},
        )
        self._unknown = {record.commit.id: record for record in records if record.commit.id not in self._commits}
        self._disowned: Disowned = disowned(connection)
        self._replaced = {one for record in records for one in record.replaces}

    def judge(self) -> Standing:
        self._replaced |= self._replaced_by_known()
        for note in self._notes:
            for record in note.records:
                self._judge_record(record, note.name)
            for entry in note.entries:
                self._judge_entry(entry, note.name)
            if note.damages and note.name not in self._disowned.packs:
                self._found.unclear.append(
                    Unclear(note.name, f"a pack that can't be read: {note.damages[0]}", note.name)
                )
        self._judge_rows()
        return self._found

    def _judge_record(self, record: CommitRecord, pack: PackName) -> None:
        commit = record.commit
        known = self._commits.get(commit.id)
        if known is not None:
            self._judge_copy(record, pack, known)
            return
        if commit.id in self._replaced or commit.id in self._disowned.commits:
            return
        for one in sorted(named_commits(record)):
            if not self._is_accounted_for(one):
                self._prove(f"commit {one} (commit {commit.id} of {commit.repo}@{commit.branch} was made from it)")
        if commit.epoch and commit.epoch not in self._entries:
            self._prove(f"entry {commit.epoch} of the journal (commit {commit.id} of {commit.repo} was made after it)")
        self._found.unclear.append(
            Unclear(commit.id, f"commit {commit.id} of {commit.repo}@{commit.branch}", pack, commit.root)
        )

    def _judge_copy(self, record: CommitRecord, pack: PackName, known: KnownCommit) -> None:
        """Judge another record of a commit that the catalog knows."""
        commit = record.commit
        if commit.generation > known.generation + 1:
            # A tree is rewritten from the one in the catalog, with the next generation.
            self._prove(f"generation {commit.generation - 1} of the tree of commit {commit.id}")
        other = Unclear(pack, f"another record of commit {commit.id}", pack, commit.root)
        if commit.generation > known.generation:
            self._found.newer.append(other)
        if self._whole is not None and known.pack not in self._whole:
            self._found.unclear.append(other)

    def _judge_entry(self, recorded: RecordedEntry, pack: PackName) -> None:
        known = self._entries.get(recorded.sequence)
        if known is not None and _is_same(recorded, known):
            if self._whole is not None and known.pack not in self._whole:
                self._found.unclear.append(Unclear(pack, f"{_described(recorded)}, whose other copy is missing", pack))
            return
        if pack in self._disowned.packs:
            return
        if recorded.previous and recorded.previous not in self._entries:
            self._prove(f"entry {recorded.previous} of the journal ({_described(recorded)} was made after it)")
        for one in sorted(_commits_named_in(recorded)):
            if not self._is_accounted_for(one):
                self._prove(f"commit {one} ({_described(recorded)} names it)")
        if known is None and self._is_named_by_next(recorded):
            self._prove(f"{_described(recorded)} (its next entry was made after it)")
        self._found.unclear.append(Unclear(pack, _described(recorded), pack))

    def _is_named_by_next(self, recorded: RecordedEntry) -> bool:
        """Return whether the next entry in the catalog names this one as its predecessor."""
        pack = entry_after(self._connection, recorded.entry.repo, recorded.sequence)
        if pack is None:
            return False
        try:
            later = [decode_entry(bytes(one)) for one in read_frames_of(self._objects, pack, FrameKind.JOURNAL)]
        except DAMAGES:
            return False  # fsck reports the damage of that pack
        own = (recorded.entry.repo, recorded.sequence)
        return any((one.entry.repo, one.previous) == own for one in later)

    def _judge_rows(self) -> None:
        """Record as proof the commits and entries that rows point at, and that have no row themselves."""
        left = {one.id for one in self._found.unclear}
        unknown = {commit_id for commit_id in self._unknown if commit_id in left}
        for commit_id in sorted(named_by_rows(self._connection, unknown)):
            self._prove(f"commit {commit_id} (its own rows point at it)")
        numbers = {entry.sequence for note in self._notes for entry in note.entries} - self._entries.keys()
        for number in sorted(epochs_of_rows(self._connection, numbers)):
            self._prove(f"entry {number} of the journal (its own rows point at it)")

    def _replaced_by_known(self) -> set[CommitId]:
        """Return the attempts that known commits replace, found by the lineage ID of their transaction."""
        lineages = {record.commit.lineage_id for record in self._unknown.values()}
        packs = packs_of_lineages(self._connection, lineages)
        found: set[CommitId] = set()
        for pack in sorted({pack for packs in packs.values() for pack in packs}):
            try:
                payloads = read_frames_of(self._objects, pack, FrameKind.COMMIT)
                found |= {one for payload in payloads for one in decode_record(bytes(payload)).replaces}
            except DAMAGES:
                continue  # its contents are unknown, so the attempts that it may replace stay
        return found

    def _is_accounted_for(self, commit_id: CommitId) -> bool:
        return commit_id in self._commits or commit_id in self._disowned.commits

    def _prove(self, missing: str) -> None:
        if missing not in self._found.proof:
            self._found.proof.append(missing)


def named_commits(record: CommitRecord) -> set[CommitId]:
    """Return the commits that a record refers to: they were acknowledged before it was made."""
    commit = record.commit
    named = {commit.parent, commit.merged, *commit.provenance}
    named |= {one for file in record.inputs for one in (file.commit, file.written_by)}
    return {one for one in named if one is not None}


def _commits_named_in(recorded: RecordedEntry) -> set[CommitId]:
    """Return the commits in an entry that were acknowledged before it, which excludes the new commit of a squash."""
    entry = recorded.entry
    named = {entry.old} if entry.action is Action.SQUASH else {entry.old, entry.new}
    return {one for one in named if one is not None}


def _is_same(recorded: RecordedEntry, known: KnownEntry) -> bool:
    entry = recorded.entry
    # The repo's name is not compared, since the repo may have been renamed.
    own = (entry.name, entry.action.value, entry.old, entry.new, recorded.at)
    return own == (known.name, known.action, known.old, known.new, known.at)


def _described(recorded: RecordedEntry) -> str:
    entry = recorded.entry
    name = f"@{entry.name}" if entry.name else ""
    return f"entry {recorded.sequence} of the journal ({entry.action.value} of {entry.repo}{name})"
