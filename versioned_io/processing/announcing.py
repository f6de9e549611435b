"""Announcing due keys to the consumers that an orchestrator wakes: what waits for a wake-up, and noting what was sent.

Events of an orchestrator are lost, late or doubled. So they only wake; the due keys are read from the store. See
docs/design/0003-wakeups-and-durable-cursors.md.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final, NamedTuple

from versioned_io.catalog import announcing as leases
from versioned_io.catalog import subscriptions as catalog
from versioned_io.catalog.commits import get_commit
from versioned_io.model.announcements import AnnouncedCommit, Announcement, MissedKey
from versioned_io.model.arguments import parse_name, parse_number
from versioned_io.model.commits import Commit
from versioned_io.model.due_keys import DueKey
from versioned_io.model.refs import BranchRef
from versioned_io.processing.subscriptions import Subscription, catalog_now, open_subscription
from versioned_io.versioning.backend.backend import Backend

_OWN: Final = "(relay)"
"""Stands for the consumer in the name of a relay's own subscription; no orchestrator's job can have this ID."""

_LONGEST_NAME: Final = 250

BEGINNING: Final = "beginning"
HEAD: Final = "head"

ANNOUNCING_S: Final = 40.0
"""Seconds for which only one announcer sees to a key. If it dies, the key is announced that much later."""


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

    def subscribe(self, consumer: str, *, start: str = BEGINNING) -> Subscription:
        """Return the subscription of *consumer*, created if it is missing.

        >>> relay = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv")
        >>> relay.subscribe("check", start="head").consumer
        'check'

        Args:
            start: Where a new one begins: ``beginning`` is before the branch's first commit, ``head`` after its newest,
                and a commit's ID after that commit. One that exists stays where it is.

        Raises:
            NotFoundError: The branch or the commit does not exist.
            InvalidInputError: *consumer* is empty, or *start* is not valid.

        Cost: as `Store.subscription`.
        """
        return self._ensure(parse_name(consumer, "name of a consumer"), start)

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
        owner: str,
        consumers: Iterable[str] = (),
        start: str = BEGINNING,
        redeliver_after_s: float,
        is_listening: Callable[[str], bool],
        most_keys: int,
        lease_s: float = ANNOUNCING_S,
    ) -> Announcement | None:
        """Bring every subscription up to the head, and return what *owner* is to announce now; None if it is nothing.

        A key that the relay has not announced yet is announced to everybody. Later, a consumer that missed its wake-up
        gets one of its own. Nobody else announces these keys until `confirm`, or until the lease ends because the owner
        has died. Another call of the same owner returns them again.

        >>> relay = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv")
        >>> how = {"redeliver_after_s": 300, "is_listening": lambda consumer: True, "most_keys": 100}
        >>> announcement = relay.collect(owner="run 1", consumers=["check"], **how)
        >>> [commit.keys for commit in announcement.commits]
        [('2012-01',), ('2012-02',)]
        >>> relay.collect(owner="run 2", **how) is None
        True

        Args:
            consumers: Those whose subscriptions are created if they are missing.
            start: Where new subscriptions begin, as in `subscribe`.
            redeliver_after_s: Seconds after which a key that nobody claimed is announced again.
            is_listening: Returns whether a consumer would hear an announcement. Nothing is announced to one alone that
                would not.
            most_keys: The most wake-ups of one announcement.
            lease_s: Seconds after which others may announce these keys.

        Cost: 4 SELECTs, and 2 SELECTs for each subscription when nothing happened; for one that is behind, as
            `Subscription.collect`. With something to announce, 1 SQL transaction of 4 statements more.
        """
        parse_name(owner, "name of an announcer")
        parse_number(lease_s, "lease_s")
        own = self._ensure(None, start)
        for consumer in consumers:
            self.subscribe(consumer, start=start)
        subscriptions = self.subscriptions()
        others = [subscription for subscription in subscriptions if subscription.consumer is not None]
        for subscription in [*others, own]:  # the relay last, so that nobody has newer keys than the relay
            subscription.collect()
        made_at = self._now()
        fresh = {due.key: due for due in own.unannounced(redeliver_after_s=None, but=owner)}
        wanted = [_Wanted(due, None) for due in fresh.values()]
        for subscription in others:
            consumer = subscription.consumer or ""
            dues = subscription.unannounced(redeliver_after_s=redeliver_after_s)
            missed = [due for due in dues if due.key not in fresh or fresh[due.key].number < due.number]
            if missed and is_listening(consumer):
                wanted += [_Wanted(due, consumer) for due in missed]
        wanted.sort(key=lambda one: (one.due.number, one.due.key, one.consumer or ""))
        until = made_at + timedelta(seconds=lease_s)
        taken, left = self._take(own, _in_turns(wanted), owner, most_keys, now=made_at, until=until)
        if not taken:
            return None
        return Announcement(
            _by_commit([one.due for one in taken if one.consumer is None]),
            made_at,
            tuple(one.name for one in subscriptions),
            owner,
            tuple(_missed(one.due, one.consumer) for one in taken if one.consumer is not None),
            left,
        )

    def announce(self, commit: Commit, keys: Sequence[str], *, owner: str, lease_s: float) -> Announcement | None:
        """Begin to announce keys of a commit without the relay, which leaves them alone until the lease ends.

        Send the wake-ups to everybody, and call `confirm` afterwards, or `withdraw` if they were not sent.

        >>> relay = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv")
        >>> relay.announce(store.commit("weather@main"), ["2012-02"], owner="task", lease_s=10) is None
        True

        Returns:
            The announcement, or None if the branch has no relay, so nobody else announces the keys.

        Cost: 2 SELECTs without a relay. With one, 2 SELECTs, 1 SELECT for each subscription, and 1 SQL transaction of
            3 statements when nothing else happened. For one that is behind, as `Subscription.collect`.
        """
        parse_name(owner, "name of an announcer")
        parse_number(lease_s, "lease_s")
        subscriptions = self.subscriptions()
        if not subscriptions or subscriptions[0].consumer is not None:
            return None
        own, *others = subscriptions
        for subscription in [*others, own]:
            subscription.collect()
        made_at = self._now()
        until = made_at + timedelta(seconds=lease_s)
        with self._backend.catalog.write() as connection:
            leases.hold_keys(connection, own.id, keys, owner=owner, now=made_at, until=until)
        announced = AnnouncedCommit(commit.id, commit.lineage_id, commit.number, tuple(keys))
        return Announcement((announced,), made_at, tuple(one.name for one in subscriptions), owner)

    def confirm(self, announcement: Announcement, *, redeliver_after_s: float) -> None:
        """Note in every subscription that the keys were announced, in the relay's own first, and end the lease.

        Call it after the orchestrator has the events, so that a crash repeats them and never loses one. A key that
        began to wait again since the announcement was made stays unannounced. A consumer that subscribes meanwhile
        collects and then reads the relay's notes (`adopt`), so in either order it learns that its keys were announced.

        >>> relay = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv")
        >>> how = {"redeliver_after_s": 300, "is_listening": lambda consumer: True, "most_keys": 100}
        >>> relay.confirm(relay.collect(owner="run", **how), redeliver_after_s=300)
        >>> relay.collect(owner="run", **how) is None
        True

        Cost: 4 SELECTs; for each subscription 1 SELECT, and 1 SQL transaction as `Subscription.mark_announced`; 1 SQL
            transaction of 2 statements.
        """
        own = self._ensure(None)
        for subscription in self.subscriptions():
            after_s = None if subscription.consumer is None else redeliver_after_s
            dues = subscription.unannounced(redeliver_after_s=after_s, but=announcement.owner)
            subscription.mark_announced([due for due in dues if announcement.covers(due, subscription.consumer)])
        self._free(own, announcement)

    def renew(self, announcement: Announcement, *, lease_s: float = ANNOUNCING_S) -> None:
        """Hold the keys for longer, while the orchestrator takes its time over the events.

        Keys that another announcer has taken since are left to it.

        >>> relay = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv")
        >>> how = {"redeliver_after_s": 300, "is_listening": lambda consumer: True, "most_keys": 100}
        >>> announcement = relay.collect(owner="run 1", lease_s=1, **how)
        >>> relay.renew(announcement, lease_s=60)
        >>> relay.collect(owner="run 2", **how) is None
        True

        Args:
            lease_s: Seconds from now after which others may announce these keys.

        Cost: 2 SELECTs, 1 SQL transaction of 2 statements.
        """
        parse_number(lease_s, "lease_s")
        own = self._ensure(None)
        until = self._now() + timedelta(seconds=lease_s)
        with self._backend.catalog.write() as connection:
            leases.renew_keys(connection, own.id, announcement.keys, owner=announcement.owner, until=until)

    def request(self, keys: Iterable[str] | None = None, *, start: str = BEGINNING) -> tuple[str, ...]:
        """Request keys again for every consumer, each once, and return those that the relay has to announce for it.

        >>> relay = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv")
        >>> how = {"redeliver_after_s": 300, "is_listening": lambda consumer: True, "most_keys": 100}
        >>> relay.confirm(relay.collect(owner="run", **how), redeliver_after_s=300)
        >>> relay.request(["2012-02"])
        ('2012-02',)
        >>> relay.collect(owner="run", **how).keys
        ['2012-02']

        Args:
            keys: By default every key that has a file at the head.
            start: Where the relay begins if it is new, as in `subscribe`.

        Raises:
            PartitionKeyError: The template can't produce one of *keys*.
            InvalidInputError: No file of the branch belongs to one of *keys*, or the branch has no commit.

        Cost: 4 SELECTs, and for each subscription as `Subscription.request`.
        """
        wanted = None if keys is None else list(keys)
        self._ensure(None, start)
        requested: tuple[str, ...] = ()
        for subscription in reversed(self.subscriptions()):  # the relay last, so that nobody has newer keys than it
            requested = subscription.request(wanted).requested
        return requested

    def withdraw(self, announcement: Announcement) -> None:
        """End the lease on keys whose wake-ups were not sent: the relay announces them.

        >>> relay = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv")
        >>> how = {"redeliver_after_s": 300, "is_listening": lambda consumer: True, "most_keys": 100}
        >>> announcement = relay.collect(owner="run 1", **how)
        >>> relay.withdraw(announcement)
        >>> relay.collect(owner="run 2", **how).keys == announcement.keys
        True

        Cost: 2 SELECTs, 1 SQL transaction of 2 statements.
        """
        self._free(self._ensure(None), announcement)

    def adopt(self, subscription: Subscription) -> None:
        """Note in a consumer's subscription what the relay announced before the consumer subscribed.

        Without this, a consumer's first run would have every key announced again.

        >>> relay = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv")
        >>> how = {"redeliver_after_s": 300, "is_listening": lambda consumer: True, "most_keys": 100}
        >>> relay.confirm(relay.collect(owner="run", **how), redeliver_after_s=300)
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
        # Only its first collection came after the announcement: before each later one, the relay knew the consumer.
        adopted = [due for due in fresh if due.sequence == 1 and due.number <= announced_up_to]
        subscription.mark_announced([due for due in adopted if due.key not in waiting])

    def _take(
        self,
        own: Subscription,
        wanted: Sequence["_Wanted"],
        owner: str,
        most_keys: int,
        *,
        now: datetime,
        until: datetime,
    ) -> tuple[list["_Wanted"], int]:
        """Lease the first *most_keys* wake-ups that are free to *owner*, and return them and how many are left."""
        if not wanted:
            return [], 0
        with self._backend.catalog.write() as connection:
            others = {key for _, key in leases.list_held(connection, [own.id], now=now, but=owner)}
            first = [one for one in wanted if one.due.key not in others][:most_keys]
            keys = sorted({one.due.key for one in first})
            mine = leases.hold_keys(connection, own.id, keys, owner=owner, now=now, until=until)
        return [one for one in first if one.due.key in mine], 0 if others else len(wanted) - len(first)

    def _now(self) -> datetime:
        with self._backend.catalog.read() as connection:
            return catalog_now(self._backend, connection)

    def _free(self, own: Subscription, announcement: Announcement) -> None:
        with self._backend.catalog.write() as connection:
            leases.free_keys(connection, own.id, announcement.keys, owner=announcement.owner)

    def _ensure(self, consumer: str | None, start: str = BEGINNING) -> Subscription:
        name = name_subscription(self.name, consumer, self.partitions, self.key)
        return open_subscription(
            self._backend,
            name,
            self.branch,
            partitions=self.partitions,
            key=self.key,
            start="now" if start == HEAD else start,
            relay=self.name,
            consumer=consumer,
        )


class _Wanted(NamedTuple):
    """A wake-up to be sent: to everybody if *consumer* is None."""

    due: DueKey
    consumer: str | None


def name_subscription(relay: str, consumer: str | None, partitions: str | None, key: str | None) -> str:
    """Return the name of a consumer's subscription, or of the relay's own; unique among those of a branch.

    It ends in a digest of its parts where the readable name is too long, or could have been made of other parts.
    """
    seen_as = "*" if partitions is None else partitions + ("" if key is None else f" as {key}")
    name = f"{relay}:{_OWN if consumer is None else consumer}:{seen_as}"
    is_ambiguous = ":" in f"{relay}{consumer}" or consumer == _OWN or " as " in f"{partitions}{key}"
    if is_ambiguous or len(name) > _LONGEST_NAME:
        parts = json.dumps([relay, consumer, partitions, key])
        digest = hashlib.sha256(parts.encode()).hexdigest()[:32]
        name = f"{name[: _LONGEST_NAME - 33]}:{digest}"
    return name


def _missed(due: DueKey, consumer: str) -> MissedKey:
    repeated = "" if due.announced_at is None else due.announced_at.isoformat()
    request = json.dumps([due.subscription, due.key, due.commit, due.sequence, repeated])
    attempt = hashlib.sha256(request.encode()).hexdigest()[:32]
    return MissedKey(consumer, due.key, due.commit, due.lineage_id, due.number, attempt)


def _in_turns(wanted: "Sequence[_Wanted]") -> "list[_Wanted]":
    """Return the first key of each commit, then the second of each, and so on.

    So a small commit is announced at once, although a large one before it has hundreds of keys left.
    """
    turns = Counter[int]()
    ranked = []
    for one in wanted:
        ranked.append((turns[one.due.number], one))
        turns[one.due.number] += 1
    return [one for _, one in sorted(ranked, key=lambda pair: pair[0])]


def _by_commit(dues: Sequence[DueKey]) -> tuple[AnnouncedCommit, ...]:
    in_order = sorted(dues, key=lambda due: (due.number, due.key))
    groups = groupby(in_order, key=lambda due: (due.number, due.commit, due.lineage_id))
    return tuple(
        AnnouncedCommit(commit, lineage_id, number, tuple(due.key for due in group))
        for (number, commit, lineage_id), group in groups
    )
