"""Commands about the backups at a place: ``backups list``, ``verify`` and ``prune``."""

from dataclasses import asdict
from typing import Annotated

import typer

from versioned_io.errors.root import counted
from versioned_io.interfaces.cli.output import describe_size, echo, print_findings, print_json, print_table
from versioned_io.interfaces.cli.progress import counting
from versioned_io.interfaces.cli.session import DryRunOption, JsonOption, reports_errors, storage_options
from versioned_io.model.arguments import parse_span

app = typer.Typer(help="Backups at a place: list, verify, prune.", no_args_is_help=True)

PlaceArgument = Annotated[str, typer.Argument(help="Where the backups are.")]

_DAMAGED = 6
_DAY_S = 86_400


@app.command("list", short_help="List the backups at a place, oldest first.")
@reports_errors
def list_place(place: PlaceArgument, as_json: JsonOption = False) -> None:
    """List the backups at a place, oldest first; `restore --at` takes the ID."""
    from versioned_io.store.backups import list_backups

    found = list_backups(place, storage_options=storage_options())
    if as_json:
        rows = [{"id": one.id, "created_at": one.created_at.isoformat(), "packs": one.packs.rows} for one in found]
        print_json({"backups": rows})
        return
    print_table(
        ("backup", "time (UTC)", "packs"),
        [(one.id, one.created_at.strftime("%Y-%m-%d %H:%M:%S"), str(one.packs.rows)) for one in found],
    )


@app.command("verify", short_help="Read every byte of all backups at a place.")
@reports_errors
def verify(place: PlaceArgument, as_json: JsonOption = False) -> None:
    """Read every byte of all backups at a place; exit code 6 when one of them can't be restored."""
    from versioned_io.store.backups import verify_backups

    with counting(show=not as_json) as shown:
        report = verify_backups(place, storage_options=storage_options(), progress=shown)
    if as_json:
        print_json(asdict(report))
    else:
        print_findings(("damaged",), [(one,) for one in report.problems])
        print_findings(("was damaged in the store when it was backed up",), [(one,) for one in report.damaged])
        echo(
            f"{counted(len(report.whole), 'backup')} of {len(report.backups)} can be restored; "
            f"{counted(report.packs, 'pack')} read, {describe_size(report.packs_bytes)}"
        )
    if report.problems:
        raise typer.Exit(_DAMAGED)


@app.command("prune", short_help="Delete old backups at a place.")
@reports_errors
def prune(
    place: PlaceArgument,
    keep_last: Annotated[int | None, typer.Option(help="Keep at least this many of the newest backups.")] = None,
    keep_days: Annotated[float | None, typer.Option(help="Keep backups that are younger than this many days.")] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete old backups at a place, and the packs that no kept backup has; the newest backup always stays."""
    from versioned_io.store.backups import prune_backups

    keep_for = None if keep_days is None else parse_span(keep_days, "--keep-days", unit_s=_DAY_S)
    report = prune_backups(
        place, keep_last=keep_last, keep_for=keep_for, dry_run=dry_run, storage_options=storage_options()
    )
    if as_json:
        print_json(asdict(report))
        return
    did = "would be deleted" if report.dry_run else "deleted"
    print_findings((did,), [(one,) for one in report.deleted])
    echo(
        f"{counted(len(report.deleted), 'backup')} and {counted(report.packs, 'pack')} {did}, "
        f"{describe_size(report.packs_bytes)}; {counted(len(report.kept), 'backup')} kept"
    )
