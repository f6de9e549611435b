"""Checking a whole store, and repairing damage that can be repaired without loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np

from versioned_io.catalog.chunk_index import LIVE
from versioned_io.catalog.collection import CONDEMNED, DELETED, revive_packs, states_of
from versioned_io.catalog.consistency import (
    IndexRow,
    correct_size,
    enter_packs,
    index_batches,
    pack_rows,
    record_places,
    remove_places,
    revive_deleted,
)
from versioned_io.catalog.damages import packs_to_leave
from versioned_io.catalog.row_locks import hold_packs
from versioned_io.errors import CatalogOlderError
from versioned_io.errors.root import counted
from versioned_io.maintenance.evidence.contents import PackNotes, decode_notes
from versioned_io.maintenance.evidence.standing import read_all_notes
from versioned_io.maintenance.fsck.findings import Findings, FsckReport, Problem, Progress
from versioned_io.maintenance.fsck.healing import describe_healed, find_copies, find_pages, repair_damages
from versioned_io.maintenance.fsck.keys import Keys, KeySet, mix, words_of
from versioned_io.maintenance.fsck.name_checks import NameCheck
from versioned_io.maintenance.fsck.pack_checks import check_packs
from versioned_io.maintenance.fsck.remaking import remake_pages
from versioned_io.maintenance.fsck.tree_checks import TreeCheck, key_of
from versioned_io.model.damages import Content, Damaged
from versioned_io.model.fields import LARGEST_NUMBER
from versioned_io.model.identifiers import PackName, is_id
from versioned_io.model.places import ChunkRef, FrameRef, parse_pack_key
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.storage.elsewhere import Pin
from versioned_io.storage.objects.port import ObjectInfo
from versioned_io.storage.packs.footer import Footer
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.transactions.restated import restate

_KEPT: Final = frozenset({LIVE, CONDEMNED})
_LOOKED_AT_ONCE: Final = 256
_DIGEST_BYTES: Final = 32
_REMAKEABLE: Final = "pages that can be rebuilt from neighbouring commits: {}"


class _WrongSize(NamedTuple):
    """A pack whose row in the catalog has another size than the object."""

    pack: PackName
    recorded: int
    found: int


@dataclass(slots=True)
class _Packs:
    """The packs in the catalog and in the object store, and the results of reading them.

    Attributes:
        needed: The packs that kept commits or journal entries reference.
        led_to: The needed packs that have no row, or one in the state deleted.
        lost: The contents that can't be read.
        damaged: The packs with a wrong byte.
    """

    rows: Mapping[PackName, tuple[int, str]]
    sizes: Mapping[PackName, int]
    infos: Mapping[PackName, ObjectInfo] = field(default_factory=dict)
    needed: set[PackName] = field(default_factory=set)
    led_to: set[PackName] = field(default_factory=set)
    right: KeySet = field(default_factory=KeySet)
    content_bytes: int = 0
    checked: int = 0
    wrong_sizes: list[_WrongSize] = field(default_factory=list)
    pins: dict[FrameRef, Pin] = field(default_factory=dict)
    notes: dict[PackName, PackNotes] = field(default_factory=dict)
    lost: list[Damaged] = field(default_factory=list)
    damaged: set[PackName] = field(default_factory=set)

    def is_right(self, ref: ChunkRef) -> bool:
        """Return whether a chunk was found intact at its place."""
        return bool(self.right.contains(key_of(ref))[0])

    @property
    def kept(self) -> set[PackName]:
        return {name for name, (_, state) in self.rows.items() if state in _KEPT}

    @property
    def buried(self) -> set[PackName]:
        """The needed packs that the catalog has marked as deleted, but whose objects exist."""
        deleted = {name for name, (_, state) in self.rows.items() if state == DELETED}
        return deleted & self.led_to & self.sizes.keys()

    @property
    def condemned(self) -> set[PackName]:
        """The needed packs that a collection condemned."""
        return {name for name, (_, state) in self.rows.items() if state == CONDEMNED} & self.needed

    @property
    def strangers(self) -> set[PackName]:
        """The stored packs without a row in the catalog."""
        return self.sizes.keys() - self.rows.keys()


def check_store(
    backend: Backend, *, repair: bool = False, sources: bool = False, progress: Progress = lambda *_: None
) -> FsckReport:
    """Verify every byte of every pack, and compare the catalog with the packs.

    The check reports a damage and continues. It reads everything from the store, and trusts no cache of this process.
    It may run beside writers and collectors.

    With *repair* it does the following, and moves no name and changes no object:

    - correct the sizes of packs,
    - insert a row for each pack that commits reference and that has none,
    - set packs live that commits reference and that are condemned, or marked as deleted but still stored,
    - redirect readers of damaged contents and pages to intact copies,
    - store unreadable commit records and journal entries again from their rows,
    - delete rows of the chunk index whose place does not hold the content.

    A file whose content is lost stays lost. The problems name it and its commits. To recover it, restore the pack from
    a backup, or write the file again at any path. Then all commits with it can be read again.

    Args:
        repair: Repair as described above.
        sources: Also check that each object elsewhere that files refer to is still as it was imported. Otherwise only
            the references are checked.
        progress: Called with the stage and the amount of work that is done.

    Raises:
        StorageError: The objects or the catalog are unreachable, so nothing is known about them. Try again.

    Cost: 1 LIST of the beacons and 1 for each 1,000 packs. Each pack takes 1 GET, and each page 1 more. Memory for 2
        packs (4 of a remote store) and for the records of all commits. Also 8 bytes for each content and each version
        of a file. With *sources* 1 HEAD and about 500 bytes of memory for each object elsewhere.
    """
    findings = Findings(progress)
    _check_age(backend, findings)
    packs = _look_at_packs(backend, findings)
    _read_packs(backend, findings, packs, notes_pins=sources)
    others = [packs.infos[name] for name in sorted(packs.sizes.keys() - packs.kept)]
    packs.notes |= {notes.name: notes for notes in read_all_notes(backend.objects, others)}
    with backend.catalog.read() as connection:
        for what, pack in record_places(connection):
            packs.needed.add(pack)
            # A pack that was committed since the packs were listed already has a row.
            if pack not in packs.kept and states_of(connection, [pack]).get(pack) not in _KEPT:
                packs.led_to.add(pack)
                findings.add("pack", pack, f"{what} is in it, but its row in the catalog is missing or says deleted")
    known = replace(backend.damages, takes_notes=False)
    tree = TreeCheck(
        findings,
        PageSource(backend.objects, damages=known),
        ChunkReader(backend.objects, damages=known),
        backend.objects.is_remote,
        packs.kept,
        packs.right,
        packs.pins,
    )
    names = NameCheck(findings, backend, tree.check, packs.notes, packs.damaged)
    names.check()
    packs.needed |= tree.needed
    packs.led_to |= tree.unknown
    _check_sources(backend, findings, tree)
    wrong_places = _check_index(backend, findings, packs)
    gone = [_damaged(place) for place in wrong_places if _is_place(place) and place[1] not in packs.sizes]
    damaged = list(dict.fromkeys([*packs.lost, *gone]))
    healed = find_copies(backend, damaged, sorted(packs.kept & packs.sizes.keys()), packs.is_right)
    healed += find_pages(tree.damaged, tree.whole)
    problems, leaving = _set_apart(backend, findings, packs)
    repaired: tuple[str, ...] = ()
    if repair:
        healing = repair_damages(backend, damaged, healed) if damaged or healed else []
        again = restate(backend, names.lost_records, names.lost_entries)
        repaired = (*healing, *_repair(backend, packs, wrong_places), *again)
    pages = remake_pages(backend, dry_run=not repair) if tree.damaged else 0
    if repair and pages:
        repaired = (*repaired, f"pages rebuilt from neighbouring commits: {pages}")
    return FsckReport(
        problems=tuple(problems),
        leaving=tuple(leaving),
        commits=len(names.commits),
        files=len(tree.files),
        sources=len(tree.referred),
        chunks=len(packs.right),
        bytes_checked=packs.content_bytes,
        packs=packs.checked,
        orphans=tuple(sorted(packs.strangers - packs.led_to)),
        condemned=tuple(sorted(packs.condemned)),
        healable=(*map(describe_healed, healed), *([_REMAKEABLE.format(pages)] if pages else [])),
        repaired=repaired,
        unclear=tuple(names.unclear),
    )


def _check_age(backend: Backend, findings: Findings) -> None:
    """Report commits and entries that the catalog lacks, although a beacon or this process shows an acknowledgement."""
    try:
        with backend.catalog.look_up() as connection:
            backend.catalog.refuse_older(connection)
    except CatalogOlderError as error:
        for missing in error.unknown:
            findings.add("catalog", missing, "it was acknowledged, and the catalog lacks it: run recover")


def _set_apart(backend: Backend, findings: Findings, packs: _Packs) -> tuple[list[Problem], list[Problem]]:
    """Return the problems, split into those of needed packs and those of packs that are no longer needed.

    A pack is no longer needed if it is condemned and unreferenced, or if all its damages have a repaired copy. Damage
    to a tree, a record or the journal is a separate problem.
    """
    leaving = {name for name, (_, state) in packs.rows.items() if state == CONDEMNED} - packs.needed
    if all(one.kind == "pack" for one in findings.problems):
        with backend.catalog.read() as connection:
            leaving |= packs_to_leave(connection)
    apart = [one for one in findings.problems if one.kind == "pack" and one.where in leaving]
    return [one for one in findings.problems if one not in apart], apart


def _look_at_packs(backend: Backend, findings: Findings) -> _Packs:
    # The catalog is read first. A pack is stored before it gets a row, so every pack with a row is listed afterwards.
    with backend.catalog.read() as connection:
        rows = pack_rows(connection)
    sizes: dict[PackName, int] = {}
    infos: dict[PackName, ObjectInfo] = {}
    for item in backend.objects.list("packs/"):
        name = parse_pack_key(item.key)
        if name is not None:
            sizes[name] = item.size_bytes
            infos[name] = item
    packs = _Packs(rows, sizes, infos)
    missing = sorted(packs.kept - sizes.keys())
    with backend.catalog.read() as connection:
        # A collector may have deleted some since.
        states = states_of(connection, missing)
    for name in missing:
        if states.get(name) in _KEPT:
            findings.add("pack", name, "it is missing: restore it from a backup")
    return packs


def _read_packs(backend: Backend, findings: Findings, packs: _Packs, *, notes_pins: bool) -> None:
    for check in check_packs(backend.objects, sorted(packs.kept & packs.sizes.keys())):
        packs.checked += 1
        findings.progress("packs", packs.checked)
        for damage in check.damages:
            packs.damaged.add(check.name)
            findings.add("pack", check.name, damage)
        size = packs.rows[check.name][0]
        if check.size_bytes and check.size_bytes != size:
            findings.add("pack", check.name, f"it is {check.size_bytes} bytes long, and the catalog says {size}")
            if not check.damages:
                packs.wrong_sizes.append(_WrongSize(check.name, size, check.size_bytes))
        packs.right.add(check.keys)
        notes = decode_notes(Footer(check.name, (), ()), check.notes)
        for damage in notes.damages:
            findings.add("pack", check.name, damage)
        packs.notes[check.name] = notes
        packs.lost += check.lost
        if notes_pins:
            packs.pins.update(check.pins)
        packs.content_bytes += check.content_bytes


def _check_sources(backend: Backend, findings: Findings, tree: TreeCheck) -> None:
    """Report the objects elsewhere that have changed since their import, or that may not be read."""
    pins = list(tree.referred)
    for start in range(0, len(pins), _LOOKED_AT_ONCE):
        some = pins[start : start + _LOOKED_AT_ONCE]
        backend.elsewhere.check(some, lambda pin, error: findings.add("source", tree.referred[pin], error))
        findings.progress("sources", start + len(some))


def _check_index(backend: Backend, findings: Findings, packs: _Packs) -> list[IndexRow]:
    """Report and return the rows of the chunk index whose place does not hold the content."""
    wrong: list[IndexRow] = []
    seen = 0
    kept = packs.kept
    with backend.catalog.read() as connection:
        for rows in index_batches(connection):
            seen += len(rows)
            findings.progress("index", seen)
            shaped = [row for row in rows if _is_place(row)]
            right = packs.right.contains(_keys_of(shaped)).tolist() if shaped else []
            wrong += [row for row, is_right in zip(shaped, right, strict=True) if not is_right]
            wrong += [row for row in rows if not _is_place(row)]
    with backend.catalog.read() as connection:
        states = states_of(connection, sorted({PackName(row[1]) for row in wrong if _is_place(row)}))
    # Packs that got a row after the packs were read are not known here.
    wrong = [row for row in wrong if row[1] in kept or row[1] not in states]
    counts: dict[str, int] = {}
    for row in wrong:
        counts[str(row[1])] = counts.get(str(row[1]), 0) + 1
    for name, count in sorted(counts.items()):
        found = f"the index lists {counted(count, 'content')} in it, missing or damaged"
        findings.add("index", name, found)
    return wrong


def _damaged(place: IndexRow) -> Damaged:
    digest, pack, offset, _, inner, size = place
    return Damaged(Content(digest, inner, size), bytes.fromhex(pack), offset)


def _is_place(row: IndexRow) -> bool:
    """Return whether a row of the index has values of the right types and sizes, which SQLite does not enforce."""
    digest, pack, *numbers = row
    whole = isinstance(digest, bytes) and len(digest) == _DIGEST_BYTES and isinstance(pack, str) and is_id(pack)
    return whole and all(type(one) is int and 0 <= one <= LARGEST_NUMBER for one in numbers)


def _keys_of(rows: Sequence[IndexRow]) -> Keys:
    digests = words_of(b"".join(row[0] for row in rows), 32)
    packs = words_of(bytes.fromhex("".join(row[1] for row in rows)), 16)
    numbers = np.array([row[2:] for row in rows], np.int64).astype(np.uint64)
    return mix([*digests, *packs, *numbers.T])


def _repair(backend: Backend, packs: _Packs, wrong_places: Sequence[IndexRow]) -> tuple[str, ...]:
    done: list[str] = []
    missing = {name: packs.sizes[name] for name in packs.strangers & packs.led_to}
    buried = {name: packs.sizes[name] for name in packs.buried}
    if not (wrong_places or packs.wrong_sizes or missing or buried or packs.condemned):
        return ()
    with backend.catalog.write() as connection:
        hold_packs(connection, {*buried, *packs.condemned, *(one.pack for one in packs.wrong_sizes)})
        entered = enter_packs(connection, missing, backend.clock())
        done += [f"pack {name}, which commits reference, was entered in the catalog again" for name in entered]
        # No collection deletes a referenced pack, whatever the state in its row, so its object still exists.
        revived = [*revive_deleted(connection, buried), *revive_packs(connection, packs.condemned)]
        done += [f"pack {name}, which commits reference, was set live again" for name in revived]
        # Index rows of a pack without a row were not compared with the pack. The next check does that.
        removed = remove_places(connection, [place for place in wrong_places if place[1] not in entered])
        if removed:
            done.append(f"removed from the index: {counted(removed, 'place')} without the content")
        done += [
            f"the size of pack {one.pack} was corrected from {one.recorded} to {one.found} bytes"
            for one in packs.wrong_sizes
            if correct_size(connection, one.pack, one.recorded, one.found)
        ]
    return tuple(done)
