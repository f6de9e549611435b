"""Commands that check, collect, back up and restore a store: ``gc`` and ``fsck``, ``rebuild`` and ``adopt``, ..."""

from dataclasses import asdict
from typing import Annotated

import typer

from versioned_io.errors import InvalidInputError
from versioned_io.errors.integrity import WAYS_OUT
from versioned_io.errors.root import counted
from versioned_io.interfaces.cli.files import whole_pattern
from versioned_io.interfaces.cli.output import (
    describe_size,
    echo,
    print_findings,
    print_json,
    print_line,
    print_table,
)
from versioned_io.interfaces.cli.progress import counting
from versioned_io.interfaces.cli.session import (
    BranchArgument,
    CatalogOption,
    DryRunOption,
    JournalAuthorOption,
    JsonOption,
    ReasonOption,
    StoreOption,
    open_named_store,
    reports_errors,
    require_store,
    storage_options,
)
from versioned_io.model.arguments import parse_span

_ADVICE = "; run fsck"
_DAMAGED = 6
_COPIES = "backups and other copies of the packs still have it: make a backup at a new place, then delete those"
_HOUR_S = 3_600
_DAY_S = 86_400


@reports_errors
def fsck(
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair everything that can be repaired without loss; no name moves.")
    ] = False,
    sources: Annotated[
        bool, typer.Option("--sources", help="Also check the objects elsewhere that files refer to.")
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
        print_findings(
            ("damaged", "where", "found"),
            [(one.kind, one.where, one.found.removesuffix(_ADVICE)) for one in report.problems],
        )
        print_findings(("can be healed",), [(one,) for one in report.healable])
        print_findings(("repaired",), [(one,) for one in report.repaired])
        echo(
            f"{counted(len(report.problems), 'problem')} in {counted(report.packs, 'pack')}, "
            f"{counted(report.commits, 'commit')}, {counted(report.files, 'version of a file', 'versions of files')}, "
            f"{describe_size(report.bytes_checked)}"
        )
        if sources:
            echo(f"{counted(report.sources, 'object elsewhere', 'objects elsewhere')} were checked")
        if report.orphans:
            echo(
                f"{counted(len(report.orphans), 'pack')} that the catalog does not know, which is not damage; "
                f"gc deletes those that no commit needs"
            )
        if report.unclear:
            table = [(one,) for one in report.unclear]
            print_table(("unknown to the catalog, which is not damage; gc keeps these",), table)
        if report.leaving:
            print_table(
                ("damaged, and nothing needs it: maintain deletes it after its grace", "found"),
                [(one.where, one.found.removesuffix(_ADVICE)) for one in report.leaving],
            )
        if report.condemned:
            echo(
                f"condemned, and commits refer to them: {counted(len(report.condemned), 'pack')}, which is not damage; "
                "gc or --repair revives them"
            )
    if not report.is_clean:
        raise typer.Exit(_DAMAGED)


@reports_errors
def gc(
    grace_hours: Annotated[float, typer.Option(help="How long packs stay that nothing refers to.")] = 24.0,
    expire_days: Annotated[float, typer.Option(help="How long commits stay that no branch or tag leads to.")] = 14.0,
    dry_run: DryRunOption = False,
    disown: Annotated[
        list[str] | None,
        typer.Option("--disown", help="Drop an ID that gc listed as unclear, such as a dead writer's."),
    ] = None,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Expire commits that no branch or tag leads to, and delete packs that were dead for the grace period."""
    with open_named_store(store, catalog) as opened, counting(show=not as_json) as shown:
        report = opened.gc(
            grace=parse_span(grace_hours, "--grace-hours", unit_s=_HOUR_S),
            expire=parse_span(expire_days, "--expire-days", unit_s=_DAY_S),
            dry_run=dry_run,
            disown=disown or (),
            progress=lambda step: shown(step.stage, step.done),
        )
    if as_json:
        print_json(asdict(report))
        if report.unreadable:
            raise typer.Exit(_DAMAGED)
        return
    did = "would be " if report.dry_run else ""
    echo(f"{counted(report.forgotten, 'commit')} {did}forgotten")
    echo(f"{counted(report.condemned, 'pack')} {did}condemned, {describe_size(report.condemned_bytes)}")
    echo(
        f"{counted(report.deleted, 'pack')} {did}deleted, {describe_size(report.deleted_bytes)}, {report.orphans} of "
        f"them never referenced"
    )
    echo(f"{counted(report.kept, 'pack')} kept, {describe_size(report.kept_bytes)}")
    if report.unreadable:
        print_table(("can't be read in full, so all that may be its is kept",), [(one,) for one in report.unreadable])
        echo(WAYS_OUT)
    if report.unclear:
        print_table(("unclear, so kept with everything below it",), [(one,) for one in report.unclear])
        echo(
            "these are in no catalog: recover --add ID adds a commit; gc --disown ID drops one, such as a dead writer's"
        )
    if report.unreadable:
        raise typer.Exit(_DAMAGED)


@reports_errors
def compact(
    min_live: Annotated[float, typer.Option(help="Rewrite packs with a smaller part alive, from 0 to 1.")] = 0.6,
    max_bytes: Annotated[int | None, typer.Option(help="Read at most this many bytes of packs.")] = None,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Merge small packs and drop dead bytes; the next gc deletes the old packs."""
    with open_named_store(store, catalog) as opened, counting(show=not as_json) as shown:
        report = opened.compact(min_live=min_live, max_bytes=max_bytes, dry_run=dry_run, progress=shown)
    if as_json:
        print_json(asdict(report))
        if report.left:
            raise typer.Exit(_DAMAGED)
        return
    did = "would be rewritten" if report.dry_run else "rewritten"
    echo(f"{counted(report.packs, 'pack')} {did}, {describe_size(report.packs_bytes)}")
    if not report.dry_run:
        new = counted(report.new_packs, "new pack")
        echo(f"{new}, {describe_size(report.new_bytes)}, {counted(report.trees, 'tree')} moved")
    if report.left:
        print_table(("left unchanged: it, or a page referring to it, can't be read",), [(one,) for one in report.left])
        echo(WAYS_OUT)
        raise typer.Exit(_DAMAGED)


@reports_errors
def evict(
    unused_days: Annotated[float, typer.Option("--unused-days", help="Evict results that nothing used for this long.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; count what would be evicted.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evict the kept results of pipelines that nothing has used for a time. Outputs stay; gc frees the bytes."""
    with open_named_store(store, catalog) as opened:
        report = opened.evict_results(parse_span(unused_days, "--unused-days", unit_s=_DAY_S), dry_run=dry_run)
    if as_json:
        print_json(asdict(report))
        return
    did = "would be evicted" if report.dry_run else "evicted"
    runs = f"{counted(report.results, 'result')} of {counted(report.runs, 'run')}"
    echo(f"{runs} {did}; {counted(report.kept_runs, 'run')} kept")


@reports_errors
def purge(
    target: Annotated[str, typer.Argument(help="The path to remove: repo:path; with --glob, repo or repo:directory.")],
    glob: Annotated[
        str | None, typer.Option("--glob", help="The files below it that match, in any commit, such as **/*.csv.")
    ] = None,
    reason: ReasonOption = "",
    author: JournalAuthorOption = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; show the files that would be removed.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a path, or all matches, from every commit of a repo, and its bytes from the store, permanently."""
    repo, _, path = target.partition(":")
    pattern = None if glob is None else whole_pattern(path.rstrip("/"), glob)
    if as_json and not (dry_run or yes):
        msg = "a purge can't be undone, and --json asks no question: pass --yes or --dry-run"
        raise InvalidInputError(msg)
    if not (dry_run or yes):
        typer.confirm(
            f"remove {path if pattern is None else pattern!r} from all history of {repo!r}, permanently?", abort=True
        )
    with open_named_store(store, catalog) as opened, counting(show=not as_json) as shown:
        purged, what = (opened.purge, path) if pattern is None else (opened.purge_glob, pattern)
        report = purged(repo, what, reason=reason, author=author, dry_run=dry_run, progress=shown)
    if as_json:
        print_json(asdict(report))
        return
    did = "would leave" if report.dry_run else "left"
    files, commits = counted(len(report.paths), "file"), counted(report.commits, "commit")
    echo(f"{files} {did} {commits}, with {counted(len(report.chunks), 'content')}")
    if pattern is not None:
        print_table((f"{did} history",), [(one,) for one in report.paths])
    print_findings(("content that stays", "because this has it too"), list(report.shared.items()))
    print_findings(("referenced elsewhere, so not deleted by the store",), [(url,) for url in report.elsewhere])
    if not report.dry_run:
        proof = "all packs were scanned: nothing of it is left"
        if not report.gone:
            hint = "other files have some of it, too: purge those as well" if report.shared else "purge it again"
            if report.unclear:
                hint = f"{', '.join(report.unclear)} may hold it and is in no catalog: see gc --disown, then {hint}"
            proof = f"NOT all of it is gone: {hint}"
        echo(f"deleted {counted(report.packs, 'pack')}; {proof}")
        echo(_COPIES)
        if not report.gone:
            raise typer.Exit(1)


@reports_errors
def redact(
    reason: ReasonOption = "",
    author: JournalAuthorOption = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; list the commits that hold such values.")
    ] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Withhold values that look like secrets from the runs of all commits, and delete the packs that held them."""
    with open_named_store(store, catalog) as opened, counting(show=not as_json) as shown:
        report = opened.redact(reason=reason, author=author, dry_run=dry_run, progress=shown)
    if as_json:
        print_json(asdict(report))
        return
    if report.commits:
        print_table(
            (f"{'holds' if dry_run else 'held'} values that look like secrets",), [(one,) for one in report.commits]
        )
    if dry_run:
        echo(f"{counted(report.packs, 'pack')} would be rewritten and deleted")
        return
    proof = "all packs were scanned: nothing of it is left" if report.gone else "NOT all of it is gone: redact again"
    print_findings(("unclear",), [(one,) for one in report.unclear])
    echo(f"deleted {counted(report.packs, 'pack')}; {proof}")
    echo(_COPIES)
    if not report.gone:
        raise typer.Exit(1)


@reports_errors
def retention(
    branch: BranchArgument,
    keep_last: Annotated[int | None, typer.Option(help="Keep at least this many of the newest commits.")] = None,
    keep_days: Annotated[float | None, typer.Option(help="Keep commits that are younger than this many days.")] = None,
    keep_all: Annotated[bool, typer.Option("--keep-all", help="Lift the rule: keep everything.")] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set how much of a branch's history gc keeps; without options, show it."""
    is_given = keep_last is not None or keep_days is not None
    if keep_all and is_given:
        msg = "--keep-all leaves nothing for --keep-last and --keep-days to say: use one or the other"
        raise InvalidInputError(msg)
    with open_named_store(store, catalog) as opened:
        if keep_all or is_given:
            keep_for = None if keep_days is None else parse_span(keep_days, "--keep-days", unit_s=_DAY_S)
            opened.set_retention(branch, keep_last=keep_last, keep_for=keep_for)
        rule = opened.retention(branch)
    last = None if rule is None else rule.keep_last
    days = None if rule is None or rule.keep_for_s is None else rule.keep_for_s / _DAY_S
    if as_json:
        print_json({"branch": branch, "keep_last": last, "keep_days": days})
    elif rule is None:
        print_line(f"gc keeps all of {branch}")
    else:
        parts = [f"the last {counted(last, 'commit')}"] if last is not None else []
        parts += [f"the commits of the last {days:g} days"] if days is not None else []
        print_line(f"gc keeps {' and '.join(parts)} of {branch}")


@reports_errors
def rebuild(store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False) -> None:
    """Rebuild a lost catalog from the packs alone."""
    location = require_store(store)
    from versioned_io.store.recovering import rebuild_store

    with counting(show=not as_json) as shown:
        report = rebuild_store(
            location, catalog=catalog, storage_options=storage_options(), progress=lambda packs: shown("packs", packs)
        )
    if as_json:
        print_json(asdict(report))
    else:
        echo(
            f"{counted(report.repos, 'repo')}, {counted(report.branches, 'branch', 'branches')}, "
            f"{counted(report.tags, 'tag')}, {counted(report.commits, 'commit')} from {counted(report.packs, 'pack')}; "
            f"left out, since no branch took the commit: {counted(report.unconfirmed, 'record')}"
        )
        print_findings(("damaged",), [(one,) for one in report.damaged])
        print_findings(("uncertain",), [(one,) for one in report.uncertain])
        echo("subscriptions are not in the packs: their consumers begin again")
    if report.damaged:
        raise typer.Exit(_DAMAGED)


@reports_errors
def backup(
    dest: Annotated[str, typer.Argument(help="A directory or bucket, empty or with backups of this store.")],
    init: Annotated[
        bool, typer.Option("--init", help="Start over at a place that held backups of this store and is empty now.")
    ] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the whole store, as it is now, to another place; packs of earlier backups are not copied again."""
    with open_named_store(store, catalog) as opened, counting(show=not as_json) as shown:
        report = opened.backup(dest, storage_options=storage_options(), init=init, progress=shown)
    if as_json:
        print_json(asdict(report))
    else:
        echo(
            f"{'first ' if report.is_first else ''}backup {report.id}: {counted(report.packs, 'pack')}, "
            f"{describe_size(report.packs_bytes)}, of which new: "
            f"{report.copied} ({describe_size(report.copied_bytes)}); {counted(report.rows, 'row')}"
        )
        print_findings(("damaged, and nothing needs it",), [(one,) for one in report.leaving])
        print_findings(("damaged",), [(one,) for one in report.damaged])
    if report.damaged:
        raise typer.Exit(_DAMAGED)


@reports_errors
def restore(
    source: Annotated[str, typer.Argument(help="Where the backups are.")],
    dest: Annotated[str, typer.Argument(help="Where the store is to be; empty.")],
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            help="A backup's ID, or a time for the newest one by then; a date is the end of that day.",
        ),
    ] = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a store from a backup; called again after an interruption, it continues."""
    from versioned_io.store.recovering import restore_store

    options = storage_options()
    with counting(show=not as_json) as shown:
        report = restore_store(
            source, dest, catalog=catalog, at=at, source_options=options, storage_options=options, progress=shown
        )
    if as_json:
        print_json(asdict(report))
    else:
        echo(f"backup {report.id} is restored: {counted(report.packs, 'pack')}, {counted(report.rows, 'row')}")
        print_findings(("damaged",), [(one,) for one in report.damaged])
    if report.damaged:
        raise typer.Exit(_DAMAGED)


@reports_errors
def recover(
    add: Annotated[
        list[str] | None,
        typer.Option("--add", help="Also add this commit, which an earlier run left out; may be repeated."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; show the rows that would be added.")
    ] = False,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add the missing rows to a catalog that is older than the packs, such as one that was restored."""
    location = require_store(store)
    from versioned_io.store.recovering import recover_store

    with counting(show=not as_json) as shown:
        report = recover_store(
            location,
            catalog=catalog,
            storage_options=storage_options(),
            add=add or (),
            dry_run=dry_run,
            progress=lambda packs: shown("packs", packs),
        )
    if as_json:
        print_json(asdict(report))
    else:
        did = "would be " if report.dry_run else ""
        echo(
            f"{counted(report.commits, 'commit')}, "
            f"{counted(report.entries, 'entry of the journal', 'entries of the journal')}, "
            f"{counted(report.repos, 'repo')}, {counted(report.branches, 'branch', 'branches')}, "
            f"{counted(report.tags, 'tag')} and {counted(report.packs, 'pack')} {did}added"
        )
        print_findings((f"{did}moved",), [(one,) for one in report.moved])
        print_findings(("histories that parted",), [(one,) for one in report.parted])
        print_findings(("names that hold the other lines",), [(one,) for one in report.held])
        print_findings(("damaged",), [(one,) for one in report.damaged])
        print_findings(("uncertain",), [(one,) for one in report.uncertain])
        if report.left_out:
            print_table(("left out: nothing shows that these were committed",), [(one,) for one in report.left_out])
            echo("recover --add ID adds one; gc --disown ID drops one, such as a dead writer's")
    if report.damaged:
        raise typer.Exit(_DAMAGED)


@reports_errors
def adopt(store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False) -> None:
    """Make this catalog the owner of the store; any other can only be read from then on."""
    location = require_store(store)
    from versioned_io.store.recovering import adopt_store

    is_new = adopt_store(location, catalog=catalog, storage_options=storage_options())
    if as_json:
        print_json({"store": location, "adopted": is_new})
    elif is_new:
        echo(f"this catalog owns {location} now; any other can only be read")
    else:
        echo(f"this catalog owns {location} already")


@reports_errors
def upgrade(store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False) -> None:
    """Migrate the catalog of a store to the revision that this version needs."""
    location = require_store(store)
    from versioned_io.store.recovering import upgrade_store

    before, after = upgrade_store(location, catalog=catalog, storage_options=storage_options())
    if as_json:
        print_json({"store": location, "from": before, "to": after})
    elif before == after:
        echo(f"the catalog of {location} has revision {after} already")
    else:
        echo(f"the catalog of {location} went from revision {before} to {after}")
