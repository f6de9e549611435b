"""Object storage: the port that the rest of the library writes to, and its adapters."""

from versioned_io.storage.objects.location import open_objects
from versioned_io.storage.objects.port import ObjectInfo, ObjectStore

__all__ = ["ObjectInfo", "ObjectStore", "open_objects"]
