"""The settings of a dagster-aws `S3Resource` as storage options of a store."""

from dataclasses import replace
from typing import Any

import versioned_io as vio
from versioned_io.errors import InvalidInputError

_OPTIONS = {
    "region_name": "region",
    "endpoint_url": "endpoint",
    "profile_name": "profile",
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
}


def with_s3(settings: "vio.StoreSettings", s3: Any) -> "vio.StoreSettings":  # noqa: ANN401 (dagster-aws is optional)
    """Return *settings* with the endpoint, region, profile and credentials of *s3*; its own storage options win.

    An ``http://`` endpoint is allowed, as the resource allows it.

    Args:
        s3: A `dagster_aws.s3.S3Resource`.

    Raises:
        InvalidInputError: *s3* is something else, the store is not in S3, or *s3* turns the verification of
            certificates off, which a store does not offer.
    """
    if not hasattr(s3, "endpoint_url") or not hasattr(s3, "use_unsigned_session"):
        msg = f"s3 is a {type(s3).__name__}: pass a dagster_aws.s3.S3Resource"
        raise InvalidInputError(msg)
    if not settings.store.startswith("s3://"):
        msg = f"s3= was given, but the store is {settings.store!r}: a store in S3 is named s3://bucket/prefix"
        raise InvalidInputError(msg)
    if s3.verify is False:
        msg = "the S3Resource has verify=False, but a store always verifies certificates: leave verify unset"
        raise InvalidInputError(msg)
    return replace(settings, storage_options=storage_options_of(s3) | dict(settings.storage_options or {}))


def storage_options_of(s3: Any) -> dict[str, str]:  # noqa: ANN401 (dagster-aws is optional)
    """Return the storage options that say the same as the `S3Resource` *s3*."""
    options = {
        option: str(value) for name, option in _OPTIONS.items() if (value := getattr(s3, name, None)) is not None
    }
    if options.get("endpoint", "").lower().startswith("http://"):
        options["allow_http"] = "true"
    if s3.use_unsigned_session:
        options["skip_signature"] = "true"
    if "max_attempts" in type(s3).model_fields and s3.max_attempts != type(s3).model_fields["max_attempts"].default:
        options["max_retries"] = str(max(s3.max_attempts - 1, 0))
    return options
