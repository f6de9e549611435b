"""How far a branch is behind the branch that it follows: commits, files, bytes, and numbers in files."""

import json
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache, partial
from typing import Final, NoReturn

import pyarrow.compute as pc

from versioned_io.catalog.commits import ancestor_at, get_commit
from versioned_io.catalog.trigger_rows import TriggerRow, moved_at
from versioned_io.errors import NotAFileError, NotFoundError
from versioned_io.model.commits import Commit
from versioned_io.model.trigger_rules import MetricChange
from versioned_io.processing.seen_histories import commits_after
from versioned_io.processing.triggers.conditions import ChangedFiles, Lag, MetricValues
from versioned_io.storage.pages.diff import diff
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.history.merge_bases import merge_bases
from versioned_io.versioning.snapshots.snapshot import Snapshot

_LARGEST_METRICS: Final = 16 * 1024 * 1024
_MOST_DIGITS: Final = 10_000
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Ends:
    """The commits at both ends of a trigger.

    Attributes:
        head: The head of the source.
        reached: The commit of the source that the branch has; None if it has none.
        own: The head of the branch; *reached*, unless the branch holds copies.
        is_ahead: Whether *reached* is in the history of *head*.
    """

    head: Commit
    reached: Commit | None
    own: Commit | None
    is_ahead: bool


def find_ends(backend: Backend, row: TriggerRow) -> Ends:
    """Return the commits at both ends of a trigger whose branch is behind.

    Cost: 2 SELECTs if the branch has no commit, 5 otherwise, 1 more for a branch with copies. Where the source was set
        back, also the histories up to the newest common commit.
    """
    with backend.catalog.ask() as connection:
        head = get_commit(connection, str(row.source.head))
        reached = None if row.reached is None else get_commit(connection, row.reached)
        own = reached
        if row.head is not None and row.head != row.reached:
            own = get_commit(connection, row.head)
        is_ahead = reached is None or ancestor_at(connection, head.id, reached.number) == reached.id
    if not is_ahead and reached is not None:
        is_ahead = merge_bases(backend, [reached], [head]) == [reached]
    return Ends(head, reached, own, is_ahead)


def lost_commits(backend: Backend, row: TriggerRow, ends: Ends) -> list[Commit]:
    """Return the commits that were made on the branch itself and that a firing would take off it, newest first.

    Commits of the source that it no longer has are not among them: the branch follows.

    Cost: none if the source is ahead; otherwise 2 SELECTs for each 200 commits since they parted.
    """
    if ends.is_ahead or ends.reached is None:
        return []
    gone = commits_after(backend, ends.head, ends.reached)
    return [commit for commit in gone if commit.branch == row.branch.branch]


def measure(backend: Backend, row: TriggerRow, ends: Ends, now: datetime) -> Lag:
    """Return how far the branch is behind; files are compared and read when a condition asks.

    Cost: 3 SELECTs; where the source was set back, 2 for each 200 commits since they parted. The comparison reads the
        pages that differ.
    """
    commits, since = _ahead(backend, row, ends)
    return Lag(
        commits=commits,
        since=since,
        fired_at=row.fired_at,
        set_at=row.set_at,
        now=now,
        changed=lru_cache(partial(_changed, backend, ends)),
        metric=partial(_metric, backend, ends),
    )


def _ahead(backend: Backend, row: TriggerRow, ends: Ends) -> tuple[int, datetime]:
    """Return how many commits the branch lacks, and when the source came ahead."""
    number = 0 if ends.reached is None else ends.reached.number
    with backend.catalog.ask() as connection:
        is_direct = ends.reached is None or ancestor_at(connection, ends.head.id, number) == ends.reached.id
        if is_direct:
            first = ancestor_at(connection, ends.head.id, number + 1)
            return ends.head.number - number, get_commit(connection, first or ends.head.id).created_at
    found = list(commits_after(backend, ends.reached, ends.head))
    if found:
        return len(found), found[-1].created_at
    with backend.catalog.ask() as connection:  # the source was set back, and has no commit that the branch lacks
        return 0, moved_at(connection, row.source) or ends.head.created_at


def _changed(backend: Backend, ends: Ends) -> ChangedFiles:
    before = None if ends.own is None else ends.own.readable_root
    found = diff(before, ends.head.readable_root, source=backend.pages)
    sizes = pc.coalesce(found.column("new_size"), found.column("old_size"))
    return ChangedFiles(found.num_rows, pc.sum(sizes).as_py() or 0)


def _metric(backend: Backend, ends: Ends, metric: MetricChange) -> MetricValues:
    old = None if ends.own is None else _number(backend, ends.own, metric)[0]
    return MetricValues(old, *_number(backend, ends.head, metric))


def _number(backend: Backend, commit: Commit, metric: MetricChange) -> tuple[Decimal | None, str]:
    """Return a number in a JSON file of a commit, or None and the reason why there is none.

    Raises:
        StorageError, IntegrityError: The file can't be read.
    """
    snapshot = Snapshot(backend, commit.repo, commit.id, commit, is_noted=False)
    try:
        if snapshot.stat(metric.path).size > _LARGEST_METRICS:
            return None, f"{metric.path} is larger than {_LARGEST_METRICS} bytes, so its metrics are not read"
        data = snapshot.read(metric.path)
    except NotFoundError:
        return None, f"{metric.path} does not exist"
    except NotAFileError:
        return None, f"{metric.path} is a directory"
    try:
        found = json.loads(data, parse_float=_decimal, parse_int=_decimal, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        return None, f"{metric.path} is not JSON ({error})"
    value = _at(found, metric.key)
    return value, "" if value is not None else f"{metric.path} has no number at {metric.key!r}"


def _at(values: object, key: str) -> Decimal | None:
    """Return the number at *key*: a name, or names joined by dots."""
    if isinstance(values, dict) and key in values:
        return values[key] if isinstance(values[key], Decimal) else None
    name, dot, rest = key.partition(".")
    return _at(values.get(name), rest) if dot and isinstance(values, dict) else None


def _decimal(text: str) -> Decimal:
    """Return a number. One that is too large or too small to be compared is refused with a ValueError."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = None
    if value is None or (value and abs(value.adjusted()) > _MOST_DIGITS):
        msg = f"{text[:_SHOWN]} is out of range"
        raise ValueError(msg)
    return value


def _refuse(constant: str) -> NoReturn:
    msg = f"{constant} is not a number"
    raise ValueError(msg)
