"""How far a subscription is, and what became of each of its keys, for a person who asks why nothing ran."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from versioned_io.model.commits import Commit
from versioned_io.model.due_keys import DueKey
from versioned_io.model.identifiers import CommitId
from versioned_io.model.refs import BranchRef


class KeyState(StrEnum):
    """The state of a request for a key."""

    WAITING = "waiting"
    """It was not announced, or the subscription has no relay."""
    ANNOUNCED = "announced"
    """A wake-up was sent, and no owner has claimed the key."""
    CLAIMED = "claimed"
    """An owner's lease is running."""
    OVERTAKEN = "overtaken"
    """An owner's lease on older data is running; the newer data waits for its end."""
    UNFINISHED = "unfinished"
    """An owner claimed the key, and failed or died."""
    DONE = "done"
    """It was completed."""


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """A key of a subscription, with the state of its newest request."""

    due: DueKey
    state: KeyState


@dataclass(frozen=True, slots=True)
class DueStatus:
    """A subscription, the requests that are due, and the reason why no more runs.

    Attributes:
        name: Its name; `Store.subscription` and `Relay.subscribe` return the subscription.
        relay: The deployment whose relay announces its keys; None without a relay.
        consumer: The consumer to which they are announced; None for the relay's own subscription, whose keys are those
            that it has not announced yet.
        partitions: The partition template; None for the branch as a whole.
        key: The template of the key, if it is not the default.
        head: The branch's newest commit, or None.
        head_number: The number of *head*; 0 if the branch has no commit.
        cursor: The last commit whose changes were collected, or None.
        cursor_number: The number of *cursor*; 0 if there is none.
        has_collected: Whether it has collected changes since it was created.
        created_at: When it was created.
        due_count: How many keys are due; *keys* may have fewer.
        keys: The keys that are due, oldest request first.
    """

    branch: BranchRef
    name: str
    relay: str | None
    consumer: str | None
    partitions: str | None
    key: str | None
    head: CommitId | None
    head_number: int
    cursor: CommitId | None
    cursor_number: int
    has_collected: bool
    created_at: datetime
    due_count: int
    keys: tuple[KeyStatus, ...]

    @property
    def is_behind(self) -> bool:
        """Whether the branch has changes that were not collected."""
        return self.head != self.cursor

    @property
    def why(self) -> str:
        """The reason why its consumer runs, or does not, as one sentence."""
        if self.head is None:
            return "the branch has no commit"
        if self.relay is not None and self.consumer is None:
            return self._why_relay()
        reasons = [self._describe(state, count) for state, count in self._states()]
        if self.is_behind:
            reasons.insert(0, f"{self._uncollected()}: {self._who_collects()}")
        return "; ".join(reasons) or self._why_idle()

    def _why_relay(self) -> str:
        if self.is_behind:
            return f"{self._uncollected()}: {self._who_collects()}"
        if self.due_count:
            owners = sorted({one.due.owner or "" for one in self.keys if one.state is KeyState.CLAIMED})
            busy = f", and {', '.join(owners)} is at work on it" if owners else ""
            return f"{_count(self.due_count, 'key')} to announce{busy}"
        return f"the relay has announced everything up to commit #{self.cursor_number}"

    def _why_idle(self) -> str:
        if not self.has_collected:
            return f"nothing is due: it began at commit #{self.cursor_number}, and the branch has nothing newer"
        if self.keys:
            return f"{self.keys[0].due.done_by or 'a deletion'} has settled the newest request"
        return f"nothing is due: everything up to commit #{self.cursor_number} is done"

    def _uncollected(self) -> str:
        commits = max(self.head_number - self.cursor_number, 1)
        return f"{_count(commits, 'new commit')} {'is' if commits == 1 else 'are'} not collected"

    def _who_collects(self) -> str:
        if self.relay is None:
            return "its consumer has not called collect() since"
        return f"no relay of {self.relay!r} has run since"

    def _states(self) -> list[tuple[KeyState, int]]:
        counts = Counter(one.state for one in self.keys)
        return [(state, counts[state]) for state in KeyState if counts[state] and state is not KeyState.DONE]

    def _describe(self, state: KeyState, count: int) -> str:
        keys = _count(count, "key")
        owners = sorted({one.due.owner or "nobody" for one in self.keys if one.state is state})
        by = owners[0] if len(owners) == 1 else f"{len(owners)} owners"
        match state:
            case KeyState.WAITING if self.relay is None:
                return f"{keys} due, and no owner has claimed {_it(count)}"
            case KeyState.WAITING:
                return f"{keys} due and not announced"
            case KeyState.ANNOUNCED:
                return f"{keys} announced, and {self.consumer!r} has not claimed {_it(count)}"
            case KeyState.CLAIMED:
                return f"{keys} claimed by {by}"
            case KeyState.OVERTAKEN:
                return f"{keys} with newer data, while {by} works on older data"
            case KeyState.UNFINISHED:
                return f"{keys} claimed by {by} and not completed"
            case KeyState.DONE:
                return f"{keys} done"


@dataclass(frozen=True, slots=True)
class Repetition:
    """The keys of a subscription that were requested again; a key with an unclaimed request is left as it is.

    Attributes:
        requested: The keys with a new request, sorted.
        waiting: The keys that were waiting already, sorted.
        commit: The commit as of which they are processed.
    """

    requested: tuple[str, ...]
    waiting: tuple[str, ...]
    commit: Commit


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _it(count: int) -> str:
    return "it" if count == 1 else "them"
