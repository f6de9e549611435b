"""The resource: a store for code that reads and commits in the body of an asset or op, or in a sensor."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import dagster as dg
from pydantic import Field, PrivateAttr

import versioned_io as vio
from dagster_versioned import compat
from dagster_versioned.compat import Step
from dagster_versioned.lazy_store import LazyStore
from dagster_versioned.step_runs import metadata_of_older, run_of_step, settle_lineage
from dagster_versioned.store_fields import StoreFields
from versioned_io.model.identifiers import CommitId

ComputeContext = dg.AssetExecutionContext | dg.AssetCheckExecutionContext | dg.OpExecutionContext


class VersionedStoreResource(StoreFields):
    """A versioned store: the running step records reads through it, and its transactions inherit them.

    In the body of an asset or op the step is found automatically. In a thread that the body started, pass
    ``context=``. Outside a run the resource is the plain store.
    """

    create: bool = Field(default=True, description="Whether a missing store is made at the first use.")
    webserver_url: str | None = Field(
        default=None, description="Where the Dagster UI is; commits then link to their run."
    )
    git_commit: str | None = Field(default=None, description="The version of the code, recorded with each commit.")

    _lazy_store: LazyStore | None = PrivateAttr(default=None)

    def get_store(self) -> "vio.Store":
        """Return the store, opened at the first use and closed with the resource.

        Reads through it are recorded only inside the block of `step`; `snapshot` and `transaction` record by
        themselves.

        >>> from dagster_versioned import VersionedStoreResource
        >>> resource = VersionedStoreResource(store="./data")
        >>> resource.get_store().create_repo("weather").name
        'weather'
        >>> resource.close()

        Raises:
            StoreNotFoundError: There is none at this location, and `create` is off.
        """
        if self._lazy_store is None:
            self._lazy_store = LazyStore(self.settings(), create=self.create)
        return self._lazy_store.get()

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (Dagster's signature)
        """Close the store."""
        self.close()

    def close(self) -> None:
        """Close the store, if the resource was used outside a run; a later use opens it again.

        >>> from dagster_versioned import VersionedStoreResource
        >>> resource = VersionedStoreResource(store="./data")
        >>> _ = resource.get_store()
        >>> resource.close()
        """
        if self._lazy_store is not None:
            self._lazy_store.close()

    @contextmanager
    def step(self, context: ComputeContext | None = None) -> "Iterator[vio.Run | None]":
        """Make the block's reads and commits part of the running step; yield its run, or None outside a step.

        >>> import dagster as dg
        >>> from dagster_versioned import VersionedStoreResource
        >>> @dg.asset
        ... def load(versioned_store: VersionedStoreResource) -> None:
        ...     store = versioned_store.get_store()
        ...     store.create_repo("weather")
        ...     with versioned_store.step(), store.transaction("weather@main") as tx:
        ...         tx.write("2012/01.csv", b"date,rain")
        >>> resources = {"versioned_store": VersionedStoreResource(store="./data")}
        >>> result = dg.materialize([load], resources=resources)
        >>> with vio.open_store("./data") as store:
        ...     store.commit("weather@main").run.orchestrator
        'dagster'
        """
        step = _step(context)
        run = self._run(step)
        with run.active() if run is not None else nullcontext():
            yield run

    @contextmanager
    def partition(self, key: str, *, context: ComputeContext | None = None) -> "Iterator[vio.Run | None]":
        """Record the reads of the block as inputs of the partition *key* alone.

        A run that makes several partitions at once needs this. Otherwise each partition would have all files that the
        run has read as its inputs.

        >>> import dagster as dg
        >>> from dagster_versioned import VersionedStoreResource
        >>> @dg.asset
        ... def report(versioned_store: VersionedStoreResource) -> None:
        ...     store = versioned_store.get_store()
        ...     store.create_repo("weather")
        ...     with store.transaction("weather@main") as tx:
        ...         tx.write("2012/01.csv", b"date,rain")
        ...     with versioned_store.partition("2012-01") as run:
        ...         store.snapshot("weather@main").read("2012/01.csv")
        ...     assert [file.output for file in run.inputs] == ["2012-01"]
        >>> resources = {"versioned_store": VersionedStoreResource(store="./data")}
        >>> dg.materialize([report], resources=resources).success
        True
        """
        with self.step(context) as run, run.making(key) if run is not None else nullcontext():
            yield run

    def snapshot(self, ref: str, *, context: ComputeContext | None = None) -> "vio.Snapshot":
        """Return the read view of *ref*; its reads are recorded as inputs of the step's outputs.

        >>> from dagster_versioned import VersionedStoreResource
        >>> resource = VersionedStoreResource(store="./data")
        >>> _ = resource.get_store().create_repo("weather")
        >>> with resource.transaction("weather@main") as tx:
        ...     _ = tx.write("2012/01.csv", b"date,rain")
        >>> resource.snapshot("weather@main").read("2012/01.csv")
        b'date,rain'
        """
        with self.step(context):
            return self.get_store().snapshot(ref)

    @contextmanager
    def transaction(
        self,
        ref: str,
        *,
        message: str = "",
        author: str = "",
        metadata: Mapping[str, Any] | None = None,
        provenance: Sequence[CommitId] = (),
        empty: Literal["skip", "allow", "refuse"] = "skip",
        context: ComputeContext | None = None,
    ) -> "Iterator[vio.Transaction]":
        """Yield a transaction on *ref* whose commit carries the step's run, inputs and lineage ID.

        It is committed when the block ends, and abandoned when the block raises. The arguments are those of
        `versioned_io.Store.transaction`. The run gets the lineage ID as a tag.

        >>> from dagster_versioned import VersionedStoreResource
        >>> resource = VersionedStoreResource(store="./data")
        >>> _ = resource.get_store().create_repo("weather")
        >>> with resource.transaction("weather@main", message="first load") as tx:
        ...     _ = tx.write("2012/01.csv", b"date,rain")
        >>> tx.commit.message
        'first load'
        """
        step = _step(context)
        run = self._run(step)
        lineage_id = settle_lineage(step, run) if step is not None and run is not None else None
        with (
            run.active() if run is not None else nullcontext(),
            self.get_store().transaction(
                ref,
                message=message,
                author=author,
                metadata={**metadata_of_older(step), **(metadata or {})} or None,
                provenance=provenance,
                empty=empty,
                lineage_id=lineage_id,
            ) as transaction,
        ):
            yield transaction

    def _run(self, step: Step | None) -> "vio.Run | None":
        if step is None:
            return None
        return run_of_step(step, self.get_store(), webserver_url=self.webserver_url, git_commit=self.git_commit)


def _step(context: ComputeContext | None) -> Step | None:
    return compat.current_step() if context is None else compat.step_of_compute(context)
