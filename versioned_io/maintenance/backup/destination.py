"""A place with backups of one store: the packs that they share, and the rows and the manifest of each.

Source: docs/spec/backup-v1.md.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from blake3 import blake3

from versioned_io.errors import (
    ExistsError,
    FormatError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    ObjectNotFoundError,
    StorageError,
)
from versioned_io.errors.root import quoted
from versioned_io.maintenance.backup.table_rows import decode_lines
from versioned_io.model.identifiers import PackName, new_uuid7
from versioned_io.model.times import parse_latest
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.objects.port import Buffer, ObjectStore

PLACE_KEY: Final = "backups.json"
"""The object that marks a place of backups, and names their store."""

BACKUP_FORMAT: Final = 1
_MANIFESTS: Final = "manifests/"


@dataclass(frozen=True, slots=True)
class TablePart:
    """The rows of one table in a backup: the object with them, their number, and the object's BLAKE3 digest."""

    key: str
    columns: tuple[str, ...]
    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class BackupManifest:
    """The manifest of one backup. A backup exists once its manifest exists, and never changes.

    Attributes:
        id: The ID of the backup; later IDs sort after earlier ones.
        revision: The revision of the catalog's tables.
        packs: The object with the names, sizes and BLAKE3 digests of the backup's packs.
        damaged: Packs that were damaged or missing in the store.
    """

    id: str
    store_id: str
    created_at: datetime
    revision: str
    tables: Mapping[str, TablePart]
    packs: TablePart = TablePart("", (), 0, "")
    damaged: tuple[str, ...] = ()

    @property
    def part_keys(self) -> set[str]:
        """The keys of the objects with the rows of the tables and the list of the packs."""
        return {self.packs.key, *(part.key for part in self.tables.values())}


def make_directory(objects: ObjectStore) -> None:
    """Create the directory of a local place, accessible only to this user; an existing one stays unchanged.

    Raises:
        StorageError: The directory can't be created. Choose another one.
    """
    if not isinstance(objects, LocalObjects):
        return
    try:
        Path(objects.url).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        msg = f"can't create the directory {quoted(objects.url)}: {error.strerror}"
        raise StorageError(msg) from error


def refuse_nested(one: ObjectStore, other: ObjectStore) -> None:
    """Raise if one of two local directories is the other, or lies inside of it.

    Raises:
        InvalidInputError: One contains the other. Choose another directory.
    """
    if not (isinstance(one, LocalObjects) and isinstance(other, LocalObjects)):
        return
    places = [Path(one.url).resolve(), Path(other.url).resolve()]
    if places[0] in [places[1], *places[1].parents] or places[1] in places[0].parents:
        msg = f"a store and its backups can't contain each other: {quoted(one.url)}, {quoted(other.url)}"
        raise InvalidInputError(msg)


def prepare_place(objects: ObjectStore, store_id: str) -> None:
    """Mark *objects* as a place of backups of a store, unless it is already marked.

    Raises:
        InvalidInputError: It holds other objects, or backups of another store. Choose another place.
        StorageError: Its directory can't be created. Choose another place.

    Cost: 1 GET; the first time 1 LIST and 1 PUT.
    """
    written = json.dumps({"format": BACKUP_FORMAT, "store_id": store_id}, sort_keys=True).encode()
    try:
        found = read_place(objects)
    except NotFoundError:
        make_directory(objects)
        if next(iter(objects.list("")), None) is not None:
            msg = f"{objects.url} is not empty and holds no backups: choose another place"
            raise InvalidInputError(msg) from None
        try:
            objects.put(PLACE_KEY, [written])
        except ExistsError:
            found = read_place(objects)
        else:
            found = store_id
    if found != store_id:
        msg = f"{objects.url} holds backups of another store, {found}: choose another place"
        raise InvalidInputError(msg)


def require_place(objects: ObjectStore) -> None:
    """Raise if a place that held backups holds none now.

    Raises:
        StorageError: There are no backups. The place may be unmounted: mount it.

    Cost: 1 GET.
    """
    try:
        objects.get(PLACE_KEY)
    except ObjectNotFoundError as error:
        msg = (
            f"{objects.url} held backups of this store and holds none now: the disk may be unmounted; mount it, or "
            "pass --init to start over there"
        )
        raise StorageError(msg) from error


def read_place(objects: ObjectStore) -> str:
    """Return the ID of the store whose backups are at the place.

    Raises:
        ObjectNotFoundError: There are no backups.
        FormatError: A newer version made them. Upgrade versioned-io.
    """
    try:
        found = json.loads(objects.get(PLACE_KEY))
        number, store_id = int(found["format"]), str(found["store_id"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        msg = f"{PLACE_KEY} at {objects.url} is damaged ({error}): write it again, with the store's ID"
        raise IntegrityError(msg) from error
    if number > BACKUP_FORMAT:
        msg = f"the backups at {objects.url} have format {number}, this version reads {BACKUP_FORMAT}: upgrade"
        raise FormatError(f"{msg} versioned-io")
    return store_id


def list_backups(objects: ObjectStore) -> list[str]:
    """Return the IDs of the backups, oldest first. Cost: 1 LIST."""
    keys = (info.key for info in objects.list(_MANIFESTS))
    return sorted(key.removeprefix(_MANIFESTS).removesuffix(".json") for key in keys if key.endswith(".json"))


def new_backup_id(objects: ObjectStore) -> str:
    """Return an ID that sorts after all backups there, also if a clock was wrong when they were made.

    Cost: 1 LIST.
    """
    earlier = [one for one in list_backups(objects) if re.fullmatch("[0-9a-f]{32}", one)]
    return new_uuid7(after=max(earlier, default=None))


def manifest_key(backup_id: str) -> str:
    """Return the key of a backup's manifest."""
    return f"{_MANIFESTS}{backup_id}.json"


def put_manifest(objects: ObjectStore, manifest: BackupManifest) -> None:
    """Publish the backup. Everything that it names is already durable. Cost: 1 PUT."""
    fields = {**asdict(manifest), "created_at": manifest.created_at.isoformat(), "format": BACKUP_FORMAT}
    payload = json.dumps(fields, sort_keys=True).encode()
    checked = json.dumps({"manifest": fields, "digest": blake3(payload).hexdigest()}, sort_keys=True).encode()
    objects.put(manifest_key(manifest.id), [checked])


def read_manifest(objects: ObjectStore, backup_id: str) -> BackupManifest:
    """Return one backup.

    Raises:
        IntegrityError: It is damaged. Restore another one.
        FormatError: A newer version made it. Upgrade versioned-io.
    """
    try:
        checked = json.loads(objects.get(manifest_key(backup_id)))
        fields: dict[str, Any] = checked["manifest"]
        is_whole = blake3(json.dumps(fields, sort_keys=True).encode()).hexdigest() == checked["digest"]
        if is_whole and int(fields["format"]) > BACKUP_FORMAT:
            msg = f"the backup {backup_id} has format {fields['format']}: upgrade versioned-io"
            raise FormatError(msg)
        manifest = BackupManifest(
            id=fields["id"],
            store_id=fields["store_id"],
            created_at=datetime.fromisoformat(fields["created_at"]),
            revision=fields["revision"],
            tables={name: _part(part) for name, part in fields["tables"].items()},
            packs=_part(fields["packs"]),
            damaged=tuple(fields["damaged"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        msg = f"the backup {backup_id} at {objects.url} is damaged ({error!r}): restore another one with --at"
        raise IntegrityError(msg) from error
    if not is_whole:
        msg = f"the backup {backup_id} at {objects.url} is damaged: restore another one with --at"
        raise IntegrityError(msg)
    return manifest


def choose_backup(objects: ObjectStore, at: str | None) -> BackupManifest:
    """Return the newest backup, or, with *at*, the one with this ID or the newest one made by that time.

    Raises:
        InvalidInputError: There is no such backup, or *at* is neither an ID nor a time.
    """
    found = list_backups(objects)
    if at is None or at in found:
        if not found:
            msg = f"there is no backup at {objects.url}"
            raise InvalidInputError(msg)
        return read_manifest(objects, found[-1] if at is None else at)
    try:
        latest = parse_latest(at)
    except ValueError:
        msg = f"{at!r} is neither a backup's ID nor a time such as 2026-01-31T12:00; there are {', '.join(found[-5:])}"
        raise InvalidInputError(msg) from None
    oldest = "there is none"
    for backup_id in reversed(found):
        manifest = read_manifest(objects, backup_id)
        if manifest.created_at <= latest:
            return manifest
        oldest = f"the oldest, {manifest.id}, is of {_in_utc(manifest.created_at)}"
    msg = f"no backup at {objects.url} was made by {_in_utc(latest)}: {oldest}"
    raise InvalidInputError(msg)


def _in_utc(time: datetime) -> str:
    """Return the time as messages show it."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


class BackedUpPack(NamedTuple):
    """A pack of a backup, with its size and the BLAKE3 digest of its bytes at the place."""

    name: PackName
    size_bytes: int
    digest: str


def packs_of_backup(objects: ObjectStore, manifest: BackupManifest) -> Iterator[BackedUpPack]:
    """Yield the packs of a backup.

    Raises:
        IntegrityError: The list is damaged, or gone.

    Cost: 1 GET.
    """
    for row in decode_lines(read_part(objects, manifest.packs)):
        if len(row) != 3:
            msg = f"{manifest.packs.key} of the backups at {objects.url} is damaged"
            raise IntegrityError(msg)
        yield BackedUpPack(PackName(str(row[0])), int(row[1]), str(row[2]))


def put_part(objects: ObjectStore, key: str, columns: Sequence[str], data: Buffer, rows: int) -> TablePart:
    """Store the rows of a table. Cost: 1 PUT."""
    objects.put(key, [data])
    return TablePart(key, tuple(columns), rows, blake3(data).hexdigest())


def read_part(objects: ObjectStore, part: TablePart) -> bytes:
    """Return the stored rows of a table.

    Raises:
        IntegrityError: They are damaged or missing. Restore another backup.
    """
    try:
        data = objects.get(part.key)
    except ObjectNotFoundError as error:
        msg = f"{part.key} is missing from the backups at {objects.url}: restore another one with --at"
        raise IntegrityError(msg) from error
    if blake3(data).hexdigest() != part.digest:
        msg = f"{part.key} of the backups at {objects.url} is damaged: restore another one with --at"
        raise IntegrityError(msg)
    return data


def _part(fields: Mapping[str, Any]) -> TablePart:
    return TablePart(fields["key"], tuple(fields["columns"]), fields["rows"], fields["digest"])
