"""The output of ``put``, ``rm`` and ``merge`` with ``--dry-run``: the changes that would be made."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from versioned_io.errors.root import counted
from versioned_io.interfaces.cli.output import describe_size, print_json, print_line, print_table, shown_digest

if TYPE_CHECKING:
    from versioned_io.model.refs import BranchRef
    from versioned_io.store import Store

_CONFLICT = 4


def show_put(store: "Store", branch: "BranchRef", places: Sequence[tuple[str, str]], *, as_json: bool) -> None:
    """Print the changes that ``put`` of *places*, pairs of a local source and a path, would make."""
    from versioned_io.versioning.transactions.foreseen import foresee_writes

    sources = [(sys.stdin.buffer if source == "-" else Path(source), path) for source, path in places]
    changes = foresee_writes(store.snapshot(str(branch)), sources)
    _show([one._asdict() for one in changes], str(branch), as_json=as_json)


def show_remove(store: "Store", branch: str, paths: Iterable[str], *, as_json: bool) -> None:
    """Print the changes that ``rm`` of *paths* would make."""
    from versioned_io.versioning.transactions.foreseen import foresee_deletes

    snapshot = store.snapshot(branch)
    found = {one.path: one._asdict() for path in paths for one in foresee_deletes(snapshot, path)}
    _show([found[path] for path in sorted(found)], branch, as_json=as_json)


def show_merge(store: "Store", source: str, into: str, *, strategy: str, fast_forward: bool, as_json: bool) -> None:
    """Print the changes and conflicts that a merge would have; exit with 4 if there are conflicts."""
    found = store.foresee_merge(source, into, strategy=strategy, fast_forward=fast_forward)
    changes = found.changes.select(["path", "change", "old_size", "new_size"]).to_pylist()
    if as_json:
        conflicts = [one._asdict() for one in found.conflicts]
        print_json({"dry_run": True, "kind": found.kind, "changes": changes, "conflicts": conflicts})
    else:
        if found.conflicts:
            rows = [(path, *(shown_digest(one) if one else "-" for one in rest)) for path, *rest in found.conflicts]
            print_table(("conflict", "base", "ours", "theirs"), rows)
        how = {"nothing": f"{into} holds {source} already", "fast-forward": f"{into} would only move to {source}"}
        print_line(how.get(found.kind, f"{into} would get a commit"))
        _show(changes, into, as_json=False)
    if found.conflicts:
        raise typer.Exit(_CONFLICT)


def _show(changes: Sequence[Mapping[str, object]], branch: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": True, "changes": changes})
        return
    if changes:
        rows = [
            (str(one["change"]), str(one["path"]), _size(one["old_size"]), _size(one["new_size"])) for one in changes
        ]
        print_table(("would be", "path", "old size", "new size"), rows)
    print_line(f"dry run: {counted(len(changes), 'file')} of {branch} would change, and nothing was changed")


def _size(size: object) -> str:
    return describe_size(size) if isinstance(size, int) else "-"
