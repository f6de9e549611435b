"""Names as packs show them: repos, branches and tags after their journals, and lines of history without a branch."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from versioned_io.maintenance.evidence.replayed_triggers import ReplayedTrigger
from versioned_io.model.beacons import Beacon, BeaconKind
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.journal import RecordedEntry
from versioned_io.model.repo_kinds import RepoKind
from versioned_io.versioning.transactions.record import CommitRecord

RECOVERED: Final = "recovered/"
"""The prefix of the branches that recovery creates for lines without a branch."""


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
