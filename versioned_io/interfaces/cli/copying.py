"""``cp`` and ``mv``: files of the store get another place in it, by reference."""

from typing import Annotated

import typer

from versioned_io.errors import InvalidInputError
from versioned_io.interfaces.cli.advice import branch_creation_advised
from versioned_io.interfaces.cli.files import print_outcome
from versioned_io.interfaces.cli.session import (
    AuthorOption,
    CatalogOption,
    JsonOption,
    MessageOption,
    StoreOption,
    open_named_store,
    reports_errors,
)
from versioned_io.model.refs import parse_branch_ref, parse_ref


@reports_errors
def copy(
    source: Annotated[str, typer.Argument(help="repo@ref:path, a file or a directory of any repo; repo@ref for all.")],
    target: Annotated[str, typer.Argument(help="repo@branch:path; ends with /, or without a path: keeps its name.")],
    message: MessageOption = "",
    author: AuthorOption = "",
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Commit a copy of a file or a directory, of any commit of any repo; no data is copied."""
    branch, place = _branch_and_place(parse_ref(source).path, target)
    with (
        open_named_store(store, catalog) as opened,
        branch_creation_advised(parse_branch_ref(branch)),
        opened.transaction(branch, message=message, author=author) as transaction,
    ):
        transaction.copy(source, place)
    print_outcome(transaction, as_json=as_json)


@reports_errors
def move(
    source: Annotated[str, typer.Argument(help="repo@branch:path, a file or a directory.")],
    target: Annotated[str, typer.Argument(help="Its new path on the same branch; ends with /: keeps its name.")],
    message: MessageOption = "",
    author: AuthorOption = "",
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Commit another path of a file or a directory; no data is copied."""
    head, _, _ = source.partition(":")
    origin = parse_ref(source).path
    if not origin:
        msg = f"{source!r} names no path: write repo@branch:path"
        raise InvalidInputError(msg)
    branch, place = _branch_and_place(origin, target if ":" in target else f"{head}:{target}")
    if branch != str(parse_branch_ref(head)):
        msg = f"{target!r} is on another branch than {source!r}: a file moves on one branch; cp it, and rm it there"
        raise InvalidInputError(msg)
    with (
        open_named_store(store, catalog) as opened,
        opened.transaction(branch, message=message, author=author) as transaction,
    ):
        transaction.move(origin, place)
    print_outcome(transaction, as_json=as_json)


def _branch_and_place(source: str, target: str) -> tuple[str, str]:
    """Return ``repo@branch`` and the path of *target*, below which the name of *source* is kept where it says so."""
    place, name = parse_ref(target).path, source.rpartition("/")[2]
    if not place or target.endswith("/"):
        place = f"{place}/{name}".strip("/")
    return str(parse_branch_ref(target.partition(":")[0])), place
