"""The store of a file system: opened when it is first needed, and told to another process as an address."""

from collections.abc import Callable, Mapping
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
        self._prepare: Callable[[Store], object] | None = None
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

    def when_opened(self, prepare: Callable[[Store], object]) -> None:
        """Call *prepare* with the store when it is opened; a second call, or one after that, does nothing."""
        with self._lock:
            if self._opened is None and self._prepare is None:
                self._prepare = prepare

    def open(self) -> Store:
        """Return the store, which the first call opens.

        Raises:
            StoreNotFoundError, FormatError, StorageError: As `open_store` says.
        """
        with self._lock:
            if self._opened is None:
                if self._address is not None:
                    opened = Store(self._address.url, restore_backend(self._address))
                else:
                    opened = open_store(self.url, catalog=self.catalog, **self._options)
                if self._prepare is not None:
                    self._prepare(opened)
                self._opened = opened
            return self._opened
