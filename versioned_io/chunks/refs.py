"""The value that says where a chunk lies, and its Arrow form in the rows of a tree."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.columns import fixed_column, number_column, number_scalar
from versioned_io.packs.frames import FrameRef

DIGEST_TYPE: Final = pa.binary(32)
PACK_TYPE: Final = pa.binary(16)

CHUNK_FIELDS: Final = [
    pa.field("digest", DIGEST_TYPE, nullable=False),
    pa.field("pack", PACK_TYPE, nullable=False),
    pa.field("offset", pa.uint64(), nullable=False),
    pa.field("stored", pa.uint32(), nullable=False),
    pa.field("inner", pa.uint32(), nullable=False),
    pa.field("size", pa.uint32(), nullable=False),
]
CHUNK_TYPE: Final = pa.struct(CHUNK_FIELDS)
CHUNKS_TYPE: Final = pa.list_(pa.field("item", CHUNK_TYPE, nullable=False))
NEW_CHUNKS: Final = pa.schema(CHUNK_FIELDS)


_LARGEST_REFERENCE: Final = 16 * 1024  # a URL has at most some kilobytes


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


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that a `DataWriter` took in.

    Args:
        size: In bytes.
        digest: The file's content digest, 32 bytes.
        chunk_digests: The digests of its chunks in order, concatenated. Where they lie is known only
            once the writer has flushed: `DataWriter.chunk_lists`.
    """

    size: int
    digest: bytes
    chunk_digests: bytes

    def digests(self) -> list[bytes]:
        """Return the chunks' digests, in order."""
        return [self.chunk_digests[at : at + 32] for at in range(0, len(self.chunk_digests), 32)]


def may_be_elsewhere(chunks: pa.StructArray) -> pa.BooleanArray:
    """Say which chunks may be parts of objects elsewhere: all that are, and others. Only their frames tell."""
    alone = pc.equal(pc.struct_field(chunks, "inner"), number_scalar(0, pa.uint32()))
    small = pc.less_equal(pc.struct_field(chunks, "stored"), number_scalar(_LARGEST_REFERENCE, pa.uint32()))
    return pc.and_(alone, small)


def chunk_refs(chunks: pa.ListScalar | Iterable[dict[str, object]]) -> tuple[ChunkRef, ...]:
    """Return the chunk references of one row; *chunks* is its ``chunks`` value, as a scalar or as Python values."""
    values = chunks.as_py() if isinstance(chunks, pa.ListScalar) else chunks
    return tuple(ChunkRef(**value) for value in values)


def chunk_lists(files: Sequence[Sequence[ChunkRef]]) -> pa.ListArray:
    """Return one list of references for each file, of type `CHUNKS_TYPE`."""
    refs = [ref for file in files for ref in file]
    columns = [
        fixed_column((ref.digest for ref in refs), 32),
        fixed_column((ref.pack for ref in refs), 16),
        number_column([ref.offset for ref in refs], pa.uint64()),
        number_column([ref.stored for ref in refs], pa.uint32()),
        number_column([ref.inner for ref in refs], pa.uint32()),
        number_column([ref.size for ref in refs], pa.uint32()),
    ]
    offsets = number_column(list(accumulate(map(len, files), initial=0)), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(columns, fields=CHUNK_FIELDS), type=CHUNKS_TYPE)
