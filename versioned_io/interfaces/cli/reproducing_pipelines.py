"""The commands ``rerun`` and ``forget``: a commit is evaluated again, or a file goes with all that was derived."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import counted
from versioned_io.interfaces.cli.completing import complete_ref
from versioned_io.interfaces.cli.output import echo, print_json
from versioned_io.interfaces.cli.pipelining import open_pipeline
from versioned_io.interfaces.cli.progress import counting
from versioned_io.interfaces.cli.session import (
    CatalogOption,
    JournalAuthorOption,
    JsonOption,
    ReasonOption,
    StoreOption,
    open_named_store,
    reports_errors,
)

if TYPE_CHECKING:
    from versioned_io.maintenance.erasure.forgetting import ForgetReport
    from versioned_io.processing.pipelines.rerunning import Rerun

_DIFFERS = 1
_LEFT = 1


@reports_errors
def rerun(
    commit: Annotated[str, typer.Argument(help="repo@ref, or a commit ID", autocompletion=complete_ref)],
    path: Annotated[str | None, typer.Option(help="Only the datum that wrote this output.")] = None,
    pipeline: Annotated[
        str | None, typer.Option(help="file.py:name, module:name or a spec; by default as the commit records it.")
    ] = None,
    any_code: Annotated[bool, typer.Option("--any-code", help="Accept other code than the commit's.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate the datums of a commit again, and compare the bytes. Nothing is published. A difference exits with 1."""
    with open_named_store(store, catalog) as opened:
        if pipeline is None:
            done = opened.rerun(commit, path, any_code=any_code)
        else:
            done = open_pipeline(opened, pipeline).rerun(opened.commit(commit), path, any_code=any_code)
    if as_json:
        print_json(_as_json(done))
    else:
        _print(done)
    if not done.is_equal:
        raise typer.Exit(_DIFFERS)


@reports_errors
def forget(
    target: Annotated[str, typer.Argument(help="The file or directory: repo:path.")],
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Run the pipelines again whose outputs depended on it.")
    ] = False,
    pipeline: Annotated[
        list[str] | None, typer.Option(help="file.py:name, module:name or a spec, of a pipeline to run again.")
    ] = None,
    reason: ReasonOption = "",
    author: JournalAuthorOption = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; show what would be forgotten.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a file from all history, with everything that pipelines derived from it, permanently."""
    if as_json and not (dry_run or yes):
        msg = "forgetting can't be undone, and --json asks no question: pass --yes or --dry-run"
        raise InvalidInputError(msg)
    with open_named_store(store, catalog) as opened, counting(show=not as_json) as shown:
        if not (dry_run or yes):
            _print_plan(opened.forget(target, dry_run=True))
            typer.confirm("forget all of it, permanently?", abort=True)
        report = opened.forget(
            target,
            recompute=recompute,
            pipelines=[open_pipeline(opened, one) for one in pipeline or ()],
            reason=reason,
            author=author,
            dry_run=dry_run,
            progress=shown,
        )
    if as_json:
        print_json(asdict(report))
        return
    if dry_run or yes:
        _print_plan(report)
    if not dry_run:
        _print_proof(report)
        if not report.gone:
            raise typer.Exit(_LEFT)


def _print_plan(report: "ForgetReport") -> None:
    did = "would be forgotten" if report.dry_run else "forgotten"
    results = f"{counted(report.results, 'result')}, {report.failures} of them failed"
    echo(f"{counted(len(report.paths), 'file')} {did}, with {results}")
    for path in report.paths:
        echo(f"  file  {path}")
    for repo, keys in report.datums.items():
        for key in keys:
            echo(f"  datum of {repo}  {key}")
    for repo, paths in report.outputs.items():
        for path in paths:
            echo(f"  output  {repo}:{path}")
    for place in report.others:
        echo(f"  stays  {place}: a run without datums made it; forget or purge it, too")


def _print_proof(report: "ForgetReport") -> None:
    for name, state in report.recomputed.items():
        echo(f"  {name}: {state}")
    for digest, place in report.shared.items():
        echo(f"  stays  {digest}: {place} has it, too")
    proof = "nothing of it is left" if report.gone else "NOT all of it is gone"
    echo(f"deleted {counted(report.packs, 'pack')}; all packs were scanned: {proof}")
    echo("backups and other copies of the packs still have it: make a backup at a new place, then delete those")


def _as_json(done: "Rerun") -> dict[str, object]:
    return {
        "commit": done.commit.id,
        "pipeline": done.pipeline,
        "is_equal": done.is_equal,
        "code_is_same": done.code_is_same,
        "datums": list(done.datums),
        "files": done.files,
        "differing": dict(done.differing),
        "failed": dict(done.failed),
        "left_out": list(done.left_out),
    }


def _print(done: "Rerun") -> None:
    code = "the same code" if done.code_is_same else "other code"
    said = "equal" if done.is_equal else "not equal"
    echo(f"{said}: {counted(len(done.datums), 'datum')}, {counted(done.files, 'file')}, {code}")
    for path, change in done.differing.items():
        echo(f"  {change}  {path}")
    for key, error in sorted(done.failed.items()):
        echo(f"  failed  {key}: {error}")
    for key in done.left_out:
        echo(f"  left out  {key}: the commit has it from older inputs")
