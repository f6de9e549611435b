"""What a stranger may change in a page, a record, a footer or a block, at random or knowing what is in it."""

import json
import random
import struct
from dataclasses import dataclass, field
from functools import lru_cache

import pyarrow as pa
import zstandard

from versioned_io.storage.packs.footer import HEAD_SIZE, encode_trailer
from versioned_io.storage.packs.frames import Codec, FrameKind, Payload
from versioned_io.storage.pages.schema import ENTRIES, ROWS

EVIL = "\x1b]0;owned\x07\x9b31m\u202egnp\r"
NAMES = (
    "..",
    "../escaped",
    "../../escaped",
    "/escaped",
    "a/../../../escaped",
    "a/./x0",
    "",
    ".",
    "a//b",
    "a/",
    "a\0b",
    "a\nb",
    "\x85c1",
    EVIL,
    "a",
    "a/x0",
    "e\u0301",
    "\ud7ff",
    "z" * 2000,
    "d/" * 500 + "x",
    "d/" * 10_000 + "x",
    "con",
    "~",
    "-rf",
)
NUMBERS = (0, 1, 2, 23, 24, 255, 1000, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 63) - 1, (1 << 64) - 1)
_COUNTS = ("number", "order", "epoch", "generation")
NOT_UTF8 = (b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\x80", b"\xf5")  # also half a character, and a slash in two bytes


@dataclass
class Surroundings:
    """What a change may lead to.

    Attributes:
        place: Where the frame lies that is changed, as (pack, offset).
        known: Other frames of the store, as (pack, offset, stored size).
        commits: The IDs of its commits.
    """

    place: tuple[bytes, int]
    known: list[tuple[bytes, int, int]] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)


def change_of(kind: FrameKind, rng: random.Random):
    """Return a function that makes another payload of one of *kind*, as bytes or as a `Payload` for any header."""
    if rng.random() < 0.2:
        return lambda payload, _around: _torn(payload, rng)
    if rng.random() < 0.1:
        return lambda payload, _around: _bomb(payload, rng)
    if kind is FrameKind.PAGE:
        return lambda payload, around: _other_page(payload, around, rng)
    if kind in {FrameKind.COMMIT, FrameKind.JOURNAL, FrameKind.SOURCE}:
        return lambda payload, around: _other_json(payload, around, rng)
    if kind is FrameKind.FOOTER:
        return lambda payload, around: _other_footer(payload, around, rng)
    return lambda payload, _around: rng.choice([b"", payload[:-1], bytes(3_000_000), payload + b"x", bytes(40_000_000)])


def trailer_of(rng: random.Random):
    """Return a function that makes another trailer, with a right checksum, of a pack's name and footer."""

    def change(pack, offset, size):
        wrong = rng.choice((0, 1, HEAD_SIZE, offset - 1, offset + 1, offset + size, 1 << 40, (1 << 64) - 1))
        if rng.random() < 0.5:
            return encode_trailer(pack, wrong, size)
        return encode_trailer(pack, offset, rng.choice((0, 1, 23, 24, size - 1, size + 1, (1 << 32) - 1)))

    return change


def _torn(payload, rng):
    data = bytearray(payload)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(data)) if data else 0
        how = rng.randrange(5)
        if how == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif how == 1:
            at -= at % 4
            data[at : at + 4] = struct.pack("<I", rng.choice(NUMBERS) & 0xFFFFFFFF)
        elif how == 2:
            at -= at % 8
            data[at : at + 8] = struct.pack("<Q", rng.choice(NUMBERS))
        elif how == 3:
            del data[at:]
        else:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
    return bytes(data)


@lru_cache
def zeros(mebibytes: int) -> bytes:
    """Return so many MiB of zeros as one frame of zstd; made once, before children are forked."""
    raw = mebibytes << 20
    maker = zstandard.ZstdCompressor(write_content_size=True).compressobj(size=raw)
    return b"".join([*(maker.compress(bytes(1 << 20)) for _ in range(mebibytes)), maker.flush()])


BOMBS = (1, 4, 100, 1000)


def _bomb(payload, rng):
    """Return a payload whose header says another size than is in it, or that is much larger than what is stored."""
    how = rng.randrange(4)
    if how == 0:
        size = rng.choice(BOMBS)
        return Payload(Codec.ZSTD, zeros(size), size << 20)
    if how == 1:
        return Payload(Codec.ZSTD, zeros(1000), rng.choice((0, 1, 1 << 20, (1 << 31) - 1, (1 << 32) - 1)))
    if how == 2:
        return Payload(Codec.RAW, payload, rng.choice((0, len(payload) + 1, (1 << 31) - 1, (1 << 32) - 1)))
    return Payload(Codec.ZSTD, payload, rng.choice((0, len(payload), (1 << 32) - 1)))


def _other_json(payload, around, rng):
    value = json.loads(payload)
    for _ in range(rng.choice((1, 1, 3))):
        holder = value
        while True:
            key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            if isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.6:
                holder = holder[key]
                continue
            break
        how = rng.randrange(10)
        if how == 0 and isinstance(holder, dict):
            del holder[key]
            if not value:
                break
        elif how == 1 and isinstance(holder, dict):
            _related(value, around, rng)
        elif how == 2 and isinstance(holder[key], str):
            holder[key] += rng.choice((EVIL, "\ud800", "\0", "x" * 100_000))
        elif how == 3 and type(holder[key]) is int:
            holder[key] = rng.choice((-holder[key], holder[key] + 1, 10**30, -1, 0, *NUMBERS))
        elif how == 4 and isinstance(holder[key], dict | list):
            holder[key] = [{}] * 20_000 if isinstance(holder[key], list) else {f"k{one}": one for one in range(20_000)}
        else:
            holder[key] = rng.choice((*_odd(how == 5), *NAMES))
    try:
        return json.dumps(value).encode()
    except RecursionError:
        return b'{"id":' + b"[" * 10_000


def _odd(is_deep):
    deep = None
    for _ in range(900 if is_deep else 3):
        deep = [deep]
    return (None, True, -1, 1.5, 1 << 70, "", EVIL, "\ud800", {}, [], "0" * 32, "f" * 64, deep, 1 << 31, 1 << 63)


def _related(record, around, rng):
    """Let a record name others: itself as its own parent, a younger one, one that is not there."""
    other = rng.choice([*around.commits, record.get("id", ""), "0" * 32])
    key = rng.choice(("id", "parent", "merged", "provenance", "replaces", "lineage_id", *_COUNTS, "healed"))
    if key in {"provenance", "replaces"}:
        record[key] = [other] * rng.choice((1, 2, 1000))
    elif key in _COUNTS:
        record[key] = rng.choice((0, -1, 1, 2, 10**6, 1 << 62, 1 << 63))
    elif key == "healed":
        record[key] = [_healed(rng.choice(around.known), rng.choice(around.known)) for _ in range(rng.choice((1, 300)))]
    else:
        record[key] = other


def _healed(old, new):
    content = {"digest": "0" * 64, "pack": old[0].hex(), "offset": old[1], "inner": 0, "size": 1}
    return content | {"new_pack": new[0].hex(), "new_offset": new[1], "new_stored": new[2], "new_inner": 0}


def _other_footer(payload, around, rng):
    data = bytearray(payload)
    how = rng.randrange(6)
    if how == 0:
        return bytes(data) + bytes(20_000_000)
    if how == 1:  # absurd counts that still fit the length, for one of the two
        struct.pack_into(
            "<II", data, 0, *rng.choice(((0, 0), (1 << 31, 0), (0, (len(data) - 8) // 44), (1 << 32 - 1, 1)))
        )
        return bytes(data)
    if how == 2:  # each frame is the first one again, or one of another pack
        frames, _ = struct.unpack_from("<II", data)
        first = struct.unpack_from("<QII", data, 8)
        for number in range(frames):
            _, offset, size = rng.choice(around.known) if rng.random() < 0.5 else (b"", *first[:2])
            struct.pack_into("<QI", data, 8 + 24 * number, offset, size)
        return bytes(data)
    if how == 3:  # frames of another kind
        frames, _ = struct.unpack_from("<II", data)
        for number in range(frames):
            data[8 + 24 * number + 16] = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 255))
        return bytes(data)
    at = rng.randrange(0, len(data), 4)
    data[at : at + 4] = struct.pack("<I", rng.choice(NUMBERS) & 0xFFFFFFFF)
    return bytes(data)


def _other_page(payload, around, rng):
    table = pa.ipc.open_stream(payload).read_all()
    rows, schema = table.to_pylist(), table.schema
    name = "last" if "last" in schema.names else "path"
    how = rng.randrange(16)
    row = rng.choice(rows)
    if how <= 2:
        row[name] = rng.choice(NAMES) if how else row[name] + rng.choice(("/", "/..", "/x", "\0", EVIL, "/" * 500))
        if rng.random() < 0.8:
            rows.sort(key=lambda one: one[name].encode())
    elif how == 3:
        rows = _more_rows(rows, name, rng)
    elif how == 4:
        rng.shuffle(rows)
    elif how == 5:
        rows = [] if rng.random() < 0.3 else rows[:-1]
    elif how == 6:
        level = str(rng.choice((0, 1, 2, 3, 15, 16, -1, 10**20)))
        other = rng.choice((ROWS, ENTRIES, schema)).with_metadata({b"versioned-io.level": level.encode()})
        rows = [{field.name: row.get(field.name) or _blank(field) for field in other} for row in rows]
        schema = other
    elif how == 7:
        options = pa.ipc.IpcWriteOptions(compression=rng.choice(("zstd", "lz4")))
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, schema, options=options) as writer:
            writer.write_batch(pa.RecordBatch.from_pylist(rows * 30, schema=schema))
        return _torn(stream.getvalue().to_pybytes(), rng)
    elif how <= 9:
        return _other_message(payload, rng)
    elif how <= 12:
        return _other_buffers(payload, rng)
    else:
        _misled(row, name, around, rng)
    return encoded(schema, rows)


def _more_rows(rows, name, rng):
    count = rng.choice((1, 10, 500, 5000))
    more = [dict(rng.choice(rows)) for _ in range(count)]
    if rng.random() < 0.5:
        for number, one in enumerate(more):
            one[name] = f"zz{number:05}"
    elif rng.random() < 0.3:
        more = [
            dict(rows[0], **{name: f"{rows[-1][name]}/{number:05}"}) for number in range(count)
        ]  # a file as directory
    return rows + more


def encoded(schema, rows):
    """Return a page of *rows*, as this library writes them."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
    return stream.getvalue().to_pybytes()


def _other_message(payload, rng):
    """Change a number in the head of the batch: a length, a null count, where a buffer begins, how long it is."""
    data = bytearray(payload)
    at = 8 + int.from_bytes(data[4:8], "little")  # behind the schema
    size = int.from_bytes(data[at + 4 : at + 8], "little")
    for _ in range(rng.choice((1, 1, 2))):
        word = at + 8 + 8 * rng.randrange(max(1, size // 8))
        (found,) = struct.unpack_from("<Q", data, word)
        others = (*NUMBERS, found + 1, found - 1, found + 8, found - 8, found * 2, (1 << 64) - 8)
        struct.pack_into("<Q", data, word, rng.choice(others) & ((1 << 64) - 1))
    return bytes(data)


def _other_buffers(payload, rng):
    """Change what lies in a column's buffer: offsets of texts and lists, which values are null, text itself."""
    start = pa.py_buffer(payload)
    batch = pa.ipc.open_stream(start).read_next_batch()
    buffers = [one for column in batch.columns for one in column.buffers() if one is not None and one.size]
    data = bytearray(payload)
    for _ in range(rng.choice((1, 1, 3))):
        one = rng.choice(buffers)
        at = one.address - start.address
        how = rng.randrange(4)
        inside = at + 4 * rng.randrange(max(1, one.size // 4))
        if how == 0:
            struct.pack_into("<i", data, inside, rng.choice((-1, 0, 1, 1 << 30, -(1 << 31), (1 << 31) - 1, 1000)))
        elif how == 1:
            (found,) = struct.unpack_from("<i", data, inside)
            struct.pack_into(
                "<i", data, inside, max(-(1 << 31), min((1 << 31) - 1, found + rng.choice((-1, 1, 4, 100))))
            )
        elif how == 2:
            text = rng.choice((*NOT_UTF8, b"\0", b"/", b".", b"\x1b", b"\xc2\x9b", b"\x7f"))
            inside = at + rng.randrange(one.size)
            data[inside : inside + len(text)] = text
        else:
            data[at : at + one.size] = rng.choice((b"\0", b"\xff")) * one.size
    return bytes(data[: len(payload)])


def _misled(row, name, around, rng):
    """Let a row lead somewhere else: to itself, out of its pack, to another kind of frame; or count wrongly."""
    number = rng.choice(NUMBERS)
    other = rng.choice(around.known) if around.known else (*around.place, 300)
    if name == "last":
        changes = (
            {"pack": around.place[0], "offset": around.place[1], "stored": rng.choice((24, 300, 3000))},
            {"pack": other[0], "offset": other[1], "stored": other[2]},
            {"offset": number},
            {"stored": number & 0xFFFFFFFF},
            {"files": number & ((1 << 63) - 1)},
            {"size_bytes": rng.choice((-1, (1 << 63) - 1))},
            {"offset": HEAD_SIZE, "pack": rng.randbytes(16)},
        )
        row.update(rng.choice(changes))
        return
    row["size"] = rng.choice((row["size"], row["size"], -1, number & ((1 << 62) - 1)))
    row["attributes"] = rng.choice((row["attributes"], "{", "[]", '{"a":1}', f'{{"a":"{EVIL}"}}', "[" * 10_000, "\0"))
    for chunk in row["chunks"]:
        field_name = rng.choice(("offset", "stored", "inner", "size"))
        chunk[field_name] = number if field_name == "offset" else number & 0xFFFFFFFF
        if rng.random() < 0.2:
            chunk["pack"], chunk["offset"] = around.place
        elif rng.random() < 0.3:
            chunk["pack"], chunk["offset"], chunk["stored"] = other
    if rng.random() < 0.4 and row["chunks"]:
        row["chunks"] = row["chunks"] * rng.choice((2, 1000, 20_000))
    if rng.random() < 0.7:
        row["size"] = sum(chunk["size"] for chunk in row["chunks"]) & ((1 << 62) - 1)


def _blank(field_of):
    if pa.types.is_string(field_of.type):
        return "x"
    if pa.types.is_fixed_size_binary(field_of.type):
        return bytes(field_of.type.byte_width)
    return [] if pa.types.is_list(field_of.type) else 24
