"""Expiry of commits: those reachable from names are kept, within the retention rules of their branches."""

from collections import ChainMap
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from versioned_io.catalog import collection as catalog
from versioned_io.catalog.collection import CommitRow
from versioned_io.catalog.dates import settle_dates
from versioned_io.catalog.held_cursors import held_at_heads, renew_holds
from versioned_io.errors import IntegrityError
from versioned_io.model.arguments import LONGEST_S
from versioned_io.model.identifiers import CommitId
from versioned_io.model.journal import Action, JournalEntry
from versioned_io.model.retention import RetentionRule
from versioned_io.storage.objects.probing import store_time
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.backend.journaling import append_entry


def forget_unreachable(backend: Backend, *, expire: timedelta, dry_run: bool) -> list[CommitId]:
    """Expire the data of commits that are no longer reachable, and return them. Their records and lineage stay.

    A commit is kept if it is reachable from a branch, a tag, a consumer's cursor, or a journal entry of the last
    *expire*. It is also kept if it is younger than *expire*, or held by a cursor outside of the store; see
    `Store.hold_cursor`. For the commits of a branch with a retention rule this is limited to those that the rule keeps,
    or that are pointed at directly.

    All dates along the history decide the age of a commit, so one wrong date changes nothing. The current time is the
    earlier of the catalog's and the object store's, so a clock that is ahead expires nothing early.

    Writers don't wait during the scan of the commits. The candidates are found first. Then, with all names locked, only
    the commits that names have come to point at since are checked.

    Cost: 1 PUT, 1 LIST and 1 DELETE for the time, and 11 SELECTs. Each 500 expired commits take 8 SELECTs and 1 UPDATE
        more. Each of their repos takes 1 PUT. Memory for a few facts of each commit.
    """
    stored_at = store_time(backend.objects)
    backend.clock_watch.compare(backend.clock(), stored_at, "the object store's clock says", is_past=False)
    latest = stored_at + catalog.CLOCK_TOLERANCE
    with backend.catalog.read() as connection:
        now = min(latest, catalog.catalog_time(connection, backend.clock()))
        held = held_at_heads(connection)
        seen = _find_candidates(connection, now, expire)
    if held and not dry_run:
        with backend.catalog.write() as connection:
            renew_holds(connection, held, now)
    if dry_run or not seen.gone:
        return seen.gone
    with backend.catalog.write() as connection:
        catalog.hold_names(connection)
        gone = _still_gone(connection, seen, now, expire)
        catalog.forget_commits(connection, gone)
        repos = {one: seen.commits[one].repo for one in gone}
        for repo in sorted(set(repos.values())):
            forgotten = sorted(one for one in gone if repos[one] == repo)
            entry = JournalEntry(repo, "", Action.EXPIRE, details={"commits": list(forgotten)})
            append_entry(connection, backend.objects, entry, backend.clock())
        return gone


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The commits that may expire, and the facts that this was decided by."""

    commits: Mapping[CommitId, CommitRow]
    named: set[CommitId]
    rules: Mapping[tuple[str, str], str]
    decided: set[CommitId]
    gone: list[CommitId]


def _find_candidates(connection: Connection, now: datetime, expire: timedelta) -> _Candidates:
    commits = catalog.live_commits(connection)
    times = _times(commits, now)
    named = catalog.named_commits(connection, now - expire, now)
    rules = catalog.branch_rules(connection)
    kept, decided = _kept(commits, times, named, rules, now)
    gone = [commit.id for commit in commits.values() if commit.id not in kept and times[commit.id] < now - expire]
    return _Candidates(commits, named, {place: rule for place, (_, rule) in rules.items()}, decided, gone)


def _still_gone(connection: Connection, seen: _Candidates, now: datetime, expire: timedelta) -> list[CommitId]:
    """Return the candidates that may still expire after names have moved.

    A walk from a new name ends at commits that were reachable before: for those the decision stands.
    """
    rules = {place: rule for place, (_, rule) in catalog.branch_rules(connection).items()}
    if rules != seen.rules:
        return _find_candidates(connection, now, expire).gone
    fresh = catalog.named_commits(connection, now - expire, now) - seen.named
    commits = ChainMap(catalog.commits_up_to(connection, fresh, seen.commits), dict(seen.commits))
    kept, _ = _reachable(commits, fresh, lambda commit: (commit.repo, commit.branch) in rules, ends=seen.decided)
    kept |= fresh
    return [one for one in seen.gone if one not in kept]


def _times(commits: Mapping[CommitId, CommitRow], now: datetime) -> dict[CommitId, datetime]:
    """Return the latest possible time of each commit, by the dates of its history."""
    found: dict[CommitId, datetime] = {}
    for tip in sorted(commits.values(), key=lambda commit: commit.order, reverse=True):
        line: list[CommitRow] = []
        current: CommitRow | None = tip
        passed: set[CommitId] = set()
        while current is not None and current.id not in found:
            _require_new(current.id, passed)
            line.append(current)
            current = commits.get(current.parent) if current.parent is not None else None
        line.reverse()
        before = [] if current is None else [found[current.id]]
        times = settle_dates([*before, *(commit.created_at for commit in line)], now)
        found |= {commit.id: at for commit, at in zip(line, times[len(before) :], strict=True)}
    return found


def _require_new(commit_id: CommitId, passed: set[CommitId]) -> None:
    """Add a commit to those that a walk has passed; raise if it is among them, for then the walk never ends."""
    if commit_id in passed:
        msg = f"the history of commit {commit_id} in the catalog leads back to it; run fsck"
        raise IntegrityError(msg)
    passed.add(commit_id)


def _kept(
    commits: Mapping[CommitId, CommitRow],
    times: Mapping[CommitId, datetime],
    named: set[CommitId],
    rules: Mapping[tuple[str, str], tuple[CommitId | None, str]],
    now: datetime,
) -> tuple[set[CommitId], set[CommitId]]:
    """Return the commits that are kept, and all that are reachable from names."""
    kept = set(named)
    for head, rule in rules.values():
        kept |= _kept_by_rule(commits, times, head, RetentionRule.from_json(rule), now)

    def is_let_go(commit: CommitRow) -> bool:
        return (commit.repo, commit.branch) in rules

    found, seen = _reachable(commits, named, is_let_go)
    return kept | found, seen


def _kept_by_rule(
    commits: Mapping[CommitId, CommitRow],
    times: Mapping[CommitId, datetime],
    head: CommitId | None,
    rule: RetentionRule,
    now: datetime,
) -> set[CommitId]:
    kept: set[CommitId] = set()
    since = None if rule.keep_for_s is None else now - timedelta(seconds=min(rule.keep_for_s, LONGEST_S))
    current = commits.get(head) if head is not None else None
    passed: set[CommitId] = set()
    while current is not None:
        _require_new(current.id, passed)
        is_recent = since is not None and times[current.id] >= since
        if not is_recent and (rule.keep_last is None or len(kept) >= rule.keep_last):
            break
        kept.add(current.id)
        current = commits.get(current.parent) if current.parent is not None else None
    return kept


def _reachable(
    commits: Mapping[CommitId, CommitRow],
    starts: set[CommitId],
    is_let_go: Callable[[CommitRow], bool],
    *,
    ends: Collection[CommitId] = (),
) -> tuple[set[CommitId], set[CommitId]]:
    """Return the commits reachable from *starts*, up to *ends*: those no branch's rule decides on, and all of them.

    Args:
        is_let_go: Returns whether a retention rule decides on a commit.
    """
    found: set[CommitId] = set()
    seen = set(starts)
    waiting = [commits[start] for start in starts if start in commits]
    while waiting:
        commit = waiting.pop()
        if not is_let_go(commit):
            found.add(commit.id)
        for parent in (commit.parent, commit.merged):
            if parent is not None and parent in commits and parent not in seen and parent not in ends:
                seen.add(parent)
                waiting.append(commits[parent])
    return found, seen
