"""Commands that bring changes from one history into another: ``merge``, ``cherry-pick``, ``revert``, ``squash``."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from versioned_io.cli.output import commit_json, print_commit, print_json, print_table
from versioned_io.cli.session import CatalogOption, JsonOption, StoreOption, open_named_store, reports_errors
from versioned_io.errors import MergeConflictError

if TYPE_CHECKING:
    from versioned_io.catalog.values import Commit

_SHORT = 12

StrategyOption = Annotated[
    str, typer.Option("--strategy", help="Where both sides changed a file: fail, ours or theirs.")
]
MessageOption = Annotated[str, typer.Option("--message", "-m", help="What the commit says.")]
AuthorOption = Annotated[str, typer.Option("--author", help="Who makes it.")]


@reports_errors
def merge(
    source: Annotated[str, typer.Argument(help="What is brought in: repo@ref.")],
    into: Annotated[str, typer.Argument(help="The branch that takes it: repo@branch.")],
    strategy: StrategyOption = "fail",
    fast_forward: Annotated[bool, typer.Option(help="Only move the branch where it has no commit of its own.")] = True,
    message: MessageOption = "",
    author: AuthorOption = "",
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring everything that one history has and a branch has not into the branch."""
    with open_named_store(store, catalog) as opened, _conflicts_shown(as_json=as_json):
        commit = opened.merge(
            source, into, strategy=strategy, fast_forward=fast_forward, message=message, author=author
        )
    _print(commit, as_json=as_json)


@reports_errors
def cherry_pick(
    commit: Annotated[str, typer.Argument(help="repo@ref or a commit's ID.")],
    onto: Annotated[str, typer.Argument(help="repo@branch")],
    strategy: StrategyOption = "fail",
    message: MessageOption = "",
    author: AuthorOption = "",
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make on a branch the changes that one commit made."""
    with open_named_store(store, catalog) as opened, _conflicts_shown(as_json=as_json):
        made = opened.cherry_pick(commit, onto, strategy=strategy, message=message, author=author)
    _print(made, as_json=as_json)


@reports_errors
def revert(
    commit: Annotated[str, typer.Argument(help="repo@ref or a commit's ID.")],
    on: Annotated[str, typer.Argument(help="repo@branch")],
    since: Annotated[
        str | None, typer.Option(help="Take back all commits after this one, too, as one; by default only the one.")
    ] = None,
    strategy: StrategyOption = "fail",
    message: MessageOption = "",
    author: AuthorOption = "",
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take back on a branch the changes that one commit made, or several in a row."""
    with open_named_store(store, catalog) as opened, _conflicts_shown(as_json=as_json):
        made = opened.revert(commit, on, since=since, strategy=strategy, message=message, author=author)
    _print(made, as_json=as_json)


@reports_errors
def squash(
    branch: Annotated[str, typer.Argument(help="repo@branch")],
    since: Annotated[str | None, typer.Option(help="The commit that stays below it; by default none.")] = None,
    message: MessageOption = "",
    author: AuthorOption = "",
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put one commit in the place of all commits of a branch after another."""
    with open_named_store(store, catalog) as opened:
        made = opened.squash(branch, since, message=message, author=author)
    _print(made, as_json=as_json)


@contextmanager
def _conflicts_shown(*, as_json: bool) -> Iterator[None]:
    """Print every conflict as a table before the error ends the command."""
    try:
        yield
    except MergeConflictError as error:
        if not as_json:
            rows = [(path, *(digest[:_SHORT] if digest else "-" for digest in rest)) for path, *rest in error.conflicts]
            print_table(("conflict", "base", "ours", "theirs"), rows)
        raise


def _print(commit: "Commit", *, as_json: bool) -> None:
    if as_json:
        print_json({"commit": commit_json(commit)})
    else:
        print_commit(commit)
