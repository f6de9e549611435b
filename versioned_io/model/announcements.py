"""Announcements to the consumers of a branch, and the state that a watch of the branch finds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from versioned_io.model.commits import Commit
from versioned_io.model.due_keys import DueKey
from versioned_io.model.identifiers import CommitId


@dataclass(frozen=True, slots=True)
class AnnouncedCommit:
    """The keys that one commit asks to be processed."""

    commit: CommitId
    lineage_id: str
    number: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MissedKey:
    """A key whose wake-up one consumer missed; the other consumers of the branch have had theirs.

    Attributes:
        attempt: Names this wake-up of this request. It is the same again after a crash, and another one for the next
            repetition.
    """

    consumer: str
    key: str
    commit: CommitId
    lineage_id: str
    number: int
    attempt: str


@dataclass(frozen=True, slots=True)
class Announcement:
    """The keys that one task announces, oldest commit first.

    Attributes:
        commits: The keys to announce to every consumer.
        made_at: When its keys were read from the store.
        subscriptions: The names of those that existed at that time. It does not announce keys that began to
            wait in them later.
        owner: The announcer. Nobody else announces these keys until its lease ends.
        missed: The keys to announce to one consumer only.
        left: The number of wake-ups that a further announcement has to make; 0 while another announcer is at work.
    """

    commits: tuple[AnnouncedCommit, ...]
    made_at: datetime
    subscriptions: tuple[str, ...]
    owner: str
    missed: tuple[MissedKey, ...] = ()
    left: int = 0

    def covers(self, due: DueKey, consumer: str | None) -> bool:
        """Return whether this announces *due*, a request of *consumer*; None is the relay itself.

        >>> made = store.commit("weather@main")
        >>> commit = vio.AnnouncedCommit(made.id, made.lineage_id, made.number, ("2012-02",))
        >>> announcement = vio.Announcement((commit,), made.created_at, (), "run")
        >>> retrain = store.subscription("retrain", "weather@main", partitions="{year}/{month}.csv")
        >>> _ = retrain.collect()
        >>> [(due.key, announcement.covers(due, None)) for due in retrain.due()]
        [('2012-01', False), ('2012-02', True)]
        """
        is_later = due.subscription in self.subscriptions and due.requested_at > self.made_at
        numbers = [commit.number for commit in self.commits if due.key in commit.keys]
        numbers += [one.number for one in self.missed if (one.consumer, one.key) == (consumer, due.key)]
        return due.number <= max(numbers, default=0) and not is_later

    @property
    def keys(self) -> list[str]:
        """Every key of this announcement, once, sorted."""
        return sorted({key for commit in self.commits for key in commit.keys} | {one.key for one in self.missed})

    def to_json(self) -> dict[str, Any]:
        """Return it as an orchestrator passes it from task to task.

        >>> made = store.commit("weather@main")
        >>> commit = vio.AnnouncedCommit(made.id, made.lineage_id, made.number, ("2012-02",))
        >>> announcement = vio.Announcement((commit,), made.created_at, (), "run")
        >>> announcement.to_json()["commits"][0]["keys"]
        ['2012-02']
        """
        return {
            "commits": [asdict(commit) | {"keys": list(commit.keys)} for commit in self.commits],
            "made_at": self.made_at.isoformat(),
            "subscriptions": list(self.subscriptions),
            "owner": self.owner,
            "missed": [asdict(one) for one in self.missed],
            "left": self.left,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Announcement":
        """Return what `to_json` wrote.

        >>> made = store.commit("weather@main")
        >>> commit = vio.AnnouncedCommit(made.id, made.lineage_id, made.number, ("2012-02",))
        >>> announcement = vio.Announcement((commit,), made.created_at, (), "run")
        >>> vio.Announcement.from_json(announcement.to_json()) == announcement
        True
        """
        commits = (AnnouncedCommit(**{**commit, "keys": tuple(commit["keys"])}) for commit in value["commits"])
        return cls(
            tuple(commits),
            datetime.fromisoformat(value["made_at"]),
            tuple(value["subscriptions"]),
            value["owner"],
            tuple(MissedKey(**one) for one in value["missed"]),
            value["left"],
        )


@dataclass(frozen=True, slots=True)
class BranchState:
    """The state of a branch at one look.

    Attributes:
        head: Its newest commit; None while it has none.
        waiting: A label for everything that waits for a wake-up: a subscription that is behind, a key to be announced.
        has_subscribers: Whether the relay has a subscription to the branch at all.
        whole: Requests without a partition among what waits; the event of this state announces them.
    """

    head: Commit | None
    waiting: frozenset[tuple[str, ...]] = frozenset()
    has_subscribers: bool = False
    whole: tuple[DueKey, ...] = ()
