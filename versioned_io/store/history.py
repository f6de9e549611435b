"""History: logs, differences, what is affected, and who follows it."""

from collections.abc import Iterator
from typing import Literal

import pyarrow as pa

from versioned_io.arguments import parse_optional_count, parse_text
from versioned_io.catalog.subscriptions import ensure_subscription, list_subscriptions
from versioned_io.catalog.values import Commit
from versioned_io.changes import Changes, affected_keys, find_changes
from versioned_io.history import diff_trees, find_renames, walk_history, walk_path_history
from versioned_io.identifiers import parse_commit_id
from versioned_io.partitions import PartitionTemplate
from versioned_io.paths import parse_directory
from versioned_io.refs import (
    parse_branch_ref,
)
from versioned_io.store.resolving import Resolving
from versioned_io.subscriptions import Subscription


class History(Resolving):
    """What happened, and what follows from it."""

    def commit(self, ref: str) -> Commit:
        """Return the commit that *ref* names, or that has the ID *ref*.

        Raises:
            NotFoundError: There is none.

        Cost: 2 to 7 SELECTs.
        """
        return self._commit(ref)

    def log(self, branch: str, *, path: str | None = None, limit: int | None = None) -> Iterator[Commit]:
        """Yield the commits of a history, newest first; with *path*, only those that changed that file or directory.

        Raises:
            NotFoundError: There is no such repo or ref; or, when the first commit is asked for, none ever had *path*.
            InvalidInputError: *limit* is negative, or *path* breaks the path rules.

        Cost: 3 SELECTs for each 200 commits. With the path of a file: 1 look-up for each change of it, if it still
        exists.
        """
        parse_optional_count(limit, "limit")
        head = self._resolve(self._commit_ref(branch))
        if path is None:
            return walk_history(self._backend, head, limit)
        return walk_path_history(self._backend, head, parse_directory(path), limit)

    def diff(self, old: str | None, new: str, *, renames: bool = False) -> pa.Table:
        """Return the files that differ between two commits, sorted by path.

        Args:
            old: What to compare with; None is the empty tree.
            renames: Whether a file that is gone, and is there with the same content under another path, is one change.

        Returns:
            path: string; change: string (``added``, ``modified`` or ``deleted``); old_size, new_size: int64, null
            where there is none; old_digest, new_digest: string of 64 hex digits, null where there is none. With
            *renames* also old_path: string, not null where change is ``renamed``.

        Raises:
            NotFoundError: There is no such repo or ref.

        Cost: the pages that differ, whatever the size of the trees.
        """
        before = None if old is None else self._resolve(self._commit_ref(old))
        differences = diff_trees(self._backend, before, self._resolve(self._commit_ref(new)))
        return find_renames(differences) if renames else differences

    def affected(self, old: str | None, new: str, template: str, *, key: str | None = None) -> list[str]:
        """Return the partition keys whose files differ between two commits, sorted; deleted files count too.

        Args:
            template: Such as ``{year}/{month}.csv``.
            key: How the fields make a key; by default joined with ``-``.

        Raises:
            NotFoundError: There is no such repo or ref.
            InvalidInputError: The template is malformed.
            PartitionKeyError: A changed path can be read as a key in two ways.

        Cost: the pages that differ, whatever the size of the trees.
        """
        parsed = PartitionTemplate.parse(template, key)
        before = None if old is None else self._resolve(self._commit_ref(old))
        return affected_keys(self._backend, before, self._resolve(self._commit_ref(new)), parsed)

    def changes(
        self, branch: str, *, since: str | None, partitions: str | None = None, key: str | None = None
    ) -> Changes:
        """Return what happened on a branch after the commit *since*: for consumers that keep their own cursor.

        Args:
            since: The ID of the commit that was seen last; None for the time before the first.
            partitions: A template such as ``{year}/{month}.csv``; None for the one key ``"*"``.
            key: How the fields make a key; by default joined with ``-``.

        Raises:
            NotFoundError: There is no such branch or commit.
            PartitionKeyError: A changed path can be read as a key in two ways.

        Cost: as `find_changes`.
        """
        template = None if partitions is None else PartitionTemplate.parse(partitions, key)
        seen = None if since is None else parse_commit_id(since)
        return find_changes(self._backend, self._resolve(self._commit_ref(branch)), seen, template)

    def subscription(
        self,
        name: str,
        branch: str,
        *,
        partitions: str | None = None,
        key: str | None = None,
        start: Literal["beginning", "now"] = "beginning",
    ) -> Subscription:
        """Return the durable cursor *name* over a branch, made if it is missing.

        Args:
            start: Where a new one begins; one that exists stays where it is.

        Raises:
            NotFoundError: There is no such branch.
            InvalidInputError: The template is malformed, or the subscription exists with another one.

        Cost: 2 SELECTs and 1 INSERT.
        """
        if partitions is not None:
            PartitionTemplate.parse(partitions, key)
        elif key is not None:
            parse_text(key, "key")
        with self._backend.catalog.write() as connection:
            row = ensure_subscription(
                connection,
                name,
                parse_branch_ref(branch),
                partitions=partitions,
                key_template=key,
                start=start,
                now=self._backend.clock(),
            )
        return Subscription(self._backend, row)

    def subscriptions(self, branch: str, *, prefix: str = "") -> list[Subscription]:
        """Return the subscriptions of a branch whose names begin with *prefix*, sorted by name.

        Raises:
            NotFoundError: There is no such branch.

        Cost: 2 SELECTs.
        """
        parse_text(prefix, "prefix")
        with self._backend.catalog.read() as connection:
            rows = list_subscriptions(connection, parse_branch_ref(branch), prefix=prefix)
        return [Subscription(self._backend, row) for row in rows]
