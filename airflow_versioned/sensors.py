"""The sensor that waits for a commit, or for files in one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_versioned.branch import make_missing_repo
from airflow_versioned.connections import StoreAddress
from airflow_versioned.events import event_extra
from airflow_versioned.links import CommitLink
from airflow_versioned.polling import looking_at
from airflow_versioned.triggers import LONGEST_BACKOFF_S
from airflow_versioned.uris import DEFAULT_CONNECTION

if TYPE_CHECKING:
    from versioned_io import Commit, Store


class VersionedCommitSensor(BaseSensorOperator):
    """Waits until a branch has a commit, or files that a glob matches; by default without a worker.

    | *path* | *after* | it waits for |
    |---|---|---|
    | no | no | the branch's first commit |
    | no | yes | a commit after that one |
    | yes | no | a file that matches, at the branch's head |
    | yes | yes | a file that matches, and that was added or changed after that commit |

    It returns the repo, branch, ID, lineage ID and number of the head that it found.

    >>> VersionedCommitSensor(task_id="wait", ref="orders@main", path="raw/*.csv").deferrable
    True

    Args:
        ref: The branch, ``repo@branch``. Templated.
        path: A path or a glob, such as ``raw/*.csv``. Templated.
        after: A commit: its ID, a tag, ``main~3``, or ``repo@`` and one of these. Templated.
        deferrable: Wait in the triggerer, which looks every *poke_interval* seconds. False waits in a worker.
    """

    template_fields: Sequence[str] = ("ref", "path", "after")
    operator_extra_links = (CommitLink(),)

    def __init__(
        self,
        *,
        ref: str,
        path: str | None = None,
        after: str | None = None,
        deferrable: bool = True,
        poke_interval: float = 5.0,
        versioned_conn_id: str = DEFAULT_CONNECTION,
        store: str | None = None,
        **options: Any,  # noqa: ANN401 (BaseSensorOperator's own)
    ) -> None:
        super().__init__(poke_interval=poke_interval, **options)
        self.ref = ref
        self.path = path
        self.after = after
        self.deferrable = deferrable
        self.versioned_conn_id = versioned_conn_id
        self.store = store

    def execute(self, context: Context) -> Any:  # noqa: ANN401 (BaseSensorOperator's own)
        """Return the facts of the head if the branch has the commit or the files; otherwise wait.

        Raises:
            NotFoundError: There is no branch *ref*, or no commit *after*.
        """
        if not self.deferrable:
            return super().execute(context)
        found = self.look()
        return found if found is not None else self._wait()

    def poke(self, context: Context) -> PokeReturnValue:  # noqa: ARG002 (BaseSensorOperator's own)
        """Look once."""
        found = self.look()
        return PokeReturnValue(is_done=found is not None, xcom_value=found)

    def look(self) -> dict[str, Any] | None:
        """Return the facts of the head if the branch has what the sensor waits for."""
        with StoreAddress(self.versioned_conn_id, self.store).open_store() as store:
            make_missing_repo(store, self.ref)
            commit = find_commit(store, self.ref, self.path, self.after)
            return None if commit is None else event_extra(commit)

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 (Airflow's own)
        """Return the facts that the trigger found."""
        return event

    def _wait(self) -> NoReturn:
        interval: Any = self.poke_interval
        trigger = CommitSensorTrigger(
            self.ref,
            path=self.path,
            after=self.after,
            connection=self.versioned_conn_id,
            store=self.store,
            poll_interval_s=interval.total_seconds() if isinstance(interval, timedelta) else float(interval),
        )
        self.defer(trigger=trigger, method_name="resume", timeout=self.timeout)


class CommitSensorTrigger(BaseTrigger):
    """Fires once, when the branch has what a `VersionedCommitSensor` waits for; an unreachable store is logged."""

    def __init__(
        self,
        ref: str,
        *,
        path: str | None,
        after: str | None,
        connection: str,
        store: str | None,
        poll_interval_s: float,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ref = ref
        self.path = path
        self.after = after
        self.connection = connection
        self.store = store
        self.poll_interval_s = poll_interval_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and arguments that rebuild this trigger; they hold no secret."""
        arguments = {
            "ref": self.ref,
            "path": self.path,
            "after": self.after,
            "connection": self.connection,
            "store": self.store,
            "poll_interval_s": self.poll_interval_s,
        }
        return f"{CommitSensorTrigger.__module__}.{CommitSensorTrigger.__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the event when the commit is there. SQL runs in a thread of the store, never in the event loop."""
        pause_s = self.poll_interval_s
        async with looking_at(StoreAddress(self.connection, self.store)) as looks:
            while True:
                try:
                    found = await looks.ask(lambda opened: find_commit(opened.store, self.ref, self.path, self.after))
                except Exception:  # an error that passes must not fail a task that has waited for hours
                    pause_s = min(2 * pause_s, LONGEST_BACKOFF_S)
                    self.log.exception("can't look at %s, trying again in %.0f s", self.ref, pause_s)
                else:
                    pause_s = self.poll_interval_s
                    if found is not None:
                        yield TriggerEvent(event_extra(found))
                        return
                await asyncio.sleep(pause_s)


def find_commit(store: "Store", ref: str, path: str | None, after: str | None) -> "Commit | None":
    """Return the head of a branch if it has what a sensor waits for.

    Raises:
        NotFoundError: The branch or the commit does not exist.

    Cost: 2 SELECTs without *path*. With it, as `Snapshot.glob`, and with *after* as `Store.diff`.
    """
    head = next(iter(store.log(ref, limit=1)), None)
    repo = ref.partition("@")[0]
    seen = None if after is None else store.commit(after if "@" in after else f"{repo}@{after}")
    if head is None or (seen is not None and seen.id == head.id):
        return None
    if path is None:
        return head
    matching = {info.path for info in store.snapshot(f"{repo}@{head.id}").glob(path)}
    if seen is not None and matching:
        changed = store.diff(f"{repo}@{seen.id}", f"{repo}@{head.id}")
        matching &= set(changed.column("path").to_pylist())
    return head if matching else None
