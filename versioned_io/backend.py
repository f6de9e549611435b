"""What an open store works with: its objects, its catalog, its caches and its clock."""

from dataclasses import dataclass, field

from versioned_io.catalog.connect import Catalog
from versioned_io.chunks.reader import ChunkReader
from versioned_io.clock import Clock
from versioned_io.elsewhere import Elsewhere
from versioned_io.objects.port import ObjectStore
from versioned_io.pages.source import PageSource


@dataclass(frozen=True, slots=True)
class Backend:
    """The parts of one open store, shared by all that read and write it; every part is thread-safe.

    Attributes:
        elsewhere: What may be read outside of the store; by default nothing.
        busy_branches: The keys of the branches on which the last commit of this process met another writer.
    """

    objects: ObjectStore
    catalog: Catalog
    pages: PageSource
    chunks: ChunkReader
    clock: Clock
    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    busy_branches: set[int] = field(default_factory=set)
