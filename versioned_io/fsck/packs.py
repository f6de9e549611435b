"""Checking packs: every byte of every pack is read once, and every content in them is compared with its name."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np

from versioned_io.chunks.cutting import digest_of
from versioned_io.elsewhere.parts import Pin, decode_part, name_part
from versioned_io.errors import IntegrityError
from versioned_io.fsck.findings import DAMAGES
from versioned_io.fsck.keys import NO_KEYS, Keys, mix, words_of
from versioned_io.identifiers import PackName
from versioned_io.objects.port import ObjectStore
from versioned_io.packs.footer import (
    HEAD_SIZE,
    TRAILER_SIZE,
    Footer,
    FooterChunk,
    FooterFrame,
    check_head,
    decode_footer,
    decode_trailer,
)
from versioned_io.packs.frames import FrameKind, FrameRef, decode_frame, pack_key
from versioned_io.packs.walking import walk_frames

_AT_ONCE: Final = {True: 4, False: 2}  # by whether a read is a round trip; each holds a pack, 32 to 64 MiB


@dataclass(slots=True)
class PackCheck:
    """What was found in one pack: its damages, and the keys of the contents in it that are what their names say.

    Attributes:
        content_bytes: Of those that are here, not elsewhere.
        pins: The objects elsewhere that are referred to, by the frames that stand for their first parts.
    """

    name: PackName
    size_bytes: int = 0
    content_bytes: int = 0
    damages: list[str] = field(default_factory=list)
    keys: Keys = field(default_factory=lambda: NO_KEYS)
    pins: dict[FrameRef, Pin] = field(default_factory=dict)


def check_packs(objects: ObjectStore, names: Sequence[PackName]) -> Iterator[PackCheck]:
    """Read each pack and check every byte of it, several at a time; yield what was found, in that order.

    Raises:
        StorageError: The object store failed, which says nothing about the packs. Try again.

    Cost: 1 GET a pack; memory for 2 packs, or 4 where the store is remote.
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
    """Read one pack and check every byte of it; a damage does not end the check of what follows it."""
    check, pack = PackCheck(name), bytes.fromhex(name)
    try:
        data = memoryview(objects.get(pack_key(name)))
    except DAMAGES as error:
        check.damages.append(str(error))
        return check
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
        msg = f"pack {name} is damaged: it is {len(data)} bytes long, its trailer says otherwise"
        raise IntegrityError(msg)
    payload = decode_frame(pack, offset, data[offset : offset + size], FrameKind.FOOTER)
    return decode_footer(name, payload), offset


def _check_without_footer(check: PackCheck, data: memoryview) -> None:
    """Say which parts of a pack are no whole frames, and whether its contents are still known by their names."""
    end, frames, is_listed = HEAD_SIZE, 0, False
    for frame, payload in walk_frames(check.name, bytes(data)):
        if frame.offset != end:
            check.damages.append(f"no frame is whole from byte {end} to {frame.offset}")
        end = frame.offset + frame.stored_size
        if frame.kind is FrameKind.FOOTER:
            # Only what follows it is damaged.
            _check_frames(check, decode_footer(check.name, payload), frame.offset, data)
            is_listed = True
        else:
            frames += 1
    if not is_listed:
        check.damages.append(
            f"{frames} of its frames are whole, and end at byte {end} of {len(data)}; files in them can be read, but "
            "are not shared with new files of the same content"
        )


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
            continue
        if len(payload) != frame.raw_size:
            check.damages.append(f"the frame at byte {frame.offset} holds {len(payload)} bytes, not {frame.raw_size}")
        if frame.kind is FrameKind.SOURCE:
            _note_part(check, FrameRef(pack, frame.offset, frame.stored_size), payload)
        right += [(frame, chunk) for chunk in _right_chunks(check, frame, payload, chunks.pop(number, []))]
    if end != footer_at:
        check.damages.append(f"its footer leaves out what lies from byte {end} to {footer_at}")
    # What is left are chunks of frames that are damaged, and of none.
    check.damages += [f"its footer tells of a chunk in frame {one}" for one in chunks if one >= len(footer.frames)]
    check.content_bytes = sum(chunk.size for frame, chunk in right if frame.kind is FrameKind.BLOCK)
    check.keys = _keys_of(check.name, right)


def _right_chunks(
    check: PackCheck, frame: FooterFrame, payload: memoryview, chunks: Sequence[FooterChunk]
) -> Iterator[FooterChunk]:
    for chunk in chunks:
        if _is_right(frame, payload, chunk):
            yield chunk
        else:
            check.damages.append(f"chunk {chunk.digest.hex()} holds other bytes than its name says")


def _is_right(frame: FooterFrame, payload: memoryview, chunk: FooterChunk) -> bool:
    if frame.kind is FrameKind.SOURCE:
        # Its bytes lie elsewhere; what is here is what was pinned of them, and that has a name, too.
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
    # The first part of an object stands for all of it.
    if part.offset == 0:
        check.pins[place] = part.pin


def _keys_of(name: PackName, chunks: Sequence[tuple[FooterFrame, FooterChunk]]) -> Keys:
    if not chunks:
        return NO_KEYS
    digests = words_of(b"".join(chunk.digest for _, chunk in chunks), 32)
    packs = words_of(bytes.fromhex(name) * len(chunks), 16)
    numbers = np.array([(f.offset, f.stored_size, c.inner, c.size) for f, c in chunks], np.uint64)
    return mix([*digests, *packs, *numbers.T])
