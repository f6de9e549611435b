"""Repos as an fsspec file system: ``versioned://repo@ref/path`` for pandas, Polars, PyArrow, DuckDB, Dask and UPath."""

from versioned_io.interfaces.filesystem.filesystem import RegisteredFileSystem, VersionedFileSystem

__all__ = ["RegisteredFileSystem", "VersionedFileSystem"]
