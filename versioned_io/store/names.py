"""Repos, branches and tags: the names in a store."""

from datetime import timedelta

from versioned_io.catalog.repo_rows import find_branch, find_repo_id, list_repos, list_tags
from versioned_io.errors import (
    ExistsError,
    InvalidInputError,
    RefSyntaxError,
)
from versioned_io.model.arguments import parse_count, parse_duration, parse_flag, parse_text
from versioned_io.model.commits import BranchInfo, Commit, RepoInfo
from versioned_io.model.identifiers import CommitId
from versioned_io.model.journal import RecordedEntry
from versioned_io.model.refs import (
    BranchRef,
    parse_branch_ref,
    parse_new_name,
    parse_repo_name,
)
from versioned_io.model.retention import RetentionRule
from versioned_io.store.resolving import Resolver
from versioned_io.versioning.backend.backend import Backend


class Names:
    """The repos, branches and tags of a store."""

    def __init__(self, backend: Backend, resolver: Resolver) -> None:
        self._backend = backend
        self._resolver = resolver

    def create_repo(self, name: str, *, description: str = "", exist_ok: bool = False) -> RepoInfo:
        """Create a repo with an empty branch `main`.

        >>> store.create_repo("labels").name
        'labels'

        Args:
            exist_ok: Return an existing repo of this name unchanged.

        Raises:
            RefSyntaxError: *name* is not a valid repo name.
            ExistsError: A repo of this name exists.

        Cost: 1 PUT, 1 SQL transaction of 14 statements.
        """
        parse_repo_name(name)
        parse_flag(exist_ok, "exist_ok")
        parse_text(description, "description")
        if exist_ok and (found := self._repos(name)):
            return found[0]
        from versioned_io.versioning.naming import naming as names

        try:
            return names.create_repo(self._backend, name, description)
        except ExistsError:
            if not exist_ok:
                raise
        return self.repo(name)

    def delete_repo(self, name: str, *, force: bool = False) -> RepoInfo:
        """Delete a repo with all its branches and tags, and return its last state.

        `restore_repo` restores it until `gc` expires its commits. Files that other repos copied by reference stay
        readable, and lineage still names its commits. A new repo may take the name.

        >>> store.delete_repo("weather").name
        'weather'
        >>> store.restore_repo("weather").name
        'weather'

        Args:
            force: Also delete protected branches, and the subscriptions and triggers that follow its branches.

        Raises:
            RepoNotFoundError: The repo does not exist.
            InvalidInputError: A branch is protected or followed, and *force* is false.

        Cost: 1 PUT for each branch and tag and 1 more, 1 SQL transaction.
        """
        from versioned_io.versioning.naming import whole_repos

        return whole_repos.delete_repo(self._backend, parse_repo_name(name), force=parse_flag(force, "force"))

    def rename_repo(self, old: str, new: str, *, force: bool = False) -> RepoInfo:
        """Rename a repo, and return it; renaming it back reverts this.

        Subscriptions, retention, idempotency keys and running transactions stay with it. History and lineage show the
        new name. A call with the old name raises an error that names the new one, and no new repo can take it.

        >>> store.rename_repo("weather", "climate").name
        'climate'

        Args:
            force: Also rename a repo with protected branches.

        Raises:
            RepoNotFoundError: There is no such repo; the error names the new name of a renamed one.
            ExistsError: A repo of the new name exists.
            InvalidInputError: A branch is protected, and *force* is false; or a deleted repo has the new name.

        Cost: 1 PUT, 1 SQL transaction of 12 statements, and 1 more for each idempotency key of its
            transactions.
        """
        from versioned_io.versioning.naming import whole_repos

        name = parse_repo_name(new)
        return whole_repos.rename_repo(self._backend, parse_repo_name(old), name, force=parse_flag(force, "force"))

    def restore_repo(self, name: str) -> RepoInfo:
        """Restore the repo that was deleted last under this name, with its branches and tags, and return it.

        Subscriptions and triggers are not restored: consumers begin again, and `trigger` sets a trigger again.

        >>> _ = store.delete_repo("weather")
        >>> [branch.name for branch in store.restore_repo("weather").branches]
        ['main']

        Raises:
            RepoNotFoundError: No repo of this name was deleted.
            ExistsError: A repo of this name exists.
            CommitForgottenError: `gc` expired a commit that a name pointed at; nothing is restored.

        Cost: as `delete_repo`.
        """
        from versioned_io.versioning.naming import whole_repos

        return whole_repos.restore_repo(self._backend, parse_repo_name(name))

    def repo(self, name: str) -> RepoInfo:
        """Return one repo with its branches.

        >>> [branch.name for branch in store.repo("weather").branches]
        ['main']

        Raises:
            RepoNotFoundError: There is no repo of this name.

        Cost: 1 SELECT.
        """
        found = self._repos(parse_repo_name(name))
        if not found:
            with self._backend.catalog.ask() as connection:
                find_repo_id(connection, name)
        return found[0]

    def repos(self) -> list[RepoInfo]:
        """Return every repo with its branches, sorted by name.

        >>> [repo.name for repo in store.repos()]
        ['weather']

        Cost: 1 SELECT.
        """
        return self._repos(None)

    def branches(self, repo: str) -> list[BranchInfo]:
        """Return the branches of a repo, sorted by name.

        >>> [(branch.name, branch.number) for branch in store.branches("weather")]
        [('main', 2)]

        Raises:
            RepoNotFoundError: The repo does not exist.

        Cost: 1 SELECT.
        """
        return list(self.repo(repo).branches)

    def create_branch(self, branch: str, *, at: str) -> BranchInfo:
        """Create the branch ``repo@branch`` at the commit that *at* names; no data is copied.

        >>> store.create_branch("weather@dev", at="weather@main~1").number
        1

        Raises:
            ExistsError: A branch or a tag of this name exists.
            NotFoundError: There is no such repo, or no commit at *at*.
            RefSyntaxError: *branch* is not a valid branch name, or *at* is of another repo.
            CommitForgottenError: The commit's data was expired.

        Cost: as `commit`; 1 PUT, 1 SQL transaction of 14 statements.
        """
        from versioned_io.versioning.naming import naming as names

        ref, commit = self._new_name(branch, at)
        names.create_branch(self._backend, ref, commit)
        return BranchInfo(
            ref.repo, ref.branch, None if commit is None else commit.id, 0 if commit is None else commit.number
        )

    def create_tag(self, tag: str, *, at: str) -> Commit:
        """Create the tag ``repo@tag`` at the commit that *at* names; a tag never moves.

        >>> store.create_tag("weather@v1", at="weather@main").message
        'correct February'

        Raises:
            ExistsError: A branch or a tag of this name exists.
            NotFoundError: There is no such repo, or no commit at *at*.
            RefSyntaxError: *tag* is not a valid tag name, or *at* is of another repo.
            CommitForgottenError: The commit's data was expired.

        Cost: as `commit`; 1 PUT, 1 SQL transaction of 10 statements.
        """
        from versioned_io.versioning.naming import naming as names

        ref, found = self._new_name(tag, at)
        commit = self._resolver.commit(at) if found is None else found  # of a branch without a commit, it raises
        names.create_tag(self._backend, ref, commit)
        return commit

    def delete_branch(self, branch: str, *, force: bool = False) -> CommitId | None:
        """Delete the branch ``repo@branch``, and return its head; its commits stay until `gc` expires them.

        Until then ``create_branch`` at the returned head restores it.

        >>> _ = store.create_branch("weather@dev", at="weather@main")
        >>> head = store.delete_branch("weather@dev")
        >>> store.create_branch("weather@dev", at=f"weather@{head}").number
        2

        Args:
            force: Also delete the subscriptions that follow it, and end the triggers by which other branches do.

        Raises:
            NotFoundError: The branch does not exist.
            InvalidInputError: It is protected, or followed and *force* is false.

        Cost: 1 PUT, 1 SQL transaction of 13 statements.
        """
        from versioned_io.versioning.naming import naming as names

        return names.delete_branch(self._backend, parse_branch_ref(branch), force=parse_flag(force, "force"))

    def rename_branch(self, branch: str, to: str) -> BranchInfo:
        """Rename the branch ``repo@branch`` to *to*; its subscriptions follow it.

        >>> store.rename_branch("weather@main", "trunk").name
        'trunk'

        Raises:
            NotFoundError: The branch does not exist.
            ExistsError: A branch or a tag of the new name exists.
            InvalidInputError: It is protected.
            RefSyntaxError: *to* is not a valid branch name.

        Cost: 1 PUT, 1 SQL transaction of 14 statements, and 1 more for each idempotency key of its
            transactions.
        """
        from versioned_io.versioning.naming import naming as names

        ref = parse_branch_ref(branch)
        target = BranchRef(ref.repo, parse_new_name(to, to))
        return names.rename_branch(self._backend, ref, target)

    def protect_branch(self, branch: str, is_protected: bool = True) -> None:  # noqa: FBT001, FBT002 (reads as a sentence)
        """Protect the branch ``repo@branch``, or lift its protection.

        A protected branch accepts commits and merges; it can't be deleted, renamed, reset, squashed or dropped.

        >>> store.protect_branch("weather@main")
        >>> store.branches("weather")[0].is_protected
        True

        Raises:
            NotFoundError: The branch does not exist.

        Cost: 1 PUT, 1 SQL transaction of 7 statements.
        """
        from versioned_io.versioning.naming import naming as names

        names.protect_branch(
            self._backend, parse_branch_ref(branch), is_protected=parse_flag(is_protected, "is_protected")
        )

    def tags(self, repo: str) -> dict[str, CommitId]:
        """Return the tags of a repo and the commits that they name, sorted by name.

        >>> commit = store.create_tag("weather@v1", at="weather@main")
        >>> store.tags("weather") == {"v1": commit.id}
        True

        Raises:
            RepoNotFoundError: The repo does not exist.

        Cost: 2 SELECTs.
        """
        with self._backend.catalog.ask() as connection:
            return dict(list_tags(connection, parse_repo_name(repo)))

    def delete_tag(self, tag: str) -> CommitId:
        """Delete the tag ``repo@tag``, and return its commit, which stays while another name leads to it.

        >>> commit = store.create_tag("weather@v1", at="weather@main")
        >>> store.delete_tag("weather@v1") == commit.id
        True

        Raises:
            NotFoundError: The tag does not exist.

        Cost: 1 PUT, 1 SQL transaction of 6 statements.
        """
        from versioned_io.versioning.naming import naming as names

        return names.delete_tag(self._backend, parse_branch_ref(tag))

    def reset(self, branch: str, to: str | None) -> CommitId | None:
        """Make the branch ``repo@branch`` point at another commit of its repo, and return its old head.

        `reflog` records the old head, and a reset to it reverts this until garbage collection expires the commit.

        >>> head = store.reset("weather@main", "weather@main~1")
        >>> store.commit("weather@main").message
        'first load'
        >>> _ = store.reset("weather@main", head)

        Args:
            to: ``repo@ref`` or a commit's ID; None for an empty branch.

        Raises:
            NotFoundError: The branch or the commit does not exist.
            CommitForgottenError: The commit's data was expired.
            InvalidInputError: The branch is protected, or the commit is of another repo.

        Cost: as `commit`; 1 PUT, 1 SQL transaction of 9 statements.
        """
        from versioned_io.versioning.naming import naming as names

        ref = parse_branch_ref(branch)
        target = None if to is None else self._resolver.commit(to)
        if target is not None and target.repo != ref.repo:
            msg = f"can't reset {ref} to {target}: it is of another repo; copy its files instead"
            raise InvalidInputError(msg)
        return names.move_branch(self._backend, ref, target, reason="reset")

    def drop(self, branch: str) -> Commit:
        """Remove the newest commit of the branch ``repo@branch`` permanently, and return it.

        Its parent becomes the head. Its record and lineage stay, its data is unreadable at once, and `gc` deletes the
        bytes that only it had. Use `reset` for a commit that must stay readable. A consumer with a cursor outside the
        store continues with the changes that are still known: see `changes`.

        >>> store.drop("weather@main").message
        'correct February'

        Raises:
            NotFoundError: The branch does not exist.
            InvalidInputError: It is protected or has no commit. Or a branch, a tag, another commit or a subscription
                needs that commit; the message names it. Reset the branch instead.
            CommitForgottenError: The data of the parent was expired, so the branch would be unreadable.

        Cost: 1 PUT, 1 SQL transaction of 20 statements, one of which looks at every commit of the repo.
        """
        from versioned_io.versioning.naming import naming as names

        return names.drop_head(self._backend, parse_branch_ref(branch))

    def reflog(self, branch: str) -> list[RecordedEntry]:
        """Return the changes of the name ``repo@branch`` other than commits, oldest first.

        >>> _ = store.reset("weather@main", "weather@main~1")
        >>> str(store.reflog("weather@main")[-1].entry.action)
        'move_branch'

        Raises:
            RepoNotFoundError: The repo does not exist.
            RefNotFoundError: The branch never existed in this repo; the entries of a deleted one stay.

        Cost: 2 SELECTs, 1 more when nothing happened.
        """
        from versioned_io.catalog.journal import entries_of_present

        ref = parse_branch_ref(branch)
        with self._backend.catalog.read() as connection:
            find_repo_id(connection, ref.repo)
            entries = entries_of_present(connection, ref.repo, ref.branch)
            if not entries:
                find_branch(connection, ref)
            return entries

    def retention(self, branch: str) -> RetentionRule | None:
        """Return how much of a branch's history garbage collection keeps; None for all of it.

        >>> store.retention("weather@main") is None
        True

        Raises:
            NotFoundError: The branch does not exist.

        Cost: 2 SELECTs.
        """
        from versioned_io.versioning.naming import naming as names

        return names.retention_of(self._backend, parse_branch_ref(branch))

    def set_retention(self, branch: str, *, keep_last: int | None = None, keep_for: timedelta | None = None) -> None:
        """Set how much of a branch's history garbage collection keeps.

        Older commits stay in the log, with their lineage; their data expires. A commit that a tag, another name or a
        consumer's cursor points at is always kept. So is a commit that is younger than the *expire* of `gc`.

        >>> store.set_retention("weather@main", keep_last=10)
        >>> store.retention("weather@main").keep_last
        10

        Args:
            keep_last: At least this many of the newest commits.
            keep_for: Also the commits that are younger than this. Without both, everything is kept.

        Raises:
            NotFoundError: The branch does not exist.
            InvalidInputError: *keep_last* is less than 1, or *keep_for* negative.

        Cost: 1 PUT, 1 SQL transaction of 7 statements.
        """
        from versioned_io.versioning.naming import naming as names

        rule = None
        if keep_last is not None or keep_for is not None:
            count = None if keep_last is None else parse_count(keep_last, "keep_last", least=1)
            span = None if keep_for is None else parse_duration(keep_for, "keep_for").total_seconds()
            rule = RetentionRule(count, span)
        names.set_retention(self._backend, parse_branch_ref(branch), rule)

    def _repos(self, name: str | None) -> list[RepoInfo]:
        with self._backend.catalog.ask() as connection:
            return list_repos(connection, name)

    def _new_name(self, name: str, at: str) -> tuple[BranchRef, Commit | None]:
        ref, target = parse_branch_ref(name), self._resolver.parse_commit(at)
        parse_new_name(ref.branch, name)
        if target.repo != ref.repo:
            raise RefSyntaxError(at, f"it must be of repo {ref.repo!r}, as {name!r} is")
        return ref, self._resolver.resolve(target)
