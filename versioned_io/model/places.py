"""Where things lie in packs: the references to packs, frames, chunks and pages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from versioned_io.errors import IntegrityError
from versioned_io.errors.root import quoted
from versioned_io.model.identifiers import PackName, is_id

FRAME_HEADER_SIZE: Final = 24
"""How many bytes of a frame come before its payload: the size of the smallest frame."""

LARGEST_LEVEL: Final = 15
"""The highest level of a page: a tree with this many levels holds more files than any store."""

_DIGEST_SIZE: Final = 32
_PACK_SIZE: Final = 16


class FrameRef(NamedTuple):
    """Where a frame is.

    A tuple, as it is made and looked up once for each page and block.

    Args:
        pack: The pack's name, 16 bytes.
        offset: Of the frame's first byte in the pack.
        stored_size: Of the whole frame with its header, in bytes; one range read of it is enough.
    """

    pack: bytes
    offset: int
    stored_size: int


def pack_key(name: PackName) -> str:
    """Return the object key of the pack *name*.

    The first digits of a UUIDv7 are the time, the last ones are random: by those, objects spread over 256 prefixes.
    """
    return f"packs/{name[-2:]}/{name}.pack"


def parse_pack_key(key: str) -> PackName | None:
    """Return the name of the pack whose object key is *key*; None when the key is not a pack's."""
    name = PackName(key.rpartition("/")[2].removesuffix(".pack"))
    return name if is_id(name) and key == pack_key(name) else None


def pack_name(pack: bytes) -> PackName:
    """Return the name of the pack whose 16 bytes are *pack*."""
    return PackName(pack.hex())


@dataclass(frozen=True, slots=True)
class PackInfo:
    """A pack that is durable.

    Args:
        size_bytes: Of the whole object.
        frames: How many frames it holds, the footer not counted.
        chunks: How many chunks its footer lists.
    """

    name: PackName
    size_bytes: int
    frames: int
    chunks: int


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """Where one chunk is.

    Args:
        digest: BLAKE3-256 of the chunk's bytes.
        pack: The pack's name, 16 bytes.
        offset: Of the frame in the pack.
        stored: Size of the whole frame in the pack, in bytes.
        inner: Offset of the chunk in the frame's raw block.
        size: Of the chunk, in bytes.
    """

    digest: bytes
    pack: bytes
    offset: int
    stored: int
    inner: int
    size: int

    @property
    def frame(self) -> FrameRef:
        """The frame that the chunk lies in."""
        return FrameRef(self.pack, self.offset, self.stored)


class ChunkSpan(NamedTuple):
    """Which bytes of a block, or of other working memory, are a chunk.

    Attributes:
        digest: BLAKE3-256 of the chunk's bytes.
        start: Of its first byte.
        size: Of the chunk, in bytes.
    """

    digest: bytes
    start: int
    size: int


_REF_NUMBERS: Final = ("offset", "stored_size", "level", "files", "size_bytes")


_FURTHEST: Final = 1 << 62


_U32: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class PageRef:
    """A page and the tree below it: their content, and the page's place.

    Args:
        digest: The content's name, 32 bytes: equal trees have equal digests, wherever and whenever they were written.
        pack: The name of the pack with the page, 16 bytes.
        offset: Of the page's frame in the pack.
        stored_size: Of that frame, in bytes.
        level: 0 for a page of files, 1 for the pages above those, and so on.
        files: How many files are below.
        size_bytes: The sum of their sizes.
    """

    digest: bytes
    pack: bytes
    offset: int
    stored_size: int
    level: int
    files: int
    size_bytes: int

    @property
    def frame(self) -> FrameRef:
        """Where the page is."""
        return FrameRef(self.pack, self.offset, self.stored_size)

    def to_json(self) -> dict[str, str | int]:
        """Return the reference as commit records and the catalog keep it."""
        return {
            "digest": self.digest.hex(),
            "pack": self.pack.hex(),
            "offset": self.offset,
            "stored_size": self.stored_size,
            "level": self.level,
            "files": self.files,
            "size_bytes": self.size_bytes,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "PageRef":
        """Return the reference that `to_json` wrote.

        Raises:
            IntegrityError: It is malformed.
        """
        try:
            digest, pack = bytes.fromhex(value["digest"]), bytes.fromhex(value["pack"])
            numbers = [value[name] for name in _REF_NUMBERS]
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{quoted(str(value))} is not a page reference ({error!r}); run fsck"
            raise IntegrityError(msg) from error
        bounds = zip(
            (0, FRAME_HEADER_SIZE, 0, 1, 0), (_FURTHEST, _U32, LARGEST_LEVEL, _FURTHEST, _FURTHEST), strict=True
        )
        fits = all(type(one) is int and low <= one <= high for one, (low, high) in zip(numbers, bounds, strict=True))
        if not fits or (len(digest), len(pack)) != (_DIGEST_SIZE, _PACK_SIZE):
            msg = f"{quoted(str(value))} is not a page reference; run fsck"
            raise IntegrityError(msg)
        return cls(digest, pack, *numbers)
