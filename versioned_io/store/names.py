"""Repos, branches and tags: the names in a store."""

from versioned_io import names
from versioned_io.catalog import repos as repo_catalog
from versioned_io.catalog.values import BranchInfo, Commit, RepoInfo, parse_text
from versioned_io.errors import (
    ExistsError,
    RefSyntaxError,
)
from versioned_io.refs import (
    BranchRef,
    parse_branch_ref,
    parse_commit_ref,
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
        parse_text(description, "description")
        if exist_ok and (found := self._repos(name)):
            return found[0]
        try:
            names.create_repo(self._backend, name, description)
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

    def _repos(self, name: str | None) -> list[RepoInfo]:
        with self._backend.catalog.read() as connection:
            return repo_catalog.list_repos(connection, name)

    def _new_name(self, name: str, at: str) -> tuple[BranchRef, Commit | None]:
        ref, target = parse_branch_ref(name), parse_commit_ref(at)
        parse_new_name(ref.branch, name)
        if target.repo != ref.repo:
            raise RefSyntaxError(at, f"it must be of repo {ref.repo!r}, as {name!r} is")
        return ref, self._resolve(target)
