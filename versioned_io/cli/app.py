"""The commands, put together."""

import typer

from versioned_io.cli import files, history, lineage, stores

app = typer.Typer(
    name="versioned",
    help="Git-like versioned data: repos, commits, and where everything came from.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command("init")(stores.init)
app.add_typer(stores.repo_app, name="repo")
app.add_typer(stores.branch_app, name="branch")
app.add_typer(stores.tag_app, name="tag")
app.command("fsck")(stores.fsck)
app.command("put")(files.put)
app.command("get")(files.get)
app.command("cat")(files.cat)
app.command("ls")(files.list_files)
app.command("rm")(files.remove)
app.command("log")(history.log)
app.command("show")(history.show)
app.command("diff")(history.diff)
app.add_typer(lineage.app, name="lineage")
