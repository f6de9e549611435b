"""The command ``find``: which commits of a history added, changed or deleted a file."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from versioned_io.errors import InvalidInputError
from versioned_io.interfaces.cli.output import (
    describe_size,
    learn_short_ids,
    print_json,
    print_line,
    print_table,
    shown_digest,
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

if TYPE_CHECKING:
    from versioned_io.versioning.history.finding import FoundFile


@reports_errors
@pages
def find(
    ref: RefArgument,
    name: Annotated[
        str | None,
        typer.Argument(help="A file name such as 02.csv or *.csv, or a pattern of whole paths such as 2012/**."),
    ] = None,
    digest: Annotated[
        str | None, typer.Option("--digest", help="Only contents whose digest begins with these 4 to 64 hex digits.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=0, help="Show at most this many changes.")] = None,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which commits of a whole history added, changed or deleted a file, newest first.

    It reads the pages that each commit changed, whatever the size of the trees. The log of one exact path is faster:
    versioned log repo@ref:path.
    """
    if name is None and digest is None:
        msg = "name a file, such as 02.csv or '*.csv', or pass --digest"
        raise InvalidInputError(msg)
    glob = name if name is None or "/" in name else f"**/{name}"
    with open_named_store(store, catalog) as opened:
        found = list(islice(opened.find(ref, glob=glob, digest=digest), limit))
        learn_short_ids(opened, [] if as_json else [one.commit.id for one in found])
    if as_json:
        print_json({"found": [_as_json(one) for one in found]})
    elif not found:
        print_line("no commit of this history has such a file")
    else:
        print_table(("commit", "time (UTC)", "change", "path", "size", "digest"), [_row(one) for one in found])


def _row(one: "FoundFile") -> tuple[str, ...]:
    at = one.commit.created_at.strftime("%Y-%m-%d %H:%M:%S")
    return shown_id(one.commit.id), at, one.change, one.path, describe_size(one.size), shown_digest(one.digest)


def _as_json(one: "FoundFile") -> dict[str, object]:
    return {
        "commit": one.commit.id,
        "number": one.commit.number,
        "created_at": one.commit.created_at.isoformat(),
        "path": one.path,
        "change": one.change,
        "size": one.size,
        "digest": one.digest,
    }
