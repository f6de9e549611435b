"""Reading frames and footers; every byte is verified."""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from versioned_io.errors import IntegrityError, ObjectNotFoundError, PackLostError
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import FrameRef, pack_key, pack_name
from versioned_io.storage.objects.cached import past_cache
from versioned_io.storage.objects.port import Buffer, ObjectStore
from versioned_io.storage.objects.whole import WholeObjects
from versioned_io.storage.packs.footer import (
    HEAD_SIZE,
    TRAILER_SIZE,
    Footer,
    check_head,
    decode_footer,
    decode_trailer,
)
from versioned_io.storage.packs.frames import FrameKind, check_reference, decode_frame, decode_one_of

Decode: TypeAlias = Callable[[bytes, int, Buffer, Collection[FrameKind]], tuple[FrameKind, memoryview]]

_PARALLEL_REQUESTS: Final = 16
_SKIPPED_BYTES: Final = 64 * 1024  # reading and dropping them is cheaper than another request
_RUN_BYTES: Final = 16 * 1024 * 1024


def read_frame(objects: ObjectStore, ref: FrameRef, kind: FrameKind) -> memoryview:
    """Return the payload of the frame at *ref*, verified and decompressed.

    Raises:
        PackLostError: The pack is missing. Restore it from a backup.
        IntegrityError: The bytes differ from the written ones. Run fsck.

    Cost: 1 GET.
    """
    return fetch_one_of(objects, [ref], {kind})[0][1]


def fetch_frames(objects: ObjectStore, refs: Sequence[FrameRef], kind: FrameKind) -> list[memoryview]:
    """Return the payloads of several frames, in the order of *refs*.

    Raises:
        PackLostError: A pack is missing. Restore it from a backup.
        IntegrityError: Some bytes differ from the written ones. Run fsck.

    Cost: at most 1 GET for each frame. Frames of one pack within 64 KiB of each other share a GET of up to 16 MiB.
        Requests to a remote store are sent together.
    """
    return [payload for _, payload in fetch_one_of(objects, refs, {kind})]


def fetch_one_of(
    objects: ObjectStore, refs: Sequence[FrameRef], kinds: Collection[FrameKind]
) -> list[tuple[FrameKind, memoryview]]:
    """Return the kinds and payloads of several frames, each of one of *kinds*; otherwise as `fetch_frames`."""
    found: list[tuple[FrameKind, memoryview]] = []
    for one in fetch_each(objects, refs, kinds):
        if isinstance(one, IntegrityError):
            raise one
        found.append(one)
    return found


def fetch_each(
    objects: ObjectStore, refs: Sequence[FrameRef], kinds: Collection[FrameKind], *, decode: Decode = decode_one_of
) -> list[tuple[FrameKind, memoryview] | IntegrityError]:
    """Return the kinds and payloads of several frames, with an error in place of each frame that can't be read.

    Before a frame counts as damaged, it is read once more, past any cache. Bytes that were corrupted in transit or in a
    cache are intact in the store.

    Args:
        decode: Returns the kind and the payload from a frame's bytes; `check_one_of` verifies without decompressing.

    Cost: that of `fetch_frames`, and 1 GET more for each frame that fails its check.
    """
    by_pack: dict[bytes, list[int]] = {}
    for position, ref in enumerate(refs):
        check_reference(ref, kinds)
        by_pack.setdefault(ref.pack, []).append(position)
    found: dict[int, tuple[FrameKind, memoryview] | IntegrityError] = {}

    def fetch(pack: bytes) -> None:
        positions = sorted(by_pack[pack], key=lambda position: refs[position].offset)
        wanted = [refs[position] for position in positions]
        fetched = _fetch_of_pack(objects, wanted, kinds, decode)
        found.update(zip(positions, fetched, strict=True))

    if objects.is_remote and len(by_pack) > 1:
        with ThreadPoolExecutor(min(len(by_pack), _PARALLEL_REQUESTS)) as pool:
            for _ in pool.map(fetch, by_pack):
                pass
    else:
        for pack in by_pack:
            fetch(pack)
    return [found[position] for position in range(len(refs))]


def _fetch_of_pack(
    objects: ObjectStore, refs: Sequence[FrameRef], kinds: Collection[FrameKind], decode: Decode
) -> list[tuple[FrameKind, memoryview] | IntegrityError]:
    """Return the result of `fetch_each` for frames of one pack, sorted by offset."""
    name = pack_name(refs[0].pack)
    runs = _runs(refs)
    try:
        with _as_pack(objects, name):
            parts = objects.get_ranges(pack_key(name), [(start, end - start) for start, end, _ in runs])
    except PackLostError as error:
        return [error] * len(refs)
    except IntegrityError:
        return [_fetch_again(objects, ref, kinds, decode) for ref in refs]
    found: list[tuple[FrameKind, memoryview] | IntegrityError] = []
    waiting = iter(refs)
    for (start, _, count), part in zip(runs, parts, strict=True):
        for ref in islice(waiting, count):
            at = ref.offset - start
            try:
                found.append(decode(ref.pack, ref.offset, part[at : at + ref.stored_size], kinds))
            except IntegrityError:
                found.append(_fetch_again(objects, ref, kinds, decode))
    return found


def _fetch_again(
    objects: ObjectStore, ref: FrameRef, kinds: Collection[FrameKind], decode: Decode
) -> tuple[FrameKind, memoryview] | IntegrityError:
    try:
        origin = objects.origin if isinstance(objects, WholeObjects) else past_cache(objects)
        data = read_part(origin, pack_name(ref.pack), ref.offset, ref.stored_size)
        return decode(ref.pack, ref.offset, data, kinds)
    except IntegrityError as error:
        return error


class _Run(NamedTuple):
    """A range of a pack that is read at once: from *start* to *end* (exclusive), with this many *frames*."""

    start: int
    end: int
    frames: int


def _runs(refs: Sequence[FrameRef]) -> list[_Run]:
    """Return the ranges to read for these frames of one pack, sorted by offset."""
    runs: list[_Run] = []
    for ref in refs:
        end = ref.offset + ref.stored_size
        if runs:
            start, run_end, count = runs[-1]
            if ref.offset - run_end <= _SKIPPED_BYTES and end - start <= _RUN_BYTES:
                runs[-1] = _Run(start, max(run_end, end), count + 1)
                continue
        runs.append(_Run(ref.offset, end, 1))
    return runs


def read_part(objects: ObjectStore, name: PackName, offset: int, length: int) -> memoryview:
    """Return *length* stored bytes of the pack *name* from *offset*, unverified.

    Raises:
        PackLostError: The pack is missing. Restore it from a backup.
        IntegrityError: The pack is too short. Run fsck.

    Cost: 1 GET.
    """
    with _as_pack(objects, name):
        return objects.get_range(pack_key(name), offset, length)


@contextmanager
def _as_pack(objects: ObjectStore, name: PackName) -> Iterator[None]:
    """Raise `PackLostError` if the pack's object is missing, and `IntegrityError` if it is too short."""
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
        PackLostError: The pack is missing. Restore it from a backup.
        IntegrityError: The end of the pack is damaged. `walk_frames` still finds the intact frames.

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
        msg = f"pack {name} is damaged: it is {size} bytes long, but its trailer gives another size; run fsck"
        raise IntegrityError(msg)
    data = read_part(objects, name, offset, footer_size)
    return decode_footer(name, decode_frame(pack, offset, data, FrameKind.FOOTER))


def read_frames_of(objects: ObjectStore, name: PackName, kind: FrameKind) -> list[memoryview]:
    """Return the payloads of a pack's frames of a rare *kind*: commit records, journal entries.

    Raises:
        PackLostError: The pack is missing. Restore it from a backup.
        IntegrityError: Its footer or one of the frames is damaged. Run fsck.

    Cost: 1 HEAD, 2 GETs for the footer, and 1 GET for adjacent frames.
    """
    pack = bytes.fromhex(name)
    frames = [frame for frame in read_footer(objects, name).frames if frame.kind is kind]
    return fetch_frames(objects, [FrameRef(pack, frame.offset, frame.stored_size) for frame in frames], kind)


class PackFrame(NamedTuple):
    """A frame of a pack, with its place and its verified payload."""

    kind: FrameKind
    ref: FrameRef
    payload: memoryview


def iterate_frames(objects: ObjectStore, name: PackName) -> Iterator[PackFrame]:
    """Yield every frame of the pack *name*, in order, without its footer.

    The pack's head, trailer and footer are verified too. So is that the footer lists exactly these frames.

    Raises:
        PackLostError: The pack is missing. Restore it from a backup.
        IntegrityError: A byte differs from the written one. Run fsck.

    Cost: 1 HEAD and 3 GETs, and the whole pack in memory.
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
        yield PackFrame(frame.kind, FrameRef(pack, frame.offset, frame.stored_size), payload)
    if end != decode_trailer(pack, data[-TRAILER_SIZE:])[0]:
        msg = f"pack {name} is damaged: its footer does not reach its end; run fsck"
        raise IntegrityError(msg)
