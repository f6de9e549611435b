"""Replaying names from packs: each repo's journal is replayed, and branches are followed along their commits."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias

from versioned_io.maintenance.evidence.contents import Contents
from versioned_io.maintenance.evidence.replayed_triggers import ReplayedTrigger, follow_source, trigger_after
from versioned_io.model.beacons import Beacon, BeaconKind
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.journal import Action, JournalEntry, RecordedEntry, kind_of
from versioned_io.model.refs import DEFAULT_BRANCH
from versioned_io.model.repo_kinds import RepoKind
from versioned_io.versioning.transactions.record import CommitRecord

_IN_NO_PACK = PackName("")


@dataclass(slots=True)
class Branch:
    """A branch after the last entry or commit that was replayed."""

    head: CommitId | None
    epoch: int
    is_protected: bool = False
    retention: str | None = None
    trigger: ReplayedTrigger | None = None


@dataclass(slots=True)
class Repo:
    """A repo and its names.

    Attributes:
        name: The present name; the packs keep the first name.
        owner: The recorded name of the repo that a system repo goes with.
    """

    name: str
    description: str
    created_at: datetime
    branches: dict[str, Branch] = field(default_factory=dict)
    tags: dict[str, tuple[CommitId, datetime]] = field(default_factory=dict)
    deleted_at: datetime | None = None
    kind: RepoKind = RepoKind.USER
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of history that was acknowledged but that no branch holds, since its branch follows a diverged line.

    Attributes:
        branch: The branch that its commits were made on.
        tip: Its newest commit.
        began_at: The commit at which it diverged from the commits reachable from names; None for the empty tree.
    """

    repo: str
    branch: str
    tip: CommitId
    began_at: CommitId | None

    @property
    def name(self) -> str:
        """The name of the branch that recovery creates for it."""
        # The last digits of an ID are random, the first ones are the time.
        return f"{RECOVERED}{self.branch}-{self.tip[-8:]}"[:128]


@dataclass(frozen=True, slots=True)
class KnownBeside:
    """Evidence from other sources than the packs.

    Attributes:
        taken: Commits in a catalog: they were acknowledged, and branches follow them.
        told: Commits that beacons name: they were acknowledged.
        numbered: The recorded name of the repo of each journal entry in a catalog.
        told_entries: Entries that beacons name, each as its number and its pack.
    """

    taken: Collection[CommitId] = frozenset()
    told: Collection[CommitId] = frozenset()
    numbered: Mapping[int, str] = field(default_factory=dict)
    told_entries: Collection[tuple[int, PackName]] = frozenset()

    @classmethod
    def of(cls, beacons: Collection[Beacon]) -> "KnownBeside":
        """Return the evidence of beacons."""
        commits = frozenset(CommitId(one.id) for one in beacons if one.kind is BeaconKind.COMMIT)
        entries = {(one.sequence, PackName(one.id)) for one in beacons if one.kind is BeaconKind.ENTRY}
        return cls(told=commits, told_entries=frozenset(entries))


@dataclass(slots=True)
class ReplayedNames:
    """All names, and the commits that are reachable from them.

    Attributes:
        entries: The entries that took effect, each with the pack that holds it: ``""`` for a lost entry.
        forgotten: The commits whose data expired.
        kept: The commits that are or were reachable from a name, and the commits that those were made from.
        lines: Acknowledged commits that no name reaches, as lines of diverged histories.
        parted: The branches whose histories diverged, as (repo, branch): one of their lines was chosen.
        repos: By recorded name.
        passed: Discarded entries: of dead writers, or of another line.
        twins: Entries that took effect although an entry of another repo has the same number: histories diverged.
        uncertain: Open questions, each as a sentence with the assumption that was made.
    """

    repos: dict[str, Repo] = field(default_factory=dict)
    entries: list[tuple[RecordedEntry, PackName]] = field(default_factory=list)
    forgotten: set[CommitId] = field(default_factory=set)
    kept: dict[CommitId, tuple[CommitRecord, PackName]] = field(default_factory=dict)
    uncertain: list[str] = field(default_factory=list)
    named: set[CommitId] = field(default_factory=set)
    lines: list[Line] = field(default_factory=list)
    parted: set[tuple[str, str]] = field(default_factory=set)
    passed: list[tuple[RecordedEntry, PackName]] = field(default_factory=list)
    twins: list[RecordedEntry] = field(default_factory=list)

    def name_of(self, recorded: str) -> str:
        """Return the present name of the repo whose recorded name is *recorded*."""
        return self.repos[recorded].name if recorded in self.repos else recorded


RECOVERED: Final = "recovered/"
"""The prefix of the branches that recovery creates for lines without a branch."""


class _Parent(NamedTuple):
    """The commit that others follow in one epoch of a branch; None before the first commit."""

    repo: str
    epoch: int
    id: CommitId | None


_Children: TypeAlias = Mapping[_Parent, list[Commit]]
"""Commits by repo, epoch and parent, without replaced attempts."""

_Beginnings: TypeAlias = Mapping[int, Commit]
"""A commit with the lowest number of each epoch of a repo. Its parent is the head that the epoch began with."""


def find_names(contents: Contents, evidence: KnownBeside = KnownBeside()) -> ReplayedNames:
    """Return the names of all repos, as far as the packs show them.

    A history diverges when an old catalog was restored and used. Then every acknowledged line is kept: `_real` chooses
    the branch's line, and `ReplayedNames.lines` are the others.
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
    children = _children(contents)
    weight = _Weight(contents, children, evidence, found.named)
    _follow_branches(found, contents, children, weight)
    found.kept = _confirmed(found, contents)
    found.lines = _other_lines(found, contents, weight)
    found.named |= {line.tip for line in found.lines}
    found.kept = _confirmed(found, contents)
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


def _children(contents: Contents) -> _Children:
    found: dict[_Parent, list[Commit]] = {}
    for record, _ in contents.records.values():
        commit = record.commit
        if commit.id not in contents.replaced:
            found.setdefault(_Parent(commit.repo, commit.epoch, commit.parent), []).append(commit)
    return found


def _follow_branches(found: ReplayedNames, contents: Contents, children: _Children, weight: "_Weight") -> None:
    """Move every branch from its head in the journal forward along the commits of its epoch."""
    gaps: dict[tuple[str, int], list[Commit]] = {}
    for (repo_name, epoch, parent), commits in children.items():
        if parent is not None and parent not in contents.records:
            gaps.setdefault((repo_name, epoch), []).extend(commits)
    for name, repo in found.repos.items():
        for branch_name, branch in repo.branches.items():
            beyond = gaps.get((name, branch.epoch), [])
            ref = f"{repo.name}@{branch_name}"
            while following := children.get(_Parent(name, branch.epoch, branch.head)) or _after_gap(
                found, contents, branch, beyond, ref
            ):
                branch.head = _real(found, following, weight, ref).id
                if len(weight.confirmed(following)) > 1:
                    found.parted.add((name, branch_name))


def _after_gap(
    found: ReplayedNames, contents: Contents, branch: Branch, orphans: Sequence[Commit], ref: str
) -> list[Commit]:
    """Return the candidates for a branch's next commit, after one or more commits whose records are lost.

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
        text += f"; the history before it ends at {before[0].commit.id}, which no name reaches: tag it to keep it"
    found.uncertain.append(text)
    return [one for one in beyond if one.parent == lost]


class _Weight:
    """The evidence by which one of several commits with the same parent is chosen for a branch."""

    def __init__(
        self, contents: Contents, children: _Children, evidence: KnownBeside, named: Collection[CommitId]
    ) -> None:
        self.children = children
        self._evidence = evidence
        self._named = named
        self._sources: set[CommitId | None] = set()
        for record, _ in contents.records.values():
            commit = record.commit
            read = (one for file in record.inputs for one in (file.commit, file.written_by))
            self._sources.update({commit.parent, commit.merged, *commit.provenance, *read} - {commit.id})

    def is_confirmed(self, commit: Commit) -> bool:
        """Return whether a commit was acknowledged: a commit, name or beacon refers to it, as to no attempt."""
        return (
            commit.id in self._named
            or commit.id in self._sources
            or commit.id in self._evidence.taken
            or commit.id in self._evidence.told
        )

    def confirmed(self, candidates: Iterable[Commit]) -> list[Commit]:
        """Return the acknowledged commits."""
        return [one for one in candidates if self.is_confirmed(one)]

    def children_of(self, commit: Commit) -> list[Commit]:
        """Return the children of a commit on its branch."""
        return self.children.get(_Parent(commit.repo, commit.epoch, commit.id), [])

    def of(self, commit: Commit) -> tuple[bool, bool, bool, int, int, CommitId]:
        """Return the sort key of an acknowledged commit; the commit with the largest key is the branch's.

        The ranking: a commit in a catalog, then one that a name pointed at, one with a beacon, one with the longest
        line. Otherwise the order of commits decides, and never a clock.
        """
        line = [commit]
        while following := self.children_of(line[-1]):
            line.append(max(following, key=lambda one: (one.id in self._evidence.taken, one.order, one.id)))
        ids = {one.id for one in line}
        return (
            commit.id in self._evidence.taken,
            not ids.isdisjoint(self._named),
            not ids.isdisjoint(self._evidence.told),
            len(line),
            commit.order,
            commit.id,
        )


def _real(found: ReplayedNames, candidates: Sequence[Commit], weight: _Weight, branch: str) -> Commit:
    """Return the commit that the branch took, of several with one parent."""
    if len(candidates) == 1:
        return candidates[0]
    confirmed = weight.confirmed(candidates)
    if confirmed:
        return max(confirmed, key=weight.of)
    chosen = max(candidates, key=lambda one: (one.order, one.id))
    others = ", ".join(one.id for one in candidates if one is not chosen)
    found.uncertain.append(f"the newest commit of {branch} may be {chosen.id}, as assumed, or {others}: compare them")
    return chosen


def _other_lines(found: ReplayedNames, contents: Contents, weight: _Weight) -> list[Line]:
    """Return the acknowledged lines of history that no name reaches, with the tip of each.

    An attempt that no branch took is not a line, since nothing refers to it.
    """
    left = [record.commit for record, _ in contents.records.values() if record.commit.id not in found.kept]
    following: dict[CommitId | None, list[Commit]] = {}
    for commit in left:
        if commit.id not in contents.replaced:
            following.setdefault(commit.parent, []).append(commit)
    inside = {commit.id for commit in left}
    roots = [one for parent, some in following.items() if parent not in inside for one in some]
    waiting = weight.confirmed(roots)
    lines: list[Line] = []
    while waiting:
        first = tip = waiting.pop()
        while after := following.get(tip.id):
            own = [one for one in after if one.epoch == tip.epoch]
            chosen = max(weight.confirmed(own) or own or after, key=weight.of)
            # Commits of other branches don't compete with the chosen one.
            waiting += [one for one in after if one is not chosen and (one not in own or weight.is_confirmed(one))]
            tip = chosen
        lines.append(Line(first.repo, first.branch, tip.id, first.parent))
        if first.branch in found.repos.get(first.repo, Repo(first.repo, "", first.created_at)).branches:
            found.parted.add((first.repo, first.branch))
    return sorted(lines, key=lambda one: (one.repo, one.name))


def _confirmed(found: ReplayedNames, contents: Contents) -> dict[CommitId, tuple[CommitRecord, PackName]]:
    """Return the commits that are or were reachable from a name, and the commits that those were made from."""
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
        sources = {file.written_by for file in record.inputs} | {file.made_by for file in record.inputs}
        sources |= {one.written_by for one in record.confirmed}
        waiting += [record.commit.parent, record.commit.merged, *record.commit.provenance, *sources]
    return kept
