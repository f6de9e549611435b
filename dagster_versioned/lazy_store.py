"""A store that is opened when it is first used, and made if it is missing."""

import threading
from types import TracebackType
from typing import Self

import versioned_io as vio


class LazyStore:
    """A store by its settings: nothing is opened, and nothing is made, before the first use. Thread-safe.

    Args:
        create: Whether a missing store is made.
    """

    def __init__(self, settings: "vio.StoreSettings", *, create: bool) -> None:
        self._settings = settings
        self._create = create
        self._lock = threading.Lock()
        self._store: vio.Store | None = None

    def get(self) -> "vio.Store":
        """Return the open store.

        Raises:
            StoreNotFoundError: There is none at this location, and `create` is off.

        Cost: the first time, the opening of a store.
        """
        with self._lock:
            if self._store is None:
                self._store = self._settings.open(create=self._create)
            return self._store

    def close(self) -> None:
        """Close the store if it is open; a later use opens it again."""
        with self._lock:
            store, self._store = self._store, None
        if store is not None:
            store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
