"""The IO manager that Dagster's environment variables can name, so that no code changes."""

import dagster as dg

from dagster_versioned.io_manager import VersionedIOManager


@dg.io_manager(description="Stores values in the versioned store that VERSIONED_STORE and its siblings name.")
def default_io_manager(_context: dg.InitResourceContext) -> VersionedIOManager:
    """Return the IO manager for ``DAGSTER_DEFAULT_IO_MANAGER_MODULE=dagster_versioned``.

    With ``DAGSTER_DEFAULT_IO_MANAGER_ATTRIBUTE=default_io_manager`` it replaces Dagster's own in every repository that
    sets none. Its settings are those of the environment; see `vio.StoreSettings.from_environment`.
    """
    return VersionedIOManager()
