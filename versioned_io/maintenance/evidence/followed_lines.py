"""Branches that are followed along their commits, and the acknowledged lines of history that no branch follows."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from versioned_io.maintenance.evidence.contents import Contents
from versioned_io.maintenance.evidence.replayed_names import Branch, KnownBeside, Line, ReplayedNames, Repo
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.versioning.transactions.record import CommitRecord


class _Parent(NamedTuple):
    """The commit that others follow in one epoch of a branch; None before the first commit."""

    repo: str
    epoch: int
    id: CommitId | None


Children: TypeAlias = Mapping[_Parent, list[Commit]]
"""Commits by repo, epoch and parent, without replaced attempts."""


def children_by_parent(contents: Contents) -> Children:
    """Return the commits that packs hold by what they follow, without replaced attempts."""
    found: dict[_Parent, list[Commit]] = {}
    for record, _ in contents.records.values():
        commit = record.commit
        if commit.id not in contents.replaced:
            found.setdefault(_Parent(commit.repo, commit.epoch, commit.parent), []).append(commit)
    return found


def follow_branches(found: ReplayedNames, contents: Contents, children: Children, weight: "Weight") -> None:
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


class Weight:
    """The evidence by which one of several commits with the same parent is chosen for a branch."""

    def __init__(
        self, contents: Contents, children: Children, evidence: KnownBeside, named: Collection[CommitId]
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


def _real(found: ReplayedNames, candidates: Sequence[Commit], weight: Weight, branch: str) -> Commit:
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


def other_lines(found: ReplayedNames, contents: Contents, weight: Weight) -> list[Line]:
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


def confirmed_commits(found: ReplayedNames, contents: Contents) -> dict[CommitId, tuple[CommitRecord, PackName]]:
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
