"""Where the store is: from an Airflow connection, or from an explicit location."""

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from airflow_versioned.uris import DEFAULT_CONNECTION

if TYPE_CHECKING:
    from versioned_io import Store

DEFAULT_DEPLOYMENT = "airflow"


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """The address of a store for any process of this Airflow: a connection, or the store's URL.

    It holds no secret, so it may be serialised with a DAG. A catalog URL is read from the connection each time.

    Attributes:
        url: The store's URL, instead of a connection. The catalog is then the SQLite file in the store.
    """

    connection: str = DEFAULT_CONNECTION
    url: str | None = None

    def __post_init__(self) -> None:
        if self.url is not None and "://" not in self.url and not PurePath(self.url).is_absolute():
            msg = f"the store {self.url!r} is a relative path, and Airflow has many processes: make it absolute"
            raise ValueError(msg)

    def locate(self) -> "StoreLocation":
        """Return the location of the store.

        Raises:
            ValueError: The connection names no store.
            AirflowNotFoundException: There is no such connection.
        """
        if self.url is not None:
            return StoreLocation(self.url)
        from airflow.sdk import BaseHook

        return read_connection(BaseHook.get_connection(self.connection))

    def open_store(self) -> "Store":
        """Return the open store; the caller closes it.

        Raises:
            StoreNotFoundError: There is no store there; make one with ``versioned init``.
        """
        return self.locate().open_store()


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """A store's URL and its catalog's URL. The latter may hold a password, so it is never shown."""

    url: str
    catalog: str | None = field(default=None, repr=False)
    deployment: str = DEFAULT_DEPLOYMENT

    def open_store(self) -> "Store":
        """Return the store, open; the caller closes it."""
        import versioned_io as vio

        return vio.open_store(self.url, catalog=self.catalog)


def read_connection(connection: Any) -> StoreLocation:  # noqa: ANN401 (Airflow has two unrelated Connection classes)
    """Return the location that an Airflow connection of type ``versioned`` holds.

    Raises:
        ValueError: The connection is of another type, or names no store URL.
    """
    if connection.conn_type != "versioned":
        msg = f"connection {connection.conn_id!r} has type {connection.conn_type!r}, not 'versioned': choose another"
        raise ValueError(msg)
    extra = connection.extra_dejson
    url = extra.get("store") or connection.host
    if not url:
        msg = f"connection {connection.conn_id!r} names no store: fill in its Store URL"
        raise ValueError(msg)
    return StoreLocation(url, connection.password or None, extra.get("deployment") or DEFAULT_DEPLOYMENT)
