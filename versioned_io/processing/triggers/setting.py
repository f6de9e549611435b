"""Setting and deleting triggers, without loops."""

from collections.abc import Iterable

from sqlalchemy import Connection

from versioned_io.catalog.collection import catalog_time
from versioned_io.catalog.plain import AnyConnection
from versioned_io.catalog.repo_rows import BranchRow, find_branch, find_repo_id
from versioned_io.catalog.repos import lock_branch
from versioned_io.catalog.trigger_rows import (
    TriggerRow,
    find_trigger,
    list_triggers,
    lock_triggers,
    put_trigger,
    remove_trigger,
)
from versioned_io.errors import ExistsError, InvalidInputError, NotFoundError, RefNotFoundError
from versioned_io.model.journal import Action, JournalEntry
from versioned_io.model.refs import BranchRef
from versioned_io.model.trigger_rules import TriggerInfo, TriggerRule
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.backend.journaling import append_entry
from versioned_io.versioning.naming.naming import create_branch


def set_trigger(backend: Backend, branch: BranchRef, on: BranchRef, rule: TriggerRule) -> TriggerInfo:
    """Make *branch* follow *on* by *rule*, instead of what it followed before; create it empty if it is missing.

    Raises:
        RepoNotFoundError, RefNotFoundError: The source, or the repo of *branch*, does not exist.
        ExistsError: *branch* is a tag.
        InvalidInputError: The branch would follow itself, also through others. Or it is in another repo, and has
            commits other than copies of the source's.

    Cost: 1 PUT, 1 SQL transaction; for a new branch 1 of each more.
    """
    with backend.catalog.ask() as connection:
        find_branch(connection, on)
        _refuse_loop(list_triggers(connection), branch, on)
        find_repo_id(connection, branch.repo)
    _ensure_branch(backend, branch)
    with backend.catalog.write() as connection:
        target, source = _lock_both(connection, branch, on)
        lock_triggers(connection)
        _refuse_loop(list_triggers(connection), branch, on)
        now = catalog_time(connection, backend.clock())
        put_trigger(connection, target.id, source.id, rule.to_json(), now)
        row = find_trigger(connection, target.id)
        if row is None:
            raise RefNotFoundError(branch.repo, branch.branch, reason="the branch was deleted meanwhile")
        _refuse_foreign(row)
        details = {"rule": row.rule, "source_repo": source.recorded_repo or on.repo, "source": on.branch}
        entry = JournalEntry(branch.repo, branch.branch, Action.SET_TRIGGER, target.head, target.head, details)
        append_entry(connection, backend.objects, entry, now)
    return to_info(row)


def delete_trigger(backend: Backend, branch: BranchRef) -> TriggerInfo:
    """End the following of *branch*, which stays where it is, and return the trigger that it had.

    Raises:
        RepoNotFoundError, RefNotFoundError: The branch does not exist.
        NotFoundError: The branch follows no other.

    Cost: 1 PUT, 1 SQL transaction.
    """
    with backend.catalog.write() as connection:
        target = lock_branch(connection, find_branch(connection, branch))
        row = find_trigger(connection, target.id)
        if row is None:
            msg = f"{branch} follows no branch: `versioned trigger list` shows the triggers"
            raise NotFoundError(msg)
        remove_trigger(connection, target.id)
        entry = JournalEntry(branch.repo, branch.branch, Action.SET_TRIGGER, target.head, target.head, {"rule": None})
        append_entry(connection, backend.objects, entry, backend.clock())
    return to_info(row)


def to_info(row: TriggerRow) -> TriggerInfo:
    """Return a trigger as the front door shows it."""
    rule = TriggerRule.from_json(row.rule)
    return TriggerInfo(str(row.branch), str(row.source.ref), rule, row.set_at, row.fired_at)


def _ensure_branch(backend: Backend, branch: BranchRef) -> None:
    with backend.catalog.ask() as connection:
        try:
            find_branch(connection, branch)
        except RefNotFoundError:
            is_missing = True
        else:
            is_missing = False
    if not is_missing:
        return
    try:
        create_branch(backend, branch, None)
    except ExistsError as error:
        with backend.catalog.ask() as connection:
            try:
                find_branch(connection, branch)  # another process has created it meanwhile
            except RefNotFoundError:
                raise error from None


def _lock_both(connection: Connection, branch: BranchRef, on: BranchRef) -> tuple[BranchRow, BranchRow]:
    """Lock both branches, in the order of `versioned_io.catalog.row_locks`, and return them.

    Raises:
        RefNotFoundError: One of them was deleted or renamed meanwhile.
    """
    target, source = find_branch(connection, branch), find_branch(connection, on)
    locked = {one.id: lock_branch(connection, one) for one in sorted((target, source), key=lambda one: one.id)}
    for asked, row in ((branch, locked[target.id]), (on, locked[source.id])):
        if row.ref != asked:
            raise RefNotFoundError(asked.repo, asked.branch, reason="the branch was renamed meanwhile")
    return locked[target.id], locked[source.id]


def _refuse_loop(rows: Iterable[TriggerRow], branch: BranchRef, on: BranchRef) -> None:
    """Raise if *branch*, following *on*, would follow itself."""
    followed = {row.branch: row.source.ref for row in rows}
    chain = [branch, on]
    while chain[-1] != branch and (after := followed.get(chain[-1])) is not None and after not in chain[1:]:
        chain.append(after)
    if chain[-1] == branch:
        what = "itself" if len(chain) == 2 else f"itself through {', '.join(map(str, chain[1:-1]))}"
        msg = f"{branch} can't follow {on}: it would follow {what}"
        raise InvalidInputError(msg)


def _refuse_foreign(row: TriggerRow) -> None:
    """Raise if a branch in another repo than its source has commits that are not copies of the source's."""
    if row.is_copy and row.head is not None and row.reached is None:
        msg = (
            f"{row.branch} can't follow {row.source.ref} of another repo: it has commits of its own; name a new branch"
        )
        raise InvalidInputError(msg)


def read_triggers(connection: AnyConnection) -> list[TriggerInfo]:
    """Return all triggers, sorted by branch. Cost: 1 SELECT."""
    return [to_info(row) for row in list_triggers(connection)]
