"""A transaction that is ready to commit, as one value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import Connection

from versioned_io.model.commits import Commit
from versioned_io.model.due_keys import DueKey
from versioned_io.model.idempotency import IdempotencyKey
from versioned_io.model.refs import BranchRef
from versioned_io.versioning.runs.run import Run
from versioned_io.versioning.transactions.conflicts import BranchChanges
from versioned_io.versioning.transactions.facts import CommitFacts, Empty
from versioned_io.versioning.transactions.lease import Lease

Alongside: TypeAlias = Callable[[Connection, Mapping[BranchRef, Commit]], None]
"""Rows that are entered in the SQL transaction that publishes the commits. It gets the new commits by branch."""


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
    alongside: tuple[Alongside, ...] = ()
    idempotency_key: str | None = None
    """The key as the catalog keeps it: with *retries* "equal" it depends on the staged content."""

    def __post_init__(self) -> None:
        if self.idempotency is not None:
            key = self.idempotency.of((str(one.target.ref), one.staging.digest()) for one in self.branches)
            object.__setattr__(self, "idempotency_key", key)
