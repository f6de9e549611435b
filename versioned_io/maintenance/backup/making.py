"""Making a backup: a consistent snapshot of the catalog's rows, then every pack that they name."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import zstandard
from blake3 import blake3
from sqlalchemy import Connection, select

from versioned_io.catalog.collection import CONDEMNED, DELETED, STORED, states_of
from versioned_io.catalog.revisions import REVISION
from versioned_io.catalog.tables import metadata, packs
from versioned_io.errors import ExistsError, IntegrityError, ObjectNotFoundError, StorageError
from versioned_io.maintenance.backup.descent import refuse_other_line
from versioned_io.maintenance.backup.destination import (
    BackedUpPack,
    BackupManifest,
    TablePart,
    list_backups,
    manifest_key,
    new_backup_id,
    packs_of_backup,
    prepare_place,
    put_manifest,
    put_part,
    read_manifest,
    refuse_nested,
    require_place,
)
from versioned_io.maintenance.backup.pruning import keys_being_pruned
from versioned_io.maintenance.backup.table_rows import encode_table
from versioned_io.maintenance.fsck.pack_checks import check_bytes
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import pack_key, parse_pack_key
from versioned_io.storage.objects.cached import past_cache
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.backend.ownership import STORE_ID, read_properties, set_property

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 3  # each has a pack in memory, 32 to 64 MiB
_ATTEMPTS: Final = 5
_PACK_COLUMNS: Final = ("name", "size_bytes", "digest")

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class BackupReport:
    """The result of a backup.

    Attributes:
        id: The ID to restore it by.
        packs: The number of packs in the backup.
        packs_bytes: Their size.
        copied: The number of packs that were new at the place.
        copied_bytes: Their size.
        rows: The number of the catalog's rows.
        damaged: Packs that are damaged or missing in the store; run fsck. Their files are equally damaged in the
            backup.
        leaving: Damaged or missing packs that are condemned. No file needs them.
        is_first: Whether there was no backup at the place before.
    """

    id: str
    packs: int
    packs_bytes: int
    copied: int
    copied_bytes: int
    rows: int
    damaged: tuple[str, ...]
    leaving: tuple[str, ...] = ()
    is_first: bool = False


class _CollectedError(Exception):
    """A pack was collected after the rows were read, so they must be read again."""


@dataclass(slots=True)
class _Copied:
    """The packs at the place, and the new and the damaged ones among them."""

    known: dict[PackName, BackedUpPack]
    new: set[PackName] = field(default_factory=set)
    damaged: set[PackName] = field(default_factory=set)
    leaving: set[PackName] = field(default_factory=set)


def make_backup(
    backend: Backend, dest: ObjectStore, *, init: bool = False, progress: Progress = lambda *_: None
) -> BackupReport:
    """Write a backup of the store to *dest*, consistent as of one moment during this call, beside writers and gc.

    Packs never change, so only packs that no earlier backup at *dest* has are copied; every byte of them is verified.
    The backup exists once its manifest is written, at the end. A crash leaves the earlier backups intact, and the next
    call reuses the packs that were copied.

    The catalog remembers each place. If a place held backups and holds none now, the call fails, since the disk may be
    unmounted.

    Args:
        dest: The place of the backups. A missing local directory is created.
        init: Start again at a place that held backups of this store before.

    Raises:
        InvalidInputError: *dest* holds other objects, or backups of another store or of a copy of this one. Or it lies
            inside of the store. Choose another place.
        CatalogOlderError: The catalog lacks acknowledged rows. Run `versioned recover` first.
        StorageError: The store, its catalog or *dest* failed: call again. Or *dest* held backups before: mount it.

    Cost: 1 SELECT for each table, in one transaction, and 1 INSERT the first time. Earlier backups are found by 3
        LISTs, 5 GETs and some SELECTs. Then 2 LISTs for each 1,000 packs of *dest*, and 1 GET and 1 PUT for each new
        pack. Memory for 3 packs, and for the compressed rows of the largest table.
    """
    refuse_nested(backend.objects, dest)
    with backend.catalog.read() as connection:
        backend.catalog.refuse_older(connection)
        stated = read_properties(connection)
    store_id, memory = stated[STORE_ID], _memory_of(dest)
    if memory in stated and not init:
        require_place(dest)
    prepare_place(dest, store_id)
    newest, copied = _copied_before(dest)
    if newest is not None:
        with backend.catalog.read() as connection:
            refuse_other_line(connection, dest, newest)
    for _ in range(_ATTEMPTS):
        state = _put_state(backend, dest, progress)
        try:
            _copy_packs(backend, dest, state.packs, copied, progress)
        except _CollectedError:
            dest.delete([part.key for part in state.tables.values()])
        else:
            begun = BackupManifest(state.id, store_id, backend.clock(), REVISION, state.tables)
            report = _finish(dest, begun, state, copied)
            if memory not in stated:
                _remember(backend, memory, state.id)
            return replace(report, is_first=newest is None)
    msg = "gc deletes packs faster than they are copied: don't run gc without a grace period during a backup"
    raise StorageError(msg)


def _memory_of(dest: ObjectStore) -> str:
    """Return the name of the catalog's property for backups at *dest*."""
    place = str(Path(dest.url).resolve()) if isinstance(dest, LocalObjects) else dest.url
    return f"backups_at_{blake3(place.encode()).hexdigest()[:32]}"


def _remember(backend: Backend, memory: str, backup_id: str) -> None:
    """Record in the catalog that a place has a backup, unless the catalog is read-only for this user."""
    if backend.catalog.read_only is not None:
        return
    try:
        # The property is about this catalog alone, so even a catalog that does not own the store may set it.
        with replace(backend.catalog, watch=None).write() as connection:
            set_property(connection, memory, backup_id)
    except StorageError as error:
        _log.warning(
            "the backup is complete, but the catalog can't record its place, so an unmounted disk goes unnoticed: %s",
            error,
        )


@dataclass(frozen=True, slots=True)
class _State:
    """A snapshot of the catalog: the objects with its rows, and the packs that it names."""

    id: str
    tables: dict[str, TablePart]
    packs: list[PackName]


def _put_state(backend: Backend, dest: ObjectStore, progress: Progress) -> _State:
    backup_id = new_backup_id(dest)
    with backend.catalog.read() as connection:
        return _State(backup_id, _put_tables(connection, dest, backup_id, progress), _packs_of(connection))


def _finish(dest: ObjectStore, begun: BackupManifest, state: _State, copied: _Copied) -> BackupReport:
    kept = [name for name in state.packs if name in copied.known]
    lines = "".join(json.dumps(copied.known[name]) + "\n" for name in kept)
    data = zstandard.ZstdCompressor(level=3).compress(lines.encode())
    listed = put_part(dest, _key_of(state.id, "pack-files"), _PACK_COLUMNS, data, len(kept))
    damaged = tuple(sorted(copied.damaged & set(state.packs)))
    manifest = replace(begun, packs=listed, damaged=damaged)
    put_manifest(dest, manifest)
    _refuse_pruned(dest, manifest, kept)
    return BackupReport(
        id=state.id,
        packs=len(kept),
        packs_bytes=sum(copied.known[name].size_bytes for name in kept),
        copied=len(copied.new),
        copied_bytes=sum(copied.known[name].size_bytes for name in copied.new),
        rows=sum(part.rows for part in state.tables.values()),
        damaged=tuple(name for name in damaged if name not in copied.leaving),
        leaving=tuple(sorted(copied.leaving & set(state.packs))),
    )


def _refuse_pruned(dest: ObjectStore, manifest: BackupManifest, names: Sequence[PackName]) -> None:
    """Delete the manifest again if a prune has deleted, or is deleting, some of the backup's objects.

    A prune puts its note, looks for manifests, deletes objects, and then its note. This looks for notes and then for
    objects. So a prune that did not see the manifest still has its note, or its deletions are seen.
    """
    needed = {*map(pack_key, names), *manifest.part_keys}
    is_pruned = not keys_being_pruned(dest).isdisjoint(needed)
    there = {info.key for prefix in ("packs/", f"tables/{manifest.id}/") for info in dest.list(prefix)}
    if not is_pruned and needed <= there:
        return
    dest.delete([manifest_key(manifest.id)])
    msg = f"a prune deletes objects of this backup at {dest.url}: when it is done, or after `versioned backups prune`"
    raise StorageError(f"{msg} has finished the work of one that died, call `versioned backup` again")


def _put_tables(connection: Connection, dest: ObjectStore, backup_id: str, progress: Progress) -> dict[str, TablePart]:
    found: dict[str, TablePart] = {}
    for number, table in enumerate(metadata.sorted_tables, 1):
        data, rows = encode_table(connection, table)
        columns = [column.name for column in table.columns]
        found[table.name] = put_part(dest, _key_of(backup_id, table.name), columns, data, rows)
        progress("tables", number)
    return found


def _packs_of(connection: Connection) -> list[PackName]:
    named = select(packs.c.name).where(packs.c.state.in_(STORED)).order_by(packs.c.name)
    return [PackName(name) for name in connection.execute(named).scalars()]


def _copied_before(dest: ObjectStore) -> tuple[BackupManifest | None, _Copied]:
    """Return the newest backup, and the intact packs that the backups list; all others are checked again."""
    there = {name: info.size_bytes for info in dest.list("packs/") if (name := parse_pack_key(info.key)) is not None}
    found = _Copied({})
    backups = list_backups(dest)
    for backup_id in reversed(backups):
        try:
            manifest = read_manifest(dest, backup_id)
            rows = list(packs_of_backup(dest, manifest))
        except IntegrityError:
            continue  # an earlier backup lists most of its packs
        known = [pack for pack in rows if pack.name not in manifest.damaged]
        found.known |= {pack.name: pack for pack in known if there.get(pack.name) == pack.size_bytes}
        return manifest, found
    return None, found


def _copy_packs(
    backend: Backend, dest: ObjectStore, names: Sequence[PackName], copied: _Copied, progress: Progress
) -> None:
    source = past_cache(backend.objects)
    missing = [name for name in names if name not in copied.known]
    done = 0
    for name, found in _in_turn(missing, lambda one: _copy_pack(source, dest, one)):
        done += 1
        progress("packs", done)
        if (found is None or not found.is_whole) and _is_deleted(backend, name):
            raise _CollectedError
        if found is None:
            _note_damaged(backend, copied, name)
            continue
        copied.known[name] = found.pack
        copied.new.add(name)
        if not found.is_whole:
            _note_damaged(backend, copied, name)


def _note_damaged(backend: Backend, copied: _Copied, name: PackName) -> None:
    """Record a damaged pack: the next backup checks it again, and the report lists it as damaged unless condemned."""
    copied.damaged.add(name)
    with backend.catalog.read() as connection:
        if states_of(connection, [name]).get(name) == CONDEMNED:
            copied.leaving.add(name)


class _CopiedPack(NamedTuple):
    """A pack as it is at the place now, and whether it is intact in the store."""

    pack: BackedUpPack
    is_whole: bool


def _in_turn(
    names: Sequence[PackName], work: Callable[[PackName], _CopiedPack | None]
) -> Iterator[tuple[PackName, _CopiedPack | None]]:
    waiting = iter(names)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running = [(name, pool.submit(work, name)) for name in islice(waiting, _AT_ONCE)]
        while running:
            name, future = running.pop(0)
            yield name, future.result()
            running += [(one, pool.submit(work, one)) for one in islice(waiting, 1)]


def _copy_pack(source: ObjectStore, dest: ObjectStore, name: PackName) -> _CopiedPack | None:
    """Copy one pack, and return it as it is at *dest*; None if it is missing.

    An intact copy at *dest*, such as from an unfinished backup, stays if the store's pack is damaged. It may be the
    last intact one.
    """
    key = pack_key(name)
    data = _get(source, key)
    is_whole = data is not None and not check_bytes(name, data).damages
    there = None if is_whole else _get(dest, key)
    if there is not None and not check_bytes(name, there).damages:
        data = there
    if data is None:
        return None
    if data is not there:
        try:
            dest.put(key, [data])
        except ExistsError:
            # The copy is from an unfinished backup, or was damaged at *dest*.
            if dest.get(key) != data:
                dest.delete([key])
                dest.put(key, [data])
    return _CopiedPack(BackedUpPack(name, len(data), blake3(data).hexdigest()), is_whole)


def _get(objects: ObjectStore, key: str) -> bytes | None:
    try:
        return objects.get(key)
    except ObjectNotFoundError:
        return None


def _is_deleted(backend: Backend, name: PackName) -> bool:
    with backend.catalog.read() as connection:
        return states_of(connection, [name]).get(name) == DELETED


def _key_of(backup_id: str, table: str) -> str:
    return f"tables/{backup_id}/{table}.jsonl.zst"
