"""Completion of refs in a shell: repos, then branches and tags, then the files and directories below a path."""

import re
from typing import TYPE_CHECKING, Final

import typer

from versioned_io.errors import VersionedError
from versioned_io.interfaces.cli.chosen_store import settings_to_complete

if TYPE_CHECKING:
    from versioned_io.store import Store

_PLAIN: Final = re.compile(r"\w[\w@:/.,+=%~-]*")
"""A text that no shell takes for anything else: a shell puts a candidate into the line as it is, and runs the line."""


def complete_ref(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the refs that begin with *incomplete*: ``repo``, ``repo@ref`` or ``repo@ref:path``.

    The store is that of the line's ``--store``, of the environment, or of the ``versioned.toml`` in the home directory.
    A shell shows no error while it completes, so there are none where the store can't be opened. Names with a space, or
    with another letter that means something to a shell, are left out: writers of a store choose its names.

    Cost: opens the store; 1 to 5 SELECTs, and for a path the pages of its directory.
    """
    try:
        with settings_to_complete(ctx.params.get("store"), ctx.params.get("catalog")).open() as store:
            return [one for one in _refs(store, incomplete) if one.startswith(incomplete) and _PLAIN.fullmatch(one)]
    except (VersionedError, OSError):
        return []


def _refs(store: "Store", incomplete: str) -> list[str]:
    repo, at, rest = incomplete.partition("@")
    if not at:
        return [one.name for one in store.repos()]
    ref, colon, path = rest.partition(":")
    if not colon:
        return [f"{repo}@{name}" for name in [*(one.name for one in store.branches(repo)), *store.tags(repo)]]
    directory, _, _ = path.rpartition("/")
    entries = store.snapshot(f"{repo}@{ref}").list(directory)
    return [f"{repo}@{ref}:{one.path}{'/' if one.is_directory else ''}" for one in entries]
