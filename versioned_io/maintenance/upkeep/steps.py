"""The steps of maintenance: the condition for each, and one portion of its work.

To add a step, add a class with these two methods, and put it in its place in `STEPS`.

Source: docs/design/0010-maintenance.md, "Steps".
"""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from versioned_io.catalog import rounds
from versioned_io.catalog import upkeep as catalog
from versioned_io.catalog.chunk_index import LIVE
from versioned_io.catalog.collection import PackRow, list_packs
from versioned_io.catalog.damages import note_damages, noted_as_healed
from versioned_io.catalog.upkeep import TaskRow
from versioned_io.errors.integrity import WAYS_OUT
from versioned_io.errors.root import counted
from versioned_io.maintenance.collection.expiry import forget_unreachable
from versioned_io.maintenance.collection.garbage import collect_garbage, is_collected
from versioned_io.maintenance.collection.guard import Guard
from versioned_io.maintenance.collection.new_garbage import collect_new
from versioned_io.maintenance.collection.new_marks import mark_new
from versioned_io.maintenance.collection.orphans import collect_orphans
from versioned_io.maintenance.compaction.compaction import PackGroup, full_tiers, healed_packs, merge_packs, newest_run
from versioned_io.maintenance.compaction.moving import Moved, rewrite_healed_trees
from versioned_io.maintenance.fsck.pack_checks import PackCheck, check_packs
from versioned_io.model.damages import Damaged
from versioned_io.model.identifiers import PackName
from versioned_io.model.upkeep_defaults import DEFAULT_MIN_LIVE, DEFAULT_SMALL_BYTES
from versioned_io.versioning.backend.backend import Backend

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)

_MANY_SMALL: Final = 64
_OLD_SMALL: Final = 8
"""The number of small packs that are merged after an hour without new ones, since a rarely written store has few."""

_FEWEST_AT_ONCE: Final = 1024
_MERGED_A_SECOND: Final = 300
"""The speed that limits a merge to as many packs as the budget has time for; more trees reference older packs."""

_SPARSE_BYTES: Final = 512 * 1024 * 1024
_FULL_MARK_AFTER: Final = timedelta(days=30)
_FORGOTTEN_SHARE: Final = 0.2
_VERIFY_DAYS: Final = 30
_NAMED: Final = 3
_POSITION_DIGITS: Final = 15
"""The digits of a pack's name that are used as a number, which every catalog can store."""


@dataclass(frozen=True, slots=True)
class Work:
    """The result of one portion of a step.

    Attributes:
        did: Counts by their unit.
        watermark: The position that the step has reached, for steps that keep one.
        problem: A description of a problem, or None.
        is_over: Whether the step is finished for this run.
    """

    did: Mapping[str, int]
    bytes_written: int = 0
    watermark: int | None = None
    problem: str | None = None
    is_over: bool = True


@dataclass(slots=True)
class Upkeep:
    """The context of one run of maintenance, for its steps.

    Attributes:
        tasks: The catalog's row of each task.
        now: The catalog's time at the start of the run.
        ends_at: The time at which the budget is spent, by *seconds*.
        report: Called with a stage and its progress.
    """

    backend: Backend
    grace: timedelta
    expire: timedelta
    is_full: bool
    tasks: dict[str, TaskRow]
    now: datetime
    ends_at: float
    report: Callable[[str, int], None]
    seconds: Callable[[], float] = field(default=time.monotonic)

    @property
    def left_s(self) -> float:
        """The seconds of the budget that are left."""
        return self.ends_at - self.seconds()

    def task(self, name: str) -> TaskRow:
        """Return the row of a task, or an empty one."""
        return self.tasks.get(name, TaskRow(name))

    def is_older(self, name: str, age: timedelta) -> bool:
        """Return whether a task was never done, or longer ago than *age*; in a full run always True."""
        done_at = self.task(name).done_at
        return self.is_full or done_at is None or done_at <= self.now - age

    def daily(self, name: str) -> str | None:
        """Return why a daily task is due, or None."""
        if self.is_full:
            return "asked for"
        return "not done for a day" if self.is_older(name, DAY) else None

    def merge_candidates(self) -> list[PackRow]:
        """Return the live packs that may be referenced. Cost: 1 SELECT."""
        with self.backend.catalog.read() as connection:
            return rounds.live_with_round(connection)


class Step(Protocol):
    """One step of maintenance. If its process is killed, the next run resumes from the state in the catalog."""

    @property
    def name(self) -> str:
        """The step's name in the table of tasks, the report and the status."""
        ...

    def due(self, run: Upkeep) -> str | None:
        """Return why the step is due, or None, without changing anything. Cost: a few SELECTs by indexes."""
        ...

    def work(self, run: Upkeep) -> Work:
        """Do one portion of the step."""
        ...


@dataclass(frozen=True, slots=True)
class Forget:
    """Expires commits that no name reaches, or that no retention rule keeps."""

    name: str = "forget"

    def due(self, run: Upkeep) -> str | None:
        """Due hourly at most, if names were moved or branches have retention rules; and daily, as commits age."""
        if why := run.daily(self.name):
            return why
        if not run.is_older(self.name, HOUR):
            return None
        with run.backend.catalog.read() as connection:
            if catalog.has_retention(connection):
                return "branches have retention rules"
            return "names were moved" if catalog.last_entry(connection) > run.task(self.name).watermark else None

    def work(self, run: Upkeep) -> Work:
        """Expire all such commits, and count them for the next full mark."""
        forgotten = len(forget_unreachable(run.backend, expire=run.expire, dry_run=False))
        with run.backend.catalog.write() as connection:
            count = catalog.load_tasks(connection).get(catalog.FORGOTTEN, TaskRow(catalog.FORGOTTEN, run.now))
            run.tasks[count.task] = replace(count, watermark=count.watermark + forgotten)
            catalog.note_task(connection, run.tasks[count.task])
            return Work({"commits": forgotten}, watermark=catalog.last_entry(connection))


@dataclass(frozen=True, slots=True)
class CollectNew:
    """Marks new commits, condemns unreferenced packs, and deletes them after the grace period."""

    name: str = "collect"

    def due(self, run: Upkeep) -> str | None:
        """Due if a commit has no round, or if packs may be condemned or deleted."""
        with run.backend.catalog.read() as connection:
            if waiting := rounds.count_without_round(connection):
                return counted(waiting, "new commit")
            waiting = len(rounds.packs_without_round(connection, run.now - run.grace))
        return f"{counted(waiting, 'pack')} to be judged" if waiting else None

    def work(self, run: Upkeep) -> Work:
        """Walk and judge all of them; the rounds of walked commits are written in portions."""
        found = collect_new(run.backend, grace=run.grace, progress=lambda pages: run.report("mark", pages))
        return Work(
            {
                "commits": found.commits,
                "condemned": len(found.condemned),
                "revived": len(found.revived),
                "deleted": len(found.deleted),
            },
            problem=_unreadable(found.unreadable),
        )


@dataclass(frozen=True, slots=True)
class LeadToHealed:
    """Rewrites trees to reference repaired copies of contents and pages, so that the damaged packs can be deleted."""

    name: str = "healed"

    def due(self, run: Upkeep) -> str | None:
        """Due if contents were repaired, or repaired copies moved, since the last time."""
        count = self._count(run)
        return (
            f"healed: {counted(count, 'content or page', 'contents or pages')}"
            if count and count != run.task(self.name).watermark
            else None
        )

    def work(self, run: Upkeep) -> Work:
        """Rewrite all trees that reference such contents and pages."""
        count = self._count(run)
        moved = rewrite_healed_trees(run.backend, progress=run.report)
        problem = _unreadable(moved.left)
        return Work({"trees": moved.trees}, bytes_written=moved.bytes, watermark=count, problem=problem)

    @staticmethod
    def _count(run: Upkeep) -> int:
        with run.backend.catalog.read() as connection:
            return len(noted_as_healed(connection))


@dataclass(frozen=True, slots=True)
class MergeNew:
    """Merges the newest run of small packs into packs of tier 1."""

    name: str = "merge"

    def due(self, run: Upkeep) -> str | None:
        """Due with many small packs, or with some that are older than an hour."""
        found = self._run(run)
        old = sum(row.created_at is not None and row.created_at <= run.now - HOUR for row in found)
        is_due = len(found) >= _MANY_SMALL or old >= _OLD_SMALL or (run.is_full and len(found) >= _OLD_SMALL)
        return f"{counted(len(found), 'small pack')} in a row" if is_due else None

    def work(self, run: Upkeep) -> Work:
        """Merge the newest of them, as many as the budget has time for."""
        most = max(_FEWEST_AT_ONCE, int(run.left_s * _MERGED_A_SECOND))
        return _merge(run, PackGroup(tuple(self._run(run)[-most:]), 1))

    def _run(self, run: Upkeep) -> list[PackRow]:
        return newest_run(run.merge_candidates(), 0, DEFAULT_SMALL_BYTES)


@dataclass(frozen=True, slots=True)
class MergeTiers:
    """Merges the packs of a full tier into the next tier."""

    name: str = "merge tiers"

    def due(self, run: Upkeep) -> str | None:
        """Due with a full tier."""
        groups = full_tiers(run.merge_candidates())
        return f"{counted(len(groups[0].packs), 'pack')} of tier {groups[0].tier - 1}" if groups else None

    def work(self, run: Upkeep) -> Work:
        """Merge the lowest full tier."""
        groups = full_tiers(run.merge_candidates())
        return _merge(run, groups[0]) if groups else Work({})


@dataclass(frozen=True, slots=True)
class RewriteSparse:
    """Rewrites packs with few live bytes, to free the dead ones."""

    name: str = "sparse"

    def due(self, run: Upkeep) -> str | None:
        """Due with a large pack that was less than 60 % alive in the last mark, or one with all damages repaired."""
        found = self._sparse(run)
        return f"mostly dead or healed: {counted(len(found), 'pack')}" if found else None

    def work(self, run: Upkeep) -> Work:
        """Rewrite the packs with repaired damages and the emptiest ones, up to 512 MiB of live bytes."""
        chosen: list[PackRow] = []
        total = 0
        for row in self._sparse(run):
            total += row.live_bytes or 0
            if chosen and total > _SPARSE_BYTES:
                break
            chosen.append(row)
        return (
            _merge(run, PackGroup(tuple(chosen), max((row.tier for row in chosen), default=0))) if chosen else Work({})
        )

    @staticmethod
    def _sparse(run: Upkeep) -> list[PackRow]:
        candidates = run.merge_candidates()
        healed = healed_packs(run.backend, candidates)
        found = [row for row in candidates if row.size_bytes >= DEFAULT_SMALL_BYTES and row not in healed]
        alive = {row.name: 1.0 if row.live_bytes is None else row.live_bytes / row.size_bytes for row in found}
        sparse = sorted((row for row in found if alive[row.name] < DEFAULT_MIN_LIVE), key=lambda row: alive[row.name])
        return healed + sparse


@dataclass(frozen=True, slots=True)
class Major:
    """Runs a full mark, which also finds packs that only expired commits reference."""

    name: str = "full mark"

    def due(self, run: Upkeep) -> str | None:
        """Due if a fifth of the commits has expired since the last full mark, or after 30 days."""
        if run.is_full:
            return "asked for"
        since = run.task(self.name).done_at or run.task(catalog.FORGOTTEN).done_at
        if since is not None and since <= run.now - _FULL_MARK_AFTER:
            return "not done for 30 days"
        # Older versions counted in the task's own row.
        forgotten = run.task(catalog.FORGOTTEN).watermark + run.task(self.name).watermark
        if not forgotten:
            return None
        with run.backend.catalog.read() as connection:
            is_much = forgotten >= _FORGOTTEN_SHARE * catalog.count_commits(connection)
        return f"forgotten: {counted(forgotten, 'commit')}" if is_much else None

    def work(self, run: Upkeep) -> Work:
        """Collect garbage as `gc` does."""
        found = collect_garbage(
            run.backend, grace=run.grace, expire=run.expire, progress=lambda step: run.report(step.stage, step.done)
        )
        with run.backend.catalog.write() as connection:
            run.tasks[catalog.FORGOTTEN] = TaskRow(catalog.FORGOTTEN, run.now)
            catalog.note_task(connection, run.tasks[catalog.FORGOTTEN])
        did = {"forgotten": found.forgotten, "condemned": found.condemned, "deleted": found.deleted}
        return Work(did, watermark=0, problem=_unreadable(found.unreadable))


@dataclass(frozen=True, slots=True)
class CollectOrphans:
    """Deletes packs that the catalog has no row of, once they are old enough."""

    name: str = "orphans"

    def due(self, run: Upkeep) -> str | None:
        """Daily."""
        return run.daily(self.name)

    def work(self, run: Upkeep) -> Work:
        """List all packs once."""
        guard = Guard.survey(run.backend)
        marks = mark_new(run.backend, progress=lambda pages: run.report("mark", pages))
        with run.backend.catalog.read() as connection:
            alive = rounds.names_with_round(connection)
        found = collect_orphans(
            run.backend,
            guard,
            alive | marks.found.keys() | marks.kept,
            grace=run.grace,
            dry_run=False,
            progress=lambda done: run.report("list", done),
        )
        return Work({"strangers": len(found.strangers), "left_over": len(found.left_over)})


@dataclass(frozen=True, slots=True)
class Verify:
    """Verifies every byte of every pack once a month, some packs each day."""

    name: str = "verify"

    def due(self, run: Upkeep) -> str | None:
        """Daily."""
        return run.daily(self.name)

    def work(self, run: Upkeep) -> Work:
        """Read a thirtieth of the packs, from the last run's position on, or as many as the budget has time for."""
        with run.backend.catalog.read() as connection:
            names = sorted(row.name for row in list_packs(connection) if row.state == LIVE)
        position = run.task(self.name).watermark
        names = [one for one in names if _position(one) > position] + [
            one for one in names if _position(one) <= position
        ]
        share = names[: math.ceil(len(names) / _VERIFY_DAYS)]
        damages: list[str] = []
        packs = size_bytes = 0
        for check in check_packs(run.backend.objects, share):
            packs, size_bytes, position = packs + 1, size_bytes + check.size_bytes, _position(check.name)
            if check.damages and not is_collected(run.backend, check.name):
                damages.append(f"pack {check.name}: {check.damages[0]}")
                self._note(run, check)
            run.report("verify", packs)
            if run.left_s <= 0:
                break
        problem = f"{'; '.join(damages[:3])}; run fsck, which names all damage" if damages else None
        return Work({"packs": packs, "bytes": size_bytes, "damaged": len(damages)}, watermark=position, problem=problem)

    @staticmethod
    def _note(run: Upkeep, check: PackCheck) -> None:
        """Record damaged contents, so that no new file refers to them, and a later write repairs them."""
        frames: dict[int, list[Damaged]] = {}
        for one in check.lost:
            frames.setdefault(one.offset, []).append(one)
        with run.backend.catalog.write() as connection:
            for offset, lost in frames.items():
                note_damages(connection, check.name, lost, run.backend.clock(), offset=offset)


def _merge(run: Upkeep, group: PackGroup) -> Work:
    moved: Moved = merge_packs(run.backend, group, report=run.report)
    merged = [row.size_bytes for row in group.packs if row.name not in moved.left]
    did = {"packs": len(merged), "bytes": sum(merged), "new_packs": len(moved.packs), "trees": moved.trees}
    problem = None
    if moved.left:
        left = f"not merged, because the pack or a page above it can't be read: {_some(moved.left)}"
        problem = f"{left}; {WAYS_OUT}"
    return Work(did, bytes_written=moved.bytes, is_over=False, problem=problem)


def _unreadable(commit_ids: Collection[str]) -> str | None:
    """Return the problem for commits with unreadable pages and the way out, or None without such commits."""
    if not commit_ids:
        return None
    return f"can't be read in full, so all packs that they may need are kept: {_some(commit_ids)}; {WAYS_OUT}"


def _some(names: Collection[str]) -> str:
    shown = sorted(names)[:_NAMED]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _position(name: PackName) -> int:
    return int(name[:_POSITION_DIGITS], 16)


STEPS: Final[Sequence[Step]] = (
    Forget(),
    CollectNew(),
    LeadToHealed(),
    MergeNew(),
    MergeTiers(),
    RewriteSparse(),
    CollectNew(),  # for the packs that the merges have emptied
    Major(),
    CollectOrphans(),
    Verify(),
)
"""All steps, in the order of a run."""
