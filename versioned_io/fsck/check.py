"""Checking a whole store, and putting right what can be without loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from versioned_io.backend import Backend
from versioned_io.catalog.chunk_index import LIVE
from versioned_io.catalog.collection import CONDEMNED, DELETED, revive_packs, states_of
from versioned_io.catalog.consistency import (
    Place,
    correct_size,
    enter_packs,
    index_batches,
    pack_rows,
    record_places,
    remove_places,
    revive_deleted,
)
from versioned_io.chunks.reader import ChunkReader
from versioned_io.elsewhere import Pin
from versioned_io.fsck.findings import Findings, FsckReport, Progress
from versioned_io.fsck.keys import Keys, KeySet, mix, words_of
from versioned_io.fsck.names import NameCheck
from versioned_io.fsck.packs import check_packs
from versioned_io.fsck.trees import TreeCheck
from versioned_io.identifiers import PackName
from versioned_io.packs.frames import FrameRef, parse_pack_key
from versioned_io.pages.source import PageSource

_KEPT: Final = frozenset({LIVE, CONDEMNED})
_LOOKED_AT_ONCE: Final = 256


@dataclass(slots=True)
class _Packs:
    """What the catalog and the object store say of packs, and what was found in them.

    Attributes:
        needed: Those that something kept leads to.
        led_to: Those of them that the catalog has no row of, or noted as deleted.
    """

    rows: Mapping[PackName, tuple[int, str]]
    sizes: Mapping[PackName, int]
    needed: set[PackName] = field(default_factory=set)
    led_to: set[PackName] = field(default_factory=set)
    right: KeySet = field(default_factory=KeySet)
    content_bytes: int = 0
    checked: int = 0
    wrong_sizes: list[tuple[PackName, int, int]] = field(default_factory=list)
    pins: dict[FrameRef, Pin] = field(default_factory=dict)

    @property
    def kept(self) -> set[PackName]:
        return {name for name, (_, state) in self.rows.items() if state in _KEPT}

    @property
    def buried(self) -> set[PackName]:
        """The packs that the catalog noted as deleted, that are stored, and that something kept leads to."""
        deleted = {name for name, (_, state) in self.rows.items() if state == DELETED}
        return deleted & self.led_to & self.sizes.keys()

    @property
    def condemned(self) -> set[PackName]:
        """The packs that a collection condemned, and that something kept leads to."""
        return {name for name, (_, state) in self.rows.items() if state == CONDEMNED} & self.needed

    @property
    def strangers(self) -> set[PackName]:
        """The packs that are stored and that the catalog has no row of."""
        return self.sizes.keys() - self.rows.keys()


def check_store(
    backend: Backend, *, repair: bool = False, sources: bool = False, progress: Progress = lambda *_: None
) -> FsckReport:
    """Check every byte of every pack, and that the catalog and the packs fit each other.

    A damage is reported and the check goes on. What this process holds in its caches is not trusted: all is read again.
    It may run beside writers and collectors.

    Args:
        repair: Correct the sizes of packs, enter those packs again that commits lead to and that the catalog has no row
            of, make those live again that commits lead to and that it condemned, or noted as deleted while they are
            stored, and remove from the index the places that hold no content any more, so that who writes the content
            again stores it again. No name is moved, no object touched. A file whose content is
            lost stays lost: the problems say which, in which commits. To have it again, bring the pack back from a
            backup, or delete the file, commit, and write it again: the same content over the same path changes nothing.
        sources: Look at the objects elsewhere that files are a reference to, too, whether each is still as it was
            imported. Without it only what the store itself holds is checked: the references, not what they lead to.
        progress: Called with the stage and how much of it was done.

    Raises:
        StorageError: The objects or the catalog are out of reach, which says nothing about them. Try again.

    Cost: 1 LIST for each 1,000 packs, 1 GET for each pack, and again 1 for each page and 3 for each commit and each
        entry of the journal; memory for 2 packs (4 of a remote store), and 8 bytes for each content and each version
        of a file. With *sources* 1 HEAD for each object elsewhere, and about 500 bytes of memory.
    """
    findings = Findings(progress)
    packs = _look_at_packs(backend, findings)
    _read_packs(backend, findings, packs, notes_pins=sources)
    with backend.catalog.read() as connection:
        for what, pack in record_places(connection):
            packs.needed.add(pack)
            # One that was committed since the packs were listed is known to the catalog by now.
            if pack not in packs.kept and states_of(connection, [pack]).get(pack) not in _KEPT:
                packs.led_to.add(pack)
                findings.add("pack", pack, f"{what} is in it, but the catalog does not know it, or deleted it")
    tree = TreeCheck(
        findings,
        PageSource(backend.objects),
        ChunkReader(backend.objects),
        backend.objects.is_remote,
        packs.kept,
        packs.right,
        packs.pins,
    )
    names = NameCheck(findings, backend, tree.check)
    names.check()
    packs.needed |= tree.needed
    packs.led_to |= tree.unknown
    _check_sources(backend, findings, tree)
    wrong_places = _check_index(backend, findings, packs)
    repaired = _repair(backend, packs, wrong_places) if repair else ()
    return FsckReport(
        problems=tuple(findings.problems),
        commits=len(names.commits),
        files=len(tree.files),
        sources=len(tree.referred),
        chunks=len(packs.right),
        bytes_checked=packs.content_bytes,
        packs=packs.checked,
        orphans=tuple(sorted(packs.strangers - packs.led_to)),
        condemned=tuple(sorted(packs.condemned)),
        repaired=repaired,
    )


def _look_at_packs(backend: Backend, findings: Findings) -> _Packs:
    # The catalog first: a pack is stored before it is entered, so what was entered by now is listed afterwards.
    with backend.catalog.read() as connection:
        rows = pack_rows(connection)
    sizes: dict[PackName, int] = {}
    for item in backend.objects.list("packs/"):
        name = parse_pack_key(item.key)
        if name is not None:
            sizes[name] = item.size_bytes
    packs = _Packs(rows, sizes)
    missing = sorted(packs.kept - sizes.keys())
    with backend.catalog.read() as connection:
        # The collector may have deleted some since.
        states = states_of(connection, missing)
    for name in missing:
        if states.get(name) in _KEPT:
            findings.add("pack", name, "it is gone: restore it from a backup")
    return packs


def _read_packs(backend: Backend, findings: Findings, packs: _Packs, *, notes_pins: bool) -> None:
    for check in check_packs(backend.objects, sorted(packs.kept & packs.sizes.keys())):
        packs.checked += 1
        findings.progress("packs", packs.checked)
        for damage in check.damages:
            findings.add("pack", check.name, damage)
        size = packs.rows[check.name][0]
        if check.size_bytes and check.size_bytes != size:
            findings.add("pack", check.name, f"it is {check.size_bytes} bytes long, and the catalog says {size}")
            if not check.damages:
                packs.wrong_sizes.append((check.name, size, check.size_bytes))
        packs.right.add(check.keys)
        if notes_pins:
            packs.pins.update(check.pins)
        packs.content_bytes += check.content_bytes


def _check_sources(backend: Backend, findings: Findings, tree: TreeCheck) -> None:
    """Name the objects elsewhere that are not as they were imported any more, or that may not be looked at."""
    pins = list(tree.referred)
    for start in range(0, len(pins), _LOOKED_AT_ONCE):
        some = pins[start : start + _LOOKED_AT_ONCE]
        backend.elsewhere.check(some, lambda pin, error: findings.add("source", tree.referred[pin], error))
        findings.progress("sources", start + len(some))


def _check_index(backend: Backend, findings: Findings, packs: _Packs) -> list[Place]:
    """Name the places of the index where the content is not, and return them."""
    wrong: list[Place] = []
    seen = 0
    kept = packs.kept
    with backend.catalog.read() as connection:
        for rows in index_batches(connection):
            seen += len(rows)
            findings.progress("index", seen)
            right = packs.right.contains(_keys_of(rows)).tolist()
            wrong += [row for row, is_right in zip(rows, right, strict=True) if not is_right]
    with backend.catalog.read() as connection:
        states = states_of(connection, sorted({PackName(row[1]) for row in wrong}))
    # Packs that were entered after the packs were read are not known here.
    wrong = [row for row in wrong if row[1] in kept or row[1] not in states]
    counts: dict[str, int] = {}
    for row in wrong:
        counts[row[1]] = counts.get(row[1], 0) + 1
    for name, count in sorted(counts.items()):
        findings.add("index", name, f"the index tells of {count} contents in it that are not there, or not whole")
    return wrong


def _keys_of(rows: Sequence[Place]) -> Keys:
    digests = words_of(b"".join(row[0] for row in rows), 32)
    packs = words_of(bytes.fromhex("".join(row[1] for row in rows)), 16)
    numbers = np.array([row[2:] for row in rows], np.int64).astype(np.uint64)
    return mix([*digests, *packs, *numbers.T])


def _repair(backend: Backend, packs: _Packs, wrong_places: Sequence[Place]) -> tuple[str, ...]:
    done: list[str] = []
    missing = {name: packs.sizes[name] for name in packs.strangers & packs.led_to}
    buried = {name: packs.sizes[name] for name in packs.buried}
    if not (wrong_places or packs.wrong_sizes or missing or buried or packs.condemned):
        return ()
    with backend.catalog.write() as connection:
        entered = enter_packs(connection, missing, backend.clock())
        done += [f"pack {name}, which commits lead to, was entered in the catalog again" for name in entered]
        # No collection deletes what commits lead to, whatever its row says: the object is there now, as it was before.
        revived = [*revive_deleted(connection, buried), *revive_packs(connection, packs.condemned)]
        done += [f"pack {name}, which commits lead to, was made live again" for name in revived]
        # What the index says of a pack without a row was not compared with the pack: the next check does that.
        removed = remove_places(connection, [place for place in wrong_places if place[1] not in entered])
        if removed:
            done.append(f"{removed} places that hold no content any more were removed from the index")
        done += [
            f"the size of pack {name} was corrected from {wrong} to {right} bytes"
            for name, wrong, right in packs.wrong_sizes
            if correct_size(connection, name, wrong, right)
        ]
    return tuple(done)
