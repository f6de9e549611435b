"""A branch of a versioned repo as Airflow assets: one to wake up on, one to run partitions by."""

from typing import TYPE_CHECKING, Any

import attrs
from airflow.sdk import DAG, Asset, AssetWatcher, Context, PartitionedAssetTimetable, get_current_context

from airflow_versioned.connections import StoreAddress
from airflow_versioned.triggers import CommitTrigger
from airflow_versioned.uris import DEFAULT_CONNECTION, AssetAddress
from versioned_io.partitions import PartitionTemplate
from versioned_io.refs import parse_branch_ref

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from airflow_versioned.work import Work
    from versioned_io import Store

DEFAULT_POLL_INTERVAL_S = 2.0
DEFAULT_REDELIVER_AFTER_S = 300.0
DEFAULT_LEASE_S = 3600.0


@attrs.define(init=False, eq=False, kw_only=True)
class VersionedAsset(Asset):  # type: ignore[override]
    """A branch as an Airflow asset, whole or by partition; make it with `versioned_asset`.

    Two assets stand behind one branch, because Airflow never starts a partition run for a watcher's event, nor an
    un-partitioned DAG for a partition's: `head` is watched and wakes un-partitioned DAGs, the relay among
    them; an asset with `partitions` gets one event for each affected key, from the relay.

    Equal arguments make equal assets with one canonical name and URI, in any DAG file: a watched asset that
    is declared differently somewhere else would lose its trigger at every parse.
    """

    repo: str
    branch: str
    partitions: str | None
    key: str | None
    address: StoreAddress
    poll_interval_s: float
    redeliver_after_s: float

    def __init__(
        self,
        address: AssetAddress,
        store: StoreAddress,
        *,
        poll_interval_s: float,
        redeliver_after_s: float,
    ) -> None:
        branch = f"{address.repo}@{address.branch}"
        watchers = []
        if address.template is None:
            trigger = CommitTrigger(
                branch,
                connection=store.connection,
                store=store.url,
                poll_interval_s=poll_interval_s,
                redeliver_after_s=redeliver_after_s,
            )
            watchers.append(AssetWatcher(name=address.uri, trigger=trigger))
        self.__attrs_init__(
            name=address.uri,
            uri=address.uri,
            group="versioned",
            extra={"repo": address.repo, "branch": address.branch},
            watchers=watchers,
            repo=address.repo,
            branch=address.branch,
            partitions=address.template,
            key=address.key,
            address=store,
            poll_interval_s=poll_interval_s,
            redeliver_after_s=redeliver_after_s,
        )

    def __hash__(self) -> int:
        # Airflow hashes an asset's JSON, and a watcher has none.
        return hash((self.name, self.uri)) if self.watchers else super().__hash__()  # type: ignore[no-untyped-call]

    @property
    def branch_ref(self) -> str:
        """The branch as the store writes it: ``repo@branch``."""
        return f"{self.repo}@{self.branch}"

    @property
    def template(self) -> PartitionTemplate | None:
        """The partition template, parsed; ``None`` for the branch as a whole."""
        return None if self.partitions is None else PartitionTemplate.parse(self.partitions, self.key)

    @property
    def head(self) -> "VersionedAsset":
        """The branch as a whole: the asset that is watched. ``schedule=[ORDERS.head]`` wakes a DAG on every commit."""
        if self.partitions is None:
            return self
        whole = AssetAddress(self.repo, self.branch, self.address.connection)
        return VersionedAsset(
            whole, self.address, poll_interval_s=self.poll_interval_s, redeliver_after_s=self.redeliver_after_s
        )

    @property
    def schedule(self) -> "PartitionedAssetTimetable | VersionedAsset":
        """What ``DAG(schedule=...)`` takes: a run for each affected partition, or for each commit to a whole branch."""
        return self if self.partitions is None else PartitionedAssetTimetable(assets=self)

    def relay(
        self,
        dag_id: str | None = None,
        *,
        consumers: tuple[str, ...] = (),
        **dag_options: Any,  # noqa: ANN401 (DAG's own options)
    ) -> DAG:
        """Return the DAG that announces the affected partitions; call this in exactly one DAG file per asset.

        Args:
            dag_id: By default made from the repo, the branch and the template's fields.
            consumers: IDs of DAGs that are owed every partition from the first commit on, even before their first
                run. A DAG that is not named here is known from its first run on.
            dag_options: Passed to ``DAG``: tags, default_args and so on.

        Raises:
            ValueError: The asset has no partitions, so there is nothing to relay: schedule on it directly.
        """
        from airflow_versioned.relay import build_relay

        return build_relay(self, dag_id=dag_id, consumers=consumers, **dag_options)

    def work(
        self,
        context: Context | None = None,
        *,
        key: str | None = None,
        consumer: str | None = None,
        force: bool | None = None,
        lease_s: float = DEFAULT_LEASE_S,
    ) -> "AbstractContextManager[Work]":
        """Claim what is due for this run, and complete it when the block ends well.

        Inside a task of a partition run: claims the run's partition from the store, whatever the event said. When
        nothing is due for it, because the wake-up came twice or another run did it already, the task is skipped and
        nothing runs twice. When the block raises, the partition stays due and a retry of this run claims it again.

        Args:
            context: The task's context; by default that of the task that is running.
            key: The partition; by default the run's. An asset without partitions has no key.
            consumer: Whose due list; by default the DAG's ID. Every consumer gets every partition once. Lost
                wake-ups are repeated only for a consumer that is called as a DAG.
            force: Process it even when nothing is due. By default true for a run that a person or an operator
                started, or cleared, and false for a run that an event or a schedule started.
            lease_s: How long nobody else may claim the partition. A block that takes longer can be overtaken; then
                only one of the two can commit.

        Raises:
            AirflowSkipException: Nothing is due.
            PartitionKeyError: The template can't produce this key.
        """
        from airflow_versioned.work import open_work

        return open_work(
            self, context or get_current_context(), key=key, consumer=consumer, force=force, lease_s=lease_s
        )

    def open_store(self) -> "Store":
        """Return the store that this asset lives in, open; the caller closes it."""
        return self.address.open_store()


def versioned_asset(
    ref: str,
    *,
    partitions: str | None = None,
    key: str | None = None,
    conn_id: str = DEFAULT_CONNECTION,
    store: str | None = None,
    poll_interval_s: float = DEFAULT_POLL_INTERVAL_S,
    redeliver_after_s: float = DEFAULT_REDELIVER_AFTER_S,
) -> VersionedAsset:
    """Return the asset that a branch is, for schedules, outlets, inlets and events.

    Args:
        ref: The branch, ``repo@branch``; ``repo`` alone means its branch main.
        partitions: The template that names a partition by its files' paths, such as ``{year}/{month}.csv``. Without
            it the asset is the branch as a whole.
        key: How the template's fields make a partition key; by default their values joined by ``-``.
        conn_id: The Airflow connection that leads to the store.
        store: The store's URL or absolute path, instead of a connection; its catalog is the SQLite file in the store.
        poll_interval_s: How often the watcher looks for new commits. Give this and *redeliver_after_s* the same values
            wherever a branch is declared, or Airflow keeps a watcher for each.
        redeliver_after_s: A wake-up that nobody answered is repeated after this time, then after twice as long, and
            so on up to an hour.

    Raises:
        RefSyntaxError: *ref* is no branch.
        InvalidInputError: *partitions* or *key* is no template.
    """
    branch = parse_branch_ref(ref)
    if partitions is not None:
        PartitionTemplate.parse(partitions, key)
    elif key is not None:
        msg = f"key={key!r} says how the fields of a partition template make a key: give partitions too"
        raise ValueError(msg)
    address = AssetAddress(branch.repo, branch.branch, conn_id, partitions, key)
    return VersionedAsset(
        address, StoreAddress(conn_id, store), poll_interval_s=poll_interval_s, redeliver_after_s=redeliver_after_s
    )
