"""The datums of an input, of the snapshots that its refs name."""

from collections.abc import Callable, Mapping

from versioned_io.errors import InvalidInputError
from versioned_io.processing.inputs.datum_set import DatumSet
from versioned_io.processing.inputs.globbing import glob_matches
from versioned_io.processing.inputs.specs import GlobInput, InputSpec
from versioned_io.versioning.snapshots.snapshot import Snapshot

Snapshots = Callable[[str], Snapshot] | Mapping[str, Snapshot]
"""A function from a ref, as the input writes it, to its snapshot; or such a mapping."""


def list_datums(spec: InputSpec, snapshots: Snapshots) -> DatumSet:
    """Return the datums of *spec*.

    Args:
        snapshots: A function from a ref to its snapshot, or a mapping.

    Raises:
        InvalidInputError: The input is of a kind that can't be listed yet.

    Cost: reads the pages of the paths that begin as the patterns do; 1 s for 1,000,000 files with captures.
    """
    if not isinstance(spec, GlobInput):
        msg = f"a {type(spec).__name__} can't be listed yet: list each glob of it"
        raise InvalidInputError(msg)
    source = glob_matches(spec, snapshot_of(spec.ref, snapshots))
    return DatumSet(source, () if len(source) else (spec,))


def snapshot_of(ref: str, snapshots: Snapshots) -> Snapshot:
    """Return the snapshot of a ref of an input."""
    return snapshots(ref) if callable(snapshots) else snapshots[ref]
