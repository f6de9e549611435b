"""Writing and reading: transactions and snapshots."""

from collections.abc import Mapping, Sequence
from typing import Literal

from versioned_io.arguments import parse_items
from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.due_keys import DueKey
from versioned_io.catalog.idempotency import parse_key
from versioned_io.catalog.values import JSONValue
from versioned_io.errors import (
    CommitNotFoundError,
)
from versioned_io.identifiers import CommitId
from versioned_io.refs import (
    parse_branch_ref,
)
from versioned_io.snapshots.snapshot import Snapshot
from versioned_io.store.resolving import Resolving
from versioned_io.transactions.facts import Empty, build_facts, parse_empty
from versioned_io.transactions.transaction import Transaction


class Files(Resolving):
    """How files are written and read."""

    def transaction(
        self,
        branch: str,
        *,
        message: str = "",
        author: str = "",
        metadata: Mapping[str, JSONValue] | None = None,
        lineage_id: str | None = None,
        provenance: Sequence[str] = (),
        outputs: Mapping[str, str] | None = None,
        empty: Empty | Literal["skip", "allow", "refuse"] = Empty.SKIP,
        completes: Sequence[DueKey] = (),
        idempotency_key: str | None = None,
    ) -> Transaction:
        """Begin staged changes to the branch ``repo@branch``, which the end of the ``with`` block commits, all or none.

        Args:
            metadata: JSON values to keep with the commits.
            lineage_id: What the commits carry; by default what the active run says, or a new one.
            provenance: IDs of commits that the new ones are made from, beside those that were read in the run.
            outputs: Name → path of the outputs that this transaction stores, where the run noted reads by name
                (`Run.making`). What was read for other names is then left out.
            empty: What to do when nothing changed in the end.
            completes: Claimed partition keys that are done by this work: marked in the same instant, or not at all.
            idempotency_key: What a retry is recognised by: of all transactions with this key the first commits, and the
                others end with its commits, whatever they staged. One that stages nothing does not count.

        Raises:
            RepoNotFoundError, RefNotFoundError: There is no such branch; make it first.
            CommitNotFoundError: A commit of *provenance* does not exist.
            RefSyntaxError, InvalidInputError: An argument is malformed.

        Cost: 2 SELECTs; see `Transaction.finish` for the commit.
        """
        facts = build_facts(
            message=message,
            author=author,
            metadata=metadata,
            lineage_id=lineage_id,
            provenance=provenance,
            outputs=outputs,
        )
        self._check_commits(facts.provenance)
        return Transaction(
            self._backend,
            parse_branch_ref(branch),
            facts=facts,
            empty=parse_empty(empty),
            completes=parse_items(completes, DueKey, "completes"),
            resolve=self._snapshot_and_path,
            idempotency_key=parse_key(idempotency_key),
        )

    def snapshot(self, ref: str) -> Snapshot:
        """Return the read view of the commit that *ref* names.

        After ``repo@`` stands a branch, a tag, a commit ID or a lineage ID; ``~2`` goes two commits back. A branch
        without a commit gives an empty snapshot.

        Raises:
            RepoNotFoundError, RefNotFoundError, RefSyntaxError: There is no such commit.

        Cost: 3 to 7 SELECTs.
        """
        return self._snapshot(self._commit_ref(ref))

    def _check_commits(self, commit_ids: Sequence[CommitId]) -> None:
        if not commit_ids:
            return
        with self._backend.catalog.read() as connection:
            missing = set(commit_ids) - set(get_commits(connection, commit_ids))
        if missing:
            raise CommitNotFoundError(min(missing))
