"""Renaming, deleting and restoring whole repos, with all of their names at once, and recording it in the journal.

Source: docs/design/0004-journal-and-rebuild.md, "Whole repos".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select

from versioned_io.catalog import repos as catalog
from versioned_io.catalog.idempotency import rename_repo_in_keys
from versioned_io.catalog.journal import entries_of
from versioned_io.catalog.renamed import recorded_name_of
from versioned_io.catalog.repo_rows import (
    BranchRow,
    find_branch,
    find_repo_id,
    kind_of_repo,
    list_repos,
    list_tags,
    system_repos_of,
)
from versioned_io.catalog.subscriptions import delete_subscriptions, names_of_subscriptions
from versioned_io.catalog.trigger_rows import followers_of, remove_triggers_with
from versioned_io.errors import ExistsError, InvalidInputError, RepoNotFoundError
from versioned_io.model.commits import JSONValue, RepoInfo
from versioned_io.model.fields import Fields
from versioned_io.model.identifiers import CommitId
from versioned_io.model.journal import Action, JournalEntry
from versioned_io.model.refs import DEFAULT_BRANCH, BranchRef
from versioned_io.model.repo_kinds import RepoKind
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.backend.journaling import append_entry

_SHOWN: Final = 5


def delete_repo(backend: Backend, name: str, *, force: bool) -> RepoInfo:
    """Delete a repo with all its branches and tags, and return it. Its commits stay until gc expires them.

    Raises:
        RepoNotFoundError: The repo does not exist.
        InvalidInputError: A branch is protected or has a subscription, or a branch of another repo follows it, and
            *force* is false.

    Cost: 1 PUT for each branch and tag and 1 more, 1 SQL transaction.
    """
    with backend.catalog.write() as connection:
        repo_id = find_repo_id(connection, name)
        rows = catalog.branches_of(connection, repo_id)
        catalog.hold_repo(connection, repo_id)
        (info,) = list_repos(connection, name)
        if not force:
            _refuse_needed(connection, info, rows)
        system: list[JSONValue] = []
        for one in system_repos_of(connection, repo_id):
            _WholeRepo(connection, backend, one).delete({})
            system.append({"name": one})
        _WholeRepo(connection, backend, name).delete({"system": system} if system else {})
    return info


def rename_repo(backend: Backend, old: str, new: str, *, force: bool) -> RepoInfo:
    """Rename a repo. Its subscriptions stay, and transactions in progress on it can commit.

    Raises:
        RepoNotFoundError: The repo does not exist.
        ExistsError: There is a repo of the new name. Choose another name.
        InvalidInputError: A branch is protected and *force* is false, or a deleted repo has the new name.

    Cost: 1 PUT, 1 SQL transaction; 1 UPDATE for each idempotency key of its transactions.
    """
    with backend.catalog.write() as connection:
        repo_id = catalog.hold_repo_of_name(connection, old)
        (info,) = list_repos(connection, old)
        if not force:
            _refuse_protected(info, "rename")
        catalog.rename_repo(connection, repo_id, new)
        rename_repo_in_keys(connection, old, new)
        _note(connection, backend, JournalEntry(new, "", Action.RENAME_REPO, details={"from": old, "to": new}))
        (renamed,) = list_repos(connection, new)
    return renamed


def restore_repo(backend: Backend, name: str) -> RepoInfo:
    """Restore a deleted repo with all branches and tags that it had. Subscriptions and triggers are not restored.

    Raises:
        RepoNotFoundError: There was no repo of this name.
        ExistsError: There is a repo of this name now.
        CommitForgottenError: The data of a commit that a name pointed at has expired. Nothing is restored.

    Cost: that of `delete_repo`.
    """
    with backend.catalog.write() as connection:
        if list_repos(connection, name):
            raise ExistsError("repo", name)
        facts, deletion = _facts_of_deletion(connection, name)
        _WholeRepo(connection, backend, name).restore(facts, {"restores": deletion}, RepoKind.USER, None)
        owner_id = find_repo_id(connection, name)
        owner = connection.execute(select(recorded_name_of(name))).scalar_one()
        for one in [named.text("name") for named in facts.items("system", is_optional=True)]:
            own, deletion = _facts_of_deletion(connection, one)
            kind = kind_of_repo(connection, one)
            made: dict[str, JSONValue] = {"restores": deletion, "kind": kind.value, "owner": owner}
            _WholeRepo(connection, backend, one).restore(own, made, kind, owner_id)
        (restored,) = list_repos(connection, name)
    return restored


@dataclass(frozen=True, slots=True)
class _WholeRepo:
    """One repo, of any kind, in the transaction that deletes or restores it."""

    connection: Connection
    backend: Backend
    name: str

    def delete(self, details: dict[str, JSONValue]) -> None:
        """Delete the repo with its names; *details* are recorded with its facts."""
        name, connection = self.name, self.connection
        repo_id = find_repo_id(connection, name)
        rows = catalog.branches_of(connection, repo_id)
        catalog.hold_repo(connection, repo_id)
        (info,) = list_repos(connection, name)
        if {branch.name for branch in info.branches} != {row.ref.branch for row in rows}:
            msg = f"a branch of {name!r} was created or renamed at this moment: try again"
            raise InvalidInputError(msg)
        tags = list_tags(connection, name)
        details |= {
            "description": info.description,
            "branches": [_described(connection, row) for row in rows],
            "tags": [{"name": tag, "commit": commit} for tag, commit in tags],
        }
        for row in rows:
            delete_subscriptions(connection, row.id)
            remove_triggers_with(connection, row.id)
            catalog.remove_branch(connection, row.id)
            self._note(JournalEntry(name, row.ref.branch, Action.DELETE_BRANCH, old=row.head))
        for tag, commit in tags:
            catalog.remove_tag(connection, BranchRef(name, tag))
            self._note(JournalEntry(name, tag, Action.DELETE_TAG, old=commit))
        now = self.backend.clock()
        catalog.delete_repo(connection, repo_id, now)
        entry = JournalEntry(name, "", Action.DELETE_REPO, details=details)
        append_entry(connection, self.backend.objects, entry, now)

    def restore(self, facts: Fields, made: dict[str, JSONValue], kind: RepoKind, owner_id: int | None) -> None:
        """Restore the repo as *facts* describe it; *made* is recorded with its creation."""
        connection, name, now = self.connection, self.name, self.backend.clock()
        description = facts.text("description", default="")
        repo_id = catalog.insert_repo(connection, name, description, now, kind=kind, owner_id=owner_id)
        details: dict[str, JSONValue] = {"description": description, **made}
        created = JournalEntry(name, DEFAULT_BRANCH, Action.CREATE_REPO, details=details)
        sequence = append_entry(connection, self.backend.objects, created, now)
        catalog.set_epoch(connection, repo_id, DEFAULT_BRANCH, sequence)
        wanted = facts.items("branches")
        if DEFAULT_BRANCH not in {one.text("name") for one in wanted}:
            catalog.remove_branch(connection, find_branch(connection, BranchRef(name, DEFAULT_BRANCH)).id)
            self._note(JournalEntry(name, DEFAULT_BRANCH, Action.DELETE_BRANCH))
        for one in wanted:
            _restore_branch(connection, self.backend, BranchRef(name, one.text("name")), one)
        for one in facts.items("tags"):
            ref, commit = BranchRef(name, one.text("name")), CommitId(one.id("commit"))
            catalog.insert_tag(connection, ref, catalog.hold_commit(connection, commit), now)
            tagged = JournalEntry(name, ref.branch, Action.CREATE_TAG, new=commit)
            append_entry(connection, self.backend.objects, tagged, now)

    def _note(self, entry: JournalEntry) -> int:
        return _note(self.connection, self.backend, entry)


def _facts_of_deletion(connection: Connection, name: str) -> tuple[Fields, int]:
    """Return what a repo was when it was deleted, and the number of the entry that says so."""
    deleted = [one for one, _ in entries_of(connection, name) if one.entry.action is Action.DELETE_REPO]
    if not deleted:
        find_repo_id(connection, name)
        raise RepoNotFoundError(name)
    what = f"the entry of the journal about the deletion of {name!r}"
    return Fields(deleted[-1].entry.details, what), deleted[-1].sequence


def _restore_branch(connection: Connection, backend: Backend, ref: BranchRef, facts: Fields) -> None:
    head = facts.optional_id("head")
    if head is not None:
        catalog.hold_commit(connection, head)
    if ref.branch != DEFAULT_BRANCH:
        repo_id = catalog.insert_branch(connection, ref, head)
        made = JournalEntry(ref.repo, ref.branch, Action.CREATE_BRANCH, new=head)
        catalog.set_epoch(connection, repo_id, ref.branch, _note(connection, backend, made))
    row = find_branch(connection, ref)
    if row.head != head:
        moved = JournalEntry(ref.repo, ref.branch, Action.MOVE_BRANCH, row.head, head, {"reason": "restore"})
        catalog.set_head(connection, row.id, head, _note(connection, backend, moved))
    if facts.flag("is_protected"):
        catalog.set_protected(connection, row.id, is_protected=True)
        details: dict[str, JSONValue] = {"is_protected": True}
        _note(connection, backend, JournalEntry(ref.repo, ref.branch, Action.PROTECT_BRANCH, head, head, details))
    rule = facts.optional_text("retention")
    if rule is not None:
        catalog.set_retention(connection, row.id, rule)
        _note(connection, backend, JournalEntry(ref.repo, ref.branch, Action.SET_RETENTION, head, head, {"rule": rule}))


def _refuse_needed(connection: Connection, info: RepoInfo, rows: Sequence[BranchRow]) -> None:
    _refuse_protected(info, "delete")
    followers = [one for row in rows for one in names_of_subscriptions(connection, row.id)]
    _refuse(info, "delete", "subscriptions follow it", followers)
    own = {str(row.ref) for row in rows}
    others = [one for row in rows for one in followers_of(connection, row.id) if one not in own]
    _refuse(info, "delete", "branches of other repos follow it by triggers", others)


def _refuse_protected(info: RepoInfo, verb: str) -> None:
    protected = [branch.name for branch in info.branches if branch.is_protected]
    _refuse(info, verb, "protected branches are in it", protected)


def _refuse(info: RepoInfo, verb: str, reason: str, found: Sequence[str]) -> None:
    if found:
        shown = ", ".join(map(repr, found[:_SHOWN]))
        msg = f"can't {verb} the repo {info.name!r}: {reason} ({shown}); pass force=True (--force) to {verb} it"
        raise InvalidInputError(msg)


def _described(connection: Connection, row: BranchRow) -> JSONValue:
    return {
        "name": row.ref.branch,
        "head": row.head,
        "is_protected": catalog.is_protected(connection, row.id),
        "retention": catalog.get_retention(connection, row.id),
    }


def _note(connection: Connection, backend: Backend, entry: JournalEntry) -> int:
    return append_entry(connection, backend.objects, entry, backend.clock())
