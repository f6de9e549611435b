"""Watching a branch for an orchestrator: which subscriptions and keys wait for a wake-up now."""

from collections.abc import Sequence

from sqlalchemy import Connection

from versioned_io.catalog import announcing as leases
from versioned_io.catalog import subscriptions as catalog
from versioned_io.catalog.due_keys import free_overtaken, list_overtaken, list_waiting, mark_announced
from versioned_io.catalog.ref_resolution import resolve_watched
from versioned_io.catalog.repo_rows import find_branch
from versioned_io.catalog.subscriptions import SubscriptionRow
from versioned_io.model.announcements import BranchState
from versioned_io.model.commits import Commit
from versioned_io.model.due_keys import DueKey
from versioned_io.model.refs import BranchRef, Ref
from versioned_io.processing.subscriptions import Subscription, catalog_now
from versioned_io.versioning.backend.backend import Backend


class BranchWatch:
    """Looks at a branch again and again, for the relay of one deployment; not for two threads at once."""

    def __init__(
        self, backend: Backend, branch: BranchRef, relay: str, *, redeliver_after_s: float, most_keys: int
    ) -> None:
        self._backend = backend
        self._branch = branch
        self._relay = relay
        self._redeliver_after_s = redeliver_after_s
        self._most_keys = most_keys
        self._head: Commit | None = None
        self._is_checked = False

    def look(self, *, announced: BranchState | None = None) -> BranchState:
        """Return what waits for a wake-up now.

        >>> _ = store.relay("airflow", "weather@main", partitions=None).subscribe("check")
        >>> watch = store.watch("weather@main", relay="airflow", redeliver_after_s=300)
        >>> state = watch.look()
        >>> state.head.message, [due.key for due in state.whole]
        ('correct February', ['*'])
        >>> watch.look(announced=state).whole
        ()

        Args:
            announced: The state that an event went out for since the last look. Its requests without a partition are
                noted as announced.

        Raises:
            NotFoundError: The branch does not exist.
            CatalogOlderError: The catalog lacks an acknowledged commit; run ``versioned recover``.

        Cost: 1 LIST and 1 SELECT at the first look. 3 SELECTs while the branch stays as it is; 1 more on PostgreSQL,
            for its time. After a commit 6 or 7 SELECTs, and as `Subscription.collect` for each subscription without
            partitions.
        """
        if announced is not None and announced.whole:
            with self._backend.catalog.write() as connection:
                mark_announced(connection, announced.whole, catalog_now(self._backend, connection))
        with self._backend.catalog.read() as connection:
            if not self._is_checked:
                # The head of an older catalog must not be announced; later looks compare it with the heads before.
                self._backend.catalog.refuse_older(connection)
                self._is_checked = True
            branch = find_branch(connection, self._branch)
            rows = catalog.list_of_relay(connection, branch, self._relay)
            dues = self._list_waiting(connection, rows)
        if branch.head != (None if self._head is None else self._head.id):
            self._head = self._read_head()
        if self._head is None:
            return BranchState(None)
        behind = [row for row in rows if row.cursor != self._head.id]
        if self._collect_whole(behind):
            with self._backend.catalog.read() as connection:
                dues = self._list_waiting(connection, rows)
        dues = self._without_announced(rows, dues)
        waiting = {(row.name,) for row in behind if row.partitions is not None}
        whole = {row.id for row in rows if row.partitions is None}
        return BranchState(
            self._head,
            frozenset(waiting | {(due.subscription, due.key, str(due.sequence)) for due in dues}),
            bool(rows),
            tuple(due for due in dues if due.subscription_id in whole),
        )

    def overtaken(self) -> list[DueKey]:
        """Return the keys with newer data that nobody may claim, since the owner of an older request holds them.

        Ask the orchestrator whether that owner still works, and call `free` if it does not.

        >>> relay = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv")
        >>> check = relay.subscribe("check")
        >>> _ = check.collect()
        >>> _ = check.claim("2012-02", owner="check/run 1")
        >>> watch = store.watch("weather@main", relay="airflow", redeliver_after_s=300)
        >>> watch.overtaken()
        []

        Cost: 3 SELECTs; 1 more on PostgreSQL, for its time.
        """
        with self._backend.catalog.read() as connection:
            branch = find_branch(connection, self._branch)
            rows = catalog.list_of_relay(connection, branch, self._relay)
            consumers = [row.id for row in rows if row.consumer is not None]
            now = catalog_now(self._backend, connection)
            return list_overtaken(connection, consumers, now=now, limit=self._most_keys)

    def free(self, due: DueKey) -> None:
        """End the lease on a key of `overtaken` whose owner has died: the newer data is announced to its consumer.

        >>> relay = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv")
        >>> check = relay.subscribe("check")
        >>> _ = check.collect()
        >>> due = check.claim("2012-02", owner="check/run 1")
        >>> with store.transaction("weather@main") as tx:
        ...     _ = tx.write("2012/02.csv", b"newer")
        >>> _ = check.collect()
        >>> watch = store.watch("weather@main", relay="airflow", redeliver_after_s=300)
        >>> [watch.free(due) for due in watch.overtaken()]
        [None]
        >>> watch.overtaken()
        []

        Cost: 1 SQL transaction of 2 statements.
        """
        with self._backend.catalog.write() as connection:
            free_overtaken(connection, due, catalog_now(self._backend, connection))

    def _without_announced(self, rows: Sequence[SubscriptionRow], dues: Sequence[DueKey]) -> list[DueKey]:
        """Return *dues* without the keys that somebody announces at the moment."""
        own = {(row.partitions, row.key_template): row.id for row in rows if row.consumer is None}
        if not dues or not own:
            return list(dues)
        relays = {row.id: own.get((row.partitions, row.key_template)) for row in rows}
        with self._backend.catalog.read() as connection:
            held = leases.list_held(connection, own.values(), now=catalog_now(self._backend, connection))
        return [due for due in dues if (relays[due.subscription_id], due.key) not in held]

    def _read_head(self) -> Commit | None:
        ref = Ref(self._branch.repo, self._branch.branch)
        return resolve_watched(self._backend.catalog, ref, self._backend.clock())

    def _collect_whole(self, behind: Sequence[SubscriptionRow]) -> bool:
        """Bring the subscriptions without partitions up to the head, and return whether there were any."""
        whole = [row for row in behind if row.partitions is None]
        for row in whole:
            Subscription(self._backend, row).collect()
        return bool(whole)

    def _list_waiting(self, connection: Connection, rows: Sequence[SubscriptionRow]) -> list[DueKey]:
        after_s = {row.id: None if row.consumer is None else self._redeliver_after_s for row in rows}
        return list_waiting(connection, after_s, now=catalog_now(self._backend, connection), limit=self._most_keys)
