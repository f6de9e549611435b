"""Which partition keys changed between two commits of a branch, in time proportional to the change."""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.backend import Backend
from versioned_io.catalog.commits import get_commit, get_commits, history_batch
from versioned_io.catalog.values import Commit
from versioned_io.errors import InvalidInputError
from versioned_io.identifiers import CommitId
from versioned_io.pages.diff import diff
from versioned_io.pages.read import lookup_many
from versioned_io.partitions import PartitionTemplate
from versioned_io.snapshots.snapshot import Snapshot

WHOLE_BRANCH = "*"
"""The only partition key where there is no template: the branch as a whole."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened on a branch after a commit that somebody had seen.

    Attributes:
        head: The branch's newest commit; None while it has none.
        commits: The commits after the one that was seen, up to *head*, oldest first.
        keys: The partition keys whose files differ from those that were seen, each with a commit that has them as
            *head* has: the newest that wrote one of them, or *head* itself where a file was deleted after that. What
            was changed and changed back is not here. Sorted by key.
        deleted: Keys whose last file is gone, each with *head*.
    """

    head: Commit | None
    commits: tuple[Commit, ...]
    keys: dict[str, Commit]
    deleted: dict[str, Commit]


def affected_keys(backend: Backend, old: Commit | None, new: Commit | None, template: PartitionTemplate) -> list[str]:
    """Return the keys of the paths that differ between two commits, sorted; deleted paths count too.

    Raises:
        PartitionKeyError: A changed path can be read as a key in two ways; give the template a ``key``.

    Cost: the pages that differ; no more, whatever the size of the trees.
    """
    return sorted(_distinct(template.keys_of(_changed(backend, old, new).column("path"))))


def find_changes(
    backend: Backend, head: Commit | None, since: CommitId | None, template: PartitionTemplate | None
) -> Changes:
    """Return what changed on a branch between the commit *since* and its *head*.

    Args:
        since: The commit that was seen last; None for the time before the first. It need not be on the branch any more.
        template: What makes keys of paths; None for one key, `WHOLE_BRANCH`.

    Raises:
        CommitNotFoundError: *since* is no commit of this store.
        InvalidInputError: *since* is of another repo.
        PartitionKeyError: A changed path can be read as a key in two ways; give the template a ``key``.

    Cost: 3 SELECTs for each 200 commits between, the pages that differ, and 1 look-up for each deleted key; where
        commits deleted files, another diff for each commit before the last of those that is in the result.
    """
    old = _seen(backend, since)
    if old is not None and head is not None and old.repo != head.repo:
        msg = f"commit {old.id} is of repo {old.repo!r}, not of {head.repo!r}: pass one of the same repo"
        raise InvalidInputError(msg)
    if head is None or (old is not None and old.id == head.id):
        return Changes(head, (), {}, {})
    commits = tuple(reversed(list(_commits_after(backend, old, head))))
    if template is None:
        same = old is not None and old.tree_digest == head.tree_digest
        whole = {} if same or (old is None and head.root is None) else {WHOLE_BRANCH: head}
        return Changes(head, commits, whole, {})
    changed = _changed(backend, old, head)
    written = changed.filter(pc.not_equal(changed.column("change"), "deleted"))
    keys = _newest_writers(backend, head, written.column("path"), template)
    keys |= dict.fromkeys(_lost_files_since(backend, keys, commits, template), head)
    gone = changed.filter(pc.equal(changed.column("change"), "deleted")).column("path")
    deleted: dict[str, Commit] = {}
    for key in sorted(_distinct(template.keys_of(gone)) - set(keys)):
        remains = next(Snapshot(backend, head.repo, head.id, head).glob(template.glob_of(key)), None) is not None
        (keys if remains else deleted)[key] = head
    return Changes(head, commits, dict(sorted(keys.items())), deleted)


def _seen(backend: Backend, since: CommitId | None) -> Commit | None:
    if since is None:
        return None
    with backend.catalog.read() as connection:
        return get_commit(connection, since)


def _commits_after(backend: Backend, old: Commit | None, head: Commit) -> Iterable[Commit]:
    """Yield the commits of the history of *head* that are not in that of *old*, newest first."""
    newest: CommitId | None = head.id
    while newest is not None:
        with backend.catalog.read() as connection:
            batch = history_batch(connection, newest)
        for commit in batch:
            if old is not None and (commit.id == old.id or commit.number <= old.number):
                return
            yield commit
        newest = batch[-1].parent


def _changed(backend: Backend, old: Commit | None, new: Commit | None) -> pa.Table:
    return diff(None if old is None else old.root, None if new is None else new.root, source=backend.pages)


def _newest_writers(
    backend: Backend, head: Commit, paths: pa.ChunkedArray, template: PartitionTemplate
) -> dict[str, Commit]:
    """Return each key of *paths* with the newest of the commits that wrote one of them."""
    keys = template.keys_of(paths)
    matching = keys.is_valid()
    wanted = paths.filter(matching)
    if len(wanted) == 0:
        return {}
    rows = lookup_many(head.root, wanted.to_pylist(), source=backend.pages)
    pairs = (
        pa.table({"key": keys.filter(matching), "commit": rows.column("commit")})
        .group_by(["key", "commit"])
        .aggregate([])
    )
    writers = {CommitId(commit.hex()) for commit in pc.unique(pairs.column("commit")).to_pylist()}
    with backend.catalog.read() as connection:
        commits = get_commits(connection, sorted(writers))
    newest: dict[str, Commit] = {}
    for key, writer in zip(pairs.column("key").to_pylist(), pairs.column("commit").to_pylist(), strict=True):
        commit = commits[CommitId(writer.hex())]
        if key not in newest or newest[key].number < commit.number:
            newest[key] = commit
    return newest


def _lost_files_since(
    backend: Backend, keys: dict[str, Commit], commits: tuple[Commit, ...], template: PartitionTemplate
) -> set[str]:
    """Return those *keys* that a later commit than the one beside them deleted a file of.

    As of that earlier commit they still have the file, so whoever processed them as of it would process too much.
    """
    last_deletion = max((commit.number for commit in commits if commit.stats.deleted), default=0)
    head = commits[-1] if commits else None
    lost: set[str] = set()
    for writer in {commit.id: commit for commit in keys.values() if commit.number < last_deletion}.values():
        later = _distinct(template.keys_of(_changed(backend, writer, head).column("path")))
        lost |= {key for key in later if key in keys and keys[key].id == writer.id}
    return lost


def _distinct(keys: pa.ChunkedArray) -> set[str]:
    return set(pc.unique(keys.drop_null()).to_pylist())
