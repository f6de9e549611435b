"""The command ``status``: the state of the whole store at a glance."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from versioned_io.errors.root import counted
from versioned_io.interfaces.cli.output import (
    learn_short_ids,
    print_findings,
    print_json,
    print_line,
    print_table,
    shown_head,
    with_times,
)
from versioned_io.interfaces.cli.session import (
    CatalogOption,
    JsonOption,
    StoreOption,
    open_named_store,
    reports_errors,
)

if TYPE_CHECKING:
    from versioned_io.maintenance.upkeep.store_status import StoreStatus

_DAMAGED = 6
_NEEDS_ATTENTION = 9
_AGES = (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1)))


@reports_errors
def status(
    check: Annotated[
        bool,
        typer.Option("--check", help="Exit with 6 if something is damaged, and with 9 for any other problem."),
    ] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the state of the store: its owner, heads, waiting work, maintenance and noted problems.

    The store's catalog answers, and no data is read. Local files are not followed, so nothing can be uncommitted.
    """
    with open_named_store(store, catalog) as opened:
        found, is_older = opened.status(), opened.warning is not None
        learn_short_ids(opened, [one.head for repo in found.repos for one in repo.branches])
    if as_json:
        print_json(with_times(asdict(found)))
    else:
        _show(found, datetime.now(UTC))
    if check and (found.damages or is_older):
        raise typer.Exit(_DAMAGED)
    if check and (found.problems or found.overdue):
        raise typer.Exit(_NEEDS_ATTENTION)


def _show(found: "StoreStatus", now: datetime) -> None:
    print_line(f"store {found.url}")
    print_line(f"catalog {found.catalog}{_right(found)}")
    rows = [
        (repo.name, one.name, str(one.number), shown_head(one.head), _age(one.committed_at, now))
        for repo in found.repos
        for one in repo.branches
    ]
    print_table(("repo", "branch", "commits", "head", "committed"), rows)
    print_findings(
        ("subscription", "of", "due", "oldest", "collected"),
        [
            (one.name, one.branch, str(one.due), _age(one.oldest_request, now), "not yet" if one.is_behind else "all")
            for one in found.subscriptions
        ],
    )
    print_line(found.overdue or _maintained(found.maintained_at, now))
    print_findings(("problem",), [(one,) for one in found.problems])


def _right(found: "StoreStatus") -> str:
    if found.is_owner is None:
        return ", whose right to write is unknown: this user may not list the store's objects"
    if found.is_owner:
        return ", the owner" if found.owner else ", the owner from its first write on"
    return f", which can only read: the owner is {found.owner}" if found.owner else ", which can only read"


def _maintained(at: datetime | None, now: datetime) -> str:
    age = _age(at, now)
    return f"maintenance is not overdue: it was last done, or the store was made, {age}" if age else "an empty store"


def _age(at: datetime | None, now: datetime) -> str:
    """Return how long ago *at* was, in whole days, hours or minutes."""
    if at is None:
        return ""
    for unit, span in _AGES:
        if now - at >= span:
            return f"{counted((now - at) // span, unit)} ago"
    return "just now"
