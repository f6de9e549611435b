"""Commands about lineage: ``lineage show``, ``lineage upstream``, ``lineage downstream``."""

from typing import Annotated

import typer

from versioned_io.cli.output import commit_json, graph_json, print_commit, print_graph, print_json
from versioned_io.cli.session import CatalogOption, JsonOption, StoreOption, open_named_store, reports_errors

FilesOption = Annotated[bool, typer.Option("--files", help="Name every file, however many.")]

app = typer.Typer(help="Where things come from, and what they led to.", no_args_is_help=True)


@app.command("show")
@reports_errors
def show(
    lineage_id: Annotated[str, typer.Argument(help="A lineage ID, as every commit and every run carries one.")],
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every commit, in every repo, that one write led to, with the run that made it, oldest first."""
    with open_named_store(store, catalog) as opened:
        commits = opened.lineage(lineage_id)
    if as_json:
        print_json({"lineage_id": lineage_id, "commits": [commit_json(commit) for commit in commits]})
        return
    typer.echo(f"lineage {lineage_id}: {len(commits)} commit{'s' if len(commits) != 1 else ''}")
    for commit in commits:
        print_commit(commit)


@app.command("upstream")
@reports_errors
def upstream(
    ref: Annotated[str, typer.Argument(help="repo@ref, or repo@ref:path")],
    every_file: FilesOption = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what something was made from, all the way up to the exact files."""
    with open_named_store(store, catalog) as opened:
        graph = opened.upstream(ref)
    if as_json:
        print_json(graph_json(graph))
    else:
        print_graph(graph, newest_first=True, every_file=every_file)


@app.command("downstream")
@reports_errors
def downstream(
    ref: Annotated[str, typer.Argument(help="repo@ref, or repo@ref:path")],
    every_file: FilesOption = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was made from something, all the way down."""
    with open_named_store(store, catalog) as opened:
        graph = opened.downstream(ref)
    if as_json:
        print_json(graph_json(graph))
    else:
        print_graph(graph, newest_first=False, every_file=every_file)
