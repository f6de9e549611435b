"""Changing names: repos, branches and tags are made, moved and removed; each change goes into the journal as well."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from versioned_io.backend import Backend
from versioned_io.catalog import repos as catalog
from versioned_io.catalog.collection import forget_commits
from versioned_io.catalog.commits import get_commit
from versioned_io.catalog.journal import Action, JournalEntry, append_entry
from versioned_io.catalog.repos import BranchRow
from versioned_io.catalog.retention import RetentionRule
from versioned_io.catalog.subscriptions import delete_subscriptions, names_of_subscriptions
from versioned_io.catalog.values import BranchInfo, Commit, RepoInfo
from versioned_io.errors import InvalidInputError, RefNotFoundError
from versioned_io.identifiers import CommitId
from versioned_io.refs import DEFAULT_BRANCH, BranchRef

Allowed = Callable[[Connection, BranchRow], None]
"""Raises when a branch may not be changed as it stands now."""


def create_repo(backend: Backend, name: str, description: str) -> RepoInfo:
    """Make the repo *name* with an empty branch `main`, and return it.

    Raises:
        ExistsError: There is one of this name.

    Cost: 1 PUT, 1 SQL transaction.
    """
    with backend.catalog.write() as connection:
        now = backend.clock()
        repo_id = catalog.insert_repo(connection, name, description, now)
        entry = JournalEntry(name, DEFAULT_BRANCH, Action.CREATE_REPO, details={"description": description})
        catalog.set_epoch(connection, repo_id, DEFAULT_BRANCH, append_entry(connection, backend.objects, entry, now))
    return RepoInfo(name, description, now, branches=(BranchInfo(name, DEFAULT_BRANCH, None, 0),))


def create_branch(backend: Backend, ref: BranchRef, at: Commit | None) -> None:
    """Make the branch *ref* point at a commit, or at none.

    Raises:
        ExistsError: There is a branch or a tag of this name.
        RepoNotFoundError: There is no such repo.
        CommitForgottenError: The commit's data is not kept any more.

    Cost: 1 PUT, 1 SQL transaction.
    """
    with backend.catalog.write() as connection:
        head = None if at is None else catalog.hold_commit(connection, at.id)
        repo_id = catalog.insert_branch(connection, ref, head)
        entry = JournalEntry(ref.repo, ref.branch, Action.CREATE_BRANCH, new=head)
        sequence = append_entry(connection, backend.objects, entry, backend.clock())
        catalog.set_epoch(connection, repo_id, ref.branch, sequence)


def create_tag(backend: Backend, ref: BranchRef, at: Commit) -> None:
    """Make the tag *ref* for a commit, for ever.

    Raises:
        ExistsError, RepoNotFoundError, CommitForgottenError: As for `create_branch`.

    Cost: 1 PUT, 1 SQL transaction.
    """
    with backend.catalog.write() as connection:
        now = backend.clock()
        head = catalog.hold_commit(connection, at.id)
        catalog.insert_tag(connection, ref, head, now)
        entry = JournalEntry(ref.repo, ref.branch, Action.CREATE_TAG, new=head)
        append_entry(connection, backend.objects, entry, now)


def delete_tag(backend: Backend, ref: BranchRef) -> CommitId:
    """Take a tag away and return what it named.

    Raises:
        RepoNotFoundError, RefNotFoundError: There is no such tag.

    Cost: 1 PUT, 1 SQL transaction.
    """
    with backend.catalog.write() as connection:
        commit_id = catalog.remove_tag(connection, ref)
        entry = JournalEntry(ref.repo, ref.branch, Action.DELETE_TAG, old=commit_id)
        append_entry(connection, backend.objects, entry, backend.clock())
    return commit_id


def delete_branch(backend: Backend, ref: BranchRef, *, force: bool) -> CommitId | None:
    """Take a branch away and return its head; its commits stay until garbage collection lets go of them.

    Raises:
        RepoNotFoundError, RefNotFoundError: There is no such branch.
        InvalidInputError: It is protected; or consumers follow it and *force* is false.

    Cost: 1 PUT, 1 SQL transaction.
    """
    with held_branch(backend, ref, "delete") as (connection, row):
        followers = names_of_subscriptions(connection, row.id)
        if followers and not force:
            names = ", ".join(map(repr, followers[:5]))
            msg = f"can't delete {ref}: subscriptions follow it ({names}); pass force=True to delete them with it"
            raise InvalidInputError(msg)
        delete_subscriptions(connection, row.id)
        catalog.remove_branch(connection, row.id)
        entry = JournalEntry(ref.repo, ref.branch, Action.DELETE_BRANCH, old=row.head)
        append_entry(connection, backend.objects, entry, backend.clock())
    return row.head


def rename_branch(backend: Backend, ref: BranchRef, to: BranchRef) -> BranchInfo:
    """Give a branch another name, and return it; who follows it goes on.

    Raises:
        RepoNotFoundError, RefNotFoundError: There is no such branch.
        ExistsError: There is a branch or a tag of the new name.
        InvalidInputError: It is protected.

    Cost: 1 PUT, 1 SQL transaction.
    """
    with held_branch(backend, ref, "rename") as (connection, row):
        catalog.change_name(connection, row, to)
        entry = JournalEntry(ref.repo, ref.branch, Action.RENAME_BRANCH, row.head, row.head, {"to": to.branch})
        sequence = append_entry(connection, backend.objects, entry, backend.clock())
        catalog.set_epoch(connection, row.repo_id, to.branch, sequence)
        number = 0 if row.head is None else get_commit(connection, row.head).number
    return BranchInfo(to.repo, to.branch, row.head, number)


def protect_branch(backend: Backend, ref: BranchRef, *, is_protected: bool) -> None:
    """Let a branch only grow from now on (or lift that): it can't be deleted, renamed, reset, squashed or dropped.

    Raises:
        RepoNotFoundError, RefNotFoundError: There is no such branch.

    Cost: 1 PUT, 1 SQL transaction.
    """
    with backend.catalog.write() as connection:
        row = catalog.lock_branch(connection, catalog.find_branch(connection, ref))
        catalog.set_protected(connection, row.id, is_protected=is_protected)
        entry = JournalEntry(
            ref.repo, ref.branch, Action.PROTECT_BRANCH, row.head, row.head, {"is_protected": is_protected}
        )
        append_entry(connection, backend.objects, entry, backend.clock())


def retention_of(backend: Backend, ref: BranchRef) -> RetentionRule | None:
    """Return the retention rule of a branch, if it has one.

    Raises:
        RepoNotFoundError, RefNotFoundError: There is no such branch.

    Cost: 2 SELECTs.
    """
    with backend.catalog.read() as connection:
        text = catalog.get_retention(connection, catalog.find_branch(connection, ref).id)
    return None if text is None else RetentionRule.from_json(text)


def set_retention(backend: Backend, ref: BranchRef, rule: RetentionRule | None) -> None:
    """Say how much of a branch's history garbage collection keeps; None for all of it.

    Raises:
        RepoNotFoundError, RefNotFoundError: There is no such branch.

    Cost: 1 PUT, 1 SQL transaction.
    """
    text = None if rule is None else rule.to_json()
    with backend.catalog.write() as connection:
        row = catalog.lock_branch(connection, catalog.find_branch(connection, ref))
        catalog.set_retention(connection, row.id, text)
        entry = JournalEntry(ref.repo, ref.branch, Action.SET_RETENTION, row.head, row.head, {"rule": text})
        append_entry(connection, backend.objects, entry, backend.clock())


def move_branch(
    backend: Backend, ref: BranchRef, to: Commit | None, *, reason: str, check: Allowed | None = None
) -> None:
    """Make an existing branch point at another commit, backward or forward; where it was stands in the journal.

    Args:
        check: Asked with the branch held; raises when it may not move as it stands now.

    Raises:
        RepoNotFoundError, RefNotFoundError: There is no such branch.
        InvalidInputError: It is protected.
        CommitForgottenError: The commit's data is not kept any more.

    Cost: 1 PUT, 1 SQL transaction.
    """
    with held_branch(backend, ref, "move", needs_unprotected=check is None) as (connection, row):
        if check is not None:
            check(connection, row)
        head = None if to is None else catalog.hold_commit(connection, to.id)
        entry = JournalEntry(ref.repo, ref.branch, Action.MOVE_BRANCH, row.head, head, {"reason": reason})
        sequence = append_entry(connection, backend.objects, entry, backend.clock())
        catalog.set_head(connection, row.id, head, sequence)


def drop_head(backend: Backend, ref: BranchRef) -> CommitId:
    """Take the newest commit off a branch, let go of its data, and return it; its record and its lineage stay.

    Raises:
        RepoNotFoundError, RefNotFoundError: There is no such branch.
        InvalidInputError: It is protected or has no commit, or something else needs that commit.
        CommitForgottenError: The data of the commit before is not kept any more.

    Cost: 1 PUT, 1 SQL transaction that looks at every commit of the repo.
    """
    with held_branch(backend, ref, "drop the head of") as (connection, row):
        if row.head is None:
            msg = f"can't drop the head of {ref}: the branch has no commit"
            raise InvalidInputError(msg)
        # Held, so that no new name, commit or cursor can point at it before the transaction ends.
        head = catalog.hold_commit(connection, row.head)
        needed_by = catalog.dependents_of(connection, row, head)
        if needed_by:
            msg = f"can't drop {head} from {ref}: {', '.join(needed_by[:5])} needs it; reset the branch instead"
            raise InvalidInputError(msg)
        parent = catalog.parent_of(connection, head)
        parent = None if parent is None else catalog.hold_commit(connection, parent)
        forget_commits(connection, [head])
        entry = JournalEntry(ref.repo, ref.branch, Action.DROP, head, parent, {"commits": [head]})
        sequence = append_entry(connection, backend.objects, entry, backend.clock())
        catalog.set_head(connection, row.id, parent, sequence)
    return head


def head_of(backend: Backend, ref: BranchRef) -> tuple[BranchRow, Commit | None]:
    """Return a branch and its head. Cost: 3 SELECTs."""
    with backend.catalog.read() as connection:
        row = catalog.find_branch(connection, ref)
        return row, None if row.head is None else get_commit(connection, row.head)


@contextmanager
def held_branch(
    backend: Backend, ref: BranchRef, action: str, *, needs_unprotected: bool = True
) -> Iterator[tuple[Connection, BranchRow]]:
    """Yield a writing connection and the branch, held, unless it is protected."""
    with backend.catalog.write() as connection:
        row = catalog.lock_branch(connection, catalog.find_branch(connection, ref))
        if row.ref != ref:
            raise RefNotFoundError(ref.repo, ref.branch, reason="the branch was renamed meanwhile")
        if needs_unprotected and catalog.is_protected(connection, row.id):
            msg = f"can't {action} {ref}: the branch is protected; lift that first with protect_branch(..., False)"
            raise InvalidInputError(msg)
        yield connection, row
