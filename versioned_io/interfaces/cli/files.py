"""Commands about files of one commit: ``put``, ``cat``, ``ls``, ``rm``."""

import base64
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from versioned_io.errors import InvalidInputError, PathNotFoundError, RefSyntaxError
from versioned_io.interfaces.cli.advice import branch_creation_advised, directory_advised
from versioned_io.interfaces.cli.completing import complete_ref
from versioned_io.interfaces.cli.output import (
    commit_json,
    describe_change,
    describe_size,
    echo,
    file_json,
    print_json,
    print_table,
    shown_digest,
)
from versioned_io.interfaces.cli.paging import pages
from versioned_io.interfaces.cli.progress import transferring
from versioned_io.interfaces.cli.session import (
    AuthorOption,
    CatalogOption,
    DryRunOption,
    JsonOption,
    KeyOption,
    MessageOption,
    StoreOption,
    open_named_store,
    reports_errors,
)
from versioned_io.model.refs import BranchRef, Ref, parse_branch_ref, parse_ref

if TYPE_CHECKING:
    from versioned_io.versioning.snapshots.file_info import FileInfo, TransferProgress
    from versioned_io.versioning.snapshots.snapshot import Snapshot
    from versioned_io.versioning.transactions.local_tree import NotKept
    from versioned_io.versioning.transactions.transaction import Transaction

_STDIN = "-"
_LARGEST_TEXT = 64 * 1024 * 1024
SourceArgument = Annotated[str, typer.Argument(help="repo@ref, or repo@ref:path", autocompletion=complete_ref)]
GlobOption = Annotated[str | None, typer.Option("--glob", help="Only files that match, such as **/*.csv.")]


@reports_errors
def put(
    target: Annotated[str, typer.Argument(help="repo@branch, or repo@branch:path", autocompletion=complete_ref)],
    sources: Annotated[list[str], typer.Argument(help="Files and directories, or - for standard input.")],
    message: MessageOption = "",
    author: AuthorOption = "",
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="Do not copy: refer to the files or objects in their place, also s3://..."),
    ] = False,
    glob: Annotated[str | None, typer.Option("--glob", help="With --in-place: only what matches, below it.")] = None,
    versions: Annotated[
        bool, typer.Option("--versions", help="With --in-place: pin versions, in a bucket that keeps them.")
    ] = False,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Commit files and directories, all or none; the same bytes again make no commit.

    One file is stored at the path, or keeps its name below a path that ends with /. The files of one directory go below
    the path, and several sources keep their names below it. With --in-place, the commit refers to one file, directory,
    object or prefix (which ends with /) at its place below VERSIONED_SOURCES. A change there is detected by a read.
    """
    from versioned_io.interfaces.cli.in_place import put_in_place

    _check_order(target, sources)
    branch, path = parse_branch_ref(without_path(target)), parse_ref(target).path
    if not in_place and (glob is not None or versions):
        msg = "--glob and --versions choose what --in-place refers to: pass that, too"
        raise InvalidInputError(msg)
    below = target.endswith("/")
    places = [] if in_place else _places(sources, path, below=below)
    if dry_run:
        _foresee_put(target, branch, places, in_place=in_place, store=store, catalog=catalog, as_json=as_json)
        return
    with (
        open_named_store(store, catalog) as opened,
        transferring() as report,
        branch_creation_advised(branch),
        directory_advised(target, path),
        opened.transaction(str(branch), message=message, author=author) as transaction,
    ):
        if in_place:
            put_in_place(transaction, sources, path, below=below, glob=glob, versions=versions, report=report)
        for source, place in places:
            _put_one(transaction, source, place, report=report)
    print_outcome(transaction, as_json=as_json, not_kept=transaction.not_kept)


def _foresee_put(
    target: str,
    branch: BranchRef,
    places: list[tuple[str, str]],
    *,
    in_place: bool,
    store: str | None,
    catalog: str | None,
    as_json: bool,
) -> None:
    from versioned_io.interfaces.cli.dry_runs import show_put

    if in_place:
        msg = "--dry-run compares local files with the store, and --in-place stores none: leave out one of them"
        raise InvalidInputError(msg)
    with (
        open_named_store(store, catalog) as opened,
        branch_creation_advised(branch),
        directory_advised(target, parse_ref(target).path),
    ):
        show_put(opened, branch, places, as_json=as_json)


@reports_errors
def remove(
    targets: Annotated[
        list[str],
        typer.Argument(help="repo@branch:path; with all below a directory.", autocompletion=complete_ref),
    ],
    message: MessageOption = "",
    author: AuthorOption = "",
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete files or directories of one branch in a commit."""
    refs = [parse_ref(target) for target in targets]
    branches = {_branch_of(target) for target in targets}
    if len(branches) > 1:
        msg = "the paths are on several branches: remove those of one branch at a time"
        raise InvalidInputError(msg)
    (branch,) = branches
    for ref, target in zip(refs, targets, strict=True):
        if not ref.path:
            msg = f"{target!r} names no path: write repo@branch:path"
            raise InvalidInputError(msg)
    if dry_run:
        from versioned_io.interfaces.cli.dry_runs import show_remove

        with open_named_store(store, catalog) as opened:
            show_remove(opened, branch, [ref.path for ref in refs], as_json=as_json)
        return
    with (
        open_named_store(store, catalog) as opened,
        opened.transaction(branch, message=message, author=author) as transaction,
    ):
        for ref in refs:
            if not transaction.exists(ref.path):
                raise PathNotFoundError(ref.path, branch)
            transaction.delete(ref.path)
    print_outcome(transaction, as_json=as_json)


@reports_errors
def cat(
    source: SourceArgument, store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False
) -> None:
    """Print a file's bytes; with --json its text, or its bytes in base64 where they are not UTF-8."""
    ref = parse_ref(source)
    with open_named_store(store, catalog) as opened:
        snapshot = opened.snapshot(without_path(source))
        if as_json:
            info = snapshot.stat(ref.path)
            if info.size > _LARGEST_TEXT and not info.is_directory:
                msg = f"{ref.path!r} has {info.size:,} bytes, too many for --json: leave it out, or use get"
                raise InvalidInputError(msg)
            data = snapshot.read(ref.path)
            try:
                content = {"text": data.decode()}
            except UnicodeDecodeError:
                content = {"base64": base64.b64encode(data).decode()}
            print_json(file_json(info) | content)
            return
        with snapshot.open(ref.path) as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()


@reports_errors
@pages
def list_files(
    target: Annotated[str, typer.Argument(help="repo@ref, or repo@ref:directory", autocompletion=complete_ref)],
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Every file at any depth.")] = False,
    glob: Annotated[str | None, typer.Option("--glob", help="Only files that match, such as **/*.csv.")] = None,
    partitions: Annotated[
        str | None, typer.Option("--partitions", help="With --partition: how paths make keys, {year}/{month}.csv")
    ] = None,
    partition: Annotated[str | None, typer.Option("--partition", help="Only the files of this partition key.")] = None,
    key: KeyOption = None,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """List files and directories."""
    ref = parse_ref(target)
    pattern = _pattern(ref, glob, partitions, partition, key)
    with open_named_store(store, catalog) as opened:
        entries = _entries(opened.snapshot(without_path(target)), ref.path, pattern, recursive=recursive)
    if as_json:
        print_json({"entries": [file_json(entry) for entry in entries]})
        return
    rows = [
        (f"{entry.path}/", "", "")
        if entry.is_directory
        else (entry.path, describe_size(entry.size), shown_digest(entry.digest))
        for entry in entries
    ]
    print_table(("path", "size", "digest"), rows)


def without_path(ref: str) -> str:
    """Return ``repo@ref`` of ``repo@ref:path``."""
    return ref.partition(":")[0]


def _branch_of(target: str) -> str:
    return str(parse_branch_ref(without_path(target)))


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
    from versioned_io.model.partitions import PartitionTemplate

    if partitions is not None and partition is not None:
        if ref.path:
            msg = f"a partition template is of whole paths: leave out {':' + ref.path!r}"
            raise InvalidInputError(msg)
        return PartitionTemplate.parse(partitions, key).glob_of(partition)
    return None if glob is None else whole_pattern(ref.path, glob)


def whole_pattern(directory: str, glob: str) -> str:
    """Return the pattern of whole paths for one that is of paths below *directory*."""
    from versioned_io.model.partitions import escape_glob

    return f"{escape_glob(directory)}/{glob}" if directory else glob


def _entries(snapshot: "Snapshot", path: str, pattern: str | None, *, recursive: bool) -> "list[FileInfo]":
    if pattern is not None:
        return list(snapshot.glob(pattern))
    if not snapshot.is_directory(path):
        return [snapshot.stat(path)]
    return list(snapshot.walk(path) if recursive else snapshot.list(path))


def _check_order(target: str, sources: Sequence[str]) -> None:
    """Refuse a target that stands after the sources, as ``cp`` has it."""
    last = sources[-1]
    if "@" in target or "@" not in last or "://" in last or Path(last).exists():
        return
    try:
        parse_ref(last)
    except RefSyntaxError:
        return
    call = " ".join(["versioned put", last, target, *sources[:-1]])
    msg = f"the target comes before the files: write `{call}`"
    raise InvalidInputError(msg)


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


def _put_one(tx: "Transaction", source: str, place: str, *, report: "Callable[[TransferProgress], None]") -> None:
    local = Path(source)
    if source != _STDIN and local.is_dir():
        tx.write_tree(local, to=place, progress=report)
    else:
        tx.write(place, sys.stdin.buffer if source == _STDIN else local)


def _describe_lost(lost: "NotKept") -> str:
    parts: list[str] = []
    if lost.empty_directories:
        parts.append(f"{lost.empty_directories} empty director{'y' if lost.empty_directories == 1 else 'ies'}")
    if lost.modes:
        parts.append(f"the mode of {lost.modes} file{'s' if lost.modes != 1 else ''} but for the execute bit")
    return ", ".join(parts)


def print_outcome(transaction: "Transaction", *, as_json: bool, not_kept: "NotKept | None" = None) -> None:
    """Print what became of a transaction: the commit, or that nothing changed; and what an import did not keep."""
    head = transaction.commit if transaction.changed or transaction.base is not None else None
    if as_json:
        told = {"changed": transaction.changed, "commit": None if head is None else commit_json(head)}
        print_json(told if not_kept is None else {**told, "not_kept": not_kept._asdict()})
        return
    if not_kept is not None and any(not_kept):
        echo(f"not kept: {_describe_lost(not_kept)}")
    if head is None:
        echo("nothing changed: no commit was made")
    elif not transaction.changed:
        echo(f"nothing changed: no commit was made, the head stays {head.repo}@{head.id}")
    else:
        echo(f"{head.repo}@{head.id}  {describe_change(head)}  lineage {head.lineage_id}")
