"""The table of damages: contents that can't be read at their place, and the places of their repaired copies.

Source: docs/design/0011-healing.md.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, delete, func, select, update

from versioned_io.catalog.tables import chunks, commits, damages, packs
from versioned_io.catalog.upserts import upsert
from versioned_io.model.commits import CommitState
from versioned_io.model.damages import Content, Damaged, Healed
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import FrameRef, PageRef, pack_name

_DELETED: Final = "deleted"
_BATCH: Final = 500
_HEALED: Final = (
    select(
        damages.c.pack,
        damages.c.offset,
        damages.c.inner,
        damages.c.size,
        damages.c.digest,
        func.coalesce(damages.c.new_pack, chunks.c.pack).label("new_pack"),
        func.coalesce(damages.c.new_offset, chunks.c.offset).label("new_offset"),
        func.coalesce(damages.c.new_stored, chunks.c.stored).label("new_stored"),
        func.coalesce(damages.c.new_inner, chunks.c.inner).label("new_inner"),
    )
    # If no repaired copy is recorded, the chunk index may have another copy of the content.
    .outerjoin(chunks, (chunks.c.digest == damages.c.digest) & damages.c.new_pack.is_(None))
    .where(func.coalesce(damages.c.new_pack, chunks.c.pack).is_not(None))
)


def healed_at(connection: Connection, frame: FrameRef) -> list[Healed]:
    """Return where contents of a damaged frame can be read instead. Cost: 1 SELECT."""
    own = (damages.c.pack == pack_name(frame.pack)) & (damages.c.offset == frame.offset)
    return list(_healed(connection, _HEALED.where(own)))


def note_damages(
    connection: Connection, name: PackName, found: Iterable[Damaged], now: datetime, *, offset: int | None = None
) -> int:
    """Record contents of a pack as damaged, delete them from the chunk index, and return how many were in it.

    A pack that was deleted on purpose is not damaged: nothing is recorded.

    Args:
        found: Damaged contents that the caller found, in the index or not.
        offset: The offset of the damaged frame, or None for the whole pack.

    Cost: 2 SELECTs, 1 INSERT, 1 DELETE.
    """
    state = connection.execute(select(packs.c.state).where(packs.c.name == name)).scalar_one_or_none()
    if state is None or state == _DELETED:
        return 0
    there = chunks.c.pack == name
    if offset is not None:
        there &= chunks.c.offset == offset
    pack = bytes.fromhex(name)
    indexed = [
        Damaged(Content(row.digest, row.inner, row.size), pack, row.offset)
        for row in connection.execute(select(chunks).where(there))
    ]
    rows = {(one.offset, one.content.inner): _row(one, now) for one in (*found, *indexed)}
    if rows:
        _insert(connection, list(rows.values()))
        connection.execute(delete(chunks).where(there))
    return len(indexed)


def enter_healed(connection: Connection, healed: Iterable[Healed], now: datetime) -> None:
    """Record where damaged contents were stored again, and delete their old places from the chunk index.

    Cost: 1 INSERT, and 1 UPDATE and 1 DELETE for each.
    """
    rows = {(one.damaged.pack, one.damaged.offset, one.damaged.content.inner): one for one in healed}
    if not rows:
        return
    _insert(connection, [_row(one.damaged, now) for one in rows.values()])
    for one in rows.values():
        old = pack_name(one.damaged.pack)
        place = (damages.c.pack == old, damages.c.offset == one.damaged.offset)
        noted = update(damages).where(*place, damages.c.inner == one.damaged.content.inner)
        connection.execute(
            noted.values(
                new_pack=pack_name(one.frame.pack),
                new_offset=one.frame.offset,
                new_stored=one.frame.stored_size,
                new_inner=one.inner,
            )
        )
        wrong = (chunks.c.pack == old) & (chunks.c.offset == one.damaged.offset)
        connection.execute(delete(chunks).where(wrong & (chunks.c.digest == one.damaged.content.digest)))


def find_twin_tree(connection: Connection, root: PageRef) -> PageRef | None:
    """Return the root of an equal tree (same digest) that another kept commit stores in a different frame, or None.

    A reader asks for it when the page at *root* is damaged. Cost: 1 SELECT over all commits.
    """
    same = (other for other in _roots_with(connection, root.digest.hex()) if other.digest == root.digest)
    return next((other for other in same if other.frame != root.frame), None)


def find_twin(connection: Connection, frame: FrameRef) -> Healed | None:
    """Return where another commit stores an equal page, if the page is the root of a tree."""
    own = next((root for root in _roots_with(connection, frame.pack.hex()) if root.frame == frame), None)
    if own is None:
        return None
    twin = find_twin_tree(connection, own)
    return None if twin is None else Healed(Damaged(Content(own.digest, 0, 0), own.pack, own.offset), twin.frame)


def _roots_with(connection: Connection, text: str) -> Iterator[PageRef]:
    there = commits.c.root.contains(text) & (commits.c.state == CommitState.LIVE.value)
    for root in connection.execute(select(commits.c.root).where(there)).scalars():
        yield PageRef.from_json(json.loads(root))


def all_healed(connection: Connection) -> list[Healed]:
    """Return all damaged contents that have a repaired copy. Cost: 1 SELECT."""
    return list(_healed(connection, _HEALED))


def healing_packs(connection: Connection) -> set[PackName]:
    """Return the packs that hold repaired copies of contents of packs that are not deleted. Cost: 1 SELECT."""
    return {pack_name(one.frame.pack) for one in all_healed(connection)}


def packs_to_leave(connection: Connection) -> set[PackName]:
    """Return the damaged packs whose damages all have a repaired copy: their intact contents can be moved out.

    Cost: 1 SELECT.
    """
    query = select(damages.c.pack).group_by(damages.c.pack)
    return {
        PackName(row.pack) for row in connection.execute(query.having(func.count() == func.count(damages.c.new_pack)))
    }


def noted_as_healed(connection: Connection) -> set[Damaged]:
    """Return the damaged contents with a recorded repaired copy. Cost: 1 SELECT."""
    return {_damaged(row) for row in connection.execute(select(damages).where(damages.c.new_pack.is_not(None)))}


def move_healed(connection: Connection, moved: Mapping[FrameRef, FrameRef]) -> None:
    """Record that repaired copies moved to other frames. Cost: 1 SELECT, and 1 UPDATE for each such frame."""
    places = select(damages.c.new_pack, damages.c.new_offset, damages.c.new_stored).distinct()
    for row in connection.execute(places.where(damages.c.new_pack.is_not(None))).all():
        new = moved.get(FrameRef(bytes.fromhex(row.new_pack), row.new_offset, row.new_stored))
        if new is not None:
            there = (damages.c.new_pack == row.new_pack) & (damages.c.new_offset == row.new_offset)
            values = {"new_pack": pack_name(new.pack), "new_offset": new.offset, "new_stored": new.stored_size}
            connection.execute(update(damages).where(there).values(**values))


def forget_damages(connection: Connection, names: Collection[PackName]) -> None:
    """Delete the damages of deleted packs, and the repaired copies that they held. Cost: 1 DELETE, 1 UPDATE."""
    connection.execute(delete(damages).where(damages.c.pack.in_(names)))
    nowhere = {"new_pack": None, "new_offset": None, "new_stored": None, "new_inner": None}
    connection.execute(update(damages).where(damages.c.new_pack.in_(names)).values(**nowhere))


def _healed(connection: Connection, query: Select[Any]) -> Iterator[Healed]:
    for row in connection.execute(query):
        frame = FrameRef(bytes.fromhex(row.new_pack), row.new_offset, row.new_stored)
        yield Healed(_damaged(row), frame, row.new_inner)


def _damaged(row: Any) -> Damaged:  # noqa: ANN401 (a row of the table)
    return Damaged(Content(row.digest, row.inner, row.size), bytes.fromhex(row.pack), row.offset)


def _row(one: Damaged, now: datetime) -> dict[str, object]:
    return {
        "pack": pack_name(one.pack),
        "offset": one.offset,
        "inner": one.content.inner,
        "size": one.content.size,
        "digest": one.content.digest,
        "found_at": now,
    }


def _insert(connection: Connection, rows: Sequence[Mapping[str, object]]) -> None:
    entered = upsert(connection, damages).on_conflict_do_nothing()
    for start in range(0, len(rows), _BATCH):
        connection.execute(entered, rows[start : start + _BATCH])
