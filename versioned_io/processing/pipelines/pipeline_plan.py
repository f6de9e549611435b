"""The plan of a pipeline, as users see it."""

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from blake3 import blake3

from versioned_io.catalog.evaluated import find_results
from versioned_io.model.arguments import parse_count
from versioned_io.model.commits import Commit
from versioned_io.processing.datums.datum_plan import DatumPlan
from versioned_io.processing.datums.datum_tree import Identity, sample_fingerprints
from versioned_io.processing.results.stored_results import read_costs
from versioned_io.processing.running.definition import PipelineStore
from versioned_io.processing.running.evaluated_batch import PendingBatch
from versioned_io.processing.running.planning import commit_of
from versioned_io.versioning.backend.backend import Backend

_SAMPLED: Final = 500
"""Of more datums the costs are not looked up: they count as the mean of the others."""


class PipelinePlan:
    """The work of the next run, for the heads as they were read. Planning wrote nothing."""

    def __init__(self, store: PipelineStore, plan: DatumPlan, warnings: Sequence[str], identity: Identity) -> None:
        self._plan = plan
        self._identity = identity
        self._warnings = warnings
        self._backend = store.backend
        self._gone = plan.gone_keys(store.backend)

    def __repr__(self) -> str:
        return f"PipelinePlan({self.counts})"

    @property
    def runs(self) -> list[str]:
        """The keys of the datums that would be evaluated, sorted."""
        return [one.key for one in self._plan.runs]

    @property
    def reuses(self) -> list[str]:
        """The keys of the datums whose result exists, or that share the result of one that runs, sorted."""
        return [one.key for one in self._plan.reuses]

    @property
    def skips(self) -> list[str]:
        """The keys of the unchanged datums, sorted. Cost: reads the inputs; some 1 us a datum."""
        return self._plan.skipped_keys()

    @property
    def deletes(self) -> list[str]:
        """The keys of the datums that the inputs do not have any more, whose outputs would go, sorted."""
        return self._gone

    @property
    def counts(self) -> dict[str, int]:
        """The lengths of the four lists, by their names."""
        plan = self._plan
        return {
            "runs": len(plan.runs),
            "reuses": len(plan.reuses),
            "skips": plan.skips,
            "deletes": len(plan.gone),
        }

    @property
    def seconds(self) -> float | None:
        """The expected time of all evaluations, one after the other; None if nothing was evaluated before.

        A datum that changed counts as what it took before, and a new one as the mean.

        Cost: some SELECTs, and the pages of at most 1,000 results.
        """
        found = _forecast(self._backend, self._plan)
        return None if found is None else found.seconds

    @property
    def bytes(self) -> int | None:
        """The expected size of the outputs of all evaluations, likewise."""
        found = _forecast(self._backend, self._plan)
        return None if found is None else found.size_bytes

    @property
    def is_empty(self) -> bool:
        """Whether the output is up to date."""
        return self._plan.is_empty

    @property
    def inputs(self) -> list[Commit]:
        """The commits that were read, in the order of the inputs; a branch without a commit has none."""
        return [commit for one in self._plan.snapshots.values() if (commit := commit_of(one)) is not None]

    @property
    def state(self) -> str:
        """A text that is equal for equal inputs, code and output: the same plan was made before."""
        output = self._plan.output
        heads = [commit.id for commit in self.inputs]
        described = [None if one is None else one.id for one in (output.head, output.datums)]
        return blake3(json.dumps([*self._identity, heads, described]).encode()).hexdigest()

    def batches(self, most: int = 256, *, at_most: int = 1000) -> list[PendingBatch]:
        """Return the datums of `runs` in batches of about equal size, for `Pipeline.evaluate` in other processes.

        >>> store.pipeline(upper).plan().batches(1)[0].first
        '2012/01.csv'

        Args:
            most: How many datums a batch has, unless that would make more than *at_most* batches.
            at_most: How many batches there are; orchestrators limit how many tasks they make of one.

        Raises:
            InvalidInputError: An argument is not a count of at least 1.
        """
        runs = self._plan.runs
        fewest = -(-len(runs) // parse_count(at_most, "at_most", least=1))
        size = max(parse_count(most, "most", least=1), fewest)
        parts = [runs[start : start + size] for start in range(0, len(runs), size)]
        return [PendingBatch(part[0].key, part[-1].key, len(part)) for part in parts]

    @property
    def warnings(self) -> list[str]:
        """Inputs that match nothing, and code that is looked up at run time and not followed, each as a sentence."""
        empty = [f"the input {name!r} matches nothing" for name in self._plan.empty_inputs()]
        return [*empty, *self._warnings]


class _Forecast(NamedTuple):
    """The cost of the datums that a plan evaluates.

    Attributes:
        seconds: The time of all evaluations, one after the other.
        size_bytes: The size of their outputs.
    """

    seconds: float
    size_bytes: int


def _forecast(backend: Backend, plan: DatumPlan) -> _Forecast | None:
    """Return the expected cost of a plan; None if nothing was evaluated before.

    A datum that changed is expected to cost what it cost before; any other costs the mean of those that are known.

    Cost: looks up at most 1,000 datums: some SELECTs, and the pages of their manifests.
    """
    if not plan.runs:
        return _Forecast(0.0, 0)
    own = [plan.known[one.place] for one in plan.runs[:_SAMPLED] if one.place in plan.known]
    sample = sample_fingerprints(backend, plan.output.root, _SAMPLED)
    with backend.catalog.look_up() as connection:
        places = find_results(connection, {*own, *sample})
    costs = read_costs(backend, places)
    if not costs:
        return None
    seconds, size_bytes = (sum(column) / len(costs) for column in zip(*costs.values(), strict=True))
    known = [costs[one] for one in own if one in costs]
    others = len(plan.runs) - len(known)
    return _Forecast(
        sum(cost.seconds for cost in known) + others * seconds,
        round(sum(cost.size_bytes for cost in known) + others * size_bytes),
    )
