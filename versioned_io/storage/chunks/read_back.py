"""Reading back the chunks that new files share with old ones, so that every acknowledged file can be read.

Source: docs/design/0011-healing.md.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from versioned_io.errors import IntegrityError, ObjectNotFoundError, PackLostError
from versioned_io.model.damages import Content, Damaged, Healed
from versioned_io.model.places import ChunkRef, FrameRef, pack_key, pack_name
from versioned_io.storage.chunks.index import ChunkIndex
from versioned_io.storage.chunks.mending import note_damage
from versioned_io.storage.chunks.placed import ChunkPlaces
from versioned_io.storage.objects.cached import past_cache
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.packs.damages import Damages
from versioned_io.storage.packs.frames import CONTENT_KINDS, check_one_of
from versioned_io.storage.packs.reader import fetch_each

REMOTE_BYTES: Final = 256 * 1024 * 1024
"""The most that a transaction reads back from a remote store. For chunks beyond it, only the packs are checked."""

COPIED_BYTES: Final = 64 * 1024 * 1024
"""The most that a transaction reads back of files copied by reference, which are as readable as their originals."""

_AT_ONCE_BYTES: Final = 16 * 1024 * 1024


class ReadBack:
    """Finds chunks that are already stored and readable: each frame is read back once, past any cache.

    For one thread at a time.

    Args:
        damages: Records the damage that is found here; None to record nothing.
    """

    def __init__(self, objects: ObjectStore, index: ChunkIndex, damages: Damages | None = None) -> None:
        self._objects = past_cache(objects)
        self._index = index
        self._damages = damages
        self._whole: set[FrameRef] = set()
        self._broken: dict[FrameRef, IntegrityError] = {}
        self._damaged: dict[bytes, list[Damaged]] = {}
        self._sizes: dict[bytes, int | IntegrityError] = {}
        self._read_bytes = self._copied_bytes = 0

    def find(self, digests: Sequence[bytes]) -> dict[bytes, ChunkRef]:
        """Return the places of the *digests* that are stored and can be read.

        Cost: 1 index look-up, and at most 1 GET for each frame that was not read back before; adjacent frames share
            one. After 256 MiB from a remote store, 1 HEAD for each pack instead.
        """
        found = self._index.find(digests)
        for one in found.damaged:
            known = self._damaged.setdefault(one.content.digest, [])
            if one not in known:
                known.append(one)
        self._check([ref.frame for ref in found.places.values()])
        whole: dict[bytes, ChunkRef] = {}
        for digest, ref in found.places.items():
            if ref.frame in self._broken:
                self._note_damaged(ref)
            else:
                whole[digest] = ref
        return whole

    def check(self, refs: Sequence[ChunkRef]) -> None:
        """Read back chunks that a transaction keeps. `healed` returns the damaged ones that have another place.

        Cost: that of `find`, without the look-up.
        """
        self._check([ref.frame for ref in refs])
        for ref in refs:
            if ref.frame in self._broken:
                self._note_damaged(ref)

    def readable(self, refs: Sequence[ChunkRef], known: ChunkPlaces) -> tuple[ChunkRef, ...]:
        """Return *refs*, of files that are copied by reference, with the repaired copy in place of a damaged chunk.

        Args:
            known: The places of the chunks of this transaction.

        Raises:
            IntegrityError: A chunk can't be read, and has no repaired copy. Write its file again first.

        Cost: at most 1 GET for each frame that was not read back before, up to 64 MiB in a transaction.
        """
        frames: list[FrameRef] = []
        for frame in dict.fromkeys(ref.frame for ref in refs):
            if frame not in self._whole and self._copied_bytes < COPIED_BYTES:
                self._copied_bytes += frame.stored_size
                frames.append(frame)
        self._check(frames)
        return tuple(self._whole_place(ref, known) if ref.frame in self._broken else ref for ref in refs)

    def healed(self, places: ChunkPlaces) -> list[Healed]:
        """Return the damaged contents that now have a readable place among *places*."""
        found: list[Healed] = []
        for digest, damaged in self._damaged.items():
            if digest in places and places[digest].frame not in self._broken:
                ref = places[digest]
                found += [Healed(one, ref.frame, ref.inner) for one in damaged if not _is_at(one, ref)]
        return found

    def _note_damaged(self, ref: ChunkRef) -> None:
        one = Damaged(Content(ref.digest, ref.inner, ref.size), ref.pack, ref.offset)
        known = self._damaged.setdefault(ref.digest, [])
        if one not in known:
            known.append(one)

    def _whole_place(self, ref: ChunkRef, known: ChunkPlaces) -> ChunkRef:
        if ref.digest in known and known[ref.digest].frame not in self._broken:
            self._note_damaged(ref)
            return known[ref.digest]
        for healed in [] if self._damages is None else self._damages.find(ref.frame):
            if healed.damaged.content.inner == ref.inner:
                new, frame = healed.frame, ref.frame
                self._check([new])
                if new not in self._broken:
                    return replace(ref, pack=new.pack, offset=new.offset, stored=new.stored_size, inner=healed.inner)
                raise self._broken[new] from self._broken[frame]
        raise self._broken[ref.frame]

    def _check(self, frames: Iterable[FrameRef]) -> None:
        new = [frame for frame in dict.fromkeys(frames) if frame not in self._whole and frame not in self._broken]
        for group in _groups(sorted(new, key=lambda frame: (frame.pack, frame.offset))):
            if self._objects.is_remote and self._read_bytes >= REMOTE_BYTES:
                results: Sequence[object] = [self._presence(frame) for frame in group]
            else:
                self._read_bytes += sum(frame.stored_size for frame in group)
                results = fetch_each(self._objects, group, CONTENT_KINDS, decode=check_one_of)
            for frame, result in zip(group, results, strict=True):
                if isinstance(result, IntegrityError):
                    self._broken[frame] = result
                    if self._damages is not None:
                        note_damage(self._objects, self._damages, frame, result)
                else:
                    self._whole.add(frame)

    def _presence(self, frame: FrameRef) -> IntegrityError | None:
        """Return an error if the pack is missing or too short for the frame, or None. Cost: 1 HEAD a pack."""
        if frame.pack not in self._sizes:
            self._sizes[frame.pack] = self._size_of(frame.pack)
        size = self._sizes[frame.pack]
        if isinstance(size, IntegrityError):
            return size
        if frame.offset + frame.stored_size > size:
            return IntegrityError(f"pack {pack_name(frame.pack)} is damaged: it is only {size} bytes long; run fsck")
        return None

    def _size_of(self, pack: bytes) -> int | IntegrityError:
        name = pack_name(pack)
        try:
            return self._objects.size(pack_key(name))
        except ObjectNotFoundError:
            return PackLostError(name, self._objects.url)


def _is_at(one: Damaged, ref: ChunkRef) -> bool:
    return (one.pack, one.offset, one.content.inner) == (ref.pack, ref.offset, ref.inner)


def _groups(frames: Sequence[FrameRef]) -> Iterator[list[FrameRef]]:
    group: list[FrameRef] = []
    size = 0
    for frame in frames:
        group.append(frame)
        size += frame.stored_size
        if size >= _AT_ONCE_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
