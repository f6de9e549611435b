"""Commands about the store and its names: ``init``, ``repo``, ``branch``, ``tag``, ``reset``, ``drop``, ``reflog``."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from versioned_io.errors.root import counted
from versioned_io.interfaces.cli.near_words import CommandsOnRefs
from versioned_io.interfaces.cli.output import (
    commit_json,
    echo,
    learn_short_ids,
    print_json,
    print_table,
    repo_json,
    say_how_to_undo,
    shown_head,
    shown_id,
)
from versioned_io.interfaces.cli.paging import pages
from versioned_io.interfaces.cli.session import (
    BranchArgument,
    CatalogOption,
    JsonOption,
    StoreOption,
    TagArgument,
    open_named_store,
    reports_errors,
    require_store,
    storage_options,
)

if TYPE_CHECKING:
    from versioned_io.model.journal import JournalEntry

repo_app = typer.Typer(
    cls=CommandsOnRefs, help="Repos: make, list, show, rename, delete, restore.", no_args_is_help=True
)
branch_app = typer.Typer(
    cls=CommandsOnRefs, help="Branches: make, list, rename, protect, delete.", no_args_is_help=True
)
tag_app = typer.Typer(cls=CommandsOnRefs, help="Tags: make, list, delete.", no_args_is_help=True)


@reports_errors
def init(
    location: Annotated[str | None, typer.Argument(help="A directory or a URL; else --store.")] = None,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an empty store."""
    target = location or require_store(store)
    from versioned_io.store.opening import create_store

    with create_store(target, catalog=catalog, storage_options=storage_options()) as created:
        if as_json:
            print_json({"store": created.url})
        else:
            echo(f"made an empty store at {created.url}")


@repo_app.command("create")
@reports_errors
def create_repo(
    name: str,
    description: Annotated[str, typer.Option(help="A description of its files.")] = "",
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
        echo(f"made repo {made.name} with an empty branch main")


@repo_app.command("list")
@reports_errors
def list_repos(store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False) -> None:
    """List the repos and their branches."""
    with open_named_store(store, catalog) as opened:
        repos = opened.repos()
        learn_short_ids(opened, [branch.head for repo in repos for branch in repo.branches])
    if as_json:
        print_json({"repos": [repo_json(repo) for repo in repos]})
        return
    rows = [
        (repo.name, branch.name, str(branch.number), shown_head(branch.head), repo.description)
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
        learn_short_ids(opened, [branch.head for branch in repo.branches])
    if as_json:
        print_json(repo_json(repo))
        return
    echo(f"{repo.name}  {repo.description}".rstrip())
    rows = [(branch.name, str(branch.number), shown_head(branch.head)) for branch in repo.branches]
    print_table(("branch", "commits", "head"), rows)


@repo_app.command("delete", short_help="Delete a repo with its branches and tags.")
@reports_errors
def delete_repo(
    name: str,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also delete protected branches, and the subscriptions that follow its branches."),
    ] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a repo with its branches and tags; its commits stay until gc expires them."""
    with open_named_store(store, catalog) as opened:
        deleted = opened.delete_repo(name, force=force)
    undo = f"versioned repo restore {name}"
    if as_json:
        print_json({"deleted": repo_json(deleted), "undo": undo})
    else:
        echo(f"deleted repo {name} with {counted(len(deleted.branches), 'branch', 'branches')}")
        say_how_to_undo(undo)


@repo_app.command("rename")
@reports_errors
def rename_repo(
    old: str,
    new: str,
    force: Annotated[bool, typer.Option("--force", help="Also rename a repo with protected branches.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rename a repo; its subscriptions follow it."""
    with open_named_store(store, catalog) as opened:
        renamed = opened.rename_repo(old, new, force=force)
    undo = f"versioned repo rename {new} {old}" + (" --force" if force else "")
    if as_json:
        print_json({"renamed": old, "repo": repo_json(renamed), "undo": undo})
    else:
        echo(f"{old} is {renamed.name} now")
        say_how_to_undo(undo)


@repo_app.command("restore")
@reports_errors
def restore_repo(
    name: str, store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False
) -> None:
    """Restore a deleted repo with its branches and tags."""
    with open_named_store(store, catalog) as opened:
        restored = opened.restore_repo(name)
    if as_json:
        print_json(repo_json(restored))
    else:
        echo(f"restored repo {name} with {counted(len(restored.branches), 'branch', 'branches')}")


@branch_app.command("create")
@reports_errors
def create_branch(
    branch: BranchArgument,
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
        echo(f"made branch {made.repo}@{made.name} at {made.head or 'no commit'}")


@branch_app.command("list")
@reports_errors
def list_branches(
    repo: str, store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False
) -> None:
    """List the branches of a repo."""
    with open_named_store(store, catalog) as opened:
        branches = opened.branches(repo)
        learn_short_ids(opened, [branch.head for branch in branches])
    if as_json:
        print_json({"branches": [asdict(branch) for branch in branches]})
        return
    rows = [(branch.name, str(branch.number), shown_head(branch.head)) for branch in branches]
    print_table(("branch", "commits", "head"), rows)


@tag_app.command("create")
@reports_errors
def create_tag(
    tag: TagArgument,
    at: Annotated[str, typer.Option("--at", help="The commit that it names: repo@ref.")],
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a tag, a name of a commit that never moves."""
    with open_named_store(store, catalog) as opened:
        commit = opened.create_tag(tag, at=at)
    if as_json:
        print_json({"tag": tag, "commit": commit_json(commit)})
    else:
        echo(f"{tag} is {commit.id}")


@branch_app.command("delete")
@reports_errors
def delete_branch(
    branch: BranchArgument,
    force: Annotated[bool, typer.Option("--force", help="Delete the subscriptions that follow it as well.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a branch; its commits stay until gc expires them."""
    with open_named_store(store, catalog) as opened:
        head = opened.delete_branch(branch, force=force)
    repo = branch.partition("@")[0]
    undo = None if head is None else f"versioned branch create {branch} --at {repo}@{head}"
    if as_json:
        print_json({"deleted": branch, "head": head, "undo": undo})
    else:
        echo(f"deleted branch {branch}; it was at {head or 'no commit'}")
        say_how_to_undo(undo)


@branch_app.command("rename")
@reports_errors
def rename_branch(
    branch: BranchArgument,
    to: Annotated[str, typer.Argument(help="The new name, without the repo.")],
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rename a branch; its subscriptions follow it."""
    with open_named_store(store, catalog) as opened:
        renamed = opened.rename_branch(branch, to)
    if as_json:
        print_json(asdict(renamed))
    else:
        echo(f"{branch} is {renamed.repo}@{renamed.name} now")


@branch_app.command("protect")
@reports_errors
def protect_branch(
    branch: BranchArgument,
    off: Annotated[bool, typer.Option("--off", help="Lift the protection.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Protect a branch against delete, rename, reset, squash and drop."""
    with open_named_store(store, catalog) as opened:
        opened.protect_branch(branch, not off)
    if as_json:
        print_json({"branch": branch, "is_protected": not off})
    else:
        echo(f"{branch} is {'not ' if off else ''}protected")


@tag_app.command("list")
@reports_errors
def list_tags(repo: str, store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False) -> None:
    """List the tags of a repo."""
    with open_named_store(store, catalog) as opened:
        tags = opened.tags(repo)
        learn_short_ids(opened, tags.values())
    if as_json:
        print_json({"tags": [{"name": name, "commit": commit} for name, commit in tags.items()]})
    else:
        print_table(("tag", "commit"), [(name, shown_id(commit)) for name, commit in tags.items()])


@tag_app.command("delete")
@reports_errors
def delete_tag(
    tag: TagArgument,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a tag; its commit stays while another name leads to it."""
    with open_named_store(store, catalog) as opened:
        commit = opened.delete_tag(tag)
    undo = f"versioned tag create {tag} --at {tag.partition('@')[0]}@{commit}"
    if as_json:
        print_json({"deleted": tag})
    else:
        echo(f"deleted tag {tag}; it was {commit}")
        say_how_to_undo(undo)


@reports_errors
def reset(
    branch: BranchArgument,
    to: Annotated[str, typer.Argument(help="The commit that it will point at: repo@ref or an ID.")],
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a branch point at another commit; reflog shows the old one."""
    with open_named_store(store, catalog) as opened:
        before = opened.reset(branch, to)
        head = opened.commit(branch)
    changed = before != head.id
    undo = f"versioned reset {branch} {branch.partition('@')[0]}@{before}" if before and changed else None
    if as_json:
        print_json({"branch": branch, "commit": commit_json(head), "before": before, "undo": undo})
    elif not changed:
        echo(f"nothing changed: {branch} is {head.id} already")
    else:
        echo(f"{branch} is {head.id} now; it was {before or 'empty'}")
        say_how_to_undo(undo)


@reports_errors
def drop(
    branch: BranchArgument,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove the newest commit of a branch permanently; gc deletes the bytes that only it had."""
    with open_named_store(store, catalog) as opened:
        dropped = opened.drop(branch)
    if as_json:
        print_json({"branch": branch, "dropped": commit_json(dropped), "head": dropped.parent, "undo": None})
    else:
        echo(f"dropped {dropped.id} from {branch}, which is at {dropped.parent or 'no commit'} now")
        echo("this can't be undone: the commit is no longer readable; `versioned reset` is the way that can be undone")


@reports_errors
@pages
def reflog(
    branch: BranchArgument,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the changes of a name other than commits, oldest first."""
    with open_named_store(store, catalog) as opened:
        entries = opened.reflog(branch)
        learn_short_ids(opened, [commit for one in entries for commit in (one.entry.old, one.entry.new)])
    if as_json:
        print_json(
            {"entries": [{"sequence": one.sequence, "at": one.at.isoformat(), **asdict(one.entry)} for one in entries]}
        )
        return
    rows = [(one.at.strftime("%Y-%m-%d %H:%M:%S"), one.entry.action.value, *_shown_move(one.entry)) for one in entries]
    print_table(("time (UTC)", "what", "from", "to"), rows)


def _shown_move(entry: "JournalEntry") -> tuple[str, str]:
    return shown_id(entry.old or ""), shown_id(entry.new or "")
