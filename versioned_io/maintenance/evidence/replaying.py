"""Replaying names from packs: each repo's journal is replayed, then branches are followed along their commits."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final, TypeAlias

from versioned_io.maintenance.evidence.contents import Contents
from versioned_io.maintenance.evidence.followed_lines import (
    Weight,
    children_by_parent,
    confirmed_commits,
    follow_branches,
    other_lines,
)
from versioned_io.maintenance.evidence.replayed_names import Branch, KnownBeside, ReplayedNames, Repo
from versioned_io.maintenance.evidence.replayed_triggers import follow_source, trigger_after
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.journal import Action, JournalEntry, RecordedEntry, kind_of
from versioned_io.model.refs import DEFAULT_BRANCH

_IN_NO_PACK = PackName("")
_NOTHING_BESIDE: Final = KnownBeside()


_Beginnings: TypeAlias = Mapping[int, Commit]
"""A commit with the lowest number of each epoch of a repo. Its parent is the head that the epoch began with."""


def find_names(contents: Contents, evidence: KnownBeside = _NOTHING_BESIDE) -> ReplayedNames:
    """Return the names of all repos, as far as the packs show them.

    A history diverges when an old catalog was restored and used. Then every acknowledged line is kept:
    `follow_branches` chooses the branch's line, and `ReplayedNames.lines` are the others.
    """
    beginnings = _beginnings(contents)
    twins = _settle_numbers(contents, beginnings, evidence)
    found = ReplayedNames(passed=list(contents.others))
    for repo in sorted(contents.entries.keys() | beginnings.keys()):
        for recorded, pack in _counted(found, repo, contents.entries.get(repo, {}), beginnings.get(repo, {})):
            if (repo, recorded.sequence) in twins:
                found.twins.append(recorded)
            else:
                found.entries.append((recorded, pack))
            _apply(found, recorded)
    for branch in (one for repo in found.repos.values() for one in repo.branches.values()):
        branch.trigger = follow_source(branch.trigger, found.entries)
    _part_names(found)
    children = children_by_parent(contents)
    weight = Weight(contents, children, evidence, found.named)
    follow_branches(found, contents, children, weight)
    found.kept = confirmed_commits(found, contents)
    found.lines = other_lines(found, contents, weight)
    found.named |= {line.tip for line in found.lines}
    found.kept = confirmed_commits(found, contents)
    return found


def _settle_numbers(
    contents: Contents, beginnings: Mapping[str, _Beginnings], evidence: KnownBeside
) -> set[tuple[str, int]]:
    """Discard entries of dead writers whose number an entry of another repo has; return those that took effect.

    SQLite reuses the number of a transaction that was rolled back. If two entries of one number took effect, an older
    catalog was used and histories diverged. One entry keeps the number. The others are returned as (repo, number).
    """
    claims: dict[int, list[str]] = {}
    for repo, of_repo in contents.entries.items():
        for sequence in of_repo:
            claims.setdefault(sequence, []).append(repo)
    twins: set[tuple[str, int]] = set()
    for sequence, some in claims.items():
        owner = evidence.numbered.get(sequence)
        if len(some) == 1 and owner in {None, some[0]}:
            continue
        sure = {repo for repo in some if _is_sure(contents, beginnings, evidence, repo, sequence)}
        if owner is None:
            # The earlier entry's writer died before its transaction committed.
            owner = max(some, key=lambda repo: (repo in sure, contents.entries[repo][sequence][1]))
        for repo in some:
            if repo == owner:
                continue
            if repo in sure:
                twins.add((repo, sequence))
            else:
                contents.pass_over(repo, sequence)
    return twins


def _is_sure(
    contents: Contents, beginnings: Mapping[str, _Beginnings], evidence: KnownBeside, repo: str, sequence: int
) -> bool:
    """Return whether an entry was acknowledged: another record, entry or row refers to it."""
    of_repo = contents.entries[repo]
    return (
        sequence in beginnings.get(repo, {})
        or any(recorded.previous == sequence for recorded, _ in of_repo.values())
        or (sequence, of_repo[sequence][1]) in evidence.told_entries
    )


def _part_names(found: ReplayedNames) -> None:
    """Make repo names unique, since two lines of history may have given one name; one repo gets its recorded name."""
    taken: dict[str, str] = {}
    for recorded, repo in sorted(found.repos.items(), key=lambda pair: (pair[0] != pair[1].name, pair[0])):
        wanted, name, number = repo.name, repo.name, 1
        while name in taken:
            name = recorded if recorded not in taken else f"{recorded}-{number}"[-128:]
            number += 1
        if name != wanted:
            found.uncertain.append(
                f"the repo {taken[wanted]!r} is called {wanted!r}, too: this one is {name!r}, rename it"
            )
        taken[name], repo.name = recorded, name


def _beginnings(contents: Contents) -> dict[str, dict[int, Commit]]:
    found: dict[str, dict[int, Commit]] = {}
    for record, _ in contents.records.values():
        commit = record.commit
        of_repo = found.setdefault(commit.repo, {})
        if commit.epoch and (commit.epoch not in of_repo or commit.number < of_repo[commit.epoch].number):
            of_repo[commit.epoch] = commit
    return found


def _counted(
    found: ReplayedNames, repo: str, entries: Mapping[int, tuple[RecordedEntry, PackName]], beginnings: _Beginnings
) -> Iterator[tuple[RecordedEntry, PackName]]:
    """Yield the entries of one repo that took effect, in order, with a stand-in (in no pack) for each lost entry.

    An entry took effect if the entry after it names it, or if a commit has its number as epoch. The newest entry always
    counts.
    """
    counted, lost = set(beginnings) & entries.keys(), set(beginnings) - entries.keys()
    sequence = max(entries, default=0)
    while sequence:
        (counted if sequence in entries else lost).add(sequence)
        if sequence in entries:
            sequence = entries[sequence][0].previous
        else:
            sequence = max((one for one in entries if one < sequence), default=0)
    found.passed += [entries[one] for one in sorted(entries.keys() - counted)]
    for sequence in sorted(counted | lost):
        if sequence in counted:
            yield entries[sequence]
            continue
        times = [entries[one][0].at for one in counted if one > sequence]
        is_first = sequence == min(counted | lost)
        yield _stand_in(found, repo, sequence, beginnings.get(sequence), times, is_first=is_first), _IN_NO_PACK


def _stand_in(
    found: ReplayedNames,
    repo: str,
    sequence: int,
    beginning: Commit | None,
    later: Iterable[datetime],
    *,
    is_first: bool,
) -> RecordedEntry:
    """Return a stand-in for a lost entry, and record the assumption that it set a branch to where its commits begin."""
    text = f"entry {sequence} of the journal of {repo!r} is missing: "
    if beginning is not None:
        name, head = beginning.branch, beginning.parent
        text += f"the branch {name!r} follows its commits, and a name that the entry deleted may exist again"
    elif is_first:
        name, head = DEFAULT_BRANCH, None
        text += f"the branch {name!r} is assumed, without a commit"
    else:
        name, head = "", None
        text += "its effect on a name is unknown"
    found.uncertain.append(f"{text}; the repo's description is unknown" if is_first else text)
    # The latest time at which it can have been written.
    at = min([*later, *([] if beginning is None else [beginning.created_at])])
    return RecordedEntry(JournalEntry(repo, name, Action.LOST, new=head), sequence, 0, at)


def _apply(found: ReplayedNames, recorded: RecordedEntry) -> None:
    entry = recorded.entry
    found.named |= {one for one in (entry.old, entry.new) if one is not None}
    if entry.action is Action.DISOWN:
        return  # it may belong to a repo that this catalog never had
    repo = found.repos.setdefault(entry.repo, Repo(entry.repo, "", recorded.at))
    branch = repo.branches.get(entry.name, Branch(None, 0))
    match entry.action:
        case Action.CREATE_REPO | Action.RENAME_REPO | Action.DELETE_REPO:
            _change_repo(repo, recorded)
        case Action.CREATE_BRANCH:
            repo.branches[entry.name] = Branch(entry.new, recorded.sequence)
        case Action.MOVE_BRANCH | Action.DROP | Action.SQUASH | Action.LOST if entry.name:
            branch.head, branch.epoch = entry.new, recorded.sequence
            repo.branches[entry.name] = branch
        case Action.RENAME_BRANCH:
            repo.branches.pop(entry.name, None)
            branch.head, branch.epoch = entry.new, recorded.sequence
            repo.branches[str(entry.details["to"])] = branch
        case Action.DELETE_BRANCH:
            repo.branches.pop(entry.name, None)
        case Action.PROTECT_BRANCH:
            branch.is_protected = bool(entry.details["is_protected"])
        case Action.SET_RETENTION:
            rule = entry.details["rule"]
            branch.retention = None if rule is None else str(rule)
        case Action.CREATE_TAG if entry.new is not None:
            repo.tags[entry.name] = (entry.new, recorded.at)
        case Action.DELETE_TAG:
            repo.tags.pop(entry.name, None)
        case _:
            pass  # the other actions change no name
    branch.trigger = trigger_after(branch.trigger, recorded)
    forgotten = entry.details.get("commits")
    if entry.action in {Action.EXPIRE, Action.DROP} and isinstance(forgotten, list):
        found.forgotten |= {CommitId(str(one)) for one in forgotten}


def _change_repo(repo: Repo, recorded: RecordedEntry) -> None:
    entry = recorded.entry
    if entry.action is Action.DELETE_REPO:
        repo.deleted_at = recorded.at
        return
    if entry.action is Action.RENAME_REPO:
        repo.name = str(entry.details["to"])
        return
    repo.description = str(entry.details.get("description", ""))
    repo.created_at, repo.deleted_at = recorded.at, None
    repo.kind, repo.owner = kind_of(entry)
    repo.branches[entry.name] = Branch(None, recorded.sequence)
