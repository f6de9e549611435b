"""The names in a store: repos, their branches and tags."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError as DuplicateRowError

from versioned_io.catalog.tables import branches, commits, due_keys, repos, subscriptions, tags
from versioned_io.catalog.values import BranchInfo, CommitState, RepoInfo
from versioned_io.errors import CommitForgottenError, ExistsError, RefNotFoundError, RepoNotFoundError
from versioned_io.identifiers import CommitId
from versioned_io.refs import DEFAULT_BRANCH, BranchRef

_SHOWN_NAMES = 10

# Made once, with names where the values go: to make a statement anew takes as long as to run it.
_BRANCH_BY_NAME: Final = (
    select(branches.c.id, branches.c.repo_id, branches.c.head_id, branches.c.epoch)
    .join(repos, repos.c.id == branches.c.repo_id)
    .where(repos.c.name == bindparam("repo"), branches.c.name == bindparam("branch"))
)
_BRANCH: Final = (
    select(branches.c.repo_id, branches.c.head_id, branches.c.epoch, branches.c.name, repos.c.name.label("repo"))
    .join(repos, repos.c.id == branches.c.repo_id)
    .where(branches.c.id == bindparam("branch"))
)
_LOCKED_BRANCH: Final = _BRANCH.with_for_update(of=branches)


TAG_STAYS: Final = "that is a tag, which stays at its commit: name a branch"


@dataclass(frozen=True, slots=True)
class BranchRow:
    """A branch as the catalog keys it, with its head at one moment."""

    id: int
    repo_id: int
    ref: BranchRef
    head: CommitId | None
    epoch: int = 0


def find_repo_id(connection: Connection, name: str) -> int:
    """Return the key of the repo *name*.

    Raises:
        RepoNotFoundError: There is none; the error names those that exist.

    Cost: 1 SELECT.
    """
    found = connection.execute(select(repos.c.id).where(repos.c.name == name)).scalar_one_or_none()
    if found is None:
        known = connection.execute(select(repos.c.name).order_by(repos.c.name).limit(_SHOWN_NAMES)).scalars()
        raise RepoNotFoundError(name, tuple(known))
    return int(found)


def insert_repo(connection: Connection, name: str, description: str, now: datetime) -> int:
    """Make the repo *name* with an empty branch `main`, and return its key.

    Raises:
        ExistsError: There is one of this name.

    Cost: 2 INSERTs.
    """
    try:
        with connection.begin_nested():
            repo_id = int(
                connection.execute(
                    insert(repos).values(name=name, description=description, created_at=now).returning(repos.c.id)
                ).scalar_one()
            )
    except DuplicateRowError:
        raise ExistsError("repo", name) from None
    connection.execute(insert(branches).values(repo_id=repo_id, name=DEFAULT_BRANCH, head_id=None))
    return repo_id


def list_repos(connection: Connection, name: str | None = None) -> list[RepoInfo]:
    """Return the repos with their branches, sorted by name; only *name* if given.

    Cost: 1 SELECT.
    """
    query = (
        select(
            repos.c.name,
            repos.c.description,
            repos.c.created_at,
            branches.c.name,
            branches.c.head_id,
            commits.c.number,
            branches.c.is_protected,
        )
        .outerjoin_from(repos, branches, branches.c.repo_id == repos.c.id)
        .outerjoin(commits, commits.c.id == branches.c.head_id)
        .order_by(repos.c.name, branches.c.name)
    )
    if name is not None:
        query = query.where(repos.c.name == name)
    facts: dict[str, tuple[str, datetime]] = {}
    found: dict[str, list[BranchInfo]] = {}
    for repo, description, created_at, branch, head, number, is_protected in connection.execute(query):
        facts[repo] = (description, created_at)
        found.setdefault(repo, [])
        if branch is not None:
            found[repo].append(BranchInfo(repo, branch, head, number or 0, bool(is_protected)))
    return [RepoInfo(repo, *facts[repo], branches=tuple(found[repo])) for repo in found]


def find_branch(connection: Connection, ref: BranchRef) -> BranchRow:
    """Return the branch *ref* and its head now.

    Raises:
        RepoNotFoundError, RefNotFoundError: There is no such repo or branch; the error names those that exist.

    Cost: 1 SELECT; three more to say what exists instead.
    """
    row = connection.execute(_BRANCH_BY_NAME, {"repo": ref.repo, "branch": ref.branch}).one_or_none()
    if row is None:
        repo_id = find_repo_id(connection, ref.repo)
        named = branch_names(connection, repo_id)
        reason = TAG_STAYS if is_tag(connection, repo_id, ref.branch) else ""
        raise RefNotFoundError(ref.repo, ref.branch, named, reason)
    return BranchRow(row.id, row.repo_id, ref, row.head_id, row.epoch)


def is_tag(connection: Connection, repo_id: int, name: str) -> bool:
    """Say whether a repo has a tag of this name. Cost: 1 SELECT."""
    query = select(tags.c.name).where(tags.c.repo_id == repo_id, tags.c.name == name)
    return connection.execute(query).one_or_none() is not None


def lock_branch(connection: Connection, branch: BranchRow, *, wait: bool = True) -> BranchRow:
    """Return a branch and its head now, held until the transaction ends unless *wait* is false.

    SQLite's writers hold the whole catalog anyway; PostgreSQL locks the row.

    Raises:
        RefNotFoundError: The branch was deleted meanwhile.

    Cost: 1 SELECT.
    """
    row = connection.execute(_LOCKED_BRANCH if wait else _BRANCH, {"branch": branch.id}).one_or_none()
    if row is None:
        raise RefNotFoundError(branch.ref.repo, branch.ref.branch, reason="the branch was deleted meanwhile")
    return BranchRow(branch.id, row.repo_id, BranchRef(row.repo, row.name), row.head_id, row.epoch)


def branch_names(connection: Connection, repo_id: int) -> tuple[str, ...]:
    """Return the names of the first few branches of a repo, sorted."""
    query = select(branches.c.name).where(branches.c.repo_id == repo_id).order_by(branches.c.name).limit(_SHOWN_NAMES)
    return tuple(connection.execute(query).scalars())


def hold_commit(connection: Connection, commit_id: CommitId) -> CommitId:
    """Return *commit_id*, whose data can't be let go of before the transaction ends: a new name may point at it.

    Raises:
        CommitForgottenError: Its data was let go of.

    Cost: 1 SELECT.
    """
    query = select(commits.c.state).where(commits.c.id == commit_id).with_for_update()
    if connection.execute(query).scalar_one() != CommitState.LIVE:
        raise CommitForgottenError(commit_id)
    return commit_id


def parent_of(connection: Connection, commit_id: CommitId) -> CommitId | None:
    """Return the commit that a commit was made on. Cost: 1 SELECT."""
    found: CommitId | None = connection.execute(
        select(commits.c.parent_id).where(commits.c.id == commit_id)
    ).scalar_one()
    return found


def dependents_of(connection: Connection, row: BranchRow, commit_id: CommitId) -> list[str]:
    """Return what else than the branch *row* needs the data of a commit, each as words: names, commits, consumers.

    Cost: 6 SELECTs, one of which looks at every commit of the repo.
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
    """Note which entry of the journal set a branch to what it points at.

    Cost: 1 UPDATE.
    """
    connection.execute(
        update(branches).where(branches.c.repo_id == repo_id, branches.c.name == branch).values(epoch=epoch)
    )


def insert_branch(connection: Connection, ref: BranchRef, head: CommitId | None) -> int:
    """Make the branch *ref* point at *head*, and return the repo's key; no data is copied.

    Raises:
        ExistsError: There is a branch or a tag of this name.
        RepoNotFoundError: There is no such repo.

    Cost: 4 SELECTs, 1 INSERT.
    """
    repo_id = find_repo_id(connection, ref.repo)
    _refuse_taken_name(connection, repo_id, ref)
    connection.execute(insert(branches).values(repo_id=repo_id, name=ref.branch, head_id=head))
    return repo_id


def insert_tag(connection: Connection, ref: BranchRef, commit_id: CommitId, now: datetime) -> None:
    """Make the tag *ref* for a commit, for ever.

    Raises:
        ExistsError: There is a branch or a tag of this name.
        RepoNotFoundError: There is no such repo.

    Cost: 4 SELECTs, 1 INSERT.
    """
    repo_id = find_repo_id(connection, ref.repo)
    _refuse_taken_name(connection, repo_id, ref)
    connection.execute(insert(tags).values(repo_id=repo_id, name=ref.branch, commit_id=commit_id, created_at=now))


def remove_tag(connection: Connection, ref: BranchRef) -> CommitId:
    """Take the tag *ref* away and return what it named.

    Raises:
        RepoNotFoundError, RefNotFoundError: There is no such tag.

    Cost: 1 SELECT, 1 DELETE.
    """
    repo_id = find_repo_id(connection, ref.repo)
    removed = delete(tags).where(tags.c.repo_id == repo_id, tags.c.name == ref.branch).returning(tags.c.commit_id)
    found = connection.execute(removed).scalar_one_or_none()
    if found is None:
        raise RefNotFoundError(ref.repo, ref.branch, reason="there is no such tag")
    return CommitId(found)


def list_tags(connection: Connection, repo: str) -> list[tuple[str, CommitId]]:
    """Return the tags of a repo and what they name, sorted by name.

    Raises:
        RepoNotFoundError: There is no such repo.

    Cost: 2 SELECTs.
    """
    query = select(tags.c.name, tags.c.commit_id).where(tags.c.repo_id == find_repo_id(connection, repo))
    return [(row.name, CommitId(row.commit_id)) for row in connection.execute(query.order_by(tags.c.name))]


def remove_branch(connection: Connection, branch_id: int) -> None:
    """Take a branch away that nobody follows any more. Cost: 1 DELETE."""
    connection.execute(delete(branches).where(branches.c.id == branch_id))


def change_name(connection: Connection, row: BranchRow, to: BranchRef) -> None:
    """Give a branch the name *to*.

    Raises:
        ExistsError: There is a branch or a tag of this name.

    Cost: 3 SELECTs, 1 UPDATE.
    """
    _refuse_taken_name(connection, row.repo_id, to)
    connection.execute(update(branches).where(branches.c.id == row.id).values(name=to.branch))


def set_head(connection: Connection, branch_id: int, head: CommitId | None, epoch: int) -> None:
    """Make a branch point at *head*, by the journal's entry *epoch*. Cost: 1 UPDATE."""
    connection.execute(update(branches).where(branches.c.id == branch_id).values(head_id=head, epoch=epoch))


def set_protected(connection: Connection, branch_id: int, *, is_protected: bool) -> None:
    """Note whether a branch may only grow. Cost: 1 UPDATE."""
    connection.execute(update(branches).where(branches.c.id == branch_id).values(is_protected=is_protected))


def get_retention(connection: Connection, branch_id: int) -> str | None:
    """Return the retention rule of a branch as JSON, if it has one. Cost: 1 SELECT."""
    rule: str | None = connection.execute(select(branches.c.retention).where(branches.c.id == branch_id)).scalar_one()
    return rule


def set_retention(connection: Connection, branch_id: int, rule: str | None) -> None:
    """Note the retention rule of a branch, as JSON. Cost: 1 UPDATE."""
    connection.execute(update(branches).where(branches.c.id == branch_id).values(retention=rule))


def is_protected(connection: Connection, branch_id: int) -> bool:
    """Say whether a branch may only grow. Cost: 1 SELECT."""
    return bool(connection.execute(select(branches.c.is_protected).where(branches.c.id == branch_id)).scalar_one())


def _refuse_taken_name(connection: Connection, repo_id: int, ref: BranchRef) -> None:
    # The repo is held, so that of two who make the same name at once the second finds it taken.
    connection.execute(select(repos.c.id).where(repos.c.id == repo_id).with_for_update())
    for kind, table in (("branch", branches), ("tag", tags)):
        query = select(table.c.name).where(table.c.repo_id == repo_id, table.c.name == ref.branch)
        if connection.execute(query).one_or_none() is not None:
            raise ExistsError(kind, str(ref))
