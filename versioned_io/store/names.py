"""Repos, branches and tags: the names in a store."""

from datetime import timedelta

from versioned_io import names
from versioned_io.arguments import parse_count, parse_duration, parse_flag, parse_text
from versioned_io.catalog import repos as repo_catalog
from versioned_io.catalog.journal import RecordedEntry, entries_of
from versioned_io.catalog.retention import RetentionRule
from versioned_io.catalog.values import BranchInfo, Commit, RepoInfo
from versioned_io.errors import (
    ExistsError,
    InvalidInputError,
    RefSyntaxError,
)
from versioned_io.identifiers import CommitId
from versioned_io.refs import (
    BranchRef,
    parse_branch_ref,
    parse_new_name,
    parse_repo_name,
)
from versioned_io.store.resolving import Resolving


class Names(Resolving):
    """What a store says of its names, and how they are made."""

    def create_repo(self, name: str, *, description: str = "", exist_ok: bool = False) -> RepoInfo:
        """Make a repo with an empty branch `main`.

        Args:
            exist_ok: Return the repo as it is when there is one of this name already.

        Raises:
            RefSyntaxError: *name* is no repo name.
            ExistsError: There is one of this name.

        Cost: 1 PUT, 1 SQL transaction.
        """
        parse_repo_name(name)
        parse_flag(exist_ok, "exist_ok")
        parse_text(description, "description")
        if exist_ok and (found := self._repos(name)):
            return found[0]
        try:
            return names.create_repo(self._backend, name, description)
        except ExistsError:
            if not exist_ok:
                raise
        return self.repo(name)

    def repo(self, name: str) -> RepoInfo:
        """Return one repo with its branches.

        Raises:
            RepoNotFoundError: There is none of this name.

        Cost: 1 SELECT.
        """
        found = self._repos(parse_repo_name(name))
        if not found:
            with self._backend.catalog.read() as connection:
                repo_catalog.find_repo_id(connection, name)
        return found[0]

    def repos(self) -> list[RepoInfo]:
        """Return every repo with its branches, sorted by name.

        Cost: 1 SELECT.
        """
        return self._repos(None)

    def branches(self, repo: str) -> list[BranchInfo]:
        """Return the branches of a repo, sorted by name.

        Raises:
            RepoNotFoundError: There is no such repo.

        Cost: 1 SELECT.
        """
        return list(self.repo(repo).branches)

    def create_branch(self, branch: str, *, at: str) -> BranchInfo:
        """Make the branch ``repo@branch`` point at the commit that *at* names; no data is copied.

        Raises:
            ExistsError: There is a branch or a tag of this name.
            NotFoundError: There is no such repo, or nothing at *at*.
            RefSyntaxError: It is no branch name, or *at* is of another repo.

            CommitForgottenError: The commit's data is not kept any more.

        Cost: 1 PUT, 1 SQL transaction.
        """
        ref, commit = self._new_name(branch, at)
        names.create_branch(self._backend, ref, commit)
        return BranchInfo(
            ref.repo, ref.branch, None if commit is None else commit.id, 0 if commit is None else commit.number
        )

    def create_tag(self, tag: str, *, at: str) -> Commit:
        """Give the commit that *at* names the name ``repo@tag``, for ever.

        Raises:
            ExistsError: There is a branch or a tag of this name.
            NotFoundError: There is no such repo, or no commit at *at*.
            RefSyntaxError: It is no tag name, or *at* is of another repo.

            CommitForgottenError: The commit's data is not kept any more.

        Cost: 1 PUT, 1 SQL transaction.
        """
        ref, _ = self._new_name(tag, at)
        commit = self._commit(at)
        names.create_tag(self._backend, ref, commit)
        return commit

    def delete_branch(self, branch: str, *, force: bool = False) -> None:
        """Take the branch ``repo@branch`` away; its commits stay until garbage collection lets go of them.

        Args:
            force: Delete the subscriptions that follow it as well.

        Raises:
            NotFoundError: There is no such branch.
            InvalidInputError: It is protected, or followed and *force* is false.

        Cost: 1 PUT, 1 SQL transaction.
        """
        names.delete_branch(self._backend, parse_branch_ref(branch), force=parse_flag(force, "force"))

    def rename_branch(self, branch: str, to: str) -> BranchInfo:
        """Give the branch ``repo@branch`` the name *to*; subscriptions go on.

        Raises:
            NotFoundError: There is no such branch.
            ExistsError: There is a branch or a tag of the new name.
            InvalidInputError: It is protected.
            RefSyntaxError: *to* is no branch name.

        Cost: 1 PUT, 1 SQL transaction.
        """
        ref = parse_branch_ref(branch)
        target = BranchRef(ref.repo, parse_new_name(to, to))
        return names.rename_branch(self._backend, ref, target)

    def protect_branch(self, branch: str, is_protected: bool = True) -> None:  # noqa: FBT001, FBT002 (reads as a sentence)
        """Let the branch ``repo@branch`` only grow from now on, or lift that.

        A protected branch takes commits and merges; it can't be deleted, renamed, reset, squashed or dropped.

        Raises:
            NotFoundError: There is no such branch.

        Cost: 1 PUT, 1 SQL transaction.
        """
        names.protect_branch(
            self._backend, parse_branch_ref(branch), is_protected=parse_flag(is_protected, "is_protected")
        )

    def tags(self, repo: str) -> dict[str, CommitId]:
        """Return the tags of a repo and the commits that they name, sorted by name.

        Raises:
            RepoNotFoundError: There is no such repo.

        Cost: 2 SELECTs.
        """
        with self._backend.catalog.read() as connection:
            return dict(repo_catalog.list_tags(connection, parse_repo_name(repo)))

    def delete_tag(self, tag: str) -> None:
        """Take the tag ``repo@tag`` away; its commit stays while anything else leads to it.

        Raises:
            NotFoundError: There is no such tag.

        Cost: 1 PUT, 1 SQL transaction.
        """
        names.delete_tag(self._backend, parse_branch_ref(tag))

    def reset(self, branch: str, to: str | None) -> None:
        """Make the branch ``repo@branch`` point at another commit of its repo; None for none.

        Where it was stands in `reflog`, and can be gone back to until garbage collection lets go of it.

        Args:
            to: ``repo@ref`` or a commit's ID.

        Raises:
            NotFoundError: There is no such branch or commit.
            CommitForgottenError: The commit's data is not kept any more.
            InvalidInputError: The branch is protected, or the commit is of another repo.

        Cost: 1 PUT, 1 SQL transaction.
        """
        ref = parse_branch_ref(branch)
        target = None if to is None else self._commit(to)
        if target is not None and target.repo != ref.repo:
            msg = f"can't reset {ref} to {target}: it is of another repo; copy its files instead"
            raise InvalidInputError(msg)
        names.move_branch(self._backend, ref, target, reason="reset")

    def drop(self, branch: str) -> Commit:
        """Take the newest commit off the branch ``repo@branch`` for good, and return it; the one before is the head.

        Its record and lineage stay, its data can't be read any more, and `gc` deletes what only it had. Only what
        nothing else needs can be dropped; `reset` takes back what is to stay readable, or what consumers have seen. A
        consumer that keeps a cursor of its own outside of the store can't go on from a dropped commit.

        Raises:
            NotFoundError: There is no such branch.
            InvalidInputError: It is protected or has no commit; or a branch, a tag, another commit or a subscription
                needs that commit, which the message names: reset the branch instead.
            CommitForgottenError: The data of the commit before is not kept any more, so nobody could read the branch.

        Cost: 1 PUT, 1 SQL transaction that looks at every commit of the repo.
        """
        return self._commit_by_id(names.drop_head(self._backend, parse_branch_ref(branch)))

    def reflog(self, branch: str) -> list[RecordedEntry]:
        """Return what happened to the name ``repo@branch`` other than commits, oldest first.

        Raises:
            RepoNotFoundError: There is no such repo.
            RefNotFoundError: There is no such branch, and there never was; of a deleted one the entries stay.

        Cost: 2 SELECTs, 1 more when nothing happened.
        """
        ref = parse_branch_ref(branch)
        with self._backend.catalog.read() as connection:
            repo_catalog.find_repo_id(connection, ref.repo)
            entries = [recorded for recorded, _ in entries_of(connection, ref.repo, ref.branch)]
            if not entries:
                repo_catalog.find_branch(connection, ref)
            return entries

    def retention(self, branch: str) -> RetentionRule | None:
        """Return how much of a branch's history garbage collection keeps; None: all of it.

        Raises:
            NotFoundError: There is no such branch.

        Cost: 2 SELECTs.
        """
        return names.retention_of(self._backend, parse_branch_ref(branch))

    def set_retention(self, branch: str, *, keep_last: int | None = None, keep_for: timedelta | None = None) -> None:
        """Say how much of a branch's history garbage collection keeps; without a rule, all of it.

        Older commits stay in the log, with their lineage; their data is let go of. What a tag, another name or a
        consumer's cursor points at is kept whatever the rule says, and so is what is younger than the *expire* of `gc`.

        Args:
            keep_last: At least this many of the newest commits.
            keep_for: And those that are younger than this. Neither: the rule is lifted.

        Raises:
            NotFoundError: There is no such branch.
            InvalidInputError: *keep_last* is less than 1, or *keep_for* negative.

        Cost: 1 PUT, 1 SQL transaction.
        """
        rule = None
        if keep_last is not None or keep_for is not None:
            count = None if keep_last is None else parse_count(keep_last, "keep_last", least=1)
            span = None if keep_for is None else parse_duration(keep_for, "keep_for").total_seconds()
            rule = RetentionRule(count, span)
        names.set_retention(self._backend, parse_branch_ref(branch), rule)

    def _repos(self, name: str | None) -> list[RepoInfo]:
        with self._backend.catalog.read() as connection:
            return repo_catalog.list_repos(connection, name)

    def _new_name(self, name: str, at: str) -> tuple[BranchRef, Commit | None]:
        ref, target = parse_branch_ref(name), self._commit_ref(at)
        parse_new_name(ref.branch, name)
        if target.repo != ref.repo:
            raise RefSyntaxError(at, f"it must be of repo {ref.repo!r}, as {name!r} is")
        return ref, self._resolve(target)
