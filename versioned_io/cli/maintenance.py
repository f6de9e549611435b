"""Commands that keep a store sound and small: ``fsck``, ``gc``, ``compact``, ``purge``, ``retention``, ``upgrade``."""

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from versioned_io.cli.files import whole_pattern
from versioned_io.cli.output import describe_size, print_json, print_table
from versioned_io.cli.progress import counting
from versioned_io.cli.session import (
    CatalogOption,
    JsonOption,
    StoreOption,
    open_named_store,
    reports_errors,
    require_store,
    storage_options,
)
from versioned_io.errors import InvalidInputError

_DAMAGED = 6
_DAY_S = 86_400


@reports_errors
def fsck(
    repair: Annotated[
        bool, typer.Option("--repair", help="Put right what can be without loss; no name moves.")
    ] = False,
    sources: Annotated[
        bool, typer.Option("--sources", help="Look at the objects elsewhere, too, that files are a reference to.")
    ] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every byte of every pack, and the catalog against the packs; exit code 6 when something is damaged."""
    with open_named_store(store, catalog) as opened, counting(show=not as_json) as shown:
        report = opened.fsck(repair=repair, sources=sources, progress=shown)
    if as_json:
        print_json({**asdict(report), "is_clean": report.is_clean})
    else:
        print_table(("damaged", "where", "found"), [(one.kind, one.where, one.found) for one in report.problems])
        print_table(("repaired",), [(one,) for one in report.repaired])
        typer.echo(
            f"{len(report.problems)} problems in {report.packs} packs, {report.commits} commits, "
            f"{report.files} versions of files, {describe_size(report.bytes_checked)}"
        )
        if sources:
            typer.echo(f"{report.sources} objects elsewhere were looked at")
        if report.orphans:
            typer.echo(
                f"{len(report.orphans)} packs that the catalog does not know, which is no damage; gc takes them away"
            )
        if report.condemned:
            typer.echo(
                f"{len(report.condemned)} packs that commits lead to are condemned, which is no damage; gc or --repair "
                "makes them live again"
            )
    if not report.is_clean:
        raise typer.Exit(_DAMAGED)


@reports_errors
def gc(
    grace_hours: Annotated[float, typer.Option(help="How long packs stay that nothing leads to.")] = 24.0,
    expire_days: Annotated[float, typer.Option(help="How long commits stay that no name leads to.")] = 14.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, and say what would be done.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let go of what no name leads to, and delete what has been dead for long enough."""
    with open_named_store(store, catalog) as opened, counting(show=not as_json) as shown:
        report = opened.gc(
            grace=timedelta(hours=grace_hours),
            expire=timedelta(days=expire_days),
            dry_run=dry_run,
            progress=lambda step: shown(step.stage, step.done),
        )
    if as_json:
        print_json(asdict(report))
        return
    did = "would be " if report.dry_run else ""
    typer.echo(f"{report.forgotten} commits {did}forgotten")
    typer.echo(f"{report.condemned} packs {did}condemned, {describe_size(report.condemned_bytes)}")
    typer.echo(
        f"{report.deleted} packs {did}deleted, {describe_size(report.deleted_bytes)}, {report.orphans} of them "
        f"that nothing ever referred to"
    )
    typer.echo(f"{report.kept} packs kept, {describe_size(report.kept_bytes)}")


@reports_errors
def compact(
    min_live: Annotated[float, typer.Option(help="Rewrite packs with a smaller part alive, from 0 to 1.")] = 0.6,
    max_bytes: Annotated[int | None, typer.Option(help="Read at most so many bytes of packs.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, and say what would be done.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Merge small packs and drop dead bytes; the next gc takes the old packs away."""
    with open_named_store(store, catalog) as opened, counting(show=not as_json) as shown:
        report = opened.compact(min_live=min_live, max_bytes=max_bytes, dry_run=dry_run, progress=shown)
    if as_json:
        print_json(asdict(report))
        return
    did = "would be rewritten" if report.dry_run else "rewritten"
    typer.echo(f"{report.packs} packs {did}, {describe_size(report.packs_bytes)}")
    if not report.dry_run:
        typer.echo(f"{report.new_packs} new packs, {describe_size(report.new_bytes)}, {report.trees} trees moved")


@reports_errors
def purge(
    target: Annotated[str, typer.Argument(help="What leaves history: repo:path; with --glob, repo or repo:directory.")],
    glob: Annotated[
        str | None, typer.Option("--glob", help="The files below it that match, in any commit, such as **/*.csv.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; the journal keeps it.")] = "",
    author: Annotated[str, typer.Option(help="Who; the journal keeps it.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, and say what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a path, or all that matches, from every commit of a repo, and its bytes from the store, for ever."""
    repo, _, path = target.partition(":")
    pattern = None if glob is None else whole_pattern(path.rstrip("/"), glob)
    if as_json and not (dry_run or yes):
        msg = "a purge can't be taken back, and with --json nobody is asked: say --yes, or --dry-run"
        raise InvalidInputError(msg)
    if not (dry_run or yes):
        typer.confirm(
            f"remove {path if pattern is None else pattern!r} from all history of {repo!r}, for ever?", abort=True
        )
    with open_named_store(store, catalog) as opened, counting(show=not as_json) as shown:
        purged, what = (opened.purge, path) if pattern is None else (opened.purge_glob, pattern)
        report = purged(repo, what, reason=reason, author=author, dry_run=dry_run, progress=shown)
    if as_json:
        print_json(asdict(report))
        return
    did = "would leave" if report.dry_run else "left"
    typer.echo(f"{len(report.paths)} files {did} {report.commits} commits, with {len(report.chunks)} contents")
    if pattern is not None:
        print_table((f"{did} history",), [(one,) for one in report.paths])
    print_table(("content that stays", "because this has it too"), list(report.shared.items()))
    print_table(("not the store's to delete: it was referred to where it is",), [(url,) for url in report.elsewhere])
    if not report.dry_run:
        proof = "all packs were looked through: nothing of it is left"
        if not report.gone:
            hint = "other files have some of it, too: purge those as well" if report.shared else "purge it again"
            proof = f"NOT all of it is gone: {hint}"
        typer.echo(f"{report.packs} packs were deleted; {proof}")
        if not report.gone:
            raise typer.Exit(1)


@reports_errors
def retention(
    branch: Annotated[str, typer.Argument(help="repo@branch")],
    keep_last: Annotated[int | None, typer.Option(help="Keep at least so many of the newest commits.")] = None,
    keep_days: Annotated[float | None, typer.Option(help="Keep commits that are younger than so many days.")] = None,
    keep_all: Annotated[bool, typer.Option("--keep-all", help="Lift the rule: keep everything.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how much of a branch's history gc keeps; without options, show it."""
    is_given = keep_last is not None or keep_days is not None
    if keep_all and is_given:
        msg = "--keep-all leaves nothing for --keep-last and --keep-days to say: use one or the other"
        raise InvalidInputError(msg)
    with open_named_store(store, catalog) as opened:
        if keep_all or is_given:
            keep_for = None if keep_days is None else timedelta(days=keep_days)
            opened.set_retention(branch, keep_last=keep_last, keep_for=keep_for)
        rule = opened.retention(branch)
    last = None if rule is None else rule.keep_last
    days = None if rule is None or rule.keep_for_s is None else rule.keep_for_s / _DAY_S
    if as_json:
        print_json({"branch": branch, "keep_last": last, "keep_days": days})
    elif rule is None:
        typer.echo(f"gc keeps all of {branch}")
    else:
        parts = [f"the last {last} commits"] if last is not None else []
        parts += [f"the commits of the last {days:g} days"] if days is not None else []
        typer.echo(f"gc keeps {' and '.join(parts)} of {branch}")


@reports_errors
def rebuild(store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False) -> None:
    """Make a lost catalog again, from the packs alone."""
    location = require_store(store)
    from versioned_io.opening import rebuild_store

    with counting(show=not as_json) as shown:
        report = rebuild_store(
            location, catalog=catalog, storage_options=storage_options(), progress=lambda packs: shown("packs", packs)
        )
    if as_json:
        print_json(asdict(report))
    else:
        typer.echo(
            f"{report.repos} repos, {report.branches} branches, {report.tags} tags, {report.commits} commits from "
            f"{report.packs} packs; {report.unconfirmed} records of commits that no branch took were left out"
        )
        print_table(("damaged",), [(one,) for one in report.damaged])
        print_table(("uncertain",), [(one,) for one in report.uncertain])
        typer.echo("subscriptions are not in the packs: their consumers begin anew")
    if report.damaged:
        raise typer.Exit(_DAMAGED)


@reports_errors
def upgrade(store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False) -> None:
    """Bring the catalog of a store to the revision that this version needs."""
    location = require_store(store)
    from versioned_io.opening import upgrade_store

    before, after = upgrade_store(location, catalog=catalog, storage_options=storage_options())
    if as_json:
        print_json({"store": location, "from": before, "to": after})
    elif before == after:
        typer.echo(f"the catalog of {location} has revision {after} already")
    else:
        typer.echo(f"the catalog of {location} went from revision {before} to {after}")
