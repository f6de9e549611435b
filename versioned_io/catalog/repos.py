"""The names in a store: repos, and their branches and tags."""

import re
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError as DuplicateRowError

from versioned_io.catalog.renamed import RECORDED_NAME
from versioned_io.catalog.repo_rows import BranchRow, find_repo_id, present_name_of
from versioned_io.catalog.row_ids import reserve_id
from versioned_io.catalog.tables import branches, commits, due_keys, repos, subscriptions, tags
from versioned_io.errors import (
    CommitForgottenError,
    ExistsError,
    InvalidInputError,
    RefNotFoundError,
    RefSyntaxError,
)
from versioned_io.model.commits import CommitState
from versioned_io.model.identifiers import CommitId
from versioned_io.model.refs import DEFAULT_BRANCH, BranchRef
from versioned_io.model.repo_kinds import RepoKind

_SHOWN_NAMES = 10
_HEXADECIMAL: Final = re.compile(r"[0-9a-f]{4,31}")
_THIS_CENTURY: Final = ("01", "02")

# Each statement is built once, with bound parameters: building one takes as long as running it.
_BRANCH: Final = (
    select(
        branches.c.repo_id,
        branches.c.head_id,
        branches.c.epoch,
        branches.c.name,
        repos.c.name.label("repo"),
        repos.c.recorded_name,
        repos.c.kind,
        select(func.max(commits.c.order)).scalar_subquery().label("latest"),
    )
    .join(repos, repos.c.id == branches.c.repo_id)
    .where(branches.c.id == bindparam("branch"))
)
_LOCK_BRANCH: Final = select(branches.c.id).where(branches.c.id == bindparam("branch")).with_for_update()


def insert_repo(
    connection: Connection,
    name: str,
    description: str,
    now: datetime,
    *,
    kind: RepoKind = RepoKind.USER,
    owner_id: int | None = None,
) -> int:
    """Create the repo *name* with an empty branch `main`, and return its key.

    A deleted repo of this name is reused, with no history on its branch. Its old commits stay under the name, since
    lineage refers to them.

    Raises:
        ExistsError: There is a repo of this name. Choose another name.
        InvalidInputError: A repo had this name before it was renamed. Use that repo, or choose another name.

    Cost: 1 UPDATE, 1 SELECT, 2 INSERTs.
    """
    begun = update(repos).where(repos.c.name == name, repos.c.deleted_at.is_not(None))
    begun = begun.values(description=description, created_at=now, deleted_at=None, kind=kind.value, owner_id=owner_id)
    again = connection.execute(begun.returning(repos.c.id)).scalar_one_or_none()
    if again is not None:
        connection.execute(
            insert(branches).values(
                **reserve_id(connection, branches), repo_id=again, name=DEFAULT_BRANCH, head_id=None
            )
        )
        return int(again)
    try:
        with connection.begin_nested():
            made = insert(repos).values(
                name=name, description=description, created_at=now, kind=kind.value, owner_id=owner_id
            )
            repo_id = int(connection.execute(made.returning(repos.c.id)).scalar_one())
    except DuplicateRowError:
        raise ExistsError("repo", name) from None
    _refuse_former_name(connection, name)  # after the INSERT: a renaming may have committed while it waited
    connection.execute(
        insert(branches).values(**reserve_id(connection, branches), repo_id=repo_id, name=DEFAULT_BRANCH, head_id=None)
    )
    return repo_id


def _refuse_former_name(connection: Connection, name: str) -> None:
    """Raise when *name* is the former name of another repo: callers that still use it would reach the wrong repo."""
    present = present_name_of(connection, name)
    if present:
        msg = f"the repo {present!r} was called {name!r} before it was renamed: use it, or choose another name"
        raise InvalidInputError(msg)


def hold_repo_of_name(connection: Connection, name: str) -> int:
    """Lock the repo *name* as `hold_repo` does, and return its key.

    Raises:
        RepoNotFoundError: The repo does not exist, or it was renamed or deleted at this moment.

    Cost: 2 SELECTs.
    """
    repo_id = find_repo_id(connection, name)
    held = select(repos.c.name, repos.c.deleted_at).where(repos.c.id == repo_id).with_for_update(key_share=True)
    row = connection.execute(held).one()
    return repo_id if tuple(row) == (name, None) else find_repo_id(connection, name)


def rename_repo(connection: Connection, repo_id: int, to: str) -> None:
    """Rename a repo. Its recorded name, in its packs, stays.

    Raises:
        ExistsError: There is a repo of this name. Choose another name.
        InvalidInputError: A deleted repo has this name. Choose another name.

    Cost: 1 UPDATE, 1 SELECT.
    """
    values = {"name": to, "recorded_name": func.nullif(RECORDED_NAME, to)}
    try:
        with connection.begin_nested():
            renamed = update(repos).where(repos.c.id == repo_id, repos.c.name != to).values(**values)
            if connection.execute(renamed.returning(repos.c.id)).one_or_none() is None:
                raise ExistsError("repo", to)  # the repo already has this name
    except DuplicateRowError:
        query = select(repos.c.deleted_at).where(repos.c.name == to)
        if connection.execute(query).scalar_one_or_none() is None:
            raise ExistsError("repo", to) from None
        msg = (
            f"{to!r} is the name of a deleted repo, which `versioned repo restore` may bring back: choose another name"
        )
        raise InvalidInputError(msg) from None


def hold_repo(connection: Connection, repo_id: int) -> None:
    """Lock the repo until the transaction ends: nobody creates, renames or deletes a name in it. Cost: 1 SELECT."""
    # A weaker lock than for deleting the row, because commits under way refer to it.
    connection.execute(select(repos.c.id).where(repos.c.id == repo_id).with_for_update(key_share=True))


def delete_repo(connection: Connection, repo_id: int, now: datetime) -> None:
    """Mark a repo without branches and tags as deleted. Its commits stay. Cost: 1 UPDATE."""
    connection.execute(update(repos).where(repos.c.id == repo_id).values(deleted_at=now))


def branches_of(connection: Connection, repo_id: int) -> list[BranchRow]:
    """Lock the branches of a repo, in the order that every transaction uses, and return them. Cost: 1 SELECT."""
    found = connection.execute(
        select(branches.c.id, branches.c.name, branches.c.head_id, branches.c.epoch, repos.c.name.label("repo"))
        .join(repos, repos.c.id == branches.c.repo_id)
        .where(branches.c.repo_id == repo_id)
        .order_by(branches.c.id)
        .with_for_update(of=branches)
    )
    return [BranchRow(row.id, repo_id, BranchRef(row.repo, row.name), row.head_id, row.epoch) for row in found]


def lock_branch(connection: Connection, branch: BranchRow, *, wait: bool = True) -> BranchRow:
    """Return a branch and its present head; lock it until the transaction ends, unless *wait* is false.

    PostgreSQL locks the row. On SQLite a writing transaction already holds the whole catalog.

    Raises:
        RefNotFoundError: The branch was deleted meanwhile.

    Cost: 1 SELECT; with *wait* on PostgreSQL 2.
    """
    if wait:
        wait_for_branch(connection, branch.id)
    # A second statement: one that waits for a lock still sees the other tables as they were before it waited.
    row = connection.execute(_BRANCH, {"branch": branch.id}).one_or_none()
    if row is None:
        raise RefNotFoundError(branch.ref.repo, branch.ref.branch, reason="the branch was deleted meanwhile")
    ref, recorded = BranchRef(row.repo, row.name), row.recorded_name or ""
    kind = RepoKind(row.kind)
    return BranchRow(branch.id, row.repo_id, ref, row.head_id, row.epoch, row.latest or 0, recorded, kind)


def wait_for_branch(connection: Connection, branch_id: int) -> None:
    """Wait until no other transaction holds the branch, and lock it if it still exists.

    Cost: 1 SELECT on PostgreSQL. On SQLite a writing transaction already holds the whole catalog.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(_LOCK_BRANCH, {"branch": branch_id}).one_or_none()


def hold_commit(connection: Connection, commit_id: CommitId) -> CommitId:
    """Lock a commit and return its ID, so that a new name may point at it: its data can't expire meanwhile.

    Raises:
        CommitForgottenError: Its data has expired. Use another commit.

    Cost: 1 SELECT; 1 statement more on PostgreSQL.
    """
    if connection.dialect.name == "postgresql":
        # Names before commits, as in `hold_names`, since expiry locks both.
        connection.execute(text("LOCK TABLE branches, tags IN ROW EXCLUSIVE MODE"))
    query = select(commits.c.state).where(commits.c.id == commit_id).with_for_update()
    if connection.execute(query).scalar_one() != CommitState.LIVE:
        raise CommitForgottenError(commit_id)
    return commit_id


def parent_of(connection: Connection, commit_id: CommitId) -> CommitId | None:
    """Return the parent of a commit, or None. Cost: 1 SELECT."""
    found: CommitId | None = connection.execute(
        select(commits.c.parent_id).where(commits.c.id == commit_id)
    ).scalar_one()
    return found


def dependents_of(connection: Connection, row: BranchRow, commit_id: CommitId) -> list[str]:
    """Return descriptions of everything but the branch *row* that needs a commit's data: names, commits, consumers.

    Cost: 6 SELECTs, one of which scans every commit of the repo.
    """
    is_live = (commits.c.repo_id == row.repo_id) & (commits.c.state == CommitState.LIVE)
    others = (branches.c.head_id == commit_id) & (branches.c.id != row.id)
    due = (due_keys.c.commit_id == commit_id) | (due_keys.c.done_commit_id == commit_id)
    queries = {
        "the branch": select(branches.c.name).where(others),
        "the tag": select(tags.c.name).where(tags.c.commit_id == commit_id),
        "the later commit": select(commits.c.id).where(is_live, commits.c.parent_id == commit_id),
        "the merge": select(commits.c.id).where(is_live, commits.c.merged_id == commit_id),
        "the cursor of the subscription": select(subscriptions.c.name).where(subscriptions.c.cursor_id == commit_id),
        "a due key of the subscription": select(subscriptions.c.name)
        .join(due_keys, due_keys.c.subscription_id == subscriptions.c.id)
        .where(due)
        .distinct(),
    }
    found: list[str] = []
    for kind, query in queries.items():
        found += [f"{kind} {name!r}" for name in connection.execute(query.limit(_SHOWN_NAMES)).scalars()]
    return found


def set_epoch(connection: Connection, repo_id: int, branch: str, epoch: int) -> None:
    """Record the number of the journal entry that set a branch to its present head.

    Cost: 1 UPDATE.
    """
    connection.execute(
        update(branches).where(branches.c.repo_id == repo_id, branches.c.name == branch).values(epoch=epoch)
    )


def insert_branch(connection: Connection, ref: BranchRef, head: CommitId | None) -> int:
    """Create the branch *ref* at *head*, and return the repo's key. No data is copied.

    Raises:
        ExistsError: There is a branch or a tag of this name. Choose another name.
        RepoNotFoundError: The repo does not exist.

    Cost: 4 SELECTs, 1 INSERT.
    """
    repo_id = find_repo_id(connection, ref.repo)
    _refuse_taken_name(connection, repo_id, ref)
    connection.execute(
        insert(branches).values(**reserve_id(connection, branches), repo_id=repo_id, name=ref.branch, head_id=head)
    )
    return repo_id


def insert_tag(connection: Connection, ref: BranchRef, commit_id: CommitId, now: datetime) -> None:
    """Create the tag *ref* at a commit; a tag never moves.

    Raises:
        ExistsError: There is a branch or a tag of this name. Choose another name.
        RepoNotFoundError: The repo does not exist.

    Cost: 4 SELECTs, 1 INSERT.
    """
    repo_id = find_repo_id(connection, ref.repo)
    _refuse_taken_name(connection, repo_id, ref)
    connection.execute(insert(tags).values(repo_id=repo_id, name=ref.branch, commit_id=commit_id, created_at=now))


def remove_tag(connection: Connection, ref: BranchRef) -> CommitId:
    """Delete the tag *ref*, and return the commit that it pointed at.

    Raises:
        RepoNotFoundError, RefNotFoundError: The tag does not exist.

    Cost: 1 SELECT, 1 DELETE.
    """
    repo_id = find_repo_id(connection, ref.repo)
    removed = delete(tags).where(tags.c.repo_id == repo_id, tags.c.name == ref.branch).returning(tags.c.commit_id)
    found = connection.execute(removed).scalar_one_or_none()
    if found is None:
        raise RefNotFoundError(ref.repo, ref.branch, reason="there is no such tag")
    return CommitId(found)


def remove_branch(connection: Connection, branch_id: int) -> None:
    """Delete a branch that has no subscriptions any more. Cost: 1 DELETE."""
    connection.execute(delete(branches).where(branches.c.id == branch_id))


def change_name(connection: Connection, row: BranchRow, to: BranchRef) -> None:
    """Rename a branch to *to*.

    Raises:
        ExistsError: There is a branch or a tag of this name. Choose another name.

    Cost: 3 SELECTs, 1 UPDATE.
    """
    _refuse_taken_name(connection, row.repo_id, to)
    connection.execute(update(branches).where(branches.c.id == row.id).values(name=to.branch))


def set_head(connection: Connection, branch_id: int, head: CommitId | None, epoch: int) -> None:
    """Set the head of a branch, and *epoch*, the number of the journal entry that did it. Cost: 1 UPDATE."""
    connection.execute(update(branches).where(branches.c.id == branch_id).values(head_id=head, epoch=epoch))


def set_protected(connection: Connection, branch_id: int, *, is_protected: bool) -> None:
    """Set whether a branch is protected: a protected branch only gets new commits. Cost: 1 UPDATE."""
    connection.execute(update(branches).where(branches.c.id == branch_id).values(is_protected=is_protected))


def get_retention(connection: Connection, branch_id: int) -> str | None:
    """Return the retention rule of a branch as JSON, if it has one. Cost: 1 SELECT."""
    rule: str | None = connection.execute(select(branches.c.retention).where(branches.c.id == branch_id)).scalar_one()
    return rule


def set_retention(connection: Connection, branch_id: int, rule: str | None) -> None:
    """Set the retention rule of a branch, as JSON, or delete it with None. Cost: 1 UPDATE."""
    connection.execute(update(branches).where(branches.c.id == branch_id).values(retention=rule))


def is_protected(connection: Connection, branch_id: int) -> bool:
    """Return whether a branch is protected: a protected branch only gets new commits. Cost: 1 SELECT."""
    return bool(connection.execute(select(branches.c.is_protected).where(branches.c.id == branch_id)).scalar_one())


def _refuse_beginning_of_id(connection: Connection, repo_id: int, ref: BranchRef) -> None:
    """Raise when a name would hide commits, because it is or may become the beginning of a commit ID.

    IDs begin with the time. So "01a2" can be the beginning of an ID, and "2026" can't for about 900 years.
    """
    if _HEXADECIMAL.fullmatch(ref.branch) is None:
        return
    found: str | None = None
    for column in (commits.c.id, commits.c.lineage_id):
        begins = (column >= ref.branch) & (column < f"{ref.branch}g")
        found = (
            found or connection.execute(select(column).where(commits.c.repo_id == repo_id, begins)).scalars().first()
        )
    if found is not None or ref.branch.startswith(_THIS_CENTURY):
        reason = f"it is the beginning of the ID {found}" if found else "IDs of commits begin so"
        raise RefSyntaxError(str(ref), f"a branch or tag can't be named {ref.branch!r}: {reason}")


def _refuse_taken_name(connection: Connection, repo_id: int, ref: BranchRef) -> None:
    _refuse_beginning_of_id(connection, repo_id, ref)
    # The repo is locked: of two transactions that create the same name at once, the second finds it taken.
    connection.execute(select(repos.c.id).where(repos.c.id == repo_id).with_for_update())
    for kind, table in (("branch", branches), ("tag", tags)):
        query = select(table.c.name).where(table.c.repo_id == repo_id, table.c.name == ref.branch)
        if connection.execute(query).one_or_none() is not None:
            raise ExistsError(kind, str(ref))
