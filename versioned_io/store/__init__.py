"""The front door: one open store, and every call on it. It delegates and decides nothing."""

from types import TracebackType
from typing import Self

from versioned_io.store.files import Files
from versioned_io.store.history import History
from versioned_io.store.lineage import Lineage
from versioned_io.store.maintenance import Maintenance
from versioned_io.store.merging import Merging
from versioned_io.store.names import Names


class Store(Names, Files, History, Merging, Lineage, Maintenance):
    """Versioned repos over one object store and one catalog. Thread-safe; made by `open_store` and `create_store`."""

    def __repr__(self) -> str:
        return f"Store({self._url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the store is."""
        return self._url

    def close(self) -> None:
        """Close the connections to the catalog, when the store is not needed any more; a later call opens new ones."""
        self._backend.catalog.close()
