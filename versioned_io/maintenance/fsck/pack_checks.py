"""Checking packs: every byte of every pack is read once, and every content is compared with its digest."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np

from versioned_io.errors import IntegrityError
from versioned_io.maintenance.evidence.contents import DAMAGES, NOTED_KINDS
from versioned_io.maintenance.fsck.keys import NO_KEYS, Keys, mix, words_of
from versioned_io.model.damages import Content, Damaged
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import FrameRef, pack_key
from versioned_io.storage.chunks.cutting import digest_of
from versioned_io.storage.elsewhere.parts import Pin, decode_part, name_part
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.packs.footer import (
    HEAD_SIZE,
    TRAILER_SIZE,
    Footer,
    FooterChunk,
    FooterFrame,
    check_head,
    decode_footer,
    decode_trailer,
)
from versioned_io.storage.packs.frames import FrameKind, decode_frame
from versioned_io.storage.packs.walking import walk_frames

_AT_ONCE: Final = {True: 4, False: 2}  # by whether a read is a round trip; each read has a pack in memory, 32 to 64 MiB


@dataclass(slots=True)
class PackCheck:
    """The findings in one pack: its damages, and the keys of the contents that match their digests.

    Attributes:
        content_bytes: The bytes of contents in the pack, without parts elsewhere.
        notes: The payloads of its commit records and journal entries.
        pins: The objects elsewhere that it refers to, by the frames with their first parts.
        lost: The damaged contents that the footer lists.
    """

    name: PackName
    size_bytes: int = 0
    content_bytes: int = 0
    damages: list[str] = field(default_factory=list)
    keys: Keys = field(default_factory=lambda: NO_KEYS)
    pins: dict[FrameRef, Pin] = field(default_factory=dict)
    notes: list[tuple[FrameKind, bytes]] = field(default_factory=list)
    lost: list[Damaged] = field(default_factory=list)


def check_packs(objects: ObjectStore, names: Sequence[PackName]) -> Iterator[PackCheck]:
    """Read each pack, several at a time, and verify every byte; yield the findings in the order of *names*.

    Raises:
        StorageError: The object store failed, so nothing is known about the packs. Try again.

    Cost: 1 GET for each pack; memory for 2 packs, or 4 if the store is remote.
    """
    workers = _AT_ONCE[objects.is_remote]
    waiting = iter(names)
    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(check_pack, objects, name) for name in islice(waiting, workers)]
        while running:
            done = running.pop(0).result()
            running += [pool.submit(check_pack, objects, name) for name in islice(waiting, 1)]
            yield done


def check_pack(objects: ObjectStore, name: PackName) -> PackCheck:
    """Read one pack and verify every byte; the check continues after a damage."""
    try:
        return check_bytes(name, objects.get(pack_key(name)))
    except DAMAGES as error:
        return PackCheck(name, damages=[str(error)])


def check_bytes(name: PackName, whole: bytes) -> PackCheck:
    """Verify every byte of a pack in memory; otherwise as `check_pack`."""
    check, pack = PackCheck(name), bytes.fromhex(name)
    data = memoryview(whole)
    check.size_bytes = len(data)
    try:
        check_head(pack, data)
    except DAMAGES as error:
        check.damages.append(str(error))
    try:
        footer, footer_at = _footer_of(name, data)
    except DAMAGES as error:
        check.damages.append(str(error))
        _check_without_footer(check, data)
        return check
    _check_frames(check, footer, footer_at, data)
    return check


def _footer_of(name: PackName, data: memoryview) -> tuple[Footer, int]:
    pack = bytes.fromhex(name)
    offset, size = decode_trailer(pack, data[-TRAILER_SIZE:])
    if offset + size + TRAILER_SIZE != len(data):
        msg = f"pack {name} is damaged: it is {len(data)} bytes long, but its trailer gives another size"
        raise IntegrityError(msg)
    payload = decode_frame(pack, offset, data[offset : offset + size], FrameKind.FOOTER)
    return decode_footer(name, payload), offset


def _check_without_footer(check: PackCheck, data: memoryview) -> None:
    """Add the byte ranges of a pack without intact frames, and check its contents if a footer is found."""
    end, frames, is_listed = HEAD_SIZE, 0, False
    unlisted: list[tuple[FrameKind, bytes]] = []
    try:
        for frame, payload in walk_frames(check.name, bytes(data)):
            if frame.offset != end:
                check.damages.append(f"no frame is intact from byte {end} to {frame.offset}")
            end = frame.offset + frame.stored_size
            if frame.kind is FrameKind.FOOTER:
                is_listed = _check_found_footer(check, frame, payload, data)
            else:
                frames += 1
                if frame.kind in NOTED_KINDS:
                    unlisted.append((frame.kind, bytes(payload)))
    except IntegrityError as error:
        check.damages.append(str(error))
    if not is_listed:
        check.notes = unlisted
        check.damages.append(
            f"{frames} of its frames are intact, and end at byte {end} of {len(data)}; "
            "their files can be read, but new files don't share their contents"
        )


def _check_found_footer(check: PackCheck, frame: FooterFrame, payload: memoryview, data: memoryview) -> bool:
    """Check the frames before a footer if only bytes behind it are damaged; return whether *frame* is such a footer."""
    try:
        footer = decode_footer(check.name, payload)
    except DAMAGES:
        return False  # its damage is already reported
    _check_frames(check, footer, frame.offset, data)
    return True


def _check_frames(check: PackCheck, footer: Footer, footer_at: int, data: memoryview) -> None:
    chunks: dict[int, list[FooterChunk]] = {}
    for chunk in footer.chunks:
        chunks.setdefault(chunk.frame, []).append(chunk)
    right: list[tuple[FooterFrame, FooterChunk]] = []
    pack = bytes.fromhex(check.name)
    end = HEAD_SIZE
    for number, frame in enumerate(footer.frames):
        if frame.offset != end:
            check.damages.append(f"its footer skips byte {end}")
        end = frame.offset + frame.stored_size
        try:
            payload = decode_frame(pack, frame.offset, data[frame.offset : end], frame.kind)
        except DAMAGES as error:
            check.damages.append(str(error))
            check.lost += [_lost(pack, frame, chunk) for chunk in chunks.get(number, [])]
            continue
        if len(payload) != frame.raw_size:
            check.damages.append(f"the frame at byte {frame.offset} holds {len(payload)} bytes, not {frame.raw_size}")
        if frame.kind in NOTED_KINDS:
            check.notes.append((frame.kind, bytes(payload)))
        if frame.kind is FrameKind.SOURCE:
            _note_part(check, FrameRef(pack, frame.offset, frame.stored_size), payload)
        right += [(frame, chunk) for chunk in _right_chunks(check, frame, payload, chunks.pop(number, []))]
    if end != footer_at:
        check.damages.append(f"its footer leaves out the bytes from {end} to {footer_at}")
    # The remaining chunks are in damaged frames, or in frames that don't exist.
    check.damages += [f"its footer lists a chunk in frame {one}" for one in chunks if one >= len(footer.frames)]
    check.content_bytes = sum(chunk.size for frame, chunk in right if frame.kind is FrameKind.BLOCK)
    check.keys = _keys_of(check.name, right)


def _right_chunks(
    check: PackCheck, frame: FooterFrame, payload: memoryview, chunks: Sequence[FooterChunk]
) -> Iterator[FooterChunk]:
    for chunk in chunks:
        if _is_right(frame, payload, chunk):
            yield chunk
        else:
            check.damages.append(f"chunk {chunk.digest.hex()} holds bytes that don't match its digest")
            check.lost.append(_lost(bytes.fromhex(check.name), frame, chunk))


def _lost(pack: bytes, frame: FooterFrame, chunk: FooterChunk) -> Damaged:
    return Damaged(Content(chunk.digest, chunk.inner, chunk.size), pack, frame.offset)


def _is_right(frame: FooterFrame, payload: memoryview, chunk: FooterChunk) -> bool:
    if frame.kind is FrameKind.SOURCE:
        # The chunk's bytes are elsewhere. The frame holds a pin of them, which has a digest too.
        return chunk.inner == 0 and name_part(payload) == chunk.digest and _size_of_part(payload) == chunk.size
    content = payload[chunk.inner : chunk.inner + chunk.size]
    return frame.kind is FrameKind.BLOCK and len(content) == chunk.size and digest_of(content) == chunk.digest


def _size_of_part(payload: memoryview) -> int | None:
    try:
        return decode_part(payload).size
    except IntegrityError:
        return None


def _note_part(check: PackCheck, place: FrameRef, payload: memoryview) -> None:
    try:
        part = decode_part(payload)
    except IntegrityError as error:
        check.damages.append(str(error))
        return
    # The first part of an object represents the whole object.
    if part.offset == 0:
        check.pins[place] = part.pin


def _keys_of(name: PackName, chunks: Sequence[tuple[FooterFrame, FooterChunk]]) -> Keys:
    if not chunks:
        return NO_KEYS
    digests = words_of(b"".join(chunk.digest for _, chunk in chunks), 32)
    packs = words_of(bytes.fromhex(name) * len(chunks), 16)
    numbers = np.array([(f.offset, f.stored_size, c.inner, c.size) for f, c in chunks], np.uint64)
    return mix([*digests, *packs, *numbers.T])
