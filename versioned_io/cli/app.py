"""The commands, put together."""

import os
import sys
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer

from versioned_io.cli import copying, files, history, lineage, maintenance, merging, stats, stores
from versioned_io.cli.session import print_error_json

app = typer.Typer(
    name="versioned",
    help="Git-like versioned data: repos, commits, and where everything came from.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def print_version(is_asked: Annotated[bool, "by --version"]) -> None:
    """Print which version of the library this is, and end."""
    if is_asked:
        typer.echo(f"versioned {version('versioned-io')}")
        raise typer.Exit


@app.callback(help=app.info.help)
def accept_options(
    is_version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Accept what stands before a command."""


app.command("init")(stores.init)
app.add_typer(stores.repo_app, name="repo")
app.add_typer(stores.branch_app, name="branch")
app.add_typer(stores.tag_app, name="tag")
app.command("merge")(merging.merge)
app.command("cherry-pick")(merging.cherry_pick)
app.command("revert")(merging.revert)
app.command("squash")(merging.squash)
app.command("reset")(stores.reset)
app.command("drop")(stores.drop)
app.command("reflog")(stores.reflog)
app.command("fsck")(maintenance.fsck)
app.command("gc")(maintenance.gc)
app.command("compact")(maintenance.compact)
app.command("purge")(maintenance.purge)
app.command("stats")(stats.stats)
app.command("retention")(maintenance.retention)
app.command("rebuild")(maintenance.rebuild)
app.command("upgrade")(maintenance.upgrade)
app.command("put")(files.put)
app.command("get")(files.get)
app.command("checkout")(files.checkout)
app.command("cat")(files.cat)
app.command("ls")(files.list_files)
app.command("rm")(files.remove)
app.command("cp")(copying.copy)
app.command("mv")(copying.move)
app.command("log")(history.log)
app.command("show")(history.show)
app.command("diff")(history.diff)
app.add_typer(lineage.app, name="lineage")

# Typer has click inside from 0.29 on and beside it before; this is the class of all errors of usage in either.
_UsageError: Any = typer.BadParameter.__base__
_INTERRUPTED = 130


def run() -> NoReturn:
    """Run the command that the arguments of this process name, and end the process with its exit code."""
    try:
        code = app(standalone_mode=False)
    except _UsageError as error:
        if "--json" in sys.argv:
            print_error_json("usage", error.format_message())
        else:
            error.show()
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("versioned: interrupted, nothing more was done", err=True)
        code = _INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python's own flush at the end must not fail on it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
