"""``@task.versioned``: a function whose arguments are read from a store, and whose result is committed to it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.decorators.python import _PythonDecoratedOperator
from airflow.sdk.bases.decorator import task_decorator_factory

from airflow_versioned.assets import VersionedAsset
from airflow_versioned.branch import make_missing_repo
from airflow_versioned.events import event_extra
from airflow_versioned.hooks import VersionedHook
from airflow_versioned.links import CommitLink
from airflow_versioned.notes import describe_outlets
from airflow_versioned.runs import find_partition_key, retry_key
from airflow_versioned.uris import DEFAULT_CONNECTION
from versioned_io import formats

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.bases.decorator import TaskDecorator

    from airflow_versioned.work import Work
    from versioned_io import Commit, Snapshot, Store, Transaction

DATA_STEM = "data"
"""The file name, before its extension, of a value; as the Dagster integration stores it."""


class VersionedDecoratedOperator(_PythonDecoratedOperator):
    """Calls a function with values that are read from a store, and commits its result; see `versioned_task`."""

    custom_operator_name = "@task.versioned"
    operator_extra_links = (CommitLink(),)

    def __init__(
        self,
        *,
        python_callable: Callable[..., object],
        op_args: Sequence[object],
        op_kwargs: Mapping[str, object],
        inputs: Mapping[str, VersionedAsset | str] | None = None,
        output: VersionedAsset | str | None = None,
        allow_pickle: bool = True,
        message: str = "",
        versioned_conn_id: str = DEFAULT_CONNECTION,
        store: str | None = None,
        **options: Any,  # noqa: ANN401 (the operator's own)
    ) -> None:
        self.inputs = dict(inputs or {})
        self.stored_as = output
        self.allow_pickle = allow_pickle
        self.message = message
        self.versioned_conn_id = versioned_conn_id
        self.store = store
        unknown = self.inputs.keys() - inspect.signature(python_callable).parameters.keys()
        if unknown:
            msg = f"inputs={sorted(unknown)} of @task.versioned are not parameters of {python_callable.__name__}()"
            raise ValueError(msg)
        claimed = [value for value in self.inputs.values() if isinstance(value, VersionedAsset)]
        if len(claimed) > 1:
            msg = (
                f"{python_callable.__name__}() can work on one versioned_asset: write the other inputs as 'repo@branch'"
            )
            raise ValueError(msg)
        self.claimed = claimed[0] if claimed else None
        # Airflow checks at parse time that the function can be called; the values come when it runs.
        given = {**dict.fromkeys(self.inputs), **op_kwargs}
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=given, **options)
        if isinstance(output, VersionedAsset) and not self.outlets:
            self.outlets = [output]

    def execute(self, context: "Context") -> Any:  # noqa: ANN401 (Airflow's own)
        """Return the commit's repo, branch, ID, lineage ID and number; the function's value without an output.

        Raises:
            AirflowSkipException: The input is a `versioned_asset`, and nothing is due.
            NotFoundError: An input does not exist.
        """
        self._context = context
        return super().execute(context)

    def execute_callable(self) -> Any:  # noqa: ANN401 (Airflow's own)
        """Read, call, and commit, in one run context."""
        if self.claimed is not None:
            with self.claimed.work(self._context) as work:
                return self._call(work.store, work)
        with VersionedHook(self.versioned_conn_id, store=self.store).run(self._context) as store:
            return self._call(store, None)

    def _call(self, store: "Store", work: "Work | None") -> object:
        key = work.key if work is not None and work.key != "*" else find_partition_key(self._context)
        annotations = {name: one.annotation for name, one in inspect.signature(self.python_callable).parameters.items()}
        values: dict[str, object] = {}
        for name, value in self.inputs.items():
            hint = None if annotations[name] is inspect.Parameter.empty else annotations[name]
            if isinstance(value, VersionedAsset):
                if work is not None:
                    values[name] = self._read_work(work, hint)
            else:
                ref, stem = split_place(self.render_template(value, self._context), key)
                values[name] = self._read(store.snapshot(ref), stem, hint)
        self.op_kwargs = {**self.op_kwargs, **values}
        result = super().execute_callable()
        if self.stored_as is None:
            return result
        return event_extra(self._commit(store, work, key, result))

    def _read_work(self, work: "Work", hint: object) -> object:
        paths = work.paths
        found = {path: self._read(work.snapshot, path, hint) for path in paths}
        return found[paths[0]] if len(paths) == 1 else found

    def _read(self, snapshot: "Snapshot", path: str, hint: object) -> object:
        return formats.load_object(snapshot, path, type_hint=hint, allow_pickle=self.allow_pickle, plain=True)

    def _commit(self, store: "Store", work: "Work | None", key: str | None, result: object) -> "Commit":
        place = self.stored_as
        if isinstance(place, str):
            place = self.render_template(place, self._context)
        ref, stem = place_of_output(place, key)
        make_missing_repo(store, ref)
        if work is not None:
            with work.transaction(ref, message=self.message) as tx:
                self._save(tx, stem, key, result)
        else:
            message = self.message or f"{self.dag_id}.{self.task_id}"
            ordinal = retry_key(self._context, 1, ref)
            with store.transaction(ref, message=message, idempotency_key=ordinal) as tx:
                self._save(tx, stem, key, result)
        commit = tx.commit if tx.changed else tx.base
        if commit is None:
            msg = f"the transaction on {ref} has left no commit"
            raise RuntimeError(msg)
        if work is None:
            describe_outlets(self._context, store, commit)
        return commit

    def _save(self, tx: "Transaction", stem: str, key: str | None, result: object) -> None:
        """Stage the result; a path that the template of the output asset does not match would wake no consumer."""
        stored = formats.save_object(tx, stem, result)
        asset = self.stored_as
        if not isinstance(asset, VersionedAsset) or asset.template is None or key is None:
            return
        if asset.template.key_of(stored.path) != key:
            msg = (
                f"{self.task_id} returned a {type(result).__name__}, which is stored at {stored.path!r}; the template "
                f"{asset.partitions!r} of {asset.branch_ref} does not match that: change the ending of the template"
            )
            raise ValueError(msg)


def split_place(place: str, key: str | None) -> tuple[str, str]:
    """Return the ref and the path of ``repo@ref:path``; ``{key}`` in the path is the partition key.

    Without a path it is that of a value as the Dagster integration stores it: ``data``. In a partition run it is
    ``<key>/data``.
    """
    ref, colon, path = place.partition(":")
    if colon:
        return ref, path.replace("{key}", key or "")
    return ref, DATA_STEM if key is None else f"{key}/{DATA_STEM}"


def place_of_output(output: VersionedAsset | str | None, key: str | None) -> tuple[str, str]:
    """Return the branch of an output, and the path of its value without an extension."""
    if not isinstance(output, VersionedAsset):
        return split_place(output or "", key)
    if output.template is None or key is None:
        return split_place(output.branch_ref, key)
    path = output.template.glob_of(key)
    if "*" in path:
        msg = f"the template {output.partitions!r} does not name one file for {key!r}: write output='repo@branch:path'"
        raise ValueError(msg)
    return output.branch_ref, str(PurePosixPath(path).with_suffix(""))


def versioned_task(python_callable: Callable[..., object] | None = None, **options: Any) -> "TaskDecorator":  # noqa: ANN401 (the operator's own)
    """Return a task that reads its arguments from a store and commits its result; written ``@task.versioned(...)``.

    Args:
        python_callable: The function.
        options: ``inputs`` maps parameters to a `versioned_asset`, whose due partition the task claims, or to
            ``repo@ref:path``. ``output`` is a `versioned_asset` or ``repo@branch:path``. Texts are templated. Without a
            path, a value is at ``data``, in a partition run at ``<key>/data``, in the same formats as Dagster's IO
            manager. The others are
            ``allow_pickle``, ``message``, ``versioned_conn_id``, ``store``, and Airflow's own.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=False,
        decorated_operator_class=VersionedDecoratedOperator,
        **options,
    )
