"""Reading the contents of damaged blocks from their repaired copies."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

from versioned_io.errors import IntegrityError, PackLostError
from versioned_io.model.damages import Content, Healed
from versioned_io.model.places import FrameRef, pack_name
from versioned_io.platform.process import new_lock
from versioned_io.storage.chunks.cutting import digest_of
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.packs.damages import Damages
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.reader import read_footer

Fetch: TypeAlias = Callable[[Sequence[FrameRef]], "list[tuple[FrameKind, RawBlock]]"]


class MendedBlock:
    """A damaged block, of which only the chunks with a repaired copy can be read.

    Args:
        parts: These chunks, by their offset in the block.
        error: The error that is raised for all other chunks.
    """

    def __init__(self, parts: Mapping[int, memoryview], error: IntegrityError) -> None:
        self._parts = parts
        self._error = error

    def __len__(self) -> int:
        return max((inner + len(part) for inner, part in self._parts.items()), default=0)

    def cut(self, inner: int, size: int) -> memoryview:
        """Return the chunk of *size* bytes at *inner*.

        Raises:
            IntegrityError: The block's error, if the chunk has no repaired copy.
        """
        part = self._parts.get(inner)
        if part is None or len(part) != size:
            raise self._error
        return part


RawBlock: TypeAlias = memoryview | MendedBlock
"""The chunks of a frame, decompressed."""


class Mender:
    """Finds repaired copies of the contents of damaged frames, and records new damage. Thread-safe."""

    def __init__(self, objects: ObjectStore, damages: Damages) -> None:
        self._objects = objects
        self._damages = damages
        self._noted: set[FrameRef] = set()
        self._lock = new_lock()

    def mend(self, frame: FrameRef, error: IntegrityError, fetch: Fetch) -> tuple[FrameKind, RawBlock]:
        """Return the repaired copies of the contents of *frame*, which could not be read because of *error*.

        Raises:
            IntegrityError: *error* itself, if there is no repaired copy. The damage is recorded.

        Cost: 1 SQL query, and the frames with the copies. For damage without copies that this process meets for the
            first time, also 1 HEAD, 2 GETs and 1 SQL transaction.
        """
        found = self._damages.find(frame)
        if not found:
            self._note(frame, error)
            raise error
        frames = list(dict.fromkeys(healed.frame for healed in found))
        blocks = dict(zip(frames, fetch(frames), strict=True))
        kind, block = blocks[frames[0]]
        if kind is FrameKind.SOURCE:
            return kind, block
        parts = {
            healed.damaged.content.inner: part
            for healed in found
            if (part := _part_of(blocks[healed.frame][1], healed)) is not None
        }
        return FrameKind.BLOCK, MendedBlock(parts, error)

    def _note(self, frame: FrameRef, error: IntegrityError) -> None:
        with self._lock:
            if frame in self._noted:
                return
            self._noted.add(frame)
        note_damage(self._objects, self._damages, frame, error)


def note_damage(objects: ObjectStore, damages: Damages, frame: FrameRef, error: IntegrityError) -> None:
    """Record that *frame* can't be read because of *error*.

    Cost: 1 SQL transaction; 1 HEAD and 2 GETs if the pack exists.
    """
    is_lost = isinstance(error, PackLostError)
    damages.note(frame, () if is_lost else contents_of(objects, frame), is_lost=is_lost)


def contents_of(objects: ObjectStore, frame: FrameRef) -> list[Content]:
    """Return the frame's contents from the footer of its pack; empty if the footer is damaged too.

    Cost: 1 HEAD and 2 GETs.
    """
    with suppress(IntegrityError):
        footer = read_footer(objects, pack_name(frame.pack))
        numbers = {number for number, one in enumerate(footer.frames) if one.offset == frame.offset}
        return [Content(one.digest, one.inner, one.size) for one in footer.chunks if one.frame in numbers]
    return []


def cut_block(block: RawBlock, inner: int, size: int, pack: bytes) -> memoryview:
    """Return the chunk of *size* bytes at *inner* of a block of *pack*.

    Raises:
        IntegrityError: The chunk reaches past the block's end, or the block is damaged and the chunk has no repaired
            copy. Run fsck.
    """
    if isinstance(block, MendedBlock):
        return block.cut(inner, size)
    if inner + size > len(block):
        msg = f"a chunk of {size} bytes at {inner} reaches past its block in pack {pack.hex()}; run fsck"
        raise IntegrityError(msg)
    return block[inner : inner + size]


def _part_of(block: RawBlock, healed: Healed) -> memoryview | None:
    """Return the repaired copy of the chunk, or None if that can't be read either."""
    content = healed.damaged.content
    try:
        part = cut_block(block, healed.inner, content.size, healed.frame.pack)
    except IntegrityError:
        return None
    return part if digest_of(part) == content.digest else None
