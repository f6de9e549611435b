"""The places of the chunks of one transaction, in columns."""

from array import array
from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np
import pyarrow as pa

from versioned_io.model.columns import fixed_column, fixed_column_of, number_column
from versioned_io.model.places import ChunkRef, ChunkSpan, FrameRef
from versioned_io.storage.chunks.chunk_columns import CHUNK_FIELDS, CHUNKS_TYPE, NEW_CHUNKS


class ChunkPlaces:
    """The chunks that one transaction refers to, found or stored.

    Stored in columns, since 1,000,000 Python objects would take 300 MB.
    """

    def __init__(self) -> None:
        self._number_of: dict[bytes, int] = {}
        self._digests = bytearray()
        self._packs: dict[bytes, int] = {}
        self._pack = array("I")  # by number
        self._offset = array("Q")
        self._stored = array("I")
        self._inner = array("I")
        self._size = array("I")
        self._is_new = bytearray()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._number_of

    def __getitem__(self, digest: bytes) -> ChunkRef:
        n = self._number_of[digest]
        pack = list(self._packs)[self._pack[n]]
        return ChunkRef(digest, pack, self._offset[n], self._stored[n], self._inner[n], self._size[n])

    def add(self, ref: ChunkRef, *, is_new: bool) -> None:
        """Add the place of a chunk; *is_new* if this transaction stored it."""
        self._add(ref.frame, [ref.digest], [ref.inner], [ref.size], is_new=is_new)

    def add_block(self, frame: FrameRef, chunks: Sequence[ChunkSpan]) -> None:
        """Add the chunks of a block that this transaction stored; *chunks* are spans of the block."""
        self._add(frame, *zip(*chunks, strict=True), is_new=True)

    def new(self) -> pa.Table:
        """Return the chunks that this transaction stored, with the columns of `NEW_CHUNKS`."""
        rows = np.flatnonzero(np.frombuffer(self._is_new, np.uint8))
        return pa.Table.from_batches([self._batch().take(number_column(rows, pa.int64()))])

    def lists(self, files: Iterable[Iterable[bytes]]) -> pa.Array:
        """Return one list of references for each file, of type `CHUNKS_TYPE`; each file is a list of chunk digests."""
        numbers = array("q")
        offsets = array("i", [0])
        for digests in files:
            numbers.extend(map(self._number_of.__getitem__, digests))
            offsets.append(len(numbers))
        return self._lists(numbers, offsets)

    def lists_of_one(self, digests: Iterable[bytes]) -> pa.Array:
        """Return one list of one reference for each of *digests*: as `lists`, for files of one chunk each."""
        numbers = array("q", map(self._number_of.__getitem__, digests))
        return self._lists(numbers, array("i", range(len(numbers) + 1)))

    def _lists(self, numbers: "array[int]", offsets: "array[int]") -> pa.Array:
        structs = pa.StructArray.from_arrays(
            self._batch().take(number_column(numbers, pa.int64())).columns, fields=CHUNK_FIELDS
        )
        return pa.ListArray.from_arrays(number_column(offsets, pa.int32()), structs, type=CHUNKS_TYPE)

    def _add(
        self, frame: FrameRef, digests: Sequence[bytes], inner: Sequence[int], size: Sequence[int], *, is_new: bool
    ) -> None:
        count, first = len(digests), len(self._is_new)
        self._number_of.update(zip(digests, range(first, first + count), strict=True))
        self._digests += b"".join(digests)
        self._pack.extend(repeat(self._packs.setdefault(frame.pack, len(self._packs)), count))
        self._offset.extend(repeat(frame.offset, count))
        self._stored.extend(repeat(frame.stored_size, count))
        self._inner.extend(inner)
        self._size.extend(size)
        self._is_new += (b"\1" if is_new else b"\0") * count

    def _batch(self) -> pa.RecordBatch:
        packs = fixed_column(self._packs, 16).take(number_column(self._pack, pa.int32()))
        columns = [fixed_column_of(bytes(self._digests), 32), packs]
        for values, field in zip((self._offset, self._stored, self._inner, self._size), CHUNK_FIELDS[2:], strict=True):
            columns.append(number_column(array(values.typecode, values), field.type))
        return pa.RecordBatch.from_arrays(columns, schema=NEW_CHUNKS)
