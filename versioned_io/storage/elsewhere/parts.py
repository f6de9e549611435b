"""The part of an object elsewhere that a chunk of a file stands for: its encoding and its digest."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from blake3 import blake3

from versioned_io.errors import IntegrityError
from versioned_io.storage.objects.port import Buffer

PART_CONTEXT: Final = "versioned-io 2026 v1 part of a file elsewhere"
_PART_BYTES = 8 * 1024 * 1024  # one request each: large enough to hide its latency, small enough for memory
_LARGEST_PART: Final = (1 << 32) - 1  # the limit of a chunk reference's size field
_FIELDS: Final = {"etag", "object_size", "offset", "size", "url", "version"}


@dataclass(frozen=True, slots=True)
class Pin:
    """An object elsewhere as it was when it was imported.

    Args:
        url: ``s3://bucket/key``, ``gs://bucket/key``, ``az://container/key`` or ``file:///path``; see `Location`.
        etag: The server's ETag of the content; for a local file its inode, time of change and size.
        version: The version of the object, in a bucket that keeps versions; None for any version with this ETag.
        size: The size of the whole object in bytes.
    """

    url: str
    etag: str
    version: str | None
    size: int

    def __str__(self) -> str:
        version = "" if self.version is None else f", version {self.version!r}"
        return f"ETag {self.etag!r}{version}, {self.size} bytes"


@dataclass(frozen=True, slots=True)
class Part:
    """A range of bytes of an object elsewhere.

    Args:
        offset: The offset of the first byte in the object.
        size: In bytes, at least 1.
    """

    pin: Pin
    offset: int
    size: int


class EncodedPart(NamedTuple):
    """A part as it is stored.

    Attributes:
        digest: Of the chunk that it stands for; see `name_part`.
        payload: Of its frame; see `encode_part`.
        size: Of the part, in bytes.
    """

    digest: bytes
    payload: bytes
    size: int


def parts_of(pin: Pin) -> Iterator[Part]:
    """Yield the parts of an object, in order: 8 MiB each, a shorter last one, and none of an empty object."""
    for offset in range(0, pin.size, _PART_BYTES):
        yield Part(pin, offset, min(_PART_BYTES, pin.size - offset))


def encode_part(part: Part) -> bytes:
    """Return the payload of the frame that stands for *part*: canonical JSON.

    Source: docs/spec/format-v1.md, "Parts of files elsewhere".
    """
    fields = {
        "etag": part.pin.etag,
        "object_size": part.pin.size,
        "offset": part.offset,
        "size": part.size,
        "url": part.pin.url,
        "version": part.pin.version,
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decode_part(payload: Buffer) -> Part:
    """Return the part that `encode_part` encoded.

    Raises:
        IntegrityError: The payload differs from the output of `encode_part`. Run fsck.
    """
    data = bytes(payload)
    part = _parse(data)
    if part is None or encode_part(part) != data:
        msg = "a frame with a part of a file elsewhere is not in the form that this format defines; run fsck"
        raise IntegrityError(msg)
    return part


def name_part(payload: Buffer) -> bytes:
    """Return the digest of the chunk that the frame of *payload* stands for, 32 bytes.

    The digest is of the pin, since the bytes are not read. So the same object has the same digest when it is imported
    again unchanged. Nobody can craft bytes that have this digest as their own.

    Source: docs/spec/format-v1.md, "Parts of files elsewhere".
    """
    return blake3(payload, derive_key_context=PART_CONTEXT).digest()


def _parse(data: bytes) -> Part | None:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or set(fields) != _FIELDS:
        return None
    url, etag, version = fields["url"], fields["etag"], fields["version"]
    offset, size, object_size = fields["offset"], fields["size"], fields["object_size"]
    if not (isinstance(url, str) and isinstance(etag, str) and (version is None or isinstance(version, str))):
        return None
    if not all(type(number) is int for number in (offset, size, object_size)):
        return None
    is_inside = offset >= 0 and 0 < size <= _LARGEST_PART and offset + size <= object_size
    return Part(Pin(url, etag, version, object_size), offset, size) if is_inside else None
