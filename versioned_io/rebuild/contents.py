"""What lies in the packs: commit records, entries of the journal, and where contents are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import pyarrow as pa
from sqlalchemy import Connection

from versioned_io.catalog.chunk_index import insert_chunks, insert_packs
from versioned_io.catalog.journal import RecordedEntry, decode_entry
from versioned_io.chunks.refs import NEW_CHUNKS
from versioned_io.errors import ObjectNotFoundError
from versioned_io.fsck.findings import DAMAGES
from versioned_io.identifiers import CommitId, PackName
from versioned_io.objects.port import ObjectStore
from versioned_io.packs.footer import Footer, decode_footer
from versioned_io.packs.frames import FrameKind, pack_key, parse_pack_key
from versioned_io.packs.reader import read_footer, read_frames_of
from versioned_io.packs.walking import walk_frames
from versioned_io.packs.writer import PackInfo
from versioned_io.transactions.record import CommitRecord, decode_record


@dataclass(slots=True)
class Contents:
    """What lies in the packs.

    Attributes:
        records: The newest record of each commit, and the pack that it is in.
        entries: The entries of each repo's journal by number, whether they counted or not.
        replaced: Commits that were attempts: later ones say so.
        damaged: Packs that are not whole, and why.
    """

    records: dict[CommitId, tuple[CommitRecord, PackName]] = field(default_factory=dict)
    entries: dict[str, dict[int, tuple[RecordedEntry, PackName]]] = field(default_factory=dict)
    replaced: set[CommitId] = field(default_factory=set)
    infos: list[PackInfo] = field(default_factory=list)
    chunks: int = 0
    damaged: list[str] = field(default_factory=list)


def read_packs(
    connection: Connection, objects: ObjectStore, now: datetime, progress: Callable[[int], None]
) -> Contents:
    """Enter all packs and the contents in them into an empty catalog, and return what else they say.

    Cost: 1 LIST for each 1,000 packs; 1 HEAD and 2 to 4 GETs for each; 1 GET of all of a damaged one.
    """
    found = Contents()
    for info in objects.list("packs/"):
        name = parse_pack_key(info.key)
        if name is None:
            continue
        # A damaged one is kept in the catalog all the same: what is unknown is not garbage.
        footer = _read_pack(objects, name, found)
        pack = PackInfo(name, info.size_bytes, len(footer.frames), len(footer.chunks))
        found.infos.append(pack)
        insert_packs(connection, [pack], now)
        insert_chunks(connection, _chunks_of(footer))
        found.chunks += len(footer.chunks)
        progress(len(found.infos))
    return found


def _read_pack(objects: ObjectStore, name: PackName, found: Contents) -> Footer:
    """Note what a pack says of commits and names, and return the index of its contents, as far as it is whole."""
    try:
        footer = read_footer(objects, name)
        kinds = {frame.kind for frame in footer.frames} & _NOTES.keys()
        payloads = [(kind, payload) for kind in sorted(kinds) for payload in read_frames_of(objects, name, kind)]
    except DAMAGES as error:
        footer, payloads = _read_whole_frames(objects, name)
        found.damaged.append(f"pack {name}: {error} ({len(footer.frames)} of its frames could still be read)")
    for kind, payload in payloads:
        try:
            _NOTES[kind](found, name, bytes(payload))
        except DAMAGES as error:
            found.damaged.append(f"pack {name}: {error}")
    return footer


def _read_whole_frames(objects: ObjectStore, name: PackName) -> tuple[Footer, list[tuple[FrameKind, memoryview]]]:
    """Return what a damaged pack still holds: an index of the frames that are whole, and their commits and entries."""
    try:
        data = objects.get(pack_key(name))
    except ObjectNotFoundError:
        return Footer(name, (), ()), []
    whole = list(walk_frames(name, data))
    payloads = [(frame.kind, payload) for frame, payload in whole if frame.kind in _NOTES]
    frames = tuple(frame for frame, _ in whole if frame.kind is not FrameKind.FOOTER)
    if not whole or whole[-1][0].kind is not FrameKind.FOOTER:
        return Footer(name, frames, ()), payloads
    footer = decode_footer(name, whole[-1][1])
    number_of = {frame.offset: number for number, frame in enumerate(frames)}
    chunks = [
        replace(chunk, frame=number_of[footer.frames[chunk.frame].offset])
        for chunk in footer.chunks
        if footer.frames[chunk.frame].offset in number_of
    ]
    return Footer(name, frames, tuple(chunks)), payloads


def _note_record(found: Contents, pack: PackName, payload: bytes) -> None:
    record = decode_record(payload)
    known = found.records.get(record.commit.id)
    if known is None or known[0].commit.generation < record.commit.generation:
        found.records[record.commit.id] = (record, pack)
    found.replaced.update(record.replaces)


def _note_entry(found: Contents, pack: PackName, payload: bytes) -> None:
    recorded = decode_entry(payload)
    of_repo = found.entries.setdefault(recorded.entry.repo, {})
    known = of_repo.get(recorded.sequence)
    # Two of one number: the writer of the earlier one died before it counted.
    if known is None or known[1] < pack:
        of_repo[recorded.sequence] = (recorded, pack)


_NOTES: Final[Mapping[FrameKind, Callable[[Contents, PackName, bytes], None]]] = {
    FrameKind.COMMIT: _note_record,
    FrameKind.JOURNAL: _note_entry,
}
"""What is done with the frames that say something of commits and names, by their kind."""


def _chunks_of(footer: Footer) -> pa.Table:
    pack = bytes.fromhex(footer.name)
    rows = [
        (
            chunk.digest,
            pack,
            footer.frames[chunk.frame].offset,
            footer.frames[chunk.frame].stored_size,
            chunk.inner,
            chunk.size,
        )
        for chunk in footer.chunks
    ]
    columns = zip(*rows, strict=True) if rows else ([] for _ in NEW_CHUNKS)
    arrays = [pa.array(values, column.type) for values, column in zip(columns, NEW_CHUNKS, strict=True)]
    return pa.Table.from_arrays(arrays, schema=NEW_CHUNKS)
