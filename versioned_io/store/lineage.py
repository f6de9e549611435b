"""Lineage: runs, and where things come from and go."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from versioned_io.catalog.commits import commits_of_lineage, ids_of_lineage
from versioned_io.errors import InvalidInputError, LineageNotFoundError, NotAFileError
from versioned_io.model.arguments import parse_flag, parse_optional_count
from versioned_io.model.commits import Commit, InputFile, JSONValue
from versioned_io.model.identifiers import CommitId, is_id, parse_digest, parse_lineage_id
from versioned_io.model.refs import Ref
from versioned_io.store.resolving import Resolver
from versioned_io.versioning.backend.backend import Backend

if TYPE_CHECKING:
    from versioned_io.versioning.lineage.commit_graph import CommitGraph
    from versioned_io.versioning.lineage.tracing import LineageGraph
    from versioned_io.versioning.runs.run import Run
    from versioned_io.versioning.snapshots.snapshot import Snapshot


class Lineage:
    """Where things come from and go."""

    def __init__(self, backend: Backend, resolver: Resolver) -> None:
        self._backend = backend
        self._resolver = resolver

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
    ) -> "Run":
        """Return a run for a ``with`` block: reads in it are noted, and commits made in it inherit the notes.

        >>> _ = store.create_repo("reports")
        >>> with store.run("report", code_version="1"):
        ...     rain = store.snapshot("weather@main").read("2012/02.csv")
        ...     with store.transaction("reports@main") as tx:
        ...         _ = tx.write("february.txt", rain[-5:])
        >>> tx.commit.provenance == (store.commit("weather@main").id,)
        True

        Code that enters and leaves it several times, or in several threads, uses ``with run.active(): ...``.

        Args:
            job: The name of the job, DAG or script.
            params: The parameters of the call. A value that looks like a secret, by its name or as a password in a
                URL, is recorded as ``(withheld)``. Commits can't be changed later.
            lineage_id: The lineage ID of its commits; by default that of the newest commit that it reads.
            url: The page of the run, for a person.

        Raises:
            InvalidInputError: *job* or *orchestrator* is empty, or *lineage_id* is malformed.

        Cost: none.
        """
        from versioned_io.versioning.runs.run import build_run

        return build_run(
            job,
            lineage_id=lineage_id,
            orchestrator=orchestrator,
            run_id=run_id,
            partition_key=partition_key,
            url=url,
            code_version=code_version,
            git_commit=git_commit,
            params=params,
        )

    def lineage(self, lineage_id: str) -> list[Commit]:
        """Return every commit, in every repo, that carries a lineage ID, oldest first.

        >>> commit = store.commit("weather@main")
        >>> [str(one) for one in store.lineage(commit.lineage_id)] == [str(commit)]
        True

        Raises:
            LineageNotFoundError: No commit carries it.

        Cost: 1 SELECT, 1 more where there is nothing.
        """
        with self._backend.catalog.read() as connection:
            found = commits_of_lineage(connection, parse_lineage_id(lineage_id))
        if not found:
            raise LineageNotFoundError(lineage_id)
        return found

    def lineage_graph(
        self,
        of: str,
        *,
        way: str | None = None,
        depth: int | None = None,
        limit: int | None = None,
        with_commits: bool = False,
    ) -> "CommitGraph":
        """Return the commits of one lineage ID with their sources, or the full ancestry or descent of one commit.

        The edges are between whole commits. `upstream` and `downstream` follow single files.

        >>> _ = store.create_repo("reports")
        >>> with store.run("report"), store.transaction("reports@main") as tx:
        ...     _ = tx.write("february.txt", store.snapshot("weather@main").read("2012/02.csv")[-5:])
        >>> source = store.commit("weather@main").id
        >>> store.lineage_graph("reports@main").edges == ((tx.commit.id, source),)
        True
        >>> store.lineage_graph(source, way="down").ids == (source, tx.commit.id)
        True
        >>> store.lineage_graph(tx.commit.lineage_id).roots == store.lineage_graph(source, way="down").ids
        True

        Args:
            of: A lineage ID: its commits are the roots, and the answer also has the commits that they were made from,
                one edge away. Or a commit, as in `commit`.
            way: For a commit, ``up``, the default, to the commits that it was made from, or ``down`` to those that were
                made from it.
            depth: For a commit, the most edges between it and a commit of the answer.
            limit: For a commit, the most commits in the answer; the nearest are kept.
            with_commits: Whether `CommitGraph.commits` has the commits in full.

        Raises:
            NotFoundError: Neither a commit nor a lineage ID of this name exists.
            InvalidInputError: *way* is neither. *depth* or *limit* is negative, or *limit* is 0. Or one of the three
                is given for a lineage ID; leave it out.

        Cost: as `commit`, 1 SELECT for the highest order without a bound, 1 SELECT for the walk, 2 SELECTs for each 500
            commits in the answer. A lineage ID needs no walk. For a large answer without a bound, 2 SELECTs read
            every edge of the store instead. *with_commits* adds 1 SELECT for each 500 commits.
        """
        from versioned_io.versioning.lineage.commit_graph import graph_of_set, parse_way, walk_graph
        from versioned_io.versioning.lineage.commit_graph import with_commits as complete

        most, levels = parse_optional_count(limit, "limit"), parse_optional_count(depth, "depth")
        if most == 0:
            msg = "limit=0 leaves no commit: use 1 or more"
            raise InvalidInputError(msg)
        chosen = None if way is None else parse_way(way)
        in_full = parse_flag(with_commits, "with_commits")
        own = self._set_of(of)
        if own and (chosen, most, levels) != (None, None, None):
            msg = f"{of!r} is a lineage ID, whose graph has no way, depth or limit: leave them out, or name a commit"
            raise InvalidInputError(msg)
        if own:
            graph = graph_of_set(self._backend, own)
        else:
            root = self._resolver.commit(of).id
            graph = walk_graph(self._backend, root, chosen or parse_way("up"), depth=levels, limit=most)
        return complete(self._backend, graph) if in_full else graph

    def upstream(self, ref: str) -> "LineageGraph":
        """Return the inputs of a commit or of files, transitively, down to exact versions of files.

        >>> _ = store.create_repo("reports")
        >>> with store.run("report"), store.transaction("reports@main") as tx:
        ...     _ = tx.write("february.txt", store.snapshot("weather@main").read("2012/02.csv")[-5:])
        >>> [use.file.path for use in store.upstream("reports@main:february.txt").files]
        ['2012/02.csv']

        Args:
            ref: ``repo@<commit ID>`` for the reads of that commit's run. ``repo@ref:path`` for a file or the files of a
                directory, and any other ``repo@ref`` for all its files. The search for files begins at the newest
                commits whose runs made or confirmed them. A run that wrote the same bytes again confirmed them; the
                first writer is in ``asked``.

        Raises:
            NotFoundError: The repo, the ref or the path does not exist.

        Cost: as `commit`, 1 SELECT for the confirmations, 2 SELECTs a generation, and 1 SELECT for the commits;
            they read only the rows of the answer. For a path or a whole tree also 1 GET for each of its pages.
        """
        from versioned_io.versioning.lineage.tracing import Roots, find_upstream

        parsed = self._resolver.parse(ref)
        snapshot = self._resolver.snapshot(parsed, is_noted=False)
        if not parsed.path and _names_commit(parsed, snapshot.commit):
            return find_upstream(self._backend, Roots.of_commit(snapshot.commit.id))
        files = self._files(snapshot, parsed.path)
        return find_upstream(self._backend, Roots.of_files(files) if files else Roots.of_commit(snapshot.commit.id))

    def downstream(self, ref: str | None = None, *, digest: str | None = None) -> "LineageGraph":
        """Return the commits and files that were made from a commit, a file or some bytes, transitively.

        B is upstream of A exactly when A is downstream of B.

        >>> _ = store.create_repo("reports")
        >>> with store.run("report"), store.transaction("reports@main") as tx:
        ...     _ = tx.write("february.txt", store.snapshot("weather@main").read("2012/02.csv")[-5:])
        >>> [commit.repo for commit in store.downstream("weather@main:2012/02.csv").commits]
        ['weather', 'reports']

        Args:
            ref: ``repo@ref:path`` for a file as the newest commit made or confirmed it there. ``repo@ref`` for every
                file that the commit made or confirmed.
            digest: The content digest of files, as in `stat`, instead of *ref*. It stands for these bytes in every
                repo, whichever commits wrote them.

        Raises:
            NotFoundError: The repo, the ref or the path does not exist.
            NotAFileError: The path is a directory.
            InvalidInputError: Not exactly one of the two is given, or *digest* is not one.

        Cost: as `upstream`.
        """
        from versioned_io.versioning.lineage.tracing import Roots, find_downstream, find_uses_of_content

        if (ref is None) == (digest is None):
            msg = "downstream needs either a ref, such as 'repo@main:path', or a digest=..., and not both"
            raise InvalidInputError(msg)
        if digest is not None:
            return find_uses_of_content(self._backend, parse_digest(digest))
        parsed = self._resolver.parse(cast("str", ref))
        snapshot = self._resolver.snapshot(parsed, is_noted=False)
        if not parsed.path:
            return find_downstream(self._backend, Roots.of_commit(snapshot.commit.id))
        if snapshot.is_directory(parsed.path):
            raise NotAFileError(parsed.path, snapshot.name)
        return find_downstream(self._backend, Roots.of_files(self._files(snapshot, parsed.path)))

    def _set_of(self, text: str) -> list[CommitId]:
        """Return the commits that carry *text* as their lineage ID, if it is one."""
        if not isinstance(text, str) or not is_id(text):
            return []
        with self._backend.catalog.ask() as connection:
            return ids_of_lineage(connection, text)

    def _files(self, snapshot: "Snapshot", path: str) -> tuple[InputFile, ...]:
        """Return the file or the files below the directory *path*, with the commits that made or confirmed them."""
        from versioned_io.versioning.lineage.tracing import makers_of

        return makers_of(self._backend, list(snapshot.versions(path)))


def _names_commit(ref: Ref, commit: Commit) -> bool:
    """Return whether *ref* is the ID of *commit*, or the beginning of it."""
    return ref.at is None and not ref.ancestor and commit.id.startswith(ref.name)
