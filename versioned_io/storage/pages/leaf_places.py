"""The places of a leaf page's chunks as columns, and the payload of the page with other places."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from versioned_io.model.columns import fixed_column_of, fixed_words, number_array, number_column
from versioned_io.storage.chunks.chunk_columns import CHUNK_FIELDS, CHUNKS_TYPE

_CHUNKS: Final = 3  # the number of the column
# The numbers of a chunk column's buffers: pack, offset, stored size. `CHUNK_FIELDS` sets their order.
_PACK, _OFFSET, _STORED = 6, 8, 10
_PACK_WORDS: Final = 2


class LeafPlaces(NamedTuple):
    """The places of the blocks that hold a leaf page's chunks: one row for each chunk, in order.

    Attributes:
        packs: The packs' names, each as two uint64.
        offsets: The offsets of the frames, as uint64.
        stored: The stored sizes of the frames, as uint32.
    """

    packs: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.uint64]
    stored: npt.NDArray[np.uint32]

    def take(self, numbers: npt.NDArray[np.intp]) -> "LeafPlaces":
        """Return the rows of these numbers."""
        return LeafPlaces(self.packs[numbers], self.offsets[numbers], self.stored[numbers])

    def copy(self) -> "LeafPlaces":
        """Return a copy that can be changed."""
        return LeafPlaces(self.packs.copy(), self.offsets.copy(), self.stored.copy())

    def changed_since(self, before: "LeafPlaces") -> npt.NDArray[np.intp]:
        """Return the numbers of the rows that differ from the row of *before* at the same position.

        If the lengths differ, positions are counted from both ends.

        Cost: 5 us for 300 rows.
        """
        count, common = len(self.offsets), min(len(self.offsets), len(before.offsets))
        if count == len(before.offsets):
            return np.flatnonzero(self._differs(before, slice(None), slice(None)))
        first = _equal_at_first(self._differs(before, slice(common), slice(common)))
        rest = common - first
        ends = slice(count - rest, None), slice(len(before.offsets) - rest, None)
        last = _equal_at_first(self._differs(before, *ends)[::-1]) if rest else 0
        return np.arange(first, count - last)

    def unlike_neighbours(self) -> npt.NDArray[np.intp]:
        """Return the numbers of the rows that differ from the row before them."""
        if len(self.offsets) < 2:
            return np.arange(len(self.offsets))
        rest = LeafPlaces(self.packs[1:], self.offsets[1:], self.stored[1:])
        return np.concatenate([[0], np.flatnonzero(rest._differs(self, slice(None), slice(-1))) + 1])

    def _differs(self, before: "LeafPlaces", own: slice, its: slice) -> npt.NDArray[np.bool_]:
        packs = self.packs[own] != before.packs[its]
        differs: npt.NDArray[np.bool_] = packs[:, 0] | packs[:, 1]
        differs |= self.offsets[own] != before.offsets[its]
        differs |= self.stored[own] != before.stored[its]
        return differs


def _equal_at_first(differs: npt.NDArray[np.bool_]) -> int:
    """Return the number of equal rows before the first different one; all, if none differs or there is no row."""
    found = np.flatnonzero(differs)
    return int(found[0]) if len(found) else len(differs)


def places_of(leaf: pa.RecordBatch) -> LeafPlaces:
    """Return the places of the chunks in a leaf's rows; the rows may be a slice."""
    chunks = leaf.column(_CHUNKS).flatten()
    pack, offset, stored = (chunks.field(name) for name in ("pack", "offset", "stored"))
    return LeafPlaces(fixed_words(pack), number_array(offset), number_array(stored))


def places_in_page(page: pa.RecordBatch) -> LeafPlaces:
    """Return the places of the chunks of a batch as it was decoded. Cost: 10 us; no row is copied."""
    lists = page.column(_CHUNKS)
    count, buffers = len(lists.values), lists.buffers()
    if not count:
        return LeafPlaces(np.empty((0, _PACK_WORDS), np.uint64), np.empty(0, np.uint64), np.empty(0, np.uint32))
    packs = np.frombuffer(buffers[_PACK], np.uint64, count * _PACK_WORDS).reshape(-1, _PACK_WORDS)
    offsets, stored = (
        np.frombuffer(buffers[_OFFSET], np.uint64, count),
        np.frombuffer(buffers[_STORED], np.uint32, count),
    )
    return LeafPlaces(packs, offsets, stored)


def rows_led_to(leaf: pa.RecordBatch, places: LeafPlaces) -> pa.RecordBatch:
    """Return the rows of a leaf with its chunks at *places*. Cost: memory for the columns of chunks."""
    column = leaf.column(_CHUNKS)
    chunks = column.flatten()
    moved = {
        "pack": fixed_column_of(np.ascontiguousarray(places.packs).tobytes(), _PACK_WORDS * places.packs.itemsize),
        "offset": number_column(np.ascontiguousarray(places.offsets), pa.uint64()),
        "stored": number_column(np.ascontiguousarray(places.stored), pa.uint32()),
    }
    fields = [moved[one.name] if one.name in moved else chunks.field(one.name) for one in CHUNK_FIELDS]
    structs = pa.StructArray.from_arrays(fields, fields=CHUNK_FIELDS)
    offsets = number_array(column.offsets)
    columns = list(leaf.columns)
    columns[_CHUNKS] = pa.ListArray.from_arrays(
        number_column(offsets - offsets[0], pa.int32()), structs, type=CHUNKS_TYPE
    )
    return pa.RecordBatch.from_arrays(columns, schema=leaf.schema)


def payload_led_to(payload: memoryview, page: pa.RecordBatch, places: LeafPlaces) -> memoryview | None:
    """Return the payload of a leaf page with its chunks at *places*; all other bytes stay the same.

    Args:
        page: The batch that was decoded of *payload*.

    Returns:
        None if Arrow copied the columns when it decoded them, so that they are not views of the payload.

    Cost: 20 us for 300 rows, most of it for one copy.
    """
    led = bytearray(payload)
    base, buffers = pa.py_buffer(payload).address, page.column(_CHUNKS).buffers()
    for number, column in ((_PACK, places.packs), (_OFFSET, places.offsets), (_STORED, places.stored)):
        at, data = buffers[number].address - base, column.tobytes()
        if not 0 <= at <= len(led) - len(data):
            return None
        led[at : at + len(data)] = data
    return memoryview(led)
