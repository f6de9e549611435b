"""The rules that every page must keep, checked when it is decoded, before any of its values is used.

A frame's checksum finds accidental damage. A malicious store has valid checksums over crafted contents: offsets outside
of their buffers, paths that lead out of a checkout, sizes without chunks.

Source: docs/spec/format-v1.md, "What a reader refuses".
"""

import struct
import unicodedata
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.errors import IllegalPathError, IntegrityError
from versioned_io.model.columns import number_array
from versioned_io.model.paths import MAX_PATH_BYTES, parse_path
from versioned_io.storage.packs.frames import HEADER_SIZE
from versioned_io.storage.pages.boundaries import FORMAT_RULES

LARGEST_CHUNK: Final = 16 * 1024 * 1024
"""The limit of a chunk's size. Chunks of stored bytes have at most 1 MiB, and parts of files elsewhere at most 8 MiB.
Readers hold several in memory."""

_FURTHEST: Final = 1 << 62  # larger offsets and sums overflow the integers of operating systems and Arrow
_SLASH, _DOT, _SPACE, _DELETE = ord("/"), ord("."), ord(" "), 0x7F
_LEADS_C1, _BEYOND_C1 = 0xC2, 0xA0  # in UTF-8 the control characters above 0x7F are 0xC2 and 0x80 to 0x9F
_TABLE: Final = struct.Struct("<i")
_SLOT: Final = struct.Struct("<H")
_METADATA_AT: Final = 8  # after the mark of a message and its length
_HEADER_SLOT: Final = 2  # the field of a message with its header
_COMPRESSION_SLOT: Final = 3  # a field of a record batch
# The buffers of a column of chunks: list validity, list offsets, struct validity, then validity and data of each field.
_CHUNK_VALIDITIES: Final = (2, 3, 5, 7, 9, 11, 13)
_CHUNK_NUMBERS: Final = ((8, np.uint64), (10, np.uint32), (14, np.uint32))  # the offset, stored size and size
_ONE_EACH: Final = np.arange(FORMAT_RULES.leaf.maximum + 1, dtype=np.int32)
# The ufuncs directly: an array's own max(), min() and any() call them with an overhead as large as the work.
_most, _least, _count = np.maximum.reduce, np.minimum.reduce, np.count_nonzero
Numbers = npt.NDArray[Any]


def refuse_compression(message: memoryview) -> None:
    """Raise if the Arrow message *message* has compressed buffers.

    Arrow allocates the decompressed size that such a buffer claims, before any check is possible.

    Raises:
        IntegrityError: The message has compressed buffers, or is not a message. Run fsck.

    Source: the Arrow columnar format, "Encapsulated message format", and FlatBuffers' "Internals" for tables.
    """
    try:
        table = _METADATA_AT + _TABLE.unpack_from(message, _METADATA_AT)[0]
        slot = _slot(message, table, _HEADER_SLOT)
        header = table + slot
        header += _TABLE.unpack_from(message, header)[0]
        is_compressed = slot == 0 or _slot(message, header, _COMPRESSION_SLOT) != 0
    except struct.error:
        is_compressed = True
    if is_compressed:
        raise _wrong("its Arrow message is not of one plain batch")


def _slot(message: memoryview, table: int, number: int) -> int:
    """Return the position of field *number* of a FlatBuffers *table*; 0 if the table doesn't have the field."""
    fields = table - _TABLE.unpack_from(message, table)[0]
    at = 4 + 2 * number
    if table < 0 or fields < 0:
        raise struct.error
    found: int = _SLOT.unpack_from(message, fields + at)[0] if at < _SLOT.unpack_from(message, fields)[0] else 0
    return found


def check_page(level: int, batch: pa.RecordBatch, required: Iterable[int]) -> None:
    """Raise if *batch*, with the columns of a page of *level*, breaks a rule that can be checked on one page alone.

    Args:
        required: The numbers of the columns without nulls.

    Raises:
        IntegrityError: The page breaks a rule. Run fsck.

    Cost: about 50 us for 1,000 rows, even if paths have dots or are not ASCII. No row becomes a Python value.
    """
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        raise _wrong(f"its buffers do not fit each other ({error})") from error
    most = (FORMAT_RULES.index if level else FORMAT_RULES.leaf).maximum
    if not 0 < batch.num_rows <= most:
        raise _wrong(f"it has {batch.num_rows} rows: there must be 1 to {most}")
    for number in required:
        if batch.column(number).null_count:
            raise _wrong(f"its column {batch.schema.names[number]!r} has nulls")
    _check_paths(batch.column(0))
    if level:
        _check_entries(batch)
    else:
        _check_files(batch)


def _check_paths(paths: pa.StringArray) -> None:
    """Raise unless *paths* ascend strictly and each is a legal path."""
    if len(paths) > 1 and pc.less(paths[:-1], paths[1:]).false_count:
        raise _wrong("its paths do not ascend")
    ends, text = _text(paths)
    lengths = ends[1:] - ends[:-1]
    if _least(lengths) < 1 or _most(lengths) > MAX_PATH_BYTES:
        raise _wrong(f"a path in it does not have 1 to {MAX_PATH_BYTES} bytes")
    if not _have_plain_characters(text) and not _have_legal_characters(text, paths):
        raise _broken(paths)
    if not _have_legal_parts(ends, text):
        raise _broken(paths)


def _text(paths: pa.StringArray) -> tuple[Numbers, Numbers]:
    """Return the start of each of *paths* and the end of the last one, and the buffer of their bytes."""
    _, offsets, data = paths.buffers()
    ends = np.frombuffer(offsets, np.int32, len(paths) + 1, paths.offset * 4)
    text = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]] if data is not None else np.empty(0, np.uint8)
    return ends - ends[0] if ends[0] else ends, text


def _have_plain_characters(text: Numbers) -> bool:
    return bool(_most(text) < _DELETE and _least(text) >= _SPACE)


def _have_legal_characters(text: Numbers, paths: pa.StringArray) -> bool:
    """Return whether UTF-8 *text* has no control characters, and each of *paths* is in normalisation form C."""
    if _least(text) < _SPACE or (text == _DELETE).any() or ((text[:-1] == _LEADS_C1) & (text[1:] < _BEYOND_C1)).any():
        return False
    # A line feed combines with no character, so the joined text is normalised exactly if each path is.
    return unicodedata.is_normalized("NFC", "\n".join(paths.to_pylist()))


def _have_legal_parts(ends: Numbers, text: Numbers) -> bool:
    """Return whether no part between slashes is empty, ``.`` or ``..``."""
    bounds = ends.astype(np.intp)
    starts, lasts = bounds[:-1], bounds[1:] - 1
    unusual = (text | 1) == _SLASH  # a slash or a dot, which differ only in the last bit
    if not (_count(unusual[:-1] & unusual[1:]) or _count(unusual.take(starts)) or _count(unusual.take(lasts))):
        return True
    slashes = text == _SLASH
    begins = np.concatenate([np.flatnonzero(slashes[:-1] & unusual[1:]) + 1, starts[unusual[starts]]])
    return not (slashes[lasts].any() or slashes[begins].any()) and _are_names(begins, starts, slashes, text)


def _are_names(dots: Numbers, starts: Numbers, slashes: Numbers, text: Numbers) -> bool:
    """Return whether no part that begins at *dots*, each with a dot, is exactly ``.`` or ``..``."""
    is_end = np.append(slashes, True)
    is_end[starts] = True
    following = dots + 1
    if is_end[following].any():
        return False
    return not is_end[following[text[following] == _DOT] + 1].any()


def _broken(paths: pa.StringArray) -> IntegrityError:
    """Return the error for *paths* with an illegal one: it names the first illegal path and the rule that it breaks."""
    try:
        for path in paths.to_pylist():
            if parse_path(path) != path:
                raise IllegalPathError(path, "it begins with a slash")
    except IllegalPathError as error:
        return _wrong(str(error))
    return _wrong("a path in it breaks the rules of paths")


def _check_entries(batch: pa.RecordBatch) -> None:
    offsets, stored, files, sizes = map(number_array, batch.columns[3:])
    if _least(files) < 1 or _least(sizes) < 0 or max(_most(files), _most(sizes)) > _FURTHEST // len(files):
        raise _wrong("its counts of files and bytes below it are impossible")
    _check_places(offsets, stored)


def _check_files(batch: pa.RecordBatch) -> None:
    lists = batch.column(3)
    chunks = lists.values
    buffers = lists.buffers()
    if any(buffers[at] is not None for at in _CHUNK_VALIDITIES) and _have_nulls(chunks):
        raise _wrong("its chunks have nulls")
    sizes: Numbers = np.empty(0, np.uint32)
    if len(chunks):
        offsets, stored, sizes = (np.frombuffer(buffers[at], kind, len(chunks)) for at, kind in _CHUNK_NUMBERS)
        _check_places(offsets, stored)
        if _most(sizes) > LARGEST_CHUNK:
            raise _wrong(f"a chunk in it has more than {LARGEST_CHUNK} bytes")
    ends = np.frombuffer(buffers[1], np.int32, len(lists) + 1)
    if _count(_sums(sizes, ends) != number_array(batch.column(1))):
        raise _wrong("a file in it has another size than its chunks make up")


def _have_nulls(chunks: pa.StructArray) -> bool:
    return bool(chunks.null_count or any(field.null_count for field in chunks.flatten()))


def _sums(sizes: Numbers, ends: Numbers) -> Numbers:
    """Return, for each file, the sum of the *sizes* of its chunks, which are the ones between two *ends*."""
    if len(sizes) == len(ends) - 1 and not _count(ends != _ONE_EACH[: len(ends)]):
        return sizes
    sums = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=sums[1:])
    at_ends = sums[ends]
    return at_ends[1:] - at_ends[:-1]


def _check_places(offsets: Numbers, stored: Numbers) -> None:
    if _most(offsets) > _FURTHEST or _least(stored) < HEADER_SIZE:
        raise _wrong("it refers to impossible frames")


def _wrong(reason: str) -> IntegrityError:
    return IntegrityError(f"a page breaks a rule of this format: {reason}; run fsck")
