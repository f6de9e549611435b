"""The command ``stats``: how large a store is."""

from dataclasses import asdict
from typing import Annotated

import typer

from versioned_io.interfaces.cli.output import describe_size, echo, print_json, print_table
from versioned_io.interfaces.cli.progress import counting
from versioned_io.interfaces.cli.session import (
    CatalogOption,
    JsonOption,
    StoreOption,
    open_named_store,
    reports_errors,
)


@reports_errors
def stats(
    repo: Annotated[str | None, typer.Argument(help="Only this repo.")] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Walk the trees of all commits, which takes minutes when there are many.")
    ] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how large the store is; with --exact or a repo, also the sizes of files and the dead bytes."""
    with open_named_store(store, catalog) as opened, counting(show=not as_json) as shown:
        found = opened.stats(repo, exact=exact, progress=lambda pages: shown("pages", pages))
    if as_json:
        print_json({**asdict(found), "deduplication": found.deduplication, "compression": found.compression})
        return
    rows: list[tuple[str, int | None, int | None]] = [
        ("commits, each with all its files", found.commits, found.logical_bytes),
        ("versions of files", found.versions, found.version_bytes),
        ("different contents", found.chunks, found.content_bytes),
        ("the same, compressed", None, found.stored_bytes),
        ("parts of files that lie elsewhere", None, found.elsewhere_bytes),
        ("pages", None, found.page_bytes),
        ("packs", found.packs, found.physical_bytes),
        ("of that dead", None, found.dead_bytes),
    ]
    print_table(
        ("what", "number", "size"),
        [
            (what, "" if number is None else str(number), "" if size is None else describe_size(size))
            for what, number, size in rows
            if number is not None or size is not None
        ],
    )
    if found.is_exact:
        echo(f"deduplication {found.deduplication:.2f}, compression {found.compression:.2f}")
    else:
        echo("counted by the catalog; --exact walks all trees, for the sizes of files and the dead bytes")
