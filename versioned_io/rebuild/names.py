"""What the packs say of names: the journal of each repo is replayed, and branches are followed along their commits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from versioned_io.catalog.journal import Action, JournalEntry, RecordedEntry
from versioned_io.catalog.values import Commit
from versioned_io.identifiers import CommitId, PackName
from versioned_io.rebuild.contents import Contents
from versioned_io.refs import DEFAULT_BRANCH
from versioned_io.transactions.record import CommitRecord

_IN_NO_PACK = PackName("")


@dataclass(slots=True)
class Branch:
    """A branch as of the last entry or commit that was looked at."""

    head: CommitId | None
    epoch: int
    is_protected: bool = False
    retention: str | None = None


@dataclass(slots=True)
class Repo:
    """A repo and its names."""

    description: str
    created_at: datetime
    branches: dict[str, Branch] = field(default_factory=dict)
    tags: dict[str, tuple[CommitId, datetime]] = field(default_factory=dict)


@dataclass(slots=True)
class Names:
    """All names, and what they lead to.

    Attributes:
        entries: The entries that counted, each with the pack that holds it: ``""`` for one that is lost.
        forgotten: The commits that were forgotten on purpose.
        kept: The commits that a name leads or led to, or that one of those was made from.
        uncertain: What the packs can't tell, each as a sentence that says what was assumed.
    """

    repos: dict[str, Repo] = field(default_factory=dict)
    entries: list[tuple[RecordedEntry, PackName]] = field(default_factory=list)
    forgotten: set[CommitId] = field(default_factory=set)
    kept: dict[CommitId, tuple[CommitRecord, PackName]] = field(default_factory=dict)
    uncertain: list[str] = field(default_factory=list)
    named: set[CommitId] = field(default_factory=set)


_Beginnings: TypeAlias = Mapping[int, Commit]
"""A commit with the lowest number of each epoch of a repo: its parent is what the branch pointed at to begin with."""


def find_names(contents: Contents) -> Names:
    """Return what the names of all repos are, as far as the packs can tell."""
    found = Names()
    beginnings = _beginnings(contents)
    for repo in sorted(contents.entries.keys() | beginnings.keys()):
        for recorded, pack in _counted(found, repo, contents.entries.get(repo, {}), beginnings.get(repo, {})):
            found.entries.append((recorded, pack))
            _apply(found, recorded)
    _follow_branches(found, contents)
    found.kept = _confirmed(found, contents)
    return found


def _beginnings(contents: Contents) -> dict[str, dict[int, Commit]]:
    found: dict[str, dict[int, Commit]] = {}
    for record, _ in contents.records.values():
        commit = record.commit
        of_repo = found.setdefault(commit.repo, {})
        if commit.epoch and (commit.epoch not in of_repo or commit.number < of_repo[commit.epoch].number):
            of_repo[commit.epoch] = commit
    return found


def _counted(
    found: Names, repo: str, entries: Mapping[int, tuple[RecordedEntry, PackName]], beginnings: _Beginnings
) -> Iterator[tuple[RecordedEntry, PackName]]:
    """Yield what happened to the names of one repo, in order; what stands for an entry that is lost is in no pack.

    An entry counted if the one after it names it, or a commit has its number as epoch; so does the newest.
    """
    counted, lost = set(beginnings) & entries.keys(), set(beginnings) - entries.keys()
    sequence = max(entries, default=0)
    while sequence:
        (counted if sequence in entries else lost).add(sequence)
        if sequence in entries:
            sequence = entries[sequence][0].previous
        else:
            sequence = max((one for one in entries if one < sequence), default=0)
    for sequence in sorted(counted | lost):
        if sequence in counted:
            yield entries[sequence]
            continue
        times = [entries[one][0].at for one in counted if one > sequence]
        is_first = sequence == min(counted | lost)
        yield _stand_in(found, repo, sequence, beginnings.get(sequence), times, is_first=is_first), _IN_NO_PACK


def _stand_in(
    found: Names, repo: str, sequence: int, beginning: Commit | None, later: Iterable[datetime], *, is_first: bool
) -> RecordedEntry:
    """Return an entry for one that is lost, and say what it assumes: where its commits began, it put a branch."""
    text = f"entry {sequence} of the journal of {repo!r} is missing: "
    if beginning is not None:
        name, head = beginning.branch, beginning.parent
        text += f"the branch {name!r} is as its commits say, and a name that the entry removed may be there"
    elif is_first:
        name, head = DEFAULT_BRANCH, None
        text += f"the branch {name!r} is assumed, without a commit"
    else:
        name, head = "", None
        text += "what it did to a name is unknown"
    found.uncertain.append(f"{text}; the repo's description is unknown" if is_first else text)
    # It was written at this time at the latest.
    at = min([*later, *([] if beginning is None else [beginning.created_at])])
    return RecordedEntry(JournalEntry(repo, name, Action.LOST, new=head), sequence, 0, at)


def _apply(found: Names, recorded: RecordedEntry) -> None:
    entry = recorded.entry
    found.named |= {one for one in (entry.old, entry.new) if one is not None}
    repo = found.repos.setdefault(entry.repo, Repo("", recorded.at))
    branch = repo.branches.get(entry.name, Branch(None, 0))
    match entry.action:
        case Action.CREATE_REPO:
            repo.description = str(entry.details.get("description", ""))
            repo.branches[entry.name] = Branch(None, recorded.sequence)
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
            pass  # what is left changes no name
    forgotten = entry.details.get("commits")
    if entry.action in {Action.EXPIRE, Action.DROP} and isinstance(forgotten, list):
        found.forgotten |= {CommitId(str(one)) for one in forgotten}


def _follow_branches(found: Names, contents: Contents) -> None:
    """Move every branch on from where the journal left it, along the commits of its epoch."""
    children: dict[tuple[str, int, CommitId | None], list[Commit]] = {}
    for record, _ in contents.records.values():
        commit = record.commit
        if commit.id not in contents.replaced:
            children.setdefault((commit.repo, commit.epoch, commit.parent), []).append(commit)
    gaps: dict[tuple[str, int], list[Commit]] = {}
    for (repo_name, epoch, parent), commits in children.items():
        if parent is not None and parent not in contents.records:
            gaps.setdefault((repo_name, epoch), []).extend(commits)
    for name, repo in found.repos.items():
        for branch_name, branch in repo.branches.items():
            beyond = gaps.get((name, branch.epoch), [])
            ref = f"{name}@{branch_name}"
            while following := children.get((name, branch.epoch, branch.head)) or _after_gap(
                found, contents, branch, beyond, ref
            ):
                branch.head = _real(found, following, children, ref).id


def _after_gap(found: Names, contents: Contents, branch: Branch, orphans: Sequence[Commit], ref: str) -> list[Commit]:
    """Return the candidates for the commit of a branch that comes next after one or more whose records are lost.

    Args:
        orphans: The commits of the branch's epoch whose parents are lost.
    """
    before = contents.records.get(branch.head) if branch.head is not None else None
    number = 0 if before is None else before[0].commit.number
    beyond = [commit for commit in orphans if commit.number > number]
    if not beyond:
        return []
    lost = min(beyond, key=lambda one: one.number).parent
    text = f"the record of commit {lost} is missing: the history of {ref} begins after it"
    if before is not None:
        found.named.add(before[0].commit.id)
        text += f"; what was before it ends at {before[0].commit.id}, to which no name leads: tag it to keep it"
    found.uncertain.append(text)
    return [one for one in beyond if one.parent == lost]


def _real(
    found: Names,
    candidates: Sequence[Commit],
    children: Mapping[tuple[str, int, CommitId | None], list[Commit]],
    branch: str,
) -> Commit:
    """Return which of several commits with one parent the branch took."""
    if len(candidates) == 1:
        return candidates[0]
    continued = [one for one in candidates if (one.repo, one.epoch, one.id) in children or one.id in found.named]
    chosen = continued[0] if continued else max(candidates, key=lambda one: (one.created_at, one.id))
    if not continued:
        others = ", ".join(one.id for one in candidates if one is not chosen)
        found.uncertain.append(
            f"the newest commit of {branch} may be {chosen.id}, which was assumed, or {others}: compare them"
        )
    return chosen


def _confirmed(found: Names, contents: Contents) -> dict[CommitId, tuple[CommitRecord, PackName]]:
    """Return the commits that a name leads or led to, or that one of those was made from."""
    heads = {branch.head for repo in found.repos.values() for branch in repo.branches.values()}
    tagged = {commit for repo in found.repos.values() for commit, _ in repo.tags.values()}
    waiting = [*heads, *found.named, *tagged]
    kept: dict[CommitId, tuple[CommitRecord, PackName]] = {}
    while waiting:
        commit_id = waiting.pop()
        if commit_id is None or commit_id in kept or commit_id not in contents.records:
            continue
        kept[commit_id] = contents.records[commit_id]
        record = kept[commit_id][0]
        sources = (file.written_by for file in record.inputs)
        waiting += [record.commit.parent, record.commit.merged, *record.commit.provenance, *sources]
    return kept
