"""The columns of a page, its digest, and its encoding."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3

from versioned_io.errors import FormatError, IntegrityError
from versioned_io.errors.root import quoted
from versioned_io.model.columns import EMPTY_TEXT, column_of, number_array, number_scalar
from versioned_io.model.places import LARGEST_LEVEL, FrameRef, PageRef
from versioned_io.storage.chunks.chunk_columns import CHUNKS_TYPE, DIGEST_TYPE, PACK_TYPE
from versioned_io.storage.pages.leaf_places import LeafPlaces, payload_led_to, places_in_page, rows_led_to
from versioned_io.storage.pages.rules import check_page, refuse_compression

COMMIT_TYPE: Final = pa.binary(16)

ROWS: Final = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("digest", DIGEST_TYPE, nullable=False),
        pa.field("chunks", CHUNKS_TYPE, nullable=False),
        pa.field("attributes", pa.string()),
        pa.field("commit", COMMIT_TYPE, nullable=False),
    ]
)
"""A leaf page's columns: one row for each file, sorted by the UTF-8 bytes of the path.

``attributes`` is canonical JSON or null. ``commit`` is the commit that wrote this version of the file. The page's
digest covers neither ``commit`` nor ``chunks``.
"""

ENTRIES: Final = pa.schema(
    [
        pa.field("last", pa.string(), nullable=False),
        pa.field("digest", DIGEST_TYPE, nullable=False),
        pa.field("pack", PACK_TYPE, nullable=False),
        pa.field("offset", pa.uint64(), nullable=False),
        pa.field("stored", pa.uint32(), nullable=False),
        pa.field("files", pa.int64(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
    ]
)
"""An index page's columns: one row for each page below, with its last path, its digest, its place and its totals."""

LEAF_CONTEXT: Final = "versioned-io 2026 v1 leaf page"
INDEX_CONTEXT: Final = "versioned-io 2026 v1 index page"
_NO_LENGTH: Final = number_scalar(-1, pa.int32())
_NO_LENGTH_BYTES: Final = (-1).to_bytes(4, "little", signed=True)
_END_OF_STREAM: Final = b"\xff\xff\xff\xff\0\0\0\0"
_LEVEL_KEY: Final = b"versioned-io.level"
_METADATA_AT: Final = 8  # after the mark of a message and its length
_REQUIRED_OF_ROWS: Final = [number for number, field in enumerate(ROWS) if not field.nullable]
_REQUIRED_OF_ENTRIES: Final = [number for number, field in enumerate(ENTRIES) if not field.nullable]


class Entry(NamedTuple):
    """One row of an index page."""

    last: str
    digest: bytes
    pack: bytes
    offset: int
    stored: int
    files: int
    size_bytes: int

    @property
    def frame(self) -> FrameRef:
        """The place of the page."""
        return FrameRef(self.pack, self.offset, self.stored)

    def ref(self, level: int) -> PageRef:
        """Return the reference to the page, which is *level* levels above the files."""
        return PageRef(self.digest, self.pack, self.offset, self.stored, level, self.files, self.size_bytes)


class Below(NamedTuple):
    """A page below an index page, with its entry there.

    Attributes:
        after: The last path before the page in the whole tree; empty if there is none.
    """

    entry: Entry
    after: str

    @classmethod
    def of_root(cls, root: PageRef) -> "Below":
        """Return *root* as if an index page above it had an entry for it, without a last path."""
        place = (root.pack, root.offset, root.stored_size)
        return cls(Entry("", root.digest, *place, root.files, root.size_bytes), "")

    def check(self, page: "Page") -> None:
        """Raise unless the contents of *page* match the entry.

        Raises:
            IntegrityError: They differ. Run fsck.
        """
        paths, entry = page.batch.column(0), self.entry
        is_in_place = paths[0].as_py() > self.after and entry.last in {"", paths[-1].as_py()}
        if not is_in_place or page.sums != (entry.files, entry.size_bytes):
            msg = (
                f"a page of pack {entry.pack.hex()} contradicts its index page: found {page.sums[0]} files, "
                f"{page.sums[1]} bytes to {quoted(paths[-1].as_py())}; expected {entry.files}, "
                f"{entry.size_bytes} after {quoted(self.after)} to {quoted(entry.last)}; run fsck"
            )
            raise IntegrityError(msg)


class Page:
    """One decoded page; paths, entries and places become values on first access.

    Attributes:
        payload: The bytes that it was decoded from; the columns of *batch* are views of them.
    """

    __slots__ = ("_entries", "_paths", "_places", "_sums", "batch", "level", "payload")

    def __init__(self, level: int, batch: pa.RecordBatch, payload: memoryview) -> None:
        self.level = level
        self.batch = batch
        self.payload = payload
        self._places: LeafPlaces | None = None
        self._paths: list[str] | None = None
        self._entries: list[Entry] | None = None
        self._sums: tuple[int, int] | None = None

    @property
    def sums(self) -> tuple[int, int]:
        """How many files are below the page, and the sum of their sizes."""
        if self._sums is None:
            files = int(number_array(self.batch.column(5)).sum()) if self.level else self.batch.num_rows
            self._sums = files, int(number_array(self.batch.column(6 if self.level else 1)).sum())
        return self._sums

    @property
    def paths(self) -> list[str]:
        """The paths of a leaf's files, or the last path of each page below an index page."""
        if self._paths is None:
            self._paths = self.batch.column(0).to_pylist()
        return self._paths

    @property
    def last(self) -> str:
        """The last path, or the last path of the last page below an index page."""
        last: str = self.batch.column(0)[-1].as_py() if self._paths is None else self._paths[-1]
        return last

    @property
    def places(self) -> LeafPlaces:
        """Where the chunks of a leaf's files lie."""
        if self._places is None:
            self._places = places_in_page(self.batch)
        return self._places

    def led_to(self, places: LeafPlaces) -> memoryview:
        """Return the payload of this leaf with its chunks at *places*. Cost: see `payload_led_to`."""
        led = payload_led_to(self.payload, self.batch, places)
        return encode_page(0, rows_led_to(self.batch, places)) if led is None else led

    @property
    def entries(self) -> list[Entry]:
        """The rows of an index page."""
        if self._entries is None:
            columns = [self.paths, *(column.to_pylist() for column in self.batch.columns[1:])]
            self._entries = [Entry(*fields) for fields in zip(*columns, strict=True)]
        return self._entries


def encode_page(level: int, batch: pa.RecordBatch) -> memoryview:
    """Return the payload of a page: an uncompressed Arrow IPC stream of one batch (the frame compresses it).

    Compressing the whole frame gives 46 KB for 1,000 files. Compressing inside Arrow IPC gives 75 KB, since the digest
    of a one-chunk file is also its chunk's. The frame also decodes in half the time.
    """
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, _stored_schema(level)) as writer:
        writer.write_batch(batch)
    return memoryview(stream.getvalue())


def decode_page(payload: memoryview, *, level: int | None = None) -> Page:
    """Return the page with this payload.

    Args:
        level: The level in the page's reference; ``None`` without a reference, as in fsck.

    Raises:
        FormatError: It has columns that this version does not know. Upgrade versioned-io.
        IntegrityError: It is not a page, is of another level, or breaks a rule of pages. Run fsck.
    """
    try:
        found, batch = _read_batch(payload, level)
    except (pa.ArrowException, EOFError, OSError, MemoryError, UnicodeDecodeError) as error:
        msg = f"a page can't be decoded ({error}); run fsck"
        raise IntegrityError(msg) from error
    check_page(found, batch, _REQUIRED_OF_ENTRIES if found else _REQUIRED_OF_ROWS)
    return Page(found, batch, payload)


def _read_batch(payload: memoryview, level: int | None) -> tuple[int, pa.RecordBatch]:
    found, batch_at = _read_head(payload, level)
    if level not in {None, found}:
        raise wrong_level(found, level)
    refuse_compression(payload[batch_at:])
    return found, pa.ipc.read_record_batch(pa.py_buffer(payload[batch_at:]), _columns(found))


def check_name(payload: memoryview, level: int, digest: bytes) -> None:
    """Pass if a rewritten page still has its digest.

    Raises:
        IntegrityError: Its rows do not match the digest. Run fsck.

    Cost: BLAKE3 over its rows; 50 us for 300.
    """
    _, batch = _read_batch(payload, level)
    found = _index_digest(batch) if level else leaf_digest(batch)
    if found != digest:
        msg = f"a page that was written again holds {found.hex()}, not {digest.hex()}: run fsck, nothing was changed"
        raise IntegrityError(msg)


def wrong_level(found: int, level: int | None) -> IntegrityError:
    """Return the error for a page of level *found* in the place of one of *level*."""
    return IntegrityError(f"a page of level {found} was found where one of level {level} must be; run fsck")


def _read_head(payload: memoryview, level: int | None) -> tuple[int, int]:
    """Return the level in a page's header, and the offset of its batch."""
    for likely in (0, 1, 2) if level is None else (level,):
        head = _stream_head(likely)
        if bytes(payload[: len(head)]) == head:  # a memoryview is compared item by item
            # Nearly every page begins with this head, which holds only the schema. So only the batch must be parsed.
            return likely, len(head)
    message = pa.ipc.read_message(pa.BufferReader(pa.py_buffer(payload)))
    schema = pa.ipc.read_schema(message)
    found = (schema.metadata or {}).get(_LEVEL_KEY, b"")
    if not (found.isdigit() and len(found) <= 2 and int(found) <= LARGEST_LEVEL):
        msg = f"a page says that its level is {found!r}; run fsck"
        raise IntegrityError(msg)
    if not schema.equals(_columns(int(found))):
        msg = f"a page has unknown columns {quoted(', '.join(schema.names))}; upgrade versioned-io"
        raise FormatError(msg)
    return int(found), _METADATA_AT + int.from_bytes(payload[4:8], "little")


def _columns(level: int) -> pa.Schema:
    return ENTRIES if level else ROWS


@lru_cache
def _stored_schema(level: int) -> pa.Schema:
    return _columns(level).with_metadata({_LEVEL_KEY: str(level).encode()})


@lru_cache
def _stream_head(level: int) -> bytes:
    """Return the bytes before the batch in a page of *level* that this version of Arrow writes."""
    stream = pa.BufferOutputStream()
    pa.ipc.new_stream(stream, _stored_schema(level)).close()
    return bytes(stream.getvalue()).removesuffix(_END_OF_STREAM)


def encode_entries(entries: Sequence[Entry]) -> pa.RecordBatch:
    """Return *entries* as the rows of an index page."""
    columns = zip(*entries, strict=True)
    return pa.RecordBatch.from_arrays(
        [column_of(values, field.type) for values, field in zip(columns, ENTRIES, strict=True)], schema=ENTRIES
    )


def index_digest(entries: Sequence[Entry]) -> bytes:
    """Return the digest of an index page, over the digests of its pages in order."""
    return blake3(b"".join(entry.digest for entry in entries), derive_key_context=INDEX_CONTEXT).digest()


def _index_digest(batch: pa.RecordBatch) -> bytes:
    """Return the digest of an index page from its rows."""
    return blake3(_fixed_bytes(batch.column(1), 32), derive_key_context=INDEX_CONTEXT).digest()


def leaf_digest(batch: pa.RecordBatch) -> bytes:
    """Return the digest of a leaf, over its paths, sizes, digests and attributes, without the places of the bytes.

    Source: docs/spec/format-v1.md, "Page digest".
    """
    count = batch.num_rows
    path, size, digest, attributes = (batch.column(name) for name in ("path", "size", "digest", "attributes"))
    hasher = blake3(count.to_bytes(8, "little"), derive_key_context=LEAF_CONTEXT)
    hasher.update(_length_bytes(path))
    hasher.update(_text_bytes(path))
    hasher.update(_fixed_bytes(size, 8))
    hasher.update(_fixed_bytes(digest, 32))
    if attributes.null_count == count:
        hasher.update(_NO_LENGTH_BYTES * count)  # no file has any, as nearly always
    else:
        hasher.update(_fixed_bytes(pc.fill_null(pc.binary_length(attributes), _NO_LENGTH), 4))
        hasher.update(_text_bytes(pc.fill_null(attributes, EMPTY_TEXT)))
    return hasher.digest()


def _length_bytes(values: pa.StringArray) -> bytes:
    """Return how many bytes each of *values* has, as 32-bit numbers."""
    ends = np.frombuffer(values.buffers()[1] or b"", np.int32)[values.offset : values.offset + len(values) + 1]
    return (ends[1:] - ends[:-1]).tobytes()


def _fixed_bytes(values: pa.Array, width: int) -> memoryview:
    buffer = values.buffers()[1]
    if buffer is None:
        return memoryview(b"")
    return memoryview(buffer)[values.offset * width : (values.offset + len(values)) * width]


def _text_bytes(values: pa.Array) -> memoryview:
    _, offsets, data = values.buffers()
    if data is None or offsets is None:
        return memoryview(b"")
    bounds = memoryview(offsets).cast("B").cast("i")
    return memoryview(data)[bounds[values.offset] : bounds[values.offset + len(values)]]
