"""The work of one run on one partition: claimed from the store, done on a pinned snapshot, completed by a commit."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from airflow_versioned.branch import WHOLE_BRANCH, DeclaredBranch, make_missing_repo
from airflow_versioned.notes import describe_outlets
from airflow_versioned.runs import (
    UNDER_WAY,
    find_partition_key,
    find_state,
    is_cleared,
    is_over,
    is_started_by_somebody,
    is_woken,
    open_run,
    retry_key,
)
from airflow_versioned.starts import BEGINNING, choose_start, find_start

if TYPE_CHECKING:
    from versioned_io import DueKey, Run, Snapshot, Store, Subscription, Transaction


class Work:
    """A claimed partition, with everything that its processing needs.

    Attributes:
        key: The partition key; ``*`` for a branch without partitions.
        store: The open store; it is closed with the work.
        run: The run context with the reads and commits so far.
    """

    def __init__(self, declared: DeclaredBranch, store: "Store", due: "DueKey", run: "Run", context: Context) -> None:
        self.declared = declared
        self.store = store
        self.due = due
        self.key = due.key
        self.run = run
        self.is_completed = False
        self._context = context
        self._transactions = 0

    @property
    def lineage_id(self) -> str:
        """The lineage ID of the commit that caused this work; commits made here carry it onward."""
        return self.due.lineage_id

    @cached_property
    def snapshot(self) -> "Snapshot":
        """The branch as of the claimed commit, even if it has moved since. Reads are recorded as provenance."""
        return self.store.snapshot(f"{self.declared.repo}@{self.due.commit}")

    @cached_property
    def paths(self) -> list[str]:
        """The paths of this partition's files, sorted; of all files for a branch without partitions."""
        template = self.declared.template
        found = self.snapshot.walk() if template is None else self.snapshot.glob(template.glob_of(self.key))
        return sorted(info.path for info in found)

    @contextmanager
    def transaction(
        self,
        ref: str,
        *,
        message: str = "",
        author: str = "",
        metadata: Mapping[str, Any] | None = None,
        completes: bool = True,
    ) -> "Iterator[Transaction]":
        """Write to a branch; one SQL transaction commits the result and marks this work as done.

        So the result never exists while the work is still due, and the reverse never happens either. A result that
        equals the branch's content is committed too, since the lineage ID must lead to it. It affects nothing
        downstream. A retry makes no second commit for the same request, whatever it writes. The first commit stands,
        even if the first try never got its reply. A task that was cleared, or that claims newer data, commits
        again. Events of the task's outlets carry the commit.

        Args:
            ref: The branch to write to.
            message: By default names the DAG and the partition.
            completes: False for all but the last of several transactions.

        Raises:
            ConflictError: Another writer changed the same paths; nothing is written, and a retry begins again.
            ClaimLostError: The lease was too short, and another run has claimed this partition; nothing is written.
        """
        make_missing_repo(self.store, ref)
        dag_run: Any = self._context["dag_run"]
        text = message or f"{dag_run.dag_id}: {self.key}"
        dues = [self.due] if completes else []
        empty: Literal["skip", "allow"] = "skip" if self.due.is_done else "allow"
        before = len(self.run.commits)
        self._transactions += 1
        key = retry_key(self._context, self._transactions, ref, self.key, self.due.sequence)
        with self.store.transaction(
            ref,
            message=text,
            author=author,
            metadata=metadata,
            completes=dues,
            empty=empty,
            idempotency_key=key,
        ) as tx:
            yield tx
        self.is_completed = self.is_completed or completes
        if not tx.changed and tx.base is not None:
            describe_outlets(self._context, self.store, tx.base)
        for commit in self.run.commits[before:]:  # of every branch that the transaction wrote to
            describe_outlets(self._context, self.store, commit)


@contextmanager
def open_work(
    declared: DeclaredBranch,
    context: Context,
    *,
    key: str | None,
    consumer: str | None,
    force: bool | None,
    start: str | None,
    lease_s: float,
) -> Iterator[Work]:
    """Claim the due work of the run, and complete it when the block succeeds; see `VersionedAsset.work`."""
    run: Any = context["dag_run"]
    wanted = choose_key(declared, key if key is not None else find_partition_key(context))
    location = declared.address.locate()
    with location.open_store() as store:
        make_missing_repo(store, declared.ref)
        relay = declared.relay_of(store, location.deployment)
        begins = choose_start(context, start)
        first = find_start(store, declared, context, begins)
        subscription = relay.subscribe(consumer or run.dag_id, start=first)
        subscription.collect()
        relay.adopt(subscription)
        forced = wants_repetition(subscription, wanted, context) if force is None else force
        if force is None and begins != BEGINNING and is_woken(context):
            # Its wake-up was on the way when the first run of the consumer began later than this key's commit.
            forced = forced or subscription.find(wanted) is None
        due = claim(subscription, wanted, context, force=forced, lease_s=lease_s)
        with open_run(context, store, lineage_id=due.lineage_id) as noted:
            work = Work(declared, store, due, noted, context)
            try:
                yield work
            except AirflowSkipException:  # the block decided that this partition needs nothing
                subscription.complete(due)
                raise
            except BaseException:
                subscription.release(due)
                raise
            if not work.is_completed:
                subscription.complete(due)


def choose_key(declared: DeclaredBranch, key: str | None) -> str:
    """Return the key to claim.

    Raises:
        ValueError: The asset has partitions and the run has none.
        PartitionKeyError: The template can't produce the key.
    """
    template = declared.template
    if template is None:
        return WHOLE_BRANCH
    if key is None:
        msg = (
            f"this run has no partition key, but {declared.ref} is partitioned by {template.text!r}: "
            f"use the asset's schedule, start it with a partition key, or pass key="
        )
        raise ValueError(msg)
    template.fields_of(key)
    return key


def wants_repetition(subscription: "Subscription", key: str, context: Context) -> bool:
    """Return whether this run works on *key* although nothing is due: somebody has started it, or cleared it.

    Of several cleared runs of one key, one works on it: the one that processed the key last, or the first to come. The
    others find that it is about to, or that it has since they were cleared.

    Raises:
        AirflowSkipException: Another run does the work; the message names it.

    Cost: none, or 1 SELECT and 1 request to Airflow's API server.
    """
    if not is_cleared(context):
        return is_started_by_somebody(context)
    run: Any = context["dag_run"]
    instance: Any = context["ti"]
    newest = subscription.find(key)
    if newest is None or not newest.is_done or newest.done_by is None:
        return True
    if f"{run.dag_id}/{run.run_id}" in {newest.done_by, newest.owner}:
        return True
    cleared_at = getattr(run, "start_date", None)  # Airflow sets it again when it starts a cleared run
    if cleared_at is not None and newest.claimed_until is not None and newest.claimed_until >= cleared_at:
        did = "has processed it since this run was cleared"
    elif find_state(newest.done_by, instance.get_dagrun_state) in UNDER_WAY:
        did = "is under way, and processes it"
    else:
        return True
    msg = f"partition {key!r} of {subscription} is processed again by one run only: {newest.done_by} {did}"
    raise AirflowSkipException(msg)


def claim(subscription: "Subscription", key: str, context: Context, *, force: bool, lease_s: float) -> "DueKey":
    """Return the claimed key.

    The owner is the run: a retry, a cleared task and a second task of the same run claim it again. An event does not
    repeat what another run has failed to do: that run is red, and a person decides.

    Raises:
        AirflowSkipException: Nothing is due, another run holds the claim, or another run has failed.
    """
    run: Any = context["dag_run"]
    instance: Any = context["ti"]
    owner = f"{run.dag_id}/{run.run_id}"
    repeat = not is_woken(context)
    due = subscription.claim(key, owner=owner, lease_s=lease_s, force=force, repeat=repeat)
    if due is not None:
        return due
    held = subscription.find(key)
    if held is not None and not held.is_done and not _is_held(held):
        msg = (
            f"{held.owner} has failed to process partition {key!r} of {subscription}: "
            f"clear that run to repeat its work, or start one by hand"
        )
        raise AirflowSkipException(msg)
    if held is None or not _is_held(held):
        msg = (
            f"nothing is due for partition {key!r} of {subscription}: the wake-up came twice, or the data is as before"
        )
        raise AirflowSkipException(msg)
    if is_over(held.owner or "", instance.get_dagrun_state):
        due = subscription.claim(key, owner=owner, lease_s=lease_s, force=force, instead_of=held.owner)
        if due is not None:
            return due
    msg = (
        f"partition {key!r} is being processed by {held.owner}: if new data came meanwhile, it is announced after that"
    )
    raise AirflowSkipException(msg)


def _is_held(due: "DueKey") -> bool:
    return due.owner is not None and due.claimed_until is not None and due.claimed_until > datetime.now(UTC)
