"""The commands, put together."""

import io
import logging
import os
import sys
from typing import Annotated, NoReturn

import typer

from versioned_io import __version__
from versioned_io.interfaces.cli import (
    backups,
    copying,
    due,
    files,
    getting,
    history,
    importing,
    lineage,
    maintaining,
    maintenance,
    merging,
    pipelining,
    reproducing_pipelines,
    searching,
    stats,
    status,
    stores,
    triggering,
)
from versioned_io.interfaces.cli.help_sections import EPILOG, SectionedCommands
from versioned_io.interfaces.cli.near_words import UsageError
from versioned_io.interfaces.cli.output import WarningLines, echo, echo_lines
from versioned_io.interfaces.cli.session import print_error_json
from versioned_io.interfaces.cli.unconverted import command_of

app = typer.Typer(
    name="versioned",
    cls=SectionedCommands,
    epilog=EPILOG,
    help="Git-like versioned data: repos, commits, and where everything came from.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def print_version(is_asked: Annotated[bool, "by --version"]) -> None:
    """Print which version of the library this is, and end."""
    if is_asked:
        echo(f"versioned {__version__}")
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
app.command("status")(status.status)
app.command("maintain")(maintaining.maintain)
app.command("purge")(maintenance.purge)
app.command("redact")(maintenance.redact)
app.command("stats")(stats.stats)
app.command("retention")(maintenance.retention)
app.command("rebuild")(maintenance.rebuild)
app.command("recover")(maintenance.recover)
app.command("adopt")(maintenance.adopt)
app.command("evict")(maintenance.evict)
app.command("backup")(maintenance.backup)
app.add_typer(backups.app, name="backups")
app.command("restore")(maintenance.restore)
app.command("upgrade")(maintenance.upgrade)
app.command("put")(files.put)
app.command("import-dagster")(importing.import_dagster)
app.command("get")(getting.get)
app.command("checkout")(getting.checkout)
app.command("cat")(files.cat)
app.command("ls")(files.list_files)
app.command("rm")(files.remove)
app.command("cp")(copying.copy)
app.command("mv")(copying.move)
app.command("log")(history.log)
app.command("show")(history.show)
app.command("find")(searching.find)
app.command("diff")(history.diff)
app.command("due")(due.due)
app.add_typer(lineage.app, name="lineage")
app.add_typer(pipelining.pipeline_app, name="pipeline")
app.add_typer(pipelining.datums_app, name="datums")
app.command("rerun")(reproducing_pipelines.rerun)
app.command("forget")(reproducing_pipelines.forget)
app.add_typer(triggering.app, name="trigger")

_INTERRUPTED = 130


def run() -> NoReturn:
    """Run the command that the arguments of this process name, and end the process with its exit code."""
    # The commands themselves report problems of a store that they open.
    of_opening = logging.getLogger("versioned_io.store.opening")
    of_opening.addHandler(logging.NullHandler())
    of_opening.propagate = False
    # Or logging's handler of last resort would write to the terminal whatever it is told.
    warnings = WarningLines(logging.INFO)
    logging.getLogger().addHandler(warnings)
    logging.getLogger("versioned_io").setLevel(logging.INFO)
    try:
        code = command_of(app)(standalone_mode=False)
        sys.stdout.flush()  # Python's own flush at the end would tell a reader that has stopped as an ignored exception
    except UsageError as error:
        if "--json" in sys.argv:
            print_error_json("usage", error.format_message())
        else:
            shown = io.StringIO()
            error.show(shown)
            echo_lines(shown.getvalue().rstrip("\n"), err=True)
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        echo("versioned: interrupted, nothing more was done", err=True)
        code = _INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has closed it; Python's own flush at the end must not fail on it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    finally:
        logging.getLogger().removeHandler(warnings)
    sys.exit(code)
