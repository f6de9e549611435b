"""The plan of a pipeline: which datums run, are reused or skipped, and whose outputs go; planning writes nothing."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from versioned_io.catalog.evaluated import find_results
from versioned_io.model.identifiers import CommitId
from versioned_io.processing.datums.basis import Basis, files_of_datums, read_unsettled
from versioned_io.processing.datums.datum_tree import (
    DatumFacts,
    count_datums,
    find_fingerprints,
    place_of,
    read_fingerprints,
    read_keys,
)
from versioned_io.processing.datums.located import OutputState
from versioned_io.processing.inputs.datum_set import DatumSet
from versioned_io.processing.inputs.selecting import find_empty_inputs, list_datums
from versioned_io.processing.inputs.specs import InputSpec
from versioned_io.processing.inputs.touching import touched_datums
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.snapshots.snapshot import Snapshot

_PAGE = 65_536


class PlannedDatum(NamedTuple):
    """A datum that is not skipped.

    Attributes:
        row: Its row in the datum set.
        place: Its path in the datum tree.
    """

    key: str
    row: int
    place: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class DatumPlan:
    """The work after which the output is that of the inputs as they were read.

    Attributes:
        snapshots: The inputs that were read, by ref.
        runs: Datums to evaluate; of several with one fingerprint the first.
        reuses: Datums whose result is known, or that share the fingerprint of one that runs.
        skips: The number of unchanged datums.
        gone: The paths in the datum tree of datums that no longer exist.
        results: The commits that hold known results, by fingerprint.
        known: The fingerprints in the datum tree, by path; at least those of the changed and the gone datums.
        spec: The input.
        basis: The inputs that the datum tree describes after a run of this plan.
        unsettled: The datums without a result that the datum tree names, by path.
        is_partial: Whether *datums* has only those that changed files touch.
        generations: How often the tree of each commit of the input had been rewritten before it was read.
    """

    output: OutputState
    snapshots: Mapping[str, Snapshot]
    datums: DatumSet
    runs: tuple[PlannedDatum, ...]
    reuses: tuple[PlannedDatum, ...]
    skips: int
    gone: tuple[str, ...]
    results: Mapping[bytes, CommitId]
    known: Mapping[str, bytes] = field(repr=False)
    spec: InputSpec
    basis: Basis
    unsettled: Mapping[str, DatumFacts]
    is_partial: bool = False
    generations: Mapping[CommitId, int] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether the output is that of the inputs already, and says so."""
        return not (self.runs or self.reuses or self.gone or self.unsettled)

    @property
    def changed(self) -> tuple[PlannedDatum, ...]:
        """The datums that run or are reused."""
        return self.runs + self.reuses

    def skipped_keys(self) -> list[str]:
        """Return the keys of the unchanged datums, sorted. Cost: that of `list_datums`; some 1 us a datum."""
        changed = {one.key for one in self.changed}
        datums = list_datums(self.spec, self.snapshots) if self.is_partial else self.datums
        return [key for key in datums.keys.to_pylist() if key not in changed]

    def empty_inputs(self) -> list[str]:
        """Return the names of the inputs that match nothing.

        Cost: of each input the pages before its first match; tables are read whole.
        """
        return [one.name for one in find_empty_inputs(self.spec, self.snapshots)]

    def gone_keys(self, backend: Backend) -> list[str]:
        """Return the keys of the datums that no longer exist, sorted."""
        return read_keys(backend, self.output.root, list(self.gone))


class _Found(NamedTuple):
    """The datums that were compared with the datum tree; the attributes are those of `DatumPlan`."""

    datums: DatumSet
    changed: Sequence[PlannedDatum]
    gone: Sequence[str]
    skips: int
    known: Mapping[str, bytes]
    unsettled: Mapping[str, DatumFacts]


@dataclass(frozen=True, slots=True)
class Planning:
    """The parts of which a plan is made.

    Attributes:
        fingerprints: Returns the fingerprints of datums, of the bytes that their code can see.
        uses_index: Whether results of other runs are reused.
        generations: That of each commit of the input, before it is read.
    """

    backend: Backend
    output: OutputState
    snapshots: Mapping[str, Snapshot]
    spec: InputSpec
    basis: Basis
    fingerprints: Callable[[Sequence[bytes]], list[bytes]]
    uses_index: bool = True
    generations: Mapping[CommitId, int] = field(default_factory=dict)

    def whole(self) -> DatumPlan:
        """Return the plan, made from all datums.

        Cost: that of `list_datums`; reads every leaf page of the datum tree; 1 SELECT for each 500 changed datums.
            Some 3 us a datum.
        """
        datums = list_datums(self.spec, self.snapshots)
        known = read_fingerprints(self.backend, self.output.root)
        places, changed = self._compare(datums, known)
        gone = sorted(known.keys() - places)
        unsettled = read_unsettled(self.backend, self.output.root)
        found = _Found(datums, changed, gone, len(datums) - len(changed), known, unsettled)
        return self._plan(found, is_partial=False)

    def since(self, before: Mapping[str, Snapshot]) -> DatumPlan:
        """Return the same plan, made from the datums that differ from those of the datum tree's basis.

        Args:
            before: The snapshots of that basis.

        Cost: that of `touched_datums`, and the pages of these datums in the datum tree; 1 SELECT for each 500 changed
            datums. Datums that did not change cost nothing.
        """
        backend, root = self.backend, self.output.root
        unsettled = read_unsettled(backend, root)
        also = files_of_datums(unsettled.values())
        touched = touched_datums(backend, self.spec, before, self.snapshots, also=also)
        datums, olds = DatumSet(touched.after), DatumSet(touched.before)
        now = set(datums.keys.to_pylist())
        left = [place_of(key) for key in olds.keys.to_pylist() if key not in now]
        left += [place_of(facts.key) for facts in unsettled.values() if facts.key not in now]
        known = find_fingerprints(backend, root, [*map(place_of, now), *left])
        _, changed = self._compare(datums, known)
        gone = sorted(known.keys() & left)
        skips = count_datums(backend, root) - len(gone) - sum(one.place in known for one in changed)
        return self._plan(_Found(datums, changed, gone, skips, known, unsettled), is_partial=True)

    def _compare(self, datums: DatumSet, known: Mapping[str, bytes]) -> tuple[set[str], list[PlannedDatum]]:
        """Return the paths of all *datums* in the datum tree, and the datums that are not as it says."""
        places: set[str] = set()
        changed: list[PlannedDatum] = []
        for start in range(0, len(datums), _PAGE):
            keys = datums.keys_page(start, _PAGE).to_pylist()
            found_now = self.fingerprints(datums.seen_page(start, _PAGE))
            of_page = list(map(place_of, keys))
            places.update(of_page)
            for row, (place, fingerprint) in enumerate(zip(of_page, found_now, strict=True)):
                if known.get(place) != fingerprint:
                    changed.append(PlannedDatum(keys[row], start + row, place, fingerprint))
        return places, changed

    def _plan(self, of: _Found, *, is_partial: bool) -> DatumPlan:
        found: dict[bytes, CommitId] = {}
        if self.uses_index and of.changed:
            with self.backend.catalog.look_up() as connection:
                found = find_results(connection, [one.fingerprint for one in of.changed])
        runs, reuses = _part(of.changed, found)
        return DatumPlan(
            self.output,
            self.snapshots,
            of.datums,
            runs,
            reuses,
            of.skips,
            tuple(of.gone),
            found,
            of.known,
            self.spec,
            self.basis,
            of.unsettled,
            is_partial,
            self.generations,
        )


def _part(
    changed: Collection[PlannedDatum], found: Mapping[bytes, CommitId]
) -> tuple[tuple[PlannedDatum, ...], tuple[PlannedDatum, ...]]:
    """Return the datums that run, the first of each fingerprint, and those that are reused."""
    taken = set(found)
    runs: list[PlannedDatum] = []
    reuses: list[PlannedDatum] = []
    for one in changed:
        (reuses if one.fingerprint in taken else runs).append(one)
        taken.add(one.fingerprint)
    return tuple(runs), tuple(reuses)
