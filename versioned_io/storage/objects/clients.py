"""Opening an obstore client from a URL and storage options: credentials, endpoints, timeouts."""

from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store, from_url

from versioned_io.errors import InvalidInputError, StorageError
from versioned_io.storage.objects.answers import first_line

if TYPE_CHECKING:
    from boto3.session import Session
    from obstore.store import ObjectStore as ClientStore

COMMON_OPTIONS: Final = {
    "allow_http": "true to speak HTTP without TLS, as to a server on this machine",
    "connect_timeout_s": "how long to wait for a connection, by default 5",
    "timeout_s": "how long one request may take, by default 60",
    "max_retries": "how often a request that failed in transit is sent again, with growing pauses, by default 5",
}
S3_OPTIONS: Final = {
    "access_key_id": "with secret_access_key, instead of boto3's chain of credentials",
    "secret_access_key": "",
    "session_token": "of temporary credentials",
    "profile": "the profile of the AWS configuration",
    "region": "by default the session's, or us-east-1",
    "endpoint": "the URL of a compatible server, by default as AWS configuration says",
    "virtual_hosted_style": "true to name the bucket in the host",
    "skip_signature": "true to send unsigned requests, for public buckets",
}
GCS_OPTIONS: Final = {
    "service_account_path": "a JSON key file; by default the application's default credentials",
    "service_account_key": "its content",
    "skip_signature": "true to send unsigned requests, for public buckets",
}
AZURE_OPTIONS: Final = {
    "account_name": "the storage account",
    "account_key": "by default what the environment gives",
    "sas_key": "a shared access signature",
    "client_id": "with client_secret and tenant_id, a service principal",
    "client_secret": "",
    "tenant_id": "",
    "use_azure_cli": "true to use the login of the Azure command line",
    "endpoint": "the URL of a compatible server",
    "skip_signature": "true to send unsigned requests, for public containers",
}
_OPTIONS: Final = {
    "s3": S3_OPTIONS,
    "s3a": S3_OPTIONS,
    "gs": GCS_OPTIONS,
    "az": AZURE_OPTIONS,
    "azure": AZURE_OPTIONS,
    "abfs": AZURE_OPTIONS,
    "abfss": AZURE_OPTIONS,
}
_FLAGS: Final = frozenset({"allow_http", "virtual_hosted_style", "skip_signature", "use_azure_cli"})
_NUMBERS: Final = frozenset({"connect_timeout_s", "timeout_s", "max_retries"})
_RETRIES: Final = 5
_AWS: Final = ".amazonaws.com"


def parse_options(scheme: str, options: Mapping[str, str]) -> dict[str, Any]:
    """Return *options* with their types.

    Raises:
        InvalidInputError: An option is unknown for this kind of store, or has a value that is not allowed. The message
            repeats neither name nor value, because they may be secrets.
    """
    known = COMMON_OPTIONS | _OPTIONS.get(scheme, {})
    parsed: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            # The name is not repeated: a caller may have passed a secret value in its place.
            meant = get_close_matches(str(name), known, n=1)
            hint = f"did you mean {meant[0]!r}? There are" if meant else "use"
            msg = f"a storage option that was given for {scheme}:// is unknown: {hint} {', '.join(sorted(known))}"
            raise InvalidInputError(msg)
        text = str(value)
        if name in _FLAGS:
            if text.lower() not in {"true", "false"}:
                msg = f"the storage option {name!r} must be true or false"
                raise InvalidInputError(msg)
            parsed[name] = text.lower() == "true"
        elif name == "endpoint" and not text.startswith(("http://", "https://")):
            msg = "the storage option 'endpoint' must be a URL that begins with https:// or http://"
            raise InvalidInputError(msg)
        elif name == "endpoint" and "@" in text.partition("://")[2].partition("/")[0]:
            msg = "the storage option 'endpoint' holds a user or a password: pass credentials as storage options"
            raise InvalidInputError(msg)
        elif name in _NUMBERS:
            parsed[name] = _number(name, text)
        else:
            parsed[name] = text
    return parsed


def open_client(url: str, options: Mapping[str, str]) -> "ClientStore":
    """Return a client for the bucket and prefix of *url*, without sending a request.

    For S3, credentials in *options* come first. Otherwise boto3's chain finds and renews them: environment, profiles,
    assumed roles, containers, instances.

    Raises:
        InvalidInputError: The URL or an option is not valid, or boto3 is missing. Fix it, or install boto3.
        StorageError: There are no credentials. Configure them, or pass them as storage options.
    """
    parts = urlsplit(url)
    parsed = parse_options(parts.scheme, options)
    common = _common(parsed)
    prefix = parts.path.strip("/") or None
    try:
        if parts.scheme in {"s3", "s3a"}:
            return _open_s3(parts.netloc, prefix, parsed, common)
        if parts.scheme == "gs":
            return GCSStore(parts.netloc, prefix=prefix, config=_config(parsed, GCS_OPTIONS), **common)
        if parts.scheme == "az" and "account_name" in parsed:
            _refuse_plain_http(url, parsed.get("endpoint"), parsed)
            return AzureStore(parts.netloc, prefix=prefix, config=_config(parsed, AZURE_OPTIONS), **common)
        return from_url(url, **common)
    except InvalidInputError:
        raise
    except (BaseError, ValueError, TypeError) as error:
        msg = f"can't open object store {url!r}: {first_line(error)}"
        raise InvalidInputError(msg) from None


def _open_s3(bucket: str, prefix: str | None, options: dict[str, Any], common: dict[str, Any]) -> "ClientStore":
    config = _config(options, {"access_key_id", "secret_access_key", "session_token"})
    if "virtual_hosted_style" in options:
        config["virtual_hosted_style_request"] = options["virtual_hosted_style"]
    if options.get("skip_signature"):
        config["skip_signature"] = True
    if options.get("skip_signature") or "access_key_id" in config:
        config["region"] = options.get("region", "us-east-1")
        if "endpoint" in options:
            config["endpoint"] = options["endpoint"]
            _refuse_plain_http(f"s3://{bucket}", options["endpoint"], options)
        return S3Store(bucket, prefix=prefix, config=config, **common)
    session = _session(options)
    from obstore.auth.boto3 import Boto3CredentialProvider

    if session.get_credentials() is None:
        msg = (
            f"there are no credentials for s3://{bucket}: configure them as for the AWS command line, "
            f"or pass access_key_id and secret_access_key as storage options"
        )
        raise StorageError(msg)
    config["region"] = session.region_name or "us-east-1"
    endpoint = options.get("endpoint") or _configured_endpoint(session, config["region"])
    if endpoint is not None:
        config["endpoint"] = endpoint
        _refuse_plain_http(f"s3://{bucket}", endpoint, options)
    return S3Store(bucket, prefix=prefix, config=config, credential_provider=Boto3CredentialProvider(session), **common)


def _refuse_plain_http(url: str, endpoint: str | None, options: dict[str, Any]) -> None:
    """Raise if *endpoint* is plain HTTP and the caller has not allowed that."""
    if endpoint is not None and endpoint.lower().startswith("http://") and not options.get("allow_http"):
        msg = f"the endpoint of {url} is plain HTTP: pass the storage option allow_http=true, or an https:// endpoint"
        raise InvalidInputError(msg)


def _session(options: dict[str, Any]) -> "Session":
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ImportError:
        msg = "s3:// needs boto3 for its credentials: install versioned-io[s3], or pass access_key_id"
        raise InvalidInputError(msg) from None
    try:
        return boto3.Session(profile_name=options.get("profile"), region_name=options.get("region"))
    except BotoCoreError as error:
        raise InvalidInputError(str(error)) from None


def _configured_endpoint(session: "Session", region: str) -> str | None:
    """Return the endpoint that AWS configuration names for S3, if it is not AWS itself."""
    found = str(session.client("s3", region_name=region).meta.endpoint_url)
    host = urlsplit(found).hostname or ""
    return None if host.endswith((_AWS, f"{_AWS}.cn")) else found


def count_retries(options: Mapping[str, str]) -> int:
    """Return the number of retries of a request that failed in transit, from parsed options."""
    return int(float(options.get("max_retries", _RETRIES)))


def _common(options: dict[str, Any]) -> dict[str, Any]:
    client: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=options.get("connect_timeout_s", 5)),
        "timeout": timedelta(seconds=options.get("timeout_s", 60)),
        "allow_http": options.get("allow_http", False),
    }
    retries = int(options.get("max_retries", _RETRIES))
    # obstore adds jitter. The time limit also applies to an endpoint that doesn't answer.
    retry = {"max_retries": retries, "retry_timeout": timedelta(seconds=60)}
    return {"client_options": client, "retry_config": retry}


def _config(options: dict[str, Any], names: Mapping[str, str] | set[str]) -> Any:  # noqa: ANN401 (each kind of store types its own)
    return {name: options[name] for name in names if name in options}


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        msg = f"the storage option {name!r} must be a number, 0 or more"
        raise InvalidInputError(msg)
    return value
