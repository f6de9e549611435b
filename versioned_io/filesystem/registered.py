"""The file system as fsspec finds it by the protocol ``versioned``: the one place that reads the environment for it."""

import os
from pathlib import Path

from versioned_io.filesystem.filesystem import VersionedFileSystem


class _Environment:
    """What the environment says, as fsspec's cache of instances must see it: another store is another instance."""

    def __get__(self, instance: object, owner: type) -> tuple[str | None, str | None]:
        return os.environ.get("VERSIONED_STORE"), os.environ.get("VERSIONED_CATALOG")


class RegisteredFileSystem(VersionedFileSystem):
    """`VersionedFileSystem`, with ``VERSIONED_STORE`` and ``VERSIONED_CATALOG`` for what the options leave out."""

    environment = _Environment()
    _extra_tokenize_attributes = ("environment", "working_directory")

    def __init__(self, store: str | Path | None = None, catalog: str | None = None, **options: object) -> None:
        if store is None:
            store, default = self.environment
            catalog = catalog or default
        super().__init__(store, catalog, **options)
