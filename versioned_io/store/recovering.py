"""Bringing a store back: upgrading, rebuilding, recovering, restoring and adopting it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from versioned_io.catalog.connect import Catalog, connect_catalog
from versioned_io.catalog.noting import known_beacons
from versioned_io.catalog.revisions import REVISION, check_revision, find_revision, migrate
from versioned_io.errors import (
    ExistsError,
    FormatError,
    InvalidInputError,
    StoreNotFoundError,
)
from versioned_io.model.arguments import parse_items
from versioned_io.model.identifiers import CommitId
from versioned_io.platform.clock import Clock, system_clock
from versioned_io.storage.beacons import (
    BeaconListing,
    delete_beacons,
    list_beacons,
)
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.objects.schemes import open_objects
from versioned_io.store.backups import open_backups
from versioned_io.store.locating import catalog_url_of, check_store_id, connect_catalog_of, make_store_directory
from versioned_io.store.marker import put_marker, read_marker
from versioned_io.store.opening import open_store
from versioned_io.versioning.backend.ownership import UNHELD, adopt, read_properties, take_over

if TYPE_CHECKING:
    from versioned_io.maintenance.backup.destination import BackupManifest
    from versioned_io.maintenance.backup.restoring import RestoreReport
    from versioned_io.maintenance.rebuild.rebuilding import RebuildReport
    from versioned_io.maintenance.rebuild.recovery import RecoverReport


def upgrade_store(
    url: str | Path, *, catalog: str | None = None, storage_options: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """Bring the catalog of the store at *url* to the revision that this version needs; return the old and the new one.

    Everything that the catalog says stays true. All or nothing: a crash leaves the old revision.

    >>> vio.create_store("data").close()
    >>> before, after = vio.upgrade_store("data")
    >>> before == after
    True

    Raises:
        StoreNotFoundError: There is no store.
        FormatError: The catalog is missing, or of a newer revision; rebuild it, or upgrade versioned-io.
        InvalidInputError: The catalog belongs to another store.
        StorageError: The objects or the catalog are out of reach.

    Cost: 1 GET, 2 SELECTs, 1 SQL transaction; of an older catalog also the migrations.
    """
    objects = open_objects(url, storage_options)
    marker = read_marker(objects)
    if marker is None:
        raise StoreNotFoundError(objects.url)
    found = connect_catalog_of(objects, catalog)
    try:
        before = None if found.is_missing else find_revision(found)
        if before is None:
            msg = (
                f"the catalog {found.url} of the store {objects.url} is missing or empty: "
                f"pass the right URL (--catalog or VERSIONED_CATALOG); "
                f"if that catalog is lost, run `versioned rebuild`"
            )
            raise FormatError(msg)
        if before > REVISION:
            check_revision(found)
        check_store_id(found, objects, marker.store_id)
        migrate(found)
        return before, REVISION
    finally:
        found.close()


def rebuild_store(
    url: str | Path,
    *,
    catalog: str | None = None,
    storage_options: Mapping[str, str] | None = None,
    clock: Clock = system_clock,
    progress: Callable[[int], None] | None = None,
) -> "RebuildReport":
    """Rebuild the lost catalog of the store at *url* from its packs alone; see `rebuild_catalog`.

    >>> from pathlib import Path
    >>> with vio.create_store("data") as made:
    ...     _ = made.create_repo("weather")
    >>> Path("data/catalog.db").unlink()
    >>> vio.rebuild_store("data").repos
    1

    Args:
        catalog: The place of the new catalog, as for `create_store`; it must be empty or missing.

    Raises:
        StoreNotFoundError: There is no store.
        InvalidInputError: The catalog holds repos already: move it away first.
        StorageError: The objects or the catalog are out of reach.

    Cost: 1 LIST for each 1,000 packs; 1 HEAD and 2 to 4 GETs for each.
    """
    from versioned_io.maintenance.rebuild.rebuilding import begin_rebuild, rebuild_catalog

    objects = open_objects(url, storage_options)
    marker = read_marker(objects)
    if marker is None:
        raise StoreNotFoundError(objects.url)
    # Before the packs: the pack of whatever was acknowledged is then among them, if it is anywhere.
    listing = list_beacons(objects)
    found = connect_catalog_of(objects, catalog)
    try:
        begin_rebuild(found, marker.store_id)
        report = rebuild_catalog(objects, found, clock(), listing=listing, progress=progress)
        is_owner = take_over(objects, found, listing)
        if is_owner:
            _forget_lost(objects, found, listing)
        return replace(report, is_owner=is_owner)
    finally:
        found.close()


def recover_store(
    url: str | Path,
    *,
    catalog: str | None = None,
    storage_options: Mapping[str, str] | None = None,
    add: Iterable[str] = (),
    dry_run: bool = False,
    clock: Clock = system_clock,
    progress: Callable[[int], None] | None = None,
) -> "RecoverReport":
    """Add what the packs know to the older catalog of the store at *url*; see `recover_catalog`.

    Afterwards the store can be written to again, and nothing is missing that was acknowledged and is in a pack. From
    a catalog that does not own the store, nothing is written to the store. Then `adopt_store` creates the branches that
    other lines of history need.

    >>> from pathlib import Path
    >>> with vio.create_store("data") as made:
    ...     _ = made.create_repo("weather")
    >>> older = Path("data/catalog.db").read_bytes()
    >>> with vio.open_store("data") as opened:
    ...     _ = opened.create_repo("reports")
    >>> _ = Path("data/catalog.db").write_bytes(older)
    >>> vio.recover_store("data").repos
    1

    Args:
        url, catalog, storage_options: As for `create_store`.
        add: IDs of more commits to add: those that an earlier report lists as *left_out*, and `gc` as *unclear*.
            Nothing in the store shows that they were acknowledged. A branch ``recovered/…`` holds one that its own
            branch can't take.
        dry_run: Change nothing, and report what would be added.
        progress: Called with the number of packs that were read.

    Raises:
        StoreNotFoundError: There is no store.
        InvalidInputError: The catalog is empty, half-made, or another store's: rebuild it, or pass the right one. Or a
            commit of *add* is in no pack, or was replaced or disowned: nothing changed.
        NotOwnerError: Another catalog owns the store, and *add* is not empty. Run `adopt_store` first.
        FormatError: The catalog is missing or of another revision; rebuild or upgrade it.
        StorageError: The objects or the catalog are out of reach; nothing changed.

    Cost: 1 LIST and 1 GET for nearly each pack, 1 SQL transaction.
    """
    from versioned_io.maintenance.rebuild.recovery import recover_catalog

    chosen = [CommitId(one) for one in parse_items(add, str, "add")]
    objects = open_objects(url, storage_options)
    marker = read_marker(objects)
    if marker is None:
        raise StoreNotFoundError(objects.url)
    # Before the packs: the pack of whatever was acknowledged is then among them, if it is anywhere.
    listing = list_beacons(objects)
    found = connect_catalog(catalog_url_of(objects, catalog))
    try:
        if found.is_missing or not check_revision(found):
            msg = f"the catalog {found.url} of the store {objects.url} is missing or empty: run `versioned rebuild`"
            raise FormatError(msg)
        check_store_id(found, objects, marker.store_id)
        report = recover_catalog(
            objects, found, clock(), listing=listing, add=chosen, dry_run=dry_run, progress=progress
        )
        if not dry_run:
            _forget_lost(objects, found, listing)
        return report
    finally:
        found.close()


def restore_store(
    source: str | Path,
    dest: str | Path,
    *,
    catalog: str | None = None,
    at: str | None = None,
    source_options: Mapping[str, str] | None = None,
    storage_options: Mapping[str, str] | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> "RestoreReport":
    """Create a store at *dest* from a backup, with all its content: commits, names, lineage, subscriptions.

    The new store is independent, since the original may still be in use. Every byte is compared with its digest. If a
    call fails or is interrupted, a repeated call continues it. Until then the store does not open.

    >>> _ = store.backup("backups")
    >>> vio.restore_store("backups", "restored").damaged
    ()
    >>> with vio.open_store("restored") as restored:
    ...     restored.commit("weather@main").message
    'correct February'

    Args:
        source: The place to which `Store.backup` has written.
        dest: As the *url* of `create_store`; it must be empty.
        catalog: As for `create_store`; it must be empty or missing, of either kind, whichever was backed up.
        at: The backup's ID, or a time, which selects the newest backup that is not younger. None is the newest.
        source_options, storage_options: For *source* and for *dest*, as for `create_store`.
        progress: Called with the stage, ``packs`` or ``tables``, and the number of restored ones.

    Raises:
        ExistsError: *dest* is not empty.
        InvalidInputError: There is no such backup, the catalog holds repos, or *dest* lies inside of *source*.
        IntegrityError: The backup is damaged; restore another one.
        FormatError: It was made by a newer version; upgrade.
        StorageError: A place or the catalog failed; call again.

    Cost: 1 GET and 1 PUT for each pack, 1 GET for each table, 1 SQL transaction.
    """
    from versioned_io.maintenance.backup.destination import choose_backup, refuse_nested
    from versioned_io.maintenance.backup.restoring import (
        RESTORING_KEY,
        RestoreReport,
        claim_place,
        is_begun,
        restore_catalog,
        restore_packs,
    )

    backups = open_backups(source, source_options)
    manifest = choose_backup(backups, at)
    objects = open_objects(dest, storage_options)
    refuse_nested(backups, objects)
    if read_marker(objects) is not None:
        return _finish_restored(objects, manifest)
    begun = is_begun(objects, manifest)
    if isinstance(objects, LocalObjects):
        make_store_directory(Path(objects.url), "packs")
    if not begun:
        claim_place(objects, manifest)
    report = progress or (lambda *_: None)
    copied = restore_packs(backups, objects, manifest, report)
    found = connect_catalog_of(objects, catalog)
    try:
        rows = restore_catalog(backups, found, manifest, report)
        take_over(objects, found, list_beacons(objects))
        put_marker(objects, manifest.store_id)
    finally:
        found.close()
    objects.delete([RESTORING_KEY])
    return RestoreReport(manifest.id, manifest.packs.rows, copied, rows, manifest.damaged)


def _finish_restored(objects: ObjectStore, manifest: "BackupManifest") -> "RestoreReport":
    """Finish a restore that was interrupted after everything was copied; refuse any other store."""
    from versioned_io.maintenance.backup.restoring import RESTORING_KEY, RestoreReport, is_begun

    try:
        begun = is_begun(objects, manifest)
    except InvalidInputError:
        begun = False
    if not begun:
        raise ExistsError("store", objects.url)
    objects.delete([RESTORING_KEY])
    rows = sum(part.rows for part in manifest.tables.values())
    return RestoreReport(manifest.id, manifest.packs.rows, 0, rows, manifest.damaged)


def adopt_store(
    url: str | Path, *, catalog: str | None = None, storage_options: Mapping[str, str] | None = None
) -> bool:
    """Make this catalog the owner of the store at *url*; return False when it is the owner already.

    The previous owner can then only read, which it detects at its next write. Of several calls at once, one succeeds.
    Branches that a recovery or a rebuild could not create, since this catalog was not the owner, are created now. A
    call that dies before that is completed by a repeated one.

    >>> with vio.create_store("data") as made:
    ...     _ = made.create_repo("weather")
    >>> vio.adopt_store("data")
    False

    Args:
        url, catalog, storage_options: As for `create_store`.

    Raises:
        StoreNotFoundError: There is no store.
        CatalogOlderError: The catalog lacks acknowledged commits; run `versioned recover` first.
        NotOwnerError: Another call was first.
        FormatError, InvalidInputError, StorageError: As for `open_store`.

    Cost: as `open_store`, 1 SELECT, and 1 SQL transaction; where another catalog is the owner, also 1 PUT and 3 GETs.
        The cost of `recover_store` if branches must be created.
    """
    with open_store(url, catalog=catalog, storage_options=storage_options) as store:
        backend = store._backend  # noqa: SLF001 (the front door has no other way to its parts)
        is_new = adopt(backend.objects, replace(backend.catalog, watch=None))
        with backend.catalog.read() as connection:
            is_unheld = UNHELD in read_properties(connection)
    if is_unheld:
        recover_store(url, catalog=catalog, storage_options=storage_options)
    return is_new


def _forget_lost(objects: ObjectStore, catalog: Catalog, listing: BeaconListing) -> None:
    """Delete the beacons of commits and entries that are in no pack any more: nothing can restore those."""
    with catalog.read() as connection:
        known = known_beacons(connection, listing.beacons)
    delete_beacons(objects, listing.beacons - known)
