"""The commands ``get`` and ``checkout``: files of a commit, or of a whole lineage ID, into a local directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import counted
from versioned_io.interfaces.cli.advice import order_advised
from versioned_io.interfaces.cli.completing import complete_ref
from versioned_io.interfaces.cli.files import GlobOption, SourceArgument, whole_pattern, without_path
from versioned_io.interfaces.cli.output import echo, print_json
from versioned_io.interfaces.cli.progress import transferring
from versioned_io.interfaces.cli.session import (
    CatalogOption,
    JsonOption,
    StoreOption,
    open_named_store,
    reports_errors,
)
from versioned_io.model.refs import parse_ref

if TYPE_CHECKING:
    from versioned_io.versioning.snapshots.snapshot import Snapshot

DestArgument = Annotated[
    str | None, typer.Argument(help="A local file or directory; by default the path's own name, or the repo's.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace local files, also modified ones.")]
IncrementalOption = Annotated[
    bool, typer.Option("--incremental", help="Write only files that differ from an earlier checkout.")
]
SyncOption = Annotated[bool, typer.Option("--fsync", help="Return only when everything is durable.")]


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
    with order_advised("get", source, dest):
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
    source: Annotated[
        str | None, typer.Argument(help="repo@ref, or repo@ref:path", autocompletion=complete_ref)
    ] = None,
    dest: DestArgument = None,
    lineage: Annotated[
        str | None, typer.Option("--lineage", help="Instead of a ref: every repo of this lineage ID, below DEST.")
    ] = None,
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
    With --lineage each repo gets a sub-directory: `versioned checkout --lineage ID DEST`.
    """
    if lineage is not None:
        options = _CheckoutOptions(overwrite=overwrite, glob=glob, incremental=incremental, sync=sync)
        _check_out_lineage(lineage, source, dest, store=store, catalog=catalog, options=options, as_json=as_json)
        return
    if source is None:
        msg = "name the commit, as `versioned checkout repo@ref DEST`, or pass --lineage ID with a directory"
        raise InvalidInputError(msg)
    with order_advised("checkout", source, dest):
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
    """The options of ``get`` and ``checkout``."""

    overwrite: bool
    glob: str | None
    incremental: bool
    sync: bool


def _check_out(
    source: str, dest: str | None, *, store: str | None, catalog: str | None, options: _CheckoutOptions, as_json: bool
) -> None:
    ref = parse_ref(source)
    target = Path(dest if dest is not None else (ref.path.rpartition("/")[2] or ref.repo))
    with open_named_store(store, catalog) as opened, transferring() as report:
        snapshot = opened.snapshot(without_path(source))
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
        echo(f"{files} file{'s' if files != 1 else ''} to {target}")


def _check_out_lineage(
    lineage_id: str,
    place: str | None,
    more: str | None,
    *,
    store: str | None,
    catalog: str | None,
    options: _CheckoutOptions,
    as_json: bool,
) -> None:
    """Write every repo of a lineage ID below the directory *place*, the only argument beside the options."""
    if place is None or more is not None or options.glob is not None:
        msg = "--lineage takes one directory and whole repos: `versioned checkout --lineage ID DEST`, without --glob"
        raise InvalidInputError(msg)
    with open_named_store(store, catalog) as opened, transferring() as report:
        done = opened.checkout_lineage(
            lineage_id,
            place,
            overwrite=options.overwrite,
            mode="incremental" if options.incremental else "full",
            fsync=options.sync,
            progress=report,
        )
    if as_json:
        commits = {commit.repo: commit.id for commit in done.commits}
        print_json({"files": done.files, "target": place, "lineage_id": lineage_id, "commits": commits})
        return
    echo(f"{counted(done.files, 'file')} to {place}")
    for commit in done.commits:
        echo(f"{Path(place) / commit.repo}: {commit.repo}@{commit.id}")


def _get_one(snapshot: "Snapshot", path: str, target: Path, options: _CheckoutOptions) -> Path:
    from versioned_io.versioning.snapshots.checkout import write_local_file

    if options.glob is not None or options.incremental:
        msg = f"{path!r} is a file: --glob and --incremental are for directories"
        raise InvalidInputError(msg)
    target = target / path.rpartition("/")[2] if target.is_dir() else target
    write_local_file(snapshot, path, target, overwrite=options.overwrite)
    return target
