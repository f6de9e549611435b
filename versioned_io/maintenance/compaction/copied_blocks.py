"""Copying blocks of chunks, and references to parts elsewhere, out of packs without recompression."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from versioned_io.catalog.moving import MovedBlock
from versioned_io.maintenance.collection.marking import Marks
from versioned_io.maintenance.compaction.moved_places import MovedPlaces
from versioned_io.maintenance.compaction.pack_series import PackSeries
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import ChunkSpan, FrameRef
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.packs.footer import Footer, FooterFrame
from versioned_io.storage.packs.frames import CONTENT_KINDS, FrameKind, decode_frame
from versioned_io.storage.packs.reader import read_footer, read_part

_RUN_BYTES: Final = 16 * 1024 * 1024


class _Numbered(NamedTuple):
    """A frame of a pack, and its number there."""

    number: int
    frame: FooterFrame


@dataclass(slots=True)
class CopiedBlocks:
    """Copies the live blocks of packs.

    Args:
        objects: The objects from which the packs are read.
        blank: Digests of chunks whose bytes are replaced by zeros in the copy; no footer lists them.

    Attributes:
        places: The old and the new place of each copied block.
        moved: The same, for the catalog.
        records: The places of the packs' commit records.
    """

    objects: ObjectStore
    marks: Marks
    packs: PackSeries
    blank: frozenset[bytes]
    places: MovedPlaces = field(init=False)
    moved: list[MovedBlock] = field(default_factory=list)
    records: dict[PackName, list[FrameRef]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.places = MovedPlaces(self.blank)

    def copy(self, victim: PackName) -> None:
        """Copy the live blocks of one pack.

        Raises:
            IntegrityError: The pack can't be read, or one of its frames is damaged. Run fsck.
        """
        footer = read_footer(self.objects, victim)
        alive = self.marks.frames_of(victim)
        pack = bytes.fromhex(victim)
        records = [frame for frame in footer.frames if frame.kind is FrameKind.COMMIT]
        self.records[victim] = [FrameRef(pack, frame.offset, frame.stored_size) for frame in records]
        chunks = _chunks_by_frame(footer)
        wanted = [
            _Numbered(number, frame)
            for number, frame in enumerate(footer.frames)
            if frame.kind in CONTENT_KINDS and frame.offset in alive
        ]
        for run in _runs(wanted):
            first, last = run[0].frame, run[-1].frame
            data = read_part(self.objects, victim, first.offset, last.offset + last.stored_size - first.offset)
            for number, frame in run:
                named = chunks.get(number, [])
                if frame.kind is FrameKind.SOURCE and any(chunk.digest in self.blank for chunk in named):
                    continue  # no page references it any more
                at = frame.offset - first.offset
                origin = FrameRef(pack, frame.offset, frame.stored_size)
                stored = data[at : at + frame.stored_size]
                place = self._copy(frame, stored, origin, named)
                self.places.of[origin] = place
                self.moved.append(MovedBlock(origin, place))

    def _copy(self, frame: FooterFrame, stored: memoryview, origin: FrameRef, chunks: list[ChunkSpan]) -> FrameRef:
        kept = [chunk for chunk in chunks if chunk.digest not in self.blank]
        if len(kept) == len(chunks):
            return self.packs.current().append_moved(frame, stored, origin, chunks)
        raw = bytearray(decode_frame(origin.pack, origin.offset, stored, FrameKind.BLOCK))
        for digest, inner, size in chunks:
            if digest in self.blank:
                raw[inner : inner + size] = bytes(size)
        return self.packs.current().append_block(raw, kept)


def _chunks_by_frame(footer: Footer) -> dict[int, list[ChunkSpan]]:
    found: dict[int, list[ChunkSpan]] = {}
    for chunk in footer.chunks:
        found.setdefault(chunk.frame, []).append(ChunkSpan(chunk.digest, chunk.inner, chunk.size))
    return found


def _runs(frames: Iterable[_Numbered]) -> list[list[_Numbered]]:
    """Return the frames in groups that are read together: adjacent ones, up to 16 MiB."""
    runs: list[list[_Numbered]] = []
    for one in frames:
        if runs:
            first, last = runs[-1][0].frame, runs[-1][-1].frame
            end = one.frame.offset + one.frame.stored_size
            if one.frame.offset == last.offset + last.stored_size and end - first.offset <= _RUN_BYTES:
                runs[-1].append(one)
                continue
        runs.append([one])
    return runs
