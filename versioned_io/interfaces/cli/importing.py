"""The command ``import-dagster``: the values that an older IO manager stored, moved into a store."""

from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import entry_points
from typing import Annotated, Any, Final

import typer

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import counted
from versioned_io.interfaces.cli.output import echo, print_json, print_table
from versioned_io.interfaces.cli.progress import counting
from versioned_io.interfaces.cli.session import (
    CatalogOption,
    DryRunOption,
    JsonOption,
    StoreOption,
    reports_errors,
)
from versioned_io.interfaces.settings import StoreSettings

IMPORTERS: Final = "versioned_io.importers"
"""The group of entry points under which an integration offers its import."""


@reports_errors
def import_dagster(
    location: Annotated[str, typer.Argument(help="The project's definitions: a Python file or a module.")],
    attribute: Annotated[
        str | None, typer.Option("--attribute", "-a", help="The name of the definitions, if there are several.")
    ] = None,
    older: Annotated[
        str | None,
        typer.Option("--from", help="Where the values are: a directory, or s3://bucket/prefix. Else the fallback."),
    ] = None,
    assets: Annotated[
        list[str] | None, typer.Option("--asset", help="An asset's key, such as raw/orders; may be repeated.")
    ] = None,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move the values that an older IO manager of Dagster stored into the store; called again, it continues."""
    run = _importer("dagster")
    settings = StoreSettings.from_environment(store, catalog) if store else None
    with counting(show=not as_json) as shown:
        report = run(
            location,
            attribute=attribute,
            settings=settings,
            fallback=older,
            assets=assets or (),
            dry_run=dry_run,
            progress=shown,
        )
    if as_json:
        print_json(asdict(report))
        return
    print_table(
        ("asset", "repo", "would be imported" if dry_run else "imported", "there already", "without a value"),
        [(one.asset, one.repo, *map(str, (one.imported, one.present, one.missing))) for one in report.assets],
    )
    total = sum(one.imported for one in report.assets)
    echo(f"{counted(total, 'value')} {'would be imported' if dry_run else 'imported'}")


def _importer(name: str) -> Callable[..., Any]:
    """Return the import that an installed integration offers.

    Raises:
        InvalidInputError: It is not installed.
    """
    found = next(iter(entry_points(group=IMPORTERS, name=name)), None)
    try:
        loaded: Callable[..., Any] | None = None if found is None else found.load()
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(name):  # its packages have names of their own, such as dagster_shared
            raise
        loaded = None
    if loaded is None:
        msg = f'{name} is not installed here: pip install "versioned-io[{name}]"'
        raise InvalidInputError(msg)
    return loaded
