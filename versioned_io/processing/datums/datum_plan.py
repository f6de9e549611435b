"""The plan of a pipeline: which datums run, are reused or skipped, and whose outputs go; planning writes nothing."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from versioned_io.catalog.evaluated import find_results
from versioned_io.model.identifiers import CommitId
from versioned_io.processing.datums.datum_tree import place_of, read_fingerprints, read_keys
from versioned_io.processing.datums.located import OutputState
from versioned_io.processing.inputs.datum_set import DatumSet
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
    """

    output: OutputState
    snapshots: Mapping[str, Snapshot]
    datums: DatumSet
    runs: tuple[PlannedDatum, ...]
    reuses: tuple[PlannedDatum, ...]
    skips: tuple[int, ...]
    gone: tuple[str, ...]
    results: Mapping[bytes, CommitId]
    known: Mapping[str, bytes] = field(repr=False)

    @property
    def is_empty(self) -> bool:
        """Whether the output is that of the inputs already."""
        return not (self.runs or self.reuses or self.gone)

    @property
    def changed(self) -> tuple[PlannedDatum, ...]:
        """The datums that run or are reused."""
        return self.runs + self.reuses

    def skipped_keys(self) -> list[str]:
        """Return the keys of the unchanged datums, sorted."""
        keys: list[str] = self.datums.keys.to_pylist()
        return [keys[row] for row in self.skips]

    def gone_keys(self, backend: Backend) -> list[str]:
        """Return the keys of the datums that no longer exist, sorted."""
        return read_keys(backend, self.output.root, list(self.gone))


def plan_datums(
    backend: Backend,
    output: OutputState,
    snapshots: Mapping[str, Snapshot],
    datums: DatumSet,
    fingerprints: Callable[[Sequence[bytes]], list[bytes]],
    *,
    uses_index: bool = True,
) -> DatumPlan:
    """Return the plan for *datums*.

    Args:
        fingerprints: Returns the fingerprints of datums, of the bytes that their code can see.
        uses_index: Whether results of other runs are reused.

    Cost: reads every leaf page of the datum tree; 1 SELECT for each 500 changed datums. Some 3 us a datum.
    """
    known = read_fingerprints(backend, output.root)
    changed: list[PlannedDatum] = []
    skips: list[int] = []
    left = dict.fromkeys(known)
    for start in range(0, len(datums), _PAGE):
        keys = datums.keys_page(start, _PAGE).to_pylist()
        found_now = fingerprints(datums.seen_page(start, _PAGE))
        for row, (key, fingerprint) in enumerate(zip(keys, found_now, strict=True), start):
            one = PlannedDatum(key, row, place_of(key), fingerprint)
            left.pop(one.place, None)
            if known.get(one.place) == one.fingerprint:
                skips.append(row)
            else:
                changed.append(one)
    found: dict[bytes, CommitId] = {}
    if uses_index and changed:
        with backend.catalog.look_up() as connection:
            found = find_results(connection, [one.fingerprint for one in changed])
    runs, reuses = _part(changed, found)
    return DatumPlan(output, snapshots, datums, runs, reuses, tuple(skips), tuple(left), found, known)


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
