"""Where contents are stored already, and which packs new commits may refer to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Connection, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError as DuplicateRowError

from versioned_io.catalog.connect import Catalog
from versioned_io.catalog.tables import chunks, packs
from versioned_io.chunks.refs import ChunkRef
from versioned_io.errors import PackCondemnedError
from versioned_io.identifiers import PackName
from versioned_io.packs.frames import pack_name
from versioned_io.packs.writer import PackInfo

LIVE: Final = "live"
"""The state of a pack that new commits may refer to."""

_BATCH = 500
_INSERT_PACKS: Final = insert(packs)
_LIVE_CHUNKS = select(chunks).join(packs, packs.c.name == chunks.c.pack).where(packs.c.state == LIVE)


@dataclass(frozen=True, slots=True)
class CatalogChunkIndex:
    """The chunk index of a store, for the writer of a transaction."""

    catalog: Catalog

    def find(self, digests: Sequence[bytes]) -> Mapping[bytes, ChunkRef]:
        """Return the places of those *digests* that are stored in packs that new commits may refer to.

        Cost: 1 SELECT for each 500 digests.
        """
        found: dict[bytes, ChunkRef] = {}
        with self.catalog.look_up() as connection:
            for start in range(0, len(digests), _BATCH):
                for digest, pack, offset, stored, inner, size in _find(connection, digests[start : start + _BATCH]):
                    found[digest] = ChunkRef(digest, bytes.fromhex(pack), offset, stored, inner, size)
        return found


def _find(connection: Connection, digests: Sequence[bytes]) -> Iterable[Sequence[Any]]:
    if connection.dialect.name != "sqlite":
        return connection.execute(_LIVE_CHUNKS.where(chunks.c.digest.in_(digests)))
    # SQLAlchemy takes ten times as long as SQLite to bind 500 values, so they are handed over as they are.
    marks = ", ".join("?" * len(digests))
    return connection.exec_driver_sql(f"{_live_chunks_in_sqlite()} AND chunks.digest IN ({marks})", tuple(digests))


@cache
def _live_chunks_in_sqlite() -> str:
    return str(_LIVE_CHUNKS.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))


def insert_packs(connection: Connection, infos: Iterable[PackInfo], now: datetime) -> None:
    """Note the packs as live.

    Raises:
        PackCondemnedError: One was taken for garbage and deleted: its writer was away for longer than garbage is kept.
            Begin the transaction again.

    Cost: 1 INSERT for all.
    """
    rows = [{"name": info.name, "size_bytes": info.size_bytes, "state": LIVE, "created_at": now} for info in infos]
    if not rows:
        return
    try:
        connection.execute(_INSERT_PACKS, rows)
    except DuplicateRowError:
        raise PackCondemnedError(str(rows[0]["name"])) from None


def insert_chunks(connection: Connection, found: pa.Table) -> None:
    """Note where the chunks of *found* are, unless the same content was noted by another writer first.

    Args:
        found: digest, pack, offset, stored, inner, size, as `DataWriter.new_chunks` returns it.

    Cost: 1 INSERT for all, in time proportional to their number.
    """
    if found.num_rows == 0:
        return
    # One order for all writers, so that two that bring the same chunks can't wait for each other.
    columns = found.sort_by("digest").to_pydict()
    names = {pack: pack_name(pack) for pack in set(columns["pack"])}
    columns["pack"] = [names[pack] for pack in columns["pack"]]
    if connection.dialect.name == "sqlite":
        # SQLAlchemy takes three times as long as SQLite to bind a row, so they are handed over as they are.
        rows = list(zip(*(columns[column.name] for column in chunks.columns), strict=True))
        connection.exec_driver_sql(_insert_into_sqlite(), rows)
    else:
        connection.execute(
            postgresql.insert(chunks).on_conflict_do_nothing(),
            [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        )


@cache
def _insert_into_sqlite() -> str:
    return str(sqlite.insert(chunks).on_conflict_do_nothing().compile(dialect=sqlite.dialect()))


def refuse_condemned(connection: Connection, names: Iterable[PackName]) -> None:
    """Return if new commits may refer to every pack of *names*.

    Raises:
        PackCondemnedError: The garbage collector condemned one after this transaction had found it; begin again.

    Cost: 1 SELECT for each 500 packs.
    """
    wanted = sorted(names)
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]
        live = select(packs.c.name).where(packs.c.name.in_(batch), packs.c.state == LIVE).with_for_update(read=True)
        missing = set(batch) - set(connection.execute(live).scalars())
        if missing:
            raise PackCondemnedError(min(missing))
