"""The earlier try of a transaction that has an idempotency key: its result, and its keys.

Source: docs/design/0002-commit-protocol.md.
"""

from contextlib import suppress
from itertools import islice, product

from sqlalchemy import Connection

from versioned_io.catalog.commits import get_commit
from versioned_io.catalog.idempotency import FirstTry, find_first_try
from versioned_io.catalog.renamed import former_names_of
from versioned_io.catalog.repos import lock_branch
from versioned_io.errors import ClaimLostError, InvalidInputError, StorageError
from versioned_io.model.idempotency import Retries
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.transactions.branch_draft import Outcome
from versioned_io.versioning.transactions.plan import CommitPlan

_MOST_NAMES = 64
"""How many combinations of former names are looked up; a branch is renamed rarely."""


class KeyTakenError(Exception):
    """Another try of the same transaction has committed first."""


def first_try_if_it_can_be_asked(backend: Backend, plan: CommitPlan) -> list[Outcome] | None:
    """Return the result of an earlier try; None if there is none, or if the catalog is unreachable."""
    try:
        return first_try(backend, plan)
    except StorageError:
        return None


def first_try(backend: Backend, plan: CommitPlan) -> list[Outcome] | None:
    """Return the result of an earlier try of the same transaction, or None if this is the first."""
    if plan.idempotency_key is None:
        return None
    with backend.catalog.read() as connection:
        left = find_first_try(connection, plan.idempotency_key) or _tried_under_other_names(connection, plan)
        if left is None:
            return None
        refs = [str(branch.target.ref) for branch in plan.branches]
        if set(refs) != set(left):  # a repo may have been renamed since the transaction began
            refs = [str(lock_branch(connection, branch.target, wait=False).ref) for branch in plan.branches]
        if set(refs) != set(left):
            msg = (
                f"the idempotency key {plan.idempotency_key!r} is that of a transaction on {', '.join(sorted(left))}, "
                f"not on {', '.join(sorted(refs))}: use another key for other work"
            )
            raise InvalidInputError(msg)
        found = [left[ref] for ref in refs]
        return [
            Outcome(None if one.commit is None else get_commit(connection, one.commit), changed=one.changed)
            for one in found
        ]


def _tried_under_other_names(connection: Connection, plan: CommitPlan) -> dict[str, FirstTry] | None:
    """Return what an earlier try left when its branches had other names, on which the key depends.

    Cost: 1 SELECT for each branch, and 1 for each combination of former names.
    """
    if plan.idempotency is None or plan.idempotency.retries is not Retries.EQUAL:
        return None
    refs = [one.target.ref for one in plan.branches]
    names = [[ref, *former_names_of(connection, ref)] for ref in refs]
    for former in islice(product(*names), 1, _MOST_NAMES):
        content = ((str(ref), one.staging.digest()) for ref, one in zip(former, plan.branches, strict=True))
        left = find_first_try(connection, plan.idempotency.of(content))
        if left is not None and set(left) == {str(ref) for ref in refs}:
            return left
    return None


def complete_again(backend: Backend, plan: CommitPlan) -> None:
    """Record that the keys of an earlier try are done. A recovered catalog has its commit, and calls the keys due."""
    if not plan.completes:
        return
    from versioned_io.catalog.collection import catalog_time
    from versioned_io.catalog.due_keys import complete_key

    with backend.catalog.write() as connection:
        now = catalog_time(connection, backend.clock())
        for due in plan.completes:
            with suppress(ClaimLostError):  # another run has claimed the key since, and completes it
                complete_key(connection, due, now)
