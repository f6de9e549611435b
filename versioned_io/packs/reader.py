"""Reading frames and footers back, every byte of them checked."""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Final

from versioned_io.errors import IntegrityError, ObjectNotFoundError, PackLostError
from versioned_io.identifiers import PackName
from versioned_io.objects.port import ObjectStore
from versioned_io.packs.footer import (
    HEAD_SIZE,
    TRAILER_SIZE,
    Footer,
    check_head,
    decode_footer,
    decode_trailer,
)
from versioned_io.packs.frames import FrameKind, FrameRef, decode_frame, decode_one_of, pack_key, pack_name

_PARALLEL_REQUESTS: Final = 16
_SKIPPED_BYTES: Final = 64 * 1024  # cheaper to read and drop than another request
_RUN_BYTES: Final = 16 * 1024 * 1024


def read_frame(objects: ObjectStore, ref: FrameRef, kind: FrameKind) -> memoryview:
    """Return the payload of the frame at *ref*, checked and decompressed.

    Raises:
        PackLostError: The pack is gone.
        IntegrityError: The bytes are not the ones that were written there.

    Cost: 1 GET.
    """
    data = read_part(objects, pack_name(ref.pack), ref.offset, ref.stored_size)
    return decode_frame(ref.pack, ref.offset, data, kind)


def fetch_frames(objects: ObjectStore, refs: Sequence[FrameRef], kind: FrameKind) -> list[memoryview]:
    """Return the payloads of several frames, in the order of *refs*.

    Raises:
        PackLostError: A pack is gone.
        IntegrityError: Some bytes are not the ones that were written there.

    Cost: at most 1 GET a frame; frames of one pack that lie within 64 KiB of each other share one of up to 16 MiB.
        Requests to a remote store are sent together.
    """
    return [payload for _, payload in fetch_one_of(objects, refs, {kind})]


def fetch_one_of(
    objects: ObjectStore, refs: Sequence[FrameRef], kinds: Collection[FrameKind]
) -> list[tuple[FrameKind, memoryview]]:
    """Return the kinds and payloads of several frames, each of one of *kinds*; as `fetch_frames`."""
    by_pack: dict[bytes, list[int]] = {}
    for position, ref in enumerate(refs):
        by_pack.setdefault(ref.pack, []).append(position)
    found: list[tuple[FrameKind, memoryview] | None] = [None] * len(refs)

    def fetch(pack: bytes) -> None:
        positions = sorted(by_pack[pack], key=lambda position: refs[position].offset)
        runs = _runs([refs[position] for position in positions])
        name = pack_name(pack)
        with _as_pack(objects, name):
            parts = objects.get_ranges(pack_key(name), [(start, end - start) for start, end, _ in runs])
        numbers = iter(positions)
        for (start, _, count), part in zip(runs, parts, strict=True):
            for position in islice(numbers, count):
                ref = refs[position]
                at = ref.offset - start
                found[position] = decode_one_of(pack, ref.offset, part[at : at + ref.stored_size], kinds)

    if objects.is_remote and len(by_pack) > 1:
        with ThreadPoolExecutor(min(len(by_pack), _PARALLEL_REQUESTS)) as pool:
            for _ in pool.map(fetch, by_pack):
                pass
    else:
        for pack in by_pack:
            fetch(pack)
    return [one for one in found if one is not None]


def _runs(refs: Sequence[FrameRef]) -> list[tuple[int, int, int]]:
    """Return which ranges to read for these frames of one pack, sorted by offset: (start, end, number of frames)."""
    runs: list[tuple[int, int, int]] = []
    for ref in refs:
        end = ref.offset + ref.stored_size
        if runs:
            start, run_end, count = runs[-1]
            if ref.offset - run_end <= _SKIPPED_BYTES and end - start <= _RUN_BYTES:
                runs[-1] = (start, max(run_end, end), count + 1)
                continue
        runs.append((ref.offset, end, 1))
    return runs


def read_part(objects: ObjectStore, name: PackName, offset: int, length: int) -> memoryview:
    """Return *length* stored bytes of the pack *name* from *offset*, unchecked.

    Raises:
        PackLostError: There is no such pack.
        IntegrityError: It ends before that.

    Cost: 1 GET.
    """
    with _as_pack(objects, name):
        return objects.get_range(pack_key(name), offset, length)


@contextmanager
def _as_pack(objects: ObjectStore, name: PackName) -> Iterator[None]:
    """Say of a pack what its object store says of the object: what leads to a pack says that it is there, and whole."""
    try:
        yield
    except ObjectNotFoundError as error:
        raise PackLostError(name, objects.url) from error
    except IntegrityError as error:
        msg = f"pack {name} is damaged: {error}; run fsck"
        raise IntegrityError(msg) from error


def read_footer(objects: ObjectStore, name: PackName) -> Footer:
    """Return the index of the pack *name*.

    Raises:
        PackLostError: There is no such pack.
        IntegrityError: Its end is damaged; `walk_frames` still finds the frames that are whole.

    Cost: 1 HEAD and 2 GETs.
    """
    pack = bytes.fromhex(name)
    with _as_pack(objects, name):
        size = objects.size(pack_key(name))
    if size < HEAD_SIZE + TRAILER_SIZE:
        msg = f"pack {name} is damaged: it is only {size} bytes long; run fsck"
        raise IntegrityError(msg)
    trailer = read_part(objects, name, size - TRAILER_SIZE, TRAILER_SIZE)
    offset, footer_size = decode_trailer(pack, trailer)
    if offset + footer_size + TRAILER_SIZE != size:
        msg = f"pack {name} is damaged: it is {size} bytes long, its trailer says otherwise; run fsck"
        raise IntegrityError(msg)
    data = read_part(objects, name, offset, footer_size)
    return decode_footer(name, decode_frame(pack, offset, data, FrameKind.FOOTER))


def read_frames_of(objects: ObjectStore, name: PackName, kind: FrameKind) -> list[memoryview]:
    """Return the payloads of a pack's frames of one *kind*, which are few: commit records, entries of the journal.

    Raises:
        PackLostError: There is no such pack.
        IntegrityError: Its footer or one of the frames is damaged.

    Cost: 1 HEAD, 2 GETs for the footer, and 1 for neighbouring frames.
    """
    pack = bytes.fromhex(name)
    frames = [frame for frame in read_footer(objects, name).frames if frame.kind is kind]
    return fetch_frames(objects, [FrameRef(pack, frame.offset, frame.stored_size) for frame in frames], kind)


def iterate_frames(objects: ObjectStore, name: PackName) -> Iterator[tuple[FrameKind, FrameRef, memoryview]]:
    """Yield every frame of the pack *name* (kind, place, checked payload), in order, without its footer.

    The pack's head, its trailer and its footer are checked too, and that the footer lists exactly these frames.

    Raises:
        PackLostError: There is no such pack.
        IntegrityError: Some byte is not the one that was written.

    Cost: 1 HEAD and 3 GETs, the whole pack in memory.
    """
    pack = bytes.fromhex(name)
    footer = read_footer(objects, name)
    with _as_pack(objects, name):
        data = memoryview(objects.get(pack_key(name)))
    check_head(pack, data)
    end = HEAD_SIZE
    for frame in footer.frames:
        if frame.offset != end:
            msg = f"pack {name} is damaged: its footer skips byte {end}; run fsck"
            raise IntegrityError(msg)
        end += frame.stored_size
        payload = decode_frame(pack, frame.offset, data[frame.offset : end], frame.kind)
        yield frame.kind, FrameRef(pack, frame.offset, frame.stored_size), payload
    if end != decode_trailer(pack, data[-TRAILER_SIZE:])[0]:
        msg = f"pack {name} is damaged: its footer does not reach its end; run fsck"
        raise IntegrityError(msg)
