"""The chunk index: where contents are already stored, and which packs new commits may refer to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, insert, literal, select, union_all
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError as DuplicateRowError

from versioned_io.catalog.connect import Catalog
from versioned_io.catalog.noting import note_made
from versioned_io.catalog.tables import chunks, damages, packs
from versioned_io.catalog.upserts import upsert
from versioned_io.errors import PackCondemnedError
from versioned_io.model.beacons import Beacon, BeaconKind
from versioned_io.model.damages import Content, Damaged, FoundChunks
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import ChunkRef, PackInfo, pack_name

if TYPE_CHECKING:
    import pyarrow as pa


LIVE: Final = "live"
"""The state of a pack that new commits may refer to."""

_BATCH = 500
_INSERT_PACKS: Final = insert(packs)
_LIVE_CHUNKS = select(chunks).join(packs, packs.c.name == chunks.c.pack).where(packs.c.state == LIVE)
_DAMAGED_CHUNKS = select(
    damages.c.digest, damages.c.pack, damages.c.offset, literal(0).label("stored"), damages.c.inner, damages.c.size
).where(damages.c.new_pack.is_(None))
"""In the columns of the index. ``stored`` is 0, which no real frame has, so it marks the damaged rows."""


@dataclass(frozen=True, slots=True)
class CatalogChunkIndex:
    """The chunk index of a store, for the writer of a transaction."""

    catalog: Catalog

    def find(self, digests: Sequence[bytes]) -> FoundChunks:
        """See `ChunkIndex.find`. Cost: 1 SELECT for each 500 digests."""
        found = FoundChunks({}, [])
        with self.catalog.look_up() as connection:
            for start in range(0, len(digests), _BATCH):
                for digest, pack, offset, stored, inner, size in _find(connection, digests[start : start + _BATCH]):
                    place = bytes.fromhex(pack)
                    if stored:
                        found.places[digest] = ChunkRef(digest, place, offset, stored, inner, size)
                    else:
                        found.damaged.append(Damaged(Content(digest, inner, size), place, offset))
        return found


def _find(connection: Connection, digests: Sequence[bytes]) -> Iterable[Sequence[Any]]:
    if connection.dialect.name != "sqlite":
        places = _LIVE_CHUNKS.where(chunks.c.digest.in_(digests))
        return connection.execute(union_all(places, _DAMAGED_CHUNKS.where(damages.c.digest.in_(digests))))
    # SQLAlchemy takes ten times as long as SQLite to bind 500 values, so they go to the driver directly.
    return connection.exec_driver_sql(_places_in_sqlite(len(digests)), tuple(digests))


def _places_in_sqlite(count: int) -> str:
    live, damaged = _compiled_for_sqlite()
    # Each digest is bound once, by an unnumbered placeholder: Python 3.14 rejects a sequence for ?1.
    wanted = f"WITH wanted(digest) AS (VALUES {', '.join(['(?)'] * count)})"
    chosen = "digest IN (SELECT digest FROM wanted)"
    return f"{wanted} {live} AND chunks.{chosen} UNION ALL {damaged} AND damages.{chosen}"


@cache
def _compiled_for_sqlite() -> tuple[str, str]:
    options = {"literal_binds": True}
    live = str(_LIVE_CHUNKS.compile(dialect=sqlite.dialect(), compile_kwargs=options))
    return live, str(_DAMAGED_CHUNKS.compile(dialect=sqlite.dialect(), compile_kwargs=options))


def insert_packs(connection: Connection, infos: Iterable[PackInfo], now: datetime) -> None:
    """Insert the packs as live.

    Raises:
        PackCondemnedError: Garbage collection deleted one of them, because its writer was suspended for longer than
            the grace period. Begin the transaction again.

    Cost: 1 INSERT for all.
    """
    rows = [{"name": info.name, "size_bytes": info.size_bytes, "state": LIVE, "created_at": now} for info in infos]
    if not rows:
        return
    try:
        connection.execute(_INSERT_PACKS, rows)
    except DuplicateRowError:
        raise PackCondemnedError(str(rows[0]["name"])) from None
    note_made(connection, Beacon(BeaconKind.PACK, str(rows[-1]["name"])))


def insert_chunks(connection: Connection, found: "pa.Table") -> None:
    """Insert the chunks of *found*, except for contents that another writer inserted first.

    Args:
        found: digest, pack, offset, stored, inner, size, as `ChunkPlacer.new_chunks` returns it.

    Cost: 1 INSERT for all chunks, in time proportional to their number.
    """
    if found.num_rows == 0:
        return
    # All writers insert in the same order, so that two with the same chunks can't deadlock.
    columns = found.sort_by("digest").to_pydict()
    names = {pack: pack_name(pack) for pack in set(columns["pack"])}
    columns["pack"] = [names[pack] for pack in columns["pack"]]
    if connection.dialect.name == "sqlite":
        # SQLAlchemy takes three times as long as SQLite to bind a row, so the rows go to the driver directly.
        rows = list(zip(*(columns[column.name] for column in chunks.columns), strict=True))
        connection.exec_driver_sql(_insert_into_sqlite(), rows)
    else:
        connection.execute(
            upsert(connection, chunks).on_conflict_do_nothing(),
            [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        )


@cache
def _insert_into_sqlite() -> str:
    return str(sqlite.insert(chunks).on_conflict_do_nothing().compile(dialect=sqlite.dialect()))


def refuse_condemned(connection: Connection, names: Iterable[PackName]) -> None:
    """Raise unless new commits may refer to every pack of *names*.

    Raises:
        PackCondemnedError: The garbage collector condemned a pack after this transaction had found a chunk in it.
            Begin the transaction again.

    Cost: 1 SELECT for each 500 packs.
    """
    wanted = sorted(names)
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]
        live = select(packs.c.name).where(packs.c.name.in_(batch), packs.c.state == LIVE).order_by(packs.c.name)
        missing = set(batch) - set(connection.execute(live.with_for_update(read=True)).scalars())
        if missing:
            raise PackCondemnedError(min(missing))
