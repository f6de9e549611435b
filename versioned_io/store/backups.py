"""The backups at a place, without the store that they are of: listing, verifying and deleting them."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from versioned_io.errors import InvalidInputError, ObjectNotFoundError
from versioned_io.model.arguments import check_callable, parse_duration, parse_flag, parse_optional_count
from versioned_io.model.retention import RetentionRule
from versioned_io.platform.clock import Clock, system_clock
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.objects.schemes import open_objects

if TYPE_CHECKING:
    from versioned_io.maintenance.backup.destination import BackupManifest
    from versioned_io.maintenance.backup.pruning import PruneReport
    from versioned_io.maintenance.backup.verifying import VerifyReport


def list_backups(place: str | Path, *, storage_options: Mapping[str, str] | None = None) -> "list[BackupManifest]":
    """Return the backups at *place*, oldest first.

    >>> _ = store.backup("backups")
    >>> len(vio.list_backups("backups"))
    1

    Args:
        place: Where `Store.backup` put them.
        storage_options: As for `create_store`.

    Raises:
        InvalidInputError: There are no backups.
        IntegrityError: One can't be read; `verify_backups` names each.
        StorageError: The place failed; call again.

    Cost: 1 LIST; 1 GET, and 1 for each backup.
    """
    from versioned_io.maintenance.backup import destination

    objects = open_backups(place, storage_options)
    return [destination.read_manifest(objects, one) for one in destination.list_backups(objects)]


def verify_backups(
    place: str | Path,
    *,
    storage_options: Mapping[str, str] | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> "VerifyReport":
    """Read every byte of all backups at *place*, compare each with its digest, and change nothing.

    >>> _ = store.backup("backups")
    >>> vio.verify_backups("backups").problems
    ()

    Args:
        place, storage_options: As for `list_backups`.
        progress: Called with ``packs`` and how many were read.

    Raises:
        InvalidInputError: There are no backups.
        FormatError: A newer version made some of them; upgrade.
        StorageError: The place failed; call again.

    Cost: 1 GET for each object at *place*.
    """
    from versioned_io.maintenance.backup.verifying import verify_place

    check_callable(progress, "progress")
    return verify_place(open_backups(place, storage_options), progress=progress or (lambda *_: None))


def prune_backups(
    place: str | Path,
    *,
    keep_last: int | None = None,
    keep_for: timedelta | None = None,
    dry_run: bool = False,
    storage_options: Mapping[str, str] | None = None,
    clock: Clock = system_clock,
) -> "PruneReport":
    """Delete old backups at *place*, and the packs that no kept backup has. The newest backup always stays.

    A backup may be made at the same time. A crash leaves every kept backup whole.

    >>> _ = store.backup("backups"), store.backup("backups")
    >>> len(vio.prune_backups("backups", keep_last=1).deleted)
    1

    Args:
        place, storage_options: As for `list_backups`.
        keep_last: Keep at least this many of the newest backups.
        keep_for: Keep backups that are younger than this.
        dry_run: Change nothing, and report what would be deleted.

    Raises:
        InvalidInputError: There are no backups, or neither *keep_last* nor *keep_for* is given.
        IntegrityError: A backup can't be read, and it may need any pack; nothing was deleted.
        StorageError: Another prune is running, or the place failed; call again.

    Cost: 2 GETs for each backup; 1 LIST for each 1,000 objects; 1 DELETE for each 500 deleted objects.
    """
    from versioned_io.maintenance.backup.pruning import prune_place

    parse_optional_count(keep_last, "keep_last")
    keep_for_s = None if keep_for is None else parse_duration(keep_for, "keep_for").total_seconds()
    rule = RetentionRule(keep_last, keep_for_s)
    parse_flag(dry_run, "dry_run")
    return prune_place(open_backups(place, storage_options), rule, clock(), dry_run=dry_run)


def open_backups(place: str | Path, storage_options: Mapping[str, str] | None) -> ObjectStore:
    """Return the objects of a place that holds backups.

    Raises:
        InvalidInputError: There are no backups.

    Cost: 1 GET.
    """
    from versioned_io.maintenance.backup.destination import read_place

    objects = open_objects(place, storage_options)
    try:
        read_place(objects)
    except ObjectNotFoundError as error:
        msg = f"there are no backups at {objects.url}"
        raise InvalidInputError(msg) from error
    return objects
