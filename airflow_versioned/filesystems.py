"""Stores for `ObjectStoragePath`: ``versioned://repo@branch/path`` in the store of a connection.

Airflow takes everything before the last ``@`` for the ID of a connection. So ``versioned://orders@main/a.csv`` arrives
here as the connection ``orders`` and the path ``main/a.csv``. If no connection of type ``versioned`` has this ID, it is
the repo.
"""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow_versioned.connections import StoreAddress
from airflow_versioned.open_lineage import note_store
from airflow_versioned.uris import DEFAULT_CONNECTION, SCHEME

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

schemes = [SCHEME]


def get_fs(conn_id: str | None, storage_options: Mapping[str, Any] | None = None) -> "AbstractFileSystem":
    """Return the file system of a connection's store; Airflow calls this for `ObjectStoragePath`.

    Args:
        conn_id: A connection; or what Airflow cuts off a path: a repo of the default connection's store, or
            ``connection@repo``.
        storage_options: Overrides of the connection's settings: the arguments of `VersionedFileSystem`.

    Raises:
        ValueError: The connection names no store, or a relative path.
        AirflowNotFoundException: The connection does not exist.
    """
    import fsspec

    connection, repo = split_connection(conn_id)
    location = StoreAddress(connection).locate()
    settings = location.settings
    note_store(settings)
    options = {"store": settings.store, **settings.options, **(storage_options or {})}
    kind = fsspec.get_filesystem_class(SCHEME)
    found = (kind if repo is None else _in_repo(kind, connection, repo))(**options)
    found.when_opened(location.prepare)
    return found


def split_connection(conn_id: str | None) -> tuple[str, str | None]:
    """Return the connection that *conn_id* names, and the repo; None if it names no repo.

    Cost: 1 request to Airflow's API server if it may be either.
    """
    if conn_id is None or conn_id == DEFAULT_CONNECTION:
        return DEFAULT_CONNECTION, None
    connection, at, repo = conn_id.rpartition("@")
    if at:
        return connection, repo
    return (conn_id, None) if _is_connection(conn_id) else (DEFAULT_CONNECTION, conn_id)


def _is_connection(conn_id: str) -> bool:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return bool(BaseHook.get_connection(conn_id).conn_type == SCHEME)
    except AirflowNotFoundException:
        return False


@cache
def _in_repo(kind: Any, connection: str, repo: str) -> Any:  # noqa: ANN401 (a class that fsspec knows)
    """Return the file system *kind* with names that begin with a branch of *repo*, as Airflow leaves them."""

    class RepoFileSystem(kind):  # type: ignore[misc]
        @classmethod
        def _strip_protocol(cls, path: Any) -> Any:  # noqa: ANN401 (fsspec's protocol: a path or a list of them)
            stripped = super()._strip_protocol(path)
            if isinstance(stripped, list):
                return stripped
            head, slash, rest = stripped.partition("/")
            return stripped if "@" in head or not head else f"{repo}@{head}{slash}{rest}"

        def __reduce__(self) -> tuple[object, ...]:
            return get_fs, (f"{connection}@{repo}",)

    return RepoFileSystem
