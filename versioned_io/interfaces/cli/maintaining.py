"""The command ``maintain``: everything that keeps a store sound and small, in one call."""

import re
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import counted
from versioned_io.interfaces.cli.output import (
    describe_size,
    echo,
    print_findings,
    print_json,
    print_table,
    with_times,
)
from versioned_io.interfaces.cli.progress import counting
from versioned_io.interfaces.cli.session import (
    CatalogOption,
    JsonOption,
    StoreOption,
    open_named_store,
    reports_errors,
)
from versioned_io.model.arguments import parse_span

if TYPE_CHECKING:
    from versioned_io.maintenance.upkeep.upkeep import MaintainReport, MaintenanceStatus

_DAMAGED = 6
_UNITS_S = {"s": 1, "m": 60, "h": 3600}
_BUDGET = re.compile(r"(\d+(?:\.\d+)?)([smh]?)")


@reports_errors
def maintain(
    budget: Annotated[str, typer.Option(help="Begin no step after this time, such as 30s, 5m or 1h.")] = "5m",
    full: Annotated[bool, typer.Option("--full", help="Mark everything, and do the daily steps now.")] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Change nothing; show the last runs and the due tasks.")
    ] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the maintenance that is due; exit code 6 when something is damaged."""
    limit = _parse_budget(budget)
    with open_named_store(store, catalog) as opened, counting(show=not as_json) as shown:
        if status:
            _show_status(opened.maintenance_status(), as_json=as_json)
            return
        report = opened.maintain(limit, full=full, progress=shown)
    _show_report(report, as_json=as_json)
    if report.problems:
        raise typer.Exit(_DAMAGED)


def _parse_budget(text: str) -> timedelta:
    found = _BUDGET.fullmatch(text.strip())
    if found is None:
        msg = f"--budget {text!r} is not a time: write 30s, 5m or 1h"
        raise InvalidInputError(msg)
    return parse_span(float(found[1]), "--budget", unit_s=_UNITS_S[found[2] or "s"])


def _show_report(report: "MaintainReport", *, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(report), "problems": list(report.problems)})
        return
    rows = [
        (
            step.name,
            step.why,
            ", ".join(_did(what, number) for what, number in step.did.items() if number),
            f"{step.seconds:.1f} s",
        )
        for step in report.steps
    ]
    print_table(("step", "because", "did", "took"), rows)
    steps = counted(len(report.steps), "step")
    echo(f"{steps} in {report.seconds:.1f} s, {describe_size(report.bytes_written)} written")
    if report.left:
        echo(f"left for the next run: {', '.join(report.left)}")
    print_findings(("problem",), [(one,) for one in report.problems])


def _did(what: str, number: int) -> str:
    """Return a count of a step by its name, such as ``new_packs``: nouns in the plural, or participles."""
    words = what.replace("_", " ")
    return counted(number, words.removesuffix("s"), words)


def _show_status(status: "MaintenanceStatus", *, as_json: bool) -> None:
    if as_json:
        print_json(with_times({**asdict(status), "problems": list(status.problems)}))
        return
    print_table(
        ("task", "done", "took"), [(one.task, _when(one.done_at), f"{one.seconds:.1f} s") for one in status.tasks]
    )
    print_findings(("due", "because"), [(one.name, one.why) for one in status.due])
    backlog = status.backlog
    echo(
        f"{counted(backlog.commits, 'commit')} to mark, {counted(backlog.small_packs, 'small pack')}, "
        f"{backlog.condemned_packs} condemned; "
        f"grows by {describe_size(status.growth_bytes_a_day)} a day"
    )
    if status.running_since is not None:
        echo(f"a process has been at it since {_when(status.running_since)}")
    if status.is_overdue:
        echo("overdue: run `versioned maintain`, best by a schedule")
    print_findings(("problem",), [(one,) for one in status.problems])


def _when(at: datetime | None) -> str:
    return "never" if at is None else f"{at:%Y-%m-%d %H:%M}"
