"""The order of commits, independent of clocks: each comes after every commit that was visible when it was made."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from versioned_io.model.identifiers import CommitId


@dataclass(frozen=True, slots=True)
class OrderFacts:
    """The facts that determine the order of one commit.

    Attributes:
        sources: The commits that it comes after: its parent, the commit it merged, and its provenance.
        recorded: The order in its record; 0 in records from before commits had an order.
    """

    id: CommitId
    sources: Sequence[CommitId]
    recorded: int
    created_at: datetime


def settle_orders(facts: Iterable[OrderFacts]) -> dict[CommitId, int]:
    """Return the order of each commit: its recorded order, raised above the orders of all its sources.

    Commits without a recorded order come before all others. Among those the date decides between commits that don't
    depend on each other, since nothing else orders them. Every commit gets an order, also if sources form a cycle.

    Cost: O(n log n) time, and memory for the commits.

    Source: L. Lamport, "Time, Clocks, and the Ordering of Events in a Distributed System", 1978.
    """
    by_id = {one.id: one for one in facts}
    left = {one.id: sum(source in by_id for source in set(one.sources)) for one in by_id.values()}
    following: dict[CommitId, list[CommitId]] = {}
    for one in by_id.values():
        for source in {source for source in one.sources if source in by_id}:
            following.setdefault(source, []).append(one.id)
    ready = [_key(by_id[commit_id]) for commit_id, count in left.items() if not count]
    heapq.heapify(ready)
    orders: dict[CommitId, int] = {}
    last_of_old = 0
    of_cycles = iter(sorted(map(_key, by_id.values())))
    while len(orders) < len(by_id):
        # Only forged records form a cycle. It is entered at the commit that would be the first without it.
        one = by_id[(heapq.heappop(ready) if ready else next(of_cycles))[-1]]
        if one.id in orders:
            continue
        least = 1 + max((orders[source] for source in one.sources if source in orders), default=0)
        if one.recorded:
            orders[one.id] = max(one.recorded, least)
        else:
            orders[one.id] = last_of_old = max(last_of_old + 1, least)
        for after in following.get(one.id, []):
            left[after] -= 1
            if not left[after]:
                heapq.heappush(ready, _key(by_id[after]))
    return orders


def misplaced(facts: Iterable[OrderFacts], orders: Mapping[CommitId, int]) -> Iterator[CommitId]:
    """Yield each commit whose order is not the one that `settle_orders` makes of the orders of its sources.

    Args:
        orders: The order of each commit in the catalog.
    """
    for one in facts:
        least = 1 + max((orders[source] for source in one.sources if source in orders), default=0)
        order = orders[one.id]
        if order < least or (one.recorded and order != max(one.recorded, least)):
            yield one.id


def _key(one: OrderFacts) -> tuple[int, datetime, CommitId]:
    return one.recorded, one.created_at, one.id
