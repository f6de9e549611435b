"""Commands about files: ``put``, ``get``, ``checkout``, ``cat``, ``ls``, ``rm``."""

import base64
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from versioned_io.cli.in_place import put_in_place
from versioned_io.cli.output import commit_json, describe_change, describe_size, file_json, print_json, print_table
from versioned_io.cli.session import CatalogOption, JsonOption, StoreOption, open_named_store, reports_errors
from versioned_io.errors import InvalidInputError, PathNotFoundError
from versioned_io.refs import Ref, parse_branch_ref, parse_ref

if TYPE_CHECKING:
    from versioned_io.snapshots.snapshot import Snapshot
    from versioned_io.snapshots.values import FileInfo, TransferProgress
    from versioned_io.transactions.transaction import StagedBranch, Transaction

_STDIN = "-"
MessageOption = Annotated[str, typer.Option("--message", "-m", help="Why.")]
AuthorOption = Annotated[str, typer.Option("--author", help="Who.")]
SourceArgument = Annotated[str, typer.Argument(help="repo@ref, or repo@ref:path")]
DestArgument = Annotated[
    str | None, typer.Argument(help="A local file or directory; by default the path's own name, or the repo's.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace local files, also modified ones.")]
GlobOption = Annotated[str | None, typer.Option("--glob", help="Only files that match, such as **/*.csv.")]
IncrementalOption = Annotated[
    bool, typer.Option("--incremental", help="Write only what differs from what an earlier checkout left there.")
]
SyncOption = Annotated[bool, typer.Option("--fsync", help="Return only when everything is durable.")]


@reports_errors
def put(
    target: Annotated[str, typer.Argument(help="repo@branch, or repo@branch:path")],
    sources: Annotated[list[str], typer.Argument(help="Files and directories, or - for standard input.")],
    message: MessageOption = "",
    author: AuthorOption = "",
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Do not copy: refer to files or objects where they are, also s3://...")
    ] = False,
    glob: Annotated[str | None, typer.Option("--glob", help="With --in-place: only what matches, below it.")] = None,
    versions: Annotated[
        bool, typer.Option("--versions", help="With --in-place: pin versions, in a bucket that keeps them.")
    ] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Commit files and directories, all or none; the same bytes again make no commit.

    One file goes to the path, or keeps its name below a path that ends with /; one directory's files go below the
    path; several sources keep their names below it. With --in-place one file, directory, object or prefix (which ends
    with /) is referred to where it is, below VERSIONED_SOURCES; a change there is noticed when it is read.
    """
    branch, path = _branch_of(target), parse_ref(target).path
    if not in_place and (glob is not None or versions):
        msg = "--glob and --versions choose what --in-place refers to: pass that, too"
        raise InvalidInputError(msg)
    below = target.endswith("/")
    places = [] if in_place else _places(sources, path, below=below)
    with (
        open_named_store(store, catalog) as opened,
        _progress() as report,
        opened.transaction(branch, message=message, author=author) as transaction,
    ):
        if in_place:
            put_in_place(transaction, sources, path, below=below, glob=glob, versions=versions, report=report)
        for source, place in places:
            _put_one(transaction, source, place, report=report)
    print_outcome(transaction, as_json=as_json)


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
    branches = {_branch_of(target) for target in targets}
    if len(branches) > 1:
        msg = "the paths are on several branches: remove those of one branch at a time"
        raise InvalidInputError(msg)
    (branch,) = branches
    with (
        open_named_store(store, catalog) as opened,
        opened.transaction(branch, message=message, author=author) as transaction,
    ):
        for ref, target in zip(refs, targets, strict=True):
            if not ref.path:
                msg = f"{target!r} names no path: write repo@branch:path"
                raise InvalidInputError(msg)
            if not transaction.exists(ref.path):
                raise PathNotFoundError(ref.path, branch)
            transaction.delete(ref.path)
    print_outcome(transaction, as_json=as_json)


@reports_errors
def get(
    source: SourceArgument,
    dest: DestArgument = None,
    overwrite: OverwriteOption = False,
    glob: GlobOption = None,
    incremental: IncrementalOption = False,
    sync: SyncOption = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a file, or a directory with everything below it, to this machine."""
    _check_out(
        source,
        dest,
        store=store,
        catalog=catalog,
        options=_CheckoutOptions(overwrite=overwrite, glob=glob, incremental=incremental, sync=sync),
        as_json=as_json,
    )


@reports_errors
def checkout(
    source: SourceArgument,
    dest: DestArgument = None,
    overwrite: OverwriteOption = False,
    glob: GlobOption = None,
    incremental: IncrementalOption = False,
    sync: SyncOption = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the files of a commit, or of one directory of it, into a local directory.

    With --incremental only what differs is written, and what an earlier checkout wrote and this one lacks is deleted.
    """
    _check_out(
        source,
        dest,
        store=store,
        catalog=catalog,
        options=_CheckoutOptions(overwrite=overwrite, glob=glob, incremental=incremental, sync=sync),
        as_json=as_json,
    )


@dataclass(frozen=True, slots=True)
class _CheckoutOptions:
    """What ``get`` and ``checkout`` were asked for."""

    overwrite: bool
    glob: str | None
    incremental: bool
    sync: bool


def _check_out(
    source: str, dest: str | None, *, store: str | None, catalog: str | None, options: _CheckoutOptions, as_json: bool
) -> None:
    ref = parse_ref(source)
    target = Path(dest if dest is not None else (ref.path.rpartition("/")[2] or ref.repo))
    with open_named_store(store, catalog) as opened, _progress() as report:
        snapshot = opened.snapshot(_without_path(source))
        if ref.path and not snapshot.is_directory(ref.path):
            files, target = 1, _get_one(snapshot, ref.path, target, options)
        else:
            files = snapshot.checkout(
                target,
                ref.path,
                glob=options.glob if options.glob is None else whole_pattern(ref.path, options.glob),
                overwrite=options.overwrite,
                mode="incremental" if options.incremental else "full",
                fsync=options.sync,
                progress=report,
            )
    if as_json:
        print_json({"files": files, "target": str(target), "commit": snapshot.commit.id})
    else:
        typer.echo(f"{files} file{'s' if files != 1 else ''} to {target}")


def _get_one(snapshot: "Snapshot", path: str, target: Path, options: _CheckoutOptions) -> Path:
    from versioned_io.snapshots.checkout import write_local_file

    if options.glob is not None or options.incremental:
        msg = f"{path!r} is a file: --glob and --incremental are for directories"
        raise InvalidInputError(msg)
    target = target / path.rpartition("/")[2] if target.is_dir() else target
    write_local_file(snapshot, path, target, overwrite=options.overwrite)
    return target


@reports_errors
def cat(
    source: SourceArgument, store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False
) -> None:
    """Print a file's bytes; with --json its text, or its bytes in base64 where they are no UTF-8."""
    ref = parse_ref(source)
    with open_named_store(store, catalog) as opened:
        snapshot = opened.snapshot(_without_path(source))
        if as_json:
            data = snapshot.read(ref.path)
            try:
                content = {"text": data.decode()}
            except UnicodeDecodeError:
                content = {"base64": base64.b64encode(data).decode()}
            print_json(file_json(snapshot.stat(ref.path)) | content)
            return
        with snapshot.open(ref.path) as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()


@reports_errors
def list_files(
    target: Annotated[str, typer.Argument(help="repo@ref, or repo@ref:directory")],
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Every file at any depth.")] = False,
    glob: Annotated[str | None, typer.Option("--glob", help="Only files that match, such as **/*.csv.")] = None,
    partitions: Annotated[
        str | None, typer.Option("--partitions", help="With --partition: how paths make keys, {year}/{month}.csv")
    ] = None,
    partition: Annotated[str | None, typer.Option("--partition", help="Only the files of this partition key.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="How the fields make a key: {year}|{month}")] = None,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """List files and directories."""
    ref = parse_ref(target)
    pattern = _pattern(ref, glob, partitions, partition, key)
    with open_named_store(store, catalog) as opened:
        entries = _entries(opened.snapshot(_without_path(target)), ref.path, pattern, recursive=recursive)
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


def _branch_of(target: str) -> str:
    return str(parse_branch_ref(_without_path(target)))


def _pattern(ref: Ref, glob: str | None, partitions: str | None, partition: str | None, key: str | None) -> str | None:
    """Return the glob, over whole paths, that the options ask for."""
    if (partitions is None) != (partition is None):
        msg = "--partitions and --partition go together: --partitions '{year}/{month}.csv' --partition 2012-01"
        raise InvalidInputError(msg)
    if glob is None and partitions is None:
        return None
    if glob is not None and partitions is not None:
        msg = "--glob and --partition both choose files: use one of them"
        raise InvalidInputError(msg)
    from versioned_io.partitions import PartitionTemplate

    if partitions is not None and partition is not None:
        if ref.path:
            msg = f"a partition template is of whole paths: leave out {':' + ref.path!r}"
            raise InvalidInputError(msg)
        return PartitionTemplate.parse(partitions, key).glob_of(partition)
    return None if glob is None else whole_pattern(ref.path, glob)


def whole_pattern(directory: str, glob: str) -> str:
    """Return the pattern of whole paths for one that is of paths below *directory*."""
    from versioned_io.partitions import escape_glob

    return f"{escape_glob(directory)}/{glob}" if directory else glob


def _entries(snapshot: "Snapshot", path: str, pattern: str | None, *, recursive: bool) -> "list[FileInfo]":
    if pattern is not None:
        return list(snapshot.glob(pattern))
    if not snapshot.is_directory(path):
        return [snapshot.stat(path)]
    return list(snapshot.walk(path) if recursive else snapshot.list(path))


def _places(sources: Sequence[str], path: str, *, below: bool) -> list[tuple[str, str]]:
    """Return each local source with the path that it goes to."""
    if _STDIN in sources and (len(sources) > 1 or below or not path):
        msg = "standard input is one file and has no name: write `versioned put repo@branch:path -`"
        raise InvalidInputError(msg)
    places: list[tuple[str, str]] = []
    for source in sources:
        local = Path(source)
        if source != _STDIN and not local.exists():
            msg = f"there is no local file or directory {source!r}: nothing was committed"
            raise InvalidInputError(msg)
        keeps_name = len(sources) > 1 or (not local.is_dir() and (below or not path))
        own_name = local.name if local.name not in {"", ".."} else local.resolve().name
        name = own_name if keeps_name else ""
        places.append((source, "/".join(filter(None, (path, name)))))
    targets = [place for _, place in places]
    for source, place in places:
        if targets.count(place) > 1:
            msg = f"two sources would become {place!r}, one of them {source!r}: put them one at a time"
            raise InvalidInputError(msg)
    return places


def _put_one(branch: "StagedBranch", source: str, place: str, *, report: "Callable[[TransferProgress], None]") -> None:
    local = Path(source)
    if source != _STDIN and local.is_dir():
        branch.write_tree(local, to=place, progress=report)
    else:
        branch.write(place, sys.stdin.buffer if source == _STDIN else local)


class _progress:  # noqa: N801 (used as a function)
    """A bar on the terminal's stderr that says how far a transfer is; nothing where that is no terminal."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self) -> "Callable[[TransferProgress], None]":
        self._bar.start()
        task = self._bar.add_task("", total=None)

        def report(progress: "TransferProgress") -> None:
            self._bar.update(
                task,
                description=f"{progress.files} of {progress.total_files} files",
                completed=progress.size_bytes,
                total=progress.total_bytes,
            )

        return report

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def print_outcome(transaction: "Transaction", *, as_json: bool) -> None:
    """Print what became of a transaction: the commit, or that nothing changed."""
    head = transaction.commit if transaction.changed or transaction.base is not None else None
    if as_json:
        print_json({"changed": transaction.changed, "commit": None if head is None else commit_json(head)})
    elif head is None:
        typer.echo("nothing changed: no commit was made")
    elif not transaction.changed:
        typer.echo(f"nothing changed: no commit was made, the head stays {head.repo}@{head.id}")
    else:
        typer.echo(f"{head.repo}@{head.id}  {describe_change(head)}  lineage {head.lineage_id}")
