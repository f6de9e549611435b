"""Objects in S3 through boto3, for forked children: unlike obstore, boto3 starts no threads."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from versioned_io.errors import ExistsError, IntegrityError, InvalidInputError, ObjectNotFoundError, StorageError
from versioned_io.storage.objects.clients import parse_options
from versioned_io.storage.objects.port import Buffer, ObjectInfo, check_key, check_prefix

_BULK: Final = 1000
_PARALLEL_RANGES: Final = 8
_TAKEN: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
_MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound"})


class _TakenAtRetryError(ExistsError):
    """A key is taken, perhaps by an earlier try of the same put whose reply was lost."""


class S3Objects:
    """The objects below a prefix of a bucket.

    Args:
        client: The boto3 client.
    """

    def __init__(self, url: str, client: Any) -> None:  # noqa: ANN401 (boto3 makes its classes when it runs)
        parts = urlsplit(url)
        self._url = url
        self._client = client
        self._bucket = parts.netloc
        self._prefix = f"{parts.path.strip('/')}/" if parts.path.strip("/") else ""

    @property
    def url(self) -> str:
        """The URL that the store was opened with."""
        return self._url

    @property
    def is_remote(self) -> bool:
        """True."""
        return True

    def put(self, key: str, data: Sequence[Buffer]) -> None:
        """See `ObjectStore.put`. Cost: 1 GET more if the key is taken after a retry."""
        check_key(key)
        body = b"".join(data)
        try:
            self._call("put", key, self._client.put_object, Body=body, IfNoneMatch="*")
        except _TakenAtRetryError:
            if self.get(key) != body:
                raise ExistsError("object", key) from None

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        check_key(key)
        return self._read(key)

    def get_range(self, key: str, offset: int, length: int) -> memoryview:
        """See `ObjectStore.get_range`."""
        return self.get_ranges(key, [(offset, length)])[0]

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """See `ObjectStore.get_ranges`."""
        check_key(key)
        if len(ranges) == 1:
            return [self._read_range(key, ranges[0])]
        with ThreadPoolExecutor(_PARALLEL_RANGES) as pool:
            return list(pool.map(lambda one: self._read_range(key, one), ranges))

    def size(self, key: str) -> int:
        """See `ObjectStore.size`."""
        check_key(key)
        return int(self._call("get", key, self._client.head_object)["ContentLength"])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`."""
        check_prefix(prefix)
        token: dict[str, str] = {}
        while True:
            page = self._call("list", prefix, self._client.list_objects_v2, Prefix=self._prefix + prefix, **token)
            for found in page.get("Contents", ()):
                yield ObjectInfo(found["Key"].removeprefix(self._prefix), found["Size"], found["LastModified"])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, keys: Iterable[str]) -> None:
        """See `ObjectStore.delete`."""
        checked = [check_key(key) for key in keys]
        for start in range(0, len(checked), _BULK):
            batch = checked[start : start + _BULK]
            objects = {"Objects": [{"Key": self._prefix + key} for key in batch], "Quiet": True}
            reply = self._call("delete", batch[0], self._client.delete_objects, Delete=objects)
            for failed in reply.get("Errors", ()):
                msg = f"can't delete {failed.get('Key')!r} in {self._url}: {failed.get('Code')}"
                raise StorageError(msg)

    def _read(self, key: str, **options: str) -> bytes:
        return bytes(self._call("get", key, lambda **sent: self._client.get_object(**sent)["Body"].read(), **options))

    def _read_range(self, key: str, wanted: tuple[int, int]) -> memoryview:
        offset, length = wanted
        if not length:
            return memoryview(b"")
        data = self._read(key, Range=f"bytes={offset}-{offset + length - 1}")
        if len(data) != length:
            raise self._too_short(key)
        return memoryview(data)

    def _call(self, action: str, key: str, call: Any, **options: object) -> Any:  # noqa: ANN401 (boto3's calls and replies)
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        named = {} if action in {"list", "delete"} else {"Key": self._prefix + key}
        try:
            return call(Bucket=self._bucket, **named, **options)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if code in _TAKEN and error.response.get("ResponseMetadata", {}).get("RetryAttempts"):
                raise _TakenAtRetryError("object", key) from None
            self._refuse(action, key, code)
        except (BotoCoreError, HTTPClientError, OSError) as error:
            msg = f"can't {action} {key!r} in {self._url}: {type(error).__name__}"
            raise StorageError(msg) from None

    def _refuse(self, action: str, key: str, code: str) -> NoReturn:
        if action == "put" and code in _TAKEN:
            raise ExistsError("object", key) from None
        if action == "get" and code in _MISSING:
            raise ObjectNotFoundError(key, self._url) from None
        if code == "InvalidRange":
            raise self._too_short(key) from None
        if code == "NoSuchBucket":
            msg = f"there is no bucket for {self._url}: create it, or check the URL"
            raise StorageError(msg) from None
        msg = f"can't {action} {key!r} in {self._url}: {code}"
        raise StorageError(msg) from None

    def _too_short(self, key: str) -> IntegrityError:
        return IntegrityError(f"object {key!r} in {self._url} is too short: it is referenced past its end")


def open_s3(url: str, options: Mapping[str, str]) -> S3Objects:
    """Return the objects at *url* through boto3; the options are those of `open_client`.

    Raises:
        InvalidInputError: boto3 is missing. Install it, or start processes by spawn.
    """
    try:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
    except ImportError:
        msg = "a forked process needs boto3 for s3://: install versioned-io[s3], or start processes by spawn"
        raise InvalidInputError(msg) from None
    given = parse_options("s3", options)
    config = Config(
        connect_timeout=given.get("connect_timeout_s", 5),
        read_timeout=given.get("timeout_s", 60),
        retries={"mode": "standard", "total_max_attempts": int(given.get("max_retries", 5)) + 1},
        s3={"addressing_style": "virtual" if given.get("virtual_hosted_style") else "path"},
        # As in obstore: S3-compatible servers may not support the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **({"signature_version": UNSIGNED} if given.get("skip_signature") else {}),
    )
    session = boto3.Session(
        aws_access_key_id=given.get("access_key_id"),
        aws_secret_access_key=given.get("secret_access_key"),
        aws_session_token=given.get("session_token"),
        profile_name=given.get("profile"),
        region_name=given.get("region") or (None if "access_key_id" not in given else "us-east-1"),
    )
    return S3Objects(url, session.client("s3", endpoint_url=given.get("endpoint"), config=config))
