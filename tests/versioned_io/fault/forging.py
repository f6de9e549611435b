"""Stores as a stranger might make them: something in them is changed on purpose, and every checksum is right."""

import json
import os
import shutil
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

import versioned_io as vio
from tests.versioned_io.fault.strangers_changes import Surroundings, encoded
from tests.versioned_io.storage.pages.trees import TINY
from versioned_io.model.places import pack_key
from versioned_io.storage.objects import open_objects
from versioned_io.storage.packs.footer import (
    HEAD_SIZE,
    FooterFrame,
    encode_footer_chunks,
    encode_head,
    encode_trailer,
    join_footer,
)
from versioned_io.storage.packs.frames import FrameKind, Payload, encode_frame, encode_header
from versioned_io.storage.packs.reader import iterate_frames, read_footer
from versioned_io.storage.pages.build import build_tree
from versioned_io.storage.pages.schema import Entry, index_digest, leaf_digest

FILES = {f"{directory}/{name}{number}": 1 for directory in ("a", "b/c", "d") for name in "xyz" for number in range(5)}


@dataclass
class Frame:
    """One frame of a pack, with the chunks that the footer says are in it."""

    kind: FrameKind
    offset: int
    payload: bytes
    chunks: list[tuple[bytes, int, int]]


@dataclass
class Forger:
    """Lays out the packs of a store again, one frame of them changed, so that whatever leads to a frame still does."""

    base: Path
    packs: dict[str, list[Frame]] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)

    def __post_init__(self):
        objects = open_objects(str(self.base))
        for info in sorted(objects.list("packs/"), key=lambda info: info.key.rpartition("/")[2]):
            name = info.key.rpartition("/")[2].removesuffix(".pack")
            chunks = {}
            for chunk in read_footer(objects, name).chunks:
                chunks.setdefault(chunk.frame, []).append((chunk.digest, chunk.inner, chunk.size))
            self.packs[name] = [
                Frame(kind, ref.offset, bytes(payload), chunks.get(number, []))
                for number, (kind, ref, payload) in enumerate(iterate_frames(objects, name))
            ]
        records = [one for frames in self.packs.values() for one in frames if one.kind is FrameKind.COMMIT]
        self.commits = [json.loads(one.payload)["id"] for one in records]

    @property
    def targets(self):
        """Every frame, and behind a pack's last one its footer and its trailer, as (pack, number)."""
        return [(name, number) for name, frames in self.packs.items() for number in range(len(frames) + 2)]

    def kind_of(self, target):
        """Return the kind of a target's frame; None for a trailer."""
        name, number = target
        frames = self.packs[name]
        if number > len(frames):
            return None
        return frames[number].kind if number < len(frames) else FrameKind.FOOTER

    def forge(self, store: Path, target, change, *, renames: bool):
        """Write the store into *store*, with the payload of *target* as *change* makes it of (payload, surroundings).

        Args:
            target: None to change nothing.
            change: Of a trailer it is called with the pack's name, and where and how large the footer is.
            renames: Whether what leads to a changed page says of it what is in it now.
        """
        shutil.copytree(self.base, store, copy_function=_copy)
        led = _Led(renames)
        for name, frames in self.packs.items():
            if target is None or (name != target[0] and not led.places):
                continue  # nothing that it could lead to has moved
            data = self._laid_out(name, frames, target, change, led)
            path = store / pack_key(name)
            path.unlink()
            path.write_bytes(data)
        self._correct_catalog(store, led)

    def _laid_out(self, name, frames, target, change, led):
        pack = bytes.fromhex(name)
        data, lines, chunks = bytearray(encode_head(pack)), [], b""
        for number, frame in enumerate(frames):
            payload = _led(frame, led)
            if target == (name, number):
                changed = change(payload, self._around(pack, len(data), led))
                if frame.kind is FrameKind.PAGE and not isinstance(changed, Payload):
                    led.note(frame.payload, changed)
                payload = changed
            head, stored, size = _framed(pack, len(data), frame.kind, payload)
            led.places[pack, frame.offset] = (len(data), len(head) + len(stored))
            lines.append(FooterFrame(frame.kind, len(data), len(head) + len(stored), size))
            chunks += encode_footer_chunks(number, frame.chunks)
            data += head + bytes(stored)
        footer = join_footer(lines, chunks)
        if target == (name, len(frames)):
            footer = change(footer, self._around(pack, len(data), led))
        at = len(data)
        head, stored, _ = _framed(pack, at, FrameKind.FOOTER, footer)
        make = change if target == (name, len(frames) + 1) else encode_trailer
        return bytes(data) + head + bytes(stored) + make(pack, at, len(head) + len(stored))

    def _around(self, pack, offset, led):
        known = [(one, new, size) for (one, _), (new, size) in led.places.items()] or [(pack, HEAD_SIZE, 300)]
        return Surroundings((pack, offset), known, self.commits)

    def _correct_catalog(self, store, led):
        with sqlite3.connect(store / "catalog.db") as catalog:
            for commit, root in catalog.execute("SELECT id, root FROM commits WHERE root IS NOT NULL").fetchall():
                catalog.execute(
                    "UPDATE commits SET root = ? WHERE id = ?", (json.dumps(led.root(json.loads(root))), commit)
                )
            for name in {pack.hex() for pack, _ in led.places}:
                size = (store / pack_key(name)).stat().st_size
                catalog.execute("UPDATE packs SET size_bytes = ? WHERE name = ?", (size, name))
            for (pack, offset), (new, stored) in led.places.items():
                changed = (-new, stored, pack.hex(), offset)
                catalog.execute('UPDATE chunks SET "offset" = ?, stored = ? WHERE pack = ? AND "offset" = ?', changed)
            catalog.execute('UPDATE chunks SET "offset" = -"offset" WHERE "offset" < 0')
        catalog.close()


@dataclass
class _Led:
    """What has moved, and what of a page that has changed is said by those that lead to it.

    Attributes:
        renames: Whether they say what is in the page now.
        places: The new offset and stored size of each frame, by its pack and its old offset.
        pages: The new digest, last path, number of files and size of each changed page, by its old digest.
    """

    renames: bool
    places: dict[tuple[bytes, int], tuple[int, int]] = field(default_factory=dict)
    pages: dict[bytes, tuple[bytes, str, int, int]] = field(default_factory=dict)

    @property
    def moves_nothing(self):
        return not self.pages and all(old[1] == new[0] for old, new in self.places.items())

    def note(self, before, after):
        """Let what leads to a changed page describe it rightly, where that can be done at all."""
        if self.renames:
            old, new = _described(before), _described(after)
            if old and new and max(new[2:]) < 1 << 63:
                self.pages[old[0]] = new

    def root(self, root):
        place, digest = (bytes.fromhex(root["pack"]), root["offset"]), bytes.fromhex(root["digest"])
        offset, stored = self.places.get(place, (root["offset"], root["stored_size"]))
        digest, _, files, size = self.pages.get(digest, (digest, "", root["files"], root["size_bytes"]))
        more = {"digest": digest.hex(), "files": files, "size_bytes": size}
        return root | {"offset": offset, "stored_size": stored} | more

    def entry(self, row):
        name, last, files, size = self.pages.get(
            row["digest"], (row["digest"], row["last"], row["files"], row["size_bytes"])
        )
        row |= {"digest": name, "last": last, "files": files, "size_bytes": size}


def _described(payload):
    """Return the digest, last path, number of files and size of a page; None of one that Arrow does not even read."""
    try:
        with pa.ipc.open_stream(payload) as stream:
            batch = stream.read_next_batch()
        batch.validate(full=True)
        rows = batch.to_pylist()
        if "last" not in batch.schema.names:
            return leaf_digest(batch), rows[-1]["path"], len(rows), sum(row["size"] for row in rows)
        name = index_digest([Entry(*row.values()) for row in rows])
        return name, rows[-1]["last"], sum(row["files"] for row in rows), sum(row["size_bytes"] for row in rows)
    except (pa.ArrowException, ValueError, LookupError, OSError, StopIteration, TypeError):
        return None


def _copy(source, target):
    """Link what never changes, copy the rest."""
    if str(source).endswith(".pack"):
        os.link(source, target)
    else:
        shutil.copyfile(source, target)


def _framed(pack, offset, kind, payload):
    """Return a frame's header, what is stored, and the size that its footer says it decompresses to."""
    if isinstance(payload, Payload):
        return encode_header(pack, offset, kind, payload), payload.stored, payload.raw_size
    return *encode_frame(pack, offset, kind, payload), len(payload)


def make_base(place: Path) -> str:
    """Make a small store with all that commands show: branches, a merge, tags, runs, reads, a deep tree."""
    with vio.create_store(str(place)) as store:
        store.create_repo("r", description="what for")
        store.create_repo("other")
        with store.transaction("r@main", message="first", author="me", metadata={"k": "v"}) as tx:
            for path, size in FILES.items():
                tx.write(path, path.encode() * size, attributes={"format": "text"})
        with store.run("job", params={"rows": 5}), store.transaction("other@main", message="made") as tx:
            tx.write("out", store.snapshot("r@main").read("a/x0") + bytes(200_000))
        store.create_tag("r@v1", at="r@main")
        store.create_branch("r@side", at="r@main")
        with store.transaction("r@main", message="second") as tx:
            tx.write("a/x0", b"changed")
            tx.delete("d/z4")
        with store.transaction("r@side", message="beside") as tx:
            tx.write("d/new", b"new")
        store.merge("r@side", into="r@main", message="merged")
        store.delete_branch("r@side")
        store.create_branch("r@other", at="r@v1")
        with store.transaction("r@other", message="on its own") as tx:
            tx.write("b/c/new", b"of another branch")
        lineage = store.commit("r@main").lineage_id
    _cut_small(place)
    return lineage


def _cut_small(place: Path) -> None:
    """Cut the newest tree of *r* into many small pages, on three levels, as a tree of a million files is cut."""
    with vio.open_store(str(place)) as store:
        head = store.commit("r@main")
        rows = pa.Table.from_batches(list(store.snapshot("r@main").batches()))
    forger = Forger(place)
    [name] = [name for name, frames in forger.packs.items() if any(_is_record_of(frame, head.id) for frame in frames)]
    frames = [frame for frame in forger.packs[name] if frame.kind is not FrameKind.PAGE]
    record = next(frame for frame in frames if _is_record_of(frame, head.id))
    frames.remove(record)
    pages = _Pages(bytes.fromhex(name))
    root = build_tree(rows, sink=pages, rules=TINY)
    assert root is not None
    assert root.level >= 2
    fields = json.loads(record.payload) | {"root": root.to_json()}
    record.payload = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    forger.packs[name] = [*frames, *pages.frames, record]
    data = forger._laid_out(name, forger.packs[name], None, None, led := _Led(False))
    (place / pack_key(name)).chmod(0o600)
    (place / pack_key(name)).write_bytes(data)
    with sqlite3.connect(place / "catalog.db") as catalog:
        ref = json.dumps(led.root(root.to_json()))
        catalog.execute("UPDATE commits SET root = ? WHERE id = ?", (ref, head.id))
        catalog.execute("UPDATE packs SET size_bytes = ? WHERE name = ?", (len(data), name))
    catalog.close()


class _Pages:
    """Takes pages for a pack whose layout comes later: their offsets are far away, and only stand for them."""

    def __init__(self, pack):
        self.pack = pack
        self.frames = []

    def put_page(self, payload):
        from versioned_io.model.places import FrameRef

        offset = (1 << 40) + len(self.frames)
        self.frames.append(Frame(FrameKind.PAGE, offset, bytes(payload), []))
        return FrameRef(self.pack, offset, 1 << 20)


def _is_record_of(frame, commit):
    return frame.kind is FrameKind.COMMIT and json.loads(frame.payload)["id"] == commit


def _led(frame, led):
    """Return a payload that leads to where things are now."""
    if frame.kind is FrameKind.COMMIT:
        fields = json.loads(frame.payload)
        if fields["root"] is not None:
            fields["root"] = led.root(fields["root"])
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    if frame.kind is not FrameKind.PAGE or led.moves_nothing:
        return frame.payload
    table = pa.ipc.open_stream(frame.payload).read_all()
    rows = table.to_pylist()
    for row in rows:
        for place in [row] if "last" in row else row["chunks"]:
            found = led.places.get((place["pack"], place["offset"]))
            if found is not None:
                place["offset"], place["stored"] = found
        if "last" in row:
            led.entry(row)
    payload = encoded(table.schema, rows)
    if "last" in table.schema.names:
        led.note(frame.payload, payload)
    return payload
