"""The page that ``versioned --help`` prints: the commands by what they are about, each on one line."""

from collections.abc import Mapping
from typing import Any, Final

from versioned_io.interfaces.cli.near_words import Commands

SECTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "Data": {
        "init": "Make an empty store.",
        "put": "Commit files and directories.",
        "import-dagster": "Move the values of an older IO manager into the store.",
        "get": "Write a file or a directory to this machine.",
        "checkout": "Write the files of a commit into a local directory.",
        "ls": "List files and directories.",
        "cat": "Print the bytes of a file.",
        "cp": "Commit a copy of a file or a directory.",
        "mv": "Commit another path of a file or a directory.",
        "rm": "Delete files or directories in a commit.",
    },
    "Names": {
        "repo": "Make, list, show, rename, delete or restore repos.",
        "branch": "Make, list, rename, protect or delete branches.",
        "tag": "Make, list or delete tags.",
        "trigger": "Make a branch follow another when enough has changed.",
        "reset": "Make a branch point at another commit.",
        "reflog": "Show the changes of a name other than commits.",
    },
    "History": {
        "log": "Show the commits of a branch, or of one path.",
        "show": "Show one commit and its changes.",
        "diff": "Show the files or partitions that differ between two commits.",
        "find": "Find the commits that added, changed or deleted a file.",
        "merge": "Merge the history of a commit into a branch.",
        "cherry-pick": "Make on a branch the changes that one commit made.",
        "revert": "Revert one commit, or several in a row, on a branch.",
        "squash": "Replace all commits of a branch after another by one.",
        "drop": "Remove the newest commit of a branch permanently.",
    },
    "Lineage": {
        "lineage": "Trace commits and files to their inputs, and to their results.",
        "due": "Show which partition keys are due, who holds them, and why.",
    },
    "Pipelines": {
        "pipeline": "Run pipelines, and show them.",
        "datums": "Show the datums of a pipeline, and why they run.",
        "rerun": "Evaluate a pipeline's commit again, and compare the bytes.",
        "forget": "Remove a file permanently, with all that pipelines made of it.",
    },
    "Maintenance": {
        "maintain": "Run the maintenance that is due.",
        "status": "Show the state of the store at a glance.",
        "stats": "Show how large the store is.",
        "fsck": "Check every byte of the store.",
        "gc": "Expire unreachable commits and delete dead packs.",
        "compact": "Merge small packs and drop dead bytes.",
        "retention": "Set or show how much history of a branch gc keeps.",
        "evict": "Evict results that no pipeline has used for a time.",
        "purge": "Remove a path from every commit, permanently.",
        "redact": "Withhold secrets from the recorded runs.",
        "upgrade": "Migrate the catalog to the revision of this version.",
    },
    "Recovery": {
        "backup": "Copy the whole store to another place.",
        "backups": "List, verify or prune the backups at a place.",
        "restore": "Create a store from a backup.",
        "recover": "Add missing rows to a catalog that was restored.",
        "rebuild": "Rebuild a lost catalog from the packs alone.",
        "adopt": "Make this catalog the owner of the store.",
    },
}
"""The commands of each section, with what the page says of them."""

EPILOG: Final = """
\b
Files are named repo@ref:path, such as weather@main:2012/01.csv. The ref is a
branch, a tag or a commit. Without @ref, it is main.

\b
Set VERSIONED_STORE to the directory or URL of the store, or pass --store.
`versioned COMMAND --help` explains a command. Every command takes --json,
-q (only answers and errors) and -v (say more), before it or after it.
"""


class SectionedCommands(Commands):
    """The commands of the program, whose page lists them by section."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 (click's classes, or typer's)
        """Write the sections, with the descriptions in one column."""
        width = max(len(name) for section in SECTIONS.values() for name in section)
        for heading, section in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), text) for name, text in section.items()])
