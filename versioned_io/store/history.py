"""History: logs, differences, affected partition keys, and subscriptions."""

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from versioned_io.catalog.commits import walk_history
from versioned_io.catalog.repo_rows import find_branch
from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.model.arguments import (
    parse_count,
    parse_duration,
    parse_items,
    parse_name,
    parse_number,
    parse_optional_count,
    parse_text,
)
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import parse_commit_id
from versioned_io.model.partitions import PartitionTemplate
from versioned_io.model.paths import parse_directory
from versioned_io.model.refs import BranchRef, parse_branch_ref
from versioned_io.store.resolving import Resolver
from versioned_io.versioning.backend.backend import Backend

if TYPE_CHECKING:
    import pyarrow as pa

    from versioned_io.formats.changed_tables import DataDiff, TablePlace
    from versioned_io.model.due_states import DueStatus
    from versioned_io.processing.announcing import Relay
    from versioned_io.processing.changes import Changes
    from versioned_io.processing.subscriptions import Subscription
    from versioned_io.processing.watching import BranchWatch
    from versioned_io.versioning.history.finding import FoundFile


_SOME_DIGITS: Final = re.compile("[0-9a-f]{4,64}")


class History:
    """The history of a store's branches."""

    def __init__(self, backend: Backend, resolver: Resolver) -> None:
        self._backend = backend
        self._resolver = resolver

    def commit(self, ref: str) -> Commit:
        """Return the commit that *ref* names, or that has the ID *ref*.

        >>> store.commit("weather@main").message
        'correct February'

        Raises:
            NotFoundError: There is none.

        Cost: 1 SELECT for an ID alone, 3 SELECTs for a branch, 4 for a tag, 7 for ``~n``, 10 for a date. After
            ``repo@``, an ID needs 5 and a lineage ID 6. It is 1 more where a branch has moved since this
            handle saw it last.
        """
        return self._resolver.commit(ref)

    def log(self, branch: str, *, path: str | None = None, limit: int | None = None) -> Iterator[Commit]:
        """Yield the commits of a history, newest first; with *path*, only those that changed that file or directory.

        >>> [commit.message for commit in store.log("weather@main")]
        ['correct February', 'first load']
        >>> [commit.number for commit in store.log("weather@main", path="2012/01.csv")]
        [1]

        Raises:
            NotFoundError: There is no such repo or ref. The first `next` raises it when no commit ever had *path*.
            InvalidInputError: *limit* is negative, or *path* breaks the path rules.

        Cost: as `commit`, and 2 SELECTs for each 200 commits. With the path of a file: 1 look-up more for each change
            of it, if it still exists. With that of a directory: 4 SELECTs for each 1,000 commits, and the pages of
            those that changed it.
        """
        parse_optional_count(limit, "limit")
        head = self._resolver.resolve(self._resolver.parse_commit(branch))
        if path is None:
            return walk_history(self._backend.catalog, head, limit)
        from versioned_io.versioning.history.log import walk_path_history

        return walk_path_history(self._backend, head, parse_directory(path), limit)

    def find(self, ref: str, *, glob: str | None = None, digest: str | None = None) -> "Iterator[FoundFile]":
        """Yield the changes of matching files in a whole history, newest commit first, and by path in each commit.

        >>> [(one.commit.number, one.change) for one in store.find("weather@main", glob="**/02.csv")]
        [(2, 'modified'), (1, 'added')]

        Args:
            ref: The newest commit to look at.
            glob: Only these paths, such as ``**/*.csv``; by default all.
            digest: Only contents whose digest begins with these 4 to 64 hex digits, also where they were replaced.

        Raises:
            NotFoundError: The repo or the ref does not exist.
            InvalidInputError: *glob* or *digest* is malformed.

        Cost: as `log`, and for each commit 1 GET for each page in which it differs from its parent. A history whose
            commits change little is read fast, whatever the size of its trees.
        """
        from versioned_io.versioning.history.finding import find_files
        from versioned_io.versioning.snapshots.glob import parse_glob

        if digest is not None and (not isinstance(digest, str) or _SOME_DIGITS.fullmatch(digest) is None):
            msg = f"{quoted(digest)} is not the beginning of a content digest: it must be 4 to 64 lower-case hex digits"
            raise InvalidInputError(msg)
        pattern = None if glob is None else parse_glob(glob)
        return find_files(self._backend, self._resolver.resolve(self._resolver.parse_commit(ref)), pattern, digest)

    def short_ids(self, commit_ids: Sequence[str]) -> dict[str, str]:
        """Return for each commit ID its shortest beginning that names no other commit of the store.

        Such a beginning has 12 digits or more. ``repo@`` and the beginning are a ref; see `commit`.

        >>> head = store.commit("weather@main")
        >>> short = store.short_ids([head.id])[head.id]
        >>> store.commit(f"weather@{short}") == head
        True

        Raises:
            InvalidInputError: One of them is not a commit's ID.

        Cost: 1 SELECT for each 500 IDs.
        """
        from versioned_io.catalog.overview import abbreviate

        whole = [parse_commit_id(one) for one in parse_items(commit_ids, str, "commit_ids")]
        with self._backend.catalog.ask() as connection:
            return abbreviate(connection, whole)

    def diff(self, old: str | None, new: str, *, renames: bool = False) -> "pa.Table":
        """Return the files that differ between two commits, sorted by path.

        >>> store.diff("weather@main~1", "weather@main").select(["path", "change"]).to_pylist()
        [{'path': '2012/02.csv', 'change': 'modified'}]

        Args:
            old: The commit to compare with; None is the empty tree.
            renames: Whether a deleted file and an added one with the same content are one change.

        Returns:
            Columns. path: string. change: string, ``added``, ``modified`` or ``deleted``. old_size, new_size: int64.
            old_digest, new_digest: string of 64 hex digits. Sizes and digests of a missing side are null. With
            *renames* also old_path: string, not null where change is ``renamed``.

        Raises:
            NotFoundError: The repo or the ref does not exist.

        Cost: as `commit` for both, and 1 GET for each page that differs on either side, whatever the size of the
            trees.
        """
        from versioned_io.versioning.history.log import diff_trees, find_renames

        before = None if old is None else self._resolver.resolve(self._resolver.parse_commit(old))
        differences = diff_trees(self._backend, before, self._resolver.resolve(self._resolver.parse_commit(new)))
        return find_renames(differences) if renames else differences

    def diff_data(self, old: str | None, new: str, *, key: Sequence[str] = (), limit: int = 20) -> "DataDiff":
        """Return how the rows and columns of tables differ: Parquet, Arrow, and CSV, whose cells are text.

        >>> found = store.diff_data("weather@main~1:2012/02.csv", "weather@main:2012/02.csv", key=["date"])
        >>> [(table.path, table.rows_added, table.rows_changed) for table in found.tables]
        [('2012/02.csv', 0, 1)]

        Args:
            old, new: Two commits, or two files such as ``weather@main:2012/01.csv``. With two directories, only the
                files below *new*'s are compared, which must have the same path in both. None is the empty tree.
            key: The columns that say which rows are the same. By default whole rows are compared, whatever their order.
            limit: The most rows of each kind to return with their cells; all are counted.

        Raises:
            NotFoundError: The repo, the ref or the file does not exist.
            InvalidInputError: A file is not what its extension says, a column of the key is missing, or a key occurs
                twice. For a table that differs, its iterator raises it.

        Cost: as `diff`, and the bytes of each changed table on both sides, once. As text they are written to temporary
            files. Memory for a batch of rows and a few times 32 MiB, whatever the size of the tables.
        """
        from versioned_io.formats.changed_tables import diff_changed, diff_two

        parse_count(limit, "limit")
        columns = parse_items(key, str, "key")
        before = None if old is None else self._unnoted(old)
        after = self._unnoted(new)
        if before is not None and after.path and not after.snapshot.is_directory(after.path):
            return diff_two(before, after, key=columns, limit=limit)
        if before is not None and before.path != after.path:
            msg = f"{old!r} and {new!r} are different directories: name two files, or the same directory in both"
            raise InvalidInputError(msg)
        return diff_changed(self._backend, before, after, key=columns, limit=limit)

    def _unnoted(self, ref: str) -> "TablePlace":
        """Return the place that *ref* names. No run counts what is read there as its input."""
        from versioned_io.formats.changed_tables import TablePlace

        parsed = self._resolver.parse(ref)
        return TablePlace(self._resolver.snapshot(parsed, is_noted=False), parsed.path)

    def affected(self, old: str | None, new: str, template: str, *, key: str | None = None) -> list[str]:
        """Return the partition keys whose files differ between two commits, sorted; deleted files count too.

        >>> store.affected("weather@main~1", "weather@main", "{year}/{month}.csv")
        ['2012-02']

        Args:
            template: Such as ``{year}/{month}.csv``.
            key: How the fields make a key; by default joined with ``-``.

        Raises:
            NotFoundError: The repo or the ref does not exist.
            InvalidInputError: The template is malformed.
            PartitionKeyError: A changed path can be read as a key in two ways.

        Cost: as `diff`.
        """
        from versioned_io.processing.changes import affected_keys

        parsed = PartitionTemplate.parse(template, key)
        before = None if old is None else self._resolver.resolve(self._resolver.parse_commit(old))
        return affected_keys(self._backend, before, self._resolver.resolve(self._resolver.parse_commit(new)), parsed)

    def changes(
        self, branch: str, *, since: str | None, partitions: str | None = None, key: str | None = None
    ) -> "Changes":
        """Return the changes of a branch after the commit *since*, for consumers that keep their own cursor.

        >>> first = store.commit("weather@main~1")
        >>> [commit.number for commit in store.changes("weather@main", since=first.id).commits]
        [2]

        Args:
            since: The ID of the commit that was seen last; None to begin before the first commit. If its data has
                expired, ``unknown`` of the result names the gaps. No changed file that the branch has is left
                out.
            partitions: A template such as ``{year}/{month}.csv``; None for the one key ``"*"``.
            key: How the fields make a key; by default joined with ``-``.

        Raises:
            NotFoundError: The branch or the commit does not exist.
            PartitionKeyError: A changed path can be read as a key in two ways.

        Cost: as `commit`, and 1 SELECT when nothing happened; else as `find_changes`.
        """
        from versioned_io.processing.changes import find_changes

        template = None if partitions is None else PartitionTemplate.parse(partitions, key)
        seen = None if since is None else parse_commit_id(since)
        return find_changes(self._backend, self._resolver.resolve(self._resolver.parse_commit(branch)), seen, template)

    def hold_cursor(self, name: str, commit: Commit | str, *, hold_for: timedelta) -> None:
        """Keep the commit of a cursor outside of the store from expiring, for a time.

        It takes the place of the commit that was held under this name. While the commit is the head of a branch, each
        collection of garbage restarts its time. A held commit can be dropped: only a subscription refuses that.

        >>> from datetime import timedelta
        >>> store.hold_cursor("my consumer", store.commit("weather@main"), hold_for=timedelta(days=30))

        Args:
            commit: ``repo@ref`` or a commit's ID.
            hold_for: How long, at most a hundred years. Afterwards the commit may expire by retention; `changes` then
                tells the rest.

        Raises:
            NotFoundError: The repo, the ref or the commit does not exist. `log` lists commits.
            InvalidInputError: *name* is empty or has more than 250 characters, or *hold_for* is negative.

        Cost: as `commit`, and 1 SQL transaction of 2 statements.
        """
        from versioned_io.catalog.held_cursors import hold_cursor
        from versioned_io.processing.subscriptions import catalog_now

        span = parse_duration(hold_for, "hold_for")
        parse_text(name, "name of a cursor")
        held = self._resolver.commit(commit.id if isinstance(commit, Commit) else commit)
        with self._backend.catalog.write() as connection:
            hold_cursor(connection, name, held.id, span, catalog_now(self._backend, connection))

    def subscription(
        self,
        name: str,
        branch: str,
        *,
        partitions: str | None = None,
        key: str | None = None,
        start: Literal["beginning", "now"] = "beginning",
    ) -> "Subscription":
        """Return the durable cursor *name* over a branch, created if it is missing.

        >>> retrain = store.subscription("retrain", "weather@main", partitions="{year}/{month}.csv")
        >>> retrain.collect()
        2
        >>> [due.key for due in retrain.due()]
        ['2012-01', '2012-02']

        Args:
            start: Where a new one begins; one that exists stays where it is.

        Raises:
            NotFoundError: The branch does not exist.
            InvalidInputError: The template is malformed, or the subscription exists with another one.

        Cost: 2 SELECTs; the first time also 1 SQL transaction of 7 statements.
        """
        from versioned_io.processing.subscriptions import open_subscription

        if partitions is not None:
            PartitionTemplate.parse(partitions, key)
        elif key is not None:
            parse_text(key, "key")
        return open_subscription(
            self._backend, name, parse_branch_ref(branch), partitions=partitions, key=key, start=start
        )

    def relay(self, name: str, branch: str, *, partitions: str | None = None, key: str | None = None) -> "Relay":
        """Return the relay that announces the due keys of a branch to the consumers of the deployment *name*.

        Args:
            name: The orchestrator's deployment; another one that shares the store has another name.
            partitions: The template that makes keys of paths; None for the branch as a whole.
            key: How the fields make a key; by default joined with ``-``.

        Raises:
            NotFoundError: The branch does not exist.
            InvalidInputError: The template is malformed, or *name* is empty.

        Cost: 1 SELECT.

        >>> relay = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv")
        >>> check = relay.subscribe("check")
        >>> check.collect()
        2
        >>> [due.key for due in check.unannounced(redeliver_after_s=300)]
        ['2012-01', '2012-02']
        """
        from versioned_io.processing.announcing import Relay

        if partitions is not None:
            PartitionTemplate.parse(partitions, key)
        elif key is not None:
            parse_text(key, "key")
        parse_name(name, "name of a relay")
        return Relay(self._backend, name, self._existing_branch(branch), partitions=partitions, key=key)

    def watch(self, branch: str, *, relay: str, redeliver_after_s: float, most_keys: int = 100) -> "BranchWatch":
        """Return a watch of a branch: each look at it names the subscriptions and keys that wait for a wake-up.

        Args:
            redeliver_after_s: Seconds after which a key that nobody claimed waits again.
            most_keys: At most this many keys of each subscription are named.

        Raises:
            NotFoundError: The branch does not exist.
            InvalidInputError: A number is negative, or *relay* is empty.

        Cost: 1 SELECT; see `BranchWatch.look` for each look.

        >>> _ = store.relay("airflow", "weather@main", partitions="{year}/{month}.csv").subscribe("check")
        >>> watch = store.watch("weather@main", relay="airflow", redeliver_after_s=300)
        >>> watch.look().waiting
        frozenset({('airflow:check:{year}/{month}.csv',)})
        """
        from versioned_io.processing.watching import BranchWatch

        return BranchWatch(
            self._backend,
            self._existing_branch(branch),
            parse_name(relay, "name of a relay"),
            redeliver_after_s=parse_number(redeliver_after_s, "redeliver_after_s"),
            most_keys=parse_count(most_keys, "most_keys"),
        )

    def subscriptions(self, branch: str, *, prefix: str = "") -> "list[Subscription]":
        """Return the subscriptions of a branch whose names begin with *prefix*, sorted by name.

        >>> _ = store.subscription("retrain", "weather@main")
        >>> [one.name for one in store.subscriptions("weather@main")]
        ['retrain']

        Raises:
            NotFoundError: The branch does not exist.

        Cost: 2 SELECTs.
        """
        from versioned_io.catalog.subscriptions import list_subscriptions
        from versioned_io.processing.subscriptions import Subscription

        parse_text(prefix, "prefix")
        with self._backend.catalog.read() as connection:
            rows = list_subscriptions(connection, parse_branch_ref(branch), prefix=prefix)
        return [Subscription(self._backend, row) for row in rows]

    def due(self, branch: str | None = None, *, key: str | None = None, limit: int | None = None) -> "list[DueStatus]":
        """Return every subscription with the keys that are due, what became of them, and why no more runs.

        >>> retrain = store.subscription("retrain", "weather@main", partitions="{year}/{month}.csv")
        >>> _ = retrain.collect()
        >>> _ = retrain.claim("2012-02", owner="worker-1")
        >>> (status,) = store.due("weather@main")
        >>> [(one.due.key, one.state.value) for one in status.keys]
        [('2012-01', 'waiting'), ('2012-02', 'claimed')]
        >>> status.why
        '1 key due, and no owner has claimed it; 1 key claimed by worker-1'

        Args:
            branch: By default every branch of the store.
            key: Only the newest request for this key, due or done; a subscription without one has no keys.
            limit: At most this many keys of each subscription; *why* counts only these.

        Returns:
            Sorted by branch, then by name. Subscriptions that the branch of a deleted repo had are left out.

        Raises:
            NotFoundError: The branch does not exist.

        Cost: 1 SELECT, and 2 for each subscription; 1 more to check *branch*.
        """
        from versioned_io.catalog.waiting import list_statuses

        ref = None if branch is None else self._existing_branch(branch)
        wanted = None if key is None else parse_text(key, "key")
        most = parse_optional_count(limit, "limit")
        with self._backend.catalog.ask() as connection:
            return list_statuses(connection, self._backend.clock(), branch=ref, key=wanted, limit=most)

    def _existing_branch(self, branch: str) -> BranchRef:
        ref = parse_branch_ref(branch)
        with self._backend.catalog.ask() as connection:
            find_branch(connection, ref)
        return ref
