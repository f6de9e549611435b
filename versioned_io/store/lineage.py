"""Lineage: runs, and where things come from and go."""

from collections.abc import Mapping

from versioned_io.catalog.commits import commits_of_lineage
from versioned_io.catalog.values import Commit, JSONValue
from versioned_io.errors import (
    LineageNotFoundError,
)
from versioned_io.identifiers import parse_lineage_id
from versioned_io.lineage import LineageGraph, find_downstream, find_upstream
from versioned_io.runs import Run, build_run_info
from versioned_io.store.resolving import Resolving


class Lineage(Resolving):
    """Where things come from and go."""

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
        parsed = self._ref(ref)
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
        parsed = self._ref(ref)
        snapshot = self._snapshot(parsed, is_noted=False)
        if parsed.path:
            return find_downstream(self._backend, {snapshot.writer_of(parsed.path): [parsed.path]})
        return find_downstream(self._backend, {snapshot.commit.id: None})
