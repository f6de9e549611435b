"""Which subscriptions wait for a wake-up, and which keys were not announced: what the watcher and the relay both ask.

The names of subscriptions are made here. Each consumer (a DAG) has its own, and the relay has one for the
consumers that it does not know yet; see docs/design/0003-wakeups-and-durable-cursors.md.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from airflow_versioned.connections import StoreAddress
from airflow_versioned.events import MAX_KEYS_PER_TASK, event_extra

if TYPE_CHECKING:
    from airflow_versioned.assets import VersionedAsset
    from versioned_io import DueKey, Store, Subscription

RELAY = "(relay)"  # no DAG can have this ID
MAX_ANNOUNCEMENTS = 250  # Airflow maps a task at most 1,024 times
_NAME_LIMIT = 250
_NEVER_S = 10 * 365 * 86400.0


def name_subscription(deployment: str, consumer: str, partitions: str | None, key: str | None) -> str:
    """Return the name of a consumer's subscription; unique for its deployment, consumer and templates."""
    seen_as = "*" if partitions is None else partitions + ("" if key is None else f" as {key}")
    name = f"{deployment}:{consumer}:{seen_as}"
    if len(name) > _NAME_LIMIT:
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        name = f"{name[: _NAME_LIMIT - 33]}:{digest}"
    return name


def name_consumer(subscription: "Subscription", deployment: str) -> str:
    """Return the consumer that a subscription is for, as `name_subscription` wrote it."""
    return subscription.name.removeprefix(f"{deployment}:").partition(":")[0]


def open_subscription(asset: "VersionedAsset", store: "Store", deployment: str, consumer: str) -> "Subscription":
    """Return a consumer's subscription to *asset*, made if it is missing, starting at the branch's first commit."""
    name = name_subscription(deployment, consumer, asset.partitions, asset.key)
    return store.subscription(name, asset.branch_ref, partitions=asset.partitions, key=asset.key, start="beginning")


def list_subscriptions(asset: "VersionedAsset", store: "Store", deployment: str) -> list["Subscription"]:
    """Return every subscription of this deployment to *asset*, the relay's among them."""
    return [
        found
        for found in store.subscriptions(asset.branch_ref, prefix=f"{deployment}:")
        if (found.partitions, found.key) == (asset.partitions, asset.key)
    ]


@dataclass(frozen=True, slots=True)
class BranchState:
    """What a look at a branch found.

    Attributes:
        head: The head's commit ID, or ``None`` while the branch is empty.
        payload: What an event about it says.
        waiting: A label for everything that waits for a wake-up: a subscription that is behind, a key to be announced.
        has_subscribers: Whether this deployment subscribes to the branch at all.
        whole: Un-partitioned requests among what waits; the watcher's event is their announcement.
    """

    head: str | None
    payload: dict[str, Any] = field(default_factory=dict)
    waiting: frozenset[tuple[str, ...]] = frozenset()
    has_subscribers: bool = False
    whole: tuple[tuple["Subscription", tuple["DueKey", ...]], ...] = ()


class Watch:
    """A look at a branch, again and again, over one open store; not for two threads at once."""

    def __init__(self, address: StoreAddress, branch: str, redeliver_after_s: float) -> None:
        self._address = address
        self._branch = branch
        self._redeliver_after_s = redeliver_after_s
        self._store: Store | None = None
        self._deployment = ""

    def look(self, *, announced: BranchState | None = None) -> BranchState:
        """Return what waits for a wake-up now.

        Args:
            announced: The state that an event went out for since the last look: its un-partitioned requests are noted
                as announced.

        Cost: 2 SELECTs, and 2 for each subscription; 1 more transaction for an un-partitioned one that is behind.
        """
        if self._store is None:
            location = self._address.locate()
            self._deployment = location.deployment
            self._store = location.open_store()
        store = self._store
        for told, requests in announced.whole if announced is not None else ():
            told.mark_announced(requests)
        head = next(store.log(self._branch, limit=1), None)
        if head is None:
            return BranchState(None)
        waiting: set[tuple[str, ...]] = set()
        whole = []
        subscriptions = store.subscriptions(self._branch, prefix=f"{self._deployment}:")
        for subscription in subscriptions:
            if subscription.partitions is None:
                subscription.collect()
            elif subscription.cursor != head.id:
                waiting.add((subscription.name,))
            dues = list_waiting(subscription, self._redeliver_after_s, limit=MAX_KEYS_PER_TASK)
            waiting.update((subscription.name, due.key, str(due.sequence)) for due in dues)
            if subscription.partitions is None and dues:
                whole.append((subscription, tuple(dues)))
        return BranchState(head.id, event_extra(head), frozenset(waiting), bool(subscriptions), tuple(whole))

    def close(self) -> None:
        """Close the store; the next look opens it again."""
        if self._store is not None:
            self._store.close()
            self._store = None


@dataclass(frozen=True, slots=True)
class AnnouncedCommit:
    """The keys that one commit asks to be processed."""

    commit: str
    lineage_id: str
    number: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Announcement:
    """What one task announces: at most `MAX_KEYS_PER_TASK` keys, oldest commit first.

    Attributes:
        made_at: When its keys were read from the store.
        subscriptions: Those that were there by then. What began to wait in them later is not announced by it.
    """

    commits: tuple[AnnouncedCommit, ...]
    made_at: datetime
    subscriptions: tuple[str, ...]

    def covers(self, due: "DueKey") -> bool:
        """Whether *due* is announced by this."""
        is_later = due.subscription in self.subscriptions and due.requested_at > self.made_at
        return due.number <= self.numbers.get(due.key, 0) and not is_later

    @property
    def numbers(self) -> dict[str, int]:
        """Each key with the place of its commit in the branch."""
        return {key: commit.number for commit in self.commits for key in commit.keys}

    def to_json(self) -> dict[str, Any]:
        """Return it as XCom takes it."""
        commits = [asdict(commit) | {"keys": list(commit.keys)} for commit in self.commits]
        made_at = self.made_at.isoformat()
        return {"commits": commits, "made_at": made_at, "subscriptions": list(self.subscriptions)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Announcement":
        """Return what `to_json` wrote."""
        commits = (AnnouncedCommit(**{**commit, "keys": tuple(commit["keys"])}) for commit in value["commits"])
        return cls(tuple(commits), datetime.fromisoformat(value["made_at"]), tuple(value["subscriptions"]))


def collect_announcements(
    asset: "VersionedAsset",
    store: "Store",
    deployment: str,
    *,
    consumers: Iterable[str] = (),
    seen: dict[str, int] | None = None,
    redeliver_after_s: float,
    is_listening: Callable[[str], bool],
) -> list[Announcement]:
    """Bring every subscription to *asset* up to the head, and return what to announce, oldest commit first.

    Args:
        consumers: DAG IDs whose subscriptions are made if they are missing.
        seen: key → the highest commit number that an event of the asset carried: those are noted as announced, not
            repeated.
        is_listening: Whether a consumer would hear an announcement; nothing is repeated for one that would not.

    Cost: 1 SQL transaction and one diff for each subscription that is behind, 1 SELECT for each.
    """
    for consumer in (RELAY, *consumers):
        open_subscription(asset, store, deployment, consumer)
    newest: dict[str, DueKey] = {}
    told: dict[str, int] = {}
    subscriptions = sorted(list_subscriptions(asset, store, deployment), key=is_relay, reverse=True)
    for subscription in subscriptions:
        subscription.collect()
        dues = list_waiting(subscription, redeliver_after_s)
        if any(due.announced_at for due in dues) and not is_listening(name_consumer(subscription, deployment)):
            dues = [due for due in dues if due.announced_at is None]
        if is_relay(subscription):
            # Only what the relay itself has not announced: a key that waits again, after its event, is to be repeated.
            told = {due.key: due.number for due in dues if (seen or {}).get(due.key, 0) >= due.number}
        known = [due for due in dues if due.number <= told.get(due.key, 0)]
        subscription.mark_announced(known)
        for due in dues:
            if due not in known and (due.key not in newest or newest[due.key].number < due.number):
                newest[due.key] = due
    names = tuple(subscription.name for subscription in subscriptions)
    made_at = datetime.now(UTC)
    return [Announcement(commits, made_at, names) for commits in group_by_task(newest.values())]


def group_by_task(dues: Iterable["DueKey"]) -> list[tuple[AnnouncedCommit, ...]]:
    """Return what each task is to announce, at most `MAX_ANNOUNCEMENTS` of them, oldest commit first."""
    ordered = sorted(dues, key=lambda due: (due.number, due.key))
    tasks = []
    for start in range(0, len(ordered), MAX_KEYS_PER_TASK)[:MAX_ANNOUNCEMENTS]:
        chunk = ordered[start : start + MAX_KEYS_PER_TASK]
        commits = [
            AnnouncedCommit(commit, lineage_id, number, tuple(due.key for due in group))
            for (number, commit, lineage_id), group in groupby(
                chunk, key=lambda due: (due.number, due.commit, due.lineage_id)
            )
        ]
        tasks.append(tuple(commits))
    return tasks


def is_relay(subscription: "Subscription") -> bool:
    """Whether this is a relay's own subscription: its work is announcing, so its keys are never claimed."""
    return f":{RELAY}:" in subscription.name


def list_waiting(subscription: "Subscription", redeliver_after_s: float, limit: int | None = None) -> list["DueKey"]:
    """Return the keys to be announced for one subscription, the oldest request first.

    A consumer's are announced again when nobody claims them. The relay's are announced once: it stands for consumers
    that are not known yet.
    """
    wait_s = _NEVER_S if is_relay(subscription) else redeliver_after_s
    return subscription.unannounced(redeliver_after_s=wait_s, limit=limit)


def confirm_announcement(asset: "VersionedAsset", store: "Store", deployment: str, announcement: Announcement) -> None:
    """Note in every subscription that the keys were announced, in the relay's first.

    A key that began to wait again since then, because newer data overtook the work on it, is to be announced again.
    A consumer that subscribes meanwhile reads the relay's notes after it has collected (`adopt_announcements`), so in
    either order it learns that its keys were announced.
    """
    open_subscription(asset, store, deployment, RELAY)
    subscriptions = list_subscriptions(asset, store, deployment)
    for subscription in sorted(subscriptions, key=is_relay, reverse=True):
        dues = list_waiting(subscription, asset.redeliver_after_s)
        subscription.mark_announced([due for due in dues if announcement.covers(due)])


def adopt_announcements(asset: "VersionedAsset", store: "Store", deployment: str, subscription: "Subscription") -> None:
    """Note in a consumer's subscription what the relay announced before the consumer was known.

    Without this, a consumer's first run would find every key unannounced and have all of them announced again.

    Cost: 1 SELECT when nothing is unannounced, and else 3 more and 1 transaction.
    """
    fresh = subscription.unannounced(redeliver_after_s=_NEVER_S)
    if not fresh or asset.partitions is None:
        return
    relay = open_subscription(asset, store, deployment, RELAY)
    if relay.cursor is None:
        return
    announced_up_to = store.commit(relay.cursor).number
    waiting = {due.key for due in list_waiting(relay, _NEVER_S)}
    subscription.mark_announced([due for due in fresh if due.number <= announced_up_to and due.key not in waiting])
