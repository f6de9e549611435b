"""Ownership: the one catalog that the store names as its owner. Any other catalog over the same packs is read-only.

Source: docs/design/0009-one-owner-and-beacons.md.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from versioned_io.catalog.connect import Catalog
from versioned_io.catalog.noting import known_beacons
from versioned_io.catalog.plain import PlainConnection, only_row, rows
from versioned_io.errors import (
    CatalogOlderError,
    ExistsError,
    FormatError,
    IntegrityError,
    NotOwnerError,
    ObjectNotFoundError,
    StorageError,
)
from versioned_io.model.identifiers import new_uuid7
from versioned_io.storage.beacons import BeaconListing, list_beacons, owner_key
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.objects.port import ObjectStore

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from versioned_io.catalog.plain import AnyConnection

CATALOG_ID: Final = "catalog_id"
"""The property that distinguishes a store's catalogs. The first catalog has none, and uses the store's ID.
A copy of a catalog has the same ID, and is distinguished by its address."""

STORE_ID: Final = "store_id"
"""The property with the ID of the catalog's store."""

STATE: Final = "state"
"""The property of an unfinished catalog."""

REBUILDING: Final = "rebuilding"
"""The value of `STATE` during a rebuild."""

OWNER: Final = "owner"
"""The property with this catalog's last claim, in the form of the owner object. A copy of the catalog has it too."""

UNHELD: Final = "unheld"
"""The property of a catalog that lines of history need branches, which it may make only as the store's owner."""

_OWNER_FORMAT: Final = 1
_READS: Final = 5


@dataclass(frozen=True, slots=True)
class CatalogAddress:
    """The location of a catalog.

    Attributes:
        kind: ``sqlite`` or ``postgresql``.
        name: The path of the file, with links resolved; or the database and the schema.
        host: The name of the machine; or the system identifier of the PostgreSQL server.
        identity: The device and the inode of the file; or the OID of the database, and the schema.
        packs: The device and the inode of the packs directory, for a file in the store's own directory.
        url: The catalog's URL, without password and options, for messages.
    """

    kind: str
    name: str
    host: str
    identity: str
    packs: str
    url: str

    def is_place_of(self, owner: CatalogAddress) -> bool:
        """Return whether *owner* was recorded for a catalog at this same place."""
        if self.kind != owner.kind:
            return False
        if self.kind == "postgresql":
            return self.host == owner.host and (self.identity == owner.identity or self.name == owner.name)
        # Only inodes are compared: device numbers change at reboot, and a file restored from a backup has a new inode.
        inode = self.identity.partition(":")[2] == owner.identity.partition(":")[2]
        is_here = self.name == owner.name and (inode or self.host == owner.host)
        return self.identity == owner.identity or is_here or self._came_along_with(owner)

    def _came_along_with(self, owner: CatalogAddress) -> bool:
        """Return whether this is the owner's file in a copy of the whole store, packs included."""
        return bool(self.packs and owner.packs) and self.packs != owner.packs


@dataclass(frozen=True, slots=True)
class Owner:
    """The contents of an owner object. Of several objects, the one with the highest number is valid."""

    number: int
    catalog_id: str
    address: CatalogAddress

    def to_json(self) -> str:
        """Return the JSON text of the owner object and the property."""
        said = {"format": _OWNER_FORMAT, "catalog_id": self.catalog_id, "address": asdict(self.address)}
        return json.dumps(said, sort_keys=True)

    def is_at(self, catalog_id: str, address: CatalogAddress) -> bool:
        """Return whether this is the catalog *catalog_id* at *address*."""
        return self.catalog_id == catalog_id and address.is_place_of(self.address)


def address_of(connection: AnyConnection, catalog: Catalog, objects: ObjectStore) -> CatalogAddress:
    """Return the address of the catalog of *connection*. Cost: 2 stat(2), or 2 SELECTs on PostgreSQL."""
    if catalog.database.file is None:
        return _postgres_address(connection, catalog.url)
    path = catalog.database.file.resolve()
    packs = ""
    if isinstance(objects, LocalObjects) and path.parent == Path(objects.url).resolve():
        packs = _identity(path.parent / "packs")
    return CatalogAddress("sqlite", str(path), socket.gethostname(), _identity(path), packs, catalog.url)


def find_owner(objects: ObjectStore, listing: BeaconListing) -> Owner | None:
    """Return the owner of the store, or None.

    Args:
        listing: An earlier listing. If another catalog has become the owner since, the store is listed again.

    Raises:
        FormatError: A newer version wrote the owner object. Upgrade versioned-io.
        IntegrityError: The owner object is damaged. Run `versioned adopt`.
        StorageError: The object store is unreachable. Try again.

    Cost: 1 GET; none if there is no owner.
    """
    for _ in range(_READS):
        if not listing.owner:
            return None
        try:
            return _parse_owner(objects, listing.owner)
        except ObjectNotFoundError:
            listing = list_beacons(objects)
    msg = f"the owner of the store {objects.url} keeps changing: try again"
    raise StorageError(msg)


def _parse_owner(objects: ObjectStore, number: int) -> Owner:
    payload = objects.get(owner_key(number))
    try:
        found = json.loads(payload)
        if found["format"] != _OWNER_FORMAT:
            msg = f"the owner object of the store {objects.url} has format {found['format']}: upgrade versioned-io"
            raise FormatError(msg)
        return Owner(number, str(found["catalog_id"]), _parse_address(found["address"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        msg = f"{owner_key(number)} at {objects.url} is damaged ({error}): run `versioned adopt` to write it again"
        raise IntegrityError(msg) from error


def _parse_address(found: Mapping[str, object]) -> CatalogAddress:
    return CatalogAddress(**{name: str(found[name]) for name in CatalogAddress.__slots__})


def put_owner(objects: ObjectStore, owner: Owner) -> None:
    """Make *owner* the store's owner, and delete the previous owner object. Of several calls at once, one succeeds.

    Raises:
        NotOwnerError: Another call was first. Check which catalog is the owner now.
        StorageError: The object store is unreachable, or this user may not write to it.

    Cost: 1 PUT, 1 GET, 1 DELETE.
    """
    written = owner.to_json().encode()
    key = owner_key(owner.number)
    # An existing object may be this call's own, from a try whose reply was lost. A put that seems to have succeeded may
    # have replaced another object, or have been replaced, as some servers overwrite. So the object is read back.
    with suppress(ExistsError):
        objects.put(key, [written])
    if _get(objects, key) != written:
        first = find_owner(objects, list_beacons(objects))
        raise NotOwnerError(owner.address.url, objects.url, "" if first is None else first.address.url)
    objects.delete([owner_key(number) for number in (owner.number - 1,) if number])


def _get(objects: ObjectStore, key: str) -> bytes | None:
    try:
        return objects.get(key)
    except ObjectNotFoundError:
        return None  # another catalog is already the owner, and has deleted it


def adopt(objects: ObjectStore, catalog: Catalog) -> bool:
    """Make *catalog* the owner of the store; return False if it already is.

    From then on the previous owner is read-only, which it detects at its next write. A commit that it makes before then
    leaves a beacon. So this catalog counts as older until `recover_store` has added the commit, and nothing is lost.

    Raises:
        CatalogOlderError: The catalog lacks acknowledged rows. Run `versioned recover` first.
        NotOwnerError: Another call was first. Check which catalog is the owner now before you call again.
        StorageError: The object store or the catalog is unreachable. Try again.

    Cost: 1 LIST, 3 GETs, 1 PUT, 1 DELETE, 1 SQL transaction.
    """
    listing = list_beacons(objects)
    with catalog.write() as connection:
        refuse_unknown(connection, catalog.url, objects.url, listing)
        address = address_of(connection, catalog, objects)
        stated = read_properties(connection)
        before = None
        with suppress(IntegrityError):  # a damaged owner object is replaced
            before = find_owner(objects, listing)
        if before is not None and before.is_at(catalog_id_of(stated), address):
            return False
        # A new ID, since the previous owner may be the catalog that this one was copied from.
        owner = Owner((listing.owner if before is None else before.number) + 1, new_uuid7(), address)
        set_property(connection, CATALOG_ID, owner.catalog_id)
        set_property(connection, OWNER, owner.to_json())
    put_owner(objects, owner)
    return True


def take_over(objects: ObjectStore, catalog: Catalog, listing: BeaconListing) -> bool:
    """Make a catalog that was just rebuilt the owner if no other can be in use; return whether it is the owner.

    No other can be in use if the store has no owner, or if the owner was at the same place. The same holds if the
    owner's file or database no longer exists on this machine or server.

    Cost: that of `adopt`.
    """
    with catalog.write() as connection:
        address = address_of(connection, catalog, objects)
        before = find_owner(objects, listing)
        if not _may_take_over(connection, before, address):
            return False
        number = 1 if before is None else before.number + 1
        owner = Owner(number, catalog_id_of(read_properties(connection)), address)
        set_property(connection, OWNER, owner.to_json())
    put_owner(objects, owner)
    return True


def may_take_over(connection: Connection, catalog: Catalog, objects: ObjectStore, listing: BeaconListing) -> bool:
    """Return whether `take_over` will make a catalog the owner. A damaged owner object may name another catalog.

    Cost: 1 GET, and the cost of `address_of`.
    """
    try:
        before = find_owner(objects, listing)
    except IntegrityError:
        return False
    return _may_take_over(connection, before, address_of(connection, catalog, objects))


def _may_take_over(connection: Connection, before: Owner | None, address: CatalogAddress) -> bool:
    return before is None or address.is_place_of(before.address) or _is_gone(connection, before.address)


def require_owner(connection: Connection, catalog: Catalog, objects: ObjectStore, listing: BeaconListing) -> None:
    """Raise unless a catalog owns the store, or may claim it since there is no owner.

    Raises:
        NotOwnerError: Another catalog owns the store. Use that one, or run `versioned adopt`.
        IntegrityError: The owner object is damaged. Run `versioned adopt`.

    Cost: 1 GET, 1 SELECT, and the cost of `address_of`.
    """
    owner = find_owner(objects, listing)
    address = address_of(connection, catalog, objects)
    if not _may_own(owner, read_properties(connection), address):
        raise _not_owner(owner, address, objects)


def refuse_unknown(connection: AnyConnection, catalog_url: str, url: str, listing: BeaconListing) -> None:
    """Raise if the catalog lacks the row of a beacon.

    Raises:
        CatalogOlderError: A row is missing. Run `versioned recover`.
    """
    unknown = listing.beacons - known_beacons(connection, listing.beacons)
    if unknown:
        raise CatalogOlderError(catalog_url, url, tuple(sorted(map(str, unknown))[:3]))


def read_properties(connection: AnyConnection) -> dict[str, str]:
    """Return the properties of the catalog by name. Cost: 1 SELECT."""
    return dict(rows(connection, "SELECT name, value FROM properties"))


def set_property(connection: Connection, name: str, value: str) -> None:
    """Insert or replace a property. Cost: 1 INSERT."""
    from versioned_io.catalog.tables import properties
    from versioned_io.catalog.upserts import upsert

    row = upsert(connection, properties).values(name=name, value=value)
    connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


def delete_property(connection: Connection, name: str) -> None:
    """Delete a property, if there is one. Cost: 1 DELETE."""
    from sqlalchemy import delete

    from versioned_io.catalog.tables import properties

    connection.execute(delete(properties).where(properties.c.name == name))


def catalog_id_of(stated: Mapping[str, str]) -> str:
    """Return the ID of the catalog with these properties."""
    return stated.get(CATALOG_ID, stated.get(STORE_ID, ""))


def _identity(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_dev}:{status.st_ino}"


_DATABASE: Final = (
    "SELECT current_database() AS name, oid, current_schema() AS schema,"
    " has_function_privilege('pg_control_system()', 'EXECUTE') AS is_told,"
    " coalesce(host(inet_server_addr()), 'local') AS host, coalesce(inet_server_port(), 0) AS port"
    " FROM pg_database WHERE datname = current_database()"
)
_SYSTEM: Final = "SELECT system_identifier FROM pg_control_system()"
_HAS_DATABASE: Final = "SELECT count(*) FROM pg_database WHERE oid = :oid OR datname = :name"


def _postgres_address(connection: AnyConnection, url: str) -> CatalogAddress:
    name, oid, schema, is_told, address, port = only_row(rows(connection, _DATABASE))
    # If this user may not read the system identifier of the server, its address is used instead.
    host = str(only_row(rows(connection, _SYSTEM))[0]) if is_told else f"{address}:{port}"
    name, identity = f"{name}/{schema}", f"{oid}/{schema}"
    return CatalogAddress("postgresql", name, host, identity, "", url)


def _is_gone(connection: Connection, owner: CatalogAddress) -> bool:
    """Return whether the owner's file or database is known to be deleted."""
    if owner.kind == "sqlite":
        return owner.host == socket.gethostname() and not os.path.lexists(owner.name)
    if connection.dialect.name != "postgresql" or owner.host != _postgres_address(connection, "").host:
        return False
    oid, name = int(owner.identity.partition("/")[0]), owner.name.rpartition("/")[0]
    return not only_row(rows(connection, _HAS_DATABASE, oid=oid, name=name))[0]


class OwnerCheck:
    """Checks whether an open catalog may write to its store, again only after the owner object has changed.

    Attributes:
        checked: The number of the owner object that names this catalog; -1 until it was read.
    """

    def __init__(self, objects: ObjectStore, catalog: Catalog) -> None:
        self._objects = objects
        self._catalog = catalog
        self.checked = -1

    def require(self, connection: AnyConnection, listing: BeaconListing, *, may_claim: bool) -> None:
        """Raise unless the catalog owns the store, or claims it in this call.

        Args:
            may_claim: Whether *connection* writes. Then it claims a store without an owner, and records a new address.

        Raises:
            NotOwnerError: Another catalog owns the store. Use that one, or run `versioned adopt`.

        Cost: none while the owner object stays the same; otherwise 1 GET, 1 SELECT, and the cost of `address_of`.
        """
        if listing.owner == self.checked:
            return
        stated = read_properties(connection)
        address = address_of(connection, self._catalog, self._objects)
        owner = find_owner(self._objects, listing)
        if not _may_own(owner, stated, address):
            raise _not_owner(owner, address, self._objects)
        if owner is not None and owner.address == address and OWNER in stated:
            self.checked = owner.number
        elif may_claim and not isinstance(connection, PlainConnection):
            number = 1 if owner is None else owner.number + 1
            self._claim(connection, Owner(number, catalog_id_of(stated), address))

    def _claim(self, connection: Connection, owner: Owner) -> None:
        set_property(connection, OWNER, owner.to_json())
        try:
            put_owner(self._objects, owner)
        except NotOwnerError:
            # Another process with the same catalog may have been first.
            first = find_owner(self._objects, list_beacons(self._objects))
            if first is None or not first.is_at(owner.catalog_id, owner.address):
                raise
        self.checked = owner.number


def owner_and_right(
    connection: AnyConnection, catalog: Catalog, objects: ObjectStore, listing: BeaconListing
) -> tuple[Owner | None, bool | None]:
    """Return the owner of the store, and whether the catalog may write to it, as far as *listing* is told.

    Raises:
        FormatError, IntegrityError, StorageError: As `find_owner`.

    Cost: 1 GET, 1 SELECT, and the cost of `address_of`.
    """
    if not listing.is_told:
        return None, None
    owner = find_owner(objects, listing)
    return owner, _may_own(owner, read_properties(connection), address_of(connection, catalog, objects))


def _not_owner(owner: Owner | None, address: CatalogAddress, objects: ObjectStore) -> NotOwnerError:
    return NotOwnerError(address.url, objects.url, "" if owner is None else owner.address.url)


def _may_own(owner: Owner | None, stated: Mapping[str, str], address: CatalogAddress) -> bool:
    """Return whether the catalog at *address* is the owner, or may become it since there is none."""
    if owner is not None:
        return owner.is_at(catalog_id_of(stated), address)
    # The catalog has claimed the store, but there is no owner object. Somebody has deleted it, or this is a copy of the
    # catalog with the packs but without the beacons.
    claimed = stated.get(OWNER)
    return claimed is None or address.is_place_of(_parse_address(json.loads(claimed)["address"]))
