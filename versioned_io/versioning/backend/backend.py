"""The parts of an open store: its objects, its catalog, its caches and its clock."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Final

from versioned_io.catalog.connect import Catalog
from versioned_io.catalog.damage_notes import CatalogDamages
from versioned_io.errors import InvalidInputError
from versioned_io.model.commits import Commit
from versioned_io.platform.clock import Clock, ClockWatch
from versioned_io.platform.process import new_reentrant_lock
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.storage.elsewhere import Elsewhere
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.versioning.backend.address import Address


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Backend:
    """The parts of one open store, shared by all its readers and writers; every part is thread-safe.

    It pickles as its address. Another process opens the store itself, once for all objects that it unpickles.

    Attributes:
        elsewhere: The objects outside of the store that may be read; by default none.
        busy_branches: The keys of the branches on which this process's last commit met another writer.
        clock_watch: Warns of a clock that is evidently wrong.
        address: The address for pickling; None if the store was not opened by `open_store`.
        commit_hooks: Called with the commits of each transaction, after they were committed.
    """

    objects: ObjectStore
    catalog: Catalog
    pages: PageSource
    chunks: ChunkReader
    clock: Clock
    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    busy_branches: set[int] = field(default_factory=set)
    clock_watch: ClockWatch = field(default_factory=ClockWatch)
    address: Address | None = None
    commit_hooks: list[Callable[[tuple[Commit, ...]], object]] = field(default_factory=list, compare=False)

    def __reduce__(self) -> tuple[object, ...]:
        if self.address is None:
            msg = "this store can't be pickled: it was not opened by open_store(); open it where it is needed"
            raise InvalidInputError(msg)
        # In this process and its forked children, unpickling returns this object.
        _restored.setdefault(self.address, self)
        return restore_backend, (self.address,)

    @property
    def damages(self) -> CatalogDamages:
        """The damages of the store, with the places of repaired copies."""
        return CatalogDamages(self.catalog, self.clock)


_restored: Final["weakref.WeakValueDictionary[Address, Backend]"] = weakref.WeakValueDictionary()
_restoring: Final = new_reentrant_lock()


def restore_backend(address: Address) -> Backend:
    """Return the parts of the store at *address*, opened once in this process for all unpickled objects.

    Raises:
        ForkedError: The store is in another process's memory. Create it in a directory instead.
        VersionedError: As for `open_store`. The message lists the withheld secrets and where they are looked for.
    """
    if address.home is not None:
        address.home.check("a store in memory", "make the store in a directory to share it with other processes")
    with _restoring:
        found = _restored.get(address)
        if found is None:
            # Imported by name, since this layer must not import the layers above it.
            found = import_module("versioned_io.store.opening").open_backend(address)
            _restored[address] = found
        return found
