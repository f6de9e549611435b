"""Object storage: the port that the rest of the library writes to, and its adapters."""

from versioned_io.storage.objects.port import ObjectInfo, ObjectStore
from versioned_io.storage.objects.schemes import open_objects

__all__ = ["ObjectInfo", "ObjectStore", "open_objects"]
