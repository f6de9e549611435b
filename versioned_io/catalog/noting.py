"""Beacons in the catalog: a transaction's new rows are collected on its connection, and beacons are looked up.

Source: docs/design/0009-one-owner-and-beacons.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from versioned_io.catalog.plain import PlainConnection
from versioned_io.model.beacons import Beacon, BeaconKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sqlalchemy import Connection

    from versioned_io.catalog.plain import AnyConnection

NOTED: Final = "versioned_io_noted"
"""The execution option of a writing connection that holds the list of beacons for the rows of its transaction."""

UNDONE: Final = "versioned_io_undone"
"""The execution option of a writing connection that holds its undo functions, which run if its transaction fails."""

_BATCH: Final = 200

# Plain SQL: SQLAlchemy takes longer to compile such a statement for each commit than the look-up takes.
_LOOK_UPS: Final = (
    (BeaconKind.COMMIT, "SELECT 'commit', id FROM commits WHERE id IN ({})"),
    (BeaconKind.PACK, "SELECT 'pack', name FROM packs WHERE name IN ({})"),
    (BeaconKind.ENTRY, "SELECT 'entry', CAST(sequence AS VARCHAR(20)) FROM journal WHERE sequence IN ({})"),
)


def note_made(connection: Connection, beacon: Beacon) -> None:
    """Add a beacon for a row of *connection*'s transaction; it is acknowledged when the transaction ends.

    This does nothing on a connection that collects no beacons, such as a rebuild's.
    """
    noted = connection.get_execution_options().get(NOTED)
    if noted is not None:
        noted.append(beacon)


def note_undo(connection: Connection, undo: Callable[[Connection], None]) -> None:
    """Register *undo*, which runs in its own transaction once *connection*'s is known not to have been committed."""
    noted = connection.get_execution_options().get(UNDONE)
    if noted is not None:
        noted.append(undo)


def known_beacons(connection: AnyConnection, beacons: Collection[Beacon]) -> set[Beacon]:
    """Return the *beacons* that have a row.

    A pack has a row in any state, deleted included. An entry is known if both its pack and its number have a row.

    Cost: 1 SELECT by primary keys for each 200; none for no beacons.
    """
    known: set[Beacon] = set()
    asked = list(beacons)
    for start in range(0, len(asked), _BATCH):
        batch = asked[start : start + _BATCH]
        found = _look_up(connection, batch)
        known.update(one for one in batch if _is_known(one, found))
    return known


def _look_up(connection: AnyConnection, beacons: Collection[Beacon]) -> set[tuple[str, str]]:
    values: dict[BeaconKind, list[str | int]] = {
        BeaconKind.COMMIT: [one.id for one in beacons if one.kind is BeaconKind.COMMIT],
        BeaconKind.PACK: [one.id for one in beacons if one.kind is not BeaconKind.COMMIT],
        BeaconKind.ENTRY: [one.sequence for one in beacons if one.kind is BeaconKind.ENTRY],
    }
    mark = "?" if isinstance(connection, PlainConnection) or connection.dialect.name == "sqlite" else "%s"
    parts = [query.format(", ".join([mark] * len(values[kind]))) for kind, query in _LOOK_UPS if values[kind]]
    query, bound = " UNION ALL ".join(parts), tuple(value for kind, _ in _LOOK_UPS for value in values[kind])
    if isinstance(connection, PlainConnection):
        return {(kind, found) for kind, found in connection.execute(query, bound)}
    return {(kind, found) for kind, found in connection.exec_driver_sql(query, bound)}


def _is_known(beacon: Beacon, found: Collection[tuple[str, str]]) -> bool:
    if beacon.kind is BeaconKind.ENTRY:
        return ("pack", beacon.id) in found and ("entry", str(beacon.sequence)) in found
    return (beacon.kind.value, beacon.id) in found
