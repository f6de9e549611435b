"""The index at a pack's end: the places of its frames, and the chunks in its blocks."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import xxhash

from versioned_io.errors import FormatError, IntegrityError
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import ChunkSpan
from versioned_io.storage.objects.port import Buffer
from versioned_io.storage.packs.frames import HEADER_SIZE, FrameKind

PACK_MAGIC: Final = b"VIOPACK1"
END_MAGIC: Final = b"1KCAPOIV"
_HEAD: Final = struct.Struct("<8s16sQ")  # magic, pack name, XXH3-64 of the two
HEAD_SIZE: Final = _HEAD.size
_TRAILER: Final = struct.Struct("<QIIQ8s")  # footer offset, footer frame size, zero, XXH3-64, magic
TRAILER_SIZE: Final = _TRAILER.size
_COUNTS: Final = struct.Struct("<II")  # frames, chunks
_FRAME: Final = struct.Struct("<QIIB7x")  # offset, frame size, raw size, kind
_CHUNK: Final = struct.Struct("<32sIII")  # digest, number of the frame, offset in the block, size
_LISTED: Final = frozenset(FrameKind) - {FrameKind.FOOTER}


class FooterFrame(NamedTuple):
    """One frame of a pack: its kind, its offset, its stored size with the header, and its decompressed size."""

    kind: FrameKind
    offset: int
    stored_size: int
    raw_size: int


class FooterChunk(NamedTuple):
    """One chunk of a pack: its digest, the number of its frame, its offset in the frame's block, and its size."""

    digest: bytes
    frame: int
    inner: int
    size: int


@dataclass(frozen=True, slots=True)
class Footer:
    """The index of one pack."""

    name: PackName
    frames: tuple[FooterFrame, ...]
    chunks: tuple[FooterChunk, ...]


def encode_head(pack: bytes) -> bytes:
    """Return the first bytes of the pack *pack*."""
    start = PACK_MAGIC + pack
    return _HEAD.pack(PACK_MAGIC, pack, xxhash.xxh3_64_intdigest(start))


def check_head(pack: bytes, data: bytes | memoryview) -> None:
    """Raise unless *data* starts with the head of the pack *pack*.

    Raises:
        FormatError: The pack has a newer format. Upgrade versioned-io.
        IntegrityError: The data is another pack, or not a pack. Run fsck.
    """
    head = bytes(data[:HEAD_SIZE])
    if head == encode_head(pack):
        return
    is_whole = len(head) == HEAD_SIZE and xxhash.xxh3_64_intdigest(head[:24]) == _HEAD.unpack(head)[2]
    if is_whole and head[:7] == PACK_MAGIC[:7] and head[7] > PACK_MAGIC[7]:
        msg = f"pack {pack.hex()} has format {chr(head[7])}, newer than this library reads; upgrade versioned-io"
        raise FormatError(msg)
    msg = f"pack {pack.hex()} is damaged: its first bytes are not those of this pack; run fsck"
    raise IntegrityError(msg)


def encode_footer_chunks(frame: int, chunks: Iterable[ChunkSpan]) -> bytes:
    """Return the footer's entries for *chunks*, which are spans of the block in frame number *frame*."""
    pack = _CHUNK.pack
    return b"".join([pack(digest, frame, inner, size) for digest, inner, size in chunks])


def join_footer(frames: Iterable[FooterFrame], chunks: Buffer) -> bytes:
    """Return the payload of the footer frame; *chunks* is a concatenation of results of `encode_footer_chunks`."""
    lines = [_FRAME.pack(f.offset, f.stored_size, f.raw_size, f.kind) for f in frames]
    return b"".join((_COUNTS.pack(len(lines), len(chunks) // _CHUNK.size), *lines, chunks))


def decode_footer(name: PackName, payload: bytes | memoryview) -> Footer:
    """Return the index that *payload* holds.

    Raises:
        IntegrityError: Its length contradicts its counts, its frames are not contiguous, or a chunk lies outside of
            its frame. Run fsck.
    """
    view = memoryview(payload)
    frame_count, chunk_count = _COUNTS.unpack_from(view) if len(view) >= _COUNTS.size else (0, 0)
    chunks_at = _COUNTS.size + frame_count * _FRAME.size
    if len(view) != chunks_at + chunk_count * _CHUNK.size:
        raise _wrong(name, f"{len(view)} bytes do not fit its counts")
    frames = tuple(_frames_of(name, view[_COUNTS.size : chunks_at]))
    chunks = tuple(FooterChunk(*fields) for fields in _CHUNK.iter_unpack(view[chunks_at:]))
    for chunk in chunks:
        if chunk.frame >= len(frames) or not _holds(frames[chunk.frame], chunk):
            raise _wrong(name, f"its chunk {chunk.digest.hex()} does not lie in frame {chunk.frame}")
    return Footer(name, frames, chunks)


def _frames_of(name: PackName, lines: memoryview) -> Iterator[FooterFrame]:
    end = HEAD_SIZE
    for offset, stored_size, raw_size, kind in _FRAME.iter_unpack(lines):
        if kind not in _LISTED or stored_size < HEADER_SIZE:
            raise _wrong(name, f"it lists a frame of kind {kind} and {stored_size} bytes")
        if offset != end:
            raise _wrong(name, f"it skips byte {end}")
        end += stored_size
        yield FooterFrame(FrameKind(kind), offset, stored_size, raw_size)


def _holds(frame: FooterFrame, chunk: FooterChunk) -> bool:
    if frame.kind is FrameKind.SOURCE:
        return chunk.inner == 0  # the chunk's bytes are in an object elsewhere
    return frame.kind is FrameKind.BLOCK and chunk.inner + chunk.size <= frame.raw_size


def _wrong(name: PackName, reason: str) -> IntegrityError:
    return IntegrityError(f"footer of pack {name} is damaged: {reason}; run fsck")


def encode_trailer(pack: bytes, footer_offset: int, footer_size: int) -> bytes:
    """Return the last bytes of a pack; *footer_size* is the size of the whole footer frame."""
    check = xxhash.xxh3_64_intdigest(pack + struct.pack("<QII", footer_offset, footer_size, 0))
    return _TRAILER.pack(footer_offset, footer_size, 0, check, END_MAGIC)


def decode_trailer(pack: bytes, data: bytes | memoryview) -> tuple[int, int]:
    """Return the footer frame's (offset, size) from the last bytes of a pack.

    Raises:
        IntegrityError: They are not the last bytes of this pack. Run fsck.
    """
    if len(data) == TRAILER_SIZE:
        footer_offset, footer_size, _, _, _ = _TRAILER.unpack(data)
        if bytes(data) == encode_trailer(pack, footer_offset, footer_size):
            return footer_offset, footer_size
    msg = f"pack {pack.hex()} is damaged: its last bytes are not a trailer; run fsck"
    raise IntegrityError(msg)
