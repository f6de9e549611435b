"""The watcher of a branch: it wakes Airflow when work is due, and again if no run responded."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_versioned.branch import make_missing_repo
from airflow_versioned.connections import StoreAddress
from airflow_versioned.events import MAX_KEYS_PER_TASK, event_extra
from airflow_versioned.polling import OpenStore, looking_at
from airflow_versioned.runs import is_over
from airflow_versioned.uris import DEFAULT_CONNECTION
from versioned_io import BranchState

if TYPE_CHECKING:
    from versioned_io import BranchWatch, Commit

REPEAT_AFTER_S = 10.0  # a relay run takes about 5 s; what waits longer may have been lost on the way
LONGEST_PAUSE_S = 3600.0
FREE_EVERY_S = 10.0  # between two searches for keys that dead runs hold
LONGEST_BACKOFF_S = 60.0


@dataclass(slots=True)
class Alarm:
    """Decides when to fire: at once for a new head, and with growing pauses while the same keys wait.

    A key can also begin to wait without a new head: it got new data during its run, or its wake-up was not answered.
    This fires at once too, unless an event went out less than `REPEAT_AFTER_S` ago. In that case the relay is probably
    at work, and the waiting keys are its progress.

    The state is in this process only. After a restart, everything that still waits in the store fires again.
    """

    state: BranchState | None = field(default=None)
    fired_at: float = -math.inf
    pause_s: float = REPEAT_AFTER_S

    def rings(self, state: BranchState, now: float) -> bool:
        """Return whether to fire for *state*, and remember it for the next call.

        Args:
            now: Seconds of a monotonic clock.
        """
        previous, self.state = self.state, state
        if state.head is None:
            return False
        is_new_head = not state.has_subscribers if previous is None else _id(previous.head) != _id(state.head)
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


def _id(head: "Commit | None") -> str | None:
    return None if head is None else head.id


def _get_state(dag_id: str, run_id: str) -> str:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance  # its modules are many, the need is rare

    return RuntimeTaskInstance.get_dagrun_state(dag_id, run_id)


class Looking:
    """Looks at a branch repeatedly, in the thread that opens its store."""

    def __init__(self, address: StoreAddress, branch: str, redeliver_after_s: float) -> None:
        self._address = address
        self._branch = branch
        self._redeliver_after_s = redeliver_after_s
        self._opened: OpenStore | None = None
        self._watch: BranchWatch | None = None
        self._freed_at = time.monotonic()

    def look(self, opened: OpenStore, *, announced: BranchState | None = None) -> BranchState:
        """Return the keys that wait for a wake-up now; see `BranchWatch.look`."""
        if self._watch is None or opened is not self._opened:
            make_missing_repo(opened.store, self._branch)
            self._watch = opened.store.watch(
                self._branch,
                relay=self._address.relay_of(opened.location.deployment),
                redeliver_after_s=self._redeliver_after_s,
                most_keys=MAX_KEYS_PER_TASK,
            )
            self._opened = opened
        if time.monotonic() - self._freed_at >= FREE_EVERY_S:
            self.free_dead(self._watch, _get_state)
            self._freed_at = time.monotonic()
        return self._watch.look(announced=announced)

    def free_dead(self, watch: "BranchWatch", get_state: Callable[[str, str], str]) -> None:
        """End the leases of runs that are over on keys with newer data, so that it is announced.

        Cost: as `BranchWatch.overtaken`; 1 request to Airflow's API server for each such key.
        """
        for due in watch.overtaken():
            if due.owner is not None and is_over(due.owner, get_state):
                watch.free(due)


class CommitTrigger(BaseEventTrigger):
    """Fires when a branch has commits that a subscription has not seen, or keys that were not announced.

    It fires at least once. The store and not the event lists the due work, so an event more or less does no harm. It
    never ends and never raises: an unreachable store is logged, and tried again with growing pauses.

    The event's payload is the head: repo, branch, commit, lineage ID and number.

    >>> from airflow_versioned import CommitTrigger
    >>> CommitTrigger("weather@main").serialize()[0]
    'airflow_versioned.triggers.CommitTrigger'
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
        """Return the class and arguments that rebuild this trigger; they hold no secret."""
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
        """Yield an event for each wake-up, without end. SQL runs in a thread of the store, never in the event loop."""
        alarm = Alarm()
        address = StoreAddress(self.connection, self.store)
        watch = Looking(address, self.branch, self.redeliver_after_s)
        fired: BranchState | None = None
        pause_s = self.poll_interval_s
        async with looking_at(address) as looks:
            while True:
                try:
                    # Airflow persisted the last event during the pause, so its keys now count as announced.
                    state = await looks.ask(partial(watch.look, announced=fired))
                except Exception:  # a trigger that raises is re-created every 2 s, without a trace in the UI
                    pause_s = min(2 * pause_s, LONGEST_BACKOFF_S)
                    self.log.exception("can't look at %s, trying again in %.0f s", self.branch, pause_s)
                else:
                    pause_s = self.poll_interval_s
                    fired = state if alarm.rings(state, time.monotonic()) else None
                    if fired is not None:
                        yield TriggerEvent({} if fired.head is None else event_extra(fired.head))
                await asyncio.sleep(pause_s)
