"""Publishing staged changes as commits: pages, record, catalog; repeated on the new head if a branch has moved.

Source: docs/design/0002-commit-protocol.md.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from sqlalchemy import Connection

from versioned_io.catalog.commits import commit_exists, get_commit
from versioned_io.catalog.idempotency import FirstTry, insert_key
from versioned_io.catalog.publishing import HeldTree, Publication, StoredContent, hold_trees, publish
from versioned_io.catalog.replies import Evidence, note_evidence
from versioned_io.catalog.repo_rows import BranchRow
from versioned_io.catalog.repos import lock_branch, wait_for_branch
from versioned_io.errors import ExistsError, HeadMovedError, OutcomeUnknownError, PackLostError, VersionedError
from versioned_io.model.due_keys import DueKey
from versioned_io.model.identifiers import CommitId
from versioned_io.model.repo_kinds import RepoKind
from versioned_io.storage.chunks.data_writer import DataWriter
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.backend.leftovers import delete_leftovers
from versioned_io.versioning.transactions.attempt import Draft, Head, Origin, draft_all, settle_origin
from versioned_io.versioning.transactions.branch_draft import Outcome
from versioned_io.versioning.transactions.conflicts import BranchChanges
from versioned_io.versioning.transactions.earlier_try import (
    KeyTakenError,
    complete_again,
    first_try,
    first_try_if_it_can_be_asked,
)
from versioned_io.versioning.transactions.plan import CommitPlan

OPTIMISTIC_ATTEMPTS = 3
"""How often a large transaction tries to commit without locking the branches. Then it locks them, and can't lose."""

MOST_CHANGES_HELD = 1_000
"""A transaction with more changes is large: writing its pages takes longer than other writers should wait."""

_LONGEST_PAUSE_S = 0.05


def publish_plan(backend: Backend, data: DataWriter, plan: CommitPlan) -> list[Outcome]:
    """Make the plan's commits visible, all or none, and return the result on each branch, in the plan's order.

    The first attempt locks nothing: one catalog transaction compares and moves the branches' heads. If a branch has
    moved and the changes are disjoint, the next attempt locks the branches, and writes new pages on the new heads. So
    it can't lose again. A process that lost a race on a branch locks it up front next time. A large transaction tries
    three times before it locks the branches.

    Raises:
        ConflictError, PathCollisionError, EmptyCommitError, ClaimLostError, StorageError: As for `Transaction.finish`.

    Source: docs/design/0002-commit-protocol.md.
    """
    earlier = first_try(backend, plan)
    if earlier is None:
        try:
            # A record in a pack that no catalog knows is kept until somebody says whose it is.
            backend.catalog.refuse_before_storing()
            drafts = _publish_in_turn(backend, data, plan, settle_origin(backend, plan))
        except (KeyTakenError, VersionedError) as error:
            # Another try of the same transaction may have committed first; then its commit caused this error.
            earlier = first_try_if_it_can_be_asked(backend, plan)
            if earlier is None:
                if not isinstance(error, OutcomeUnknownError):
                    _delete_stored(backend, data)
                raise
        else:
            if not _publications(drafts):
                _delete_stored(backend, data)
            return _outcomes(plan, drafts)
    _delete_stored(backend, data)
    plan.lease.abandon()
    complete_again(backend, plan)
    return _noted(plan, earlier)


def _delete_stored(backend: Backend, data: DataWriter) -> None:
    """Delete the packs of a transaction that made no commit, since only this process knows that they are garbage."""
    data.abort()
    left = data.packs.begun
    if left:
        backend.catalog.undo(partial(delete_leftovers, backend.objects, left))


def _publish_in_turn(backend: Backend, data: DataWriter, plan: CommitPlan, origin: Origin) -> list[Draft]:
    for attempt in range(_optimistic_attempts(backend, plan)):
        if attempt:
            time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 (spreads writers out, guards nothing)
        with backend.catalog.look_up() as connection:
            heads = [_head_of(connection, branch, is_first=attempt == 0) for branch in plan.branches]
        if not _is_large(plan) and _moved_branches(plan, heads):
            break
        # A tree may move to other packs during a draft, and its old packs may be deleted: retry with its new place.
        with suppress(HeadMovedError, PackLostError):
            drafts = draft_all(backend, data, plan, origin, heads)
            _commit_drafts(backend, data, plan, drafts)
            return drafts
    data.begin_pages()  # large data is uploaded before the branches are locked
    return _commit_holding_branches(backend, data, plan, origin)


def _is_large(plan: CommitPlan) -> bool:
    return sum(branch.staging.changes for branch in plan.branches) > MOST_CHANGES_HELD


def _optimistic_attempts(backend: Backend, plan: CommitPlan) -> int:
    """Return how often to try without locking the branches; fewer times on busy branches, where most tries fail."""
    if _is_large(plan):
        return OPTIMISTIC_ATTEMPTS
    return 0 if any(branch.target.id in backend.busy_branches for branch in plan.branches) else 1


def _moved_branches(plan: CommitPlan, heads: Sequence[Head]) -> set[int]:
    """Return the keys of the branches whose heads have moved since their changes were staged."""
    pairs = zip(plan.branches, heads, strict=True)
    return {row.id for branch, (row, _) in pairs if row.head != (None if branch.base is None else branch.base.id)}


def _head_of(connection: Connection, branch: BranchChanges, *, is_first: bool) -> Head:
    row = lock_branch(connection, branch.target, wait=False)
    if is_first and branch.base is not None and branch.base.id == row.head:
        return row, branch.base  # its tree may have moved, which the draft or the catalog will detect
    return _with_commit(connection, row)


def _with_commit(connection: Connection, row: BranchRow) -> Head:
    return row, None if row.head is None else get_commit(connection, row.head)


def _commit_holding_branches(backend: Backend, data: DataWriter, plan: CommitPlan, origin: Origin) -> list[Draft]:
    """Draft and publish with the branches locked, so that no other writer can move them and the attempt can't lose."""
    drafts: list[Draft] = []
    with _saying_what_is_unknown(drafts), backend.catalog.write() as connection, plan.lease.pause():
        ordered = sorted(plan.branches, key=lambda branch: branch.target.id)
        rows = {branch.target.id: lock_branch(connection, branch.target) for branch in ordered}
        held = hold_trees(connection, [row.head for row in rows.values() if row.head is not None])
        heads = [_with_commit(connection, rows[branch.target.id]) for branch in plan.branches]
        backend.busy_branches.difference_update(rows)
        backend.busy_branches.update(_moved_branches(plan, heads))
        drafts += draft_all(backend, data, plan, origin, heads)
        _enter(connection, backend, data, plan, drafts, held=held)
    return drafts


def _commit_drafts(backend: Backend, data: DataWriter, plan: CommitPlan, drafts: Sequence[Draft]) -> None:
    with _saying_what_is_unknown(drafts), backend.catalog.write() as connection:
        _enter(connection, backend, data, plan, drafts)


@contextmanager
def _saying_what_is_unknown(drafts: Sequence[Draft]) -> Iterator[None]:
    """Add the commits to an `OutcomeUnknownError`, since it is unknown whether they were made."""
    try:
        yield
    except OutcomeUnknownError as error:
        commits = tuple(f"{one.branch.ref.repo}@{one.commit.id}" for one in _publications(drafts))
        raise OutcomeUnknownError(error.args[0], error.args[1], commits) from error


def _enter(
    connection: Connection,
    backend: Backend,
    data: DataWriter,
    plan: CommitPlan,
    drafts: Sequence[Draft],
    *,
    held: Mapping[CommitId, HeldTree] | None = None,
) -> None:
    publications = _publications(drafts)
    if publications:
        note_evidence(connection, Evidence(partial(_were_published, publications), waits=True))
        healed = tuple(dict.fromkeys(one for draft in drafts for one in draft.healed))
        content = StoredContent(data.packs.stored, data.placer.new_chunks(), healed)
        publish(connection, publications, content, backend.clock(), held=held)
    plan.lease.end(connection)
    if plan.completes:
        _complete(connection, plan.completes, backend)
    for enter in plan.alongside:
        enter(connection, {one.branch.ref: one.commit for one in publications})
    if plan.idempotency_key is not None and (plan.completes or any(one.staging.changes for one in plan.branches)):
        left = {
            str(draft.ref): FirstTry(None if outcome.commit is None else outcome.commit.id, outcome.changed)
            for draft, outcome in zip(drafts, [one.outcome for one in drafts], strict=True)
        }
        try:
            insert_key(connection, plan.idempotency_key, left, backend.clock())
        except ExistsError:
            raise KeyTakenError from None


def _complete(connection: Connection, completed: Sequence[DueKey], backend: Backend) -> None:
    from versioned_io.catalog.collection import catalog_time
    from versioned_io.catalog.due_keys import complete_key

    # Sorted, as `versioned_io.catalog.row_locks` says.
    for due in sorted(completed, key=lambda one: (one.subscription_id, one.key)):
        complete_key(connection, due, catalog_time(connection, backend.clock()))


def _publications(drafts: Sequence[Draft]) -> list[Publication]:
    return [draft.publication for draft in drafts if draft.publication is not None]


def _were_published(publications: Sequence[Publication], connection: Connection) -> bool:
    """Wait until no transaction in progress can make the commits any more, and return whether they were made.

    Their IDs are unique to one attempt. A COMMIT in progress holds its branches until it has ended, so requesting the
    same locks waits for it.
    """
    for branch_id in sorted(one.branch.id for one in publications):
        wait_for_branch(connection, branch_id)
    return all(commit_exists(connection, one.commit.id) for one in publications)


def _outcomes(plan: CommitPlan, drafts: Sequence[Draft]) -> list[Outcome]:
    return _noted(plan, [one.outcome for one in drafts])


def _noted(plan: CommitPlan, outcomes: list[Outcome]) -> list[Outcome]:
    for branch, outcome in zip(plan.branches, outcomes, strict=True):
        if outcome.changed and outcome.commit is not None and branch.target.kind is RepoKind.USER:
            plan.run.note_made(outcome.commit)
    return outcomes
