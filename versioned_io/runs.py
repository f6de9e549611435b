"""The run context: what a piece of work reads is noted, and the commits that it makes inherit it."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from types import TracebackType
from typing import Self

from versioned_io.arguments import parse_text
from versioned_io.catalog.values import Commit, InputFile, JSONValue, RunInfo, parse_json_object
from versioned_io.errors import InvalidInputError
from versioned_io.identifiers import CommitId, LineageId


class Run:
    """One piece of work: a script's ``with store.run(...)``, a Dagster step, an Airflow task.

    Every read through a snapshot in its context is noted here, from whichever thread; every transaction
    that is committed in it takes the notes as provenance. Thread-safe.
    """

    def __init__(self, info: RunInfo | None, *, lineage_id: LineageId | None = None) -> None:
        self.info = info
        self._given = lineage_id
        self._lock = threading.Lock()
        self._commits: dict[CommitId, Commit] = {}
        self._files: dict[tuple[CommitId, str, str], InputFile] = {}
        self._made: list[Commit] = []
        self._entered = threading.local()

    def __enter__(self) -> Self:
        block = self.active()
        block.__enter__()
        self._blocks().append(block)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blocks().pop().__exit__(kind, error, trace)

    @property
    def lineage_id(self) -> LineageId | None:
        """The lineage ID that its commits will carry, as far as it is known by now.

        The one that the run was given; or else that of the newest commit that it has read, for that
        commit caused it; or else that of the first commit that it made; or else None.
        """
        with self._lock:
            if self._given is not None:
                return self._given
            if self._commits:
                return max(self._commits.values(), key=_age).lineage_id
            return self._made[0].lineage_id if self._made else None

    @property
    def provenance(self) -> tuple[CommitId, ...]:
        """The commits that were read, oldest first."""
        with self._lock:
            return tuple(commit.id for commit in sorted(self._commits.values(), key=_age))

    @property
    def inputs(self) -> tuple[InputFile, ...]:
        """The versions of files that were read, sorted by repo, path, commit and what they were read for."""
        with self._lock:
            return tuple(
                sorted(self._files.values(), key=lambda file: (file.repo, file.path, file.commit, file.output))
            )

    @property
    def commits(self) -> tuple[Commit, ...]:
        """The commits that were made in this run, in the order made."""
        with self._lock:
            return tuple(self._made)

    def note(self, commit: Commit, *files: InputFile) -> None:
        """Note that *files* of the snapshot of *commit* were read, or only the commit when no file is given."""
        output = _output.get()
        with self._lock:
            self._commits.setdefault(commit.id, commit)
            for file in files:
                self._files.setdefault((file.commit, file.path, output), replace(file, output=output))

    def note_made(self, commit: Commit) -> None:
        """Note that *commit* was made in this run."""
        with self._lock:
            self._made.append(commit)

    def _blocks(self) -> list[AbstractContextManager["Run"]]:
        """Return the ``with`` blocks of this run that the thread is in."""
        blocks: list[AbstractContextManager[Run]] | None = getattr(self._entered, "blocks", None)
        if blocks is None:
            blocks = self._entered.blocks = []
        return blocks

    @contextmanager
    def making(self, output: str) -> Iterator["Run"]:
        """Note what is read in the ``with`` block as read for *output* alone, not for all that the run makes.

        So a run that makes many outputs at once still says of each what it was made from.

        Args:
            output: The path, in the tree that will be committed, of the file or directory that is being made; or a
                name that the transaction's *outputs* translates into one.
        """
        token = _output.set(output)
        try:
            with self.active():
                yield self
        finally:
            _output.reset(token)

    @contextmanager
    def active(self) -> Iterator["Run"]:
        """Make this the run that reads and commits in the ``with`` block belong to.

        It holds for this thread (or asynchronous task) and for snapshots taken here, wherever they are read.
        """
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)


_current: ContextVar[Run | None] = ContextVar("versioned_io_run", default=None)
_output: ContextVar[str] = ContextVar("versioned_io_output", default="")


def current_run() -> Run | None:
    """Return the run that this code belongs to, or None outside of any."""
    return _current.get()


def build_run_info(
    job: str,
    *,
    orchestrator: str,
    run_id: str | None,
    partition_key: str | None,
    url: str | None,
    code_version: str | None,
    git_commit: str | None,
    params: Mapping[str, JSONValue] | None,
) -> RunInfo:
    """Return the facts of a run, checked.

    Raises:
        InvalidInputError: *job* or *orchestrator* is empty, or JSON can't hold *params*.
    """
    if not job or not orchestrator:
        msg = f"a run needs a job and an orchestrator, not {job!r} and {orchestrator!r}: name what does the work"
        raise InvalidInputError(msg)
    facts = (orchestrator, job, run_id, partition_key, url, code_version, git_commit)
    for fact in facts:
        if fact is not None:
            parse_text(fact, "run's description")
    return RunInfo(*facts, parse_json_object(params, "parameters of the run"))


def _age(commit: Commit) -> tuple[object, str]:
    return commit.created_at, commit.id
