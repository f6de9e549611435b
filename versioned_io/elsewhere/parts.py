"""The part of an object elsewhere that one chunk of a file stands for: how it is written down, and named."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from versioned_io.errors import IntegrityError
from versioned_io.objects.port import Buffer

PART_CONTEXT: Final = "versioned-io 2026 v1 part of a file elsewhere"
_PART_BYTES = 8 * 1024 * 1024  # one request each: large enough that its latency does not count, small enough to hold
_LARGEST_PART: Final = (1 << 32) - 1  # what a chunk reference can hold
_FIELDS: Final = {"etag", "object_size", "offset", "size", "url", "version"}


@dataclass(frozen=True, slots=True)
class Pin:
    """An object elsewhere as it was when it was imported.

    Args:
        url: ``s3://bucket/key``, ``gs://bucket/key``, ``az://container/key`` or ``file:///path``; see `Location`.
        etag: What its server said of its content; of a local file its inode, time and size.
        version: The one version that is meant, in a bucket that keeps them; None for whichever has that ETag.
        size: Of the whole object, in bytes.
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
    """Some bytes of an object elsewhere.

    Args:
        offset: Of the first byte in the object.
        size: In bytes, at least 1.
    """

    pin: Pin
    offset: int
    size: int


def parts_of(pin: Pin) -> Iterator[Part]:
    """Yield the parts that an object is cut into, in order: 8 MiB each, the last one what is left; none if empty."""
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
    """Return the part that `encode_part` wrote down.

    Raises:
        IntegrityError: It is not exactly what `encode_part` writes; run fsck.
    """
    data = bytes(payload)
    part = _parse(data)
    if part is None or encode_part(part) != data:
        msg = "a frame tells of a part of a file elsewhere, but not as this format does; run fsck"
        raise IntegrityError(msg)
    return part


def name_part(payload: Buffer) -> bytes:
    """Return the digest of the chunk that the frame of *payload* stands for, 32 bytes.

    It is of what was pinned, since the bytes are not read: the same object, imported again unchanged, has the same
    name, and no bytes can be crafted that have it as their own.

    Source: docs/spec/format-v1.md, "Parts of files elsewhere".
    """
    return blake3(payload, derive_key_context=PART_CONTEXT).digest()


def _parse(data: bytes) -> Part | None:
    try:
        fields = json.loads(data)
    except ValueError:
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
