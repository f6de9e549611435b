"""A summary of a whole store, for people and for health checks."""

from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from versioned_io.catalog.overdue import neglected_since
from versioned_io.catalog.overview import (
    HeadRow,
    WaitingRow,
    count_damages,
    count_waiting,
    list_heads,
    list_task_problems,
)
from versioned_io.errors.root import counted
from versioned_io.maintenance.upkeep.neglect import OVERDUE_COMMITS, describe_neglect
from versioned_io.model.identifiers import CommitId
from versioned_io.storage.beacons import list_allowed_beacons
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.backend.ownership import owner_and_right


@dataclass(frozen=True, slots=True)
class BranchStatus:
    """A branch, and the age of its head."""

    name: str
    head: CommitId | None
    number: int
    committed_at: datetime | None
    is_protected: bool


@dataclass(frozen=True, slots=True)
class RepoStatus:
    """A repo with its branches, sorted by name."""

    name: str
    description: str
    branches: tuple[BranchStatus, ...]


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """A subscription, and the work that waits for it.

    Attributes:
        due: The number of keys that were collected and are not done.
        oldest_request: The time of the oldest of these requests.
        is_behind: Whether the branch's head was not collected yet, so that more keys may become due.
    """

    name: str
    branch: str
    partitions: str | None
    relay: str | None
    consumer: str | None
    due: int
    oldest_request: datetime | None
    is_behind: bool


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """The state of a store at one moment.

    Attributes:
        owner: The URL of the catalog that owns the store; None if none does, or if this user may not list objects.
        is_owner: Whether the open catalog may write to the store; None if this user may not list objects.
        maintained_at: The end of the last maintenance. If there was none, the time of the store's first change.
        overdue: Why maintenance is overdue, with the command to run; None if it is not.
        damages: The number of contents that readers found damaged and that have no intact copy.
        problems: One sentence for each problem that was noted. Overdue maintenance is not one of them.
    """

    url: str
    catalog: str
    owner: str | None
    is_owner: bool | None
    repos: tuple[RepoStatus, ...]
    subscriptions: tuple[SubscriptionStatus, ...]
    maintained_at: datetime | None
    overdue: str | None
    damages: int
    problems: tuple[str, ...]


def status_of_store(backend: Backend, warning: str | None) -> StoreStatus:
    """Return the state of the store; *warning* is what was found when it was opened. Cost: as `Store.status`."""
    with backend.catalog.ask() as connection:
        heads, waiting = list_heads(connection), count_waiting(connection)
        since, is_much = neglected_since(connection, OVERDUE_COMMITS)
        problems, damages = list_task_problems(connection), count_damages(connection)
        listing = list_allowed_beacons(backend.objects)
        owner, may_write = owner_and_right(connection, backend.catalog, backend.objects, listing)
    found = [f"{task}: {problem}" for task, problem in problems]
    if damages:
        what = counted(damages, "content is damaged and has", "contents are damaged and have")
        found.append(f"{what} no intact copy: run `versioned fsck`")
    if may_write is False and warning is None:
        found.append("another catalog owns this store, so this one can only read it; `versioned adopt` changes that")
    return StoreStatus(
        url=backend.objects.url,
        catalog=backend.catalog.url,
        owner=None if owner is None else owner.address.url,
        is_owner=may_write,
        repos=tuple(_repos(heads)),
        subscriptions=tuple(_subscription(one) for one in waiting),
        maintained_at=since,
        overdue=describe_neglect(since, backend.clock(), is_much=is_much),
        damages=damages,
        problems=tuple(found if warning is None else [warning, *found]),
    )


def _repos(heads: list[HeadRow]) -> list[RepoStatus]:
    found: list[RepoStatus] = []
    for name, group in groupby(heads, key=lambda one: one.repo):
        branches = list(group)
        there = (
            BranchStatus(one.branch, one.head, one.number, one.committed_at, one.is_protected)
            for one in branches
            if one.branch is not None
        )
        found.append(RepoStatus(name, branches[0].description, tuple(there)))
    return found


def _subscription(one: WaitingRow) -> SubscriptionStatus:
    branch = f"{one.repo}@{one.branch}"
    return SubscriptionStatus(
        one.name, branch, one.partitions, one.relay, one.consumer, one.due, one.oldest_request, one.is_behind
    )
