"""Merging, cherry-picking, reverting, squashing: changes of one commit or history, brought onto a branch."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from versioned_io.errors import RefSyntaxError
from versioned_io.model.arguments import parse_flag, parse_text
from versioned_io.model.commits import Commit, JSONValue
from versioned_io.model.refs import BranchRef, parse_branch_ref
from versioned_io.store.resolving import Resolver
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.transactions.facts import CommitFacts, Empty, build_facts

if TYPE_CHECKING:
    from versioned_io.versioning.history.merging import ForeseenMerge, Strategy, ThreeWay
    from versioned_io.versioning.transactions.transaction import Transaction


class Merging:
    """How changes come from one history into another."""

    def __init__(self, backend: Backend, resolver: Resolver) -> None:
        self._backend = backend
        self._resolver = resolver

    def merge(
        self,
        source: str,
        into: str,
        *,
        message: str = "",
        author: str = "",
        metadata: Mapping[str, JSONValue] | None = None,
        strategy: "Strategy" = "fail",
        fast_forward: bool = True,
    ) -> Commit:
        """Merge the commits of *source* that *into* lacks into the branch *into*, and return its head.

        All or nothing, and no bytes move. Files keep their authors, so lineage and the log of a path lead through the
        merge. The commit carries the lineage ID of *source*, which caused it.

        >>> _ = store.create_branch("weather@dev", at="weather@main")
        >>> with store.transaction("weather@dev", message="load March") as tx:
        ...     _ = tx.write("2012/03.csv", b"date,rain")
        >>> store.merge("weather@dev", into="weather@main").message
        'load March'

        Args:
            source: ``repo@ref`` or a commit's ID, of the same repo.
            into: The branch ``repo@branch``.
            strategy: The choice where both sides changed a file differently: ``"fail"``, ``"ours"`` (the file of
                *into*) or ``"theirs"``. Or a function of the `Conflict` that returns one of these or the bytes to
                write, or a choice for each of several globs.
            fast_forward: Where *into* has no commit of its own, only move it to *source*; otherwise make a commit.

        Returns:
            The new head, or the unchanged head when it holds *source* already.

        Raises:
            MergeConflictError: Both sides changed the same paths and *strategy* does not decide; nothing changed.
            NotFoundError: The branch or the commit does not exist.
            InvalidInputError: *source* is of another repo, or *strategy* is unknown.

        Cost: 1 PUT, 1 SQL transaction, 9 to 20 SELECTs where the sides have one base. Also 1 GET for each page in
            which a side differs from it.
        """
        from versioned_io.versioning.history.merging import (
            ThreeWay,
            bases_of,
            bring_in,
            check_strategy,
            find_or_move_head,
        )

        target, theirs = parse_branch_ref(into), self._resolver.commit(source)
        self._check_same_repo(theirs, target)
        check_strategy(strategy)
        parse_flag(fast_forward, "fast_forward")
        facts = self._facts_of(
            theirs, parse_text(message, "message") or f"merge {source} into {into}", author, metadata, merged=theirs
        )
        if (head := find_or_move_head(self._backend, target, theirs, fast_forward=fast_forward)) is not None:
            return head

        def change(ours: Commit | None) -> "ThreeWay":
            return ThreeWay.between(bases_of(self._backend, ours, theirs), theirs)

        return bring_in(self._backend, target, change, self._beginning(target, facts), strategy)

    def foresee_merge(
        self, source: str, into: str, *, strategy: "Strategy" = "fail", fast_forward: bool = True
    ) -> "ForeseenMerge":
        """Return the changes and the conflicts that `merge` with these arguments would have now; nothing is written.

        >>> _ = store.create_branch("weather@foreseen", at="weather@main")
        >>> with store.transaction("weather@foreseen") as tx:
        ...     _ = tx.write("2012/04.csv", b"date,rain")
        >>> found = store.foresee_merge("weather@foreseen", into="weather@main")
        >>> found.kind, found.changes.column("path").to_pylist(), found.conflicts
        ('fast-forward', ['2012/04.csv'], ())

        Raises:
            NotFoundError, InvalidInputError: As for `merge`.

        Cost: 9 to 20 SELECTs, and 1 GET for each page in which a side differs from the base or from the other.
        """
        from versioned_io.versioning.history.merging import check_strategy, foresee_merge

        target, theirs = parse_branch_ref(into), self._resolver.commit(source)
        self._check_same_repo(theirs, target)
        check_strategy(strategy)
        parse_flag(fast_forward, "fast_forward")
        return foresee_merge(self._backend, target, theirs, strategy, fast_forward=fast_forward)

    def cherry_pick(
        self, commit: str, onto: str, *, message: str = "", author: str = "", strategy: "Strategy" = "fail"
    ) -> Commit:
        """Repeat the changes of one commit on the branch *onto*, and return the new commit.

        >>> _ = store.create_branch("weather@fixed", at="weather@main~1")
        >>> store.cherry_pick("weather@main", onto="weather@fixed").message
        'correct February'

        Args:
            commit: ``repo@ref`` or a commit's ID, of the same repo.

        Raises:
            MergeConflictError, NotFoundError, InvalidInputError: As for `merge`.

        Cost: as `merge`.
        """
        from versioned_io.versioning.history.merging import ThreeWay, bring_in, check_strategy

        target, picked = parse_branch_ref(onto), self._resolver.commit(commit)
        self._check_same_repo(picked, target)
        check_strategy(strategy)
        facts = self._facts_of(picked, parse_text(message, "message") or picked.message, author, None)
        base = None if picked.parent is None else self._resolver.commit_by_id(picked.parent)
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
        strategy: "Strategy" = "fail",
    ) -> Commit:
        """Revert one commit, or all commits after *since*, on the branch *on*, and return the new commit.

        All or nothing, as one commit. A path that a later commit changed again is a conflict.

        >>> reverted = store.revert("weather@main", on="weather@main")
        >>> store.diff("weather@main~2", "weather@main").num_rows
        0

        Args:
            commit: ``repo@ref`` or a commit's ID, of the same repo: the only or the newest commit to revert.
            since: The commit before the oldest one to revert, in the history of *commit*. ``main~3`` with *commit*
                ``main`` reverts the last three. None: *commit* alone.

        Raises:
            MergeConflictError: Later commits touched the same paths, and *strategy* does not decide; its ``conflicts``
                list them. Nothing changed.
            NotFoundError: The branch or the commit does not exist.
            InvalidInputError: *commit* or *since* is of another repo, or *since* is not in the history of *commit*. Or
                *strategy* is unknown.

        Cost: as `merge`, however many commits there are.
        """
        from versioned_io.versioning.history.merging import bring_in, check_strategy, taking_back

        target, undone = parse_branch_ref(on), self._resolver.commit(commit)
        kept = None if since is None else self._resolver.commit(since)
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
        """Replace all commits of a branch after *since* by one commit with the files of the head, and return it.

        No bytes move. The files keep the commits that wrote them, whose records stay, so lineage is unchanged. The new
        commit has the lineage ID of the head, and the provenance of all of them. `reflog` records the old head, and a
        `reset` to it reverts this until garbage collection expires it. A consumer whose cursor is at a replaced commit
        continues with the difference since then.

        >>> store.squash("weather@main", message="2012").number
        1

        Args:
            branch: ``repo@branch``.
            since: The commit that stays as the parent, ``repo@ref`` or an ID; None to squash the whole history.
            message: By default the messages of all, oldest first.

        Returns:
            The new head, or the unchanged head when there is at most one commit to squash.

        Raises:
            NotFoundError: The branch or the commit does not exist.
            InvalidInputError: The branch is protected or has no commit, or *since* is not in its history.
            CommitForgottenError: The data of the head or of *since* was expired.

        Cost: 2 PUTs, 1 SQL transaction, 9 to 20 SELECTs. Also 1 SELECT for each 200 commits, and 1 GET for each page
            in which the two differ.
        """
        from versioned_io.versioning.history.squashing import squash

        facts = build_facts(
            message=message, author=author, metadata=metadata, lineage_id=None, provenance=[], outputs=None
        )
        base = None if since is None else self._resolver.commit(since)
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

    def _beginning(self, branch: BranchRef, facts: CommitFacts) -> "Callable[[], Transaction]":
        from versioned_io.versioning.transactions.transaction import Transaction

        return lambda: Transaction(
            self._backend,
            branch,
            facts=facts,
            empty=Empty.ALLOW,
            completes=(),
            resolve=self._resolver.snapshot_and_path,
        )
