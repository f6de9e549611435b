"""The store of a file system: opened when it is first needed, and told to another process as an address."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from versioned_io.platform.clock import system_clock
from versioned_io.platform.process import new_lock
from versioned_io.store import Store
from versioned_io.store.opening import open_store
from versioned_io.versioning.backend.address import Address
from versioned_io.versioning.backend.backend import restore_backend


class LazyStore:
    """A store that is opened when it is first needed. All methods may be called by several threads.

    Args:
        options: The other keyword arguments of `open_store`.

    Attributes:
        url: Where the store is; a relative path is made absolute.
        catalog: The URL of its catalog; None for the one in the store's directory.
    """

    def __init__(self, store: str | Path, catalog: str | None, options: Mapping[str, Any]) -> None:
        url = str(store)
        self.url = url if "://" in url else str(Path(url).absolute())
        self.catalog = catalog
        self._options = options
        self._address: Address | None = None
        self._opened: Store | None = None
        self._lock = new_lock()

    @property
    def opened(self) -> Store | None:
        """The store if it is open already."""
        return self._opened

    @property
    def address(self) -> Address:
        """Where the store is and with what it is opened, without secrets."""
        return self._address or Address.of(self.url, catalog=self.catalog, clock=system_clock, **self._options)

    def use(self, found: Store | Address) -> None:
        """Take *found* in place of what this was made with: a store that is open already, or an address to open."""
        if isinstance(found, Store):
            self._opened = found
        else:
            self._address = found

    def open(self) -> Store:
        """Return the store, which the first call opens.

        Raises:
            StoreNotFoundError, FormatError, StorageError: As `open_store` says.
        """
        with self._lock:
            if self._opened is None:
                if self._address is not None:
                    self._opened = Store(self._address.url, restore_backend(self._address))
                else:
                    self._opened = open_store(self.url, catalog=self.catalog, **self._options)
            return self._opened
