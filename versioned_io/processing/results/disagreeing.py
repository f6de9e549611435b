"""Results that differ from the first one of their fingerprint, which shows that a pipeline is not deterministic."""

from collections.abc import Mapping

from versioned_io.catalog.evaluated import enter_disagreements
from versioned_io.model.identifiers import CommitId
from versioned_io.processing.results.batches import BatchPlace
from versioned_io.processing.results.stored_results import read_results
from versioned_io.versioning.backend.backend import Backend


def note_disagreements(
    backend: Backend, place: BatchPlace, commit: CommitId, first: Mapping[bytes, CommitId]
) -> set[bytes]:
    """Record the fingerprints of which *commit* holds other bytes than the first results, and return them.

    A rebuild finds them again in the trees of the repos of results.

    Args:
        first: The commits that hold the first results.

    Cost: that of `read_results`, twice; and 1 SQL transaction if results differ.
    """
    own = read_results(backend, dict.fromkeys(first, commit))
    theirs = read_results(backend, first)
    differing = {one for one in own.keys() & theirs.keys() if own[one].digest != theirs[one].digest}
    if differing:
        with backend.catalog.write() as connection:
            enter_disagreements(connection, commit, differing, place.pipeline, backend.clock())
    return differing
