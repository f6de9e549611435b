"""Writing: changes are staged, on one branch or several, and become commits all at once or not at all."""

import logging
from types import TracebackType
from typing import Self, TypeAlias

from versioned_io.catalog.chunk_index import CatalogChunkIndex
from versioned_io.catalog.commits import find_head
from versioned_io.catalog.repo_rows import BranchRow
from versioned_io.errors import InvalidInputError
from versioned_io.model.commits import Commit
from versioned_io.model.due_keys import DueKey
from versioned_io.model.idempotency import IdempotencyKey
from versioned_io.model.refs import BranchRef, parse_branch_ref
from versioned_io.model.repo_kinds import RepoKind
from versioned_io.platform.forwarding import forward
from versioned_io.storage.chunks.data_writer import DataWriter
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.runs.run import Run, current_run
from versioned_io.versioning.transactions.branch_draft import BranchDraft, Outcome
from versioned_io.versioning.transactions.facts import CommitFacts, Empty
from versioned_io.versioning.transactions.lease import Lease
from versioned_io.versioning.transactions.local_tree import NotKept
from versioned_io.versioning.transactions.plan import Alongside, CommitPlan
from versioned_io.versioning.transactions.publish import publish_plan
from versioned_io.versioning.transactions.rearranging import SnapshotResolver
from versioned_io.versioning.transactions.staged_branch import StagedBranch

_log = logging.getLogger(__name__)


class Transaction:
    """Staged changes to one branch, and through `branch` to others; the end of the ``with`` block commits them all.

    An exception in the block abandons all changes, and nothing was ever visible. When another writer has moved a branch
    meanwhile, the changes are replayed on its new head. If both changed the same path, `ConflictError` names the path
    and the commit that won.
    """

    def __init__(
        self,
        backend: Backend,
        ref: BranchRef,
        *,
        facts: CommitFacts,
        empty: Empty,
        completes: tuple[DueKey, ...],
        resolve: SnapshotResolver,
        idempotency_key: IdempotencyKey | None = None,
        alongside: tuple[Alongside, ...] = (),
    ) -> None:
        self._backend = backend
        self._lease = Lease(backend)
        index = CatalogChunkIndex(backend.catalog)
        self._data = DataWriter(
            backend.objects,
            index,
            elsewhere=backend.elsewhere,
            damages=backend.damages,
            before_early_pack=self._lease.hold,
        )
        self._facts = facts
        self._empty = empty
        self._completes = completes
        self._idempotency_key = idempotency_key
        self._alongside = alongside
        self._run = current_run() or Run(None)
        self._resolve = resolve
        self._branches: dict[BranchRef, StagedBranch] = {}
        self._own = self._stage(ref)

    def __reduce__(self) -> tuple[object, ...]:
        msg = "an open transaction can't be pickled: begin one in the process that writes, and commit there"
        raise InvalidInputError(msg)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
        elif draft_of(self).is_open:
            self.finish()

    @property
    def base(self) -> Commit | None:
        """The head of the branch when the transaction began; None if it had no commit."""
        return self._own.base

    @property
    def commit(self) -> Commit:
        """The commit that this made, or, when nothing changed and none was made, the unchanged head.

        Raises:
            InvalidInputError: The transaction is still open or was abandoned, or the branch never had a commit.
        """
        return self._own.commit

    @property
    def changed(self) -> bool:
        """Whether a commit was made."""
        return self._own.changed

    @property
    def not_kept(self) -> NotKept:
        """The modes and empty directories of imported local directories that are not kept: see `write_tree`."""
        return self._own.not_kept

    write = forward("_own", StagedBranch.write)
    write_tree = forward("_own", StagedBranch.write_tree)
    copy = forward("_own", StagedBranch.copy)
    move = forward("_own", StagedBranch.move)
    delete = forward("_own", StagedBranch.delete)
    delete_glob = forward("_own", StagedBranch.delete_glob)
    reference = forward("_own", StagedBranch.reference)
    reference_tree = forward("_own", StagedBranch.reference_tree)
    read = forward("_own", StagedBranch.read)
    exists = forward("_own", StagedBranch.exists)
    list = forward("_own", StagedBranch.list)

    def branch(self, ref: str) -> StagedBranch:
        """Return the staging of the branch ``repo@branch`` in this transaction, begun the first time.

        >>> _ = store.create_repo("labels")
        >>> with store.transaction("weather@main") as tx:
        ...     _ = tx.write("2012/03.csv", b"date,rain")
        ...     labels = tx.branch("labels@main")
        ...     _ = labels.write("2012/03.txt", b"dry")
        >>> tx.commit.lineage_id == labels.commit.lineage_id
        True

        Raises:
            RepoNotFoundError, RefNotFoundError: There is no such branch; create it first.

        Cost: 1 SELECT the first time.
        """
        draft_of(self).check_open("write to another branch")
        target = parse_branch_ref(ref)
        return self._branches.get(target) or self._stage(target)

    def abort(self) -> None:
        """Abandon every staged change; uploaded packs stay as garbage for the collector.

        In a forked child only the child's copy ends. The transaction stays open in the process that began it.

        >>> tx = store.transaction("weather@main")
        >>> _ = tx.write("2012/03.csv", b"date,rain")
        >>> tx.abort()
        >>> store.snapshot("weather@main").exists("2012/03.csv")
        False

        Cost: none; 1 SQL transaction if the transaction had leased its packs.
        """
        if draft_of(self).is_here:
            self._data.abort()
            self._lease.abandon()
        for draft in self._drafts():
            draft.close(Outcome(None, changed=False), "the transaction was abandoned")

    def abandon(self) -> None:
        """Abandon the transaction if it has not ended yet.

        >>> tx = store.transaction("weather@main")
        >>> _ = tx.write("2012/03.csv", b"date,rain")
        >>> tx.finish()
        >>> tx.abandon()
        >>> tx.changed
        True

        Cost: as `abort`.
        """
        if draft_of(self).is_open:
            self.abort()

    def finish(self) -> None:
        """Commit every staged change, on all branches or on none. The end of the ``with`` block calls this.

        When it fails for certain, what it stored is deleted at once; when its outcome is unknown, that stays.

        >>> tx = store.transaction("weather@main", message="load March")
        >>> _ = tx.write("2012/03.csv", b"date,rain")
        >>> tx.finish()
        >>> tx.commit.message
        'load March'

        Raises:
            ConflictError: Another writer changed one of the same paths first; read its commit and begin again.
            PathCollisionError: A path would be a file and a directory; delete one of them.
            EmptyCommitError: Nothing changed, and the transaction was begun with ``empty="refuse"``.
            ClaimLostError: Another worker has claimed a key of *completes* since; discard the work.
            OutcomeUnknownError: The connection broke during COMMIT, and the catalog does not answer, so the commits may
                exist. Look for those that the error names, or begin again with the same *idempotency_key*.
            StorageError: The object store or the catalog failed otherwise; nothing is visible, begin again.

        Cost: for a small commit 1 PUT, 2 SELECTs, 1 SQL transaction of 9 statements. Also 1 GET for each page that it
            changes, and 1 PUT for every 48 MiB of new data. Without a change: 1 SELECT, 1 SQL transaction of 1
            statement. When others are faster: 1 PUT more, for the pages, never for the data; a large one at most 3.
            When it fails: 1 DELETE for each pack that was stored, and 1 SQL transaction for all.
        """
        draft_of(self).check_open("commit")
        drafts = self._drafts()
        plan = CommitPlan(
            branches=drafts,
            facts=self._facts,
            run=self._run,
            empty=self._empty,
            completes=self._completes,
            lease=self._lease,
            idempotency=self._idempotency_key,
            alongside=self._alongside,
        )
        try:
            outcomes = publish_plan(self._backend, self._data, plan)
        except BaseException:
            self.abort()
            raise
        for draft, outcome in zip(drafts, outcomes, strict=True):
            draft.close(outcome, f"nothing was ever committed to {draft.target.ref}")
        own = [one for draft, one in zip(drafts, outcomes, strict=True) if draft.target.kind is RepoKind.USER]
        self._call_hooks(tuple(one.commit for one in own if one.changed and one.commit is not None))

    def _call_hooks(self, commits: tuple[Commit, ...]) -> None:
        """Call the hooks of `Store.after_commit`. The commits stand, whatever a hook does."""
        for hook in [*self._backend.commit_hooks] if commits else ():
            try:
                hook(commits)
            except Exception as error:  # noqa: BLE001 (its failure must not look like that of the commit)
                _log.warning("a hook after the commit %s failed (%s: %s)", commits[0], type(error).__name__, error)

    def _drafts(self) -> tuple[BranchDraft, ...]:
        return tuple(draft_of(branch) for branch in self._branches.values())

    def _stage(self, ref: BranchRef) -> StagedBranch:
        """Begin the staging of a branch."""
        row, base = self._find(ref)
        draft = BranchDraft(self._backend, self._data.intake, row, base, run=self._run)
        self._branches[ref] = StagedBranch(self._backend, draft, self._resolve)
        return self._branches[ref]

    def _find(self, ref: BranchRef) -> tuple[BranchRow, Commit | None]:
        with self._backend.catalog.look_up() as connection:
            row, head = find_head(connection, ref)
            if head is not None:
                self._backend.catalog.note_seen(connection, str(ref), head.id)
            return row, head


Staged: TypeAlias = StagedBranch | Transaction
"""Accepts the changes of one branch; a transaction accepts those of the branch that it was begun for."""


def draft_of(staged: Staged) -> BranchDraft:
    """Return the draft of *staged*, for merges, formats and the commit."""
    branch = staged._own if isinstance(staged, Transaction) else staged  # noqa: SLF001 - this is the way to it
    return branch._draft  # noqa: SLF001 - likewise


def stage_system_branch(tx: Transaction, target: BranchRef) -> StagedBranch:
    """Return the staging of a branch of a repo of any kind in *tx*. Cost: 1 SELECT the first time."""
    draft_of(tx).check_open("write to another branch")
    return tx._branches.get(target) or tx._stage(target)  # noqa: SLF001 (users name no system repo)
