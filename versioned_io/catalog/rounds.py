"""Rounds of marking: the commits that a mark has already walked, and the packs that they reference.

A walked commit has the number of its round. A pack has the number of the first round whose walk found it. Everything
here maintains two invariants:

1. Every pack that a kept commit with a round references has a round. So has the pack with the commit's record.
2. None of those packs has a higher round than the commit.

So every live pack has a round or is referenced by a commit without one. And only commits of at least a pack's round, or
without a round, can reference the pack. Unlike dates, the numbers order commits without a clock.

Source: docs/design/0010-maintenance.md, "Rounds".
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Connection, bindparam, func, or_, select, update

from versioned_io.catalog.chunk_index import LIVE
from versioned_io.catalog.collection import CONDEMNED, STORED, PackRow
from versioned_io.catalog.damages import healing_packs
from versioned_io.catalog.row_locks import hold_packs
from versioned_io.catalog.tables import commits, journal, maintenance, packs
from versioned_io.catalog.upserts import upsert
from versioned_io.model.commits import CommitState
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.places import PageRef

MARK: Final = "mark"
"""The maintenance task whose watermark is the number of the last round."""

_HAS_ROUND: Final = packs.c.mark_epoch >= 0
"""Whether a pack has a round, as a range: SQLite looks for IS NOT NULL in every row."""

_BATCH: Final = 500
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RoundedCommit:
    """The facts of a commit that marking needs.

    Attributes:
        generation: The generation of the tree at *root*; it rises when the tree is rewritten.
        round: The round that walked it, or None.
    """

    id: CommitId
    is_live: bool
    generation: int
    root: PageRef | None
    pack: PackName
    parent: CommitId | None
    round: int | None


class FoundPack(NamedTuple):
    """A pack that a walk found: the round, and the number of its live bytes."""

    round: int
    live_bytes: int


_COLUMNS: Final = (
    commits.c.id,
    commits.c.state,
    commits.c.generation,
    commits.c.root,
    commits.c.pack,
    commits.c.parent_id,
    commits.c.mark_epoch,
)


def last_round(connection: Connection) -> int:
    """Return the number of the last round; 0 when there was none. Cost: 1 SELECT."""
    query = select(maintenance.c.watermark).where(maintenance.c.task == MARK)
    return connection.execute(query).scalar_one_or_none() or 0


def hold_rounds(connection: Connection, seen: int) -> bool:
    """Lock the rounds until the transaction ends, and return whether *seen* is still the last one.

    Cost: 1 INSERT and 1 SELECT.
    """
    connection.execute(upsert(connection, maintenance).values(task=MARK).on_conflict_do_nothing())
    query = select(maintenance.c.watermark).where(maintenance.c.task == MARK).with_for_update()
    return bool(connection.execute(query).scalar_one() == seen)


def set_last_round(connection: Connection, number: int) -> None:
    """Set the number of the last round; the caller has locked the rounds. Cost: 1 UPDATE."""
    connection.execute(update(maintenance).where(maintenance.c.task == MARK).values(watermark=number))


def commits_without_round(connection: Connection, most: int | None = None) -> list[RoundedCommit]:
    """Return the first *most* commits that no round has walked, in the order of history. Cost: 1 SELECT."""
    return _load_commits(connection, commits.c.mark_epoch.is_(None), most)


def commits_since_round(connection: Connection, first: int | None) -> list[RoundedCommit]:
    """Return the kept commits without a round, or of at least the round *first*, in the order of history.

    Args:
        first: None for only the commits without a round.

    Cost: 1 SELECT, by an index.
    """
    own: ColumnElement[bool] = commits.c.mark_epoch.is_(None)
    if first is not None:
        own = or_(own, commits.c.mark_epoch >= first)
    return _load_commits(connection, own & (commits.c.state == CommitState.LIVE.value))


def get_rounded(connection: Connection, commit_ids: Iterable[CommitId]) -> dict[CommitId, RoundedCommit]:
    """Return commits by ID. Cost: 1 SELECT for each 500."""
    found: dict[CommitId, RoundedCommit] = {}
    for batch in _batches(sorted(commit_ids)):
        query = select(*_COLUMNS).where(commits.c.id.in_(batch))
        found |= {row.id: _to_rounded(row) for row in connection.execute(query)}
    return found


def packs_without_round(connection: Connection, until: datetime) -> list[PackRow]:
    """Return the packs without a round that are candidates for collection: live, or condemned at *until* or before.

    Packs that were condemned later are still in their grace period, so they are not read.

    Cost: 2 SELECTs, by an index: 0.1 ms beside any number of packs that are deleted or in their grace period.
    """
    # Two queries: one with OR reads each row without a round, and deleted packs have none.
    without = packs.c.mark_epoch.is_(None)
    due = (packs.c.state == CONDEMNED) & without & (packs.c.condemned_at <= until)
    return _load_packs(connection, (packs.c.state == LIVE) & without) + _load_packs(connection, due)


def get_packs(connection: Connection, names: Collection[PackName]) -> list[PackRow]:
    """Return the rows of the packs, except for deleted ones. Cost: 1 SELECT for each 500."""
    return [row for batch in _batches(sorted(names)) for row in _load_packs(connection, packs.c.name.in_(batch))]


def live_with_round(connection: Connection) -> list[PackRow]:
    """Return the live packs that a round has found. Cost: 1 SELECT, by an index."""
    return _load_packs(connection, _HAS_ROUND & (packs.c.state == LIVE))


def names_with_round(connection: Connection) -> set[PackName]:
    """Return the packs that a round has found, in any state. Cost: 1 SELECT, by an index."""
    return {PackName(one) for one in connection.execute(select(packs.c.name).where(_HAS_ROUND)).scalars()}


def names_without_round(connection: Connection) -> set[PackName]:
    """Return the packs that no round has found and that are not deleted. Cost: 1 SELECT, by an index."""
    own = packs.c.mark_epoch.is_(None) & packs.c.state.in_(STORED)
    return {PackName(one) for one in connection.execute(select(packs.c.name).where(own)).scalars()}


def names_up_to_round(connection: Connection, number: int) -> set[PackName]:
    """Return the packs of the round *number* or an earlier one. Cost: 1 SELECT, by an index."""
    own = packs.c.mark_epoch <= number
    return {PackName(one) for one in connection.execute(select(packs.c.name).where(own)).scalars()}


def condemned_with_round(connection: Connection) -> list[PackName]:
    """Return the packs that are condemned although a round has found them. Cost: 1 SELECT."""
    query = select(packs.c.name).where(packs.c.state == CONDEMNED, _HAS_ROUND)
    return [PackName(name) for name in connection.execute(query).scalars()]


def rounds_of(connection: Connection, names: Collection[PackName]) -> dict[PackName, int | None]:
    """Return the round of each pack, or None if no round has found it. Cost: 1 SELECT for each 500."""
    found: dict[PackName, int | None] = {}
    for batch in _batches(sorted(names)):
        query = select(packs.c.name, packs.c.mark_epoch).where(packs.c.name.in_(batch))
        found |= {PackName(row.name): row.mark_epoch for row in connection.execute(query)}
    return found


def lowest_round(connection: Connection, names: Collection[PackName]) -> int | None:
    """Return the lowest round of the packs; None if they have none. Cost: 1 SELECT for each 500."""
    return min((one for one in rounds_of(connection, names).values() if one is not None), default=None)


def kept_without_a_tree(connection: Connection) -> set[PackName]:
    """Return the packs, other than those with commit records, that are kept although no tree may reference them.

    They are the journal's packs, and the packs with repaired copies of contents of damaged packs that still exist.

    Cost: 2 SELECTs.
    """
    entries = connection.execute(select(journal.c.pack).distinct()).scalars()
    return {PackName(name) for name in entries} | healing_packs(connection)


def enter_packs(connection: Connection, found: Mapping[PackName, FoundPack]) -> None:
    """Set the round of packs that have none; the caller has locked the rounds. Cost: 1 UPDATE for each."""
    if not found:
        return
    own = (packs.c.name == bindparam("of_name")) & packs.c.mark_epoch.is_(None)
    connection.execute(
        update(packs).where(own).values(mark_epoch=bindparam("in_round"), live_bytes=bindparam("alive")),
        [{"of_name": name, "in_round": one.round, "alive": one.live_bytes} for name, one in sorted(found.items())],
    )


def enter_commits(connection: Connection, walked: Sequence[tuple[RoundedCommit, int]]) -> None:
    """Set the round of walked commits, unless their trees have changed meanwhile; their packs already have a round.

    Cost: 1 UPDATE for each.
    """
    if not walked:
        return
    own = (commits.c.id == bindparam("of_id")) & (commits.c.generation == bindparam("of_generation"))
    same = own & (commits.c.pack == bindparam("of_pack")) & commits.c.mark_epoch.is_(None)
    connection.execute(
        update(commits).where(same).values(mark_epoch=bindparam("in_round")),
        [
            {"of_id": one.id, "of_generation": one.generation, "of_pack": one.pack, "in_round": number}
            for one, number in walked
        ],
    )


def drop_from_rounds(connection: Connection, names: Collection[PackName]) -> None:
    """Reset the round of packs that no commit with a round references; the caller has locked the rounds.

    Cost: 1 UPDATE for each 500.
    """
    hold_packs(connection, names)
    for batch in _batches(sorted(names)):
        connection.execute(update(packs).where(packs.c.name.in_(batch)).values(mark_epoch=None))


def enter_merged(connection: Connection, names: Sequence[PackName], lowest: int | None, tier: int) -> None:
    """Set the tier of merged packs, and the lowest round of their source packs, if those have one.

    So a commit with a round may reference these packs instead of the source packs, and keep its round.

    Cost: 1 UPDATE for each 500.
    """
    values = {"tier": tier, "mark_epoch": lowest, "live_bytes": packs.c.size_bytes}
    for batch in _batches(names):
        connection.execute(update(packs).where(packs.c.name.in_(batch)).values(values))


def note_live_bytes(connection: Connection, live_bytes: Mapping[PackName, int]) -> None:
    """Record the live bytes of each pack: a hint for which packs are worth rewriting. Cost: 1 UPDATE each."""
    if live_bytes:
        connection.execute(
            update(packs).where(packs.c.name == bindparam("of_name")).values(live_bytes=bindparam("alive")),
            [{"of_name": name, "alive": size} for name, size in sorted(live_bytes.items())],
        )


def count_without_round(connection: Connection) -> int:
    """Return the number of commits that no round has walked. Cost: 1 SELECT, by an index."""
    return connection.execute(select(func.count()).where(commits.c.mark_epoch.is_(None))).scalar_one()


def rounds_of_trees(connection: Connection, roots: Collection[PageRef]) -> dict[CommitId, int | None]:
    """Return the kept commits whose root is in *roots*, with their rounds. Cost: 1 SELECT over all commits."""
    found = _load_commits(connection, commits.c.state == CommitState.LIVE.value)
    return {one.id: one.round for one in found if one.root in roots}


def _load_commits(connection: Connection, own: ColumnElement[bool], most: int | None = None) -> list[RoundedCommit]:
    query = select(*_COLUMNS).where(own).order_by(commits.c.segment_id, commits.c.number).limit(most)
    return [_to_rounded(row) for row in connection.execute(query)]


def _to_rounded(row: Any) -> RoundedCommit:  # noqa: ANN401 (rows of this many columns have no type)
    root = None if row.root is None else PageRef.from_json(json.loads(row.root))
    is_live = row.state == CommitState.LIVE.value
    return RoundedCommit(row.id, is_live, row.generation, root, row.pack, row.parent_id, row.mark_epoch)


def _load_packs(connection: Connection, own: ColumnElement[bool]) -> list[PackRow]:
    query = select(packs).where(own, packs.c.state.in_(STORED))
    return [PackRow.of(row) for row in connection.execute(query)]


def _batches(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]
