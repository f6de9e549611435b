"""Writing and reading: transactions and snapshots."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from versioned_io.catalog.commits import get_commits
from versioned_io.errors import (
    CommitNotFoundError,
    InvalidInputError,
)
from versioned_io.model.arguments import check_callable, parse_choice, parse_items
from versioned_io.model.commits import Commit, JSONValue
from versioned_io.model.due_keys import DueKey
from versioned_io.model.idempotency import Retries, parse_idempotency
from versioned_io.model.identifiers import CommitId
from versioned_io.model.refs import parse_branch_ref
from versioned_io.store.resolving import Resolver
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.transactions.facts import Empty, build_facts

if TYPE_CHECKING:
    from versioned_io.versioning.snapshots.snapshot import Snapshot
    from versioned_io.versioning.transactions.transaction import Transaction


class Files:
    """Transactions and snapshots of a store."""

    def __init__(self, backend: Backend, resolver: Resolver) -> None:
        self._backend = backend
        self._resolver = resolver

    def after_commit(self, hook: Callable[[tuple[Commit, ...]], object]) -> None:
        """Call *hook* after each transaction of this store that commits, with the commits that it made.

        The commits are visible to everybody by then, and stand. If the hook raises an exception, it is logged as one
        warning. The library itself sends nothing anywhere. A store that is unpickled has no hooks; in a forked
        process it keeps those of its parent.

        >>> made = []
        >>> store.after_commit(lambda commits: made.extend(commits))
        >>> with store.transaction("weather@main") as tx:
        ...     _ = tx.write("2012/03.csv", b"date,rain")
        >>> made == [tx.commit]
        True

        Args:
            hook: Called in the thread that commits, which waits for it. A try that finds the commit of an earlier try
                calls it, too.

        Cost: none.
        """
        if hook is None:
            msg = "hook must be a callable, not None"
            raise InvalidInputError(msg)
        check_callable(hook, "hook")
        self._backend.commit_hooks.append(hook)

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
        retries: Retries | Literal["any", "equal"] = Retries.ANY,
    ) -> "Transaction":
        """Begin staged changes to the branch ``repo@branch``; the end of the ``with`` block commits all or none.

        >>> with store.transaction("weather@main", message="load March") as tx:
        ...     _ = tx.write("2012/03.csv", b"date,rain")
        >>> tx.commit.number, tx.commit.message
        (3, 'load March')

        Args:
            metadata: JSON values to keep with the commits.
            lineage_id: The lineage ID of the commits; by default that of the active run, or a new one.
            provenance: IDs of commits that the new ones are made from, beside those that were read in the run.
            outputs: Name → path of the outputs that this transaction stores, where the run noted reads by name
                (`Run.making`). Reads for other names are then left out.
            empty: Whether a transaction without a change makes no commit (``skip``), makes one (``allow``), or raises
                (``refuse``). ``skip`` makes a commit when the run read other inputs than the files were made from. It
                changes no file, and lineage names the new inputs.
            completes: Claimed partition keys that this work completes, in the same SQL transaction as the commit.
            idempotency_key: Identifies a retry. The first transaction with this key commits; later ones return its
                commits, whatever they staged. One that stages nothing does not count. A key is kept for 30 days.
            retries: ``equal`` for work that may give another result the next time. Only a transaction that stages the
                same files is then a retry.

        Raises:
            RepoNotFoundError, RefNotFoundError: There is no such branch; create it first.
            CommitNotFoundError: A commit of *provenance* does not exist.
            RefSyntaxError, InvalidInputError: An argument is malformed.
            CatalogOlderError: The catalog was older than the packs at the last check; run `versioned recover`.

        Cost: 1 SELECT, 1 more with *provenance*; see `Transaction.finish` for the commit.
        """
        from versioned_io.versioning.transactions.transaction import Transaction

        facts = build_facts(
            message=message,
            author=author,
            metadata=metadata,
            lineage_id=lineage_id,
            provenance=provenance,
            outputs=outputs,
        )
        self._check_commits(facts.provenance)
        self._backend.catalog.require_writable(afresh=False)
        return Transaction(
            self._backend,
            parse_branch_ref(branch),
            facts=facts,
            empty=parse_choice(empty, Empty, "empty"),
            completes=parse_items(completes, DueKey, "completes"),
            resolve=self._resolver.snapshot_and_path,
            idempotency_key=parse_idempotency(idempotency_key, retries),
        )

    def snapshot(self, ref: str) -> "Snapshot":
        r"""Return the read view of the commit that *ref* names.

        A branch, a tag, a commit ID or a lineage ID follows ``repo@``; ``~2`` goes two commits back. A branch
        without a commit gives an empty snapshot.

        >>> store.snapshot("weather@main~1").read("2012/02.csv")
        b'date,rain\n2012-02-01,13.5\n'

        Raises:
            RepoNotFoundError, RefNotFoundError, RefSyntaxError: The commit does not exist.

        Cost: as `Store.commit`.
        """
        return self._resolver.snapshot(self._resolver.parse_commit(ref))

    def _check_commits(self, commit_ids: Sequence[CommitId]) -> None:
        if not commit_ids:
            return
        with self._backend.catalog.read() as connection:
            missing = set(commit_ids) - set(get_commits(connection, commit_ids))
        if missing:
            raise CommitNotFoundError(min(missing))
