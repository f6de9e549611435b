"""Commands about files: ``put``, ``get``, ``cat``, ``ls``, ``rm``."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from versioned_io.cli.output import commit_json, describe_change, describe_size, file_json, print_json, print_table
from versioned_io.cli.session import CatalogOption, JsonOption, StoreOption, open_named_store, reports_errors
from versioned_io.errors import InvalidInputError, PathNotFoundError
from versioned_io.refs import parse_ref
from versioned_io.snapshots.checkout import write_local_file
from versioned_io.transactions.transaction import ImportProgress, StagedBranch, Transaction

_STDIN = "-"
MessageOption = Annotated[str, typer.Option("--message", "-m", help="Why.")]
AuthorOption = Annotated[str, typer.Option("--author", help="Who.")]


@reports_errors
def put(
    target: Annotated[str, typer.Argument(help="repo@branch, or repo@branch:path")],
    sources: Annotated[list[str], typer.Argument(help="Files and directories, or - for standard input.")],
    message: MessageOption = "",
    author: AuthorOption = "",
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Commit files and directories, all or none; the same bytes again make no commit.

    One file goes to the path, or keeps its name; a directory's files go below the path; several sources keep their
    names below it.
    """
    ref = parse_ref(target)
    is_directory = target.endswith("/")
    _check_sources(sources, named=bool(ref.path))
    with open_named_store(store, catalog) as opened:
        branch = f"{ref.repo}@{ref.name}"
        with _progress() as report, opened.transaction(branch, message=message, author=author) as transaction:
            for source in sources:
                keeps_name = is_directory or len(sources) > 1 or not ref.path
                _put_one(transaction, source, ref.path, keeps_name=keeps_name, report=report)
    _print_outcome(transaction, as_json=as_json)


@reports_errors
def remove(
    targets: Annotated[list[str], typer.Argument(help="repo@branch:path; a directory with everything below it.")],
    message: MessageOption = "",
    author: AuthorOption = "",
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Commit the end of files or directories of one branch."""
    refs = [parse_ref(target) for target in targets]
    if len({(ref.repo, ref.name) for ref in refs}) > 1:
        msg = "the paths are on several branches: remove those of one branch at a time"
        raise InvalidInputError(msg)
    with open_named_store(store, catalog) as opened:
        branch = f"{refs[0].repo}@{refs[0].name}"
        with opened.transaction(branch, message=message, author=author) as transaction:
            for ref, target in zip(refs, targets, strict=True):
                if not ref.path:
                    msg = f"{target!r} names no path: write repo@branch:path"
                    raise InvalidInputError(msg)
                if not transaction.exists(ref.path):
                    raise PathNotFoundError(ref.path, branch)
                transaction.delete(ref.path)
    _print_outcome(transaction, as_json=as_json)


@reports_errors
def get(
    source: Annotated[str, typer.Argument(help="repo@ref:path")],
    dest: Annotated[
        str | None, typer.Argument(help="A local file or directory; by default the path's own name.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace local files.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a file, or a directory with everything below it, to this machine."""
    ref = parse_ref(source)
    target = Path(dest if dest is not None else (ref.path.rpartition("/")[2] or ref.repo))
    with open_named_store(store, catalog) as opened:
        snapshot = opened.snapshot(_without_path(source))
        if snapshot.is_directory(ref.path):
            files = snapshot.checkout(target, ref.path, overwrite=overwrite)
        else:
            target = target / ref.path.rpartition("/")[2] if target.is_dir() else target
            write_local_file(snapshot, ref.path, target, overwrite=overwrite)
            files = 1
    if as_json:
        print_json({"files": files, "target": str(target), "commit": snapshot.commit.id})
    else:
        typer.echo(f"{files} file{'s' if files != 1 else ''} to {target}")


@reports_errors
def cat(
    source: Annotated[str, typer.Argument(help="repo@ref:path")],
    store: StoreOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Print a file's bytes."""
    ref = parse_ref(source)
    with open_named_store(store, catalog) as opened, opened.snapshot(_without_path(source)).open(ref.path) as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


@reports_errors
def list_files(
    target: Annotated[str, typer.Argument(help="repo@ref, or repo@ref:directory")],
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Every file at any depth.")] = False,
    glob: Annotated[str | None, typer.Option("--glob", help="Only files that match, such as **/*.csv.")] = None,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """List files and directories."""
    ref = parse_ref(target)
    with open_named_store(store, catalog) as opened:
        snapshot = opened.snapshot(_without_path(target))
        if glob is not None:
            entries = list(snapshot.glob(f"{ref.path}/{glob}" if ref.path else glob))
        elif not snapshot.is_directory(ref.path):
            entries = [snapshot.stat(ref.path)]
        else:
            entries = list(snapshot.walk(ref.path) if recursive else snapshot.list(ref.path))
    if as_json:
        print_json({"entries": [file_json(entry) for entry in entries]})
        return
    rows = [
        (f"{entry.path}/", "", "") if entry.is_directory else (entry.path, describe_size(entry.size), entry.digest[:12])
        for entry in entries
    ]
    print_table(("path", "size", "digest"), rows)


def _without_path(ref: str) -> str:
    return ref.partition(":")[0]


def _check_sources(sources: list[str], *, named: bool) -> None:
    if _STDIN in sources and (len(sources) > 1 or not named):
        msg = "standard input is one file and has no name: write `versioned put repo@branch:path -`"
        raise InvalidInputError(msg)
    for source in sources:
        if source != _STDIN and not Path(source).exists():
            msg = f"there is no local file or directory {source!r}: nothing was committed"
            raise InvalidInputError(msg)


def _put_one(
    branch: StagedBranch, source: str, path: str, *, keeps_name: bool, report: Callable[[ImportProgress], None]
) -> None:
    if source == _STDIN:
        branch.write(path, sys.stdin.buffer)
        return
    local = Path(source)
    if local.is_dir():
        branch.write_tree(local, to=path, progress=report)
        return
    branch.write(f"{path}/{local.name}" if keeps_name and path else (path or local.name), local)


class _progress:  # noqa: N801 (used as a function)
    """A line on the terminal's stderr that says how far an import is; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self) -> Callable[[ImportProgress], None]:
        self._bar.start()
        task = self._bar.add_task("")

        def report(progress: ImportProgress) -> None:
            text = f"{progress.files} files, {describe_size(progress.size_bytes)}: {progress.path}"
            self._bar.update(task, description=text)

        return report

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _print_outcome(transaction: Transaction, *, as_json: bool) -> None:
    head = transaction.commit if transaction.changed or transaction.base is not None else None
    if as_json:
        print_json({"changed": transaction.changed, "commit": None if head is None else commit_json(head)})
    elif head is None:
        typer.echo("nothing changed: no commit was made")
    elif not transaction.changed:
        typer.echo(f"nothing changed: no commit was made, the head stays {head.repo}@{head.id}")
    else:
        typer.echo(f"{head.repo}@{head.id}  {describe_change(head)}  lineage {head.lineage_id}")
