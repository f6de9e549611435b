"""Evaluating triggers: which hold now, and moving their branches, each in one SQL transaction.

Source: docs/design/0020-triggers.md.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from versioned_io.catalog.collection import catalog_time
from versioned_io.catalog.plain import PlainConnection
from versioned_io.catalog.repo_rows import BranchRow
from versioned_io.catalog.repos import hold_commit, lock_branch, set_head
from versioned_io.catalog.trigger_rows import TriggerRow, find_trigger, list_triggers, note_fired
from versioned_io.errors import CommitForgottenError, ConflictError, RefNotFoundError
from versioned_io.model.commits import Commit
from versioned_io.model.journal import BY_TRIGGER, Action, JournalEntry
from versioned_io.model.trigger_rules import Firing, TriggerRound, TriggerRule, WaitingTrigger
from versioned_io.processing.triggers.conditions import Verdict, judge
from versioned_io.processing.triggers.copies import commit_copy
from versioned_io.processing.triggers.lagging import Ends, find_ends, lost_commits, measure
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.backend.journaling import append_entry

_ATTEMPTS: Final = 8
"""How often a trigger is judged again in one round when its branches move meanwhile."""

_evaluating = threading.local()


@dataclass(slots=True)
class TriggerEvaluator:
    """Evaluates all triggers of a store, as often as asked.

    A branch that waits is not compared again until it or its source moves.
    """

    backend: Backend
    _waits: dict[int, tuple[TriggerRow, WaitingTrigger]] = field(default_factory=dict)

    def run(self) -> TriggerRound:
        """Fire every trigger that holds, sources before the branches that follow them, and return the firings.

        A chain of triggers fires in one round. Each firing is one SQL transaction, so a crash leaves a prefix of them,
        and the next round makes the others.

        Raises:
            CatalogOlderError, NotOwnerError: As for any write. Nothing more was fired.
            StorageError: The object store or the catalog failed. Earlier firings stand. Call again.

        Cost: as `Store.run_triggers`.
        """
        with self.backend.catalog.ask() as connection:
            rows = list_triggers(connection)
        fired: list[Firing] = []
        waiting: list[WaitingTrigger] = []
        moved: set[int] = set()
        for row in _sources_first(rows):
            if not row.is_behind and row.source.id not in moved:
                continue
            result = self._settle(row)
            if isinstance(result, Firing):
                fired.append(result)
                moved.add(row.branch_id)
            elif result is not None:
                waiting.append(result)
        return TriggerRound(tuple(fired), tuple(waiting))

    def _settle(self, seen: TriggerRow) -> Firing | WaitingTrigger | None:
        """Fire a trigger if it holds. If its branches move meanwhile, judge it again."""
        for _ in range(_ATTEMPTS):
            with self.backend.catalog.ask() as connection:
                row = find_trigger(connection, seen.branch_id)
            if row is None or not row.is_behind:
                return None
            known = self._waits.get(row.branch_id)
            if known is not None and known[0] == row:
                return known[1]
            result = self._fire_or_wait(row)
            if isinstance(result, WaitingTrigger):
                if result.is_blocked or not TriggerRule.from_json(row.rule).depends_on_time:
                    self._waits[row.branch_id] = row, result
                return result
            if result is not None:
                return result
        return _waiting(seen, "other processes move the branches at the moment; the next evaluation continues")

    def _fire_or_wait(self, row: TriggerRow) -> Firing | WaitingTrigger | None:
        try:
            return self._judge(row)
        except CommitForgottenError as error:
            return _waiting(row, f"{error}", is_blocked=True)

    def _judge(self, row: TriggerRow) -> Firing | WaitingTrigger | None:
        """Return the firing of a trigger, or the reason to wait; None if its branches have moved meanwhile."""
        ends = find_ends(self.backend, row)
        blocked = _obstacle(self.backend, row, ends)
        if blocked:
            return _waiting(row, blocked, is_blocked=True)
        now = _now(self.backend)
        verdict = judge(TriggerRule.from_json(row.rule), measure(self.backend, row, ends, now))
        if not verdict.holds:
            return _waiting(row, verdict.because)
        return _fire(self.backend, row, ends, verdict)


def evaluate_after(backend: Backend, commits: Sequence[Commit]) -> None:
    """Evaluate the triggers after these commits, in the thread that made them; for `Store.after_commit`.

    A firing across repos commits, too. Its own round then fires the branches that follow it.
    """
    if getattr(_evaluating, "is_on", False) or not commits:
        return
    _evaluating.is_on = True
    try:
        TriggerEvaluator(backend).run()
    finally:
        _evaluating.is_on = False


def _sources_first(rows: Iterable[TriggerRow]) -> Iterator[TriggerRow]:
    """Yield the triggers in an order in which each comes after the one that its source follows."""
    left = {row.branch_id: row for row in rows}
    while left:
        ready = [one for one, row in left.items() if row.source.id not in left]
        # A loop can't be set; if a catalog has one all the same, which fsck reports, it is gone through once.
        yield from [left.pop(one) for one in ready or list(left)]


def _obstacle(backend: Backend, row: TriggerRow, ends: Ends) -> str:
    """Return why a firing would lose something, as a sentence; empty if it would not."""
    undo = f"`versioned reset {row.branch} ...` to a commit without them, or `versioned trigger delete {row.branch}`"
    if row.is_copy:
        is_copy = ends.own is None or (ends.reached is not None and ends.own.tree_digest == ends.reached.tree_digest)
        return "" if is_copy else f"{row.branch} has changes of its own, which a copy would replace: {undo} ends that"
    if row.is_protected and not ends.is_ahead:
        return f"{row.branch} is protected, and {row.source.ref} no longer has its head"
    lost = lost_commits(backend, row, ends)
    if not lost:
        return ""
    return f"{row.branch} has commits of its own, the newest {lost[0].id}, that {row.source.ref} does not have: {undo}"


def _fire(backend: Backend, row: TriggerRow, ends: Ends, verdict: Verdict) -> Firing | None:
    """Move the branch to the source's head, or copy it; return None if a branch or the trigger has changed."""
    try:
        if row.is_copy:
            made = commit_copy(backend, row, ends, verdict.because)
        else:
            made = ends.head if _move(backend, row, ends.head, verdict.because) else None
    except (RefNotFoundError, ConflictError):
        return None  # the next look finds what has become of the branch
    if made is None:
        return None
    branch, source = str(row.branch), str(row.source.ref)
    return Firing(branch, source, row.head, made.id, made.lineage_id, verdict.because)


def _move(backend: Backend, row: TriggerRow, head: Commit, because: str) -> bool:
    """Move the branch and note the firing in one SQL transaction, unless the trigger is no longer as it was judged."""
    with backend.catalog.write() as connection:
        target = lock_branch(connection, BranchRow(row.branch_id, 0, row.branch, row.head, row.epoch))
        # Read with the branch locked: every other evaluation that would fire waits for it.
        present = find_trigger(connection, row.branch_id)
        if present is None or _of_branch(present) != _of_branch(row):
            return False
        now = catalog_time(connection, backend.clock())
        hold_commit(connection, head.id)
        details = {"reason": BY_TRIGGER, "source": str(row.source.ref), "because": because}
        entry = JournalEntry(target.ref.repo, target.ref.branch, Action.MOVE_BRANCH, row.head, head.id, details)
        sequence = append_entry(connection, backend.objects, entry, now)
        set_head(connection, row.branch_id, head.id, sequence)
        note_fired(connection, row.branch_id, now)
    return True


def _of_branch(row: TriggerRow) -> tuple[object, ...]:
    """Return the facts that must be the same as when a trigger was judged; the source may have moved on."""
    return row.source.id, row.rule, row.set_at, row.fired_at, row.head, row.epoch, row.is_protected


def _now(backend: Backend) -> datetime:
    with backend.catalog.ask(is_one_state=False) as connection:
        at = backend.clock()
        return at if isinstance(connection, PlainConnection) else catalog_time(connection, at)


def _waiting(row: TriggerRow, because: str, *, is_blocked: bool = False) -> WaitingTrigger:
    return WaitingTrigger(str(row.branch), str(row.source.ref), because, is_blocked)
