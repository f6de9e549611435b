"""One attempt to write a transaction: pages and then records on the heads that its branches have now.

Source: docs/design/0002-commit-protocol.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from versioned_io.catalog.confirming import with_confirmations
from versioned_io.catalog.publishing import Publication
from versioned_io.catalog.repo_rows import BranchRow
from versioned_io.errors import ConflictError, EmptyCommitError
from versioned_io.model.columns import text_column
from versioned_io.model.commits import Commit, CommitStats, Confirmation, InputFile, RunInfo
from versioned_io.model.damages import Healed
from versioned_io.model.identifiers import CommitId, LineageId, new_commit_id, new_lineage_id
from versioned_io.model.places import PageRef, pack_name
from versioned_io.model.refs import BranchRef
from versioned_io.model.repo_kinds import RepoKind
from versioned_io.storage.chunks.data_writer import DataWriter
from versioned_io.storage.pages.touched import touched_filter
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.transactions.branch_draft import Outcome
from versioned_io.versioning.transactions.conflicts import BranchChanges, refuse_other_history, refuse_overlap
from versioned_io.versioning.transactions.edited_tree import TreeEdit
from versioned_io.versioning.transactions.facts import Empty
from versioned_io.versioning.transactions.plan import CommitPlan
from versioned_io.versioning.transactions.record import CommitRecord, encode_record
from versioned_io.versioning.transactions.staging import EffectiveRows
from versioned_io.versioning.transactions.unchanged import comes_from_elsewhere

Head = tuple[BranchRow, Commit | None]


@dataclass(frozen=True, slots=True)
class Origin:
    """The provenance of a plan's commits, computed once, so that every attempt records the same."""

    lineage_id: LineageId
    provenance: tuple[CommitId, ...]
    inputs: tuple[InputFile, ...]
    info: RunInfo | None
    inputs_are_complete: bool
    lost: list[CommitId] = field(default_factory=list)
    """The commits of earlier attempts, whose records are in packs although no branch points at them."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The draft of one branch in one attempt; without a publication the branch stays unchanged."""

    head: Commit | None
    publication: Publication | None
    ref: BranchRef
    healed: tuple[Healed, ...] = ()
    """Damaged contents with a repaired copy in the packs of this attempt."""

    @property
    def outcome(self) -> Outcome:
        """The result on the branch if this attempt is committed."""
        if self.publication is None:
            return Outcome(self.head, changed=False)
        return Outcome(self.publication.commit, changed=True)


def settle_origin(backend: Backend, plan: CommitPlan) -> Origin:
    """Return the provenance of the commits of *plan*. Cost: 1 SELECT if its run read files."""
    lineage_id = plan.facts.lineage_id or plan.run.lineage_id or new_lineage_id()
    # Sorted by ID, so that the record and the catalog have the same order.
    provenance = tuple(sorted({*plan.facts.provenance, *plan.run.provenance}))
    inputs = _with_makers(backend, _inputs_for(plan.run.inputs, plan.facts.outputs))
    return Origin(lineage_id, provenance, inputs, plan.run.info, not plan.run.doubts)


def _with_makers(backend: Backend, inputs: tuple[InputFile, ...]) -> tuple[InputFile, ...]:
    """Return the inputs with the commits that confirmed them before they were read. Later commits can't change it."""
    if not inputs:
        return inputs
    with backend.catalog.look_up() as connection:
        return with_confirmations(connection, inputs)


def _inputs_for(inputs: tuple[InputFile, ...], outputs: Mapping[str, str]) -> tuple[InputFile, ...]:
    """Return the inputs of a commit: those for the whole commit, and those for *outputs*, under the outputs' paths."""
    if not outputs:
        return inputs
    chosen = (replace(file, output=outputs.get(file.output, "")) for file in inputs if file.output in {"", *outputs})
    return tuple(dict.fromkeys(chosen))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to write the plan's branches: pages and then records, durable at its end."""

    backend: Backend
    data: DataWriter
    plan: CommitPlan
    origin: Origin

    def draft(self, branch: BranchChanges, row: BranchRow, head: Commit | None) -> Draft:
        """Write the changes of *branch* on top of *head*; nothing refers to them yet."""
        root = None if head is None else head.root
        moved = row.head != (None if branch.base is None else branch.base.id)
        if moved and branch.is_exact:
            raise ConflictError(str(row.ref), (), "" if row.head is None else row.head)
        if moved and not branch.is_fresh:
            if self.plan.facts.merged is not None:
                refuse_other_history(self.backend, branch, head)
            refuse_overlap(self.backend, branch, head)
        commit_id = new_commit_id()
        deletes = branch.staging.deletes
        stated = branch.staging.rows(self.data.placer, commit_id)
        edited = TreeEdit(self.backend, self.data, branch, head, stated).run()
        rows, new_root = edited.rows, edited.root
        if not edited.changes_content:
            is_healed = edited.base != root
            if self.plan.empty is Empty.REFUSE and not is_healed:
                raise EmptyCommitError(str(row.ref))
            if self.plan.empty is Empty.SKIP and not is_healed and not self._says_more(branch, head, rows):
                return Draft(head, None, row.ref)
            new_root = edited.base
        healed = (*self.data.placer.healed(), *edited.healed)
        commit = self._describe(row, head, commit_id, new_root, rows)
        stats = replace(commit.stats, healed=len(healed))
        commit = replace(commit, stats=stats, touched=_touched(rows, [""] if branch.is_fresh else deletes))
        confirmed = self._confirmed(branch, rows)
        inputs: tuple[InputFile, ...] = ()
        if row.kind is RepoKind.USER:
            own = branch.staging.origins(branch.base, {*rows.changed.to_pylist(), *(one.path for one in confirmed)})
            inputs = self.origin.inputs + _with_makers(self.backend, own)
        stated_by = CommitRecord(commit, inputs, self.plan.idempotency_key, tuple(self.origin.lost), healed, confirmed)
        record = self.data.packs.put_commit(encode_record(stated_by))
        packs = {*map(pack_name, rows.packs()), *(pack_name(one.frame.pack) for one in healed)}
        reused = frozenset(packs) - self.data.packs.own
        generation = 0 if head is None else head.generation
        publication = Publication(row, commit, pack_name(record.pack), inputs, reused, generation, confirmed)
        return Draft(head, publication, row.ref, healed)

    def _says_more(self, branch: BranchChanges, head: Commit | None, rows: EffectiveRows) -> bool:
        """Return whether a run made the same files from other inputs than lineage records."""
        if head is None or not self.origin.provenance:
            return False
        with self.backend.catalog.look_up() as connection:
            confirmed = self._confirmed(branch, rows)
            return comes_from_elsewhere(connection, head, confirmed, self.origin.inputs, self.origin.provenance)

    def _confirmed(self, branch: BranchChanges, rows: EffectiveRows) -> tuple[Confirmation, ...]:
        """Return the files that were written again with the same bytes, by a run or from recorded reads.

        A file that was written again by hand, without reads, has no known source, so it confirms nothing.
        """
        columns = (rows.confirmed.column(name).to_pylist() for name in ("path", "commit"))
        found = (Confirmation(path, CommitId(author.hex())) for path, author in zip(*columns, strict=True))
        if self.origin.info is not None or self.origin.provenance:
            return tuple(found)
        copies = branch.staging.copies()
        return tuple(one for one in found if one.path in copies)

    def _describe(
        self, row: BranchRow, parent: Commit | None, commit_id: CommitId, root: PageRef | None, rows: EffectiveRows
    ) -> Commit:
        now, merged = self.backend.clock(), self.plan.facts.merged
        if parent is not None:
            self.backend.clock_watch.compare(now, parent.created_at, f"the newest commit on {row.ref} is dated")
        files = 0 if root is None else root.files
        # From the parent's present tree, since a purge may have made it smaller than its stats.
        before = 0 if parent is None or parent.root is None else parent.root.files
        stats = CommitStats(
            added=rows.added,
            modified=rows.modified,
            deleted=before + rows.added - files,
            files=files,
            size_bytes=0 if root is None else root.size_bytes,
            bytes_written=rows.bytes_written,
            bytes_stored=self.data.packs.bytes_stored,
        )
        return Commit(
            id=commit_id,
            lineage_id=self.origin.lineage_id,
            repo=row.ref.repo,
            recorded_repo=row.recorded_repo,
            branch=row.ref.branch,
            number=1 if parent is None else parent.number + 1,
            parent=None if parent is None else parent.id,
            provenance=self.origin.provenance if row.kind is RepoKind.USER else (),
            message=self.plan.facts.message,
            author=self.plan.facts.author,
            metadata=dict(self.plan.facts.metadata),
            created_at=now,
            run=self.origin.info,
            stats=stats,
            root=root,
            merged=None if merged is None else merged.id,
            epoch=row.epoch,
            order=row.latest + 1,
            inputs_are_complete=self.origin.inputs_are_complete,
        )


def _touched(rows: EffectiveRows, deletes: Sequence[str]) -> bytes:
    """Return the filter of the paths that the commit may change."""
    directories = [path.removesuffix("/") for path in deletes if path.endswith("/") or not path]
    files = text_column([path for path in deletes if path and not path.endswith("/")])
    return touched_filter(pa.chunked_array([*rows.table.column("path").chunks, files], pa.string()), directories)


def draft_all(
    backend: Backend, data: DataWriter, plan: CommitPlan, origin: Origin, heads: Sequence[Head]
) -> list[Draft]:
    """Write the pages and records of one attempt, durably; nothing refers to them yet."""
    attempt = Attempt(backend, data, plan, origin)
    drafts: list[Draft] = []
    data.begin_pages()
    try:
        for branch, (row, head) in zip(plan.branches, heads, strict=True):
            drafts.append(attempt.draft(branch, row, head))
        data.close_pack()
    finally:
        # Their records may be stored in a pack. If this attempt succeeds, no later record lists them as replaced.
        origin.lost.extend(draft.publication.commit.id for draft in drafts if draft.publication is not None)
    return drafts
