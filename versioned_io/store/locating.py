"""The objects and the catalog of the store at a URL: where they are, and whether they belong together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeAlias

from versioned_io.catalog.connect import Catalog, connect_catalog
from versioned_io.catalog.plain import rows
from versioned_io.errors import (
    FormatError,
    InvalidInputError,
    StorageError,
)
from versioned_io.model.arguments import parse_count, parse_local_path
from versioned_io.model.identifiers import new_uuid7
from versioned_io.platform.file_modes import OWN_MODE, give_mode, mode_like
from versioned_io.platform.process import HomeProcess
from versioned_io.storage.objects.cached import CachedObjects
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.objects.mount import make_directories, remove_directories, require_links
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.objects.schemes import open_objects
from versioned_io.versioning.backend.ownership import REBUILDING, STATE, STORE_ID, read_properties

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection


Sources: TypeAlias = Mapping[str, Mapping[str, str]]
"""Storage options by place; see `create_store`."""


_CATALOG_FILE = "catalog.db"


# The property of a catalog that says which store is being made with it, so that a second store is not.
_MADE_FOR = "made_for"


_MEMORY = "memory://"


_memory_directories: dict[str, TemporaryDirectory[str]] = {}


_memory_homes: dict[str, HomeProcess] = {}


def open_objects_of(
    url: str | Path, options: Mapping[str, str] | None, cache: str | Path | None, cache_bytes: int
) -> ObjectStore:
    """Return the objects at *url*, behind a cache where there is one and they are remote. No request is sent.

    Raises:
        InvalidInputError: The URL, an option, the cache or its size is malformed.
    """
    objects = open_objects(url, options)
    limit_bytes = parse_count(cache_bytes, "cache_bytes")
    directory = None if cache is None else Path(parse_local_path(cache, "cache"))
    # Objects on this machine are read in place.
    if directory is None or not objects.is_remote:
        return objects
    return CachedObjects(objects, directory, limit_bytes=limit_bytes)


def make_store_directory(path: Path, below: str) -> list[Path]:
    """Make a store's directory, and *below* in it; return the directories that were made.

    Only its owner may enter a new store directory. The mode of an existing one decides about everything in it.
    """
    made: list[Path] = []
    try:
        made += make_directories(path)
        if path in made:
            give_mode(path, OWN_MODE)
        require_links(path)
        inner = make_directories(path / below)
        made += inner
        for one in inner:
            give_mode(one, mode_like(path))
    except (FileExistsError, NotADirectoryError) as error:
        remove_directories(made, path)
        msg = f"can't make a store at {str(path)!r}: there is a file in the way; choose another directory"
        raise InvalidInputError(msg) from error
    except OSError as error:
        remove_directories(made, path)
        msg = f"can't make a store at {str(path)!r}: {error.strerror}"
        raise StorageError(msg) from error
    except BaseException:
        remove_directories(made, path)
        raise
    return made


def connect_catalog_of(objects: ObjectStore, catalog: str | None) -> Catalog:
    """Return the catalog at the URL *catalog*, by default the SQLite file of a store in a directory or in memory.

    Raises:
        InvalidInputError: There is no default for these objects, or the URL is malformed.
        StorageError: The database can't be reached.
    """
    is_private = objects.url.startswith(_MEMORY)
    home = _memory_homes.setdefault(objects.url, HomeProcess()) if is_private else None
    return connect_catalog(catalog_url_of(objects, catalog), home=home)


def catalog_url_of(objects: ObjectStore, catalog: str | None) -> str | Path | URL:
    """Return the URL *catalog*, or the SQLite file of a store in a directory or in memory.

    Raises:
        InvalidInputError: There is no default for these objects, or *catalog* is malformed.
    """
    if catalog is not None:
        # A URL that is not text is one of SQLAlchemy's.
        return parse_local_path(catalog, "catalog") if isinstance(catalog, str | Path) else catalog
    if objects.url.startswith(_MEMORY):
        return _memory_directory(objects.url) / _CATALOG_FILE
    if not isinstance(objects, LocalObjects):
        msg = f"the store {objects.url} needs a catalog: pass catalog='postgresql+psycopg://user@host/database'"
        raise InvalidInputError(msg)
    return Path(objects.url) / _CATALOG_FILE


def _memory_directory(url: str) -> Path:
    """Return the directory for the catalog of a store in memory; SQLite serves several threads only from a file."""
    if url not in _memory_directories:
        directory = TemporaryDirectory(prefix="versioned-io-")
        # A child that ends must not delete its parent's.
        os.register_at_fork(after_in_child=directory._finalizer.detach)  # type: ignore[attr-defined]  # noqa: SLF001
        _memory_directories[url] = directory
    return Path(_memory_directories[url].name)


def claim_catalog(catalog: Catalog, place: str) -> str:
    """Return the ID of the store at *place*, new or from an earlier call that did not finish.

    Raises:
        InvalidInputError: The catalog is another store's; pass an empty database.
    """
    from sqlalchemy import insert

    from versioned_io.catalog.tables import properties

    with catalog.write() as connection:
        stated = read_properties(connection)
        if (found := stated.get(STORE_ID)) is not None:
            if stated[_MADE_FOR] != place if _MADE_FOR in stated else _has_repos(connection):
                msg = f"the catalog {catalog.url} is another store's: a store at {place} needs an empty database"
                raise InvalidInputError(msg)
            return found
        chosen = new_uuid7()
        noted = {STORE_ID: chosen, _MADE_FOR: place}
        connection.execute(insert(properties), [{"name": name, "value": value} for name, value in noted.items()])
    return chosen


def _has_repos(connection: Connection) -> bool:
    """Return whether a catalog is in use: all that one tells which does not note what store it was made for."""
    return bool(rows(connection, "SELECT id FROM repos LIMIT 1"))


def check_store_id(catalog: Catalog, objects: ObjectStore, expected: str) -> None:
    """Pass when the catalog is whole and belongs to the store *expected*.

    Raises:
        InvalidInputError: It belongs to another store.
        FormatError: A rebuild of it has not ended.

    Cost: 1 SELECT.
    """
    with catalog.ask() as connection:
        stated = read_properties(connection)
    if stated.get(STORE_ID) != expected:
        msg = f"the catalog {catalog.url} is another store's, not that of {objects.url}: pass the one it was made with"
        raise InvalidInputError(msg)
    if stated.get(STATE) == REBUILDING:
        msg = (
            f"the catalog {catalog.url} of the store {objects.url} is half-made: "
            f"wait for the rebuild that is under way, or run `versioned rebuild` again if it was interrupted"
        )
        raise FormatError(msg)
