"""The command ``rerun``: the commit of a pipeline is evaluated again, and its bytes are compared."""

from typing import TYPE_CHECKING, Annotated

import typer

from versioned_io.errors.root import counted
from versioned_io.interfaces.cli.completing import complete_ref
from versioned_io.interfaces.cli.output import echo, print_json
from versioned_io.interfaces.cli.pipelining import open_pipeline
from versioned_io.interfaces.cli.session import (
    CatalogOption,
    JsonOption,
    StoreOption,
    open_named_store,
    reports_errors,
)

if TYPE_CHECKING:
    from versioned_io.processing.pipelines.rerunning import Rerun

_DIFFERS = 1


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
