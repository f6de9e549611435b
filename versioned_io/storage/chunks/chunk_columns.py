"""Files that were taken in, and references to chunks as Arrow columns of a tree's rows."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.model.columns import fixed_column, number_column, number_scalar
from versioned_io.model.places import ChunkRef

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
class TakenFile:
    """A file that a `FileIntake` took in.

    Args:
        size: In bytes.
        digest: The file's content digest, 32 bytes.
        chunk_digests: The digests of its chunks in order, concatenated. The places of the chunks are known only after
            a flush: see `ChunkPlacer.chunk_lists`.
    """

    size: int
    digest: bytes
    chunk_digests: bytes

    def digests(self) -> list[bytes]:
        """Return the chunks' digests, in order."""
        return [self.chunk_digests[at : at + 32] for at in range(0, len(self.chunk_digests), 32)]


class FileColumns:
    """The files that were taken in, in input order.

    Stored in columns, since 1,000,000 Python objects would take 300 MB.

    Attributes:
        sizes: In bytes.
        digests: The content digests, 32 bytes each, concatenated.
        several: By row, the concatenated chunk digests of each file that is not exactly one chunk. The digest of a file
            of one chunk is the chunk's.
    """

    def __init__(self) -> None:
        self.sizes = array("q")
        self.digests = bytearray()
        self.several: dict[int, bytes] = {}

    def add(self, file: TakenFile) -> None:
        """Add *file* after the others."""
        if file.chunk_digests != file.digest:
            self.several[len(self.sizes)] = file.chunk_digests
        self.sizes.append(file.size)
        self.digests += file.digest


def may_be_elsewhere(chunks: pa.StructArray) -> pa.BooleanArray:
    """Return a mask of chunks that may be parts of objects elsewhere: a superset, since only the frames are certain."""
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
