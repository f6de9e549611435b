"""Checking the shape of every value in the catalog: SQLite allows any type in any column, and people edit rows."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Connection, Float, Integer, String, Table, select, type_coerce
from sqlalchemy.types import LargeBinary, NullType

from versioned_io.catalog.collection import CONDEMNED, DELETED
from versioned_io.catalog.tables import Blob, Timestamp, metadata
from versioned_io.maintenance.fsck.findings import Findings
from versioned_io.model.commits import CommitState
from versioned_io.model.fields import LARGEST_NUMBER
from versioned_io.model.identifiers import is_id
from versioned_io.model.journal import Action

_LATEST: Final = int(datetime(9999, 12, 31).timestamp()) * 1_000_000  # noqa: DTZ001 (a day more or less)
_STATES: Final = {
    ("commits", "state"): {state.value for state in CommitState},
    ("packs", "state"): {"live", CONDEMNED, DELETED},
    ("journal", "action"): {action.value for action in Action},
}
_OBJECTS: Final = {("commits", "metadata"), ("commits", "run"), ("commits", "stats"), ("commits", "root")} | {
    ("journal", "details"),
    ("idempotency_keys", "commits"),
    ("branches", "retention"),
}
_ID_LENGTH: Final = 32


def check_shapes(connection: Connection, findings: Findings) -> None:
    """Report every value that this library can't have written. Cost: 1 SELECT for each table."""
    for table in metadata.sorted_tables:
        checks = {column.name: _check_of(table, column) for column in table.columns}
        # Raw values of the driver, since the type conversion would raise at the first wrong one.
        query = select(*[type_coerce(column, NullType()).label(column.name) for column in table.columns])
        for row in connection.execute(query):
            _check_row(findings, table, checks, row._asdict())


def _check_row(
    findings: Findings, table: Table, checks: Mapping[str, Callable[[Any], bool]], row: Mapping[str, Any]
) -> None:
    for name, is_right in checks.items():
        value = row[name]
        if value is None and table.columns[name].nullable:
            continue
        if not is_right(value):
            key = ", ".join(str(row[column.name])[:64] for column in table.primary_key.columns)
            findings.add(
                "catalog", f"{table.name} {key}", f"its {name} is {str(value)[:100]!r}, which is not a valid value"
            )


def _check_of(table: Table, column: Column[Any]) -> Callable[[Any], bool]:
    """Return the function that checks a value of a column, by the column's meaning, or else by its type."""
    place = (table.name, column.name)
    if place in _STATES:
        return lambda value: value in _STATES[place]
    if place in _OBJECTS:
        return _is_object
    if isinstance(column.type, String) and column.type.length == _ID_LENGTH and _holds_ids(place):
        return lambda value: (isinstance(value, str) and is_id(value)) or (value == "" and place == ("journal", "pack"))
    return _check_of_type(column)


def _check_of_type(column: Column[Any]) -> Callable[[Any], bool]:
    kind = column.type
    if isinstance(kind, Timestamp):
        return lambda value: type(value) is int and abs(value) <= _LATEST
    if isinstance(kind, Boolean):
        return lambda value: value in {0, 1}
    if isinstance(kind, Blob | LargeBinary):
        length = kind.length if isinstance(kind, LargeBinary) else getattr(kind.impl, "length", None)
        return lambda value: isinstance(value, bytes | memoryview) and length in {None, len(value)}
    if isinstance(kind, BigInteger | Integer):
        return lambda value: type(value) is int and -1 <= value <= LARGEST_NUMBER
    if isinstance(kind, Float):
        return lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    return _is_text_up_to(kind.length) if isinstance(kind, String) and kind.length else _is_text


def _holds_ids(place: tuple[str, str]) -> bool:
    column = place[1]
    return column in {"pack", "new_pack"} or column.endswith("_id") or place in {("commits", "id"), ("packs", "name")}


def _is_object(value: object) -> bool:
    try:
        return isinstance(value, str) and isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_text_up_to(length: int) -> Callable[[Any], bool]:
    return lambda value: _is_text(value) and len(value) <= length
