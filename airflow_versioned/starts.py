"""Where a new consumer begins: before the branch's first commit, at its head, or after a commit."""

from typing import TYPE_CHECKING, Any, Final

from airflow_versioned.runs import is_woken, read_triggers
from versioned_io.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_versioned.branch import DeclaredBranch
    from versioned_io import Commit, Store

BEGINNING: Final = "beginning"
HEAD: Final = "head"


def choose_start(context: "Context", start: str | None) -> str:
    """Return where a consumer begins that says nothing else: as its DAG's ``catchup`` says."""
    if start is not None:
        return start
    dag: Any = getattr(context["task"], "dag", None)
    return HEAD if dag is not None and not dag.catchup else BEGINNING


def resolve_start(store: "Store", declared: "DeclaredBranch", start: str) -> str:
    """Return *start* as the store takes it: ``beginning``, ``head``, or a commit's ID.

    Args:
        start: May be a ref of the branch's repo, such as a tag, ``main~3`` or ``orders@main~3``.

    Raises:
        NotFoundError: The ref does not exist.
        InvalidInputError: The ref is of another repo.

    Cost: none, or 1 SELECT for a ref.
    """
    if start in {BEGINNING, HEAD}:
        return start
    commit = store.commit(start if "@" in start else f"{declared.repo}@{start}")
    if commit.repo != declared.repo:
        msg = f"start={start!r} is of repo {commit.repo!r}: give a ref of {declared.repo!r}, 'head' or 'beginning'"
        raise InvalidInputError(msg)
    return commit.id


def find_start(store: "Store", declared: "DeclaredBranch", context: "Context", start: str) -> str:
    """Return where the consumer of the running task begins, as the store takes it.

    A consumer that begins at the head, and that an event has just woken, begins before the commit of that event.
    """
    if start != HEAD or not is_woken(context):
        return resolve_start(store, declared, start)
    woken_by = [commit for facts in read_triggers(context) if (commit := _find(store, declared, facts)) is not None]
    if not woken_by:
        return HEAD
    return min(woken_by, key=lambda commit: commit.number).parent or BEGINNING


def _find(store: "Store", declared: "DeclaredBranch", facts: dict[str, Any]) -> "Commit | None":
    """Return the commit that an event names, or None: anyone who may post events can write anything there."""
    try:
        commit = store.commit(f"{declared.repo}@{facts.get('commit')}")
    except (NotFoundError, InvalidInputError):
        return None
    return commit if (commit.repo, commit.branch) == (declared.repo, declared.branch) else None
