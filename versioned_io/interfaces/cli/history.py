"""Commands about history: ``log``, ``show``, ``diff``."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import counted
from versioned_io.interfaces.cli.completing import complete_ref
from versioned_io.interfaces.cli.output import (
    commit_json,
    describe_change,
    describe_size,
    echo,
    learn_short_ids,
    print_commit,
    print_json,
    print_line,
    print_table,
    shown_id,
)
from versioned_io.interfaces.cli.paging import pages
from versioned_io.interfaces.cli.session import (
    CatalogOption,
    JsonOption,
    RefArgument,
    StoreOption,
    open_named_store,
    reports_errors,
)
from versioned_io.model.refs import parse_ref
from versioned_io.model.times import parse_earliest, parse_latest

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import pyarrow as pa

    from versioned_io.model.commits import Commit

_NO_SIZE = "-"
_FEW_CHANGES = 100


@reports_errors
@pages
def log(
    target: Annotated[
        str, typer.Argument(help="repo@ref, or repo@ref:path for that of a path", autocompletion=complete_ref)
    ],
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=0, help="Show at most this many commits.")] = None,
    oneline: Annotated[bool, typer.Option("--oneline", help="Show each commit on one line.")] = False,
    since: Annotated[
        str | None, typer.Option("--since", help="Only commits of this day or time, or later: 2026-11-01, in UTC.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Only commits of this day or time, or earlier.")] = None,
    author: Annotated[
        str | None, typer.Option("--author", help="Only commits with this text in the author, in any case.")
    ] = None,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the commits of a branch, or those that changed a path, newest first.

    A filter looks at all commits, since their dates need not be in order, until there are as many as --limit says.
    """
    ref, chosen = parse_ref(target), _filter(since, until, author)
    is_filtered = since is not None or until is not None or author is not None
    with open_named_store(store, catalog) as opened:
        found = opened.log(target.partition(":")[0], path=ref.path or None, limit=None if is_filtered else limit)
        commits = list(islice(filter(chosen, found), limit))
        if not as_json:
            learn_short_ids(opened, [commit.id for commit in commits])
    if as_json:
        print_json({"commits": [commit_json(commit) for commit in commits]})
        return
    if not commits:
        print_line("no such commit" if is_filtered else "no commit yet")
    for commit in commits:
        if oneline:
            first = commit.message.partition("\n")[0]
            print_line(f"{shown_id(commit.id)}  {first}  {describe_change(commit)}")
        else:
            print_commit(commit)


def _filter(since: str | None, until: str | None, author: str | None) -> "Callable[[Commit], bool]":
    first = None if since is None else _time(since, "--since", parse_earliest)
    last = None if until is None else _time(until, "--until", parse_latest)
    wanted = (author or "").casefold()

    def is_chosen(commit: "Commit") -> bool:
        is_late = first is None or commit.created_at >= first
        return is_late and (last is None or commit.created_at <= last) and wanted in commit.author.casefold()

    return is_chosen


def _time(text: str, option: str, parse: "Callable[[str], datetime]") -> "datetime":
    try:
        return parse(text)
    except ValueError as error:
        msg = f"{option} {text!r} is not a date or a time: write 2026-11-01 or 2026-11-01T09:30, in UTC"
        raise InvalidInputError(msg) from error


@reports_errors
@pages
def show(
    target: Annotated[str, typer.Argument(help="repo@ref, or a commit ID", autocompletion=complete_ref)],
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=0, help=f"Show at most this many changes; by default {_FEW_CHANGES}."),
    ] = None,
    every_change: Annotated[bool, typer.Option("--all", help="Show every change.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one commit and what it changed; --json has every change."""
    with open_named_store(store, catalog) as opened:
        commit = opened.commit(target)
        before = None if commit.parent is None else f"{commit.repo}@{commit.parent}"
        found = opened.diff(before, f"{commit.repo}@{commit.id}")
        most = found.num_rows if every_change or (as_json and limit is None) else limit
        changes = found.slice(0, _FEW_CHANGES if most is None else most).to_pylist()
        learn_short_ids(opened, [] if as_json else [commit.id])
    if as_json:
        print_json({"commit": commit_json(commit), "changes": changes})
        return
    print_commit(commit)
    if code := _code(commit):
        print_line(f"  {code}")
    print_line(f"  lineage {commit.lineage_id}")
    if changes or not found.num_rows:
        _print_changes(changes)
    if left := found.num_rows - len(changes):
        again = f"versioned show {target} --all"
        print_line(f"{counted(left, 'change')} of {found.num_rows:,} not shown: `{again}` shows all")


@reports_errors
@pages
def diff(
    old: RefArgument,
    new: RefArgument,
    data: Annotated[
        bool, typer.Option("--data", help="Compare the rows and columns of tables: Parquet, Arrow and CSV.")
    ] = False,
    partitions: Annotated[
        str | None, typer.Option("--partitions", help="Show partition keys instead: {year}/{month}.csv")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            help="With --data: the columns that say which rows are the same, such as date,station. With --partitions: "
            "how the fields make a key.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="With --data: show this many rows of each kind.")
    ] = 20,
    renames: Annotated[bool, typer.Option("--renames", help="Show a file that has moved as one change.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which files, partitions or rows of tables differ between two commits.

    With --data, both may also be single files, such as repo@ref:path. Each changed table is read once on both sides.
    """
    if data and (partitions is not None or renames):
        msg = "--data compares rows, --partitions keys and --renames paths: use one of them"
        raise InvalidInputError(msg)
    with open_named_store(store, catalog) as opened:
        if data:
            from versioned_io.interfaces.cli.table_changes import show_data_diff

            show_data_diff(opened, old, new, key=key, limit=limit, as_json=as_json)
            return
        if partitions is not None:
            keys = opened.affected(old, new, partitions, key=key)
            if as_json:
                print_json({"partitions": keys})
            elif keys:
                for affected in keys:
                    print_line(affected)
            else:
                echo(_why_no_partition(opened.diff(old, new), partitions))
            return
        changes = opened.diff(old, new, renames=renames).to_pylist()
    if as_json:
        print_json({"changes": changes})
    else:
        _print_changes(changes)


def _code(commit: "Commit") -> str:
    """Return the code that made a commit, as far as its run recorded it."""
    run = commit.run
    version = f"code version {run.code_version}" if run and run.code_version else ""
    git_commit = f"git commit {run.git_commit}" if run and run.git_commit else ""
    return "  ".join(filter(None, [version, git_commit]))


def _why_no_partition(changes: "pa.Table", template: str) -> str:
    if not changes.num_rows:
        return "no partition is affected: no file differs"
    first = changes.column("path")[0].as_py()
    which = "the only one" if changes.num_rows == 1 else f"one of {changes.num_rows:,}"
    return f"no partition is affected: no changed path matches {template!r}; {which} is {first!r}"


def _print_changes(changes: list[dict[str, str | int | None]]) -> None:
    if not changes:
        echo("no file differs")
        return
    rows = [
        (str(change["change"]), _path(change), _size(change["old_size"]), _size(change["new_size"]))
        for change in changes
    ]
    print_table(("change", "path", "old size", "new size"), rows)


def _path(change: dict[str, str | int | None]) -> str:
    old = change.get("old_path")
    return str(change["path"]) if old is None else f"{old} -> {change['path']}"


def _size(size: str | int | None) -> str:
    return describe_size(size) if isinstance(size, int) else _NO_SIZE
