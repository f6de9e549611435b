"""The progress and the result of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from versioned_io.model.commits import Commit


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is.

    Attributes:
        pending: The number of datums that are not evaluated yet.
        seconds: The time since the run began.
    """

    run: int
    reused: int
    skipped: int
    failed: int
    recovered: int
    pending: int
    seconds: float

    @property
    def rate(self) -> float:
        """Evaluated datums a second."""
        return (self.run + self.failed + self.recovered) / self.seconds if self.seconds else 0.0

    @property
    def eta_s(self) -> float | None:
        """The seconds until the last datum is evaluated, at this rate; None while nothing is evaluated."""
        return self.pending / self.rate if self.rate else None


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """The result of a run.

    Attributes:
        state: ``succeeded``; ``partial`` if the commit lacks outputs of failed or recovered datums; or ``failed`` if
            no commit was made, since datums failed. Their results are kept in each case.
        commit: The head of the output that is true for the inputs; None if the run failed or there is nothing.
        counts: The numbers of datums: ``run``, ``reused``, ``skipped``, ``failed``, ``recovered``, ``deleted``.
        runs: The keys of the datums that were evaluated, also of those that failed, sorted.
        failed, recovered: The errors of datums, by key.
        rounds: How often the inputs were read: more than once if they changed meanwhile.
    """

    id: str
    state: str
    commit: Commit | None
    counts: Mapping[str, int]
    runs: tuple[str, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    recovered: Mapping[str, str] = field(default_factory=dict)
    rounds: int = 1
