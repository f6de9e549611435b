"""Lineage: runs, and where things come from and go."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from versioned_io.catalog.commits import commits_of_lineage, ids_of_lineage, repos_of_lineage
from versioned_io.errors import InvalidInputError, LineageNotFoundError, NotAFileError
from versioned_io.model.arguments import (
    check_callable,
    parse_choice,
    parse_flag,
    parse_local_path,
    parse_name,
    parse_optional_count,
)
from versioned_io.model.commits import Commit, InputFile, JSONValue
from versioned_io.model.identifiers import CommitId, is_id, parse_digest, parse_lineage_id
from versioned_io.model.refs import Ref
from versioned_io.store.resolving import Resolver
from versioned_io.versioning.backend.backend import Backend

if TYPE_CHECKING:
    from versioned_io.catalog.commit_edges import Way
    from versioned_io.processing.datums.datum_edges import DatumEdges
    from versioned_io.versioning.lineage.commit_graph import CommitGraph
    from versioned_io.versioning.lineage.reproducing import Reproduced
    from versioned_io.versioning.lineage.run_origin import RunOrigin
    from versioned_io.versioning.lineage.tracing import LineageGraph
    from versioned_io.versioning.runs.run import Run
    from versioned_io.versioning.snapshots.file_info import TransferProgress
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
        from versioned_io.catalog.commit_edges import Way
        from versioned_io.versioning.lineage.commit_graph import graph_of_set, walk_graph
        from versioned_io.versioning.lineage.commit_graph import with_commits as complete

        most, levels = parse_optional_count(limit, "limit"), parse_optional_count(depth, "depth")
        if most == 0:
            msg = "limit=0 leaves no commit: use 1 or more"
            raise InvalidInputError(msg)
        chosen = _parse_way(way)
        in_full = parse_flag(with_commits, "with_commits")
        own = self._set_of(of)
        if own and (chosen, most, levels) != (None, None, None):
            raise _bound_of_a_set(of)
        if own:
            graph = graph_of_set(self._backend, own)
        else:
            root = self._resolver.commit(of).id
            graph = walk_graph(self._backend, root, chosen or Way.UP, depth=levels, limit=most)
        return complete(self._backend, graph) if in_full else graph

    def export_lineage(self, of: str, *, to: str = "json", way: str | None = None, namespace: str | None = None) -> str:
        """Return an answer about lineage as text for other programs; equal answers give equal texts.

        >>> _ = store.create_repo("reports")
        >>> with store.run("report"), store.transaction("reports@main") as tx:
        ...     _ = tx.write("february.txt", store.snapshot("weather@main").read("2012/02.csv")[-5:])
        >>> print(store.export_lineage("reports@main", to="mermaid").splitlines()[0])
        flowchart LR
        >>> len(store.export_lineage("reports@main", to="openlineage").splitlines())
        4

        Args:
            of: ``repo@ref`` or ``repo@ref:path``, as in `upstream` and `downstream`. Or a lineage ID: its commits, with
                everything that they were made from, one edge away.
            to: ``json`` for one document, ``openlineage`` for run events, each on a line, ``mermaid`` or ``dot`` for a
                diagram. Names can't become markup in any of them.
            way: For a ref, ``up``, the default, for its inputs, or ``down`` for everything that was made from it.
            namespace: The namespace of the store's datasets in OpenLineage. By default it is the store's URL after
                ``versioned+``, as in the events of Airflow's tasks.

        Raises:
            NotFoundError: The lineage ID, the ref or the path does not exist.
            InvalidInputError: *to* or *way* is not one of these. Or *way* is given for a lineage ID; leave it out.

        Cost: as `upstream`, or for a lineage ID 1 SELECT, 2 SELECTs for each 500 commits, and 1 SELECT for the commits.
        """
        from versioned_io.versioning.lineage.exported import ExportFormat, export_graph
        from versioned_io.versioning.lineage.openlineage import namespace_of

        form, chosen = parse_choice(to, ExportFormat, "to"), _parse_way(way)
        name = namespace_of(self._backend.objects.url) if namespace is None else parse_name(namespace, "namespace")
        return export_graph(self._answer(of, chosen), form, namespace=name)

    def _answer(self, of: str, way: "Way | None") -> "LineageGraph":
        """Return the lineage graph of a lineage ID, or of a ref in one direction."""
        from versioned_io.catalog.commit_edges import Way
        from versioned_io.versioning.lineage.tracing import find_set

        own = self._set_of(of)
        if own and way is not None:
            raise _bound_of_a_set(of)
        if own:
            return find_set(self._backend, own)
        return self.downstream(of) if way is Way.DOWN else self.upstream(of)

    def checkout_lineage(
        self,
        lineage_id: str,
        dest: str | Path,
        *,
        overwrite: bool = False,
        mode: str = "full",
        fsync: bool = False,
        progress: "Callable[[TransferProgress], None] | None" = None,
    ) -> "Reproduced":
        """Write every repo as of a lineage ID into the local directory *dest*, each into a sub-directory of its name.

        These are the repos of its commits, and those that they were made from. Each is as ``repo@<lineage ID>`` reads
        it. All repos are one checkout: a failure before the files move to their places leaves *dest* unchanged.

        >>> _ = store.create_repo("reports")
        >>> with store.run("report"), store.transaction("reports@main") as tx:
        ...     _ = tx.write("february.txt", store.snapshot("weather@main").read("2012/02.csv")[-5:])
        >>> done = store.checkout_lineage(tx.commit.lineage_id, "then")
        >>> done.files, [commit.repo for commit in done.commits]
        (3, ['reports', 'weather'])
        >>> from pathlib import Path
        >>> Path("then/reports/february.txt").read_text().strip()
        '12.5'

        Args:
            overwrite: As in `Snapshot.checkout`, and so are *mode*, *fsync* and *progress*.

        Raises:
            LineageNotFoundError: No commit carries the lineage ID.
            RepoNotFoundError: One of the repos was deleted. Restore it with `restore_repo`.
            CommitForgottenError: The data of one of the commits was expired, dropped or purged.
            InvalidInputError, StorageError, FormatError: As for `Snapshot.checkout`.

        Cost: 1 SELECT, that of `commit` for each repo, and that of `Snapshot.checkout`.
        """
        from versioned_io.versioning.lineage.reproducing import reproduce
        from versioned_io.versioning.snapshots.checkout import CheckoutMode

        parse_flag(overwrite, "overwrite")
        parse_flag(fsync, "fsync")
        check_callable(progress, "progress")
        chosen, target = parse_choice(mode, CheckoutMode, "mode"), Path(parse_local_path(dest, "dest"))
        one = parse_lineage_id(lineage_id)
        with self._backend.catalog.ask() as connection:
            repos = repos_of_lineage(connection, one)
        if not repos:
            raise LineageNotFoundError(one)
        commits = [self._resolver.commit(f"{repo}@{one}") for repo in repos]
        return reproduce(
            self._backend, commits, target, overwrite=overwrite, mode=chosen, syncs=fsync, progress=progress
        )

    def run_of(self, ref: str) -> "RunOrigin":
        """Return everything that is recorded of the run that made a commit: its exact inputs, parameters and code.

        >>> _ = store.create_repo("reports")
        >>> with store.run("report", params={"month": 2}), store.transaction("reports@main") as tx:
        ...     _ = tx.write("february.txt", store.snapshot("weather@main").read("2012/02.csv")[-5:])
        >>> made = store.run_of("reports@main")
        >>> made.info.job, dict(made.info.params), [file.path for file in made.inputs]
        ('report', {'month': 2}, ['2012/02.csv'])
        >>> made.lacks
        ('neither a code version nor a Git commit is recorded',)

        Args:
            ref: A commit, as in `commit`.

        Raises:
            NotFoundError: The commit does not exist.

        Cost: as `commit`, 3 SELECTs, and 1 for each 500 commits that the run read. If a compaction or a purge has
            rewritten such a commit, also the pages of its inputs.
        """
        from versioned_io.versioning.lineage.run_origin import find_run

        return find_run(self._backend, self._resolver.commit(ref))

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
            they read only the rows of the answer. For a path or a whole tree also 1 GET for each of its pages. For a
            generation of outputs of pipelines 5 SELECTs more, and 1 GET for each page of datums and inputs.
        """
        from versioned_io.versioning.lineage.tracing import Roots, find_upstream

        parsed = self._resolver.parse(ref)
        snapshot = self._resolver.snapshot(parsed, is_noted=False)
        if not parsed.path and _names_commit(parsed, snapshot.commit):
            return find_upstream(self._backend, Roots.of_commit(snapshot.commit.id), self._datums())
        files = self._files(snapshot, parsed.path)
        roots = Roots.of_files(files) if files else Roots.of_commit(snapshot.commit.id)
        return find_upstream(self._backend, roots, self._datums())

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

        Cost: as `upstream`, and 1 SELECT more. If the store has pipelines, 4 more a generation, and 1 GET for each page
            of datums and inputs.
        """
        from versioned_io.versioning.lineage.tracing import Roots, find_downstream, find_uses_of_content

        if (ref is None) == (digest is None):
            msg = "downstream needs either a ref, such as 'repo@main:path', or a digest=..., and not both"
            raise InvalidInputError(msg)
        if digest is not None:
            return find_uses_of_content(self._backend, parse_digest(digest), self._datums())
        parsed = self._resolver.parse(cast("str", ref))
        snapshot = self._resolver.snapshot(parsed, is_noted=False)
        if not parsed.path:
            return find_downstream(self._backend, Roots.of_commit(snapshot.commit.id), self._datums())
        if snapshot.is_directory(parsed.path):
            raise NotAFileError(parsed.path, snapshot.name)
        return find_downstream(self._backend, Roots.of_files(self._files(snapshot, parsed.path)), self._datums())

    def _datums(self) -> "DatumEdges":
        """Return the edges of the datums of pipelines, for one question."""
        from versioned_io.processing.datums.datum_edges import DatumEdges

        return DatumEdges(self._backend)

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


def _parse_way(text: str | None) -> "Way | None":
    from versioned_io.catalog.commit_edges import Way

    return None if text is None else parse_choice(text, Way, "way")


def _bound_of_a_set(lineage_id: str) -> InvalidInputError:
    msg = f"{lineage_id!r} is a lineage ID, whose graph has no way, depth or limit: leave them out, or name a commit"
    return InvalidInputError(msg)


def _names_commit(ref: Ref, commit: Commit) -> bool:
    """Return whether *ref* is the ID of *commit*, or the beginning of it."""
    return ref.at is None and not ref.ancestor and commit.id.startswith(ref.name)
