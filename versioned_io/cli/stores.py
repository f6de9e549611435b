"""Commands about the store and its names: ``init``, ``repo``, ``branch``, ``tag``, ``reset``, ``drop``, ``reflog``."""

from dataclasses import asdict
from typing import Annotated

import typer

from versioned_io.cli.output import commit_json, print_json, print_table, repo_json
from versioned_io.cli.session import (
    CatalogOption,
    JsonOption,
    StoreOption,
    open_named_store,
    reports_errors,
    require_store,
    storage_options,
)

repo_app = typer.Typer(help="Repos: make, list, show.", no_args_is_help=True)
branch_app = typer.Typer(help="Branches: make, list, rename, protect, delete.", no_args_is_help=True)
tag_app = typer.Typer(help="Tags: make, list, delete.", no_args_is_help=True)


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

    with create_store(target, catalog=catalog, storage_options=storage_options()) as created:
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


@branch_app.command("delete")
@reports_errors
def delete_branch(
    branch: Annotated[str, typer.Argument(help="repo@branch")],
    force: Annotated[bool, typer.Option("--force", help="Delete the subscriptions that follow it as well.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a branch away; its commits stay until gc lets go of them."""
    with open_named_store(store, catalog) as opened:
        opened.delete_branch(branch, force=force)
    if as_json:
        print_json({"deleted": branch})
    else:
        typer.echo(f"deleted branch {branch}")


@branch_app.command("rename")
@reports_errors
def rename_branch(
    branch: Annotated[str, typer.Argument(help="repo@branch")],
    to: Annotated[str, typer.Argument(help="The new name, without the repo.")],
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a branch another name; who follows it goes on."""
    with open_named_store(store, catalog) as opened:
        renamed = opened.rename_branch(branch, to)
    if as_json:
        print_json(asdict(renamed))
    else:
        typer.echo(f"{branch} is {renamed.repo}@{renamed.name} now")


@branch_app.command("protect")
@reports_errors
def protect_branch(
    branch: Annotated[str, typer.Argument(help="repo@branch")],
    off: Annotated[bool, typer.Option("--off", help="Lift the protection.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a branch only grow: no delete, rename, reset, squash or drop."""
    with open_named_store(store, catalog) as opened:
        opened.protect_branch(branch, not off)
    if as_json:
        print_json({"branch": branch, "is_protected": not off})
    else:
        typer.echo(f"{branch} is {'not ' if off else ''}protected")


@tag_app.command("list")
@reports_errors
def list_tags(repo: str, store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False) -> None:
    """List the tags of a repo."""
    with open_named_store(store, catalog) as opened:
        tags = opened.tags(repo)
    if as_json:
        print_json({"tags": [{"name": name, "commit": commit} for name, commit in tags.items()]})
    else:
        print_table(("tag", "commit"), list(tags.items()))


@tag_app.command("delete")
@reports_errors
def delete_tag(
    tag: Annotated[str, typer.Argument(help="repo@tag")],
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a tag away; its commit stays while anything else leads to it."""
    with open_named_store(store, catalog) as opened:
        opened.delete_tag(tag)
    if as_json:
        print_json({"deleted": tag})
    else:
        typer.echo(f"deleted tag {tag}")


@reports_errors
def reset(
    branch: Annotated[str, typer.Argument(help="repo@branch")],
    to: Annotated[str, typer.Argument(help="The commit that it will point at: repo@ref or an ID.")],
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a branch point at another commit; reflog says where it was."""
    with open_named_store(store, catalog) as opened:
        opened.reset(branch, to)
        head = opened.commit(branch)
    if as_json:
        print_json({"branch": branch, "commit": commit_json(head)})
    else:
        typer.echo(f"{branch} is {head.id} now")


@reports_errors
def drop(
    branch: Annotated[str, typer.Argument(help="repo@branch")],
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take the newest commit off a branch for good; gc deletes what only it had."""
    with open_named_store(store, catalog) as opened:
        dropped = opened.drop(branch)
    if as_json:
        print_json({"branch": branch, "dropped": commit_json(dropped)})
    else:
        typer.echo(f"dropped {dropped.id} from {branch}")


@reports_errors
def reflog(
    branch: Annotated[str, typer.Argument(help="repo@branch")],
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what happened to a name other than commits, oldest first."""
    with open_named_store(store, catalog) as opened:
        entries = opened.reflog(branch)
    if as_json:
        print_json(
            {"entries": [{"sequence": one.sequence, "at": one.at.isoformat(), **asdict(one.entry)} for one in entries]}
        )
        return
    rows = [
        (one.at.strftime("%Y-%m-%d %H:%M:%S"), one.entry.action.value, one.entry.old or "", one.entry.new or "")
        for one in entries
    ]
    print_table(("time (UTC)", "what", "from", "to"), rows)
