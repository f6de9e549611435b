"""Commands about history: ``log``, ``show``, ``diff``."""

from typing import Annotated

import typer

from versioned_io.cli.output import commit_json, describe_size, print_commit, print_json, print_table
from versioned_io.cli.session import CatalogOption, JsonOption, StoreOption, open_named_store, reports_errors
from versioned_io.refs import parse_ref

_NO_SIZE = "-"


@reports_errors
def log(
    target: Annotated[str, typer.Argument(help="repo@ref, or repo@ref:path for the history of one path")],
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=0, help="At most so many commits.")] = None,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the commits of a branch, or those that changed a path, newest first."""
    ref = parse_ref(target)
    with open_named_store(store, catalog) as opened:
        commits = list(opened.log(target.partition(":")[0], path=ref.path or None, limit=limit))
    if as_json:
        print_json({"commits": [commit_json(commit) for commit in commits]})
        return
    if not commits:
        typer.echo("no commit yet")
    for commit in commits:
        print_commit(commit)


@reports_errors
def show(
    target: Annotated[str, typer.Argument(help="repo@ref, or a commit ID")],
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one commit and what it changed."""
    with open_named_store(store, catalog) as opened:
        commit = opened.commit(target)
        before = None if commit.parent is None else f"{commit.repo}@{commit.parent}"
        changes = opened.diff(before, f"{commit.repo}@{commit.id}").to_pylist()
    if as_json:
        print_json({"commit": commit_json(commit), "changes": changes})
        return
    print_commit(commit)
    typer.echo(f"  lineage {commit.lineage_id}")
    _print_changes(changes)


@reports_errors
def diff(
    old: Annotated[str, typer.Argument(help="repo@ref")],
    new: Annotated[str, typer.Argument(help="repo@ref")],
    partitions: Annotated[
        str | None, typer.Option("--partitions", help="Show partition keys instead: {year}/{month}.csv")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="How the fields make a key: {year}|{month}")] = None,
    renames: Annotated[bool, typer.Option("--renames", help="Show a file that has moved as one change.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which files, or which partitions, differ between two commits."""
    with open_named_store(store, catalog) as opened:
        if partitions is not None:
            keys = opened.affected(old, new, partitions, key=key)
            if as_json:
                print_json({"partitions": keys})
            else:
                typer.echo("\n".join(keys) if keys else "no partition is affected")
            return
        changes = opened.diff(old, new, renames=renames).to_pylist()
    if as_json:
        print_json({"changes": changes})
    else:
        _print_changes(changes)


def _print_changes(changes: list[dict[str, str | int | None]]) -> None:
    if not changes:
        typer.echo("no file differs")
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
