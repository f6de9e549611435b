"""The command ``stats``: how large a store is."""

from dataclasses import asdict
from typing import Annotated

import typer

from versioned_io.cli.output import describe_size, print_json, print_table
from versioned_io.cli.progress import counting
from versioned_io.cli.session import CatalogOption, JsonOption, StoreOption, open_named_store, reports_errors


@reports_errors
def stats(
    repo: Annotated[str | None, typer.Argument(help="Only what this repo leads to.")] = None,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how large the store is: what people see, what is stored, and how much of that is dead."""
    with open_named_store(store, catalog) as opened, counting(show=not as_json) as shown:
        found = opened.stats(repo, progress=lambda pages: shown("pages", pages))
    if as_json:
        print_json({**asdict(found), "deduplication": found.deduplication, "compression": found.compression})
        return
    rows = [
        ("commits, each with all its files", str(found.commits), describe_size(found.logical_bytes)),
        ("versions of files", str(found.versions), describe_size(found.version_bytes)),
        ("different contents", str(found.chunks), describe_size(found.content_bytes)),
        ("the same, compressed", "", describe_size(found.stored_bytes)),
        ("parts of files that lie elsewhere", "", describe_size(found.elsewhere_bytes)),
        ("pages", "", describe_size(found.page_bytes)),
        ("packs", str(found.packs), describe_size(found.physical_bytes)),
        ("of that dead", "", describe_size(found.dead_bytes)),
    ]
    print_table(("what", "number", "size"), rows)
    typer.echo(f"deduplication {found.deduplication:.2f}, compression {found.compression:.2f}")
