"""Merging, cherry-picking, reverting, squashing: changes of one commit or history, brought onto a branch."""

from collections.abc import Callable, Mapping

from versioned_io import names
from versioned_io.arguments import parse_text
from versioned_io.catalog.repos import BranchRow
from versioned_io.catalog.values import Commit, JSONValue
from versioned_io.errors import HeadMovedError, RefSyntaxError
from versioned_io.merging import Strategy, ThreeWay, bring_in, check_strategy, merge_base, taking_back
from versioned_io.refs import BranchRef, parse_branch_ref
from versioned_io.squashing import squash
from versioned_io.store.resolving import Resolving
from versioned_io.transactions.facts import CommitFacts, Empty, build_facts
from versioned_io.transactions.transaction import Transaction


class Merging(Resolving):
    """How changes come from one history into another."""

    def merge(
        self,
        source: str,
        into: str,
        *,
        message: str = "",
        author: str = "",
        metadata: Mapping[str, JSONValue] | None = None,
        strategy: Strategy = "fail",
        fast_forward: bool = True,
    ) -> Commit:
        """Bring everything that *source* has and *into* has not into the branch *into*, and return its head.

        All or nothing, and no bytes move. Files keep their authors, so lineage and the log of a path lead through the
        merge. The commit carries the lineage ID of *source*, which caused it.

        Args:
            source: What is merged: ``repo@ref`` or a commit's ID, of the same repo.
            into: The branch ``repo@branch``.
            strategy: What to do where both sides changed a file differently: ``"fail"``, ``"ours"`` (as it is in
                *into*), ``"theirs"``, a function of the `Conflict` that returns one of these or the bytes to write, or
                one of these for each of several globs.
            fast_forward: Where *into* has no commit of its own, only move it to *source*; otherwise make a commit.

        Returns:
            The new head; the head as it was when it holds *source* already.

        Raises:
            MergeConflictError: Both sides changed the same paths and *strategy* does not decide; nothing changed.
            NotFoundError: There is no such branch or commit.
            InvalidInputError: *source* is of another repo, or *strategy* means nothing.

        Cost: the pages in which the sides differ from their common base, and a commit.
        """
        target, theirs = parse_branch_ref(into), self._commit(source)
        self._check_same_repo(theirs, target)
        check_strategy(strategy)
        facts = self._facts_of(
            theirs, parse_text(message, "message") or f"merge {source} into {into}", author, metadata, merged=theirs
        )
        while True:
            _, ours = names.head_of(self._backend, target)
            base = merge_base(self._backend, ours, theirs)
            if base is not None and base.id == theirs.id and ours is not None:
                return ours
            if not (fast_forward and (ours is None or (base is not None and base.id == ours.id))):
                break
            expected = None if ours is None else ours.id

            def check(_connection: object, row: BranchRow, expected: str | None = expected) -> None:
                if row.head != expected:
                    raise HeadMovedError(str(target), expected, row.head)

            try:
                names.move_branch(self._backend, target, theirs, reason="fast-forward", check=check)
            except HeadMovedError:
                continue
            return theirs

        def change(ours: Commit | None) -> ThreeWay:
            return ThreeWay(merge_base(self._backend, ours, theirs), theirs, keeps_authors=True)

        return bring_in(self._backend, target, change, self._beginning(target, facts), strategy)

    def cherry_pick(
        self, commit: str, onto: str, *, message: str = "", author: str = "", strategy: Strategy = "fail"
    ) -> Commit:
        """Make on the branch *onto* the changes that one commit made, and return the new commit.

        Args:
            commit: ``repo@ref`` or a commit's ID, of the same repo.

        Raises:
            MergeConflictError, NotFoundError, InvalidInputError: As for `merge`.

        Cost: as `merge`.
        """
        target, picked = parse_branch_ref(onto), self._commit(commit)
        self._check_same_repo(picked, target)
        check_strategy(strategy)
        facts = self._facts_of(picked, parse_text(message, "message") or picked.message, author, None)
        base = None if picked.parent is None else self._commit_by_id(picked.parent)
        three = ThreeWay(base, picked, keeps_authors=False)
        return bring_in(self._backend, target, lambda _: three, self._beginning(target, facts), strategy)

    def revert(
        self,
        commit: str,
        on: str,
        *,
        since: str | None = None,
        message: str = "",
        author: str = "",
        strategy: Strategy = "fail",
    ) -> Commit:
        """Take back on the branch *on* the changes of one commit, or of all after *since*, and return the new commit.

        All or nothing, as one commit. What was changed again since then is a conflict.

        Args:
            commit: ``repo@ref`` or a commit's ID, of the same repo: the only one, or the newest one that is taken back.
            since: The commit before the oldest one that is taken back, in the history of *commit*: ``main~3`` with
                *commit* ``main`` are the last three. None: *commit* alone.

        Raises:
            MergeConflictError: Later commits touched the same paths, and *strategy* does not decide; its ``conflicts``
                list them. Nothing changed.
            NotFoundError: There is no such branch or commit.
            InvalidInputError: *commit* or *since* is of another repo, or *since* is not in the history of *commit*; or
                *strategy* means nothing.

        Cost: as `merge`, however many commits there are.
        """
        target, undone = parse_branch_ref(on), self._commit(commit)
        kept = None if since is None else self._commit(since)
        self._check_same_repo(undone, target)
        if kept is not None:
            self._check_same_repo(kept, target)
        check_strategy(strategy)
        three = taking_back(self._backend, undone, kept)
        default = f"revert {undone.id}" + ("" if kept is None else f" and what led to it after {kept.id}")
        facts = build_facts(
            message=parse_text(message, "message") or default,
            author=author,
            metadata=None,
            lineage_id=None,
            provenance=[undone.id],
            outputs=None,
        )
        return bring_in(self._backend, target, lambda _: three, self._beginning(target, facts), strategy)

    def squash(
        self,
        branch: str,
        since: str | None = None,
        *,
        message: str = "",
        author: str = "",
        metadata: Mapping[str, JSONValue] | None = None,
    ) -> Commit:
        """Put one commit, with the files of the head, in the place of all commits of a branch after *since*.

        Nothing is written again, and no bytes move. The files keep the commits that wrote them, whose records stay, so
        lineage leads where it did; the new commit has the lineage ID of the head, and was made from what all of them
        were made from, together. What it replaces stands in `reflog`, and can be gone back to with `reset` until
        garbage collection lets go of it; consumers whose cursor is there go on with what differs since.

        Args:
            branch: ``repo@branch``.
            since: The commit that stays below it, ``repo@ref`` or an ID; None for none: the whole history becomes one.
            message: By default the messages of all, oldest first.

        Returns:
            The new head; the head as it was when there is not more than one commit to squash.

        Raises:
            NotFoundError: There is no such branch or commit.
            InvalidInputError: The branch is protected or has no commit, or *since* is not in its history.
            CommitForgottenError: The data of the head or of *since* is not kept any more.

        Cost: the pages in which the two differ; 2 PUTs, 1 SQL transaction with 1 SELECT for each 200 commits.
        """
        facts = build_facts(
            message=message, author=author, metadata=metadata, lineage_id=None, provenance=[], outputs=None
        )
        base = None if since is None else self._commit(since)
        return squash(self._backend, parse_branch_ref(branch), base, facts)

    def _check_same_repo(self, commit: Commit, branch: BranchRef) -> None:
        if commit.repo != branch.repo:
            raise RefSyntaxError(str(commit), f"it must be of repo {branch.repo!r}, as {str(branch)!r} is")

    def _facts_of(
        self,
        theirs: Commit,
        message: str,
        author: str,
        metadata: Mapping[str, JSONValue] | None,
        *,
        merged: Commit | None = None,
    ) -> CommitFacts:
        facts = build_facts(
            message=message,
            author=author,
            metadata=metadata,
            lineage_id=theirs.lineage_id,
            provenance=[theirs.id],
            outputs=None,
        )
        return CommitFacts(
            facts.message, facts.author, facts.metadata, facts.lineage_id, facts.provenance, facts.outputs, merged
        )

    def _beginning(self, branch: BranchRef, facts: CommitFacts) -> Callable[[], Transaction]:
        return lambda: Transaction(
            self._backend, branch, facts=facts, empty=Empty.ALLOW, completes=(), resolve=self._snapshot_and_path
        )
