"""Rewriting or copying commit records and journal entries into other packs."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from versioned_io.catalog import moving as catalog
from versioned_io.catalog.collection import DELETED, states_of
from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.moving import MovedRecord, NewTree
from versioned_io.errors import IntegrityError
from versioned_io.maintenance.compaction.pack_series import PackSeries
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.journal import decode_entry
from versioned_io.model.places import FrameRef, PageRef
from versioned_io.storage.objects.port import Buffer, ObjectStore
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.reader import fetch_frames, read_frames_of
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.transactions.record import CommitRecord, decode_record, encode_record
from versioned_io.versioning.transactions.restated import restate_records


class RewrittenTree(NamedTuple):
    """A rewritten tree, and the generation of the tree that it replaces."""

    generation: int
    root: PageRef | None


class _OwnRecord(NamedTuple):
    """A commit from the catalog, and its record."""

    commit: Commit
    record: CommitRecord


@dataclass(slots=True)
class MovedRecords:
    """Writes new records for rewritten trees, and copies all other records out of the victims.

    Args:
        objects: The objects from which the packs are read.
        victims: The packs that must hold no record afterwards.
        known: The places of the records in packs whose footers were already read.
        are_all: Whether every commit was visited, so that a query by pack is worth its scan.
        amend: Returns the record that replaces a record.

    Attributes:
        trees: The commits that get another tree or another record.
        records: The records that were copied unchanged.
        journal: The entries that were copied, by number.
    """

    backend: Backend
    objects: ObjectStore
    packs: PackSeries
    victims: frozenset[PackName]
    known: Mapping[PackName, Sequence[FrameRef]]
    are_all: bool
    amend: Callable[[CommitRecord], CommitRecord]
    trees: list[NewTree] = field(default_factory=list)
    records: dict[CommitId, MovedRecord] = field(default_factory=dict)
    journal: dict[int, PackName] = field(default_factory=dict)
    _rewritten_counts: Counter[PackName] = field(default_factory=Counter)

    def write(self, changed: Mapping[CommitId, RewrittenTree]) -> None:
        """Write new records for commits whose trees were rewritten."""
        with self.backend.catalog.read() as connection:
            commits = get_commits(connection, list(changed))
            packs = catalog.packs_of(connection, list(changed))
        if lost := changed.keys() - commits.keys():
            msg = f"commit {min(lost)} is in no repo of the catalog; run fsck"
            raise IntegrityError(msg)
        # Another process may have rewritten a tree since it was read. Then that process's tree is kept.
        current = [one for one, tree in changed.items() if commits[one].generation == tree.generation]
        for pack, olds in _grouped(current, packs).items():
            for old, record in self._records_of([commits[one] for one in olds], pack):
                root = changed[old.id].root
                new = self.amend(replace(record, commit=replace(old, root=root, generation=old.generation + 1)))
                target = self.packs.current()
                target.append(FrameKind.COMMIT, encode_record(new))
                self.trees.append(NewTree(old.id, old.generation, root, target.name))
                self._rewritten_counts[pack] += 1

    def copy(self) -> None:
        """Copy the records and journal entries in victims that `write` has not rewritten."""
        with self.backend.catalog.read() as connection:
            entries = catalog.entries_in(connection, self.victims)
        rewritten = {tree.commit for tree in self.trees}
        for victim, commit_ids in self._in_victims().items():
            left = commit_ids - rewritten
            for payload in self._read(victim) if left else ():
                record = decode_record(bytes(payload))
                # A pack may hold several records of a commit; only the one in the catalog is copied.
                if record.commit.id in left:
                    self._copy_record(victim, record, payload)
        for victim, sequences in entries.items():
            for payload in read_frames_of(self.objects, victim, FrameKind.JOURNAL):
                sequence = decode_entry(bytes(payload)).sequence
                if sequence in sequences:
                    pack = self.packs.current()
                    pack.append(FrameKind.JOURNAL, payload)
                    self.journal[sequence] = pack.name

    def _read(self, pack: PackName) -> list[memoryview]:
        if pack in self.known:
            return fetch_frames(self.objects, self.known[pack], FrameKind.COMMIT)
        return read_frames_of(self.objects, pack, FrameKind.COMMIT)

    def _copy_record(self, victim: PackName, record: CommitRecord, payload: Buffer) -> None:
        commit = record.commit
        amended = self.amend(record)
        pack = self.packs.current()
        if amended == record:
            pack.append(FrameKind.COMMIT, payload)
            self.records[commit.id] = MovedRecord(victim, pack.name)
            return
        with self.backend.catalog.read() as connection:
            known = get_commits(connection, [commit.id])[commit.id]
        new = replace(amended, commit=replace(amended.commit, generation=known.generation + 1))
        pack.append(FrameKind.COMMIT, encode_record(new))
        # An expired commit has no tree in the catalog, and gets none here.
        self.trees.append(NewTree(commit.id, known.generation, known.root, pack.name))

    def _in_victims(self) -> dict[PackName, set[CommitId]]:
        """Return the commits whose records are in victims, by victim; empty if all were rewritten.

        Cost: With *are_all*, 1 SELECT over all commits, since the catalog has no index by pack. Otherwise the records
            are read, and each 500 of them take 1 SELECT.
        """
        if self.are_all:
            with self.backend.catalog.read() as connection:
                found = catalog.records_in(connection, self.victims)
            return {victim: set(own) for victim, own in found.items()}
        named: dict[PackName, set[CommitId]] = {}
        for victim in sorted(self.victims):
            if len(self.known[victim]) > self._rewritten_counts[victim]:
                named[victim] = {decode_record(bytes(payload)).commit.id for payload in self._read(victim)}
        with self.backend.catalog.read() as connection:
            packs = catalog.packs_of(connection, sorted(set().union(*named.values())))
        return {victim: {one for one in own if packs.get(one) == victim} for victim, own in named.items()}

    def _records_of(self, commits: Sequence[Commit], pack: PackName) -> Iterator[_OwnRecord]:
        """Yield the records of commits in one pack, which is read once.

        If the pack is lost or damaged, they are rebuilt from the catalog.
        """
        left = {(commit.id, commit.generation): commit for commit in commits}
        try:
            payloads = self._read(pack)
        except IntegrityError:
            with self.backend.catalog.read() as connection:
                if states_of(connection, [pack]).get(pack) == DELETED:
                    raise  # another process moved the records, and the pack was collected
                restated = restate_records(connection, commits)
            yield from map(_OwnRecord, commits, restated)
            return
        for payload in payloads:
            record = decode_record(bytes(payload))
            found = left.pop((record.commit.id, record.commit.generation), None)
            if found is not None:
                yield _OwnRecord(found, record)
        if left:
            msg = f"pack {pack} holds no record of commit {min(left)[0]}: run fsck, nothing was changed"
            raise IntegrityError(msg)


def _grouped(commit_ids: Iterable[CommitId], packs: Mapping[CommitId, PackName]) -> dict[PackName, list[CommitId]]:
    """Return the commits by the pack of their record."""
    found: dict[PackName, list[CommitId]] = {}
    for commit_id in commit_ids:
        found.setdefault(packs[commit_id], []).append(commit_id)
    return found
