"""Restoring the table of damages from commits: the damaged contents, and the places of their repaired copies.

Source: docs/design/0011-healing.md, "Rebuild".
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime

import pyarrow as pa
from sqlalchemy import Connection

from versioned_io.catalog.chunk_index import insert_chunks
from versioned_io.catalog.damages import enter_healed, note_damages
from versioned_io.errors import IntegrityError
from versioned_io.model.columns import column_of
from versioned_io.model.damages import Damaged, Healed
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import pack_name
from versioned_io.storage.chunks.chunk_columns import NEW_CHUNKS
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.packs.reader import read_footer


def enter_damages(
    connection: Connection, objects: ObjectStore, healed: Iterable[Healed], packs: Sequence[PackName], now: datetime
) -> None:
    """Insert repaired damages into a catalog that is being rebuilt, after its chunk index was filled.

    A repaired copy that was moved later is found by its digest, in the footers of all packs.

    Args:
        packs: All existing packs.

    Cost: 1 INSERT, and 1 UPDATE and 1 DELETE for each damage. 1 HEAD and 2 GETs for each pack if copies were moved.
    """
    there = set(packs)
    # If both packs are gone, a compaction moved the content, and nothing references the old place any more.
    known = [one for one in healed if pack_name(one.damaged.pack) in there or pack_name(one.frame.pack) in there]
    whole = [one for one in known if pack_name(one.frame.pack) in there]
    enter_healed(connection, whole, now)
    insert_chunks(connection, _chunk_table([_row(one) for one in whole if one.damaged.content.size]))
    moved = [one.damaged for one in known if pack_name(one.frame.pack) not in there and one.damaged.content.size]
    if moved:
        _enter_moved(connection, objects, moved, packs, now)


def _enter_moved(
    connection: Connection, objects: ObjectStore, moved: Sequence[Damaged], packs: Sequence[PackName], now: datetime
) -> None:
    places = {(one.pack, one.offset) for one in moved}
    for one in moved:
        note_damages(connection, pack_name(one.pack), [one], now, offset=one.offset)
    digests = {one.content.digest for one in moved}
    for name in packs:
        with suppress(IntegrityError):  # its damage was reported when it was first read
            footer = read_footer(objects, name)
            pack = bytes.fromhex(name)
            found = [(chunk, footer.frames[chunk.frame]) for chunk in footer.chunks if chunk.digest in digests]
            rows = [
                (chunk.digest, pack, frame.offset, frame.stored_size, chunk.inner, chunk.size)
                for chunk, frame in found
                if (pack, frame.offset) not in places
            ]
            insert_chunks(connection, _chunk_table(rows))


def _row(one: Healed) -> tuple[object, ...]:
    content, frame = one.damaged.content, one.frame
    return content.digest, frame.pack, frame.offset, frame.stored_size, one.inner, content.size


def _chunk_table(rows: Sequence[tuple[object, ...]]) -> pa.Table:
    distinct = {row[0]: row for row in rows}.values()
    columns = zip(*distinct, strict=True) if distinct else ([] for _ in NEW_CHUNKS)
    arrays = [column_of(values, column.type) for values, column in zip(columns, NEW_CHUNKS, strict=True)]
    return pa.Table.from_arrays(arrays, schema=NEW_CHUNKS)
