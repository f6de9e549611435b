"""URLs of objects elsewhere: parsed, and formatted in one canonical form."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from versioned_io.errors import InvalidInputError
from versioned_io.model.arguments import parse_local_path

LOCAL: Final = "file"
_SCHEMES: Final = {"s3": "s3", "s3a": "s3", "gs": "gs", "az": "az", LOCAL: LOCAL}
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """An object elsewhere, or all objects below a prefix.

    Args:
        scheme: ``s3``, ``gs``, ``az`` or ``file``.
        bucket: The bucket or container; empty for ``file``.
        key: The key, or the absolute path, without slashes at its ends; empty for the whole bucket or disk.
    """

    scheme: str
    bucket: str
    key: str

    @property
    def url(self) -> str:
        """The URL: keys are not encoded, local paths are percent-encoded."""
        # A local name need not be valid UTF-8; its bytes are encoded directly.
        key = quote(self.key, errors="surrogateescape") if self.is_local else self.key
        return f"{self.scheme}://{self.bucket}/{key}"

    @property
    def is_local(self) -> bool:
        """Whether it is a local file or directory."""
        return self.scheme == LOCAL

    def contains(self, other: "Location") -> bool:
        """Return whether *other* equals this location or lies below it, by whole parts of the path."""
        if (self.scheme, self.bucket) != (other.scheme, other.bucket):
            return False
        return not self.key or other.key == self.key or other.key.startswith(f"{self.key}/")

    def below(self, relative: str) -> "Location":
        """Return the object at the path *relative* below this prefix."""
        return Location(self.scheme, self.bucket, f"{self.key}/{relative}" if self.key else relative)

    def relative(self, url: str) -> str:
        """Return the path, relative to this prefix, of the object *url* below it; *url* is in the form of `url`."""
        below = url[len(self.url) + bool(self.key) :]
        return unquote(below, errors="surrogateescape") if self.is_local else below

    @property
    def parent(self) -> "Location":
        """The prefix directly above."""
        return Location(self.scheme, self.bucket, self.key.rpartition("/")[0])


def parse_location(url: str | Path) -> Location:
    """Parse *url*: ``s3://bucket/key``, ``gs://``, ``az://``, ``file:///path``, or an absolute local path.

    Raises:
        InvalidInputError: The URL is of another kind, holds a user or a password, or has a part that is empty, ``.`` or
            ``..``. The message repeats nothing that may be secret.
    """
    text = parse_local_path(url, "the place of an object")
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Location(LOCAL, "", _local_key(os.path.abspath(text)))  # noqa: PTH100 (links stay as they are)
    if scheme not in _SCHEMES:
        msg = f"can't refer to objects of {scheme!r} in place: use s3://, gs://, az:// or a local path"
        raise InvalidInputError(msg)
    bucket, _, key = rest.partition("/")
    if scheme == LOCAL:
        if bucket:
            msg = f"a file URL has no host: write file:///path, not file://{bucket}"
            raise InvalidInputError(msg)
        return Location(LOCAL, "", _local_key(f"/{unquote(key, errors='surrogateescape')}"))
    if not _BUCKET.fullmatch(bucket):
        msg = f"a {scheme}:// URL needs a bucket and no more before the first slash: credentials are storage options"
        raise InvalidInputError(msg)
    return Location(_SCHEMES[scheme], bucket, _checked(scheme, key.removesuffix("/")))


def refuse_query(url: str | Path) -> None:
    """Raise if *url* has a query, as a signed URL has: the store would keep and show its signature.

    Raises:
        InvalidInputError: The URL has a query or a fragment, which the message does not repeat. Give it without.
    """
    text = str(url)
    if "://" in text and ("?" in text or "#" in text):
        shown = re.split(r"[?#]", text, maxsplit=1)[0]
        scheme = shown.partition("://")[0]
        msg = f"a {scheme}:// URL of objects takes no query: give the bucket and key, and storage options in sources"
        raise InvalidInputError(msg)


def _local_key(path: str) -> str:
    return _checked(LOCAL, path.strip("/"))


def _checked(scheme: str, key: str) -> str:
    if "\0" in key or (key and not {"", ".", ".."}.isdisjoint(key.split("/"))):
        msg = f"{f'{scheme}://.../{key}'!r} has a part that is empty, '.' or '..': name the object plainly"
        raise InvalidInputError(msg)
    return key
