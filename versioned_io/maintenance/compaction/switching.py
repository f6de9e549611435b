"""Switching the catalog to the new packs of a move, in one transaction or in several small ones."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from versioned_io.catalog import moving as catalog
from versioned_io.catalog import rounds
from versioned_io.catalog.chunk_index import insert_packs, refuse_condemned
from versioned_io.catalog.damages import move_healed
from versioned_io.catalog.moving import MovedBlock, MovedRecord, NewTree
from versioned_io.catalog.row_locks import hold_commits
from versioned_io.maintenance.collection.new_marks import Scope
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.places import FrameRef, PackInfo
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.transactions.lease import Lease

_SWITCHED_AT_ONCE: Final = 100
"""The most trees, records and blocks in one transaction, 6 ms of CPU, since other writers wait during it."""

_VICTIMS_AT_ONCE: Final = 500
"""The most old packs that lose their round in one transaction."""


@dataclass(frozen=True, slots=True)
class Switch:
    """The changes to the catalog's rows by a move.

    Attributes:
        packs: The new packs.
        victims: The packs that no tree references any more.
        frames: The old and the new place of each moved frame.
        blank: Digests of chunks that are zeros in the new packs.
    """

    packs: Sequence[PackInfo]
    victims: frozenset[PackName]
    frames: Mapping[FrameRef, FrameRef]
    blank: frozenset[bytes]
    trees: Sequence[NewTree]
    records: Mapping[CommitId, MovedRecord]
    blocks: Sequence[MovedBlock]
    journal: Mapping[int, PackName]


def switch(backend: Backend, move: Switch, lease: Lease, enter: Callable[[Connection], None] | None) -> None:
    """Make the catalog refer to the copies, all or nothing. The next mark walks the trees again."""
    with backend.catalog.write() as connection:
        hold_commits(connection, {*(tree.commit for tree in move.trees), *move.records})
        insert_packs(connection, move.packs, backend.clock())
        move_healed(connection, move.frames)
        catalog.forget_chunks(connection, sorted(move.blank))  # first: no writer may find a chunk that is zeros
        catalog.move_chunks(connection, move.blocks)
        catalog.move_trees(connection, move.trees)
        catalog.move_records(connection, move.records)
        catalog.move_journal(connection, move.journal)
        lease.end(connection)
        if enter is not None:
            enter(connection)


def switch_in_batches(backend: Backend, move: Switch, lease: Lease, scope: Scope, tier: int) -> None:
    """Make the catalog refer to the copies, in one transaction for each 100 trees, records and blocks.

    Raises:
        PackCondemnedError: A collector condemned the new packs between two transactions, each of which is consistent in
            itself. Mark and choose again.
    """
    names = [info.name for info in move.packs]
    is_held, seen, lowest = True, scope.seen, scope.first
    for number, part in enumerate(_parts_of(move)):
        with backend.catalog.write() as connection:
            # No collector uses the rounds during this change. Rounds are locked before commits, as in marking.
            is_held = rounds.hold_rounds(connection, seen)
            hold_commits(connection, {*(tree.commit for tree in part.trees), *part.records})
            if number:
                refuse_condemned(connection, names)
            else:
                insert_packs(connection, move.packs, backend.clock())
                if not scope.are_rounded:
                    # Another process may still be entering the round that found them, with a lower number.
                    lowest = rounds.lowest_round(connection, move.victims)
                rounds.enter_merged(connection, names, lowest, tier)
                move_healed(connection, move.frames)
                lease.end(connection)
            keeps_round = is_held and lowest is not None
            catalog.move_chunks(connection, part.blocks)
            catalog.move_trees(connection, part.trees, keeps_round=keeps_round)
            catalog.move_records(connection, part.records, keeps_round=keeps_round)
            catalog.move_journal(connection, part.journal)
            if is_held:
                seen += 1
                rounds.set_last_round(connection, seen)
    # Every tree with a round that referenced the victims was in the scope, and doesn't any more.
    for some in _victims_of(move):
        with backend.catalog.write() as connection:
            if not is_held or not rounds.hold_rounds(connection, seen):
                break  # another process has entered a round: the victims keep theirs until the next full mark
            seen += 1
            rounds.set_last_round(connection, seen)
            rounds.drop_from_rounds(connection, some)


@dataclass(frozen=True, slots=True)
class _Portion:
    """The part of a switch that one transaction makes."""

    trees: Sequence[NewTree]
    records: Mapping[CommitId, MovedRecord]
    blocks: Sequence[MovedBlock]
    journal: Mapping[int, PackName]


def _parts_of(move: Switch) -> Iterator[_Portion]:
    records, journal = list(move.records.items()), list(move.journal.items())
    most = max(1, len(move.trees), len(records), len(move.blocks), len(journal))
    for start in range(0, most, _SWITCHED_AT_ONCE):
        stop = start + _SWITCHED_AT_ONCE
        yield _Portion(
            move.trees[start:stop], dict(records[start:stop]), move.blocks[start:stop], dict(journal[start:stop])
        )


def _victims_of(move: Switch) -> Iterator[Sequence[PackName]]:
    names = sorted(move.victims)
    for start in range(0, len(names), _VICTIMS_AT_ONCE):
        yield names[start : start + _VICTIMS_AT_ONCE]
