"""A part of a plan that another process evaluates, and its report: both small enough for an orchestrator's messages."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Self

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.model.identifiers import CommitId
from versioned_io.processing.datums.datum_plan import DatumPlan

_FINGERPRINT: Final = re.compile("[0-9a-f]{64}")
_MOST_TEXT: Final = 500
"""Characters of an error in a report; the whole text is in the datum's log."""


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """A range of the keys that a plan evaluates; made by `PipelinePlan.batches`.

    It stays valid when an input gets a newer head. Datums that have a result by then are not evaluated, and new
    datums between the two keys are.

    Attributes:
        first, last: The keys at its ends, both inclusive, in the order of UTF-8 bytes.
        count: The number of its datums at the time of the plan.
    """

    first: str
    last: str
    count: int

    def to_json(self) -> dict[str, str | int]:
        """Return the batch as a JSON object.

        >>> vio.PendingBatch("a", "b", 2).to_json()
        {'first': 'a', 'last': 'b', 'count': 2}
        """
        return {"first": self.first, "last": self.last, "count": self.count}

    @classmethod
    def from_json(cls, found: Mapping[str, object]) -> Self:
        """Return the batch of a JSON object.

        >>> vio.PendingBatch.from_json({"first": "a", "last": "b", "count": 2}).last
        'b'

        Raises:
            InvalidInputError: It was not made by `to_json`.
        """
        facts = found if isinstance(found, Mapping) else {}
        first, last, count = (facts.get(name) for name in ("first", "last", "count"))
        if not (isinstance(first, str) and isinstance(last, str) and isinstance(count, int)):
            msg = f"{quoted(found)} is not a batch of datums: pass what PendingBatch.to_json() returned"
            raise InvalidInputError(msg)
        return cls(first, last, count)


class LackingDatum(NamedTuple):
    """A datum that was evaluated and has no result.

    Attributes:
        fingerprint: In hexadecimal digits.
        error: At most 500 characters; the datum's log has the whole text.
    """

    key: str
    fingerprint: str
    error: str


@dataclass(frozen=True, slots=True)
class EvaluatedBatch:
    """The report of `Pipeline.evaluate`: its results are stored, and no output is committed yet.

    Attributes:
        commits: The commits of the repo of results that hold the results.
        counts: The numbers of datums: ``run``, ``failed`` and ``recovered``.
        failed, recovered: The datums without a result.
    """

    commits: tuple[CommitId, ...]
    counts: Mapping[str, int]
    failed: tuple[LackingDatum, ...] = ()
    recovered: tuple[LackingDatum, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the report as a JSON object.

        >>> vio.EvaluatedBatch((), {"run": 2}).to_json()
        {'commits': [], 'counts': {'run': 2}, 'failed': [], 'recovered': []}
        """
        return {
            "commits": [str(one) for one in self.commits],
            "counts": dict(self.counts),
            "failed": [list(one) for one in self.failed],
            "recovered": [list(one) for one in self.recovered],
        }

    @classmethod
    def from_json(cls, found: Mapping[str, object]) -> Self:
        """Return the report of a JSON object.

        >>> vio.EvaluatedBatch.from_json({"commits": [], "counts": {"run": 2}, "failed": [], "recovered": []}).counts
        {'run': 2}

        Raises:
            InvalidInputError: It was not made by `to_json`.
        """
        facts = found if isinstance(found, Mapping) else {}
        commits, counts = facts.get("commits"), facts.get("counts")
        if not (isinstance(commits, list) and isinstance(counts, Mapping)):
            msg = f"{quoted(found)} is not a report of a batch: pass what EvaluatedBatch.to_json() returned"
            raise InvalidInputError(msg)
        made_of = tuple(CommitId(str(one)) for one in commits)
        return cls(made_of, dict(counts), _lacking(facts.get("failed")), _lacking(facts.get("recovered")))


def part_of_plan(plan: DatumPlan, batch: PendingBatch) -> DatumPlan:
    """Return the plan with no other datums to evaluate than those of *batch*."""
    first, last = batch.first.encode(), batch.last.encode()
    return replace(plan, runs=tuple(one for one in plan.runs if first <= one.key.encode() <= last))


def name_lacking(keys: Mapping[bytes, str], errors: Mapping[bytes, str]) -> tuple[LackingDatum, ...]:
    """Return the datums with these *errors*, sorted by key.

    Args:
        keys: The key of each fingerprint.
    """
    return tuple(sorted(LackingDatum(keys[one], one.hex(), text[:_MOST_TEXT]) for one, text in errors.items()))


def _lacking(found: object) -> tuple[LackingDatum, ...]:
    rows: Sequence[object] = found if isinstance(found, list) else [] if found is None else [found]
    read = [LackingDatum(*map(str, row)) for row in rows if isinstance(row, list | tuple) and len(row) == 3]
    read = [one for one in read if _FINGERPRINT.fullmatch(one.fingerprint)]
    if len(read) != len(rows):
        msg = f"{quoted(found)} is not a list of failed datums: pass what EvaluatedBatch.to_json() returned"
        raise InvalidInputError(msg)
    return tuple(read)
