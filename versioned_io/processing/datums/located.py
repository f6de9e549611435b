"""Finding the datum tree that describes the head of an output branch, also after resets and on new branches."""

from contextlib import suppress
from typing import NamedTuple

from versioned_io.catalog.commits import find_commit_with, find_head, get_commit
from versioned_io.catalog.plain import AnyConnection
from versioned_io.catalog.repo_rows import branch_heads, find_repo_id, find_system_repo
from versioned_io.errors import ExistsError, InvalidInputError, RefNotFoundError, RepoNotFoundError
from versioned_io.model.commits import Commit
from versioned_io.model.places import PageRef
from versioned_io.model.refs import BranchRef
from versioned_io.model.repo_kinds import STATE_KEY, RepoKind
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.naming.naming import create_branch, create_repo, ensure_system_branch, move_branch


class OutputState(NamedTuple):
    """An output branch at one moment.

    Attributes:
        head: Its head; None if it has no commit.
        datums: The commit of the datum tree that describes the head; None if nothing was computed yet, or if the data
            of that commit has expired.
    """

    branch: BranchRef
    head: Commit | None
    datums: Commit | None

    @property
    def root(self) -> PageRef | None:
        """The tree of the datums."""
        return None if self.datums is None else self.datums.readable_root

    @property
    def is_undescribed(self) -> bool:
        """Whether nothing tells any more which datum made which file of the head."""
        return self.head is not None and self.datums is None

    @property
    def state_id(self) -> str:
        """The ID that the head shares with its datums; empty if there is none."""
        return "" if self.head is None else str(self.head.metadata.get(STATE_KEY, ""))


def find_output(backend: Backend, branch: BranchRef) -> OutputState:
    """Return the state of an output branch; one that does not exist yet is empty.

    Raises:
        RepoNotFoundError: Its repo was deleted or renamed. Restore it, or name another output.
        InvalidInputError: Its head was not made by a pipeline. Reset it to one that was, or choose another branch.

    Cost: 2 SELECTs; after a reset and on a new branch also 1 that reads the commits of the datum tree.
    """
    with backend.catalog.look_up() as connection:
        head = _head_of(connection, branch)
        if head is None:
            return OutputState(branch, None, None)
        state_id = str(head.metadata.get(STATE_KEY, ""))
        if not state_id:
            msg = (
                f"no pipeline made the commit {head.id} at the head of {branch}: "
                f"reset the branch to a commit of its pipeline, or name another output"
            )
            raise InvalidInputError(msg)
        name = find_system_repo(connection, branch.repo, RepoKind.DATUMS)
        if name is None:
            return OutputState(branch, head, None)
        own = branch_heads(connection, name).get(branch.branch)
        datums = None if own is None else get_commit(connection, own)
        if datums is None or datums.metadata.get(STATE_KEY) != state_id:
            found = find_commit_with(connection, name, state_id)
            datums = None if found is None else get_commit(connection, found)
        return OutputState(branch, head, datums)


def _head_of(connection: AnyConnection, branch: BranchRef) -> Commit | None:
    try:
        return find_head(connection, branch)[1]
    except RefNotFoundError:
        return None
    except RepoNotFoundError as error:
        if error.was_there:  # somebody would look for its history in a new repo
            raise
        return None


def ensure_output(backend: Backend, branch: BranchRef) -> None:
    """Create the repo and the empty branch of an output where they are missing.

    Raises:
        RepoNotFoundError: The repo was deleted or renamed. Restore it, or name another output.
        ExistsError: A tag has the name of the branch. Choose another output.

    Cost: 2 SELECTs; for each that is missing 1 SQL transaction and 1 PUT.
    """
    try:
        with backend.catalog.look_up() as connection:
            find_repo_id(connection, branch.repo)
    except RepoNotFoundError as error:
        if error.was_there:
            raise
        with suppress(ExistsError):  # another run was faster
            create_repo(backend, branch.repo, "")
    if not _has_branch(backend, branch):
        try:
            create_branch(backend, branch, None)
        except ExistsError:
            if not _has_branch(backend, branch):
                raise


def _has_branch(backend: Backend, branch: BranchRef) -> bool:
    with backend.catalog.look_up() as connection:
        return branch.branch in branch_heads(connection, branch.repo)


def settle_datum_branch(backend: Backend, state: OutputState) -> BranchRef:
    """Make the branch of the datum tree point at the datums of *state*, and return it.

    Cost: 2 SELECTs; after a reset and on a new branch also 1 SQL transaction and 1 PUT.
    """
    ref = ensure_system_branch(backend, state.branch.repo, RepoKind.DATUMS, state.branch.branch)
    with backend.catalog.look_up() as connection:
        head = branch_heads(connection, ref.repo)[ref.branch]
        commit = None if head is None else get_commit(connection, head)
    if head != (None if state.datums is None else state.datums.id):
        if commit is not None:
            _keep(backend, ref.repo, commit)
        move_branch(backend, ref, state.datums, reason="the output was moved")
    return ref


def _keep(backend: Backend, repo: str, datums: Commit) -> None:
    """Name the datums of a state that the output may have again: a tag or another branch may hold it."""
    kept = BranchRef(repo, f"kept/{datums.id}")
    with backend.catalog.look_up() as connection:
        is_kept = kept.branch in branch_heads(connection, repo)
    if not is_kept:
        create_branch(backend, kept, datums)
