"""The settings of a store as one value, which the command line, fsspec and both integrations share."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from versioned_io.errors import InvalidInputError
from versioned_io.model.setting_texts import parse_size, parse_sources, parse_storage_options

if TYPE_CHECKING:
    from versioned_io.store import Store

STORE: Final = "VERSIONED_STORE"
CATALOG: Final = "VERSIONED_CATALOG"
STORAGE_OPTIONS: Final = "VERSIONED_STORAGE_OPTIONS"
CACHE: Final = "VERSIONED_CACHE"
CACHE_BYTES: Final = "VERSIONED_CACHE_BYTES"
SOURCES: Final = "VERSIONED_SOURCES"
VARIABLES: Final = (STORE, CATALOG, STORAGE_OPTIONS, CACHE, CACHE_BYTES, SOURCES)


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The location of a store, and the other arguments of `open_store`. Nothing is opened.

    Its `repr` shows no secret.

    >>> settings = vio.StoreSettings("./data")
    >>> with settings.open(create=True) as store:
    ...     store.create_repo("orders").name
    'orders'

    Attributes:
        store: A directory, or a URL such as ``s3://bucket/prefix``.
        catalog, storage_options, cache, cache_bytes, sources: As for `create_store`. None is the default of each.
    """

    store: str
    catalog: str | None = field(default=None, repr=False)
    storage_options: Mapping[str, str] | None = field(default=None, repr=False)
    cache: str | None = None
    cache_bytes: int | None = None
    sources: Mapping[str, Mapping[str, str]] | None = field(default=None, repr=False)

    @classmethod
    def from_environment(
        cls,
        store: str | None = None,
        catalog: str | None = None,
        *,
        default: str | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Self:
        """Return the settings that ``VERSIONED_STORE`` and its siblings hold.

        >>> vio.StoreSettings.from_environment(environment={"VERSIONED_STORE": "./data"})
        StoreSettings(store='./data', cache=None, cache_bytes=None)

        Args:
            store, catalog: Used instead of the environment's.
            default: The store if neither names one.

        Raises:
            InvalidInputError: Neither names a store, or a variable is malformed.
        """
        found = store or environment.get(STORE) or default
        if not found:
            msg = f"no store was named: pass --store or set {STORE}"
            raise InvalidInputError(msg)
        size = environment.get(CACHE_BYTES)
        return cls(
            found,
            catalog or environment.get(CATALOG) or None,
            parse_storage_options(environment.get(STORAGE_OPTIONS, ""), STORAGE_OPTIONS) or None,
            environment.get(CACHE) or None,
            parse_size(size, CACHE_BYTES) if size else None,
            parse_sources(environment.get(SOURCES, ""), SOURCES) or None,
        )

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of `open_store` that are set."""
        given = {
            "catalog": self.catalog,
            "storage_options": self.storage_options,
            "cache": self.cache,
            "cache_bytes": self.cache_bytes,
            "sources": self.sources,
        }
        return {name: value for name, value in given.items() if value is not None}

    def open(self, *, create: bool = False) -> "Store":
        """Return the open store; the caller closes it.

        >>> with vio.StoreSettings("./data").open(create=True) as store:
        ...     store.repos()
        []

        Args:
            create: Whether a missing store is made.

        Raises:
            StoreNotFoundError: There is none at this location, and *create* is off.
            FormatError, InvalidInputError, StorageError: As for `open_store`.

        Cost: as `open_store`; a store that is made costs as `create_store`.
        """
        from versioned_io.store.opening import open_or_create_store, open_store

        opened = open_or_create_store if create else open_store
        return opened(self.store, **self.options)
