"""Changing names: repos, branches and tags are made, each change in the journal as well."""

from versioned_io.backend import Backend
from versioned_io.catalog import repos as catalog
from versioned_io.catalog.journal import Action, JournalEntry, append_entry
from versioned_io.catalog.values import Commit
from versioned_io.refs import DEFAULT_BRANCH, BranchRef


def create_repo(backend: Backend, name: str, description: str) -> None:
    """Make the repo *name* with an empty branch `main`.

    Raises:
        ExistsError: There is one of this name.

    Cost: 1 PUT, 1 SQL transaction.
    """
    with backend.catalog.write() as connection:
        now = backend.clock()
        repo_id = catalog.insert_repo(connection, name, description, now)
        entry = JournalEntry(name, DEFAULT_BRANCH, Action.CREATE_REPO, details={"description": description})
        catalog.set_epoch(connection, repo_id, DEFAULT_BRANCH, append_entry(connection, backend.objects, entry, now))


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
