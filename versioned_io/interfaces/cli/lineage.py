"""Commands about lineage: ``lineage show``, ``upstream``, ``downstream``, ``run`` and ``export``."""

from typing import Annotated

import typer

from versioned_io.interfaces.cli.completing import complete_ref
from versioned_io.interfaces.cli.near_words import CommandsOnRefs
from versioned_io.interfaces.cli.output import (
    commit_json,
    echo,
    echo_lines,
    graph_json,
    json_text,
    print_commit,
    print_graph,
    print_json,
    print_line,
    recorded_run_json,
)
from versioned_io.interfaces.cli.paging import pages
from versioned_io.interfaces.cli.session import (
    CatalogOption,
    JsonOption,
    StoreOption,
    open_named_store,
    reports_errors,
)

FilesOption = Annotated[bool, typer.Option("--files", help="Name every file, however many.")]

app = typer.Typer(
    cls=CommandsOnRefs, help="The inputs of commits and files, and everything made from them.", no_args_is_help=True
)


@app.command("show", short_help="Show every commit that one write led to.")
@reports_errors
@pages
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
    echo(f"lineage {lineage_id}: {len(commits)} commit{'s' if len(commits) != 1 else ''}")
    for commit in commits:
        print_commit(commit)


@app.command("upstream", short_help="Show the inputs of a commit or file, transitively.")
@reports_errors
@pages
def upstream(
    ref: Annotated[str, typer.Argument(help="repo@ref, or repo@ref:path")],
    every_file: FilesOption = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the inputs of a commit or file, transitively, down to the exact files."""
    with open_named_store(store, catalog) as opened:
        graph = opened.upstream(ref)
    if as_json:
        print_json(graph_json(graph))
    else:
        print_graph(graph, newest_first=True, every_file=every_file)


@app.command("downstream", short_help="Show everything made from a commit or file.")
@reports_errors
@pages
def downstream(
    ref: Annotated[str | None, typer.Argument(help="repo@ref, or repo@ref:path")] = None,
    digest: Annotated[
        str | None, typer.Option(help="Instead of a ref: the content digest of files in any repo.")
    ] = None,
    every_file: FilesOption = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show everything that was made from a commit or file, transitively."""
    with open_named_store(store, catalog) as opened:
        graph = opened.downstream(ref, digest=digest)
    if as_json:
        print_json(graph_json(graph))
    else:
        print_graph(graph, newest_first=False, every_file=every_file)


@app.command("run", short_help="Show the run that made a commit, with its exact inputs.")
@reports_errors
@pages
def run(
    ref: Annotated[str, typer.Argument(help="repo@ref, or a commit ID", autocompletion=complete_ref)],
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the run that made a commit: its inputs as pinned refs, its parameters, and facts that another run lacks."""
    with open_named_store(store, catalog) as opened:
        made = opened.run_of(ref)
    if as_json:
        print_json(recorded_run_json(made))
        return
    print_commit(made.commit)
    if made.info is not None and made.info.params:
        print_line(json_text(dict(made.info.params)), heading="  parameters")
    for place in [*made.refs, *(use.uri for use in made.external)]:
        print_line(f"  read {place}")
    for one in made.lacks:
        print_line(f"  lacks: {one}")


@app.command("export", short_help="Print lineage for other programs.")
@reports_errors
def export(
    of: Annotated[str, typer.Argument(help="repo@ref, repo@ref:path, or a lineage ID", autocompletion=complete_ref)],
    form: Annotated[str, typer.Option("--format", help="json, openlineage, mermaid or dot.")] = "json",
    downstream_only: Annotated[
        bool, typer.Option("--downstream", help="Everything that was made from it, instead of its inputs.")
    ] = False,
    namespace: Annotated[
        str | None, typer.Option(help="For OpenLineage: the namespace of the datasets, by default versioned+URL.")
    ] = None,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the inputs of a commit or file, or one lineage ID, as JSON, OpenLineage events, Mermaid or DOT."""
    with open_named_store(store, catalog) as opened:
        text = opened.export_lineage(of, to=form, way="down" if downstream_only else None, namespace=namespace)
    if as_json and form != "json":
        print_json({"format": form, "text": text})
        return
    echo_lines(text.removesuffix("\n"))
