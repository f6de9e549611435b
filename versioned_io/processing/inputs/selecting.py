"""The datums of an input, of the snapshots that its refs name."""

from collections.abc import Callable, Mapping

from versioned_io.errors import InvalidInputError
from versioned_io.processing.inputs.combining import Beside, Combinations, join_of
from versioned_io.processing.inputs.datum_set import DatumSet, DatumSource
from versioned_io.processing.inputs.globbing import glob_matches, matches_any
from versioned_io.processing.inputs.grouping import group_of
from versioned_io.processing.inputs.specs import (
    CronInput,
    CrossInput,
    GlobInput,
    GroupInput,
    InputSpec,
    JoinInput,
    LeafInput,
    TableInput,
    UnionInput,
    leaves_of,
)
from versioned_io.processing.inputs.table_cuts import Cuts, table_matches
from versioned_io.versioning.snapshots.snapshot import Snapshot

Snapshots = Callable[[str], Snapshot] | Mapping[str, Snapshot]
"""A function from a ref, as the input writes it, to its snapshot; or such a mapping."""


def list_datums(spec: InputSpec, snapshots: Snapshots, *, cuts: Cuts | None = None) -> DatumSet:
    """Return the datums of *spec*.

    Args:
        snapshots: A function from a ref to its snapshot, or a mapping.
        cuts: The cuts of tables that were made before. New ones are added.

    Raises:
        InvalidInputError: A cron input has no ref yet; pass one, or list the inputs of a pipeline.

    Cost: reads the pages of the paths that begin as the patterns do; 1 s for 1,000,000 files with captures. A cross
        costs its arms.
    """
    empty: list[LeafInput] = []
    return DatumSet(source_of(spec, snapshots, cuts=cuts, empty=empty), tuple(empty))


def source_of(
    spec: InputSpec, snapshots: Snapshots, *, cuts: Cuts | None = None, empty: list[LeafInput] | None = None
) -> DatumSource:
    """Return the rows of the datums of *spec*; inputs that match nothing are added to *empty*."""

    def build(one: InputSpec) -> DatumSource:
        match one:
            case CrossInput():
                return Combinations.of([build(arm) for arm in one.arms])
            case UnionInput():
                return Beside.of([build(arm) for arm in one.arms])
            case JoinInput():
                return join_of([build(arm) for arm in one.arms], are_outer=are_outer(one))
            case GroupInput():
                return group_of([build(arm) for arm in one.arms])
        source = _source_of_leaf(one, snapshots, cuts)
        if not len(source) and empty is not None:
            empty.append(one)
        return source

    return build(spec)


def find_empty_inputs(spec: InputSpec, snapshots: Snapshots) -> list[LeafInput]:
    """Return the inputs that match nothing.

    Cost: of each input the pages before its first match; tables are read whole.
    """
    found: list[LeafInput] = []
    for leaf in leaves_of(spec):
        if isinstance(leaf, TableInput):
            source_of(leaf, snapshots, empty=found)
            continue
        one = as_glob(leaf) if isinstance(leaf, CronInput) else leaf
        if not matches_any(one, snapshot_of(one.ref, snapshots)):
            found.append(leaf)
    return found


def are_outer(spec: JoinInput) -> list[bool]:
    """Return which arms of a join keep datums that have no partner."""
    return [any(is_outer(leaf) for leaf in leaves_of(arm)) for arm in spec.arms]


def is_outer(leaf: LeafInput) -> bool:
    """Return whether a join keeps datums of this input that have no partner."""
    return isinstance(leaf, GlobInput | TableInput) and leaf.outer


def snapshot_of(ref: str, snapshots: Snapshots) -> Snapshot:
    """Return the snapshot of a ref of an input."""
    return snapshots(ref) if callable(snapshots) else snapshots[ref]


def as_glob(leaf: CronInput) -> GlobInput:
    """Return the glob of the ticks of a clock.

    Raises:
        InvalidInputError: It has no ref yet.
    """
    if leaf.ref is None:
        msg = f"the cron input {leaf.name!r} has no branch with ticks yet: pass ref=, or use it in a pipeline"
        raise InvalidInputError(msg)
    return GlobInput(leaf.ref, "/*", leaf.name)


def _source_of_leaf(leaf: LeafInput, snapshots: Snapshots, cuts: Cuts | None) -> DatumSource:
    if isinstance(leaf, TableInput):
        return table_matches(leaf, snapshot_of(leaf.ref, snapshots), cuts)
    spec = as_glob(leaf) if isinstance(leaf, CronInput) else leaf
    return glob_matches(spec, snapshot_of(spec.ref, snapshots))
