"""A branch of a versioned repo as two Airflow assets: one for wake-ups, one for partition runs."""

from typing import TYPE_CHECKING, Any

import attrs
from airflow.sdk import DAG, Asset, AssetWatcher, Context, PartitionedAssetTimetable, get_current_context

from airflow_versioned.branch import DeclaredBranch
from airflow_versioned.connections import StoreAddress
from airflow_versioned.relay import build_relay
from airflow_versioned.triggers import CommitTrigger
from airflow_versioned.uris import DEFAULT_CONNECTION, AssetAddress
from airflow_versioned.work import Work, open_work
from versioned_io.model.partitions import PartitionTemplate
from versioned_io.model.refs import parse_branch_ref

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from versioned_io import Store

DEFAULT_POLL_INTERVAL_S = 2.0
DEFAULT_REDELIVER_AFTER_S = 300.0
DEFAULT_LEASE_S = 3600.0


@attrs.define(init=False, eq=False, kw_only=True)
class VersionedAsset(Asset):  # type: ignore[override]
    """A branch as an Airflow asset, whole or by partition; make it with `versioned_asset`.

    A branch has two assets. Airflow never starts a partition run for a watcher's event, or an un-partitioned DAG for a
    partition's event. `head` is watched and wakes un-partitioned DAGs, the relay among them. An asset with
    `partitions` gets one event for each affected key, from the relay.

    Equal arguments make equal assets with one canonical name and URI, in any DAG file. If a watched asset is declared
    differently in another file, Airflow drops its trigger at every parse.
    """

    declared: DeclaredBranch
    repo: str
    branch: str
    partitions: str | None
    key: str | None

    def __init__(self, declared: DeclaredBranch) -> None:
        uri = AssetAddress(
            declared.repo,
            declared.branch,
            declared.address.connection,
            declared.partitions,
            declared.key,
            declared.address.url,
        ).uri
        watchers = []
        if declared.partitions is None:
            trigger = CommitTrigger(
                declared.ref,
                connection=declared.address.connection,
                store=declared.address.url,
                poll_interval_s=declared.poll_interval_s,
                redeliver_after_s=declared.redeliver_after_s,
            )
            watchers.append(AssetWatcher(name=uri, trigger=trigger))
        self.__attrs_init__(
            name=uri,
            uri=uri,
            group="versioned",
            extra={"repo": declared.repo, "branch": declared.branch},
            watchers=watchers,
            declared=declared,
            repo=declared.repo,
            branch=declared.branch,
            partitions=declared.partitions,
            key=declared.key,
        )

    def __hash__(self) -> int:
        # Airflow hashes an asset's JSON, and a watcher has none.
        return hash((self.name, self.uri)) if self.watchers else super().__hash__()  # type: ignore[no-untyped-call]

    @property
    def branch_ref(self) -> str:
        """The branch as the store writes it: ``repo@branch``."""
        return self.declared.ref

    @property
    def template(self) -> PartitionTemplate | None:
        """The partition template, parsed; ``None`` for the branch as a whole."""
        return self.declared.template

    @property
    def address(self) -> StoreAddress:
        """The address by which tasks open the store."""
        return self.declared.address

    @property
    def head(self) -> "VersionedAsset":
        """The branch as a whole: the asset that is watched. ``schedule=[ORDERS.head]`` wakes a DAG on every commit."""
        if self.partitions is None:
            return self
        return VersionedAsset(self.declared.whole)

    @property
    def schedule(self) -> "PartitionedAssetTimetable | VersionedAsset":
        """The value for ``DAG(schedule=...)``: a run for each affected partition, or each commit to a whole branch."""
        return self if self.partitions is None else PartitionedAssetTimetable(assets=self)

    def relay(
        self,
        dag_id: str | None = None,
        *,
        consumers: tuple[str, ...] = (),
        start: str = "beginning",
        **dag_options: Any,  # noqa: ANN401 (DAG's own options)
    ) -> DAG:
        """Return the DAG that announces the affected partitions; call this in exactly one DAG file per asset.

        >>> from airflow_versioned import versioned_asset
        >>> weather = versioned_asset("weather@main", partitions="{year}/{month}.csv")
        >>> weather.relay().dag_id
        'relay.weather.main.year.month'

        Args:
            dag_id: By default made from the repo, the branch and the template's fields.
            consumers: IDs of DAGs that get every partition from the first commit on, even before their first run. A DAG
                that is not named here is known after its first run.
            start: The place where the relay and *consumers* begin when they are new. ``beginning`` is before the
                branch's first commit, and ``head`` is after its newest. A ref of the repo is after that commit.
            dag_options: Passed to ``DAG``: tags, default_args and so on.

        Raises:
            ValueError: The asset has no partitions, so there is nothing to relay: schedule on it directly.
        """
        return build_relay(
            self, self.head, self.declared, dag_id=dag_id, consumers=consumers, start=start, **dag_options
        )

    def work(
        self,
        context: Context | None = None,
        *,
        key: str | None = None,
        consumer: str | None = None,
        force: bool | None = None,
        start: str | None = None,
        lease_s: float = DEFAULT_LEASE_S,
    ) -> "AbstractContextManager[Work]":
        """Claim the due work of this run, and complete it when the block ends without an exception.

        A task of a partition run claims the run's partition from the store, whatever the event said. If nothing is due,
        the task is skipped, so nothing runs twice. This happens when the wake-up came twice, or another run did the
        work. If the block raises, the partition stays due, and a retry of this run claims it again.

        Args:
            context: The task's context; by default that of the task that is running.
            key: The partition; by default the run's. An asset without partitions has no key.
            consumer: The consumer whose due keys are claimed; by default the DAG's ID. Every consumer gets every
                partition once. Lost wake-ups are repeated only for a consumer that has the ID of a DAG.
            force: Process the partition even when nothing is due. It is false by default for runs that an event or
                schedule started, and true for those that a person or operator started or cleared.
            start: The place where a new consumer begins. ``beginning`` is before the branch's first commit, and
                ``head`` is before the commit that wakes the consumer for the first time. A ref of the repo is after
                that commit. By default it is ``beginning`` if the DAG has ``catchup=True``, and ``head`` if not.
            lease_s: The time for which no other run may claim the partition. A block that takes longer can be
                overtaken; then only one of the two can commit.

        Raises:
            AirflowSkipException: Nothing is due.
            PartitionKeyError: The template can't produce this key.
            NotFoundError: *start* is a ref that does not exist.
        """
        return open_work(
            self.declared,
            context or get_current_context(),
            key=key,
            consumer=consumer,
            force=force,
            start=start,
            lease_s=lease_s,
        )

    def open_store(self) -> "Store":
        """Return the open store of this asset; the caller closes it.

        >>> import pathlib
        >>> from airflow_versioned import versioned_asset
        >>> vio.create_store("data").close()
        >>> weather = versioned_asset("weather@main", store=str(pathlib.Path("data").absolute()))
        >>> with weather.open_store() as store:
        ...     store.repos()
        []
        """
        return self.declared.address.open_store()


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
    """Return a branch as an asset, for schedules, outlets, inlets and events.

    >>> from airflow_versioned import versioned_asset
    >>> weather = versioned_asset("weather@main", partitions="{year}/{month}.csv")
    >>> weather.uri
    'versioned://weather/main/{year}/{month}.csv'

    Args:
        ref: The branch, ``repo@branch``; ``repo`` alone means its branch main.
        partitions: The template that names a partition by its files' paths, such as ``{year}/{month}.csv``. Without
            it the asset is the branch as a whole.
        key: The template of the partition key; by default the fields' values joined by ``-``.
        conn_id: The Airflow connection to the store.
        store: The store's URL or absolute path, instead of a connection; its catalog is the SQLite file in the store.
        poll_interval_s: The time between two looks of the watcher for new commits. Use equal values of this and
            *redeliver_after_s* in every declaration of a branch. Otherwise Airflow keeps a watcher for each value.
        redeliver_after_s: An unanswered wake-up is repeated after this time. The time then doubles, up to an hour.

    Raises:
        RefSyntaxError: *ref* is not a branch.
        InvalidInputError: *partitions* or *key* is not a template.
    """
    branch = parse_branch_ref(ref)
    if partitions is not None:
        PartitionTemplate.parse(partitions, key)
    elif key is not None:
        msg = f"key={key!r} says how the fields of a partition template make a key: give partitions too"
        raise ValueError(msg)
    return VersionedAsset(
        DeclaredBranch(
            branch.repo,
            branch.branch,
            partitions,
            key,
            StoreAddress(conn_id, store),
            poll_interval_s=poll_interval_s,
            redeliver_after_s=redeliver_after_s,
        )
    )
