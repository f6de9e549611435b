"""The names in a store as they are read, in plain SQL: repos, their branches and tags."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from versioned_io.catalog.plain import AnyConnection, one_row, only_row, rows
from versioned_io.catalog.values import as_time
from versioned_io.errors import IntegrityError, RefNotFoundError, RepoNotFoundError
from versioned_io.model.commits import BranchInfo, RepoInfo
from versioned_io.model.identifiers import CommitId
from versioned_io.model.journal import Action
from versioned_io.model.refs import BranchRef
from versioned_io.model.repo_kinds import RepoKind

RECORDED_NAME_OF: Final = "(SELECT coalesce(r.recorded_name, r.name) FROM repos r WHERE r.name = :repo)"
"""The name by which records and the journal call the repo ``:repo``; NULL if there is none."""

TAG_STAYS: Final = "that is a tag, which stays at its commit: name a branch"

_SHOWN_NAMES: Final = 10


@dataclass(frozen=True, slots=True)
class BranchRow:
    """A branch with its keys in the catalog, and its head at one moment.

    Attributes:
        latest: The highest order of any commit at that moment; set only when the branch is looked up for a commit.
        recorded_repo: The name of the repo in packs; empty if that is its present name.
    """

    id: int
    repo_id: int
    ref: BranchRef
    head: CommitId | None
    epoch: int = 0
    latest: int = 0
    recorded_repo: str = ""
    kind: RepoKind = RepoKind.USER


def find_repo_id(connection: AnyConnection, name: str) -> int:
    """Return the key of the repo *name*.

    Raises:
        RepoNotFoundError: There is no such repo; the error names those that exist.

    Cost: 1 SELECT.
    """
    found = one_row(rows(connection, "SELECT id, deleted_at FROM repos WHERE name = :name", name=name))
    if found is not None and found[1] is None:
        return int(found[0])
    deleted = "" if found is None else as_time(found[1]).isoformat(timespec="seconds")
    renamed = "" if deleted else present_name_of(connection, name)
    query = "SELECT name FROM repos WHERE deleted_at IS NULL AND kind = 'user' ORDER BY name LIMIT :limit"
    there = tuple(one for (one,) in rows(connection, query, limit=_SHOWN_NAMES))
    raise RepoNotFoundError(name, there, deleted, renamed)


def deleted_among(connection: AnyConnection, names: Collection[str]) -> list[str]:
    """Return those of *names* that are deleted repos, sorted. Cost: 1 SELECT, or none without names."""
    if not names:
        return []
    query = "SELECT name FROM repos WHERE deleted_at IS NOT NULL AND name IN :names ORDER BY name"
    return [name for (name,) in rows(connection, query, names=sorted(names))]


def present_name_of(connection: AnyConnection, former: str) -> str:
    """Return the present name of the repo that was last called *former*; empty if no repo was renamed from it.

    Raises:
        IntegrityError: A journal entry about a renaming is malformed. Run fsck.

    Cost: 1 SELECT, which scans all renamings.
    """
    query = """SELECT r.name, j.details FROM repos r JOIN journal j ON j.repo = coalesce(r.recorded_name, r.name)
        WHERE j.action = :action ORDER BY j.sequence DESC"""
    renamed = rows(connection, query, action=Action.RENAME_REPO.value)
    try:
        found = [(name, json.loads(details)["from"]) for name, details in renamed]
    except (TypeError, ValueError, KeyError) as error:
        msg = f"an entry of the catalog's journal about a renamed repo is malformed ({error}); run fsck"
        raise IntegrityError(msg) from error
    return next((present for present, old in found if old == former and present != former), "")


def list_repos(connection: AnyConnection, name: str | None = None) -> list[RepoInfo]:
    """Return the users' repos with their branches, sorted by name, or only the repo *name*, of any kind.

    Deleted repos are left out.

    Cost: 1 SELECT.
    """
    only = "AND r.kind = 'user'" if name is None else "AND r.name = :name"
    query = f"""SELECT r.name, r.description, r.created_at, b.name, b.head_id, c.number, b.is_protected
        FROM repos r LEFT JOIN branches b ON b.repo_id = r.id LEFT JOIN commits c ON c.id = b.head_id
        WHERE r.deleted_at IS NULL {only} ORDER BY r.name, b.name"""  # noqa: S608 (one of two texts)
    values = {} if name is None else {"name": name}
    facts: dict[str, tuple[str, datetime]] = {}
    found: dict[str, list[BranchInfo]] = {}
    for repo, description, created_at, branch, head, number, is_protected in rows(connection, query, **values):
        facts[repo] = (description, as_time(created_at))
        found.setdefault(repo, [])
        if branch is not None:
            found[repo].append(BranchInfo(repo, branch, head, number or 0, bool(is_protected)))
    return [RepoInfo(repo, *facts[repo], branches=tuple(found[repo])) for repo in found]


def find_branch(connection: AnyConnection, ref: BranchRef) -> BranchRow:
    """Return the branch *ref* and its head now.

    Raises:
        RepoNotFoundError, RefNotFoundError: There is no such repo or branch; the error names those that exist.

    Cost: 1 SELECT; three more to list the names that exist.
    """
    query = """SELECT b.id, b.repo_id, b.head_id, b.epoch, r.recorded_name, r.kind
        FROM branches b JOIN repos r ON r.id = b.repo_id WHERE r.name = :repo AND b.name = :branch"""
    row = one_row(rows(connection, query, repo=ref.repo, branch=ref.branch))
    if row is None:
        repo_id = find_repo_id(connection, ref.repo)
        named = branch_names(connection, repo_id)
        reason = TAG_STAYS if is_tag(connection, repo_id, ref.branch) else how_to_restore(connection, ref)
        raise RefNotFoundError(ref.repo, ref.branch, named, reason)
    branch_id, repo_id, head, epoch, recorded, kind = row
    return BranchRow(branch_id, repo_id, ref, head, epoch, 0, recorded or "", RepoKind(kind))


def find_system_repo(connection: AnyConnection, owner: str, kind: RepoKind) -> str | None:
    """Return the name of the system repo of the repo *owner*, or None if nothing has created it.

    Cost: 1 SELECT.
    """
    query = """SELECT s.name FROM repos s JOIN repos o ON o.id = s.owner_id
        WHERE o.name = :owner AND s.kind = :kind AND s.deleted_at IS NULL AND o.deleted_at IS NULL"""
    found = one_row(rows(connection, query, owner=owner, kind=kind.value))
    return None if found is None else str(found[0])


def kind_of_repo(connection: AnyConnection, name: str) -> RepoKind:
    """Return the kind of a repo, which may be deleted. Cost: 1 SELECT."""
    (kind,) = only_row(rows(connection, "SELECT kind FROM repos WHERE name = :name", name=name))
    return RepoKind(kind)


def branch_heads(connection: AnyConnection, repo: str) -> dict[str, CommitId | None]:
    """Return the heads of all branches of a repo of any kind, by name. Cost: 1 SELECT."""
    query = """SELECT b.name, b.head_id FROM branches b JOIN repos r ON r.id = b.repo_id
        WHERE r.name = :repo AND r.deleted_at IS NULL ORDER BY b.name"""
    return {str(name): head for name, head in rows(connection, query, repo=repo)}


def repos_of_kind(connection: AnyConnection, kind: RepoKind) -> list[str]:
    """Return the names of the repos of a kind that are not deleted, sorted. Cost: 1 SELECT."""
    query = "SELECT name FROM repos WHERE kind = :kind AND deleted_at IS NULL ORDER BY name"
    return [str(name) for (name,) in rows(connection, query, kind=kind.value)]


def system_repos_of(connection: AnyConnection, owner_id: int) -> list[str]:
    """Return the names of the system repos that go with a repo, sorted. Cost: 1 SELECT."""
    query = "SELECT name FROM repos WHERE owner_id = :owner AND deleted_at IS NULL ORDER BY name"
    return [str(name) for (name,) in rows(connection, query, owner=owner_id)]


def how_to_restore(connection: AnyConnection, ref: BranchRef) -> str:
    """Return when a branch of this name was deleted, and the command that restores it; empty if none was deleted.

    Cost: 1 SELECT, by an index.
    """
    query = f"""SELECT j.action, j.old_id, j.at FROM journal j
        WHERE j.repo = {RECORDED_NAME_OF} AND j.name = :branch
        ORDER BY j.sequence DESC LIMIT 1"""  # noqa: S608 (a constant)
    last = one_row(rows(connection, query, repo=ref.repo, branch=ref.branch))
    if last is None or last[0] != "delete_branch":
        return ""
    _, head, at = last
    when = f"the branch was deleted at {as_time(at).isoformat(timespec='seconds')}"
    if head is None:
        return f"{when}; `versioned branch create {ref}` recreates it"
    back = f"`versioned branch create {ref} --at {ref.repo}@{head}` restores it"
    return f"{when}; {back} until gc expires its commits"


def is_tag(connection: AnyConnection, repo_id: int, name: str) -> bool:
    """Return whether a repo has a tag of this name. Cost: 1 SELECT."""
    return find_tag(connection, repo_id, name) is not None


def find_tag(connection: AnyConnection, repo_id: int, name: str) -> CommitId | None:
    """Return the commit of a tag; None if there is no such tag. Cost: 1 SELECT."""
    query = "SELECT commit_id FROM tags WHERE repo_id = :repo_id AND name = :name"
    found = one_row(rows(connection, query, repo_id=repo_id, name=name))
    return None if found is None else CommitId(found[0])


def branch_names(connection: AnyConnection, repo_id: int) -> tuple[str, ...]:
    """Return the names of the first few branches of a repo, sorted."""
    query = "SELECT name FROM branches WHERE repo_id = :repo_id ORDER BY name LIMIT :limit"
    return tuple(name for (name,) in rows(connection, query, repo_id=repo_id, limit=_SHOWN_NAMES))


def list_tags(connection: AnyConnection, repo: str) -> list[tuple[str, CommitId]]:
    """Return the tags of a repo with their commits, sorted by name.

    Raises:
        RepoNotFoundError: The repo does not exist.

    Cost: 2 SELECTs.
    """
    query = "SELECT name, commit_id FROM tags WHERE repo_id = :repo_id ORDER BY name"
    found = rows(connection, query, repo_id=find_repo_id(connection, repo))
    return [(name, CommitId(commit)) for name, commit in found]
