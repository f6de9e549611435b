"""The credentials of another Airflow connection, such as ``aws_default``, as storage options of a store.

One connection of the cloud's own provider then serves the store and everything else that reads the bucket. Its secrets
are read each time, so a rotation needs no change here.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

_AWS_FIELDS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region_name": "region",
    "profile_name": "profile",
    "endpoint_url": "endpoint",
}
_ASSUMED_ROLES = ("role_arn", "assume_role_method")


def read_credentials(connection: Any, store: str) -> dict[str, str]:  # noqa: ANN401 (Airflow has two Connection classes)
    """Return the storage options that a connection of type ``aws``, ``google_cloud_platform`` or ``wasb`` holds.

    An empty one holds none: the environment then gives them, as the cloud's own provider does.

    Args:
        store: The URL of the store that they are for.

    Raises:
        ValueError: The connection is of another type, or for another cloud than the store's. Or it asks for something
            that a store can't do. The message shows no secret.
    """
    found = _READERS.get(connection.conn_type)
    if found is None:
        msg = (
            f"connection {connection.conn_id!r} has type {connection.conn_type!r}, and holds no credentials for a "
            f"store: name one of type {', '.join(map(repr, _READERS))}"
        )
        raise ValueError(msg)
    schemes, read = found
    if store.partition("://")[0] not in schemes:
        msg = f"connection {connection.conn_id!r} of type {connection.conn_type!r} is not for the store {store!r}"
        raise ValueError(msg)
    return {name: str(value) for name, value in read(connection).items() if value not in {None, ""}}


def _read_aws(connection: Any) -> dict[str, Any]:  # noqa: ANN401
    extra: Mapping[str, Any] = connection.extra_dejson
    service = (extra.get("service_config") or {}).get("s3") or {}
    role = next((name for name in _ASSUMED_ROLES if extra.get(name)), None)
    if role is not None:
        msg = (
            f"connection {connection.conn_id!r} assumes a role ({role}), which a store can't do: "
            f"name a profile that assumes it in profile_name"
        )
        raise ValueError(msg)
    options = {option: extra[field] for field, option in _AWS_FIELDS.items() if extra.get(field)}
    options |= {"access_key_id": connection.login} if connection.login else {}
    options |= {"secret_access_key": connection.password} if connection.password else {}
    options |= {"endpoint": service["endpoint_url"]} if service.get("endpoint_url") else {}
    if str(options.get("endpoint", "")).lower().startswith("http://"):
        options["allow_http"] = "true"
    return options


def _read_google(connection: Any) -> dict[str, Any]:  # noqa: ANN401
    extra: Mapping[str, Any] = connection.extra_dejson
    key = extra.get("keyfile_dict")
    return {
        "service_account_path": extra.get("key_path"),
        "service_account_key": json.dumps(key) if isinstance(key, Mapping) else key,
    }


def _read_azure(connection: Any) -> dict[str, Any]:  # noqa: ANN401
    extra: Mapping[str, Any] = connection.extra_dejson
    if extra.get("connection_string"):
        msg = (
            f"connection {connection.conn_id!r} has a connection_string, which a store can't use: fill in the account "
            "and the key"
        )
        raise ValueError(msg)
    account = str(connection.host or "").rpartition("://")[2].partition("/")[0].partition(".")[0]
    if extra.get("tenant_id"):  # a service principal
        principal = {"client_id": connection.login, "client_secret": connection.password}
        return {"account_name": account, **principal, "tenant_id": extra["tenant_id"]}
    key = extra.get("shared_access_key") or connection.password
    return {"account_name": connection.login or account, "account_key": key, "sas_key": extra.get("sas_token")}


_READERS: dict[str, tuple[frozenset[str], Callable[[Any], dict[str, Any]]]] = {
    "aws": (frozenset({"s3", "s3a"}), _read_aws),
    "google_cloud_platform": (frozenset({"gs"}), _read_google),
    "wasb": (frozenset({"az", "azure", "abfs", "abfss"}), _read_azure),
}
