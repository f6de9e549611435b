"""Firing across repos: the changed files are committed by reference, under the lineage ID of the source's commit."""

import pyarrow.compute as pc

from versioned_io.catalog.trigger_rows import TriggerRow
from versioned_io.model.columns import text_scalar
from versioned_io.model.commits import Commit
from versioned_io.model.idempotency import IdempotencyKey
from versioned_io.processing.triggers.lagging import Ends
from versioned_io.storage.pages.diff import diff
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.runs.run import Run
from versioned_io.versioning.snapshots.snapshot import Snapshot
from versioned_io.versioning.transactions.facts import CommitFacts, Empty
from versioned_io.versioning.transactions.staging import StagedFile
from versioned_io.versioning.transactions.transaction import Transaction, draft_of


def commit_copy(backend: Backend, row: TriggerRow, ends: Ends, because: str) -> Commit | None:
    """Make the tree of a branch equal to that of its source in one commit, and return that; None if the branch moved.

    No bytes move. The commit's provenance is the source's commit, which is the position of the trigger. Each file names
    the file that it is a copy of. Of several processes that copy onto the same head, one commits.

    Raises:
        StorageError: The object store or the catalog failed; nothing is visible.

    Cost: that of a commit of the changed files.
    """
    head = ends.head
    facts = CommitFacts(
        message=f"follow {row.source.ref}: {because}",
        author="",
        metadata={},
        lineage_id=head.lineage_id,
        provenance=(head.id,),
        outputs={},
    )
    # The same key for every copy onto this head, whichever commit of the source it takes: only one may follow on it.
    key = IdempotencyKey(f"trigger {row.branch_id} {row.head} {row.epoch}")
    run = Run(None)  # not the caller's, whose reads are not inputs of the copy
    with run.active():
        tx = Transaction(
            backend,
            row.branch,
            facts=facts,
            empty=Empty.ALLOW,
            completes=(),
            resolve=_refuse_paths,
            idempotency_key=key,
        )
        try:
            if (None if tx.base is None else tx.base.id) != row.head:
                return None
            _stage(backend, tx, ends, run)
            tx.finish()
        finally:
            tx.abandon()
    return tx.commit if tx.changed else None


def _stage(backend: Backend, tx: Transaction, ends: Ends, run: Run) -> None:
    before = None if ends.own is None else ends.own.readable_root
    found = diff(before, ends.head.readable_root, source=backend.pages)
    is_gone = pc.equal(found.column("change"), text_scalar("deleted"))
    staging = draft_of(tx).staging
    for path in found.filter(is_gone).column("path").to_pylist():
        staging.delete_file(path)
    source = Snapshot(backend, ends.head.repo, ends.head.id, ends.head, run=run)
    for path in found.filter(pc.invert(is_gone)).column("path").to_pylist():
        with run.making(path):
            row = source.row(path)
        staging.write(path, StagedFile(row, row.attributes))


def _refuse_paths(text: str) -> tuple[Snapshot, str]:
    raise NotImplementedError(text)
