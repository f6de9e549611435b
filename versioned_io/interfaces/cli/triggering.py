"""The commands ``trigger set``, ``list``, ``delete`` and ``tick``: branches that follow others."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import counted
from versioned_io.interfaces.cli.near_words import CommandsOnRefs
from versioned_io.interfaces.cli.output import echo, print_json, print_table, shown_head, with_times
from versioned_io.interfaces.cli.session import (
    BranchArgument,
    CatalogOption,
    JsonOption,
    StoreOption,
    open_named_store,
    reports_errors,
)

if TYPE_CHECKING:
    from versioned_io.model.trigger_rules import MetricChange, TriggerInfo, TriggerRound, TriggerRule

app = typer.Typer(
    cls=CommandsOnRefs, help="Triggers: make a branch follow another when enough has changed.", no_args_is_help=True
)

OnOption = Annotated[str, typer.Option("--on", help="The branch that it follows, as repo@branch.")]
CommitsOption = Annotated[int | None, typer.Option("--commits", help="At least this many commits ahead.")]
BytesOption = Annotated[
    str | None, typer.Option("--bytes", help="At least this many changed bytes, such as '1GB' or '500 MiB'.")
]
FilesOption = Annotated[int | None, typer.Option("--files", help="At least this many changed files.")]
MetricOption = Annotated[
    str | None, typer.Option("--metric", help="A number in a JSON file, as path:key, such as metrics.json:auc.")
]
ChangeOption = Annotated[str | None, typer.Option("--change", help="By how much that number must have changed.")]
CronOption = Annotated[str | None, typer.Option("--cron", help="Five fields of cron, such as '0 6 * * 1-5'.")]
ZoneOption = Annotated[str, typer.Option("--time-zone", help="The time zone of --cron, such as Europe/Berlin.")]
LimitOption = Annotated[
    str | None, typer.Option("--at-most-every", help="The least time between two firings, such as 15m, 1h or 1d.")
]
AllOption = Annotated[bool, typer.Option("--all", help="Demand all conditions; otherwise one suffices.")]


@app.command("set")
@reports_errors
def set_trigger(
    branch: BranchArgument,
    on: OnOption,
    commits: CommitsOption = None,
    changed_bytes: BytesOption = None,
    changed_files: FilesOption = None,
    metric: MetricOption = None,
    change: ChangeOption = None,
    cron: CronOption = None,
    time_zone: ZoneOption = "UTC",
    at_most_every: LimitOption = None,
    every: AllOption = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a branch follow another one; a missing branch is made."""
    with open_named_store(store, catalog) as opened:
        made = opened.trigger(
            branch,
            on=on,
            commits=commits,
            changed_bytes=changed_bytes,
            changed_files=changed_files,
            metric=_parse_metric(metric, change),
            cron=cron,
            time_zone=time_zone,
            at_most_every=at_most_every,
            any_=not every,
        )
    if as_json:
        print_json(_info_json(made))
        return
    echo(f"{made.branch} follows {made.on}: {_describe(made.rule)}")
    echo(f"`versioned trigger delete {made.branch}` ends that")


@app.command("list")
@reports_errors
def list_triggers(store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False) -> None:
    """List the triggers."""
    with open_named_store(store, catalog) as opened:
        found = opened.triggers()
    if as_json:
        print_json({"triggers": [_info_json(one) for one in found]})
        return
    rows = [
        (one.branch, one.on, _describe(one.rule), "" if one.fired_at is None else f"{one.fired_at:%Y-%m-%d %H:%M:%S}")
        for one in found
    ]
    print_table(("branch", "follows", "when", "last fired"), rows)


@app.command("delete")
@reports_errors
def delete_trigger(
    branch: BranchArgument, store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False
) -> None:
    """Delete the trigger of a branch, which stays where it is."""
    with open_named_store(store, catalog) as opened:
        gone = opened.delete_trigger(branch)
    if as_json:
        print_json({"deleted": _info_json(gone)})
    else:
        echo(f"{gone.branch} no longer follows {gone.on}")


@app.command("tick")
@reports_errors
def tick(
    follow: Annotated[bool, typer.Option("--follow", help="Evaluate again and again, until interrupted.")] = False,
    poll_s: Annotated[float, typer.Option("--poll-s", help="With --follow: seconds between two looks.")] = 1.0,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate all triggers, and move the branches whose conditions hold.

    With --follow, the first evaluation and each later one that fires is printed;
    with --json, each as an object of its own.
    """
    with open_named_store(store, catalog) as opened:
        if not follow:
            _show(opened.run_triggers(), as_json=as_json)
            return
        for found in opened.follow_triggers(poll_s=poll_s):
            _show(found, as_json=as_json)
            sys.stdout.flush()  # a program at the other end of a pipe waits for it


def _show(found: "TriggerRound", *, as_json: bool) -> None:
    if as_json:
        print_json(_round_json(found))
        return
    for one in found.fired:
        echo(f"{one.branch} follows {one.on} to {shown_head(one.new)}: {one.because}")
    for wait in found.waiting:
        echo(f"{wait.branch} {'is blocked' if wait.is_blocked else 'waits'}: {wait.because}")
    if not found.fired and not found.waiting:
        echo("no branch is behind the branch that it follows")


def _parse_metric(place: str | None, change: str | None) -> "MetricChange | None":
    """Return the condition of --metric and --change.

    Raises:
        InvalidInputError: One is given without the other, or --metric is not of the form path:key.
    """
    if place is None and change is None:
        return None
    path, colon, key = (place or "").rpartition(":")
    if not colon or change is None:
        msg = "--metric path:key and --change go together, such as --metric metrics.json:auc --change 0.01"
        raise InvalidInputError(msg)
    from versioned_io.model.trigger_rules import metric

    return metric(path, key, change)


def _describe(rule: "TriggerRule") -> str:
    """Return a rule as a phrase: ``2 commits or 1000 bytes, at most every 3600 s``."""
    parts = [] if rule.commits is None else [counted(rule.commits, "commit")]
    parts += [] if rule.changed_bytes is None else [counted(rule.changed_bytes, "byte")]
    parts += [] if rule.changed_files is None else [counted(rule.changed_files, "file")]
    if rule.metric is not None:
        parts.append(f"{rule.metric.path}:{rule.metric.key} by {rule.metric.change}")
    parts += [] if rule.cron is None else [f"{rule.cron} ({rule.time_zone})"]
    limit = "" if rule.at_most_every_s is None else f"at most every {rule.at_most_every_s:g} s"
    conditions = (" or " if rule.any_ else " and ").join(parts)
    return ", ".join(one for one in (conditions, limit) if one)


def _info_json(info: "TriggerInfo") -> dict[str, Any]:
    import json

    values = {"branch": info.branch, "on": info.on, "set_at": info.set_at, "fired_at": info.fired_at}
    return {**dict(with_times(values)), "rule": json.loads(info.rule.to_json())}


def _round_json(found: "TriggerRound") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(found)
