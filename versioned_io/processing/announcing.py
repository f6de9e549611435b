"""Announcing due keys to the consumers that an orchestrator wakes: what waits for a wake-up, and noting what was sent.

Events of an orchestrator are lost, late or doubled. So they only wake; the due keys are read from the store. See
docs/design/0003-wakeups-and-durable-cursors.md.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from sqlalchemy import Connection

from versioned_io.catalog import subscriptions as catalog
from versioned_io.catalog.commits import get_commit, resolve_watched
from versioned_io.catalog.due_keys import list_waiting, mark_announced
from versioned_io.catalog.repo_rows import find_branch
from versioned_io.catalog.subscriptions import SubscriptionRow
from versioned_io.model.announcements import AnnouncedCommit, Announcement, BranchState
from versioned_io.model.arguments import parse_name
from versioned_io.model.commits import Commit
from versioned_io.model.due_keys import DueKey
from versioned_io.model.refs import BranchRef, Ref
from versioned_io.processing.subscriptions import Subscription, catalog_now, open_subscription
from versioned_io.versioning.backend.backend import Backend

_OWN: Final = "(relay)"
"""Stands for the consumer in the name of a relay's own subscription; no orchestrator's job can have this ID."""

_LONGEST_NAME: Final = 250


class Relay:
    """Announces which keys of a branch are due, seen through one template, to the consumers of one deployment.

    Each consumer has a subscription of its own, so that one being done never makes another skip. The relay has one,
    too: it stands for consumers that never ran, and so have none. The relay's keys are never claimed; a key that it
    announced counts as announced.

    Attributes:
        name: The deployment; two orchestrators that share a store have two names, and don't see each other.
    """

    def __init__(
        self, backend: Backend, name: str, branch: BranchRef, *, partitions: str | None, key: str | None
    ) -> None:
        self._backend = backend
        self.name = name
        self.branch = branch
        self.partitions = partitions
        self.key = key

    def subscribe(self, consumer: str) -> Subscription:
        """Return the subscription of *consumer*, created if it is missing, starting before the branch's first commit.

        >>> relay = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv")
        >>> relay.subscribe("check").consumer
        'check'

        Raises:
            NotFoundError: There is no such branch.
            InvalidInputError: *consumer* is empty.

        Cost: as `Store.subscription`.
        """
        return self._ensure(parse_name(consumer, "name of a consumer"))

    def subscriptions(self) -> list[Subscription]:
        """Return the subscriptions that this relay announces for, its own first, then by name.

        >>> relay = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv")
        >>> _ = relay.subscribe("check")
        >>> [one.consumer for one in relay.subscriptions()]
        ['check']

        Cost: 2 SELECTs.
        """
        with self._backend.catalog.read() as connection:
            rows = catalog.list_subscriptions(connection, self.branch, relay=self.name)
        same = [row for row in rows if (row.partitions, row.key_template) == (self.partitions, self.key)]
        return [Subscription(self._backend, row) for row in sorted(same, key=lambda row: row.consumer is not None)]

    def collect(
        self,
        *,
        consumers: Iterable[str] = (),
        seen: Mapping[str, int] | None = None,
        redeliver_after_s: float,
        is_listening: Callable[[str], bool],
        most_keys: int,
        most_announcements: int,
    ) -> list[Announcement]:
        """Bring every subscription up to the head, and return what to announce now, oldest commit first.

        >>> relay = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv")
        >>> how = {"redeliver_after_s": 300, "is_listening": lambda consumer: True}
        >>> how |= {"most_keys": 100, "most_announcements": 10}
        >>> [announcement] = relay.collect(consumers=["check"], **how)
        >>> [commit.keys for commit in announcement.commits]
        [('2012-01',), ('2012-02',)]

        Args:
            consumers: Those whose subscriptions are created if they are missing.
            seen: Key → the highest commit number that an event carried already: noted as announced, not repeated.
            redeliver_after_s: Seconds after which a key that nobody claimed is announced again.
            is_listening: Returns whether a consumer would hear an announcement. Nothing is repeated for one that would
                not.
            most_keys: In one announcement.
            most_announcements: At once; a later call returns the rest.

        Cost: 4 SELECTs, and 2 SELECTs for each subscription when nothing happened; for one that is behind, as
            `Subscription.collect`.
        """
        self._ensure(None)
        for consumer in consumers:
            self.subscribe(consumer)
        newest: dict[str, DueKey] = {}
        told: dict[str, int] = {}
        subscriptions = self.subscriptions()
        for subscription in subscriptions:
            subscription.collect()
            dues = _waiting(subscription, redeliver_after_s)
            if any(due.announced_at for due in dues) and not is_listening(subscription.consumer or ""):
                dues = [due for due in dues if due.announced_at is None]
            if subscription.consumer is None:
                # Only what the relay has not announced: a key that waits again, after its event, is to be repeated.
                told = {due.key: due.number for due in dues if (seen or {}).get(due.key, 0) >= due.number}
            known = [due for due in dues if due.number <= told.get(due.key, 0)]
            subscription.mark_announced(known)
            for due in dues:
                if due not in known and (due.key not in newest or newest[due.key].number < due.number):
                    newest[due.key] = due
        names = tuple(subscription.name for subscription in subscriptions)
        made_at = datetime.now(UTC)
        groups = _group(newest.values(), most_keys)[:most_announcements]
        return [Announcement(commits, made_at, names) for commits in groups]

    def confirm(self, announcement: Announcement, *, redeliver_after_s: float) -> None:
        """Note in every subscription that the keys were announced, in the relay's own first.

        Call it after the orchestrator has the events, so that a crash repeats them and never loses one. A key that
        began to wait again since the announcement was made stays unannounced. A consumer that subscribes meanwhile
        collects and then reads the relay's notes (`adopt`), so in either order it learns that its keys were announced.

        >>> relay = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv")
        >>> how = {"redeliver_after_s": 300, "is_listening": lambda consumer: True}
        >>> how |= {"most_keys": 100, "most_announcements": 10}
        >>> [announcement] = relay.collect(consumers=["check"], **how)
        >>> relay.confirm(announcement, redeliver_after_s=300)
        >>> relay.collect(**how)
        []

        Cost: 4 SELECTs; for each subscription 1 SELECT, and 1 SQL transaction as `Subscription.mark_announced`.
        """
        self._ensure(None)
        for subscription in self.subscriptions():
            dues = _waiting(subscription, redeliver_after_s)
            subscription.mark_announced([due for due in dues if announcement.covers(due)])

    def adopt(self, subscription: Subscription) -> None:
        """Note in a consumer's subscription what the relay announced before the consumer subscribed.

        Without this, a consumer's first run would have every key announced again.

        >>> relay = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv")
        >>> how = {"redeliver_after_s": 300, "is_listening": lambda consumer: True}
        >>> how |= {"most_keys": 100, "most_announcements": 10}
        >>> [announcement] = relay.collect(**how)
        >>> relay.confirm(announcement, redeliver_after_s=300)
        >>> late = relay.subscribe("late")
        >>> _ = late.collect()
        >>> relay.adopt(late)
        >>> late.unannounced(redeliver_after_s=300)
        []

        Cost: 1 SELECT when nothing is unannounced; else 6 SELECTs in all, and 1 SQL transaction as
            `Subscription.mark_announced`.
        """
        fresh = subscription.unannounced(redeliver_after_s=None)
        if not fresh or self.partitions is None:
            return
        own = self._ensure(None)
        cursor = own.cursor
        if cursor is None:
            return
        with self._backend.catalog.read() as connection:
            announced_up_to = get_commit(connection, cursor).number
        waiting = {due.key for due in own.unannounced(redeliver_after_s=None)}
        subscription.mark_announced([due for due in fresh if due.number <= announced_up_to and due.key not in waiting])

    def _ensure(self, consumer: str | None) -> Subscription:
        name = name_subscription(self.name, consumer, self.partitions, self.key)
        return open_subscription(
            self._backend,
            name,
            self.branch,
            partitions=self.partitions,
            key=self.key,
            relay=self.name,
            consumer=consumer,
        )


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
            NotFoundError: There is no such branch.
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
        waiting = {(row.name,) for row in behind if row.partitions is not None}
        whole = {row.id for row in rows if row.partitions is None}
        return BranchState(
            self._head,
            frozenset(waiting | {(due.subscription, due.key, str(due.sequence)) for due in dues}),
            bool(rows),
            tuple(due for due in dues if due.subscription_id in whole),
        )

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


def name_subscription(relay: str, consumer: str | None, partitions: str | None, key: str | None) -> str:
    """Return the name of a consumer's subscription, or of the relay's own; unique among those of a branch."""
    seen_as = "*" if partitions is None else partitions + ("" if key is None else f" as {key}")
    name = f"{relay}:{_OWN if consumer is None else consumer}:{seen_as}"
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        name = f"{name[: _LONGEST_NAME - 33]}:{digest}"
    return name


def _waiting(subscription: Subscription, redeliver_after_s: float) -> list[DueKey]:
    """Return the keys to be announced for one subscription, the oldest request first.

    A consumer's are announced again when nobody claims them. The relay's are announced once: it stands for consumers
    that are not known yet.
    """
    after_s = None if subscription.consumer is None else redeliver_after_s
    return subscription.unannounced(redeliver_after_s=after_s)


def _group(dues: Iterable[DueKey], most_keys: int) -> list[tuple[AnnouncedCommit, ...]]:
    """Return *dues* in groups of at most *most_keys*, each by commit, oldest commit first."""
    ordered = sorted(dues, key=lambda due: (due.number, due.key))
    return [_by_commit(ordered[start : start + most_keys]) for start in range(0, len(ordered), most_keys)]


def _by_commit(dues: Sequence[DueKey]) -> tuple[AnnouncedCommit, ...]:
    groups = groupby(dues, key=lambda due: (due.number, due.commit, due.lineage_id))
    return tuple(
        AnnouncedCommit(commit, lineage_id, number, tuple(due.key for due in group))
        for (number, commit, lineage_id), group in groups
    )
