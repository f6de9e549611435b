"""From staged changes to commits: pages, then the record, then the catalog; again on the new head when it has moved.

Source: docs/design/0002-commit-protocol.md.
"""

import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pyarrow as pa
from sqlalchemy import Connection

from versioned_io.backend import Backend
from versioned_io.catalog.commits import commit_exists, get_commit
from versioned_io.catalog.due_keys import DueKey, complete_key
from versioned_io.catalog.idempotency import FirstTry, find_first_try, insert_key
from versioned_io.catalog.publishing import HeldTree, Publication, StoredContent, hold_trees, publish
from versioned_io.catalog.repos import BranchRow, lock_branch
from versioned_io.catalog.touched import touched_filter
from versioned_io.catalog.values import (
    Commit,
    CommitStats,
    InputFile,
    RunInfo,
)
from versioned_io.chunks.writer import DataWriter
from versioned_io.columns import text_column
from versioned_io.errors import (
    EmptyCommitError,
    ExistsError,
    HeadMovedError,
    InvalidInputError,
    PackLostError,
    StorageError,
    VersionedError,
)
from versioned_io.identifiers import (
    CommitId,
    LineageId,
    new_commit_id,
    new_lineage_id,
)
from versioned_io.packs.frames import pack_name
from versioned_io.pages.edit import edit_tree
from versioned_io.pages.schema import PageRef
from versioned_io.runs import Run
from versioned_io.transactions.conflicts import (
    BranchChanges,
    refuse_collisions,
    refuse_other_history,
    refuse_overlap,
)
from versioned_io.transactions.facts import CommitFacts, Empty
from versioned_io.transactions.lease import Lease
from versioned_io.transactions.record import CommitRecord, encode_record
from versioned_io.transactions.staging import EffectiveRows, effective_rows

OPTIMISTIC_ATTEMPTS = 3
"""How often a large transaction commits without holding the branches; then it holds them, and can't lose again."""

MOST_CHANGES_HELD = 1_000
"""A transaction of more changes is large: to write its pages takes longer than others should wait."""

_LONGEST_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """A whole transaction, ready to commit."""

    branches: tuple[BranchChanges, ...]
    facts: CommitFacts
    run: Run
    empty: Empty
    completes: tuple[DueKey, ...]
    lease: Lease
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a branch: its newest commit, and whether this transaction made it."""

    commit: Commit | None
    changed: bool


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where the commits of a plan come from: settled once, so that every attempt says the same."""

    lineage_id: LineageId
    provenance: tuple[CommitId, ...]
    inputs: tuple[InputFile, ...]
    info: RunInfo | None
    lost: list[CommitId] = field(default_factory=list)
    """The commits of earlier attempts, whose records lie in packs although no branch took them."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """What one branch becomes in one attempt; no publication means that it stays as it is."""

    head: Commit | None
    publication: Publication | None


_Head = tuple[BranchRow, Commit | None]


def publish_plan(backend: Backend, data: DataWriter, plan: CommitPlan) -> list[Outcome]:
    """Make the plan's commits visible, all or none, and return what became of each branch, in the plan's order.

    First without holding anything: the branches' heads are compared and moved in one catalog transaction. When they
    have moved and the changes are disjoint, with fresh pages on the new heads, and with the branches held, so that
    nobody is faster again. Who met others on a branch holds it from the start the next time. A large transaction
    tries three times before it holds anything.

    Raises:
        ConflictError, PathCollisionError, EmptyCommitError, ClaimLostError, StorageError: As `Transaction.finish` says.

    Source: docs/design/0002-commit-protocol.md.
    """
    earlier = _first_try(backend, plan)
    if earlier is None:
        try:
            return _outcomes(plan, _publish_in_turn(backend, data, plan, _settle_origin(plan)))
        except (_KeyTakenError, VersionedError):
            # Another try of the same transaction may have been faster: what is in the way is then its commit.
            earlier = _first_try(backend, plan)
            if earlier is None:
                raise
    data.abort()
    plan.lease.abandon()
    return earlier


class _KeyTakenError(Exception):
    """Another try of the same transaction was faster."""


def _first_try(backend: Backend, plan: CommitPlan) -> list[Outcome] | None:
    """Return what an earlier try of the same transaction left, or None when this is the first."""
    if plan.idempotency_key is None:
        return None
    with backend.catalog.read() as connection:
        left = find_first_try(connection, plan.idempotency_key)
        if left is None:
            return None
        refs = [str(branch.target.ref) for branch in plan.branches]
        if set(refs) != set(left):
            msg = (
                f"the idempotency key {plan.idempotency_key!r} is that of a transaction on {', '.join(sorted(left))}, "
                f"not on {', '.join(sorted(refs))}: use another key for other work"
            )
            raise InvalidInputError(msg)
        found = [left[ref] for ref in refs]
        return [
            Outcome(None if one.commit is None else get_commit(connection, one.commit), changed=one.changed)
            for one in found
        ]


def _publish_in_turn(backend: Backend, data: DataWriter, plan: CommitPlan, origin: _Origin) -> list[_Draft]:
    for attempt in range(_optimistic_attempts(backend, plan)):
        if attempt:
            time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 (spreads writers out, guards nothing)
        with backend.catalog.look_up() as connection:
            heads = [_head_of(connection, branch, is_first=attempt == 0) for branch in plan.branches]
        if not _is_large(plan) and _moved_branches(plan, heads):
            break
        # A tree may move to other packs while it is drafted on, and the old ones may be deleted: try where it lies now.
        with suppress(HeadMovedError, PackLostError):
            drafts = _draft_all(backend, data, plan, origin, heads)
            _commit_drafts(backend, data, plan, drafts)
            return drafts
    data.open_pack()  # what is much is stored before others have to wait for it
    return _commit_holding_branches(backend, data, plan, origin)


def _is_large(plan: CommitPlan) -> bool:
    return sum(branch.staging.changes for branch in plan.branches) > MOST_CHANGES_HELD


def _optimistic_attempts(backend: Backend, plan: CommitPlan) -> int:
    """Return how often to try without holding the branches. Where others write too, most races would be lost."""
    if _is_large(plan):
        return OPTIMISTIC_ATTEMPTS
    return 0 if any(branch.target.id in backend.busy_branches for branch in plan.branches) else 1


def _moved_branches(plan: CommitPlan, heads: Sequence[_Head]) -> set[int]:
    """Return the keys of the branches whose heads are not those any more that their changes were staged on."""
    pairs = zip(plan.branches, heads, strict=True)
    return {row.id for branch, (row, _) in pairs if row.head != (None if branch.base is None else branch.base.id)}


def _settle_origin(plan: CommitPlan) -> _Origin:
    lineage_id = plan.facts.lineage_id or plan.run.lineage_id or new_lineage_id()
    # In the order of the IDs, which is that of age, so that the record and the catalog say the same.
    provenance = tuple(sorted({*plan.facts.provenance, *plan.run.provenance}))
    return _Origin(lineage_id, provenance, _inputs_for(plan.run.inputs, plan.facts.outputs), plan.run.info)


def _inputs_for(inputs: tuple[InputFile, ...], outputs: Mapping[str, str]) -> tuple[InputFile, ...]:
    """Return what a commit was made from: with *outputs*, what was read for those, under their paths, and for all."""
    if not outputs:
        return inputs
    chosen = (replace(file, output=outputs.get(file.output, "")) for file in inputs if file.output in {"", *outputs})
    return tuple(dict.fromkeys(chosen))


def _head_of(connection: Connection, branch: BranchChanges, *, is_first: bool) -> _Head:
    row = lock_branch(connection, branch.target, wait=False)
    if is_first and branch.base is not None and branch.base.id == row.head:
        return row, branch.base  # its tree may lie elsewhere by now, which the draft or the catalog will say
    return _with_commit(connection, row)


def _with_commit(connection: Connection, row: BranchRow) -> _Head:
    return row, None if row.head is None else get_commit(connection, row.head)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt to write what the plan's branches become: pages and then records, durable at its end."""

    backend: Backend
    data: DataWriter
    plan: CommitPlan
    origin: _Origin

    def draft(self, branch: BranchChanges, row: BranchRow, head: Commit | None) -> _Draft:
        """Write what *branch* becomes on top of *head*; nothing refers to it yet."""
        root = None if head is None else head.root
        moved = row.head != (None if branch.base is None else branch.base.id)
        if moved:
            if self.plan.facts.merged is not None:
                refuse_other_history(self.backend, branch, head)
            refuse_overlap(self.backend, branch, head)
        commit_id = new_commit_id()
        deletes = branch.staging.deletes
        stated = branch.staging.rows(self.data, commit_id)
        rows = effective_rows(stated, root, deletes=bool(deletes), source=self.backend.pages)
        refuse_collisions(self.backend, branch, head, rows)
        new_root = edit_tree(root, rows.table, deletes, source=self.backend.pages, sink=self.data)
        if _digest(new_root) == _digest(root):
            if self.plan.empty is Empty.REFUSE:
                raise EmptyCommitError(str(row.ref))
            if self.plan.empty is Empty.SKIP:
                return _Draft(head, None)
            new_root = root
        commit = replace(self._describe(row, head, commit_id, new_root, rows), touched=_touched(rows, deletes))
        inputs = self.origin.inputs + branch.staging.origins(branch.base, rows.changed)
        record = self.data.put_commit(encode_record(self._record(commit, inputs)))
        reused = frozenset(map(pack_name, rows.packs())) - self.data.own_packs
        generation = 0 if head is None else head.generation
        publication = Publication(row, commit, pack_name(record.pack), inputs, reused, generation)
        return _Draft(head, publication)

    def _record(self, commit: Commit, inputs: tuple[InputFile, ...]) -> CommitRecord:
        return CommitRecord(commit, inputs, self.plan.idempotency_key, tuple(self.origin.lost))

    def _describe(
        self, row: BranchRow, parent: Commit | None, commit_id: CommitId, root: PageRef | None, rows: EffectiveRows
    ) -> Commit:
        now, merged = self.backend.clock(), self.plan.facts.merged
        files = 0 if root is None else root.files
        stats = CommitStats(
            added=rows.added,
            modified=rows.modified,
            deleted=(0 if parent is None else parent.stats.files) + rows.added - files,
            files=files,
            size_bytes=0 if root is None else root.size_bytes,
            bytes_written=rows.bytes_written,
            bytes_stored=self.data.bytes_stored,
        )
        return Commit(
            id=commit_id,
            lineage_id=self.origin.lineage_id,
            repo=row.ref.repo,
            branch=row.ref.branch,
            number=1 if parent is None else parent.number + 1,
            parent=None if parent is None else parent.id,
            provenance=self.origin.provenance,
            message=self.plan.facts.message,
            author=self.plan.facts.author,
            metadata=dict(self.plan.facts.metadata),
            # A branch's times never run backwards, whatever its writers' clocks do.
            created_at=time_after(now, parent, merged),
            run=self.origin.info,
            stats=stats,
            root=root,
            merged=None if merged is None else merged.id,
            epoch=row.epoch,
        )


def _touched(rows: EffectiveRows, deletes: Sequence[str]) -> bytes:
    """Return the filter of the paths that may change."""
    directories = [path.removesuffix("/") for path in deletes if path.endswith("/") or not path]
    files = text_column([path for path in deletes if path and not path.endswith("/")])
    return touched_filter(pa.chunked_array([*rows.table.column("path").chunks, files], pa.string()), directories)


def time_after(now: datetime, *parents: Commit | None) -> datetime:
    """Return *now*, or the first moment after all *parents* where a clock says that it is not that late yet."""
    return max([now, *(one.created_at + timedelta(microseconds=1) for one in parents if one is not None)])


def _draft_all(
    backend: Backend, data: DataWriter, plan: CommitPlan, origin: _Origin, heads: Sequence[_Head]
) -> list[_Draft]:
    """Write the pages and records of one attempt, durably; nothing refers to them yet."""
    attempt = _Attempt(backend, data, plan, origin)
    drafts: list[_Draft] = []
    try:
        for branch, (row, head) in zip(plan.branches, heads, strict=True):
            drafts.append(attempt.draft(branch, row, head))
        data.close_pack()
    finally:
        # Their records may get into a pack. If this attempt is the one that counts, no later record calls them lost.
        origin.lost.extend(draft.publication.commit.id for draft in drafts if draft.publication is not None)
    return drafts


def _commit_holding_branches(backend: Backend, data: DataWriter, plan: CommitPlan, origin: _Origin) -> list[_Draft]:
    """Draft and publish while no other writer can move the branches: what has lost every race can't lose this one."""
    drafts: list[_Draft] = []
    try:
        with backend.catalog.write() as connection, plan.lease.pause():
            ordered = sorted(plan.branches, key=lambda branch: branch.target.id)
            rows = {branch.target.id: lock_branch(connection, branch.target) for branch in ordered}
            held = hold_trees(connection, [row.head for row in rows.values() if row.head is not None])
            heads = [_with_commit(connection, rows[branch.target.id]) for branch in plan.branches]
            backend.busy_branches.difference_update(rows)
            backend.busy_branches.update(_moved_branches(plan, heads))
            drafts += _draft_all(backend, data, plan, origin, heads)
            _enter(connection, backend, data, plan, drafts, held=held)
    except StorageError:
        if not _were_published(backend, drafts):
            raise
    return drafts


def _commit_drafts(backend: Backend, data: DataWriter, plan: CommitPlan, drafts: Sequence[_Draft]) -> None:
    try:
        with backend.catalog.write() as connection:
            _enter(connection, backend, data, plan, drafts)
    except StorageError:
        # The reply may be lost and the commit made: IDs are unique to this attempt, so the catalog can tell.
        if not _were_published(backend, drafts):
            raise


def _enter(
    connection: Connection,
    backend: Backend,
    data: DataWriter,
    plan: CommitPlan,
    drafts: Sequence[_Draft],
    *,
    held: Mapping[CommitId, HeldTree] | None = None,
) -> None:
    publications = [draft.publication for draft in drafts if draft.publication is not None]
    if publications:
        content = StoredContent(data.packs(), data.new_chunks())
        publish(connection, publications, content, backend.clock(), held=held)
    plan.lease.end(connection)
    for due in plan.completes:
        complete_key(connection, due, backend.clock())
    if plan.idempotency_key is not None and (plan.completes or any(one.staging.changes for one in plan.branches)):
        left = {
            str(branch.target.ref): FirstTry(None if outcome.commit is None else outcome.commit.id, outcome.changed)
            for branch, outcome in zip(plan.branches, _left_by(drafts), strict=True)
        }
        try:
            insert_key(connection, plan.idempotency_key, left, backend.clock())
        except ExistsError:
            raise _KeyTakenError from None


def _were_published(backend: Backend, drafts: Sequence[_Draft]) -> bool:
    made = [draft.publication.commit.id for draft in drafts if draft.publication is not None]
    with backend.catalog.read() as connection:
        return bool(made) and all(commit_exists(connection, commit_id) for commit_id in made)


def _outcomes(plan: CommitPlan, drafts: Sequence[_Draft]) -> list[Outcome]:
    outcomes = _left_by(drafts)
    for outcome in outcomes:
        if outcome.changed and outcome.commit is not None:
            plan.run.note_made(outcome.commit)
    return outcomes


def _left_by(drafts: Sequence[_Draft]) -> list[Outcome]:
    return [
        Outcome(draft.head, changed=False)
        if draft.publication is None
        else Outcome(draft.publication.commit, changed=True)
        for draft in drafts
    ]


def _digest(root: PageRef | None) -> bytes | None:
    return None if root is None else root.digest
