"""Making and opening stores: where the objects and the catalog are, and whether this version can read them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from sqlalchemy import URL, insert, select

from versioned_io.arguments import parse_count, parse_local_path
from versioned_io.backend import Backend
from versioned_io.catalog.connect import (
    REVISION,
    Catalog,
    check_revision,
    connect_catalog,
    find_revision,
    migrate,
    sqlite_url,
)
from versioned_io.catalog.tables import properties
from versioned_io.chunks.reader import ChunkReader
from versioned_io.clock import Clock, system_clock
from versioned_io.elsewhere import Elsewhere
from versioned_io.errors import (
    ExistsError,
    FormatError,
    InvalidInputError,
    ObjectNotFoundError,
    StorageError,
    StoreNotFoundError,
)
from versioned_io.identifiers import new_uuid7
from versioned_io.objects.cached import DEFAULT_CACHE_BYTES, CachedObjects
from versioned_io.objects.local import LocalObjects
from versioned_io.objects.location import open_objects
from versioned_io.objects.port import ObjectStore
from versioned_io.objects.probing import refuses_taken_keys
from versioned_io.pages.source import PageSource
from versioned_io.rebuild.catalog import RebuildReport, rebuild_catalog
from versioned_io.store import Store

STORE_FORMAT = 1
"""The format that this version writes, and the newest that it reads."""

MARKER_KEY = "versioned.json"
"""The one object that is no pack: it says that this is a store, which one, and of which format."""

Sources: TypeAlias = Mapping[str, Mapping[str, str]]
"""Storage options by place; see `create_store`."""

_CATALOG_FILE = "catalog.db"
_MEMORY = "memory://"
_memory_directories: dict[str, TemporaryDirectory[str]] = {}


@dataclass(frozen=True, slots=True)
class _Marker:
    format: int
    store_id: str


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

    Args:
        url: A directory, ``s3://bucket/prefix``, ``gs://...``, ``az://...``, or ``memory://name`` for this
            process only.
        catalog: The SQLAlchemy URL of the catalog, such as ``postgresql+psycopg://user@host/database``. By default
            SQLite inside the directory; a store that is not a directory needs one.
        storage_options: For S3, Google Cloud Storage and Azure: credentials, endpoint, time limits, as text. By default
            boto3's chain of credentials for S3, and the environment for the others. See `versioned_io.objects.clients`.
        cache: A local directory that keeps what was read of a remote store, and is not used for others; None for none.
        cache_bytes: How much it keeps.
        sources: The places outside of the store that files may be a reference to and are read from: storage options (as
            above) by ``s3://bucket/prefix/``, ``gs://...``, ``az://...``, ``file:///directory/`` or local path. All
            below a place may be read; of several that fit, the longest says which options. Nothing of this is stored.
        clock: What tells the time.

    Raises:
        ExistsError: There is a store already; open it.
        InvalidInputError: *url*, *catalog* or *sources* is malformed, or *catalog* is missing.
        StorageError: The place can't be written to, or the catalog can't be reached; nothing is half made that a
            second call can't complete.

    Cost: 1 GET, 1 PUT, 1 SQL transaction; of a remote store also 2 PUTs and 1 DELETE, to see whether it refuses to
        overwrite, and 1 GET if it does not.
    """
    elsewhere = Elsewhere(sources)
    objects = _open_objects(url, storage_options, cache, cache_bytes)
    if _read_marker(objects) is not None:
        raise ExistsError("store", objects.url)
    if isinstance(objects, LocalObjects):
        _make_directory(Path(objects.url))
    found = connect_catalog(_catalog_url(objects, catalog))
    try:
        migrate(found)
        store_id = _claim_catalog(found)
        # The marker comes last: without it there is no store, and this call can be made again.
        _put_marker(objects, store_id)
    except ExistsError as error:
        found.close()
        raise ExistsError("store", objects.url) from error
    except BaseException:
        found.close()
        raise
    return _assemble(objects, found, elsewhere, clock)


def open_store(
    url: str | Path,
    *,
    catalog: str | None = None,
    storage_options: Mapping[str, str] | None = None,
    cache: str | Path | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    sources: Sources | None = None,
    clock: Clock = system_clock,
) -> Store:
    """Open the store at *url*, after checking that this version can read it.

    Args:
        url, catalog, storage_options, cache, cache_bytes, sources, clock: As for `create_store`.

    Raises:
        StoreNotFoundError: There is none; make it with `create_store`.
        FormatError: It is of a newer format, or its catalog of another revision; the message says what to run.
        InvalidInputError: *url*, *catalog* or *sources* is malformed, or the catalog belongs to another store.
        StorageError: The objects or the catalog are out of reach.

    Cost: 1 GET, 3 SELECTs.
    """
    elsewhere = Elsewhere(sources)
    objects = _open_objects(url, storage_options, cache, cache_bytes)
    marker = _read_marker(objects)
    if marker is None:
        raise StoreNotFoundError(objects.url)
    if marker.format > STORE_FORMAT:
        msg = (
            f"the store {objects.url} has format {marker.format}, this version reads up to {STORE_FORMAT}: "
            f"upgrade versioned-io"
        )
        raise FormatError(msg)
    found = connect_catalog(_catalog_url(objects, catalog))
    try:
        if found.is_missing or not check_revision(found):
            state = "missing" if found.is_missing else "empty"
            msg = (
                f"the catalog {found.url} of the store {objects.url} is {state}: "
                f"check its URL, or rebuild it from the packs"
            )
            raise FormatError(msg)
        _check_store_id(found, objects, marker.store_id)
    except BaseException:
        found.close()
        raise
    return _assemble(objects, found, elsewhere, clock)


def upgrade_store(
    url: str | Path, *, catalog: str | None = None, storage_options: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """Bring the catalog of the store at *url* to the revision that this version needs; return the old and the new one.

    Everything that the catalog says stays true. All or nothing: a crash leaves the old revision.

    Raises:
        StoreNotFoundError: There is no store.
        FormatError: The catalog is missing, or of a newer revision; rebuild it, or upgrade versioned-io.
        InvalidInputError: The catalog belongs to another store.
        StorageError: The objects or the catalog are out of reach.

    Cost: 1 GET, 1 SQL transaction.
    """
    objects = open_objects(url, storage_options)
    marker = _read_marker(objects)
    if marker is None:
        raise StoreNotFoundError(objects.url)
    found = connect_catalog(_catalog_url(objects, catalog))
    try:
        before = None if found.is_missing else find_revision(found)
        if before is None:
            msg = (
                f"the catalog {found.url} of the store {objects.url} is missing or empty: check its URL, or rebuild it"
            )
            raise FormatError(msg)
        if before > REVISION:
            check_revision(found)
        _check_store_id(found, objects, marker.store_id)
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
) -> RebuildReport:
    """Make the lost catalog of the store at *url* again, from its packs alone; see `rebuild_catalog`.

    Args:
        catalog: Where it is to be, as for `create_store`; it must be empty or missing.

    Raises:
        StoreNotFoundError: There is no store.
        InvalidInputError: The catalog holds repos already: move it away first.
        StorageError: The objects or the catalog are out of reach.

    Cost: 1 LIST for each 1,000 packs; 1 HEAD and 2 to 4 GETs for each.
    """
    objects = open_objects(url, storage_options)
    marker = _read_marker(objects)
    if marker is None:
        raise StoreNotFoundError(objects.url)
    found = connect_catalog(_catalog_url(objects, catalog))
    try:
        migrate(found)
        _claim_catalog(found, marker.store_id)
        _check_store_id(found, objects, marker.store_id)
        return rebuild_catalog(objects, found, clock(), progress=progress)
    finally:
        found.close()


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


def _open_objects(
    url: str | Path, options: Mapping[str, str] | None, cache: str | Path | None, cache_bytes: int
) -> ObjectStore:
    objects = open_objects(url, options)
    limit_bytes = parse_count(cache_bytes, "cache_bytes")
    directory = None if cache is None else Path(parse_local_path(cache, "cache"))
    # What lies on this machine is read where it is.
    if directory is None or not objects.is_remote:
        return objects
    return CachedObjects(objects, directory, limit_bytes=limit_bytes)


def _assemble(objects: ObjectStore, catalog: Catalog, elsewhere: Elsewhere, clock: Clock) -> Store:
    reader = ChunkReader(objects, elsewhere)
    return Store(objects.url, Backend(objects, catalog, PageSource(objects), reader, clock, elsewhere))


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        msg = f"can't make a store at {str(path)!r}: there is a file in the way; choose another directory"
        raise InvalidInputError(msg) from error
    except OSError as error:
        msg = f"can't make a store at {str(path)!r}: {error.strerror}"
        raise StorageError(msg) from error


def _read_marker(objects: ObjectStore) -> _Marker | None:
    try:
        payload = objects.get(MARKER_KEY)
    except ObjectNotFoundError:
        return None
    try:
        marker = json.loads(payload)
        return _Marker(int(marker["format"]), str(marker["store_id"]))
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{MARKER_KEY} at {objects.url} is no store's marker ({error}): is this another program's directory?"
        raise FormatError(msg) from error


def _put_marker(objects: ObjectStore, store_id: str) -> None:
    """Make this a store, and record whether its server refuses to overwrite objects.

    Raises:
        ExistsError: Another call has just done so.
    """
    marker: dict[str, object] = {"format": STORE_FORMAT, "store_id": store_id, "made_by": new_uuid7()}
    if objects.is_remote:
        marker["refuses_taken_keys"] = refuses_taken_keys(objects)
    written = json.dumps(marker, sort_keys=True).encode()
    try:
        objects.put(MARKER_KEY, [written])
    except ExistsError:
        # Our own: an earlier try of the store's client arrived and its reply was lost.
        if objects.get(MARKER_KEY) != written:
            raise
    # Where the server overwrites: of two calls that met, the one whose marker did not stay is told.
    if not marker.get("refuses_taken_keys", True) and objects.get(MARKER_KEY) != written:
        raise ExistsError("store", objects.url)


def _catalog_url(objects: ObjectStore, catalog: str | None) -> str | URL:
    if catalog is not None:
        return catalog if isinstance(catalog, URL) else parse_local_path(catalog, "catalog")
    if objects.url.startswith(_MEMORY):
        return sqlite_url(_memory_directory(objects.url) / _CATALOG_FILE)
    if not isinstance(objects, LocalObjects):
        msg = f"the store {objects.url} needs a catalog: pass catalog='postgresql+psycopg://user@host/database'"
        raise InvalidInputError(msg)
    return sqlite_url(Path(objects.url) / _CATALOG_FILE)


def _memory_directory(url: str) -> Path:
    """Return the directory for the catalog of a store in memory; SQLite serves several threads only from a file."""
    if url not in _memory_directories:
        _memory_directories[url] = TemporaryDirectory(prefix="versioned-io-")
    return Path(_memory_directories[url].name)


def _claim_catalog(catalog: Catalog, store_id: str | None = None) -> str:
    """Return the ID of the store that the catalog belongs to: *store_id*, or a new one, if it belongs to none."""
    chosen = store_id or new_uuid7()
    with catalog.write() as connection:
        found = connection.execute(
            select(properties.c.value).where(properties.c.name == "store_id")
        ).scalar_one_or_none()
        if found is None:
            connection.execute(insert(properties).values(name="store_id", value=chosen))
    return chosen if found is None else str(found)


def _check_store_id(catalog: Catalog, objects: ObjectStore, expected: str) -> None:
    with catalog.read() as connection:
        found = connection.execute(
            select(properties.c.value).where(properties.c.name == "store_id")
        ).scalar_one_or_none()
    if found != expected:
        msg = f"the catalog {catalog.url} is another store's, not that of {objects.url}: pass the one it was made with"
        raise InvalidInputError(msg)
