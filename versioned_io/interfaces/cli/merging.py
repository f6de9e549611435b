"""Commands that bring changes from one history into another: ``merge``, ``cherry-pick``, ``revert``, ``squash``."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from versioned_io.errors import MergeConflictError, RefNotFoundError
from versioned_io.interfaces.cli.completing import complete_ref
from versioned_io.interfaces.cli.output import (
    commit_json,
    echo,
    print_commit,
    print_json,
    print_table,
    say_how_to_undo,
    shown_digest,
)
from versioned_io.interfaces.cli.session import (
    AuthorOption,
    BranchArgument,
    CatalogOption,
    CommitArgument,
    DryRunOption,
    JsonOption,
    MessageOption,
    StoreOption,
    open_named_store,
    reports_errors,
)

if TYPE_CHECKING:
    from versioned_io.model.commits import Commit
    from versioned_io.store import Store

StrategyOption = Annotated[
    str, typer.Option("--strategy", help="Where both sides changed a file: fail, ours or theirs.")
]


@reports_errors
def merge(
    source: Annotated[str, typer.Argument(help="The commits to merge: repo@ref.", autocompletion=complete_ref)],
    into: Annotated[str, typer.Argument(help="The branch that takes it: repo@branch.", autocompletion=complete_ref)],
    strategy: StrategyOption = "fail",
    fast_forward: Annotated[bool, typer.Option(help="Only move the branch where it has no commit of its own.")] = True,
    message: MessageOption = "",
    author: AuthorOption = "",
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring everything that one history has and a branch has not into the branch.

    With --dry-run, the exit code is 4 if there are conflicts.
    """
    if dry_run:
        from versioned_io.interfaces.cli.dry_runs import show_merge

        with open_named_store(store, catalog) as opened:
            show_merge(opened, source, into, strategy=strategy, fast_forward=fast_forward, as_json=as_json)
        return
    with open_named_store(store, catalog) as opened, _conflicts_shown(as_json=as_json):
        before = _head(opened, into)
        commit = opened.merge(
            source, into, strategy=strategy, fast_forward=fast_forward, message=message, author=author
        )
    _print(commit, into, before, f"{into} holds {source} already", as_json=as_json)


@reports_errors
def cherry_pick(
    commit: CommitArgument,
    onto: BranchArgument,
    strategy: StrategyOption = "fail",
    message: MessageOption = "",
    author: AuthorOption = "",
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make on a branch the changes that one commit made."""
    with open_named_store(store, catalog) as opened, _conflicts_shown(as_json=as_json):
        before = _head(opened, onto)
        made = opened.cherry_pick(commit, onto, strategy=strategy, message=message, author=author)
    _print(made, onto, before, f"{onto} has the changes of {commit} already", as_json=as_json)


@reports_errors
def revert(
    commit: CommitArgument,
    on: BranchArgument,
    since: Annotated[
        str | None, typer.Option(help="Revert all commits after this one, as one; by default only the one.")
    ] = None,
    strategy: StrategyOption = "fail",
    message: MessageOption = "",
    author: AuthorOption = "",
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revert the changes of one commit, or of several in a row, on a branch."""
    with open_named_store(store, catalog) as opened, _conflicts_shown(as_json=as_json):
        before = _head(opened, on)
        made = opened.revert(commit, on, since=since, strategy=strategy, message=message, author=author)
    nothing = f"there is nothing to revert: {on} has none of the changes of {commit}"
    _print(made, on, before, nothing, as_json=as_json)


@reports_errors
def squash(
    branch: BranchArgument,
    since: Annotated[str | None, typer.Option(help="The commit that stays as the parent; by default none.")] = None,
    message: MessageOption = "",
    author: AuthorOption = "",
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace all commits of a branch after another by one commit."""
    with open_named_store(store, catalog) as opened:
        before = _head(opened, branch)
        made = opened.squash(branch, since, message=message, author=author)
    _print(made, branch, before, f"{branch} is one commit already", as_json=as_json)


@contextmanager
def _conflicts_shown(*, as_json: bool) -> Iterator[None]:
    """Print every conflict as a table before the error ends the command."""
    try:
        yield
    except MergeConflictError as error:
        if not as_json:
            rows = [
                (path, *(shown_digest(digest) if digest else "-" for digest in rest)) for path, *rest in error.conflicts
            ]
            print_table(("conflict", "base", "ours", "theirs"), rows)
        raise


def _head(opened: "Store", branch: str) -> str | None:
    try:
        return opened.commit(branch).id
    except RefNotFoundError:  # it has none yet; of a branch that is not there the command tells
        return None


def _print(commit: "Commit", branch: str, before: str | None, nothing: str, *, as_json: bool) -> None:
    """Print the new head of *branch*, which was at *before*, and how to undo it; *nothing* if it stayed there."""
    changed = commit.id != before
    undo = f"versioned reset {branch} {commit.repo}@{before}" if changed and before is not None else None
    if as_json:
        print_json({"commit": commit_json(commit), "changed": changed, "before": before, "undo": undo})
        return
    if not changed:
        echo(f"{nothing}: it stays at {commit.id}")
        return
    print_commit(commit)
    if not commit.stats.added + commit.stats.modified + commit.stats.deleted:
        echo(f"{nothing}, so the commit has the files that were there before")
    say_how_to_undo(undo)
