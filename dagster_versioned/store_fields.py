"""The fields of a store's settings in Dagster's configuration: the same in the IO manager and the resource."""

from dataclasses import replace
from typing import Any, TypeAlias, Union

import dagster as dg
from pydantic import Field

import versioned_io as vio
from dagster_versioned.s3 import with_s3

DEFAULT_STORE = "./data"
"""The store if neither the resource nor the environment names one."""


class StoreFields(dg.ConfigurableResource[Any]):
    """The settings of a store as fields of a resource, each of which may be a `dagster.EnvVar`."""

    store: str | None = Field(
        default=None,
        description="Where the store is: a directory, or the URL of an object store such as s3://bucket/prefix. "
        "By default VERSIONED_STORE and its siblings say so, or else it is ./data.",
    )
    catalog: str | None = Field(
        default=None, description="The SQLAlchemy URL of the catalog; by default SQLite in the store's directory."
    )
    storage_options: dict[str, str] | None = Field(
        default=None, description="Credentials, endpoint and time limits of an object store; see open_store."
    )
    cache: str | None = Field(
        default=None, description="A local directory that keeps what was read of an object store; by default none."
    )
    cache_bytes: int | None = Field(default=None, description="How many bytes the cache keeps.")
    sources: dict[str, dict[str, str]] | None = Field(
        default=None,
        description="The places outside of the store that referenced files may be read from, with their options.",
    )
    s3: dg.ResourceDependency[Any] = None  # type: ignore[assignment]  # a dependency that may be left out
    """A `dagster_aws.s3.S3Resource`: its endpoint, region, profile and credentials are the store's."""

    def settings(self) -> "vio.StoreSettings":
        """Return the settings of the store.

        If `store` is set, the environment is not asked. Otherwise each field that is set wins over the environment's.

        Raises:
            InvalidInputError: A variable of the environment is malformed, or `s3` does not fit; see `with_s3`.
        """
        given = {
            name: value
            for name in ("storage_options", "cache", "cache_bytes", "sources")
            if (value := getattr(self, name)) is not None
        }
        if self.store is not None:
            settings = vio.StoreSettings(self.store, self.catalog, **given)
        else:
            named = vio.StoreSettings.from_environment(catalog=self.catalog, default=DEFAULT_STORE)
            settings = replace(named, **given)
        s3: Any = self.s3
        return settings if s3 is None else with_s3(settings, s3)


StoreLike: TypeAlias = Union[str, "vio.StoreSettings", StoreFields]
"""How a sensor or a schedule is told its store: a location, settings, or a resource with plain values."""


def settings_of(store: "StoreLike", catalog: str | None) -> "vio.StoreSettings":
    """Return the settings of *store*; *catalog* belongs to a location alone."""
    if isinstance(store, str):
        return vio.StoreSettings(store, catalog)
    return store.settings() if isinstance(store, StoreFields) else store
