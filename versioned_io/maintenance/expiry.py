"""Which commits are kept: what names lead to, as far as the rules of their branches go."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection

from versioned_io.backend import Backend
from versioned_io.catalog import collection as catalog
from versioned_io.catalog.collection import CommitRow
from versioned_io.catalog.journal import Action, JournalEntry, append_entry
from versioned_io.catalog.retention import RetentionRule
from versioned_io.identifiers import CommitId
from versioned_io.objects.time import store_time


def forget_unreachable(backend: Backend, *, expire: timedelta, dry_run: bool) -> list[CommitId]:
    """Let go of the data of commits that nothing leads to any more, and return them; their records and lineage stay.

    Kept is what a branch, a tag, a consumer's cursor, or what the journal of the last *expire* points at leads to, and
    what is younger than *expire*; of a branch with a retention rule only what the rule keeps and what is pointed at
    directly.

    The earlier of two clocks counts, the catalog's and the object store's: one that is ahead forgets nothing early.

    Cost: 1 PUT, 1 LIST and 1 DELETE for the time, 9 SELECTs, 1 UPDATE for each 500 commits that are forgotten, 1 PUT
        for each repo that they are of; memory for some facts of each commit.
    """
    latest = store_time(backend.objects) + catalog.CLOCK_TOLERANCE
    with backend.catalog.write() as connection:
        catalog.hold_names(connection)
        now = min(latest, catalog.catalog_time(connection, backend.clock()))
        commits = catalog.live_commits(connection)
        kept = _kept(connection, commits, now, expire)
        gone = [commit for commit in commits.values() if commit.id not in kept and commit.created_at < now - expire]
        if dry_run or not gone:
            return [commit.id for commit in gone]
        catalog.forget_commits(connection, [commit.id for commit in gone])
        for repo in sorted({commit.repo for commit in gone}):
            forgotten = sorted(commit.id for commit in gone if commit.repo == repo)
            entry = JournalEntry(repo, "", Action.EXPIRE, details={"commits": list(forgotten)})
            append_entry(connection, backend.objects, entry, backend.clock())
        return [commit.id for commit in gone]


def _kept(
    connection: Connection, commits: Mapping[CommitId, CommitRow], now: datetime, expire: timedelta
) -> set[CommitId]:
    named = catalog.named_commits(connection, now - expire)
    rules = catalog.branch_rules(connection)
    kept = set(named)
    for head, rule in rules.values():
        kept |= _kept_by_rule(commits, head, RetentionRule.from_json(rule), now)

    def is_let_go(commit: CommitRow) -> bool:
        return (commit.repo, commit.branch) in rules

    return kept | _reachable(commits, named, is_let_go)


def _kept_by_rule(
    commits: Mapping[CommitId, CommitRow], head: CommitId | None, rule: RetentionRule, now: datetime
) -> set[CommitId]:
    kept: set[CommitId] = set()
    current = commits.get(head) if head is not None else None
    while current is not None:
        is_recent = rule.keep_for_s is not None and current.created_at >= now - timedelta(seconds=rule.keep_for_s)
        if not is_recent and (rule.keep_last is None or len(kept) >= rule.keep_last):
            break
        kept.add(current.id)
        current = commits.get(current.parent) if current.parent is not None else None
    return kept


def _reachable(
    commits: Mapping[CommitId, CommitRow], starts: set[CommitId], is_let_go: Callable[[CommitRow], bool]
) -> set[CommitId]:
    """Return what *starts* lead to through parents, without the commits that their branch's rule decides on."""
    found: set[CommitId] = set()
    seen = set(starts)
    waiting = [commits[start] for start in starts if start in commits]
    while waiting:
        commit = waiting.pop()
        if not is_let_go(commit):
            found.add(commit.id)
        for parent in (commit.parent, commit.merged):
            if parent is not None and parent in commits and parent not in seen:
                seen.add(parent)
                waiting.append(commits[parent])
    return found
