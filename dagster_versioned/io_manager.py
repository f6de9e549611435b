"""The IO manager: what Dagster's assets and ops return becomes commits, and what they take is read from snapshots."""

import types
import typing
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from dagster_versioned import compat, tags
from dagster_versioned.checkouts import Checkouts
from dagster_versioned.compat import Step
from dagster_versioned.lazy_store import LazyStore
from dagster_versioned.materialization import StoredOutput
from dagster_versioned.naming import OP_OUTPUTS_REPO, repo_of_asset, stem_of_asset, stem_of_op_output
from dagster_versioned.partition_keys import as_keys_of, in_definition_order
from dagster_versioned.partitioned_output import split_by_partition
from dagster_versioned.step_runs import ORCHESTRATOR, run_of_step, settle_lineage
from versioned_io import Commit, Run, Snapshot, Store, Transaction
from versioned_io.errors import ExistsError, InvalidInputError, PathNotFoundError, RefNotFoundError, RepoNotFoundError
from versioned_io.formats import StoredObject, load_object, save_object
from versioned_io.formats.pickles import PICKLE
from versioned_io.identifiers import LineageId

NOT_PICKLABLE = "can't be pickled"
"""What the core's error says when the last format, the pickle, could not take an object either."""

_LOADING_THREADS = 8

_TABLE_PACKAGES = frozenset({"pandas", "polars", "pyarrow"})

ALLOW_MISSING_PARTITIONS = "allow_missing_partitions"
"""The metadata of a `dagster.AssetIn` with which partitions without a value are left out, as in Dagster's managers."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the value of an output or an input is: a repo, and a path without extension for each partition.

    The one path of what is not partitioned has the key ``None``.
    """

    repo: str
    stems: Mapping[str | None, str]


class VersionedIOManager(dg.ConfigurableIOManager):
    """Stores the values of assets and ops in versioned repos, in place of Dagster's filesystem IO manager.

    ``resources={"io_manager": VersionedIOManager(store="./data")}`` is the whole change. Each asset has a repo
    of its own (`dagster_versioned.naming`); everything that one output holds, be it one value or the
    values of many partitions, is one commit, also when a run makes what is there already. Each commit records
    the run, the files that the step read, and the lineage ID, which are also in the materialisation's
    metadata and in the run's tags. The data version is the digest of the content, so storing the same
    again makes nothing downstream stale.

    The store is opened, or made, at the first use. Storing is idempotent: a retried or re-executed step
    commits the same paths again.

    Cost: of an output, one commit and, the first time in a run without a lineage ID, two queries of the
    Dagster instance; of an input, one snapshot and its files. Nothing else asks the instance.
    """

    store: str = Field(
        default="./data",
        description="Where the store is: a directory, or the URL of an object store such as s3://bucket/prefix.",
    )
    catalog: str | None = Field(
        default=None, description="The SQLAlchemy URL of the catalog; by default SQLite in the store's directory."
    )
    branch: str = Field(
        default="main", description="The branch that outputs are committed to, and inputs are read from."
    )
    base_branch: str = Field(
        default="main",
        description="What a repo without `branch` is read from, and what its `branch` is made from when it is needed.",
    )
    ref: str | None = Field(
        default=None, description="What inputs are read from instead of the branch: a tag, a commit or a lineage ID."
    )
    repo: str | None = Field(default=None, description="One repo for all assets, instead of one repo for each.")
    repo_prefix: str = Field(default="", description="Put in front of the name of each asset's repo.")
    allow_pickle: bool = Field(
        default=True, description="Whether objects without a format of their own are stored, and loaded, by pickle."
    )
    webserver_url: str | None = Field(
        default=None, description="Where the Dagster UI is; commits then link to their run."
    )
    git_commit: str | None = Field(default=None, description="The version of the code, recorded with each commit.")

    _lazy_store: LazyStore | None = PrivateAttr(default=None)
    _checkouts: Checkouts = PrivateAttr(default_factory=Checkouts)
    _ensured: set[str] = PrivateAttr(default_factory=set)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (Dagster's signature)
        """Close the store, and remove the files that inputs of the run were put into."""
        self._checkouts.remove()
        if self._lazy_store is not None:
            self._lazy_store.close()

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Commit *obj* to the output's repo, and say so in the materialisation's metadata.

        A reader sees all of it or, before the commit, nothing. Of a run over several partitions, *obj* is a
        dict, or a `PartitionedOutput`, with one value per partition, and they are one commit.

        Raises:
            DagsterInvariantViolationError: The object can't be stored, or is not one value per partition of
                the run. Nothing was committed.
            ConflictError: Another run stored the same partition at the same time; the message names its commit.

        Cost: 1 commit.
        """
        step = compat.step_of(context)
        run = self._run(step)
        place = self._place_of(context)
        values = _values_of(context, obj, place)
        lineage_id = settle_lineage(step, run) if step is not None and run is not None else None
        with _active(run):
            commit, objects = self._commit(context, place, values, lineage_id)
        stored = StoredOutput(
            commit=commit,
            lineage_id=lineage_id or commit.lineage_id,
            objects=objects,
            nothing=frozenset(key for key, value in values.items() if value is None),
            inputs=run.inputs if run is not None else (),
        )
        context.add_output_metadata(stored.metadata)
        if step is not None and context.has_asset_key:
            compat.add_partition_metadata(step, context.asset_key, stored.partition_metadata)
            compat.set_data_version(step, context.asset_key, stored.data_version)

    def load_input(self, context: dg.InputContext) -> Any:  # noqa: ANN401
        """Return the value of an asset, of its partitions that the step needs, or of an op's output.

        All of it is read from one snapshot, and noted as what the step's outputs are made from. What is
        read is the branch's head, or `ref`, or the ``versioned/ref`` in the input's metadata. Of several
        partitions, a dict by partition key comes, in the order of the partitions; a stored ``None`` is left out
        of it, as in Dagster's own IO managers. Of no partition at all, ``None``.

        Raises:
            FileNotFoundError: A value was never stored; materialise it first, or give the input the metadata
                ``allow_missing_partitions``.
            FormatError: It is stored as a pickle, and `allow_pickle` is off.

        Cost: 1 snapshot and the reads of the files.
        """
        place = self._place_of(context)
        if not place.stems:
            return None
        step = compat.step_of(context)
        run = self._run(step)
        with _active(run):
            return self._load(context, place, run)

    def _store(self) -> Store:
        if self._lazy_store is None:
            self._lazy_store = LazyStore(self.store, self.catalog, create=True)
        return self._lazy_store.get()

    def _run(self, step: Step | None) -> Run | None:
        if step is None:
            return None
        return run_of_step(step, self._store(), webserver_url=self.webserver_url, git_commit=self.git_commit)

    def _place_of(self, context: dg.InputContext | dg.OutputContext) -> _Place:
        if not context.has_asset_key:
            return _Place(self.repo_prefix + OP_OUTPUTS_REPO, {None: stem_of_op_output(context.get_identifier())})
        keys = _partition_keys_of(context) if context.has_asset_partitions else None
        return self._place_of_asset(context.asset_key, keys)

    def _place_of_asset(self, asset_key: dg.AssetKey, partition_keys: list[str] | None) -> _Place:
        keys: list[str] | list[None] = [None] if partition_keys is None else partition_keys
        shared = self.repo is not None
        repo = self.repo if self.repo is not None else repo_of_asset(asset_key, prefix=self.repo_prefix)
        return _Place(repo, {key: stem_of_asset(asset_key, key, in_shared_repo=shared) for key in keys})

    def _commit(
        self, context: dg.OutputContext, place: _Place, values: Mapping[str | None, Any], lineage_id: LineageId | None
    ) -> tuple[Commit, dict[str | None, StoredObject]]:
        """Commit the values in one transaction; return the commit that holds them, and what is stored for each."""
        branch = self._ensure_branch(place.repo)
        with self._store().transaction(
            branch,
            message=_message_of(context),
            author=ORCHESTRATOR,
            lineage_id=lineage_id,
            outputs={key: stem.rpartition("/")[0] for key, stem in place.stems.items() if key is not None},
            # The step ran, and its lineage ID must lead to what it made, also when that is what was there. The tree's
            # digest stays, so nothing downstream is affected.
            empty="allow" if lineage_id is not None else "skip",
        ) as transaction:
            objects = {key: self._save(context, transaction, place.stems[key], value) for key, value in values.items()}
        return transaction.commit, objects

    def _save(self, context: dg.OutputContext, transaction: Transaction, stem: str, value: object) -> StoredObject:
        try:
            stored = save_object(transaction, stem, value)
        except InvalidInputError as error:
            if NOT_PICKLABLE not in str(error):
                raise
            raise dg.DagsterInvariantViolationError(_unpicklable(context, value)) from error
        if stored.format == PICKLE and not self.allow_pickle:
            raise dg.DagsterInvariantViolationError(
                f"a {type(value).__name__} can only be stored as a pickle, and this IO manager has allow_pickle=False: "
                "return a table, array, text, bytes or what JSON can hold, or register a format for the type"
            )
        return stored

    def _ensure_branch(self, repo: str) -> str:
        """Make the repo and its branch if they are missing, once per process; return the branch's ref."""
        ref = f"{repo}@{self.branch}"
        if ref not in self._ensured:
            store = self._store()
            info = store.create_repo(repo, exist_ok=True)
            if self.branch not in {branch.name for branch in info.branches}:
                with suppress(ExistsError):  # another process made it meanwhile
                    store.create_branch(ref, at=f"{repo}@{self.base_branch}")
            self._ensured.add(ref)
        return ref

    def _load(self, context: dg.InputContext, place: _Place, run: Run | None) -> Any:  # noqa: ANN401
        metadata = context.definition_metadata or {}
        annotation = compat.annotation_of(context)
        try:
            snapshot = self._snapshot_of(place, pinned=metadata.get(tags.REF, self.ref))
        except PathNotFoundError:
            if not _may_be_missing(context):
                raise
            context.log.warning("nothing was ever stored in %s: %s", place.repo, ALLOW_MISSING_PARTITIONS)
            return None if len(place.stems) == 1 else {}
        if len(place.stems) == 1:
            ((key, stem),) = place.stems.items()
            return self._load_one(context, snapshot, key, stem, annotation)
        value_type = _value_type_of_dict(annotation)
        made_from = compat.partitions_made_from(context)

        def load(key: str | None, stem: str) -> object:
            made = made_from.get(key) if key is not None else None
            with run.making(made) if run is not None and made is not None else nullcontext():
                return self._load_one(context, snapshot, key, stem, value_type)

        with ThreadPoolExecutor(max_workers=_LOADING_THREADS, thread_name_prefix="versioned-load") as threads:
            loaded = threads.map(load, place.stems.keys(), place.stems.values())
            return {key: value for key, value in zip(place.stems, loaded, strict=True) if value is not None}

    def _load_one(
        self, context: dg.InputContext, snapshot: Snapshot, key: str | None, stem: str, annotation: object
    ) -> object:
        """Return one value, or ``None`` for a partition that was never stored and may be missing."""
        try:
            return load_object(
                snapshot,
                stem,
                type_hint=_table_type(annotation),
                allow_pickle=self.allow_pickle,
                directory=self._checkouts.new_directory(kept=compat.step_of(context) is None),
            )
        except FileNotFoundError:
            if key is None or not _may_be_missing(context):
                raise
            context.log.warning("partition %r is not in %s: %s", key, snapshot.name, ALLOW_MISSING_PARTITIONS)
            return None

    def _snapshot_of(self, place: _Place, *, pinned: str | None) -> Snapshot:
        """Return what is read: the pinned ref, or the branch, or what the branch will be made from."""
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
            raise PathNotFoundError(
                stem, place.repo, "nothing was ever stored in this repo; materialize the asset first"
            ) from error


def _may_be_missing(context: dg.InputContext) -> bool:
    metadata = context.definition_metadata or {}
    return context.has_asset_partitions and bool(metadata.get(ALLOW_MISSING_PARTITIONS, False))


def _active(run: Run | None) -> AbstractContextManager[object]:
    return run.active() if run is not None else nullcontext()


def _partition_keys_of(context: dg.InputContext | dg.OutputContext) -> list[str]:
    keys = context.asset_partition_keys
    definition = compat.partitions_def_of(context)
    if definition is None:
        return list(keys)
    return as_keys_of(in_definition_order(keys, definition, compat.instance_of(context)), definition)


def _values_of(context: dg.OutputContext, obj: object, place: _Place) -> dict[str | None, Any]:
    """Return the value of each partition, or of the whole under ``None``."""
    keys = [key for key in place.stems if key is not None]
    if not keys:
        return {None: obj}
    step = compat.step_of(context)
    several = step is not None and compat.runs_several_partitions_at_once(step, context.asset_key)
    split = split_by_partition(obj, keys, several_per_run=several)
    return {key: split[key] for key in keys}


def _message_of(context: dg.OutputContext) -> str:
    if not context.has_asset_key:
        return "/".join(context.get_identifier()[1:])
    name = context.asset_key.to_user_string()
    if not context.has_asset_partitions:
        return name
    keys = context.asset_partition_keys
    return f"{name} [{keys[0]}]" if len(keys) == 1 else f"{name} [{len(keys)} partitions]"


def _unpicklable(context: dg.OutputContext, value: object) -> str:
    """Return the sentence that Dagster's filesystem IO manager says, which people search for."""
    try:
        shown = str(value)
    except RecursionError:
        shown = f"{value.__class__} exceeds recursion limit and"
    executor = compat.executor_name_of(compat.step_of(context))
    return (
        f"Object {shown} is not picklable. You are currently using the versioned IO manager and the {executor}. "
        "Return something that can be pickled, register a format for its type, or use the mem_io_manager with the "
        "in_process_executor."
    )


def _table_type(annotation: object) -> object:
    """Return *annotation* if it names a kind of table, to which a stored table of another kind is converted.

    Anything else comes as it was stored, and Dagster's own type check judges it: it knows, for one, that an
    input annotated ``list`` may be loaded element by element.
    """
    alternatives = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    packages = {one.__module__.partition(".")[0] for one in alternatives if isinstance(one, type)}
    return annotation if packages & _TABLE_PACKAGES else None


def _is_union(annotation: object) -> bool:
    return typing.get_origin(annotation) in {typing.Union, types.UnionType}


def _value_type_of_dict(annotation: object) -> object:
    """Return ``V`` of ``dict[str, V]``, which is how an input of several partitions is annotated."""
    arguments = typing.get_args(annotation)
    return arguments[1] if len(arguments) == 2 and not _is_union(annotation) else None
