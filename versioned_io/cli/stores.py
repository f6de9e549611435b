"""Commands about the store and its names: ``init``, ``repo``, ``branch``, ``tag``, ``fsck``."""

from dataclasses import asdict
from typing import Annotated

import typer

from versioned_io.cli.output import commit_json, describe_size, print_json, print_table, repo_json
from versioned_io.cli.session import (
    CatalogOption,
    JsonOption,
    StoreOption,
    open_named_store,
    reports_errors,
    require_store,
)

repo_app = typer.Typer(help="Repos: make, list, show.", no_args_is_help=True)
branch_app = typer.Typer(help="Branches: make, list.", no_args_is_help=True)
tag_app = typer.Typer(help="Tags: names for commits, for ever.", no_args_is_help=True)

_DAMAGED = 6


@reports_errors
def init(
    location: Annotated[str | None, typer.Argument(help="A directory or a URL; else --store.")] = None,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an empty store."""
    target = location or require_store(store)
    from versioned_io.opening import create_store

    with create_store(target, catalog=catalog) as created:
        if as_json:
            print_json({"store": created.url})
        else:
            typer.echo(f"made an empty store at {created.url}")


@repo_app.command("create")
@reports_errors
def create_repo(
    name: str,
    description: Annotated[str, typer.Option(help="What it holds.")] = "",
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a repo with an empty branch main."""
    with open_named_store(store, catalog) as opened:
        made = opened.create_repo(name, description=description)
    if as_json:
        print_json(repo_json(made))
    else:
        typer.echo(f"made repo {made.name} with an empty branch main")


@repo_app.command("list")
@reports_errors
def list_repos(store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False) -> None:
    """List the repos and their branches."""
    with open_named_store(store, catalog) as opened:
        repos = opened.repos()
    if as_json:
        print_json({"repos": [repo_json(repo) for repo in repos]})
        return
    rows = [
        (repo.name, branch.name, str(branch.number), branch.head or "no commit yet", repo.description)
        for repo in repos
        for branch in repo.branches
    ]
    print_table(("repo", "branch", "commits", "head", "description"), rows)


@repo_app.command("show")
@reports_errors
def show_repo(name: str, store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False) -> None:
    """Show one repo and its branches."""
    with open_named_store(store, catalog) as opened:
        repo = opened.repo(name)
    if as_json:
        print_json(repo_json(repo))
        return
    typer.echo(f"{repo.name}  {repo.description}".rstrip())
    rows = [(branch.name, str(branch.number), branch.head or "no commit yet") for branch in repo.branches]
    print_table(("branch", "commits", "head"), rows)


@branch_app.command("create")
@reports_errors
def create_branch(
    branch: Annotated[str, typer.Argument(help="repo@branch")],
    at: Annotated[str, typer.Option("--at", help="The commit that it begins at: repo@ref.")],
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a branch; no data is copied."""
    with open_named_store(store, catalog) as opened:
        made = opened.create_branch(branch, at=at)
    if as_json:
        print_json(asdict(made))
    else:
        typer.echo(f"made branch {made.repo}@{made.name} at {made.head or 'no commit'}")


@branch_app.command("list")
@reports_errors
def list_branches(
    repo: str, store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False
) -> None:
    """List the branches of a repo."""
    with open_named_store(store, catalog) as opened:
        branches = opened.branches(repo)
    if as_json:
        print_json({"branches": [asdict(branch) for branch in branches]})
        return
    rows = [(branch.name, str(branch.number), branch.head or "no commit yet") for branch in branches]
    print_table(("branch", "commits", "head"), rows)


@tag_app.command("create")
@reports_errors
def create_tag(
    tag: Annotated[str, typer.Argument(help="repo@tag")],
    at: Annotated[str, typer.Option("--at", help="The commit that it names: repo@ref.")],
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a commit a name, for ever."""
    with open_named_store(store, catalog) as opened:
        commit = opened.create_tag(tag, at=at)
    if as_json:
        print_json({"tag": tag, "commit": commit_json(commit)})
    else:
        typer.echo(f"{tag} is {commit.id}")


@reports_errors
def fsck(store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False) -> None:
    """Check every byte that branches and tags lead to; exit code 6 when something is damaged."""
    with open_named_store(store, catalog) as opened:
        report = opened.fsck()
    if as_json:
        print_json({**asdict(report), "is_clean": report.is_clean})
    else:
        print_table(("damaged", "where", "found"), [(one.kind, one.where, one.found) for one in report.problems])
        typer.echo(
            f"{len(report.problems)} problems in {report.commits} commits, {report.files} versions of files, "
            f"{describe_size(report.bytes_checked)}"
        )
    if not report.is_clean:
        raise typer.Exit(_DAMAGED)
