"""A catalog's rows as one JSON array a line, so that a backup of PostgreSQL can be restored to SQLite and vice versa.

Source: docs/spec/backup-v1.md.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import zstandard
from sqlalchemy import Connection, Table, column, insert, select, table, text
from sqlalchemy.dialects import sqlite

from versioned_io.catalog.tables import Timestamp, metadata
from versioned_io.errors import IntegrityError

LEFT_OUT: Final = frozenset({"claims", "leases"})
"""Tables about running processes of the store, which have no meaning in a restored store."""

CLEARED: Final = {"due_keys": frozenset({"owner", "claimed_sequence", "claimed_until"})}
"""Columns with a claim of a running process; they are cleared, so that a restored store's keys can be claimed."""

ORDERED_BY: Final = {"commits": "number"}
"""The order of rows in tables that refer to themselves, so that each row comes after the rows it refers to."""

_BATCH: Final = 2000
_BATCH_BYTES: Final = 16 * 1024 * 1024
_LARGEST_LINE: Final = 64 * 1024 * 1024
_PIECE: Final = 1024 * 1024


def encode_table(connection: Connection, of: Table) -> tuple[bytes, int]:
    """Return the compressed rows of a table, and their number. Cost: 1 SELECT; memory for the result."""
    compressor = zstandard.ZstdCompressor(level=3).compressobj()
    parts: list[bytes] = []
    count = 0
    if of.name not in LEFT_OUT:
        order = [of.c[ORDERED_BY[of.name]]] if of.name in ORDERED_BY else list(of.primary_key.columns)
        cleared = CLEARED.get(of.name, frozenset())
        query = select(of).order_by(*order)
        for rows in connection.execute(query, execution_options={"yield_per": _BATCH}).partitions():
            lines = [_line(of, row, cleared) for row in rows]
            count += len(lines)
            parts.append(compressor.compress("".join(lines).encode()))
    parts.append(compressor.flush())
    return b"".join(parts), count


def decode_lines(data: bytes) -> Iterator[list[Any]]:
    """Yield the rows that `encode_table` encoded.

    A line may decompress to at most 64 MiB, so that a crafted backup can't use up the memory.

    Raises:
        IntegrityError: The bytes are malformed. Restore an older backup.

    Cost: memory for the longest line.
    """
    try:
        for line in _lines(data):
            yield [_value(one) for one in json.loads(line)]
    except (ValueError, zstandard.ZstdError, TypeError, KeyError, RecursionError) as error:
        msg = f"a table of the backup is damaged: {error}; restore an older one"
        raise IntegrityError(msg) from error


def _lines(data: bytes) -> Iterator[str]:
    begun: list[bytes] = []
    size = 0
    with zstandard.ZstdDecompressor().stream_reader(data) as reader:
        while piece := reader.read(_PIECE):
            # Not `splitlines`, which also splits at U+0085, U+2028 and others that JSON doesn't escape.
            *whole, last = piece.split(b"\n")
            if whole:
                yield b"".join([*begun, whole[0]]).decode()
                yield from (line.decode() for line in whole[1:])
                begun, size = [], 0
            begun.append(last)
            size += len(last)
            if size > _LARGEST_LINE:
                msg = f"a row takes more than {_LARGEST_LINE} bytes"
                raise ValueError(msg)
    if size:
        msg = "the last row is cut off"
        raise ValueError(msg)


def enter_rows(connection: Connection, name: str, columns: Sequence[str], rows: Iterable[list[Any]]) -> int:
    """Insert rows into an empty table unchanged, and return how many. Cost: 1 INSERT for each 2,000, or 16 MiB."""
    # Not this version's `Table`: the backup may have an older revision, and its values are in the database's form.
    entered = insert(table(name, *(column(one) for one in columns)))
    count, size, batch = 0, 0, []
    for row in rows:
        batch.append(dict(zip(columns, row, strict=True)))
        count += 1
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(batch) == _BATCH or size > _BATCH_BYTES:
            connection.execute(entered, batch)
            size, batch = 0, []
    if batch:
        connection.execute(entered, batch)
    return count


def renumber(connection: Connection) -> None:
    """Set PostgreSQL's sequences past the inserted numbers. Cost: 1 statement for each table with numbers."""
    if connection.dialect.name != "postgresql":
        return
    for one in metadata.sorted_tables:
        numbered = one.autoincrement_column
        if numbered is not None and one.c[numbered.name].autoincrement is True:
            sequence = f"pg_get_serial_sequence('{one.name}', '{numbered.name}')"
            newest = f"(SELECT coalesce(max({numbered.name}), 1) FROM {one.name})"  # noqa: S608 (names of our own tables)
            connection.execute(text(f"SELECT setval({sequence}, {newest}, EXISTS (SELECT 1 FROM {one.name}))"))  # noqa: S608


def _line(of: Table, row: Sequence[Any], cleared: frozenset[str]) -> str:
    values = [
        None if one.name in cleared else _plain(one.type, value) for one, value in zip(of.columns, row, strict=True)
    ]
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False) + "\n"


def _plain(kind: object, value: Any) -> Any:  # noqa: ANN401 (whatever a column holds)
    if isinstance(kind, Timestamp):
        return kind.process_bind_param(value, sqlite.dialect())  # in the database's form
    return {"base64": b64encode(value).decode()} if isinstance(value, bytes) else value


def _value(value: Any) -> Any:  # noqa: ANN401 (whatever JSON holds)
    return b64decode(value["base64"], validate=True) if isinstance(value, dict) else value
