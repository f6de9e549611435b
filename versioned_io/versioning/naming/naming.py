"""Creating, moving and deleting repos, branches and tags; each change is also recorded in the journal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, select

from versioned_io.catalog import repos as catalog
from versioned_io.catalog.commits import get_commit
from versioned_io.catalog.idempotency import rename_branch_in_keys
from versioned_io.catalog.renamed import recorded_name_of
from versioned_io.catalog.repo_rows import BranchRow, branch_heads, find_branch, find_repo_id, find_system_repo
from versioned_io.errors import InvalidInputError, RefNotFoundError
from versioned_io.model.commits import BranchInfo, Commit, JSONValue, RepoInfo
from versioned_io.model.identifiers import CommitId
from versioned_io.model.journal import Action, JournalEntry
from versioned_io.model.refs import DEFAULT_BRANCH, BranchRef
from versioned_io.model.repo_kinds import RepoKind, name_system_repo
from versioned_io.model.retention import RetentionRule
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.backend.journaling import append_entry

Allowed = Callable[[Connection, BranchRow], None]
"""A check that raises if a branch in its present state may not be changed."""


def create_repo(backend: Backend, name: str, description: str) -> RepoInfo:
    """Create the repo *name* with an empty branch `main`, and return it.

    Raises:
        ExistsError: There is a repo of this name. Choose another name.

    Cost: 1 PUT, 1 SQL transaction.
    """
    with backend.catalog.write() as connection:
        now = backend.clock()
        repo_id = catalog.insert_repo(connection, name, description, now)
        entry = JournalEntry(name, DEFAULT_BRANCH, Action.CREATE_REPO, details={"description": description})
        catalog.set_epoch(connection, repo_id, DEFAULT_BRANCH, append_entry(connection, backend.objects, entry, now))
    return RepoInfo(name, description, now, branches=(BranchInfo(name, DEFAULT_BRANCH, None, 0),))


def ensure_system_branch(backend: Backend, owner: str, kind: RepoKind, branch: str) -> BranchRef:
    """Return a branch of the system repo of *owner*; the repo and the empty branch are created if they are missing.

    Raises:
        RepoNotFoundError: The repo *owner* does not exist.

    Cost: 2 SELECTs; the first time 1 SQL transaction and 1 or 2 PUTs.
    """
    with backend.catalog.read() as connection:
        name = find_system_repo(connection, owner, kind)
        if name is not None and branch in branch_heads(connection, name):
            return BranchRef(name, branch)
    with backend.catalog.write() as connection:
        catalog.hold_repo_of_name(connection, owner)  # of two callers at once, the second finds what the first made
        name = find_system_repo(connection, owner, kind) or _create_system_repo(connection, backend, owner, kind)
        ref = BranchRef(name, branch)
        if branch not in branch_heads(connection, name):
            repo_id = catalog.insert_branch(connection, ref, None)
            entry = JournalEntry(name, branch, Action.CREATE_BRANCH)
            sequence = append_entry(connection, backend.objects, entry, backend.clock())
            catalog.set_epoch(connection, repo_id, branch, sequence)
    return ref


def _create_system_repo(connection: Connection, backend: Backend, owner: str, kind: RepoKind) -> str:
    owner_id = find_repo_id(connection, owner)
    recorded = connection.execute(select(recorded_name_of(owner))).scalar_one()
    name, now = name_system_repo(recorded, kind), backend.clock()
    repo_id = catalog.insert_repo(connection, name, "", now, kind=kind, owner_id=owner_id)
    details: dict[str, JSONValue] = {"description": "", "kind": kind.value, "owner": recorded}
    entry = JournalEntry(name, DEFAULT_BRANCH, Action.CREATE_REPO, details=details)
    catalog.set_epoch(connection, repo_id, DEFAULT_BRANCH, append_entry(connection, backend.objects, entry, now))
    return name


def create_branch(backend: Backend, ref: BranchRef, at: Commit | None) -> None:
    """Create the branch *ref* at a commit, or empty.

    Raises:
        ExistsError: There is a branch or a tag of this name. Choose another name.
        RepoNotFoundError: The repo does not exist.
        CommitForgottenError: The commit's data has expired. Use another commit.

    Cost: 1 PUT, 1 SQL transaction.
    """
    with backend.catalog.write() as connection:
        head = None if at is None else catalog.hold_commit(connection, at.id)
        repo_id = catalog.insert_branch(connection, ref, head)
        entry = JournalEntry(ref.repo, ref.branch, Action.CREATE_BRANCH, new=head)
        sequence = append_entry(connection, backend.objects, entry, backend.clock())
        catalog.set_epoch(connection, repo_id, ref.branch, sequence)


def create_tag(backend: Backend, ref: BranchRef, at: Commit) -> None:
    """Create the tag *ref* at a commit; a tag never moves.

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
    """Delete a tag, and return the commit that it pointed at.

    Raises:
        RepoNotFoundError, RefNotFoundError: The tag does not exist.

    Cost: 1 PUT, 1 SQL transaction.
    """
    with backend.catalog.write() as connection:
        commit_id = catalog.remove_tag(connection, ref)
        entry = JournalEntry(ref.repo, ref.branch, Action.DELETE_TAG, old=commit_id)
        append_entry(connection, backend.objects, entry, backend.clock())
    return commit_id


def delete_branch(backend: Backend, ref: BranchRef, *, force: bool) -> CommitId | None:
    """Delete a branch, and return its head. Its commits stay until garbage collection expires them.

    Raises:
        RepoNotFoundError, RefNotFoundError: The branch does not exist.
        InvalidInputError: The branch is protected; or subscriptions or other branches follow it, or it is the repo's
            only branch, and *force* is false. An only branch without a commit is never deleted: no other branch could
            begin.

    Cost: 1 PUT, 1 SQL transaction.
    """
    from versioned_io.catalog.subscriptions import delete_subscriptions, names_of_subscriptions
    from versioned_io.catalog.trigger_rows import followers_of, remove_triggers_with

    with held_branch(backend, ref, "delete") as (connection, row):
        _refuse_only_branch(connection, row, force=force)
        followers = names_of_subscriptions(connection, row.id)
        if followers and not force:
            names = ", ".join(map(repr, followers[:5]))
            msg = f"can't delete {ref}: subscriptions follow it ({names}); pass force=True to delete them with it"
            raise InvalidInputError(msg)
        branches = followers_of(connection, row.id)
        if branches and not force:
            names = ", ".join(branches[:5])
            msg = f"can't delete {ref}: {names} follows it by a trigger; pass force=True to end that with it"
            raise InvalidInputError(msg)
        delete_subscriptions(connection, row.id)
        remove_triggers_with(connection, row.id)
        catalog.remove_branch(connection, row.id)
        entry = JournalEntry(ref.repo, ref.branch, Action.DELETE_BRANCH, old=row.head)
        append_entry(connection, backend.objects, entry, backend.clock())
    return row.head


def _refuse_only_branch(connection: Connection, row: BranchRow, *, force: bool) -> None:
    """Raise where a repo would have no branch: git does not delete the branch that HEAD names, either."""
    if (force and row.head is not None) or len(catalog.branches_of(connection, row.repo_id)) > 1:
        return
    hint = "" if row.head is None else "; force=True (--force) deletes the branch all the same"
    msg = (
        f"can't delete {row.ref}: it is the only branch of the repo; create another one first, "
        f"or delete the repo with `versioned repo delete {row.ref.repo}`{hint}"
    )
    raise InvalidInputError(msg)


def rename_branch(backend: Backend, ref: BranchRef, to: BranchRef) -> BranchInfo:
    """Rename a branch, and return it. Its subscriptions stay with it.

    Raises:
        RepoNotFoundError, RefNotFoundError: The branch does not exist.
        ExistsError: There is a branch or a tag of the new name. Choose another name.
        InvalidInputError: The branch is protected.

    Cost: 1 PUT, 1 SQL transaction; 1 UPDATE for each idempotency key of its transactions.
    """
    with held_branch(backend, ref, "rename") as (connection, row):
        catalog.change_name(connection, row, to)
        rename_branch_in_keys(connection, ref, to)
        entry = JournalEntry(ref.repo, ref.branch, Action.RENAME_BRANCH, row.head, row.head, {"to": to.branch})
        sequence = append_entry(connection, backend.objects, entry, backend.clock())
        catalog.set_epoch(connection, row.repo_id, to.branch, sequence)
        number = 0 if row.head is None else get_commit(connection, row.head).number
    return BranchInfo(to.repo, to.branch, row.head, number)


def protect_branch(backend: Backend, ref: BranchRef, *, is_protected: bool) -> None:
    """Protect a branch, or lift its protection.

    A protected branch can't be deleted, renamed, reset or squashed, and its head can't be dropped.

    Raises:
        RepoNotFoundError, RefNotFoundError: The branch does not exist.

    Cost: 1 PUT, 1 SQL transaction.
    """
    with backend.catalog.write() as connection:
        row = catalog.lock_branch(connection, find_branch(connection, ref))
        catalog.set_protected(connection, row.id, is_protected=is_protected)
        entry = JournalEntry(
            ref.repo, ref.branch, Action.PROTECT_BRANCH, row.head, row.head, {"is_protected": is_protected}
        )
        append_entry(connection, backend.objects, entry, backend.clock())


def retention_of(backend: Backend, ref: BranchRef) -> RetentionRule | None:
    """Return the retention rule of a branch, or None.

    Raises:
        RepoNotFoundError, RefNotFoundError: The branch does not exist.

    Cost: 2 SELECTs.
    """
    with backend.catalog.read() as connection:
        text = catalog.get_retention(connection, find_branch(connection, ref).id)
    return None if text is None else RetentionRule.from_json(text)


def set_retention(backend: Backend, ref: BranchRef, rule: RetentionRule | None) -> None:
    """Set the rule for how much of a branch's history garbage collection keeps; None keeps all of it.

    Raises:
        RepoNotFoundError, RefNotFoundError: The branch does not exist.

    Cost: 1 PUT, 1 SQL transaction.
    """
    text = None if rule is None else rule.to_json()
    with backend.catalog.write() as connection:
        row = catalog.lock_branch(connection, find_branch(connection, ref))
        catalog.set_retention(connection, row.id, text)
        entry = JournalEntry(ref.repo, ref.branch, Action.SET_RETENTION, row.head, row.head, {"rule": text})
        append_entry(connection, backend.objects, entry, backend.clock())


def move_branch(
    backend: Backend, ref: BranchRef, to: Commit | None, *, reason: str, check: Allowed | None = None
) -> CommitId | None:
    """Move an existing branch to another commit, and return its old head, which the journal records too.

    Args:
        check: Called with the branch locked; raises if the branch in its present state may not move.

    Raises:
        RepoNotFoundError, RefNotFoundError: The branch does not exist.
        InvalidInputError: The branch is protected.
        CommitForgottenError: The commit's data has expired. Use another commit.

    Cost: 1 PUT, 1 SQL transaction.
    """
    with held_branch(backend, ref, "move", needs_unprotected=check is None) as (connection, row):
        if check is not None:
            check(connection, row)
        head = None if to is None else catalog.hold_commit(connection, to.id)
        entry = JournalEntry(ref.repo, ref.branch, Action.MOVE_BRANCH, row.head, head, {"reason": reason})
        sequence = append_entry(connection, backend.objects, entry, backend.clock())
        catalog.set_head(connection, row.id, head, sequence)
    return row.head


def drop_head(backend: Backend, ref: BranchRef) -> Commit:
    """Move a branch back by one commit, expire that commit's data, and return it. Its record and lineage stay.

    Raises:
        RepoNotFoundError, RefNotFoundError: The branch does not exist.
        InvalidInputError: The branch is protected or has no commit, or another name, commit or consumer needs the
            commit. Reset the branch instead.
        CommitForgottenError: The data of the commit before has expired.

    Cost: 1 PUT, 1 SQL transaction that scans every commit of the repo.
    """
    from versioned_io.catalog.collection import forget_commits

    with held_branch(backend, ref, "drop the head of") as (connection, row):
        if row.head is None:
            msg = f"can't drop the head of {ref}: the branch has no commit"
            raise InvalidInputError(msg)
        # Locked, so that no new name, commit or cursor can point at it before the transaction ends.
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
        # Here, since a read that fails afterwards would be taken for a drop that failed.
        return get_commit(connection, head)


def head_of(backend: Backend, ref: BranchRef) -> tuple[BranchRow, Commit | None]:
    """Return a branch and its head. Cost: 3 SELECTs."""
    with backend.catalog.read() as connection:
        row = find_branch(connection, ref)
        return row, None if row.head is None else get_commit(connection, row.head)


@contextmanager
def held_branch(
    backend: Backend, ref: BranchRef, action: str, *, needs_unprotected: bool = True
) -> Iterator[tuple[Connection, BranchRow]]:
    """Yield a writing connection and the locked branch; raise if it is protected."""
    with backend.catalog.write() as connection:
        row = catalog.lock_branch(connection, find_branch(connection, ref))
        if row.ref != ref:
            raise RefNotFoundError(ref.repo, ref.branch, reason="the branch was renamed meanwhile")
        if needs_unprotected and catalog.is_protected(connection, row.id):
            msg = f"can't {action} {ref}: the branch is protected; lift that first with protect_branch(..., False)"
            raise InvalidInputError(msg)
        yield connection, row
