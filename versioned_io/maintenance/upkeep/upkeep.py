"""A run of maintenance: the due steps, one after the other, by one process at a time, within a time budget.

Source: docs/design/0010-maintenance.md, "Steps".
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from versioned_io.catalog import upkeep as catalog
from versioned_io.catalog.collection import catalog_time
from versioned_io.catalog.overdue import RUN, neglected_since
from versioned_io.catalog.rounds import MARK
from versioned_io.catalog.upkeep import Backlog, TaskRow
from versioned_io.errors import (
    CatalogOlderError,
    ConflictError,
    IntegrityError,
    MaintenanceRunningError,
    StorageError,
    VersionedError,
)
from versioned_io.maintenance.upkeep.neglect import OVERDUE_AFTER, OVERDUE_COMMITS
from versioned_io.maintenance.upkeep.steps import STEPS, Step, Upkeep, Work
from versioned_io.model.identifiers import new_uuid7
from versioned_io.model.upkeep_defaults import DEFAULT_EXPIRE, DEFAULT_GRACE
from versioned_io.versioning.backend.backend import Backend

_RENEWAL_S: Final = 30.0
_MOST_PORTIONS: Final = 8
_COUNTERS: Final = frozenset({catalog.LEASE, catalog.FORGOTTEN, MARK})
"""The rows of the table of tasks that stand for no task, so that no status shows them."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """The result of one step.

    Attributes:
        name: The step's name, such as ``merge``.
        why: The reason why it was due.
        did: Counts by their unit.
        problem: A description of a problem, or None. A problem doesn't stop the other steps.
    """

    name: str
    why: str
    did: Mapping[str, int]
    seconds: float
    bytes_written: int
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class MaintainReport:
    """The result of a run of maintenance.

    Attributes:
        left: The steps that are still due because the budget was spent. The next run continues with them.
    """

    steps: tuple[StepReport, ...]
    left: tuple[str, ...]
    seconds: float
    bytes_written: int

    @property
    def problems(self) -> tuple[str, ...]:
        """All problems, with the names of the steps that found them."""
        return tuple(f"{step.name}: {step.problem}" for step in self.steps if step.problem is not None)


@dataclass(frozen=True, slots=True)
class DueStep:
    """A step that is due, and the reason."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class MaintenanceStatus:
    """The state of a store's maintenance.

    Attributes:
        running_since: The start of the run in progress, or None.
        last_run: The end of the last run, or None.
        tasks: The row of each task: time, duration, bytes written, problem.
        due: The steps that are due now.
        backlog: The work that waits.
        growth_bytes_a_day: The bytes that writers stored each day, on average of the last seven days.
        is_overdue: Whether there was no maintenance for seven days, or 5,000 commits wait for their mark.
    """

    running_since: datetime | None
    last_run: datetime | None
    tasks: tuple[TaskRow, ...]
    due: tuple[DueStep, ...]
    backlog: Backlog
    growth_bytes_a_day: int
    is_overdue: bool

    @property
    def problems(self) -> tuple[str, ...]:
        """The problems of each task's last run."""
        return tuple(f"{task.task}: {task.problem}" for task in self.tasks if task.problem is not None)


def maintain_store(
    backend: Backend,
    *,
    budget: timedelta,
    full: bool,
    grace: timedelta,
    expire: timedelta,
    progress: Callable[[str, int], None] | None = None,
    seconds: Callable[[], float] = time.monotonic,
) -> MaintainReport:
    """Do the due steps, in order, until none is due or the budget is spent.

    Each step does the same as its own command. It is safe beside writers, readers and those commands. A step that is
    killed leaves an intact store, and the next run resumes from the state in the catalog.

    Args:
        budget: No step begins after this time; a step in progress is finished.
        full: Whether the full mark and the daily steps are due regardless of their last time.

    Raises:
        MaintenanceRunningError: Another process is maintaining the store. Nothing was changed. Try again later.
        CatalogOlderError: The packs show that the catalog is older than they are. No further step was done. Run
            `versioned recover`.
        StorageError: The objects or the catalog failed. Call again.

    Cost: proportional to the new commits and packs; see the steps.
    """
    start = seconds()
    with _Lease(backend, seconds).held() as lease:
        shown = progress or (lambda _stage, _done: None)

        def report(stage: str, done: int) -> None:
            lease.renew()
            shown(stage, done)

        with backend.catalog.read() as connection:
            tasks, now = catalog.load_tasks(connection), catalog_time(connection, backend.clock())
        ends_at = start + budget.total_seconds()
        run = Upkeep(backend, grace, expire, full, tasks, now, ends_at, report, seconds)
        steps, left = _do_steps(run)
        found = MaintainReport(tuple(steps), tuple(left), seconds() - start, sum(one.bytes_written for one in steps))
        problem = "; ".join(found.problems) or None
        _note(run, TaskRow(RUN, None, 0, found.seconds, found.bytes_written, problem))
    return found


def maintenance_status(backend: Backend) -> MaintenanceStatus:
    """Return the state of maintenance. Cost: about 15 SELECTs, and no object request."""
    with backend.catalog.read() as connection:
        now = catalog_time(connection, backend.clock())
        tasks = catalog.load_tasks(connection)
        running = catalog.lease_holder(connection, backend.clock())
        backlog = catalog.count_backlog(connection, backend.clock())
        since, is_much = neglected_since(connection, OVERDUE_COMMITS)
    run = Upkeep(backend, DEFAULT_GRACE, DEFAULT_EXPIRE, False, tasks, now, 0.0, lambda *_: None)  # noqa: FBT003
    due = {step.name: why for step in STEPS if (why := step.due(run)) is not None}
    shown = [row for name, row in sorted(tasks.items()) if name not in _COUNTERS]
    return MaintenanceStatus(
        running_since=running,
        last_run=run.task(RUN).done_at,
        tasks=tuple(shown),
        due=tuple(DueStep(name, why) for name, why in due.items()),
        backlog=backlog,
        growth_bytes_a_day=backlog.growth_bytes // 7,
        is_overdue=is_much or (since is not None and since <= now - OVERDUE_AFTER),
    )


def _do_steps(run: Upkeep) -> tuple[list[StepReport], list[str]]:
    done: list[StepReport] = []
    left: list[str] = []
    for step in STEPS:
        for _ in range(_MOST_PORTIONS):
            why = step.due(run)
            if why is None:
                break
            if run.left_s <= 0:
                left.append(step.name)
                break
            report, is_over = _do_one(run, step, why)
            done.append(report)
            if is_over:
                break
    return done, list(dict.fromkeys(left))


def _do_one(run: Upkeep, step: Step, why: str) -> tuple[StepReport, bool]:
    """Do one portion of a step and record its result; a damage becomes the step's problem, and other steps run."""
    start = run.seconds()
    try:
        work = step.work(run)
    except (MaintenanceRunningError, CatalogOlderError):
        raise  # no further step may run
    except (IntegrityError, ConflictError) as error:
        work = Work({}, problem=str(error))
    except VersionedError as error:
        _note_failure(run, step.name, str(error))
        raise
    took = run.seconds() - start
    watermark = run.task(step.name).watermark if work.watermark is None else work.watermark
    _note(run, TaskRow(step.name, None, watermark, took, work.bytes_written, work.problem))
    report = StepReport(step.name, why, dict(work.did), took, work.bytes_written, work.problem)
    return report, work.is_over or work.problem is not None


def _note(run: Upkeep, row: TaskRow) -> None:
    """Record a task as done, at the catalog's time."""
    with run.backend.catalog.write() as connection:
        at = catalog_time(connection, run.backend.clock())
        run.tasks[row.task] = TaskRow(row.task, at, row.watermark, row.seconds, row.bytes_written, row.problem)
        catalog.note_task(connection, run.tasks[row.task])


def _note_failure(run: Upkeep, name: str, problem: str) -> None:
    """Record a problem without marking the task as done; an error of this write is dropped, since the caller raises."""
    row = run.task(name)
    with suppress(StorageError), run.backend.catalog.write() as connection:
        failed = TaskRow(name, row.done_at, row.watermark, row.seconds, row.bytes_written, problem)
        catalog.note_task(connection, failed)


@dataclass(slots=True)
class _Lease:
    """The only lease of maintenance. It is renewed during the work, and lost after three minutes without a renewal."""

    backend: Backend
    seconds: Callable[[], float]
    id: str = field(default_factory=new_uuid7)
    _renewed: float = 0.0

    @contextmanager
    def held(self) -> Iterator["_Lease"]:
        """Hold the lease during the block.

        Raises:
            MaintenanceRunningError: Another process has it. Try again later.
        """
        with self.backend.catalog.write() as connection:
            since = catalog.take_lease(connection, self.id, self.backend.clock())
        if since is not None:
            raise MaintenanceRunningError(since.isoformat(timespec="seconds"))
        self._renewed = self.seconds()
        try:
            yield self
        finally:
            # A lease that can't be deleted now expires by itself.
            with suppress(StorageError), self.backend.catalog.write() as connection:
                catalog.end_lease(connection, self.id)

    def renew(self) -> None:
        """Renew the lease, if that is due.

        Raises:
            MaintenanceRunningError: Another process has taken the lease, because this one did not renew it in time.
        """
        now = self.seconds()
        if now - self._renewed < _RENEWAL_S:
            return
        with self.backend.catalog.write() as connection:
            is_held = catalog.renew_lease(connection, self.id, self.backend.clock())
            at = catalog_time(connection, self.backend.clock())
        if not is_held:
            raise MaintenanceRunningError(at.isoformat(timespec="seconds"))
        self._renewed = now
