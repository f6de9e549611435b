"""A transaction that is ready to commit, as one value."""

from dataclasses import dataclass

from versioned_io.model.due_keys import DueKey
from versioned_io.model.idempotency import IdempotencyKey
from versioned_io.versioning.runs.run import Run
from versioned_io.versioning.transactions.conflicts import BranchChanges
from versioned_io.versioning.transactions.facts import CommitFacts, Empty
from versioned_io.versioning.transactions.lease import Lease


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """A whole transaction, ready to commit."""

    branches: tuple[BranchChanges, ...]
    facts: CommitFacts
    run: Run
    empty: Empty
    completes: tuple[DueKey, ...]
    lease: Lease
    idempotency: IdempotencyKey | None = None
    idempotency_key: str | None = None
    """The key as the catalog keeps it: with *retries* "equal" it depends on the staged content."""

    def __post_init__(self) -> None:
        if self.idempotency is not None:
            key = self.idempotency.of((str(one.target.ref), one.staging.digest()) for one in self.branches)
            object.__setattr__(self, "idempotency_key", key)
