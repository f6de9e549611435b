"""Which partition keys changed between two commits of a branch, in time proportional to the change."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.catalog.commits import get_commit
from versioned_io.errors import CommitNotFoundError, InvalidInputError
from versioned_io.model.columns import groups_of
from versioned_io.model.commits import Commit, CommitState
from versioned_io.model.identifiers import CommitId
from versioned_io.model.partitions import PartitionTemplate
from versioned_io.processing.expired import Differences, Paths, differences_of, differences_to_expired
from versioned_io.processing.seen_histories import commits_after
from versioned_io.storage.pages.diff import diff
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.snapshots.snapshot import Snapshot

WHOLE_BRANCH = "*"
"""The only partition key where there is no template: the branch as a whole."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes on a branch since a seen commit.

    Attributes:
        head: The branch's newest commit; None while it has none.
        commits: The commits up to *head* that are not in the history of the seen commit, oldest first.
        keys: The partition keys whose files differ from the seen ones, sorted. Each has the newest commit that touched
            one of its files; at that commit all its files are as at *head*. Changes that were undone are not here.
        deleted: Keys whose last file is gone, each with the commit that deleted it.
        unknown: The gaps in this report, because the data of the seen commit has expired; empty without gaps.
    """

    head: Commit | None
    commits: tuple[Commit, ...]
    keys: dict[str, Commit]
    deleted: dict[str, Commit]
    unknown: str = ""


def affected_keys(backend: Backend, old: Commit | None, new: Commit | None, template: PartitionTemplate) -> list[str]:
    """Return the keys of the paths that differ between two commits, sorted; deleted paths count too.

    Raises:
        PartitionKeyError: A changed path can be read as a key in two ways; give the template a ``key``.

    Cost: the pages that differ; no more, whatever the size of the trees.
    """
    return sorted(_distinct(template.keys_of(_changed(backend, old, new).column("path"))))


def keys_at(backend: Backend, commit: Commit, template: PartitionTemplate | None) -> list[str]:
    """Return the keys of the files of a commit, sorted; `WHOLE_BRANCH` without a template, if there is a file.

    Raises:
        PartitionKeyError: A path can be read as a key in two ways; give the template a ``key``.

    Cost: every page of the tree; the root page without a template.
    """
    if template is not None:
        return affected_keys(backend, None, commit, template)
    is_empty = next(Snapshot(backend, commit.repo, commit.id, commit).walk(), None) is None
    return [] if is_empty else [WHOLE_BRANCH]


def find_changes(
    backend: Backend, head: Commit | None, since: CommitId | None, template: PartitionTemplate | None
) -> Changes:
    """Return what changed on a branch between the commit *since* and its *head*.

    Args:
        since: The commit that was seen last; None for the time before the first. It need not be on the branch any more,
            and its data may have expired: see `differences_to_expired`.
        template: The template that maps paths to keys; None for one key, `WHOLE_BRANCH`.

    Raises:
        CommitNotFoundError: *since* is not a commit of this store.
        CatalogOlderError: The catalog is older than the packs, and may lack *since* for that reason.
        InvalidInputError: *since* is of another repo.
        PartitionKeyError: A changed path can be read as a key in two ways; give the template a ``key``.

    Cost: 1 SELECT if nothing changed. Otherwise 5 to 7 SELECTs, and 2 more for each 200 commits between. Also the pages
        that differ, and 1 look-up for each deleted key. A commit between, whose changes later ones replaced, adds the
        pages that it changed. If the pages of *since* were deleted, all pages of the head are read.
    """
    old = _seen(backend, since)
    if old is not None and head is not None and old.repo != head.repo:
        msg = f"commit {old.id} is of repo {old.repo!r}, not of {head.repo!r}: pass one of the same repo"
        raise InvalidInputError(msg)
    if head is None or (old is not None and old.id == head.id):
        return Changes(head, (), {}, {})
    commits = tuple(reversed(list(commits_after(backend, old, head))))
    if template is None:
        same = old is not None and old.tree_digest == head.tree_digest
        whole = {} if same or (old is None and head.readable_root is None) else {WHOLE_BRANCH: head}
        return Changes(head, commits, whole, {})
    found = _differences(backend, old, head, commits)
    written = found.written.column("path")
    touched = _newest_touches(backend, old, commits, found.written, template)
    keys = dict.fromkeys(_distinct(template.keys_of(written)), head)
    deleted: dict[str, Commit] = {}
    for key in _distinct(template.keys_of(found.gone)) - set(keys):
        remains = next(Snapshot(backend, head.repo, head.id, head).glob(template.glob_of(key)), None) is not None
        (keys if remains else deleted)[key] = head
    return Changes(head, commits, _sorted_with(touched, keys), _sorted_with(touched, deleted), found.unknown)


def _differences(backend: Backend, old: Commit | None, head: Commit, commits: Sequence[Commit]) -> Differences:
    """Return in which files *head* differs from *old*, whose data may have expired."""
    if old is None or _is_kept(old):
        return differences_of(backend, head, _changed(backend, old, head))
    left = tuple(reversed(list(commits_after(backend, head, old))))
    before = (*left, *commits)[0].parent if left or commits else None
    with backend.catalog.read() as connection:
        fork = None if before is None else get_commit(connection, before)
    return differences_to_expired(backend, Paths(old, head, left, commits, fork))


def _sorted_with(touched: Mapping[str, Commit], keys: Mapping[str, Commit]) -> dict[str, Commit]:
    """Return *keys*, sorted, each with the commit that touched it, as far as that is known."""
    return {key: touched.get(key, keys[key]) for key in sorted(keys)}


def _seen(backend: Backend, since: CommitId | None) -> Commit | None:
    if since is None:
        return None
    with backend.catalog.read() as connection:
        try:
            return get_commit(connection, since)
        except CommitNotFoundError:
            # Somebody has seen it, so it is a mistake or a sign that the catalog was rolled back.
            backend.catalog.refuse_older(connection)
            raise


def _changed(backend: Backend, old: Commit | None, new: Commit | None) -> pa.Table:
    return diff(
        None if old is None else old.readable_root, None if new is None else new.readable_root, source=backend.pages
    )


def _newest_touches(
    backend: Backend, old: Commit | None, commits: Sequence[Commit], writers: pa.Table, template: PartitionTemplate
) -> dict[str, Commit]:
    """Return the newest of *commits* that added, changed or deleted a file of a key, by key.

    The head's own rows name their authors, and most of the answer comes from there. A commit is compared with its
    parent only if it made other changes: changes that were overwritten, undone or deleted later.

    Args:
        writers: path and commit of the files that differ between *old* and the newest of *commits*.

    Returns: No key at all if the first of *commits* does not follow *old*: then commits are missing. A key is also left
        out if a later commit, whose data has expired, may have touched it.
    """
    if not commits or commits[0].parent != (None if old is None else old.id):
        return {}
    visible = Counter(CommitId(commit.hex()) for commit in writers.column("commit").to_pylist())
    by_commit = {commit.id: commit for commit in commits}
    newest: dict[str, Commit] = {}
    keys = template.keys_of(writers.column("path"))
    pairs = pa.table({"key": keys, "commit": writers.column("commit")}).filter(keys.is_valid())
    for row in groups_of(pairs, ["key", "commit"]).to_pylist():
        # Merged files have authors that are not among the commits; the merge is compared with its parent below.
        writer = by_commit.get(CommitId(row["commit"].hex()))
        if writer is not None:
            _keep_newer(newest, row["key"], writer)
    parent = old
    newest_unknown = 0
    for commit in commits:
        stats = commit.stats
        if not _is_kept(commit) or not _is_kept(parent):
            newest_unknown, parent = commit.number, commit
            continue
        if stats.deleted or stats.added + stats.modified != visible[commit.id]:
            for key in _distinct(template.keys_of(_changed(backend, parent, commit).column("path"))):
                _keep_newer(newest, key, commit)
        parent = commit
    # If retention has expired a commit's data, the keys that it touched are unknown, and it can't be read.
    return {key: commit for key, commit in newest.items() if commit.number >= newest_unknown and _is_kept(commit)}


def _is_kept(commit: Commit | None) -> bool:
    return commit is None or commit.state is not CommitState.FORGOTTEN


def _keep_newer(newest: dict[str, Commit], key: str, commit: Commit) -> None:
    if key not in newest or newest[key].number < commit.number:
        newest[key] = commit


def _distinct(keys: pa.ChunkedArray) -> set[str]:
    return set(pc.unique(keys.drop_null()).to_pylist())
