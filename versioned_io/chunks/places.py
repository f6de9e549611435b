"""Where the chunks of one transaction lie, in columns."""

from array import array
from collections.abc import Iterable

import pyarrow as pa

from versioned_io.chunks.refs import CHUNK_FIELDS, CHUNKS_TYPE, NEW_CHUNKS, ChunkRef


class ChunkPlaces:
    """The chunks that one transaction refers to, found or stored.

    In columns, since 1,000,000 Python objects would be 300 MB.
    """

    def __init__(self) -> None:
        self._number_of: dict[bytes, int] = {}
        self._packs: list[bytes] = []
        self._offset = array("Q")
        self._stored = array("I")
        self._inner = array("I")
        self._size = array("I")
        self._is_new = bytearray()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._number_of

    def __getitem__(self, digest: bytes) -> ChunkRef:
        n = self._number_of[digest]
        return ChunkRef(digest, self._packs[n], self._offset[n], self._stored[n], self._inner[n], self._size[n])

    def add(self, ref: ChunkRef, *, is_new: bool) -> None:
        """Note where a chunk is; *is_new* when this transaction stored it."""
        self._number_of[ref.digest] = len(self._is_new)
        self._packs.append(ref.pack)
        self._offset.append(ref.offset)
        self._stored.append(ref.stored)
        self._inner.append(ref.inner)
        self._size.append(ref.size)
        self._is_new.append(is_new)

    def new(self) -> pa.Table:
        """Return the chunks that this transaction stored, with the columns of `NEW_CHUNKS`."""
        return self._table().filter(pa.array(list(map(bool, self._is_new)), pa.bool_()))

    def lists(self, files: Iterable[Iterable[bytes]]) -> pa.Array:
        """Return one list of references for each file, of type `CHUNKS_TYPE`; a file is its chunks' digests."""
        numbers: list[int] = []
        offsets = [0]
        for digests in files:
            numbers += map(self._number_of.__getitem__, digests)
            offsets.append(len(numbers))
        taken = self._table().take(pa.array(numbers, pa.int64())).combine_chunks()
        columns = [
            column.chunk(0) if column.num_chunks else pa.array([], field.type)
            for column, field in zip(taken.columns, CHUNK_FIELDS, strict=True)
        ]
        structs = pa.StructArray.from_arrays(columns, fields=CHUNK_FIELDS)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs, type=CHUNKS_TYPE)

    def _table(self) -> pa.Table:
        columns = [list(self._number_of), self._packs, self._offset, self._stored, self._inner, self._size]
        return pa.Table.from_arrays(
            [pa.array(values, field.type) for values, field in zip(columns, CHUNK_FIELDS, strict=True)],
            schema=NEW_CHUNKS,
        )
