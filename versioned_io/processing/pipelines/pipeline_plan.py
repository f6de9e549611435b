"""The plan of a pipeline, as users see it."""

import json
from collections.abc import Sequence

from blake3 import blake3

from versioned_io.model.arguments import parse_count
from versioned_io.model.commits import Commit
from versioned_io.processing.datums.datum_plan import DatumPlan
from versioned_io.processing.datums.datum_tree import Identity
from versioned_io.processing.running.definition import PipelineStore
from versioned_io.processing.running.evaluated_batch import PendingBatch
from versioned_io.processing.running.planning import commit_of


class PipelinePlan:
    """The work of the next run, for the heads as they were read. Planning wrote nothing."""

    def __init__(self, store: PipelineStore, plan: DatumPlan, warnings: Sequence[str], identity: Identity) -> None:
        self._plan = plan
        self._identity = identity
        self._warnings = warnings
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
