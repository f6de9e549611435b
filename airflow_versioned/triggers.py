"""The watcher of a branch: it wakes Airflow when there is something to do, and again when nobody answered."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_versioned.connections import StoreAddress
from airflow_versioned.uris import DEFAULT_CONNECTION
from airflow_versioned.wakeups import BranchState, Watch

REPEAT_AFTER_S = 10.0  # a relay run takes about 5 s; what waits longer may have been lost on the way
LONGEST_PAUSE_S = 3600.0
LONGEST_BACKOFF_S = 60.0


@dataclass(slots=True)
class Alarm:
    """When to fire: at once for a new head, and with growing pauses for what goes on waiting.

    What begins to wait without a new head (a key that was overtaken while it was worked on, a wake-up that
    nobody answered) fires at once too, unless an event went out less than `REPEAT_AFTER_S` ago: then the relay is
    probably at work, and the waiting is its progress.

    The memory is this process's only: after a restart, everything that still waits in the store fires again.
    """

    state: BranchState | None = field(default=None)
    fired_at: float = -math.inf
    pause_s: float = REPEAT_AFTER_S

    def rings(self, state: BranchState, now: float) -> bool:
        """Say whether to fire for *state*; a later call compares with it.

        Args:
            now: Seconds of a monotonic clock.
        """
        previous, self.state = self.state, state
        if state.head is None:
            return False
        is_new_head = not state.has_subscribers if previous is None else previous.head != state.head
        is_news = previous is None or not state.waiting <= previous.waiting
        if is_new_head or is_news:
            self.pause_s = REPEAT_AFTER_S
        if not is_new_head:
            if not state.waiting or now - self.fired_at < self.pause_s:
                return False
            if not is_news:
                self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)
        self.fired_at = now
        return True


class CommitTrigger(BaseEventTrigger):
    """Fires when a branch has commits that a subscription has not seen, or keys that nobody was told about.

    At least once: the store, not the event, says what is to be done, so an event more or less does no harm. It
    never ends and never raises: a store out of reach is logged, and tried again with growing pauses.

    The event's payload is the head: repo, branch, commit, lineage ID and number.
    """

    def __init__(
        self,
        branch: str,
        *,
        connection: str = DEFAULT_CONNECTION,
        store: str | None = None,
        poll_interval_s: float = 2.0,
        redeliver_after_s: float = 300.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.branch = branch
        self.connection = connection
        self.store = store
        self.poll_interval_s = poll_interval_s
        self.redeliver_after_s = redeliver_after_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what rebuilds this trigger; it holds no secret."""
        arguments = {
            "branch": self.branch,
            "connection": self.connection,
            "store": self.store,
            "poll_interval_s": self.poll_interval_s,
            "redeliver_after_s": self.redeliver_after_s,
        }
        return f"{CommitTrigger.__module__}.{CommitTrigger.__qualname__}", arguments

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CommitTrigger) and self.serialize() == other.serialize()

    def __hash__(self) -> int:
        return hash(repr(self))

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each wake-up, for ever; SQL runs in a thread, never in the triggerer's loop."""
        alarm = Alarm()
        watch = Watch(StoreAddress(self.connection, self.store), self.branch, self.redeliver_after_s)
        fired: BranchState | None = None
        pause_s = self.poll_interval_s
        try:
            while True:
                try:
                    # What fired was persisted by Airflow during the pause, so now it counts as announced.
                    state = await asyncio.to_thread(watch.look, announced=fired)
                except Exception:  # a trigger that raises is re-created every 2 s, for ever, with no trace in the UI
                    pause_s = min(2 * pause_s, LONGEST_BACKOFF_S)
                    self.log.exception("can't look at %s, trying again in %.0f s", self.branch, pause_s)
                    await asyncio.to_thread(watch.close)
                else:
                    pause_s = self.poll_interval_s
                    fired = state if alarm.rings(state, time.monotonic()) else None
                    if fired is not None:
                        yield TriggerEvent(fired.payload)
                await asyncio.sleep(pause_s)
        finally:
            watch.close()
