"""Restoring a store from a backup."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blake3 import blake3
from sqlalchemy import Connection, delete, func, insert, inspect, select

from versioned_io.catalog.connect import Catalog
from versioned_io.catalog.revisions import REVISION, make_tables_of, migrate_within
from versioned_io.catalog.tables import metadata, properties, repos
from versioned_io.errors import ExistsError, FormatError, IntegrityError, InvalidInputError, ObjectNotFoundError
from versioned_io.maintenance.backup.destination import BackupManifest, packs_of_backup, read_part
from versioned_io.maintenance.backup.table_rows import decode_lines, enter_rows, renumber
from versioned_io.maintenance.fsck.pack_checks import check_bytes
from versioned_io.model.identifiers import PackName, new_uuid7
from versioned_io.model.places import pack_key, parse_pack_key
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.versioning.backend.ownership import CATALOG_ID, OWNER

RESTORING_KEY: Final = "restoring.json"
"""The object that marks a restore in progress, and names its backup, so that the next call can resume it."""


_RESTORED: Final = "restored_from"
"""The property of a catalog that names the backup it was restored from."""


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """The result of a restore.

    Attributes:
        id: The ID of the backup.
        copied: The number of packs that this call copied; an earlier try may have copied the others.
        damaged: Packs that were damaged or missing when the backup was made; run fsck.
    """

    id: str
    packs: int
    copied: int
    rows: int
    damaged: tuple[str, ...]


def is_begun(objects: ObjectStore, manifest: BackupManifest) -> bool:
    """Return whether an earlier call has begun to restore this backup here; False if the place is empty.

    Raises:
        ExistsError: The place is not empty. Choose another one.
        InvalidInputError: Another backup is being restored here. Finish that restore, or choose another place.

    Cost: 1 GET; 1 LIST if no restore has begun.
    """
    if isinstance(objects, LocalObjects) and not Path(objects.url).is_dir():
        return False
    try:
        found = objects.get(RESTORING_KEY)
    except ObjectNotFoundError:
        # The list has only objects, so a catalog that an earlier try has begun in the directory is not in it.
        if next(iter(objects.list("")), None) is not None:
            raise ExistsError("place with other files", objects.url) from None
        return False
    if found != _claim(manifest):
        msg = f"another backup is being restored to {objects.url}: choose another place, or finish that one"
        raise InvalidInputError(msg)
    return True


def claim_place(objects: ObjectStore, manifest: BackupManifest) -> None:
    """Mark the place as one where this backup is being restored. Cost: 1 PUT."""
    objects.put(RESTORING_KEY, [_claim(manifest)])


def _claim(manifest: BackupManifest) -> bytes:
    return json.dumps({"backup": manifest.id}).encode()


def restore_packs(
    source: ObjectStore, objects: ObjectStore, manifest: BackupManifest, progress: Callable[[str, int], None]
) -> int:
    """Copy the packs of a backup that are still missing, verify each against its digest, and return how many.

    Raises:
        IntegrityError: A pack is damaged in the backups, or missing. Restore an older backup.
    """
    there = {name: one.size_bytes for one in objects.list("packs/") if (name := parse_pack_key(one.key)) is not None}
    copied = 0
    for number, pack in enumerate(packs_of_backup(source, manifest), 1):
        if there.get(pack.name) != pack.size_bytes:
            _restore_pack(source, objects, pack.name, pack.digest, was_damaged=pack.name in manifest.damaged)
            copied += 1
        progress("packs", number)
    return copied


def _restore_pack(source: ObjectStore, objects: ObjectStore, name: PackName, digest: str, *, was_damaged: bool) -> None:
    try:
        data = source.get(pack_key(name))
    except ObjectNotFoundError as error:
        msg = f"pack {name} is missing from the backups at {source.url}: restore another one with --at"
        raise IntegrityError(msg) from error
    # A later backup puts a whole pack in the place of one that was damaged.
    is_right = blake3(data).hexdigest() == digest or (was_damaged and not check_bytes(name, data).damages)
    if not is_right:
        msg = (
            f"pack {name} of the backups at {source.url} is damaged: restore an older backup with --at, "
            f"or delete {pack_key(name)} there and make another backup"
        )
        raise IntegrityError(msg)
    try:
        objects.put(pack_key(name), [data])
    except ExistsError:
        # Another restore of this backup works beside this one, or a crash has left a part of the pack.
        if objects.get(pack_key(name)) != data:
            objects.delete([pack_key(name)])
            objects.put(pack_key(name), [data])


def restore_catalog(
    source: ObjectStore, catalog: Catalog, manifest: BackupManifest, progress: Callable[[str, int], None]
) -> int:
    """Fill an empty catalog with the rows of a backup, all or nothing; return how many.

    It gets a new catalog ID, because the catalog that was backed up may still be in use.

    Raises:
        InvalidInputError: The catalog holds repos. Restore into an empty one.
        FormatError: The backup is of a newer revision. Upgrade versioned-io.
        IntegrityError: A table of the backup is damaged. Restore another backup.
    """
    if manifest.revision > REVISION:
        msg = f"the backup {manifest.id} has revision {manifest.revision}, this version knows {REVISION}: upgrade"
        raise FormatError(f"{msg} versioned-io")
    with catalog.write() as connection:
        if _is_restored(connection, catalog.url, manifest):
            return sum(part.rows for part in manifest.tables.values())
        make_tables_of(connection, manifest.revision)
        rows = 0
        for number, name in enumerate(_in_order(manifest.tables), 1):
            part = manifest.tables[name]
            if name == "properties":
                connection.execute(delete(properties))
            rows += enter_rows(connection, name, part.columns, decode_lines(read_part(source, part)))
            progress("tables", number)
        migrate_within(connection)
        renumber(connection)
        own = {CATALOG_ID: new_uuid7(), _RESTORED: manifest.id}
        connection.execute(delete(properties).where(properties.c.name.in_([*own, OWNER])))
        connection.execute(insert(properties), [{"name": name, "value": value} for name, value in own.items()])
    return rows


def _in_order(names: Mapping[str, object]) -> Sequence[str]:
    """Return the tables in an order in which each comes after the tables that it refers to."""
    known = [table.name for table in metadata.sorted_tables if table.name in names]
    unknown = sorted(set(names) - set(known))
    if unknown:
        msg = f"the backup has tables that this version does not know ({', '.join(unknown)}): upgrade versioned-io"
        raise FormatError(msg)
    return known


def _is_restored(connection: Connection, url: str, manifest: BackupManifest) -> bool:
    """Return whether an earlier try has filled the catalog from this backup; raise if it holds other rows."""
    if not inspect(connection).has_table("repos"):
        return False
    restored = select(properties.c.value).where(properties.c.name == _RESTORED)
    if connection.execute(restored).scalar_one_or_none() == manifest.id:
        return True
    if connection.execute(select(func.count()).select_from(repos)).scalar_one():
        msg = f"the catalog {url} holds repos already: restore into an empty one"
        raise InvalidInputError(msg)
    return False
