"""Repair of damages that a check found, from intact copies of the same contents and pages at other places.

Source: docs/design/0011-healing.md.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from versioned_io.catalog.damages import enter_healed, note_damages, noted_as_healed
from versioned_io.errors import IntegrityError
from versioned_io.errors.root import counted
from versioned_io.model.damages import Content, Damaged, Healed
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import ChunkRef, FrameRef, pack_name
from versioned_io.storage.packs.reader import read_footer
from versioned_io.versioning.backend.backend import Backend


def find_copies(
    backend: Backend, damaged: Sequence[Damaged], names: Iterable[PackName], is_right: Callable[[ChunkRef], bool]
) -> list[Healed]:
    """Return intact copies of the damaged contents that have no repaired copy yet.

    Args:
        names: The packs to search.
        is_right: Returns whether a chunk was found intact at its place.

    Cost: none without damage; otherwise 1 SELECT, and 1 HEAD and 2 GETs for each pack.
    """
    if not damaged:
        return []
    with backend.catalog.read() as connection:
        known = noted_as_healed(connection)
    wanted: dict[bytes, list[Damaged]] = {}
    for one in damaged:
        if one not in known:
            wanted.setdefault(one.content.digest, []).append(one)
    found: list[Healed] = []
    for name in names if wanted else ():
        for ref in _chunks_of(backend, name, wanted):
            if ref.digest in wanted and is_right(ref):
                found += [Healed(one, ref.frame, ref.inner) for one in wanted.pop(ref.digest)]
    return found


def find_pages(damaged: Mapping[FrameRef, bytes], whole: Mapping[bytes, FrameRef]) -> list[Healed]:
    """Return intact copies of damaged pages.

    Args:
        damaged: The digests of the damaged pages, by place.
        whole: The places of intact pages, by digest.
    """
    return [
        Healed(Damaged(Content(digest, 0, 0), frame.pack, frame.offset), whole[digest])
        for frame, digest in damaged.items()
        if digest in whole
    ]


def describe_healed(one: Healed) -> str:
    """Return one sentence about a damage with an intact copy."""
    content, damaged = one.damaged.content, one.damaged
    what = f"the content {content.digest.hex()}" if content.size else f"the page {content.digest.hex()}"
    old, new = pack_name(damaged.pack), pack_name(one.frame.pack)
    return f"{what}, damaged at byte {damaged.offset} of pack {old}, is intact in pack {new}"


def repair_damages(backend: Backend, damaged: Sequence[Damaged], healed: Sequence[Healed]) -> list[str]:
    """Redirect readers of damaged contents and pages to their copies, and record the others as damaged.

    A later write of the same content repairs a recorded damage. Cost: 1 SQL transaction.
    """
    by_pack: dict[PackName, dict[int, list[Damaged]]] = {}
    for one in damaged:
        by_pack.setdefault(pack_name(one.pack), {}).setdefault(one.offset, []).append(one)
    with backend.catalog.write() as connection:
        for name, frames in by_pack.items():
            for offset, contents in frames.items():
                note_damages(connection, name, contents, backend.clock(), offset=offset)
        enter_healed(connection, healed, backend.clock())
    left = len(damaged) - sum(1 for one in healed if one.damaged.content.size)
    done = [f"{describe_healed(one)}, and is read from there now" for one in healed]
    if left > 0:
        what = f"without an intact copy: {counted(left, 'damaged content')}"
        done.append(f"{what}; write the same files again (`versioned put`) to repair them")
    return done


def _chunks_of(backend: Backend, name: PackName, wanted: Mapping[bytes, object]) -> Iterator[ChunkRef]:
    with suppress(IntegrityError):  # the damage is reported among the problems
        footer = read_footer(backend.objects, name)
        pack = bytes.fromhex(name)
        for chunk in footer.chunks:
            if chunk.digest in wanted:
                frame = footer.frames[chunk.frame]
                yield ChunkRef(chunk.digest, pack, frame.offset, frame.stored_size, chunk.inner, chunk.size)
