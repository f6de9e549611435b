"""Repos as an fsspec file system: ``versioned://repo@ref/path`` for pandas, Polars, PyArrow, DuckDB, Dask and UPath."""

from versioned_io.filesystem.filesystem import VersionedFileSystem
from versioned_io.filesystem.registered import RegisteredFileSystem

__all__ = ["RegisteredFileSystem", "VersionedFileSystem"]
