"""Evaluating a sample of datums again whose results are kept: a different result is recorded as a disagreement."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from versioned_io.processing.pipelines.rerunning import is_equal_file
from versioned_io.processing.results.batches import BatchPlace, Produced, store_batch
from versioned_io.processing.results.disagreeing import note_disagreements
from versioned_io.processing.results.stored_results import StoredResult, read_results
from versioned_io.processing.running.claiming import results_of
from versioned_io.processing.running.definition import PipelineDefinition, PipelineStore
from versioned_io.processing.running.evaluating import DatumTask, TaskGroup, evaluate_all
from versioned_io.processing.running.planning import begin_planning
from versioned_io.versioning.backend.backend import Backend


@dataclass(frozen=True, slots=True)
class Verification:
    """The comparison of kept results with repeated evaluations.

    Attributes:
        checked: The keys of the datums that were evaluated again, sorted.
        differing: Those with another result, which is now kept as a disagreement.
        failed: The errors of those that failed now, by key.
    """

    checked: tuple[str, ...]
    differing: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_deterministic(self) -> bool:
        """Whether every repeated evaluation gave the kept result."""
        return not (self.differing or self.failed)


def verify_results(
    store: PipelineStore, definition: PipelineDefinition, share: float, make_place: Callable[[], BatchPlace]
) -> Verification:
    """Evaluate a random share of the datums again, and compare with their results.

    Args:
        share: From 0 to 1. At least one datum is chosen if it is not 0.
        make_place: Returns where results that differ are stored; called only for these.

    Cost: that of `Planning.whole`, of the evaluations, and of a commit if results differ.
    """
    backend, plan = store.backend, begin_planning(store, definition).whole()
    rows = sorted(random.sample(range(len(plan.datums)), math.ceil(len(plan.datums) * share)))
    fingerprints = definition.fingerprints([plan.datums.seen(row) for row in rows])
    kept = read_results(backend, results_of(backend, fingerprints))
    tasks = []
    for row, fingerprint in zip(rows, fingerprints, strict=True):
        if fingerprint in kept:
            datum = plan.datums.datum(row)
            tasks.append(DatumTask(definition.evaluation, fingerprint, datum.key, datum.inputs))
    produced = evaluate_all(TaskGroup.of(tasks))
    succeeded = [one for one in produced if one.error is None]
    differing = [one for one in succeeded if not _is_equal(backend, kept[one.fingerprint], one)]
    if differing:
        _keep(backend, make_place(), differing)
    return Verification(
        tuple(one.key for one in produced),
        tuple(one.key for one in differing),
        {one.key: one.error for one in produced if one.error is not None},
    )


def _is_equal(backend: Backend, kept: StoredResult, one: Produced) -> bool:
    files = {file.path: file for file in one.outputs}
    same_paths = files.keys() == kept.outputs.keys()
    return same_paths and all(is_equal_file(backend, row, files[path]) for path, row in kept.outputs.items())


def _keep(backend: Backend, place: BatchPlace, differing: Sequence[Produced]) -> None:
    """Store the other results: from them a rebuild knows the disagreements."""
    batch = store_batch(backend, place, differing)
    note_disagreements(backend, place, batch.commit, results_of(backend, batch.beaten))
