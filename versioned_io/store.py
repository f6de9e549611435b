"""The front door: one open store, and every call on it. It delegates and decides nothing."""

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

import pyarrow as pa

from versioned_io.backend import Backend
from versioned_io.catalog import repos as repo_catalog
from versioned_io.catalog.commits import commits_of_lineage, get_commit, get_commits, resolve_ref
from versioned_io.catalog.due_keys import DueKey
from versioned_io.catalog.subscriptions import ensure_subscription, list_subscriptions
from versioned_io.catalog.values import BranchInfo, Commit, JSONValue, RepoInfo, parse_text
from versioned_io.changes import Changes, affected_keys, find_changes
from versioned_io.errors import (
    CommitNotFoundError,
    ExistsError,
    InvalidInputError,
    LineageNotFoundError,
    RefSyntaxError,
)
from versioned_io.fsck import FsckReport, check_store
from versioned_io.history import diff_trees, walk_history, walk_path_history
from versioned_io.identifiers import CommitId, is_id, parse_commit_id, parse_lineage_id
from versioned_io.lineage import LineageGraph, find_downstream, find_upstream
from versioned_io.partitions import PartitionTemplate
from versioned_io.paths import parse_directory
from versioned_io.refs import (
    BranchRef,
    Ref,
    parse_branch_ref,
    parse_commit_ref,
    parse_new_name,
    parse_ref,
    parse_repo_name,
)
from versioned_io.runs import Run, build_run_info
from versioned_io.snapshots.snapshot import Snapshot
from versioned_io.subscriptions import Subscription
from versioned_io.transactions.publish import Empty, build_facts, parse_empty
from versioned_io.transactions.transaction import Transaction


class Store:
    """Versioned repos over one object store and one catalog. Thread-safe; made by `open_store` and `create_store`."""

    def __init__(self, url: str, backend: Backend) -> None:
        self._url = url
        self._backend = backend

    def __repr__(self) -> str:
        return f"Store({self._url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the store is."""
        return self._url

    def close(self) -> None:
        """Close the connections to the catalog; the store can't be used afterwards."""
        self._backend.catalog.close()

    # Repos, branches, tags

    def create_repo(self, name: str, *, description: str = "", exist_ok: bool = False) -> RepoInfo:
        """Make a repo with an empty branch `main`.

        Args:
            exist_ok: Return the repo as it is when there is one of this name already.

        Raises:
            RefSyntaxError: *name* is no repo name.
            ExistsError: There is one of this name.

        Cost: 1 SELECT, 2 INSERTs.
        """
        parse_repo_name(name)
        parse_text(description, "description")
        if exist_ok and (found := self._repos(name)):
            return found[0]
        try:
            with self._backend.catalog.write() as connection:
                repo_catalog.insert_repo(connection, name, description, self._backend.clock())
        except ExistsError:
            if not exist_ok:
                raise
        return self.repo(name)

    def repo(self, name: str) -> RepoInfo:
        """Return one repo with its branches.

        Raises:
            RepoNotFoundError: There is none of this name.

        Cost: 1 SELECT.
        """
        found = self._repos(parse_repo_name(name))
        if not found:
            with self._backend.catalog.read() as connection:
                repo_catalog.find_repo_id(connection, name)
        return found[0]

    def repos(self) -> list[RepoInfo]:
        """Return every repo with its branches, sorted by name.

        Cost: 1 SELECT.
        """
        return self._repos(None)

    def branches(self, repo: str) -> list[BranchInfo]:
        """Return the branches of a repo, sorted by name.

        Raises:
            RepoNotFoundError: There is no such repo.

        Cost: 1 SELECT.
        """
        return list(self.repo(repo).branches)

    def create_branch(self, branch: str, *, at: str) -> BranchInfo:
        """Make the branch ``repo@branch`` point at the commit that *at* names; no data is copied.

        Raises:
            ExistsError: There is a branch or a tag of this name.
            NotFoundError: There is no such repo, or nothing at *at*.
            RefSyntaxError: It is no branch name, or *at* is of another repo.

        Cost: about 6 SELECTs, 1 INSERT.
        """
        ref, commit = self._new_name(branch, at)
        with self._backend.catalog.write() as connection:
            repo_catalog.insert_branch(connection, ref, None if commit is None else commit.id)
        return BranchInfo(
            ref.repo, ref.branch, None if commit is None else commit.id, 0 if commit is None else commit.number
        )

    def create_tag(self, tag: str, *, at: str) -> Commit:
        """Give the commit that *at* names the name ``repo@tag``, for ever.

        Raises:
            ExistsError: There is a branch or a tag of this name.
            NotFoundError: There is no such repo, or no commit at *at*.
            RefSyntaxError: It is no tag name, or *at* is of another repo.

        Cost: about 6 SELECTs, 1 INSERT.
        """
        ref, _ = self._new_name(tag, at)
        commit = self.commit(at)
        with self._backend.catalog.write() as connection:
            repo_catalog.insert_tag(connection, ref, commit.id, self._backend.clock())
        return commit

    # Files

    def transaction(
        self,
        branch: str,
        *,
        message: str = "",
        author: str = "",
        metadata: Mapping[str, JSONValue] | None = None,
        lineage_id: str | None = None,
        provenance: Sequence[str] = (),
        outputs: Mapping[str, str] | None = None,
        empty: Empty | Literal["skip", "allow", "refuse"] = Empty.SKIP,
        completes: Sequence[DueKey] = (),
    ) -> Transaction:
        """Begin staged changes to the branch ``repo@branch``, which the end of the ``with`` block commits, all or none.

        Args:
            metadata: JSON values to keep with the commits.
            lineage_id: What the commits carry; by default what the active run says, or a new one.
            provenance: IDs of commits that the new ones are made from, beside those that were read in the run.
            outputs: Name → path of the outputs that this transaction stores, where the run noted reads by name
                (`Run.making`). What was read for other names is then left out.
            empty: What to do when nothing changed in the end.
            completes: Claimed partition keys that are done by this work: marked in the same instant, or not at all.

        Raises:
            RepoNotFoundError, RefNotFoundError: There is no such branch; make it first.
            CommitNotFoundError: A commit of *provenance* does not exist.
            RefSyntaxError, InvalidInputError: An argument is malformed.

        Cost: 2 SELECTs; see `Transaction.finish` for the commit.
        """
        facts = build_facts(
            message=message,
            author=author,
            metadata=metadata,
            lineage_id=lineage_id,
            provenance=provenance,
            outputs=outputs,
        )
        self._check_commits(facts.provenance)
        return Transaction(
            self._backend,
            parse_branch_ref(branch),
            facts=facts,
            empty=parse_empty(empty),
            completes=tuple(completes),
            resolve=self._snapshot_and_path,
        )

    def snapshot(self, ref: str) -> Snapshot:
        """Return the read view of the commit that *ref* names.

        After ``repo@`` stands a branch, a tag, a commit ID or a lineage ID; ``~2`` goes two commits back. A branch
        without a commit gives an empty snapshot.

        Raises:
            RepoNotFoundError, RefNotFoundError, RefSyntaxError: There is no such commit.

        Cost: 3 to 7 SELECTs.
        """
        return self._snapshot(parse_commit_ref(ref))

    # History

    def commit(self, ref: str) -> Commit:
        """Return the commit that *ref* names, or that has the ID *ref*.

        Raises:
            NotFoundError: There is none.

        Cost: 2 to 7 SELECTs.
        """
        return self._commit_by_id(ref) if is_id(ref) else self.snapshot(ref).commit

    def log(self, branch: str, *, path: str | None = None, limit: int | None = None) -> Iterator[Commit]:
        """Yield the commits of a history, newest first; with *path*, only those that changed that file or directory.

        Raises:
            NotFoundError: There is no such repo or ref; or, when the first commit is asked for, none ever had *path*.
            InvalidInputError: *limit* is negative, or *path* breaks the path rules.

        Cost: 3 SELECTs for each 200 commits. With the path of a file: 1 look-up for each change of it, if it still
        exists.
        """
        if limit is not None and limit < 0:
            msg = f"can't return {limit} commits: the limit is 0 or more, or None"
            raise InvalidInputError(msg)
        head = self._resolve(parse_commit_ref(branch))
        if path is None:
            return walk_history(self._backend, head, limit)
        return walk_path_history(self._backend, head, parse_directory(path), limit)

    def diff(self, old: str | None, new: str) -> pa.Table:
        """Return the files that differ between two commits, sorted by path.

        Args:
            old: What to compare with; None is the empty tree.

        Returns:
            path: string; change: string (``added``, ``modified`` or ``deleted``); old_size, new_size: int64, null
            where there is none; old_digest, new_digest: string of 64 hex digits, null where there is none.

        Raises:
            NotFoundError: There is no such repo or ref.

        Cost: the pages that differ, whatever the size of the trees.
        """
        before = None if old is None else self._resolve(parse_commit_ref(old))
        return diff_trees(self._backend, before, self._resolve(parse_commit_ref(new)))

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
        before = None if old is None else self._resolve(parse_commit_ref(old))
        return affected_keys(self._backend, before, self._resolve(parse_commit_ref(new)), parsed)

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
        return find_changes(self._backend, self._resolve(parse_commit_ref(branch)), seen, template)

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
        with self._backend.catalog.read() as connection:
            rows = list_subscriptions(connection, parse_branch_ref(branch), prefix=prefix)
        return [Subscription(self._backend, row) for row in rows]

    # Lineage

    def run(
        self,
        job: str,
        *,
        code_version: str | None = None,
        params: Mapping[str, JSONValue] | None = None,
        lineage_id: str | None = None,
        orchestrator: str = "python",
        run_id: str | None = None,
        partition_key: str | None = None,
        url: str | None = None,
        git_commit: str | None = None,
    ) -> Run:
        """Return a run for a ``with`` block: what is read in it is noted, and what it commits inherits the notes.

        Code that enters and leaves it several times, or in several threads, uses ``with run.active(): ...``.

        Args:
            job: What does the work: a job's, DAG's or script's name.
            lineage_id: What its commits carry; by default that of the newest commit that it reads.
            url: Where a person finds the run.

        Raises:
            InvalidInputError: *job* or *orchestrator* is empty, or *lineage_id* is none.

        Cost: none.
        """
        info = build_run_info(
            job,
            orchestrator=orchestrator,
            run_id=run_id,
            partition_key=partition_key,
            url=url,
            code_version=code_version,
            git_commit=git_commit,
            params=params,
        )
        return Run(info, lineage_id=None if lineage_id is None else parse_lineage_id(lineage_id))

    def lineage(self, lineage_id: str) -> list[Commit]:
        """Return every commit, in every repo, that carries a lineage ID, oldest first.

        Raises:
            LineageNotFoundError: No commit carries it.

        Cost: 2 SELECTs.
        """
        with self._backend.catalog.read() as connection:
            found = commits_of_lineage(connection, parse_lineage_id(lineage_id))
        if not found:
            raise LineageNotFoundError(lineage_id)
        return found

    def upstream(self, ref: str) -> LineageGraph:
        """Return what a file, or all files of a snapshot, were made from, all the way up to exact versions of files.

        Args:
            ref: ``repo@ref:path``, or ``repo@ref`` for all files as they are there. The search begins at the commits
                that wrote them, which may be older than the snapshot.

        Raises:
            NotFoundError: There is no such repo, ref or path.

        Cost: 2 SELECTs a generation; without a path, 1 GET for each page of the snapshot.
        """
        parsed = parse_ref(ref)
        snapshot = self._snapshot(parsed, is_noted=False)
        if parsed.path and not snapshot.is_directory(parsed.path):
            return find_upstream(self._backend, {snapshot.writer_of(parsed.path): [parsed.path]})
        return find_upstream(self._backend, snapshot.writers(parsed.path) or {snapshot.commit.id: None})

    def downstream(self, ref: str) -> LineageGraph:
        """Return what was made from a commit, or from one version of a file, all the way down.

        Args:
            ref: ``repo@ref:path`` for the version that the file has there, or ``repo@ref`` for the commit: what read
                its snapshot, or a file that it wrote.

        Raises:
            NotFoundError: There is no such repo, ref or path.

        Cost: 2 SELECTs a generation.
        """
        parsed = parse_ref(ref)
        snapshot = self._snapshot(parsed, is_noted=False)
        if parsed.path:
            return find_downstream(self._backend, {snapshot.writer_of(parsed.path): [parsed.path]})
        return find_downstream(self._backend, {snapshot.commit.id: None})

    # Maintenance

    def fsck(self) -> FsckReport:
        """Check everything that the branches and tags lead to, byte by byte, and name every damage found.

        Cost: reads every pack that is referred to, once.
        """
        return check_store(self._backend)

    def _repos(self, name: str | None) -> list[RepoInfo]:
        with self._backend.catalog.read() as connection:
            return repo_catalog.list_repos(connection, name)

    def _resolve(self, ref: Ref) -> Commit | None:
        with self._backend.catalog.read() as connection:
            return resolve_ref(connection, ref)

    def _commit_by_id(self, commit_id: str) -> Commit:
        with self._backend.catalog.read() as connection:
            return get_commit(connection, commit_id)

    def _check_commits(self, commit_ids: Sequence[CommitId]) -> None:
        if not commit_ids:
            return
        with self._backend.catalog.read() as connection:
            missing = set(commit_ids) - set(get_commits(connection, commit_ids))
        if missing:
            raise CommitNotFoundError(min(missing))

    def _new_name(self, name: str, at: str) -> tuple[BranchRef, Commit | None]:
        ref, target = parse_branch_ref(name), parse_commit_ref(at)
        parse_new_name(ref.branch, name)
        if target.repo != ref.repo:
            raise RefSyntaxError(at, f"it must be of repo {ref.repo!r}, as {name!r} is")
        return ref, self._resolve(target)

    def _snapshot(self, ref: Ref, *, is_noted: bool = True) -> Snapshot:
        name = f"{ref.name}~{ref.ancestor}" if ref.ancestor else ref.name
        return Snapshot(self._backend, ref.repo, name, self._resolve(ref), is_noted=is_noted)

    def _snapshot_and_path(self, ref: str) -> tuple[Snapshot, str]:
        parsed = parse_ref(ref)
        return self._snapshot(parsed), parsed.path
