"""Deleting old backups at a place, and the packs that no other backup there has.

Source: docs/spec/backup-v1.md, "Pruning".
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from versioned_io.errors import IntegrityError, ObjectNotFoundError, StorageError
from versioned_io.maintenance.backup.destination import (
    BackupManifest,
    list_backups,
    manifest_key,
    packs_of_backup,
    read_manifest,
)
from versioned_io.model.identifiers import new_uuid7
from versioned_io.model.places import pack_key, parse_pack_key
from versioned_io.model.retention import RetentionRule
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.objects.probing import store_time

_PRUNING: Final = "pruning/"
_TABLES: Final = "tables/"
_ON_ITS_WAY: Final = timedelta(days=1)
"""A younger object that no backup names may belong to a backup that is being made."""

_AT_WORK: Final = timedelta(hours=1)
"""A prune that noted its work longer ago has died."""

_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class PruneReport:
    """The backups and packs that a prune deleted, or with ``dry_run`` would delete.

    Attributes:
        kept, deleted: Backups, by their IDs, oldest first.
        packs, packs_bytes: The packs that were deleted, since no kept backup has them.
    """

    kept: tuple[str, ...]
    deleted: tuple[str, ...]
    packs: int
    packs_bytes: int
    dry_run: bool = False


def prune_place(objects: ObjectStore, rule: RetentionRule, now: datetime, *, dry_run: bool = False) -> PruneReport:
    """Delete the backups at a place that *rule* does not keep, and everything that no kept backup has.

    The newest backup that lacks nothing always stays. A backup that is being made at the same time is whole, or fails.
    A crash leaves every kept backup whole; the next call deletes the rest, an hour later.

    Raises:
        IntegrityError: A backup there can't be read, and it may need any pack; nothing was deleted.
        StorageError: Another prune is at work, or the place failed.

    Cost: 2 GETs for each backup; 1 LIST for each 1,000 objects; 1 PUT; 1 HEAD and 1 DELETE for each 500 objects.
    """
    time = store_time(objects)
    interrupted = _dead_prunes(objects, time)
    manifests = [read_manifest(objects, one) for one in list_backups(objects)]
    needs = {one.id: _needs(objects, one) for one in manifests}
    there = {info.key: info for prefix in ("packs/", _TABLES) for info in objects.list(prefix) if _is_ours(info.key)}
    kept = _kept(manifests, rule, now, whole={one for one, keys in needs.items() if keys <= there.keys()})
    doomed = [one for one in manifests if one not in kept]
    needed = {key for one in kept for key in needs[one.id]}
    given_up = {key for one in doomed for key in needs[one.id]} | {key for keys in interrupted.values() for key in keys}
    sizes = {
        key: info.size_bytes
        for key, info in there.items()
        if key not in needed and (key in given_up or info.modified_at < time - _ON_ITS_WAY)
    }
    if not dry_run:
        note = f"{_PRUNING}{new_uuid7()}.json"
        objects.put(note, [json.dumps(sorted(sizes)).encode()])
        # The note first, then the backups: a backup puts its manifest, and looks for notes and then for its parts.
        newer = [read_manifest(objects, one) for one in list_backups(objects) if one not in needs]
        for key in {key for one in newer for key in _needs(objects, one)} & sizes.keys():
            del sizes[key]
        _delete(objects, [manifest_key(one.id) for one in doomed])
        _delete(objects, list(sizes), note)
        _delete(objects, [*interrupted, note])
    packs = [size for key, size in sizes.items() if parse_pack_key(key) is not None]
    return PruneReport(
        kept=tuple(one.id for one in kept),
        deleted=tuple(one.id for one in doomed),
        packs=len(packs),
        packs_bytes=sum(packs),
        dry_run=dry_run,
    )


def keys_being_pruned(objects: ObjectStore) -> set[str]:
    """Return the objects that prunes are deleting, or were when they died. Cost: 1 LIST; 1 GET for each such prune."""
    return {key for _, keys in _notes(objects) for key in keys}


def _is_ours(key: str) -> bool:
    return key.startswith(_TABLES) or parse_pack_key(key) is not None


def _needs(objects: ObjectStore, manifest: BackupManifest) -> set[str]:
    """Return the keys of all objects that a backup is made of, without its manifest."""
    packs = {pack_key(pack.name) for pack in packs_of_backup(objects, manifest)}
    return packs | manifest.part_keys


def _kept(
    manifests: Sequence[BackupManifest], rule: RetentionRule, now: datetime, *, whole: Collection[str]
) -> list[BackupManifest]:
    """Return the backups that stay: the newest ones, of which only whole ones count, and the young ones."""
    counted = [one.id for one in manifests if one.id in whole][-max(rule.keep_last or 1, 1) :]
    oldest = counted[0] if counted else ""
    young = None if rule.keep_for_s is None else now - timedelta(seconds=rule.keep_for_s)
    return [one for one in manifests if one.id >= oldest or (young is not None and one.created_at > young)]


def _dead_prunes(objects: ObjectStore, time: datetime) -> dict[str, list[str]]:
    """Return the notes of prunes that died, each with the keys that it was deleting."""
    since = {info.key: info.modified_at for info in objects.list(_PRUNING)}
    working = [key for key, at in since.items() if at > time - _AT_WORK]
    if working:
        msg = (
            f"another prune of {objects.url} began at {since[working[0]]:%Y-%m-%d %H:%M} UTC: wait for its end; "
            "one that died is finished by any prune an hour later"
        )
        raise StorageError(msg)
    return {note: keys for note, keys in _notes(objects) if note in since}


def _notes(objects: ObjectStore) -> Iterator[tuple[str, list[str]]]:
    for info in objects.list(_PRUNING):
        try:
            keys = json.loads(objects.get(info.key))
        except ObjectNotFoundError:
            continue  # it came to its end
        except ValueError as error:
            msg = f"{info.key} at {objects.url} is damaged: delete it, when no prune is running"
            raise IntegrityError(msg) from error
        yield info.key, [str(one) for one in keys if _is_ours(str(one))]


def _delete(objects: ObjectStore, keys: Sequence[str], note: str | None = None) -> None:
    """Delete objects; if given, only while *note* exists: without it, later backups may have the same keys again."""
    rest = iter(keys)
    while batch := list(islice(rest, _BATCH)):
        if note is not None:
            _refuse_overtaken(objects, note)
        objects.delete(batch)


def _refuse_overtaken(objects: ObjectStore, note: str) -> None:
    try:
        objects.size(note)
    except ObjectNotFoundError as error:
        msg = f"this prune of {objects.url} paused for so long that another one finished its work: prune again"
        raise StorageError(msg) from error
