"""The IO manager: it commits the outputs of Dagster's assets and ops, and reads their inputs from snapshots."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

import versioned_io as vio
from dagster_versioned import compat
from dagster_versioned.branches import ensure_branch
from dagster_versioned.checkouts import Checkouts
from dagster_versioned.compat import Step
from dagster_versioned.fallback import Fallback
from dagster_versioned.lazy_store import LazyStore
from dagster_versioned.materialization import StoredOutput
from dagster_versioned.row_metadata import find_table_changes
from dagster_versioned.step_io import ALLOW_MISSING_PARTITIONS, Place, StepInput, StepOutput
from dagster_versioned.step_runs import (
    ORCHESTRATOR,
    metadata_of_older,
    note_older,
    older_inputs_of,
    run_of_step,
    settle_lineage,
)
from dagster_versioned.store_fields import StoreFields
from versioned_io import formats
from versioned_io.errors import NotStorableError, PathNotFoundError, RefNotFoundError, RepoNotFoundError
from versioned_io.model.identifiers import LineageId

_LOADING_THREADS = 8

FALLBACK = "VERSIONED_FALLBACK"
"""Names the older place where the store comes from the environment, too."""


class VersionedIOManager(dg.ConfigurableIOManager, StoreFields):
    """Stores the values of assets and ops in versioned repos, in place of Dagster's filesystem IO manager.

    ``resources={"io_manager": VersionedIOManager(store="./data")}`` is the whole change. Each asset has a repo of its
    own (`dagster_versioned.naming`). Each output is one commit, whether it has one value or the values of many
    partitions, and also if it equals the stored one. Each commit records the run, the files that the step read, and the
    lineage ID. The materialisation's metadata and the run's tags show them, too. The data version is the digest of the
    content, so an equal output makes nothing downstream stale.

    The store is opened, or made, at the first use. Storing is idempotent. If a step is retried within its run and
    stores the same, it makes no second commit. This holds even if the first try never got its reply. A re-executed
    step commits the same paths again.

    >>> import dagster as dg
    >>> from dagster_versioned import VersionedIOManager
    >>> @dg.asset
    ... def rain() -> str:
    ...     return "13.5 mm"
    >>> result = dg.materialize([rain], resources={"io_manager": VersionedIOManager(store="./data")})
    >>> with vio.open_store("./data") as store:
    ...     store.snapshot("rain@main").read("data.txt")
    b'13.5 mm'

    Cost: an output takes one commit. The first one in a run without a lineage ID also takes two queries of the Dagster
    instance. An input takes one snapshot and its files. Nothing else asks the instance.
    """

    branch: str = Field(
        default="main", description="The branch that outputs are committed to, and inputs are read from."
    )
    base_branch: str = Field(
        default="main",
        description="The branch to read in a repo without `branch`; `branch` is made from it when needed.",
    )
    ref: str | None = Field(
        default=None, description="The ref to read inputs from instead of the branch: a tag, a commit or a lineage ID."
    )
    repo: str | None = Field(default=None, description="One repo for all assets, instead of one repo for each.")
    repo_prefix: str = Field(default="", description="Put in front of the name of each asset's repo.")
    allow_pickle: bool = Field(
        default=True, description="Whether objects without a format of their own are stored, and loaded, by pickle."
    )
    fallback: dg.ResourceDependency[Any] = None  # type: ignore[assignment]  # a dependency that may be left out
    """The IO manager that was there before, or the directory or ``s3://bucket/prefix`` that it kept values in.

    An input that the store does not have is read there, and counts as an input of known digest.
    """
    export: bool = Field(
        default=False, description="Whether each output is also written to the place where the fallback kept it."
    )
    webserver_url: str | None = Field(
        default=None, description="Where the Dagster UI is; commits then link to their run."
    )
    git_commit: str | None = Field(default=None, description="The version of the code, recorded with each commit.")

    _lazy_store: LazyStore | None = PrivateAttr(default=None)
    _older: Fallback | None = PrivateAttr(default=None)
    _checkouts: Checkouts = PrivateAttr(default_factory=Checkouts)
    _ensured: set[str] = PrivateAttr(default_factory=set)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (Dagster's signature)
        """Close the store, and delete the local files of the run's inputs."""
        self._checkouts.remove()
        if self._lazy_store is not None:
            self._lazy_store.close()

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Commit *obj* to the output's repo, and name the commit in the materialisation's metadata.

        A reader sees all of it or, before the commit, nothing. In a run over several partitions, *obj* is a
        dict, or a `PartitionedOutput`, with one value per partition. All values are one commit.

        Raises:
            DagsterInvariantViolationError: The object can't be stored, or is not one value per partition of
                the run. Nothing was committed.
            ConflictError: Another run stored the same partition at the same time; the message names its commit.

        Cost: 1 commit; for tables also the comparison with the commit before, as for `find_table_changes`.
        """
        output = StepOutput.of(context, obj, self._place_of(context))
        run = self._run(output.step)
        lineage_id = settle_lineage(output.step, run) if output.step is not None and run is not None else None
        with _active(run):
            commit, objects = self._commit(output, lineage_id)
        stored = StoredOutput(
            commit=commit,
            lineage_id=lineage_id or commit.lineage_id,
            objects=objects,
            nothing=frozenset(key for key, value in output.values.items() if value is None),
            inputs=run.inputs if run is not None else (),
            older=older_inputs_of(output.step),
            changes=find_table_changes(self._store(), commit, objects, context.log),
        )
        if self.export:
            self._export(context, output)
        context.add_output_metadata(stored.metadata)
        if output.step is not None and output.asset_key is not None:
            compat.add_partition_metadata(output.step, output.asset_key, stored.partition_metadata)
            compat.set_data_version(output.step, output.asset_key, stored.data_version)

    def load_input(self, context: dg.InputContext) -> Any:  # noqa: ANN401
        """Return the value of an asset, of its partitions that the step needs, or of an op's output.

        The input's metadata ``columns`` and ``filters`` select a part of a table; see `versioned_io.formats.Selection`.
        All files are read from one snapshot, and recorded as inputs of the step's outputs. The snapshot is of the
        branch's head, of `ref`, or of the ``versioned/ref`` in the input's metadata. Several partitions are returned as
        a dict by partition key, in the order of the partitions. A stored ``None`` is left out of it, as in Dagster's
        own IO managers. If there are no partitions, ``None`` is returned.

        Raises:
            FileNotFoundError: A value was never stored; materialise it first, or give the input the metadata
                ``allow_missing_partitions``.
            FormatError: It is stored as a pickle, and `allow_pickle` is off.
            InvalidInputError: It is not a table with the columns that the metadata select.

        Cost: 1 snapshot and the reads of the files.
        """
        place = self._place_of(context)
        if not place.stems:
            return None
        wanted = StepInput.of(context, place, ref=self.ref)
        run = self._run(wanted.step)
        with _active(run):
            if len(place.stems) == 1:
                return self._load(wanted)
            return self._load_partitions(wanted, compat.partitions_made_from(context), run)

    def _store(self) -> "vio.Store":
        if self._lazy_store is None:
            self._lazy_store = LazyStore(self.settings(), create=True)
        return self._lazy_store.get()

    def _run(self, step: Step | None) -> "vio.Run | None":
        if step is None:
            return None
        return run_of_step(step, self._store(), webserver_url=self.webserver_url, git_commit=self.git_commit)

    def get_fallback(self) -> Fallback | None:
        """Return the older IO manager that `fallback` names, or None.

        Where the store comes from the environment, ``VERSIONED_FALLBACK`` may name it instead.

        Example:
            >>> print(VersionedIOManager(store="./data", fallback="./old").get_fallback())
            ./old
        """
        given: Any = self.fallback
        if given is None and self.store is None:
            given = os.environ.get(FALLBACK)
        if self._older is None and given is not None:
            self._older = Fallback(given, s3=self.s3, allow_pickle=self.allow_pickle)
        return self._older

    def _export(self, context: dg.OutputContext, output: StepOutput) -> None:
        older = self.get_fallback()
        if older is None:
            raise dg.DagsterInvariantViolationError("export=True needs fallback=, the place to export to")
        for key, value in output.values.items():
            context.log.debug("exported to %s", older.export(context, value, key))

    def _place_of(self, context: dg.InputContext | dg.OutputContext) -> Place:
        return Place.of(context, repo=self.repo, prefix=self.repo_prefix)

    def _commit(
        self, output: StepOutput, lineage_id: LineageId | None
    ) -> "tuple[vio.Commit, dict[str | None, formats.StoredObject]]":
        """Commit the values in one transaction; return the commit that holds them, and the object stored for each."""
        branch = self._ensure_branch(output.place.repo)
        with self._store().transaction(
            branch,
            message=output.message,
            author=ORCHESTRATOR,
            lineage_id=lineage_id,
            outputs=output.directories,
            # The step ran, so its lineage ID must lead to its output, even if the branch already held an equal one. The
            # tree's digest stays, so nothing downstream is affected.
            empty="allow" if lineage_id is not None else "skip",
            metadata=metadata_of_older(output.step, output.directories) or None,
            idempotency_key=output.retry_key,
            retries="equal",
        ) as transaction:
            objects = {
                key: self._save(output, transaction, output.place.stems[key], value)
                for key, value in output.values.items()
            }
        return transaction.commit, objects

    def _save(
        self, output: StepOutput, transaction: "vio.Transaction", stem: str, value: object
    ) -> "formats.StoredObject":
        try:
            stored = formats.save_object(transaction, stem, value)
        except NotStorableError as error:
            raise dg.DagsterInvariantViolationError(_unpicklable(output.executor, value)) from error
        if stored.format == formats.PICKLE and not self.allow_pickle:
            raise dg.DagsterInvariantViolationError(
                f"a {type(value).__name__} can only be stored as a pickle, but allow_pickle is False: "
                "return a table, array, text, bytes or JSON, or register a format"
            )
        return stored

    def _ensure_branch(self, repo: str) -> str:
        """Make the repo and its branch if they are missing, once per process; return the branch's ref."""
        ref = f"{repo}@{self.branch}"
        if ref not in self._ensured:
            ensure_branch(self._store(), repo, self.branch, self.base_branch)
            self._ensured.add(ref)
        return ref

    def _load(self, wanted: StepInput) -> object:
        """Return the value of an input with at most one partition."""
        ((key, stem),) = wanted.place.stems.items()
        return self._load_one(wanted, self._snapshot_or_error(wanted), key, stem, wanted.table_type)

    def _load_partitions(
        self, wanted: StepInput, made_from: dict[str, str], run: "vio.Run | None"
    ) -> dict[str | None, Any]:
        """Return the values of several partitions, in their order.

        Args:
            made_from: Partition of the input → the one partition of the step's output that is made from it.
        """
        snapshot = self._snapshot_or_error(wanted)
        value_type = wanted.table_type_of_partition

        def load(key: str | None, stem: str) -> object:
            made = made_from.get(key) if key is not None else None
            with run.making(made) if run is not None and made is not None else nullcontext():
                return self._load_one(wanted, snapshot, key, stem, value_type, output=made or "")

        stems = wanted.place.stems
        with ThreadPoolExecutor(max_workers=_LOADING_THREADS, thread_name_prefix="versioned-load") as threads:
            loaded = threads.map(load, stems.keys(), stems.values())
            return {key: value for key, value in zip(stems, loaded, strict=True) if value is not None}

    def _load_one(
        self,
        wanted: StepInput,
        found: "vio.Snapshot | PathNotFoundError",
        key: str | None,
        stem: str,
        table_type: object,
        *,
        output: str = "",
    ) -> object:
        """Return one value, or ``None`` for a partition that was never stored and may be missing.

        Args:
            output: The partition that is made from it; empty for all outputs of the step.
        """
        try:
            if isinstance(found, PathNotFoundError):
                raise found
            return formats.load_object(
                found,
                stem,
                type_hint=_or_none(table_type),
                allow_pickle=self.allow_pickle,
                directory=self._checkouts.new_directory(kept=wanted.step is None),
                plain=True,
                selection=wanted.selection,
            )
        except PathNotFoundError as error:
            return self._load_older(wanted, key, error, output)

    def _load_older(self, wanted: StepInput, key: str | None, missing: PathNotFoundError, output: str) -> object:
        """Return a value that the store lacks from the older IO manager, or ``None`` if it may be missing."""
        older = self.get_fallback()
        # A ref says which version is meant, and the older IO manager has none.
        if older is not None and wanted.pinned is None:
            try:
                value, read = older.load(wanted.context, key)
            except FileNotFoundError:
                wanted.log.debug("%s has no such value either", older)
            else:
                path, where, _ = missing.args
                wanted.log.info("read %s through fallback, since %s has no %s", read.uri, where, path)
                if wanted.step is not None:
                    note_older(wanted.step, replace(read, output=output))
                return formats.select_part(value, wanted.selection, read.uri)
        if key is None or not wanted.may_be_missing:
            path, where, hint = missing.args
            raise PathNotFoundError(path, where, self._hint(hint, older, wanted)) from missing.__cause__
        wanted.log.warning("partition %r is not in %s: %s", key, missing.args[1], ALLOW_MISSING_PARTITIONS)
        return None

    def _hint(self, hint: str, older: Fallback | None, wanted: StepInput) -> str:
        if older is None:
            more = "if an older IO manager holds it, name that by fallback="
        elif wanted.pinned is not None:
            more = f"{older} is not asked for a version as of {wanted.pinned}"
        else:
            more = f"{older} does not have it either"
        return f"{hint}; {more}" if hint else more

    def _snapshot_or_error(self, wanted: StepInput) -> "vio.Snapshot | PathNotFoundError":
        """Return the snapshot to read, or the error if nothing was ever stored in the repo."""
        try:
            return self._snapshot_of(wanted.place, pinned=wanted.pinned)
        except PathNotFoundError as error:
            return error

    def _snapshot_of(self, place: Place, *, pinned: str | None) -> "vio.Snapshot":
        """Return the snapshot of the pinned ref, of the branch, or of the branch from which it will be made."""
        store = self._store()
        try:
            if pinned is not None:
                return store.snapshot(f"{place.repo}@{pinned}")
            try:
                return store.snapshot(f"{place.repo}@{self.branch}")
            except RefNotFoundError:
                return store.snapshot(f"{place.repo}@{self.base_branch}")
        except RepoNotFoundError as error:
            stem = next(iter(place.stems.values()))
            _, known, deleted, renamed = error.args
            others = f" (the store holds {', '.join(map(repr, known))})" if known else ""
            hint = f"nothing was ever stored in this repo{others}; materialize the asset first"
            # The cause says what became of a repo that was there; of any other it advises to make the repo by hand.
            raise PathNotFoundError(stem, place.repo, hint) from (error if deleted or renamed else None)


@dg.io_manager(description="Stores values in the versioned store that VERSIONED_STORE and its siblings name.")
def default_io_manager(_context: dg.InitResourceContext) -> VersionedIOManager:
    """Return the IO manager for ``DAGSTER_DEFAULT_IO_MANAGER_MODULE=dagster_versioned``.

    With ``DAGSTER_DEFAULT_IO_MANAGER_ATTRIBUTE=default_io_manager`` it replaces Dagster's own in every repository that
    sets none. Its settings are those of the environment; see `vio.StoreSettings.from_environment`.
    """
    return VersionedIOManager()


def _active(run: "vio.Run | None") -> AbstractContextManager[object]:
    return run.active() if run is not None else nullcontext()


def _or_none(table_type: Any) -> object:  # noqa: ANN401 (an annotation)
    """Return the annotation that also takes a stored None, which stands for no value whatever the annotation is."""
    return None if table_type is None else table_type | None


def _unpicklable(executor: str, value: object) -> str:
    """Return the same sentence as Dagster's filesystem IO manager, since people search for it."""
    try:
        shown = str(value)
    except RecursionError:
        shown = f"{value.__class__} exceeds recursion limit and"
    return (
        f"Object {shown} is not picklable. You are currently using the versioned IO manager and the {executor}. "
        "Return something that can be pickled, register a format for its type, or use the mem_io_manager with the "
        "in_process_executor."
    )
