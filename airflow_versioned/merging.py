"""The operator that merges a branch into another one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from airflow_versioned.branch import make_missing_repo
from airflow_versioned.events import event_extra
from airflow_versioned.hooks import VersionedHook
from airflow_versioned.links import CommitLink
from airflow_versioned.notes import describe_outlets
from airflow_versioned.open_lineage import note_input
from airflow_versioned.uris import DEFAULT_CONNECTION
from versioned_io.model.refs import parse_branch_ref

if TYPE_CHECKING:
    from versioned_io import Commit, Store


class VersionedMergeOperator(BaseOperator):
    """Merges the commits of a branch into another branch of its repo, all or none; no bytes move.

    A task that finds nothing to merge is skipped. A retry whose first try merged, and crashed before Airflow knew it,
    succeeds with the event of the merged head. Events of outlets that are *into* (`versioned_asset`) carry the commit.

    >>> VersionedMergeOperator(task_id="merge", source="orders@next", into="orders@main").into
    'orders@main'

    Args:
        source: The branch, tag or commit to merge, ``repo@ref``. Templated.
        into: The branch to merge into, ``repo@branch``. Templated.
        message: By default names both. Templated.
        strategy: The choice where both sides changed a file differently: ``fail``, ``ours`` (the file of *into*) or
            ``theirs``.
        fast_forward: Where *into* has no commit of its own, only move it to *source*; otherwise make a commit.
    """

    template_fields: Sequence[str] = ("source", "into", "message")
    operator_extra_links = (CommitLink(),)

    def __init__(
        self,
        *,
        source: str,
        into: str,
        message: str = "",
        strategy: Literal["fail", "ours", "theirs"] = "fail",
        fast_forward: bool = True,
        versioned_conn_id: str = DEFAULT_CONNECTION,
        store: str | None = None,
        **options: Any,  # noqa: ANN401 (BaseOperator's own)
    ) -> None:
        super().__init__(**options)
        self.source = source
        self.into = into
        self.message = message
        self.strategy = strategy
        self.fast_forward = fast_forward
        self.versioned_conn_id = versioned_conn_id
        self.store = store

    def execute(self, context: Context) -> dict[str, Any]:
        """Merge, and return the repo, branch, ID, lineage ID and number of the new head.

        Raises:
            AirflowSkipException: The branch holds these commits already.
            MergeConflictError: Both sides changed the same paths, and *strategy* does not decide.
            NotFoundError: The branch or the commit does not exist.
        """
        instance: Any = context["ti"]
        with VersionedHook(self.versioned_conn_id, store=self.store).run(context) as store:
            make_missing_repo(store, self.into)
            before = _head_of(store, self.into)
            note_input(store, store.commit(self.source))
            commit = store.merge(
                self.source,
                into=self.into,
                message=self.message,
                strategy=self.strategy,
                fast_forward=self.fast_forward,
            )
            is_new = before is None or before.id != commit.id
            if not is_new and instance.try_number <= 1:
                msg = f"{self.into} holds the commits of {self.source} already"
                raise AirflowSkipException(msg)
            moved = replace(commit, branch=parse_branch_ref(self.into).branch)  # a fast-forward leads to another's
            self.log.info("merged %s into %s: commit number %d, %s", self.source, self.into, moved.number, moved.id)
            describe_outlets(context, store, moved)
            return event_extra(moved)


def _head_of(store: "Store", branch: str) -> "Commit | None":
    return next(iter(store.log(branch, limit=1)), None)
