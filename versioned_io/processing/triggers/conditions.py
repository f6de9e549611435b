"""The conditions of a trigger: which of them hold, and the sentence that says so."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from versioned_io.errors.root import counted
from versioned_io.model.trigger_rules import MetricChange, TriggerRule


class Verdict(NamedTuple):
    """Whether a rule or a condition holds, and why."""

    holds: bool
    because: str


class ChangedFiles(NamedTuple):
    """How much a branch would change if its trigger fired.

    Attributes:
        size_bytes: The new sizes of the files that were added or modified, and the old ones of deleted files.
    """

    files: int
    size_bytes: int


class MetricValues(NamedTuple):
    """A number on both branches; None where it can't be read.

    Attributes:
        problem: Why the source has no number; empty if it has one.
    """

    old: Decimal | None
    new: Decimal | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a branch is behind its source. Files are compared and read when a condition asks for it.

    Attributes:
        commits: The commits of the source's history that the branch does not have.
        since: When the source came ahead: the time of the first of these commits.
        fired_at: When the trigger last fired; None if it never did.
        set_at: When the trigger was set.
        now: The time of the evaluation.
    """

    commits: int
    since: datetime
    fired_at: datetime | None
    set_at: datetime
    now: datetime
    changed: Callable[[], ChangedFiles]
    metric: Callable[[MetricChange], MetricValues]


def judge(rule: TriggerRule, lag: Lag) -> Verdict:
    """Return whether *rule* holds for a branch that is behind, and why.

    Conditions that need no reading are judged first, and no further one once the answer is known.
    """
    limit = _limit(rule, lag)
    if limit is not None:
        return limit
    seen: list[Verdict] = []
    for verdict in _verdicts(rule, lag):
        seen.append(verdict)
        if verdict.holds is rule.any_:
            return verdict if rule.any_ else Verdict(holds=False, because=verdict.because)
    if not seen:
        return Verdict(holds=True, because="the source has moved")
    return Verdict(holds=not rule.any_, because="; ".join(one.because for one in seen))


def _limit(rule: TriggerRule, lag: Lag) -> Verdict | None:
    """Return the refusal of the limit on firings; None if it allows one now."""
    if rule.at_most_every_s is None or lag.fired_at is None:
        return None
    again = lag.fired_at + timedelta(seconds=rule.at_most_every_s)
    if lag.now >= again:
        return None
    return Verdict(holds=False, because=f"it fired at {_shown(lag.fired_at)}, and may fire again at {_shown(again)}")


def _verdicts(rule: TriggerRule, lag: Lag) -> Iterator[Verdict]:
    if rule.commits is not None:
        text = f"{counted(lag.commits, 'commit')} ahead, {rule.commits} wanted"
        yield Verdict(lag.commits >= rule.commits, text)
    if rule.cron is not None:
        yield _of_schedule(rule, lag)
    if rule.changed_files is not None or rule.changed_bytes is not None:
        changed = lag.changed()
        if rule.changed_files is not None:
            text = f"{counted(changed.files, 'file')} changed, {rule.changed_files} wanted"
            yield Verdict(changed.files >= rule.changed_files, text)
        if rule.changed_bytes is not None:
            text = f"{counted(changed.size_bytes, 'byte')} changed, {rule.changed_bytes} wanted"
            yield Verdict(changed.size_bytes >= rule.changed_bytes, text)
    if rule.metric is not None:
        yield _of_metric(rule.metric, lag.metric(rule.metric))


def _of_schedule(rule: TriggerRule, lag: Lag) -> Verdict:
    """Return whether an instant has come while the source was ahead, since the last firing and under this rule.

    So the answer does not depend on when somebody looks. An instant without a new commit is over when one arrives.
    """
    schedule = rule.schedule
    before = max(lag.fired_at or lag.set_at, lag.set_at)
    # An instant at the very time of the commit takes the commit along.
    after = max(before, lag.since - timedelta(microseconds=1))
    instant = None if schedule is None else schedule.next_after(after)
    if instant is None:
        return Verdict(holds=False, because=f"{rule.cron} has no further instant")
    if instant <= lag.now:
        return Verdict(holds=True, because=f"{rule.cron} came at {_shown(instant)}")
    return Verdict(holds=False, because=f"{rule.cron} comes next at {_shown(instant)}")


def _of_metric(metric: MetricChange, values: MetricValues) -> Verdict:
    if values.new is None:
        return Verdict(holds=False, because=values.problem)
    if values.old is None:
        return Verdict(holds=True, because=f"{metric.key} is {values.new}, and the branch has no number")
    holds = abs(values.new - values.old) >= Decimal(metric.change)
    return Verdict(holds, f"{metric.key} went from {values.old} to {values.new}; a change of {metric.change} counts")


def _shown(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
