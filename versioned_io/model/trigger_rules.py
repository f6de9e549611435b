"""Triggers: when a branch follows another, what fired, and what still waits."""

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from versioned_io.errors import IntegrityError, InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.model.arguments import (
    LONGEST_S,
    parse_count,
    parse_duration,
    parse_flag,
    parse_name,
    parse_optional_count,
)
from versioned_io.model.identifiers import CommitId, LineageId
from versioned_io.model.paths import parse_path
from versioned_io.model.schedules import CronSchedule

_SIZE: Final = re.compile(r"(?P<number>\d{1,18}(?:\.\d{1,9})?)\s*(?P<unit>[kmgtp]i?)?b?", re.ASCII | re.IGNORECASE)
_UNITS: Final = ("", "k", "m", "g", "t", "p")
_SPAN: Final = re.compile(r"(\d{1,12})\s*([smhdw])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


@dataclass(frozen=True, slots=True)
class MetricChange:
    """A number in a JSON file of the branch, and by how much it must have changed; made by `metric`.

    Attributes:
        key: The name of the number; of an object inside of another one, the names joined by dots.
        change: The least change, up or down, as a decimal text: 0.57 and 0.58 differ by exactly 0.01.
    """

    path: str
    key: str
    change: str


def metric(path: str, key: str, change: float | str) -> MetricChange:
    """Return the condition that a number in a JSON file has changed by at least *change*, up or down.

    A number that appears for the first time counts as changed. A file that is missing, is not JSON, or has no number
    at *key* does not count; `Store.run_triggers` names the reason.

    >>> vio.metric("metrics.json", "auc", change=0.01)
    MetricChange(path='metrics.json', key='auc', change='0.01')

    Args:
        path: The file in the source branch, of at most 16 MiB.
        key: The name of the number, such as ``auc`` or ``test.auc``.

    Raises:
        InvalidInputError: *path* breaks the path rules, *key* is empty, or *change* is not a number above zero.
    """
    if isinstance(change, bool) or not isinstance(change, int | float | str | Decimal):
        raise _refusal("change", change, "a number above zero")
    try:
        least = Decimal(str(change))
    except InvalidOperation:
        raise _refusal("change", change, "a number above zero") from None
    if not least.is_finite() or least <= 0:
        raise _refusal("change", change, "a number above zero")
    return MetricChange(parse_path(path), parse_name(key, "key of a metric"), str(change))


@dataclass(frozen=True, slots=True)
class TriggerRule:
    """When a branch follows another.

    Attributes:
        commits: At least this many commits ahead.
        changed_bytes: At least this many bytes in the files that differ: of each its new size, of a deleted file its
            old one.
        changed_files: At least this many files that differ.
        metric: A number that has changed.
        cron: A schedule of which an instant has come since the branch fell behind.
        time_zone: The time zone of *cron*.
        at_most_every_s: The least seconds between two firings, whatever else holds.
        any_: Whether one condition suffices; otherwise all must hold. The limit *at_most_every_s* always counts.
    """

    commits: int | None = None
    changed_bytes: int | None = None
    changed_files: int | None = None
    metric: MetricChange | None = None
    cron: str | None = None
    time_zone: str = "UTC"
    at_most_every_s: float | None = None
    any_: bool = True

    @property
    def schedule(self) -> CronSchedule | None:
        """The schedule of *cron*."""
        return None if self.cron is None else CronSchedule.parse(self.cron, self.time_zone)

    @property
    def depends_on_time(self) -> bool:
        """Whether the rule may hold later although no branch has moved."""
        return self.cron is not None or self.at_most_every_s is not None

    def to_json(self) -> str:
        """Return the rule as the catalog and the journal keep it.

        >>> vio.TriggerRule(commits=10).to_json()
        '{"any": true, "commits": 10}'
        """
        values = {name.rstrip("_"): value for name, value in asdict(self).items() if value is not None}
        if self.cron is None:
            del values["time_zone"]
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "TriggerRule":
        """Return the rule that `to_json` wrote.

        >>> vio.TriggerRule.from_json('{"any": true, "commits": 10}').commits
        10

        Raises:
            IntegrityError: It is malformed.
        """
        try:
            values = json.loads(text)
            wanted = values.get("metric")
            every_s = values.get("at_most_every_s")
            return build_rule(
                commits=values.get("commits"),
                changed_bytes=values.get("changed_bytes"),
                changed_files=values.get("changed_files"),
                metric=None if wanted is None else metric(**wanted),
                cron=values.get("cron"),
                time_zone=values.get("time_zone", "UTC"),
                at_most_every=None if every_s is None else timedelta(seconds=every_s),
                any_=values["any"],
            )
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            msg = f"the rule of a trigger {quoted(text)} is malformed ({error}); run fsck"
            raise IntegrityError(msg) from error


def build_rule(
    *,
    commits: int | None,
    changed_bytes: int | str | None,
    changed_files: int | None,
    metric: MetricChange | None,
    cron: str | None,
    time_zone: str,
    at_most_every: timedelta | str | None,
    any_: bool,
) -> TriggerRule:
    """Return the rule of these conditions.

    Raises:
        InvalidInputError: A condition is malformed, or there is none.
    """
    if metric is not None and not isinstance(metric, MetricChange):
        raise _refusal("metric", metric, "what versioned_io.metric() returns")
    every = None if at_most_every is None else _parse_span(at_most_every, "at_most_every").total_seconds()
    rule = TriggerRule(
        commits=parse_optional_count(commits, "commits"),
        changed_bytes=None if changed_bytes is None else parse_bytes(changed_bytes, "changed_bytes"),
        changed_files=parse_optional_count(changed_files, "changed_files"),
        metric=metric,
        cron=cron,
        time_zone=time_zone,
        at_most_every_s=every,
        any_=parse_flag(any_, "any_"),
    )
    CronSchedule.parse("@daily" if cron is None else cron, time_zone)
    if rule == TriggerRule(time_zone=time_zone, any_=any_):
        msg = "a trigger needs a condition: commits=1 (--commits 1) makes the branch follow every commit"
        raise InvalidInputError(msg)
    return rule


def parse_bytes(value: int | str, name: str) -> int:
    """Return a number of bytes: a whole number, or a text such as ``1GB`` (10^9) or ``1 GiB`` (2^30).

    Raises:
        InvalidInputError: It is neither; *name* says in the message what it is.
    """
    if not isinstance(value, str):
        return parse_count(value, name)
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise _refusal(name, value, "a number of bytes, such as 1000000, '500 MB' or '1 GiB'")
    unit = (match["unit"] or "").lower()
    factor = (1024 if unit.endswith("i") else 1000) ** _UNITS.index(unit.rstrip("i"))
    return parse_count(int(Decimal(match["number"]) * factor), name)


def _parse_span(value: timedelta | str, name: str) -> timedelta:
    if not isinstance(value, str):
        return parse_duration(value, name)
    match = _SPAN.fullmatch(value.strip())
    if match is None:
        raise _refusal(name, value, "a time such as '90s', '15m', '1h', '2d' or '1w'")
    return timedelta(seconds=min(int(match[1]) * _SECONDS[match[2]], LONGEST_S))


@dataclass(frozen=True, slots=True)
class TriggerInfo:
    """A trigger: a branch that follows another.

    Attributes:
        branch: The branch that follows, as ``repo@branch``.
        on: The branch that it follows, as ``repo@branch``.
        fired_at: When it last fired; None if it never did.
    """

    branch: str
    on: str
    rule: TriggerRule
    set_at: datetime
    fired_at: datetime | None


@dataclass(frozen=True, slots=True)
class Firing:
    """A branch that a trigger has moved.

    Attributes:
        old, new: The heads of the branch before and afterwards.
        lineage_id: That of the commit which fired, and of *new*.
        because: The condition that held, as a sentence.
    """

    branch: str
    on: str
    old: CommitId | None
    new: CommitId
    lineage_id: LineageId
    because: str


@dataclass(frozen=True, slots=True)
class WaitingTrigger:
    """A trigger that did not fire although its branch is behind.

    Attributes:
        because: The missing condition or the obstacle, as a sentence.
        is_blocked: Whether it waits for a person: a firing would discard commits, or can't be carried out.
    """

    branch: str
    on: str
    because: str
    is_blocked: bool = False


@dataclass(frozen=True, slots=True)
class TriggerRound:
    """The result of evaluating all triggers once.

    Attributes:
        fired: The firings, in their order.
        waiting: The triggers whose branches are behind, and that did not fire.
    """

    fired: tuple[Firing, ...] = ()
    waiting: tuple[WaitingTrigger, ...] = ()


def _refusal(name: str, value: object, wanted: str) -> InvalidInputError:
    msg = f"{name} must be {wanted}, not {quoted(value)}"
    return InvalidInputError(msg)
