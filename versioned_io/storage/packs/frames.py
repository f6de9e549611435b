"""The frame: a header, a payload, and a checksum that covers both and their place."""

import struct
import threading
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import xxhash
import zstandard

from versioned_io.errors import FormatError, IntegrityError
from versioned_io.model.places import FRAME_HEADER_SIZE, FrameRef
from versioned_io.storage.objects.port import Buffer

FRAME_MAGIC: Final = b"vf1\n"
_HEADER: Final = struct.Struct("<4sBBHII")  # magic, kind, codec, zero, stored bytes, raw bytes
_CHECK: Final = struct.Struct("<Q")
HEADER_SIZE: Final = FRAME_HEADER_SIZE  # _HEADER and _CHECK
_PLACE: Final = struct.Struct("<16sQ")
LARGEST_PAYLOAD: Final = (1 << 31) - 1
LARGEST_BLOCK: Final = 2 * 1024 * 1024
"""The limit for a block of chunks. Writers end a block at 1 MiB plus at most one small chunk."""

_LARGEST_REFERENCE: Final = 64 * 1024
_LARGEST_UNPROVED: Final = 4 * 1024 * 1024
_MOST_SAVED: Final = 64
"""The largest compression ratio of a payload over 4 MiB, so that a few KB never decompress to GBs."""

_WORTH_COMPRESSING: Final = 0.98
_SMALLEST_COMPRESSED: Final = 64  # a shorter payload does not save more than zstd's own header costs


class FrameKind(IntEnum):
    """The kind of a frame's payload."""

    BLOCK = 1
    PAGE = 2
    COMMIT = 3
    FOOTER = 4
    JOURNAL = 5
    SOURCE = 6


CONTENT_KINDS: Final = frozenset({FrameKind.BLOCK, FrameKind.SOURCE})
"""The kinds of frames that chunk references point to: blocks of chunks, and parts of objects elsewhere."""


class Codec(IntEnum):
    """The encoding of a stored payload."""

    RAW = 0
    ZSTD = 1


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """The fields of a frame's header, before its payload is verified."""

    kind: FrameKind
    codec: Codec
    stored_size: int
    raw_size: int


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload as it is stored: compressed, or raw if compression saves less than 2 %."""

    codec: Codec
    stored: Buffer
    raw_size: int


def compress_payload(payload: Buffer, *, level: int = 1) -> Payload:
    """Return *payload* in its stored form; a payload that is stored raw is not copied.

    Any thread may call this, before the frame has a place. zstd releases the GIL.

    Raises:
        FormatError: The payload is larger than the limit of a frame. Split it.
    """
    raw_size = len(payload)
    if raw_size > LARGEST_PAYLOAD:
        msg = f"a frame of {raw_size} bytes is too large: at most {LARGEST_PAYLOAD}"
        raise FormatError(msg)
    if raw_size >= _SMALLEST_COMPRESSED:
        compressed = _zstd.compressor(level).compress(payload)
        if len(compressed) < raw_size * _WORTH_COMPRESSING and not _is_too_dense(raw_size, len(compressed)):
            return Payload(Codec.ZSTD, compressed, raw_size)
    return Payload(Codec.RAW, payload, raw_size)


def _is_too_dense(raw_size: int, stored_size: int) -> bool:
    """Return whether a payload's compression ratio is above the limit that readers accept."""
    return raw_size > _LARGEST_UNPROVED and raw_size > _MOST_SAVED * stored_size


def encode_header(pack: bytes, offset: int, kind: FrameKind, payload: Payload) -> bytes:
    """Return the header of a frame of *payload* at *offset* of *pack*."""
    head = _HEADER.pack(FRAME_MAGIC, kind, payload.codec, 0, len(payload.stored), payload.raw_size)
    return head + _CHECK.pack(_checksum(pack, offset, head, payload.stored))


def encode_frame(pack: bytes, offset: int, kind: FrameKind, payload: Buffer, *, level: int = 1) -> tuple[bytes, Buffer]:
    """Return the header and the stored payload of a frame at *offset* of *pack*.

    The payload is compressed with zstd. If that saves less than 2 %, the payload itself is returned, not a copy.
    """
    compressed = compress_payload(payload, level=level)
    return encode_header(pack, offset, kind, compressed), compressed.stored


def place_frame(pack: bytes, offset: int, data: Buffer, *, source: FrameRef) -> tuple[bytes, memoryview]:
    """Return the header and the stored payload of an existing frame for another place, without recompression.

    Args:
        data: The whole frame as stored at *source*; it is verified.

    Raises:
        IntegrityError: The bytes differ from the written ones. Run fsck.
    """
    view = memoryview(data).cast("B")
    decode_header(source.pack, source.offset, view)
    head, stored = bytes(view[: _HEADER.size]), view[HEADER_SIZE:]
    if _CHECK.unpack_from(view, _HEADER.size)[0] != _checksum(source.pack, source.offset, head, stored):
        raise _damaged(source.pack, source.offset, "its checksum does not match")
    return head + _CHECK.pack(_checksum(pack, offset, head, stored)), stored


def decode_header(pack: bytes, offset: int, data: Buffer) -> FrameHeader:
    """Return the frame header at the start of *data*.

    Raises:
        IntegrityError: These bytes are not a frame header. Run fsck.
    """
    magic, kind, codec, zero, stored_size, raw_size = _HEADER.unpack_from(data)
    if magic != FRAME_MAGIC or zero or kind not in _KINDS or codec not in _CODECS:
        raise _damaged(pack, offset, "there is no frame header")
    return FrameHeader(FrameKind(kind), Codec(codec), stored_size, raw_size)


def decode_frame(pack: bytes, offset: int, data: Buffer, kind: FrameKind) -> memoryview:
    """Return the payload of the frame in *data*, verified and decompressed; *data* is exactly one frame.

    Raises:
        IntegrityError: The bytes differ from the written ones, or are not a frame of this kind. Run fsck.
    """
    return decode_one_of(pack, offset, data, {kind})[1]


def decode_one_of(pack: bytes, offset: int, data: Buffer, kinds: Collection[FrameKind]) -> tuple[FrameKind, memoryview]:
    """Return the kind and the payload of a frame of one of *kinds*; otherwise as `decode_frame`."""
    header, stored = _checked(pack, offset, memoryview(data), kinds)
    if header.codec is Codec.RAW:
        return header.kind, stored
    return header.kind, memoryview(_decompress(pack, offset, stored, header.raw_size))


def check_one_of(pack: bytes, offset: int, data: Buffer, kinds: Collection[FrameKind]) -> tuple[FrameKind, memoryview]:
    """Return the same, with the stored payload: verified, but not decompressed. Cost: XXH3 over it."""
    header, stored = _checked(pack, offset, memoryview(data), kinds)
    return header.kind, stored


def _checked(
    pack: bytes, offset: int, view: memoryview, kinds: Collection[FrameKind]
) -> tuple[FrameHeader, memoryview]:
    if len(view) < HEADER_SIZE:
        raise _damaged(pack, offset, "it is shorter than a frame header")
    header = decode_header(pack, offset, view)
    stored = view[HEADER_SIZE:]
    if header.stored_size != len(stored):
        raise _damaged(pack, offset, f"it holds {header.stored_size} bytes, not {len(stored)}")
    (check,) = _CHECK.unpack_from(view, _HEADER.size)
    if check != _checksum(pack, offset, view[: _HEADER.size], stored):
        raise _damaged(pack, offset, "its checksum does not match")
    if header.kind not in kinds:
        wanted = " or ".join(sorted(kind.name.lower() for kind in kinds))
        raise _damaged(pack, offset, f"it is a {header.kind.name.lower()}, not a {wanted}")
    _check_size(pack, offset, header)
    return header, stored


def check_reference(ref: FrameRef, kinds: Collection[FrameKind]) -> None:
    """Raise, before anything is read, if no frame of *kinds* may have the size in *ref*.

    Raises:
        IntegrityError: The size is beyond the limits of these kinds. Run fsck.
    """
    if ref.stored_size > HEADER_SIZE + max(map(_largest_payload, kinds)):
        raise _damaged(ref.pack, ref.offset, f"no frame that is needed here is stored in {ref.stored_size} bytes")


def _largest_payload(kind: FrameKind) -> int:
    if kind is FrameKind.BLOCK:
        return LARGEST_BLOCK
    return _LARGEST_REFERENCE if kind is FrameKind.SOURCE else LARGEST_PAYLOAD


def _check_size(pack: bytes, offset: int, header: FrameHeader) -> None:
    """Raise, before anything is decompressed, if a frame's payload may not have the size in its header.

    Source: docs/spec/format-v1.md, "What a reader refuses".
    """
    if header.raw_size > _largest_payload(header.kind):
        raise _damaged(pack, offset, f"a {header.kind.name.lower()} never decompresses to {header.raw_size} bytes")
    if header.codec is Codec.RAW and header.raw_size != header.stored_size:
        raise _damaged(pack, offset, f"it holds {header.stored_size} bytes, not {header.raw_size}")
    if _is_too_dense(header.raw_size, header.stored_size):
        raise _damaged(pack, offset, f"{header.stored_size} bytes that decompress to {header.raw_size} are refused")


class _Zstd(threading.local):
    """The zstd contexts of each thread. A compressor's tables take a megabyte, and can be used by one thread only."""

    def __init__(self) -> None:
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressor = zstandard.ZstdDecompressor()

    def compressor(self, level: int) -> zstandard.ZstdCompressor:
        if level not in self.compressors:
            self.compressors[level] = zstandard.ZstdCompressor(level=level, write_content_size=True)
        return self.compressors[level]


def _decompress(pack: bytes, offset: int, stored: memoryview, raw_size: int) -> bytes:
    try:
        if zstandard.frame_content_size(stored) != raw_size:
            raise _damaged(pack, offset, f"it does not decompress to {raw_size} bytes")
        raw = _zstd.decompressor.decompress(stored, max_output_size=raw_size)
    except zstandard.ZstdError as error:
        raise _damaged(pack, offset, f"it does not decompress ({error})") from error
    if len(raw) != raw_size:
        raise _damaged(pack, offset, f"it decompresses to {len(raw)} bytes, not {raw_size}")
    return raw


def _checksum(pack: bytes, offset: int, head: Buffer, stored: Buffer) -> int:
    check = xxhash.xxh3_64(_PLACE.pack(pack, offset))
    check.update(head)
    check.update(stored)
    return check.intdigest()


def _damaged(pack: bytes, offset: int, reason: str) -> IntegrityError:
    return IntegrityError(f"frame at byte {offset} of pack {pack.hex()} is damaged: {reason}; run fsck")


_zstd: Final = _Zstd()
_KINDS: Final = frozenset(FrameKind)
_CODECS: Final = frozenset(Codec)
