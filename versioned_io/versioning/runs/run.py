"""The run context: it records the reads of a piece of work as the provenance of its commits."""

import os
import threading
import uuid
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple, Self

from versioned_io.errors import InvalidInputError
from versioned_io.model.arguments import parse_text
from versioned_io.model.commits import Commit, InputFile, JSONValue, RunInfo, parse_json_object
from versioned_io.model.identifiers import CommitId, LineageId, parse_lineage_id
from versioned_io.model.withholding import withhold
from versioned_io.platform.ambient import process_run
from versioned_io.platform.process import new_lock
from versioned_io.versioning.runs.kin import (
    RunHandle,
    announce,
    inherited_runs,
    living_children,
    withdraw,
)
from versioned_io.versioning.runs.spool import Note, ReadCommit, Spool


class Run:
    """One piece of work: a script's ``with store.run(...)``, a Dagster step, an Airflow task.

    It records every read through a snapshot in its context, from any thread. Every transaction that is committed in it
    gets the recorded reads as provenance. Thread-safe.

    Reads of other processes count too: of children that were started in the run, by any method, and of processes that
    received a snapshot. The latter must share the directory for temporary files. If reads may be missing, the commits'
    `inputs_are_complete` is False.

    >>> with store.run("report") as run:
    ...     rain = store.snapshot("weather@main").read("2012/02.csv")
    >>> [file.path for file in run.inputs]
    ['2012/02.csv']
    """

    def __init__(self, info: RunInfo | None, *, lineage_id: LineageId | None = None) -> None:
        self.info = info
        self._given = lineage_id
        self._lock = new_lock()
        self._commits: dict[CommitId, ReadCommit] = {}
        self._files: dict[_Read, InputFile] = {}
        self._parts: list[Run] = []
        self._made: list[Commit] = []
        self._entered = threading.local()
        self._home = os.getpid()
        self._spool = Spool()
        self._sent: set[str] = set()
        self._doubts: dict[str, None] = {}
        self._depth = 0
        self._elders: set[int] = set()
        self._kin: set[int] = set()
        _here[self._spool.path] = self
        weakref.finalize(self, _remove_at_home, self._spool, self._home)

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
        """The lineage ID that its commits will carry, or None if it is not known yet.

        If the run was given no lineage ID, it is that of the newest commit that the run has read, since that commit
        caused it. Without reads it is the lineage ID of the first commit that the run made.
        """
        commits, _ = self._reads()
        with self._lock:
            if self._given is not None:
                return self._given
            if commits:
                return max(commits.values(), key=_place).lineage_id
            return self._made[0].lineage_id if self._made else None

    @property
    def provenance(self) -> tuple[CommitId, ...]:
        """The commits that were read, oldest first."""
        commits, _ = self._reads()
        return tuple(commit.id for commit in sorted(commits.values(), key=_place))

    @property
    def inputs(self) -> tuple[InputFile, ...]:
        """The versions of files that were read, sorted by repo, path, commit and output."""
        _, files = self._reads()
        return tuple(sorted(files.values(), key=lambda file: (file.repo, file.path, file.commit, file.output)))

    @property
    def doubts(self) -> tuple[str, ...]:
        """The known reasons why reads may be missing; empty if all reads are recorded."""
        self._collect()
        with self._lock:
            found = [*self._doubts]
            parts = [*self._parts]
            if self._sent:
                found.append(f"{len(self._sent)} handle(s) of this run were sent to processes that did not report")
        found += [doubt for part in parts for doubt in part.doubts]
        elders = sorted(self._elders & living_children())
        if elders:
            found.append(f"process(es) {', '.join(map(str, elders))} began before the run and may have read for it")
        return tuple(found)

    @property
    def commits(self) -> tuple[Commit, ...]:
        """The commits that were made in this run, in order."""
        with self._lock:
            return tuple(self._made)

    def note(self, commit: Commit, *files: InputFile) -> None:
        """Record that *files* of *commit* were read, or, without files, only the commit.

        >>> with store.run("report") as run:
        ...     run.note(store.commit("weather@main"))
        >>> run.provenance == (store.commit("weather@main").id,)
        True
        """
        output = _output.get()
        read = ReadCommit(commit.id, commit.lineage_id, commit.order)
        noted = tuple(replace(file, output=output) for file in files)
        with self._lock:
            is_known = read.id in self._commits and all(_key(file) in self._files for file in noted)
            self._add(read, noted)
        if os.getpid() != self._home and not is_known:
            self._spool.write(Note(read, noted))

    def note_made(self, commit: Commit) -> None:
        """Record that *commit* was made in this run.

        >>> run = store.run("report")
        >>> run.note_made(store.commit("weather@main"))
        >>> [commit.message for commit in run.commits]
        ['correct February']
        """
        with self._lock:
            self._made.append(commit)

    def include(self, other: "Run") -> None:
        """Add the reads of *other* to those of this run, such as the reads of a task before a part of it.

        >>> task, part = store.run("report"), store.run("report")
        >>> with task:
        ...     rain = store.snapshot("weather@main").read("2012/02.csv")
        >>> part.include(task)
        >>> part.inputs == task.inputs
        True
        """
        other._collect()  # noqa: SLF001 (another run)
        with other._lock:  # noqa: SLF001
            commits, files = [*other._commits.values()], [*other._files.values()]  # noqa: SLF001
        with self._lock:
            for commit in commits:
                self._commits.setdefault(commit.id, commit)
            for file in files:
                self._files.setdefault(_key(file), file)

    def add_part(self, part: "Run") -> None:
        """Count the reads of *part* for this run's later commits, too, but not for a run that includes this one.

        >>> task, part = store.run("report"), store.run("report")
        >>> with part:
        ...     rain = store.snapshot("weather@main").read("2012/02.csv")
        >>> task.add_part(part)
        >>> task.inputs == part.inputs
        True
        """
        with self._lock:
            self._parts.append(part)

    def open(self) -> Self:
        """Begin to be the run of the whole process, for `offer_run`; `withdraw_run` ends it.

        >>> vio.offer_run(lambda: vio.build_run("report").open())
        >>> vio.withdraw_run() is None
        True
        """
        self._begin(None)
        return self

    def close(self) -> None:
        """End what `open` began.

        >>> vio.build_run("report").open().close()
        """
        self._end(None)

    def hand_over(self) -> RunHandle:
        """Return a handle with which another process can record its reads for this run; it can be pickled.

        >>> import pickle
        >>> handle = store.run("report").hand_over()
        >>> pickle.loads(pickle.dumps(handle)) == handle
        True
        """
        token = uuid.uuid4().hex
        with self._lock:
            self._sent.add(token)
        return replace(self._handle, output=_output.get(), token=token)

    @property
    def _handle(self) -> RunHandle:
        return RunHandle(self._spool.path, self._home, self.info, self._given)

    def _add(self, commit: ReadCommit, files: Iterable[InputFile]) -> None:
        self._commits.setdefault(commit.id, commit)
        for file in files:
            self._files.setdefault(_key(file), file)

    def _reads(self) -> "tuple[dict[CommitId, ReadCommit], dict[_Read, InputFile]]":
        """Return the commits and the files that this run and its parts have read."""
        self._collect()
        with self._lock:
            commits, files, parts = {**self._commits}, {**self._files}, [*self._parts]
        for part in parts:
            more_commits, more_files = part._reads()  # noqa: SLF001 (another run)
            commits, files = more_commits | commits, more_files | files
        return commits, files

    def _collect(self) -> None:
        """Add the reads that other processes recorded."""
        if os.getpid() != self._home:
            return
        for note in self._spool.collect():
            with self._lock:
                if note.commit is not None:
                    self._add(note.commit, note.files)
                if note.taken is not None:
                    self._sent.discard(note.taken)
                if note.doubt is not None:
                    self._doubts.setdefault(note.doubt)

    def _blocks(self) -> list[AbstractContextManager["Run"]]:
        """Return the ``with`` blocks of this run that the thread has entered."""
        blocks: list[AbstractContextManager[Run]] | None = getattr(self._entered, "blocks", None)
        if blocks is None:
            blocks = self._entered.blocks = []
        return blocks

    @contextmanager
    def making(self, output: str) -> Iterator["Run"]:
        """Record the reads in the ``with`` block for *output* alone, instead of for all outputs of the run.

        So a run that makes many outputs at once still has the exact inputs of each.

        >>> with store.run("report") as run, run.making("february.txt"):
        ...     rain = store.snapshot("weather@main").read("2012/02.csv")
        >>> [file.output for file in run.inputs]
        ['february.txt']

        Args:
            output: The path of the output file or directory in the tree that will be committed. Or a name that the
                transaction's *outputs* maps to such a path.
        """
        token = _output.set(output)
        try:
            with self.active():
                yield self
        finally:
            _output.reset(token)

    @contextmanager
    def active(self) -> Iterator["Run"]:
        """Make this the run of all reads and commits in the ``with`` block.

        It applies to this thread (or asynchronous task), and to snapshots that are taken here, wherever they are read.

        >>> run = store.run("report")
        >>> with run.active():
        ...     rain = store.snapshot("weather@main").read("2012/02.csv")
        >>> len(run.inputs)
        1
        """
        outer = _current.get() or process_run.made
        token = _current.set(self)
        self._begin(outer)
        try:
            yield self
        finally:
            self._end(outer)
            _current.reset(token)

    def _begin(self, outer: "Run | None") -> None:
        """Pass this run to new children instead of the outer run, and remember the children that already exist."""
        children = living_children()
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._elders |= children - self._kin
        if outer is not None and outer is not self:
            withdraw(outer._handle)  # noqa: SLF001 (another run)
        if os.getpid() == self._home:
            announce(self._handle)

    def _end(self, outer: "Run | None") -> None:
        children = living_children()
        with self._lock:
            self._depth -= 1
            is_last = not self._depth
            self._kin |= children - self._elders
        if is_last:
            withdraw(self._handle)
        if outer is not None and outer is not self and os.getpid() == outer._home:  # noqa: SLF001
            announce(outer._handle)  # noqa: SLF001


_current: ContextVar[Run | None] = ContextVar("versioned_io_run", default=None)
_output: ContextVar[str] = ContextVar("versioned_io_output", default="")
_here: "weakref.WeakValueDictionary[str, Run]" = weakref.WeakValueDictionary()
"""The runs of this process."""
_taken: dict[tuple[int, str], Run] = {}
"""The runs of other processes that this one reads for. Its own process ID is in the key, since children inherit it."""


def current_run() -> Run | None:
    """Return the run that this code belongs to, or None outside of any run.

    In a process that `multiprocessing` has started, it may be a run of the parent.

    >>> vio.current_run() is None
    True
    >>> with store.run("report") as run:
    ...     vio.current_run() is run
    True
    """
    run = _current.get()
    if run is None:
        run = process_run.find()
    return _run_of_parent() if run is None else run


def take_over(handle: RunHandle) -> Run:
    """Return a proxy of another process's run, which records the reads of this process there."""
    if handle.pid == os.getpid() and (own := _here.get(handle.spool)) is not None:
        own._sent.discard(handle.token)  # noqa: SLF001
        return own
    run = _taken.get((os.getpid(), handle.spool))
    if run is None:
        run = _taken[os.getpid(), handle.spool] = Run(handle.info, lineage_id=handle.lineage_id)
        run._home, run._spool = handle.pid, Spool(handle.spool)  # noqa: SLF001 (a run, made by its own module)
    if handle.token:
        run._spool.write(Note(taken=handle.token))  # noqa: SLF001
    return run


def _run_of_parent() -> Run | None:
    handles = inherited_runs()
    if len(handles) == 1:
        return take_over(handles[0])
    for handle in handles:
        if (os.getpid(), handle.spool) not in _taken:
            doubt = (
                f"process {os.getpid()} was started while several runs were active, and can't tell for which it read"
            )
            take_over(handle)._spool.write(Note(doubt=doubt))  # noqa: SLF001
    return None


def build_run(
    job: str,
    *,
    lineage_id: str | None = None,
    orchestrator: str = "python",
    run_id: str | None = None,
    partition_key: str | None = None,
    url: str | None = None,
    code_version: str | None = None,
    git_commit: str | None = None,
    params: Mapping[str, JSONValue] | None = None,
) -> Run:
    """Return a run; see `Store.run`. It belongs to no store.

    >>> with vio.build_run("report") as run:
    ...     rain = store.snapshot("weather@main").read("2012/02.csv")
    >>> len(run.inputs)
    1

    Raises:
        InvalidInputError: *job* or *orchestrator* is empty, or *lineage_id* is malformed.
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
    """Return the validated facts of a run; apparent secrets in its parameters or its URL are withheld.

    Raises:
        InvalidInputError: *job* or *orchestrator* is empty, or *params* can't be JSON. Fix the argument.
    """
    if not job or not orchestrator:
        msg = f"a run needs a job and an orchestrator, not {job!r} and {orchestrator!r}: name what does the work"
        raise InvalidInputError(msg)
    facts = (orchestrator, job, run_id, partition_key, url, code_version, git_commit)
    for fact in facts:
        if fact is not None:
            parse_text(fact, "run's description")
    return without_secrets(RunInfo(*facts, parse_json_object(params, "parameters of the run")))


def without_secrets(info: RunInfo) -> RunInfo:
    """Return a run in its recorded form: without apparent secrets in its parameters and its URL."""
    return replace(info, params=withhold(info.params), url=withhold(info.url))


class _Read(NamedTuple):
    """The identity of a read: a file that is read twice for one output counts once."""

    commit: CommitId
    path: str
    output: str


def _key(file: InputFile) -> _Read:
    return _Read(file.commit, file.path, file.output)


def _remove_at_home(spool: Spool, home: int) -> None:
    if os.getpid() == home:
        spool.remove()


def _place(commit: ReadCommit) -> tuple[int, str]:
    return commit.order, commit.id
