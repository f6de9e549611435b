"""Where the store is: from an Airflow connection, or from an explicit location."""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from airflow_versioned.credentials import read_credentials
from airflow_versioned.open_lineage import note_store
from airflow_versioned.pushing import Push, PushEndpoint
from airflow_versioned.uris import DEFAULT_CONNECTION
from versioned_io.model.setting_texts import parse_size, parse_sources, parse_storage_options

if TYPE_CHECKING:
    from versioned_io import Commit, Store, StoreSettings

DEFAULT_DEPLOYMENT = "airflow"

_log = logging.getLogger(__name__)


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
        if self.url is not None:
            check_absolute(self.url, "the store")
        if self.url is not None and len(self.url) > 1:
            object.__setattr__(self, "url", self.url.rstrip("/"))  # "/data" and "/data/" are one store

    def locate(self) -> "StoreLocation":
        """Return the location of the store.

        Raises:
            ValueError: The connection names no store, or a relative path.
            AirflowNotFoundException: The connection does not exist.
        """
        if self.url is not None:
            from versioned_io import StoreSettings

            return StoreLocation(StoreSettings(self.url))
        from airflow.sdk import BaseHook

        return read_connection(BaseHook.get_connection(self.connection))

    @property
    def shown(self) -> str:
        """The address for a person: the URL, or the connection's ID."""
        return self.url if self.url is not None else f"connection {self.connection!r}"

    def find_settings(self) -> "StoreSettings | None":
        """Return the settings of the store; None if there is no such connection."""
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            settings = self.locate().settings
        except AirflowNotFoundException:
            return None
        note_store(settings)
        return settings

    def prepare(self, store: "Store") -> None:
        """Register the push of commits with a store that fsspec has opened with `find_settings`."""
        self.locate().prepare(store)

    def relay_of(self, deployment: str) -> str:
        """Return the name of the relays at this address in their store.

        Two connections to one store are two sets of assets, so each has relays and subscriptions of its own.
        """
        return deployment if self.connection == DEFAULT_CONNECTION else f"{deployment}/{self.connection}"

    def is_of(self, store: "Store") -> bool:
        """Return whether this is the address of an open store; False if there is no such connection."""
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            url = self.locate().settings.store
        except AirflowNotFoundException:
            _log.warning("there is no connection %r, so its assets get no events of this store", self.connection)
            return False
        return _normalise(url) == _normalise(store.url)

    def open_store(self) -> "Store":
        """Return the open store; the caller closes it.

        Raises:
            StoreNotFoundError: There is no store there; make one with ``versioned init``.
        """
        return self.locate().open_store()


def check_absolute(url: str, what: str) -> None:
    """Refuse a relative path: each process of Airflow would find another directory there.

    Raises:
        ValueError: *url* is a relative path; *what* names it in the message.
    """
    if "://" not in url and not PurePath(url).is_absolute():
        msg = f"{what}, {url!r}, is a relative path, and Airflow has many processes: make it absolute"
        raise ValueError(msg)


def _normalise(url: str) -> str:
    path = url.removeprefix("file://")
    return path.rstrip("/") if "://" in path else os.path.realpath(path)


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """The settings of a store, and the name of this Airflow among those that share it. No secret is shown."""

    settings: "StoreSettings"
    deployment: str = DEFAULT_DEPLOYMENT
    push: PushEndpoint | None = None

    def open_store(self) -> "Store":
        """Return the store, open; the caller closes it. If the connection has an endpoint, commits are pushed to it."""
        note_store(self.settings)
        store = self.settings.open()
        self.prepare(store)
        return store

    def prepare(self, store: "Store") -> None:
        """Register the push of commits with a store that was opened with these settings. Cost: none."""
        if self.push is not None:
            store.after_commit(Push(store, self.push, self.deployment, self._is_outlet))

    def _is_outlet(self, commit: "Commit", template: str | None) -> bool:
        """Return whether the running task has an outlet that announces *commit* when the task ends."""
        from airflow_versioned.runs import find_outlets

        place = (commit.repo, commit.branch, template)
        return any((one.repo, one.branch, one.partitions) == place for one in find_outlets())


def read_connection(connection: Any) -> StoreLocation:  # noqa: ANN401 (Airflow has two unrelated Connection classes)
    """Return the location that an Airflow connection of type ``versioned`` holds.

    Raises:
        ValueError: The connection is of another type, names no store URL, or a relative path. Its deployment has a
            ``/``. Or the connection with its credentials can't be used.
        InvalidInputError: A field of its extra is malformed.
    """
    from versioned_io import StoreSettings

    name = connection.conn_id
    if connection.conn_type != "versioned":
        msg = f"connection {name!r} has type {connection.conn_type!r}, not 'versioned': choose another"
        raise ValueError(msg)
    extra = connection.extra_dejson
    url = extra.get("store") or connection.host
    if not url:
        msg = f"connection {name!r} names no store: fill in its Store URL"
        raise ValueError(msg)
    check_absolute(url, f"the store of connection {name!r}")
    options = parse_storage_options(_text(extra, "storage_options"), f"storage_options of connection {name!r}")
    size = extra.get("cache_bytes")
    settings = StoreSettings(
        url,
        connection.password or None,
        {**_read_credentials(extra, url), **options} or None,
        extra.get("cache") or None,
        parse_size(str(size), f"cache_bytes of connection {name!r}") if size not in {None, ""} else None,
        parse_sources(_text(extra, "sources"), f"sources of connection {name!r}") or None,
    )
    deployment = str(extra.get("deployment") or DEFAULT_DEPLOYMENT)
    if "/" in deployment:  # it is between a deployment and a connection in the name of a relay
        msg = f"the deployment {deployment!r} of connection {name!r} has a '/': choose a name without one"
        raise ValueError(msg)
    return StoreLocation(settings, deployment, _read_push(extra, name))


def _read_credentials(extra: Mapping[str, Any], url: str) -> dict[str, str]:
    """Return the storage options of the connection that ``credentials_conn_id`` names, if it names one."""
    named = extra.get("credentials_conn_id")
    if not named:
        return {}
    from airflow.sdk import BaseHook

    return read_credentials(BaseHook.get_connection(str(named)), url)


def _read_push(extra: Mapping[str, Any], name: str) -> PushEndpoint | None:
    """Return the endpoint that a connection has for pushes, if it has one.

    Raises:
        ValueError: It has only one of URL and token, or one of them is malformed.
    """
    url, token = extra.get("push_url"), extra.get("push_token")
    if not url and not token:
        return None
    if not url or not token:
        msg = f"connection {name!r} needs both push_url and push_token, or neither"
        raise ValueError(msg)
    return PushEndpoint(str(url), str(token))


def _text(extra: Mapping[str, Any], field: str) -> str:
    """Return a field that a form gives as text, and JSON may give as an object."""
    value = extra.get(field) or ""
    return value if isinstance(value, str) else json.dumps(value)
