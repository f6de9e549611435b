"""The operator that commits files to a branch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from airflow_versioned.branch import make_missing_repo
from airflow_versioned.events import event_extra
from airflow_versioned.hooks import VersionedHook
from airflow_versioned.links import CommitLink
from airflow_versioned.notes import describe_outlets
from airflow_versioned.runs import retry_key
from airflow_versioned.uris import DEFAULT_CONNECTION

if TYPE_CHECKING:
    from versioned_io import Commit, Transaction


class VersionedCommitOperator(BaseOperator):
    """Commits files to a branch, all or none; a task that changes no file is skipped and emits no event.

    A retry is idempotent. If the first try committed, and crashed before Airflow knew it, the retry makes no second
    commit, whatever it writes. It succeeds with the first one's event. A task that was cleared commits again.

    Events of outlets that are this branch (`versioned_asset`) carry the commit and its lineage ID.

    >>> from airflow.sdk import DAG
    >>> from airflow_versioned import VersionedCommitOperator
    >>> with DAG("load", schedule=None) as dag:
    ...     load = VersionedCommitOperator(task_id="load", ref="weather@main", source="2012", to="2012")
    >>> dag.task_ids
    ['load']

    Args:
        ref: The branch, ``repo@branch``. Templated.
        source: A file, a directory, or a callable that gets the open transaction and writes to it. Files of the branch
            that are not in the directory are kept. Paths are templated.
        to: The path to write to; by default the file's name, or the root for a directory. Templated.
        message: By default names the DAG and the task. Templated.
        when_unchanged: The action when the branch already holds these bytes: ``skip`` the task, ``succeed``, or
            ``commit``, which also makes a commit. The first two make a commit only if the task has read other inputs
            than the recorded ones. Lineage then names the new inputs. After ``succeed`` without a commit, the result
            and the events name the branch's newest commit, which may be another writer's.
    """

    template_fields: Sequence[str] = ("ref", "source", "to", "message")
    operator_extra_links = (CommitLink(),)

    def __init__(
        self,
        *,
        ref: str,
        source: "str | Path | Callable[[Transaction], object]",
        to: str | None = None,
        message: str = "",
        when_unchanged: Literal["skip", "succeed", "commit"] = "skip",
        versioned_conn_id: str = DEFAULT_CONNECTION,
        store: str | None = None,
        **options: Any,  # noqa: ANN401 (BaseOperator's own)
    ) -> None:
        super().__init__(**options)
        self.ref = ref
        # Airflow calls a callable in a template field with the context, and takes its result for the value.
        self.source = str(source) if isinstance(source, Path) else _Writer(source) if callable(source) else source
        self.to = to
        self.message = message
        self.when_unchanged = when_unchanged
        self.versioned_conn_id = versioned_conn_id
        self.store = store

    def execute(self, context: Context) -> dict[str, Any]:
        """Commit, and return the commit's repo, branch, ID, lineage ID and number.

        Raises:
            AirflowSkipException: The branch already holds these bytes.
            PathNotFoundError, FileNotFoundError: The source does not exist.
            ConflictError: Another writer changed the same paths meanwhile; a retry begins again.
        """
        hook = VersionedHook(self.versioned_conn_id, store=self.store)
        with hook.run(context) as store:
            make_missing_repo(store, self.ref)
            message = self.message or f"{self.dag_id}.{self.task_id}"
            empty: Literal["allow", "skip"] = "allow" if self.when_unchanged == "commit" else "skip"
            key = retry_key(context, 1, self.ref)
            with store.transaction(self.ref, message=message, empty=empty, idempotency_key=key) as tx:
                self.write(tx)
            commit = tx.commit if tx.changed else None
            if self.when_unchanged == "skip" and (commit is None or not changes_files(commit)):
                msg = f"{self.ref} holds these bytes already"
                raise AirflowSkipException(msg)
            commit = commit or tx.base
            if commit is None:
                msg = f"nothing was written, and {self.ref} has no commit yet"
                raise AirflowSkipException(msg)
            describe_outlets(context, store, commit)
            return event_extra(commit)

    def write(self, tx: "Transaction") -> None:
        """Stage the source."""
        if isinstance(self.source, _Writer):
            self.source.write(tx)
            return
        path = Path(self.source)
        if path.is_dir():
            tx.write_tree(path, to=self.to or "")
        else:
            tx.write(self.to or path.name, path)


class _Writer:
    """A callable that writes to a transaction, and that Airflow does not see as one."""

    def __init__(self, write: "Callable[[Transaction], object]") -> None:
        self.write = write

    def __repr__(self) -> str:
        return f"callable {getattr(self.write, '__qualname__', type(self.write).__qualname__)}"


def changes_files(commit: "Commit") -> bool:
    """Return whether a commit changed a file. A commit that only records new inputs of equal bytes did not."""
    return bool(commit.stats.added or commit.stats.modified or commit.stats.deleted)
