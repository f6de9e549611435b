"""The frame: a header, a payload, and a checksum that ties both to their place."""

import struct
import threading
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import xxhash
import zstandard

from versioned_io.errors import FormatError, IntegrityError
from versioned_io.identifiers import PackName, is_id
from versioned_io.objects.port import Buffer

FRAME_MAGIC: Final = b"vf1\n"
_HEADER: Final = struct.Struct("<4sBBHII")  # magic, kind, codec, zero, stored bytes, raw bytes
_CHECK: Final = struct.Struct("<Q")
HEADER_SIZE: Final = _HEADER.size + _CHECK.size
_PLACE: Final = struct.Struct("<16sQ")
LARGEST_PAYLOAD: Final = (1 << 31) - 1
_WORTH_COMPRESSING: Final = 0.98
_SMALLEST_COMPRESSED: Final = 64  # a shorter payload can't win back zstd's own header


class FrameKind(IntEnum):
    """What a frame's payload is."""

    BLOCK = 1
    PAGE = 2
    COMMIT = 3
    FOOTER = 4
    JOURNAL = 5
    SOURCE = 6


CONTENT_KINDS: Final = frozenset({FrameKind.BLOCK, FrameKind.SOURCE})
"""What chunk references lead to: blocks of chunks, and parts of objects elsewhere."""


class Codec(IntEnum):
    """How a payload is stored."""

    RAW = 0
    ZSTD = 1


@dataclass(frozen=True, slots=True)
class FrameRef:
    """Where a frame is.

    Args:
        pack: The pack's name, 16 bytes.
        offset: Of the frame's first byte in the pack.
        stored_size: Of the whole frame with its header, in bytes; one range read of it is enough.
    """

    pack: bytes
    offset: int
    stored_size: int


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What a frame's header says, before its payload is checked."""

    kind: FrameKind
    codec: Codec
    stored_size: int
    raw_size: int


def pack_key(name: PackName) -> str:
    """Return the object key of the pack *name*.

    The first digits of a UUIDv7 are the time, the last ones are random: by those, objects spread over 256 prefixes.
    """
    return f"packs/{name[-2:]}/{name}.pack"


def parse_pack_key(key: str) -> PackName | None:
    """Return the name of the pack whose object key is *key*; None when it is no pack's."""
    name = PackName(key.rpartition("/")[2].removesuffix(".pack"))
    return name if is_id(name) and key == pack_key(name) else None


def pack_name(pack: bytes) -> PackName:
    """Return the name of the pack whose 16 bytes are *pack*."""
    return PackName(pack.hex())


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload as it is stored: compressed, or as it came where that saves less than 2 %."""

    codec: Codec
    stored: Buffer
    raw_size: int


def compress_payload(payload: Buffer, *, level: int = 1) -> Payload:
    """Return *payload* as it is to be stored; what does not get smaller is not copied.

    Any thread may do this, before it is known where the frame will lie: zstd runs without the GIL.

    Raises:
        FormatError: It is larger than a frame can be.
    """
    raw_size = len(payload)
    if raw_size > LARGEST_PAYLOAD:
        msg = f"a frame of {raw_size} bytes is too large: at most {LARGEST_PAYLOAD}"
        raise FormatError(msg)
    if raw_size >= _SMALLEST_COMPRESSED:
        compressed = _zstd.compressor(level).compress(payload)
        if len(compressed) < raw_size * _WORTH_COMPRESSING:
            return Payload(Codec.ZSTD, compressed, raw_size)
    return Payload(Codec.RAW, payload, raw_size)


def encode_header(pack: bytes, offset: int, kind: FrameKind, payload: Payload) -> bytes:
    """Return the header of the frame of *payload* that is to lie at *offset* of *pack*."""
    head = _HEADER.pack(FRAME_MAGIC, kind, payload.codec, 0, len(payload.stored), payload.raw_size)
    return head + _CHECK.pack(_checksum(pack, offset, head, payload.stored))


def encode_frame(pack: bytes, offset: int, kind: FrameKind, payload: Buffer, *, level: int = 1) -> tuple[bytes, Buffer]:
    """Return the header and the stored payload of a frame that is to lie at *offset* of *pack*.

    The payload is compressed with zstd unless that saves less than 2 %; then it is returned as it is, not copied.
    """
    compressed = compress_payload(payload, level=level)
    return encode_header(pack, offset, kind, compressed), compressed.stored


def place_frame(pack: bytes, offset: int, data: Buffer, *, source: FrameRef) -> tuple[bytes, memoryview]:
    """Return the header and the stored payload of an existing frame for another place, not compressed again.

    Args:
        data: The whole frame as it lies at *source*; it is checked.

    Raises:
        IntegrityError: The bytes are not the ones that were written there.
    """
    view = memoryview(data).cast("B")
    decode_header(source.pack, source.offset, view)
    head, stored = bytes(view[: _HEADER.size]), view[HEADER_SIZE:]
    if _CHECK.unpack_from(view, _HEADER.size)[0] != _checksum(source.pack, source.offset, head, stored):
        raise _damaged(source.pack, source.offset, "its checksum does not match")
    return head + _CHECK.pack(_checksum(pack, offset, head, stored)), stored


def decode_header(pack: bytes, offset: int, data: Buffer) -> FrameHeader:
    """Return what the frame header at the start of *data* says.

    Raises:
        IntegrityError: These bytes are no frame header.
    """
    magic, kind, codec, zero, stored_size, raw_size = _HEADER.unpack_from(data)
    if magic != FRAME_MAGIC or zero or kind not in _KINDS or codec not in _CODECS:
        raise _damaged(pack, offset, "there is no frame header")
    return FrameHeader(FrameKind(kind), Codec(codec), stored_size, raw_size)


def decode_frame(pack: bytes, offset: int, data: Buffer, kind: FrameKind) -> memoryview:
    """Return the payload of the frame that is the whole of *data*, checked and decompressed.

    Raises:
        IntegrityError: The bytes are not the ones that were written there, or are no frame of this kind.
    """
    return decode_one_of(pack, offset, data, {kind})[1]


def decode_one_of(pack: bytes, offset: int, data: Buffer, kinds: Collection[FrameKind]) -> tuple[FrameKind, memoryview]:
    """Return the kind and the payload of a frame that may be of several *kinds*; as `decode_frame`."""
    view = memoryview(data)
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
    if header.codec is Codec.RAW:
        return header.kind, stored
    return header.kind, memoryview(_decompress(pack, offset, stored, header.raw_size))


class _Zstd(threading.local):
    """Each thread's own contexts: a compressor's tables are a megabyte of fresh memory, and are for one thread."""

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
