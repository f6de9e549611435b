"""Making and opening stores: where the objects and the catalog are, and whether this version can read them."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from versioned_io.catalog.connect import Catalog
from versioned_io.catalog.damage_notes import CatalogDamages
from versioned_io.catalog.revisions import check_revision, migrate
from versioned_io.errors import (
    CatalogOlderError,
    ExistsError,
    FormatError,
    InvalidInputError,
    StorageError,
    StoreNotFoundError,
)
from versioned_io.maintenance.upkeep.neglect import neglect_of
from versioned_io.model.arguments import parse_flag
from versioned_io.model.commits import Commit
from versioned_io.platform.clock import Clock, system_clock
from versioned_io.storage.beacons import (
    BeaconListing,
    list_allowed_beacons,
)
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.storage.elsewhere import Elsewhere
from versioned_io.storage.objects.cached import DEFAULT_CACHE_BYTES
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.objects.mount import remove_directories
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.store import Store
from versioned_io.store.locating import (
    Sources,
    check_store_id,
    claim_catalog,
    connect_catalog_of,
    make_store_directory,
    open_objects_of,
)
from versioned_io.store.marker import STORE_FORMAT, put_marker, read_marker
from versioned_io.versioning.backend.address import Address
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.backend.watch import CatalogWatch

_log = logging.getLogger(__name__)


def create_store(
    url: str | Path,
    *,
    catalog: str | None = None,
    storage_options: Mapping[str, str] | None = None,
    cache: str | Path | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    sources: Sources | None = None,
    clock: Clock = system_clock,
) -> Store:
    """Make an empty store and open it.

    >>> with vio.create_store("data") as made:
    ...     made.create_repo("weather").name
    'weather'

    Args:
        url: A directory, ``s3://bucket/prefix``, ``gs://...``, ``az://...``, or ``memory://name`` for this
            process only.
        catalog: The SQLAlchemy URL of the catalog, such as ``postgresql+psycopg://user@host/database``. By default
            SQLite inside the directory; a store that is not a directory needs one.
        storage_options: For S3, Google Cloud Storage and Azure: credentials, endpoint, time limits, as text. By default
            boto3's chain of credentials for S3, and the environment for the others. See
            `versioned_io.storage.objects.clients`.
        cache: A local directory that keeps what was read of a remote store, and is not used for others; None for none.
        cache_bytes: How much it keeps.
        sources: The places outside the store from which referenced files may be read, each with its storage options. A
            place is ``s3://bucket/prefix/``, ``gs://...``, ``az://...``, ``file:///directory/`` or a local path.
            Everything below a place may be read. If several places fit, the longest gives the options. They are not
            stored.
        clock: The function that returns the time.

    Raises:
        ExistsError: There is a store already; open it.
        InvalidInputError: *url*, *catalog* or *sources* is malformed, *catalog* is missing, or it is another store's.
        StorageError: The place can't be written to, or the catalog can't be reached; nothing is half made that a
            second call can't complete.

    Cost: 1 GET, 1 PUT, 2 SQL transactions, whose statements make the tables. A remote store takes 2 more PUTs and 1
        DELETE, to test whether it refuses to overwrite, and 1 GET if it does not.
    """
    elsewhere = Elsewhere(sources)
    objects = open_objects_of(url, storage_options, cache, cache_bytes)
    if read_marker(objects) is not None:
        raise ExistsError("store", objects.url)
    address = Address.of(
        objects.url,
        catalog=catalog,
        storage_options=storage_options,
        cache=cache,
        cache_bytes=cache_bytes,
        sources=sources,
        clock=clock,
    )
    # With the directory of the packs, which the store's owner is recognised by.
    made = make_store_directory(Path(objects.url), "packs") if isinstance(objects, LocalObjects) else []
    try:
        return _create_at(objects, catalog, elsewhere, address)
    except BaseException:
        remove_directories(made, Path(objects.url))
        raise


def _create_at(objects: ObjectStore, catalog: str | None, elsewhere: Elsewhere, address: Address) -> Store:
    found = connect_catalog_of(objects, catalog)
    try:
        migrate(found)
        store_id = claim_catalog(found, objects.url)
        # The marker is written last: without it there is no store, and this call can be repeated.
        put_marker(objects, store_id)
    except ExistsError as error:
        found.close()
        raise ExistsError("store", objects.url) from error
    except BaseException:
        found.close()
        raise
    return assemble_store(objects, found, elsewhere, address, BeaconListing())


def open_store(
    url: str | Path,
    *,
    catalog: str | None = None,
    storage_options: Mapping[str, str] | None = None,
    cache: str | Path | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    sources: Sources | None = None,
    clock: Clock = system_clock,
    run_triggers: bool = False,
) -> Store:
    """Open the store at *url*, after checking that this version can read it.

    A catalog that lacks acknowledged commits, for instance after a restore from a backup, can be read. A warning is
    logged, `Store.warning` holds it, and every write raises `CatalogOlderError`.

    >>> vio.create_store("data").close()
    >>> with vio.open_store("data") as opened:
    ...     opened.repos()
    []

    Args:
        url, catalog, storage_options, cache, cache_bytes, sources, clock: As for `create_store`.
        run_triggers: Evaluate the triggers after each commit of this handle, in the thread that commits: see
            `Store.run_triggers`. A failure is logged as one warning, and the commit stands.

    Raises:
        StoreNotFoundError: There is none; make it with `create_store`.
        FormatError: It is of a newer format, or its catalog of another revision; the message says what to run.
        InvalidInputError: *url*, *catalog* or *sources* is malformed, or the catalog belongs to another store.
        StorageError: The objects or the catalog are out of reach.

    One line is logged where maintenance is overdue; nothing is maintained here.

    Cost: 1 GET, 3 or 4 SELECTs, and 1 listing of the beacons.
    """
    parse_flag(run_triggers, "run_triggers")
    elsewhere = Elsewhere(sources)
    objects = open_objects_of(url, storage_options, cache, cache_bytes)
    marker = read_marker(objects)
    if marker is None:
        raise StoreNotFoundError(objects.url)
    if marker.format > STORE_FORMAT:
        msg = (
            f"the store {objects.url} has format {marker.format}, this version reads up to {STORE_FORMAT}: "
            f"upgrade versioned-io"
        )
        raise FormatError(msg)
    # This reads before the catalog, so that the catalog knows everything that is acknowledged meanwhile.
    listing = list_allowed_beacons(objects)
    found = connect_catalog_of(objects, catalog)
    try:
        if found.is_missing or not check_revision(found):
            state = "missing" if found.is_missing else "empty"
            msg = (
                f"the catalog {found.url} of the store {objects.url} is {state}: "
                f"pass the right URL (--catalog or VERSIONED_CATALOG); "
                f"if that catalog is lost, run `versioned rebuild`"
            )
            raise FormatError(msg)
        check_store_id(found, objects, marker.store_id)
        address = Address.of(
            objects.url,
            catalog=catalog,
            storage_options=storage_options,
            cache=cache,
            cache_bytes=cache_bytes,
            sources=sources,
            clock=clock,
        )
        opened = assemble_store(objects, found, elsewhere, address, listing)
    except BaseException:
        found.close()
        raise
    if run_triggers:
        opened.after_commit(partial(_run_triggers, opened))
    if opened.warning is not None:
        _log.warning("%s", opened.warning)
    if (neglect := neglect_of(found, clock)) is not None:
        _log.warning("%s: %s", objects.url, neglect)
    return opened


def open_or_create_store(
    url: str | Path,
    *,
    catalog: str | None = None,
    storage_options: Mapping[str, str] | None = None,
    cache: str | Path | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    sources: Sources | None = None,
    clock: Clock = system_clock,
) -> Store:
    """Open the store at *url*, made first if there is none; several processes may call this at once.

    >>> vio.open_or_create_store("data").close()
    >>> with vio.open_or_create_store("data") as opened:
    ...     opened.repos()
    []

    Raises:
        FormatError, InvalidInputError, StorageError: As for `open_store` and `create_store`.

    Cost: as `open_store`; the first time as `create_store`.
    """

    def reach(how: Callable[..., Store]) -> Store:
        return how(
            url,
            catalog=catalog,
            storage_options=storage_options,
            cache=cache,
            cache_bytes=cache_bytes,
            sources=sources,
            clock=clock,
        )

    try:
        return reach(open_store)
    except StoreNotFoundError:
        try:
            return reach(create_store)
        except ExistsError:
            return reach(open_store)


def _run_triggers(store: Store, commits: tuple[Commit, ...]) -> None:
    from versioned_io.processing.triggers.firing import evaluate_after

    evaluate_after(store._backend, commits)  # noqa: SLF001 (it was opened here)


def open_backend(address: Address) -> Backend:
    """Return the parts of the store at *address*, opened in this process; only what is unpickled calls this.

    Raises:
        StorageError: It can't be reached; the message says which secrets were not pickled and where they are found.
        VersionedError: As `open_store`.

    Cost: as `open_store`.
    """
    try:
        opened = open_store(
            address.url,
            catalog=address.resolve_catalog(),
            storage_options=address.resolve_options(),
            cache=address.cache,
            cache_bytes=address.cache_bytes,
            sources=address.resolve_sources(),
            clock=address.clock,
        )
    except (StorageError, InvalidInputError) as error:
        if not address.withheld:
            raise
        msg = f"{error}{address.explain()}"
        raise StorageError(msg) from error
    return opened._backend  # noqa: SLF001 (it was opened for its parts)


def assemble_store(
    objects: ObjectStore, catalog: Catalog, elsewhere: Elsewhere, address: Address, listing: BeaconListing
) -> Store:
    """Return the store of these parts, watched for a catalog that is older than the beacons of *listing*.

    Cost: 1 SELECT where there are beacons; else none.
    """
    clock = address.clock
    watch = CatalogWatch(objects, catalog, listing)
    watched = replace(catalog, watch=watch)
    damages = CatalogDamages(watched, clock)
    reader = ChunkReader(objects, elsewhere, damages=damages)
    pages = PageSource(objects, damages=damages)
    backend = Backend(objects, watched, pages, reader, clock, elsewhere, address=address)
    return Store(objects.url, backend, warning=_warning(catalog, watch))


def _warning(catalog: Catalog, watch: CatalogWatch) -> str | None:
    """Return what is wrong with a catalog that can be read all the same."""
    if not watch.has_beacons:
        return None
    with catalog.ask(is_one_state=False) as connection:
        try:
            watch.refuse_older(connection)
        except CatalogOlderError as error:
            return str(error)
    return None
